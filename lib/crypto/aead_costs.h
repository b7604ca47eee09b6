/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bursts of few packets cost on this CPU: by a backend that works across packets, and by one
 * that takes one packet after the other. Which is quicker changes from CPU to CPU, at this number
 * of packets by a third, so that it is measured and not written down.
 *
 * Costs are in cycles of the time stamp counter, by ChaCha20's blocks of 64 bytes. Thread: any.
 */
#ifndef CRYPTO_AEAD_COSTS_H
#define CRYPTO_AEAD_COSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "crypto/aead_batch.h"

/* Of so many packets the cost is known; more are always cheaper across. */
#define AEAD_COSTS_PACKETS 3
/* Of all packets together; beyond, cost grows evenly. */
#define AEAD_COSTS_BLOCKS      96
#define AEAD_COSTS_BLOCK_BYTES 64

static inline unsigned aead_costs_blocks(uint32_t len)
{
	return (len + AEAD_COSTS_BLOCK_BYTES - 1) / AEAD_COSTS_BLOCK_BYTES;
}

struct aead_costs_curve {
	uint32_t cycles[AEAD_COSTS_BLOCKS + 1]; /* by blocks of text */
	uint32_t more;				/* for each block beyond */
};

/* Of one direction. */
struct aead_costs {
	/* One after the other: a packet by itself, and one of several. */
	struct aead_costs_curve alone, each;
	/* So many packets and one more, across: of one length; and one twice as long, not for 1. */
	struct aead_costs_curve even[AEAD_COSTS_PACKETS], uneven[AEAD_COSTS_PACKETS];
	/* aead_costs_compare() of one packet, by its blocks: short ones have no time to ask. */
	bool one_alone[AEAD_COSTS_BLOCKS + 1];
};

/* Takes about 40 ms of this CPU; -ENOMEM. Neither batch may be in use meanwhile. */
int aead_costs_measure(struct aead_costs *seal, struct aead_costs *open, struct aead_batch *across,
	struct aead_batch *alone);

/* Fills in one_alone from the curves. aead_costs_measure() has done it. */
void aead_costs_note_ones(struct aead_costs *costs);

/* True when one packet after the other is the quicker way for n packets (at least one). */
bool aead_costs_compare(const struct aead_costs *costs, const struct aead_op *ops, unsigned n);

/* The same, with what is known already. */
static inline bool aead_costs_better_alone(
	const struct aead_costs *costs, const struct aead_op *ops, unsigned n)
{
	if (n == 1 && ops->len <= AEAD_COSTS_BLOCKS * AEAD_COSTS_BLOCK_BYTES)
		return costs->one_alone[aead_costs_blocks(ops->len)];
	return n <= AEAD_COSTS_PACKETS && aead_costs_compare(costs, ops, n);
}

#endif
