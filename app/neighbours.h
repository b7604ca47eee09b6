/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keeps the neighbours of the fast path fresh. The kernel does not see its packets: left alone it
 * would take each neighbour for unused, never ask again whether it is still there, and in the end
 * forget it. So the ones in use are named to the mirror about once a second. Thread: control.
 */
#ifndef APP_NEIGHBOURS_H
#define APP_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

struct gateway;
struct neighbours;

/* Reserves address space for one entry a peer. NULL: out of memory. */
struct neighbours *neighbours_create(void);
void neighbours_destroy(struct neighbours *neighbours);

/* Packets to this peer leave to this neighbour of an interface, once it is resolved; ifindex 0: to
 * none. */
void neighbours_set_peer(struct neighbours *neighbours, uint32_t peer_id, uint32_t ifindex,
	const struct ip_addr *neighbour);

/* Whether they do. */
bool neighbours_is_behind(const struct neighbours *neighbours, uint32_t peer_id, uint32_t ifindex,
	const struct ip_addr *neighbour);

/* Names those in use to the mirror: a bounded piece of it, some time each second. */
void neighbours_keep(struct gateway *gateway, uint64_t now_ns);

#endif
