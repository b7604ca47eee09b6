/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer that moves: the worker that authenticated its packet publishes the new endpoint there and
 * then, so that nothing sealed later goes to where the peer was (Linux does so, too). What it
 * publishes is enough to send with: through the way known before if only the peer's port is
 * another, else through the kernel's socket. Control hears of it and finds the better way. Where
 * the peer claims an address that allowed IPs of its interface cover, packets wait for that in
 * control: the kernel may route it into the tunnel.
 *
 * A worker allocates nothing: it takes a spare endpoint that control made. There are LIMIT_ROAMS of
 * them; when all are in use, the peer's next packet has to do it.
 */
#ifndef DATAPATH_ROAM_H
#define DATAPATH_ROAM_H

#include <stdbool.h>
#include <stdint.h>

#include "datapath/worker.h"

/* What a worker tells control: peer's endpoint took the place of another, which is to be freed. */
struct dp_roam {
	uint32_t peer_id;
	const struct dp_outer *replaced; /* NULL: there was none; or a spare one not needed */
};

/*
 * True when the frame, which came by the link scope_id, is from where outer leads to, and to where
 * it starts from. outer NULL: no.
 */
bool dp_is_on_path(
	const struct dp_outer *outer, const uint8_t *frame, unsigned header_len, uint32_t scope_id);

/*
 * An authenticated packet of the peer came in this frame, which is not on its path; scope_id: of
 * the frame's link. Thread: the worker's.
 */
void dp_roam(struct dp_worker *worker, struct dp_peer *peer, const uint8_t *frame,
	unsigned header_len, uint32_t scope_id);

/* A dp_reclaim_fn for an endpoint that is no peer's any more; arg: the dp, object may be NULL.
 * Thread: control. */
void dp_release_outer(void *arg, void *object);

/* Makes and frees the spare endpoints: parts of dp_create() and dp_destroy(). 0 or -ENOMEM. */
int dp_roam_init(struct dp *dp);
void dp_roam_fini(struct dp *dp);

#endif
