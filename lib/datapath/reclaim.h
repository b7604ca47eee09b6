/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deferred freeing: what control has unlinked from a published table is given back once every
 * reader has reported quiescent since (rte_rcu_qsbr). First retired, first released.
 *
 * Thread: control, all functions. None waits. Works on plain memory, with or without EAL. The queue
 * grows as it must and holds 32 bytes for each object; how much lies in it is bounded by what
 * control retires within the longest turn of a reader.
 */
#ifndef DATAPATH_RECLAIM_H
#define DATAPATH_RECLAIM_H

#include <stddef.h>

struct rte_rcu_qsbr;
struct dp_reclaim;

/* Gives object back; no reader can see it any more. May retire other objects. */
typedef void (*dp_reclaim_fn)(void *arg, void *object);

/* qsbr is the caller's and outlives the queue. NULL: out of memory. */
struct dp_reclaim *dp_reclaim_create(struct rte_rcu_qsbr *qsbr);
/* Frees the queue, which is empty. */
void dp_reclaim_destroy(struct dp_reclaim *reclaim);

/* Makes sure that the next n calls of dp_reclaim_retire() cannot fail. 0 or -ENOMEM. */
int dp_reclaim_reserve(struct dp_reclaim *reclaim, unsigned n);
/*
 * Calls release(arg, object) from a later poll. object is unlinked already: no reader that comes
 * now finds it. 0, or -ENOMEM: then object stays the caller's (and readers may still hold it).
 */
int dp_reclaim_retire(struct dp_reclaim *reclaim, dp_reclaim_fn release, void *arg, void *object);
/* Releases up to max objects that all readers have passed; returns how many. */
unsigned dp_reclaim_poll(struct dp_reclaim *reclaim, unsigned max);
/* Releases everything; no reader runs any more. */
void dp_reclaim_drain(struct dp_reclaim *reclaim);

/* Objects that wait. */
size_t dp_reclaim_pending(const struct dp_reclaim *reclaim);

#endif
