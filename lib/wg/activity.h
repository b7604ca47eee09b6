/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a peer's packets leave behind for its timers: stamps, written by workers once per run of
 * packets, read by control. All relaxed atomics: each field stands alone, and a stamp that is seen
 * a little late only moves a timer by as much.
 *
 * Why timers need no message from the workers: every timer that a packet can start runs at least
 * KEEPALIVE_TIMEOUT. Control looks at a peer with a session at least that often, so a stamp is
 * always seen before the deadline that it starts.
 */
#ifndef WG_ACTIVITY_H
#define WG_ACTIVITY_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

struct wg_activity {
	/* [workers w, control rw]; times are monotonic, 0 means never or none */
	alignas(64) _Atomic uint64_t
		last_sent_ns;		      /* any authenticated packet, keepalives included */
	_Atomic uint64_t last_received_ns;    /* any authenticated packet */
	_Atomic uint64_t unanswered_since_ns; /* first data sent since a packet was last received */
	_Atomic uint64_t owed_since_ns;	      /* first data received since a packet was last sent */
	_Atomic uint64_t tx_bytes;	      /* sealed bytes as UDP payload, as wg(8) shows them */
	_Atomic uint64_t rx_bytes;
};

/* n packets of one run were sent at now; data: at least one of them was not a keepalive. */
static inline void wg_activity_sent(
	struct wg_activity *activity, uint64_t now_ns, uint64_t bytes, int data)
{
	atomic_fetch_add_explicit(&activity->tx_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&activity->last_sent_ns, now_ns, memory_order_relaxed);
	if (atomic_load_explicit(&activity->owed_since_ns, memory_order_relaxed) != 0)
		atomic_store_explicit(&activity->owed_since_ns, 0, memory_order_relaxed);
	if (data && atomic_load_explicit(&activity->unanswered_since_ns, memory_order_relaxed) == 0)
		atomic_store_explicit(&activity->unanswered_since_ns, now_ns, memory_order_relaxed);
}

/* The same for packets that were received and authenticated. */
static inline void wg_activity_received(
	struct wg_activity *activity, uint64_t now_ns, uint64_t bytes, int data)
{
	atomic_fetch_add_explicit(&activity->rx_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&activity->last_received_ns, now_ns, memory_order_relaxed);
	if (atomic_load_explicit(&activity->unanswered_since_ns, memory_order_relaxed) != 0)
		atomic_store_explicit(&activity->unanswered_since_ns, 0, memory_order_relaxed);
	if (data && atomic_load_explicit(&activity->owed_since_ns, memory_order_relaxed) == 0)
		atomic_store_explicit(&activity->owed_since_ns, now_ns, memory_order_relaxed);
}

#endif
