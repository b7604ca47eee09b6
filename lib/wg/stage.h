/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets that wait for a session: a queue of at most WG_STAGED_PACKETS opaque packets per peer; a
 * full queue gives up its oldest. Memory is taken with the first packet and freed when empty.
 * Thread: control. Packets belong to the queue from push to pop.
 */
#ifndef WG_STAGE_H
#define WG_STAGE_H

#include <stdint.h>

struct stage {
	void **packets; /* NULL while empty */
	uint16_t first, count;
};

/* Queues a packet; returns the packet that had to go (the oldest, or this one without memory). */
void *stage_push(struct stage *stage, void *packet);
/* The oldest packet, or NULL. */
void *stage_pop(struct stage *stage);

#endif
