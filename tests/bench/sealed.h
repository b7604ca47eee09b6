/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages from the peers, sealed before the trial that plays them: sealing them meanwhile would
 * cost the generator more than the gateway has to do. Each is played once, as its counter demands.
 *
 * Thread: one. Owns its packet buffers; a trial's sizes decide how large they are.
 */
#ifndef BENCH_SEALED_H
#define BENCH_SEALED_H

#include "trial.h"
#include "tunnels.h"

struct sealed {
	struct rte_mempool *pool;
	unsigned room, capacity;
	struct rte_mbuf **mbufs;
	unsigned count, next;
};

/* Seals up to n messages, fewer where memory does not suffice. Returns how many, 0 for none. */
unsigned sealed_prepare(
	struct sealed *sealed, struct tunnels *tunnels, const struct trial *trial, unsigned n);
/* The next n; 0, or -1 when there are not so many left. */
int sealed_take(struct sealed *sealed, struct rte_mbuf **mbufs, unsigned n);
/* Frees those that were not taken. */
void sealed_discard(struct sealed *sealed);

#endif
