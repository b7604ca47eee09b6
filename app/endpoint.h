/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a peer's endpoint to the headers that workers put before its packets: asks the kernel for
 * the way, and again when routes or neighbours change. Thread: control.
 */
#ifndef APP_ENDPOINT_H
#define APP_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* Changes that are looked for by name; with more than so many, every endpoint is resolved again. */
#define ENDPOINT_CHANGES 64
/* Of these, words of routers that are taken at once. */
#define ENDPOINT_TOO_BIGS 16

struct gateway;
struct interface;
struct wg_peer;

/*
 * What changed, and how many peer ids from next_id on, in the round, are still to be looked at for
 * it. A change on the way makes it a whole round from where it stands: changes without end keep no
 * id from its turn. Ids that come on the way make the round as much longer.
 */
struct endpoints {
	bool all_changed;
	unsigned change_count;
	struct ip_prefix changes[ENDPOINT_CHANGES];
	unsigned neighbour_count;
	struct endpoint_neighbour {
		uint32_t ifindex;
		struct ip_addr addr;
	} neighbours[ENDPOINT_CHANGES];
	uint32_t next_id, ids_left;
	uint32_t ids;		 /* in the round */
	uint64_t too_big_due_ns; /* when to listen to routers again */
};

/* The way to the peer's endpoint as it is published, for nowhere and in_doubt; NULL: none. */
const struct dp_outer *endpoint_published(
	const struct gateway *gateway, const struct wg_peer *peer);
/* Publishes the way to the peer's endpoint as it is now. */
void endpoint_resolve(struct interface *interface, struct wg_peer *peer);

/* Endpoints are to be resolved again, a few at a time: all of them; */
void endpoints_changed(struct gateway *gateway);
/* those in these prefixes (n 0: all); */
void endpoints_changed_in(struct gateway *gateway, const struct ip_prefix *prefixes, unsigned n);
/* those behind this neighbour. */
void endpoints_changed_behind(
	struct gateway *gateway, uint32_t ifindex, const struct ip_addr *neighbour);
/*
 * Those that routers said datagrams are too big for (dp->too_big_ring). To be called often: as
 * anybody can say so, it listens no more than once a second, and with many peers less often.
 */
void endpoints_hear_too_big(struct gateway *gateway, uint64_t now_ns);
/* A bounded piece of it; returns how many peer ids were looked at, 0: nothing is left to do. */
unsigned endpoints_step(struct gateway *gateway);

#endif
