/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/keypairs.h"

#include <stddef.h>

#include "wg/session.h"

static void drop(struct keypairs_dropped *dropped, struct wg_session *session)
{
	if (session)
		dropped->sessions[dropped->count++] = session;
}

void keypairs_add_initiated(
	struct keypairs *keypairs, struct wg_session *session, struct keypairs_dropped *dropped)
{
	dropped->count = 0;
	drop(dropped, keypairs->previous);
	if (keypairs->next) {
		/* The peer may be sending with next already: it is worth more than current. */
		keypairs->previous = keypairs->next;
		keypairs->next = NULL;
		drop(dropped, keypairs->current);
	} else {
		keypairs->previous = keypairs->current;
	}
	keypairs->current = session;
}

void keypairs_add_responded(
	struct keypairs *keypairs, struct wg_session *session, struct keypairs_dropped *dropped)
{
	dropped->count = 0;
	drop(dropped, keypairs->next);
	drop(dropped, keypairs->previous);
	keypairs->previous = NULL;
	keypairs->next = session;
}

bool keypairs_confirm(
	struct keypairs *keypairs, uint32_t local_index, struct keypairs_dropped *dropped)
{
	dropped->count = 0;
	if (!keypairs->next || keypairs->next->local_index != local_index)
		return false;
	drop(dropped, keypairs->previous);
	keypairs->previous = keypairs->current;
	keypairs->current = keypairs->next;
	keypairs->next = NULL;
	return true;
}

void keypairs_clear(struct keypairs *keypairs, struct keypairs_dropped *dropped)
{
	dropped->count = 0;
	drop(dropped, keypairs->previous);
	drop(dropped, keypairs->current);
	drop(dropped, keypairs->next);
	*keypairs = (struct keypairs){0};
}
