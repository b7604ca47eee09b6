/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One of a ring's many consumers (RTS) is put aside in the middle of a dequeue, and goes on: by
 * DPDK's own steps of it. Thread: the one that plays the consumer.
 */
#ifndef TESTS_DATAPATH_STALLED_RING_H
#define TESTS_DATAPATH_STALLED_RING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <rte_ring.h>

/* It has claimed one object: its place. */
static inline uint32_t ring_claim(struct rte_ring *ring)
{
	uint32_t place, entries;

	assert_int_equal(
		__rte_ring_rts_move_cons_head(ring, 1, RTE_RING_QUEUE_FIXED, &place, &entries), 1);
	return place;
}

/* It has taken what it claimed. */
static inline void ring_resume_consumer(struct rte_ring *ring)
{
	__rte_ring_rts_update_tail(&ring->rts_cons);
}

#endif
