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

#include <stdatomic.h>
#include <stdint.h>

/* [workers w, control rw]; times are monotonic, 0 means never or none */
struct wg_activity {
	_Atomic uint64_t last_sent_ns;	   /* any authenticated packet, keepalives included */
	_Atomic uint64_t last_received_ns; /* any authenticated packet */
	_Atomic uint64_t waiting_since;	   /* for what: see below */
	_Atomic uint64_t tx_bytes;	   /* sealed bytes as UDP payload, as wg(8) shows them */
	_Atomic uint64_t rx_bytes;
};

/*
 * A packet sent settles what we owe, one received what is unanswered. So at most one of both is
 * waiting, and one word tells which: the first data received since a packet was last sent (with
 * this bit), the first data sent since a packet was last received (without), or 0.
 */
#define WG_ACTIVITY_OWED (1ull << 63)

static inline uint64_t wg_activity_waiting(const struct wg_activity *activity)
{
	return atomic_load_explicit(&activity->waiting_since, memory_order_relaxed);
}

/* First data sent since a packet was last received; 0: none. */
static inline uint64_t wg_activity_unanswered_since_ns(const struct wg_activity *activity)
{
	uint64_t waiting = wg_activity_waiting(activity);
	return waiting & WG_ACTIVITY_OWED ? 0 : waiting;
}

/* First data received since a packet was last sent; 0: none. */
static inline uint64_t wg_activity_owed_since_ns(const struct wg_activity *activity)
{
	uint64_t waiting = wg_activity_waiting(activity);
	return waiting & WG_ACTIVITY_OWED ? waiting & ~WG_ACTIVITY_OWED : 0;
}

/* Forgets what is unanswered, or what is owed. */
static inline void wg_activity_forget_unanswered(struct wg_activity *activity)
{
	if ((wg_activity_waiting(activity) & WG_ACTIVITY_OWED) == 0)
		atomic_store_explicit(&activity->waiting_since, 0, memory_order_relaxed);
}

static inline void wg_activity_forget_owed(struct wg_activity *activity)
{
	if ((wg_activity_waiting(activity) & WG_ACTIVITY_OWED) != 0)
		atomic_store_explicit(&activity->waiting_since, 0, memory_order_relaxed);
}

/* n packets of one run were sent at now; data: at least one of them was not a keepalive. */
static inline void wg_activity_sent(
	struct wg_activity *activity, uint64_t now_ns, uint64_t bytes, int data)
{
	atomic_fetch_add_explicit(&activity->tx_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&activity->last_sent_ns, now_ns, memory_order_relaxed);
	uint64_t waiting = wg_activity_waiting(activity);
	if ((waiting & WG_ACTIVITY_OWED) != 0 || (waiting == 0 && data))
		atomic_store_explicit(
			&activity->waiting_since, data ? now_ns : 0, memory_order_relaxed);
}

/* The same for packets that were received and authenticated. */
static inline void wg_activity_received(
	struct wg_activity *activity, uint64_t now_ns, uint64_t bytes, int data)
{
	atomic_fetch_add_explicit(&activity->rx_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&activity->last_received_ns, now_ns, memory_order_relaxed);
	uint64_t waiting = wg_activity_waiting(activity);
	if ((waiting & WG_ACTIVITY_OWED) == 0 && (waiting != 0 || data))
		atomic_store_explicit(&activity->waiting_since,
			data ? now_ns | WG_ACTIVITY_OWED : 0, memory_order_relaxed);
}

#endif
