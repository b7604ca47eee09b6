/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/keypairs.h"

#include <stddef.h>

#include "wg/session.h"

static void drop(struct keypairs_dropped *dropped, struct wg_session *session)
{
	if (session)
		dropped->sessions[dropped->count++] = session;
}

/* A packet came for it: the peer sends with it, though control has not heard of that yet. */
static bool is_proven(const struct wg_session *session)
{
	return atomic_load_explicit(&session->proven, memory_order_relaxed);
}

/*
 * Of current and next the peer sends with one, until it has a packet of the new session. With next
 * it has sent something ahead of its response to us. Linux takes next for used in any case, and so
 * loses what a peer that never understood our response sends with current.
 */
void keypairs_add_initiated(
	struct keypairs *keypairs, struct wg_session *session, struct keypairs_dropped *dropped)
{
	struct wg_session *next = keypairs->next;
	bool next_in_use = next && (!keypairs->current || is_proven(next));

	dropped->count = 0;
	drop(dropped, keypairs->previous);
	drop(dropped, next_in_use ? keypairs->current : next);
	keypairs->previous = next_in_use ? next : keypairs->current;
	keypairs->next = NULL;
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
