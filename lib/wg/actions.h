/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue of actions that a device hands out (device.h). Kept small: a datagram lies beside its
 * record, since a change of configuration can cause a million records without one.
 *
 * Thread: control. Allocates with malloc, as no key is in it: what is sent everybody may see. When
 * there is no memory for a record the program ends: an action lost is a session or peer that
 * workers use for ever. One block of records is always kept in hand, so that this takes a thousand
 * actions without memory for them, or a caller that does not drain.
 */
#ifndef WG_ACTIONS_H
#define WG_ACTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "wg/device.h"

struct actions_block;

struct actions {
	struct actions_block *first, *last; /* to read from, to write to */
	struct actions_block *spare;
	unsigned read, written; /* in first, in last */
};

/* False without memory. */
bool actions_init(struct actions *actions);
void actions_free(struct actions *actions);

void actions_push(struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer);
void actions_push_session(struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer,
	struct wg_session *session);
void actions_push_prefix(struct actions *actions, enum wg_action_kind kind, struct wg_peer *peer,
	const struct ip_prefix *prefix);
void actions_push_work(struct actions *actions, struct wg_work *work);
/* Without memory the datagram is lost, as datagrams can be. */
void actions_push_send(struct actions *actions, struct wg_peer *peer, const struct wg_path *path,
	const void *data, size_t len);

bool actions_pop(struct actions *actions, struct wg_action *out);

#endif
