/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures: copies of what ports receive and send, for the operator to look at on an interface of
 * the host. Frames as they are on the wire: sealed ones of the outer side, plain ones of the inner.
 * Multicast is left out: all of it passes the port's own host interface, and the kernel, which gets
 * the copies, would take part in it twice.
 *
 * Sent frames are copied by the worker that has a queue of the port, whoever made them.
 * A copy that finds no buffer or no room in the ring is dropped by name; the frame never waits.
 * Private to lib/datapath. Thread: the worker's.
 */
#ifndef DATAPATH_CAPTURE_H
#define DATAPATH_CAPTURE_H

#include "datapath/worker.h"

/* Copies n frames; they stay the caller's. */
void dp_capture_frames(struct dp_worker *worker, struct rte_mbuf *const *mbufs, unsigned n);

/* The same when there is a capture. */
static inline void dp_capture(struct dp_worker *worker, struct rte_mbuf *const *mbufs, unsigned n)
{
	if (unlikely(atomic_load_explicit(&worker->dp->capture, memory_order_relaxed)))
		dp_capture_frames(worker, mbufs, n);
}

#endif
