/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session: the transport keys of one handshake, and what changes with each packet (whitepaper
 * section 5.4.5). Made and freed by the device (control thread), used by workers from the moment it
 * is published until a grace period after it was retired.
 *
 * Laid out by direction: opening reads the first line, and the window behind it for what comes out
 * of order; sealing reads the last.
 */
#ifndef WG_SESSION_H
#define WG_SESSION_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "wg/constants.h"
#include "wg/replay.h"

#define WG_CACHE_LINE 64

struct wg_session {
	/* Opening: one line. [const after publish, workers r] */
	alignas(WG_CACHE_LINE) uint8_t receive_key[WG_KEY_BYTES];
	uint64_t born_ns;     /* set by wg_session_set_born() */
	uint32_t local_index; /* the index that the peer sends to us */
	uint32_t peer_id;
	_Atomic bool confirmed; /* [control w, workers r] the peer has proven its keys */
	/* [workers w] under the lock: the one lock on the data path */
	atomic_flag replay_lock;
	struct replay_window replay;

	/* Sealing: one line. send_counter [workers w] by wg_session_reserve() only */
	alignas(WG_CACHE_LINE) uint8_t send_key[WG_KEY_BYTES];
	_Atomic uint64_t send_counter;
	uint64_t sealing_born_ns; /* the same as born_ns, in this line */
	uint32_t remote_index;
	bool initiator;	     /* we began this handshake: rekeying is ours */
	_Atomic bool proven; /* [workers w] so says a worker, and control is being told */
	/* [workers w] a rekey hint went out; [control w] cleared where none of its handshakes runs
	 */
	_Atomic bool rekey_asked;
};

static_assert(offsetof(struct wg_session, replay.blocks) == WG_CACHE_LINE,
	"what opening always reads is one line");
static_assert(offsetof(struct wg_session, rekey_asked) <
		      offsetof(struct wg_session, send_key) + WG_CACHE_LINE,
	"and what sealing does");

static inline void wg_session_set_born(struct wg_session *session, uint64_t now_ns)
{
	session->born_ns = session->sealing_born_ns = now_ns;
}

/* Each worker has one refused reservation under way at most: together they do not wrap. */
static_assert((uint64_t)LIMIT_WORKERS * LIMIT_BURST < UINT64_MAX - WG_REJECT_AFTER_MESSAGES,
	"a counter that was not to be handed out stays below 2^64");

/*
 * Reserves n consecutive counters (1 <= n <= LIMIT_BURST) and returns the first, or UINT64_MAX when
 * they would reach REJECT_AFTER_MESSAGES: the session then seals no more. No counter is handed out
 * twice.
 */
static inline uint64_t wg_session_reserve(struct wg_session *session, unsigned n)
{
	uint64_t first = atomic_fetch_add_explicit(&session->send_counter, n, memory_order_relaxed);
	if (__builtin_expect(first >= WG_REJECT_AFTER_MESSAGES - n, 0)) {
		/* Back to the limit, never below it: what was refused is so for everybody. */
		atomic_store_explicit(
			&session->send_counter, WG_REJECT_AFTER_MESSAGES, memory_order_relaxed);
		return UINT64_MAX;
	}
	return first;
}

/*
 * How old a session is. A worker's now is that of the beginning of its turn: a session that control
 * made since is not of a great age, but new.
 */
static inline uint64_t wg_session_age_ns(const struct wg_session *session, uint64_t now_ns)
{
	return now_ns > session->born_ns ? now_ns - session->born_ns : 0;
}

/* The same, for who seals. */
static inline uint64_t wg_session_sealing_age_ns(const struct wg_session *session, uint64_t now_ns)
{
	return now_ns > session->sealing_born_ns ? now_ns - session->sealing_born_ns : 0;
}

/* True while packets may be opened with it: younger than REJECT_AFTER_TIME. */
static inline bool wg_session_alive(const struct wg_session *session, uint64_t now_ns)
{
	return wg_session_age_ns(session, now_ns) < WG_REJECT_AFTER_TIME_NS;
}

/* True while packets may be sealed with it: the same. */
static inline bool wg_session_may_seal(const struct wg_session *session, uint64_t now_ns)
{
	return wg_session_sealing_age_ns(session, now_ns) < WG_REJECT_AFTER_TIME_NS;
}

static inline void wg_session_lock_replay(struct wg_session *session)
{
	while (atomic_flag_test_and_set_explicit(&session->replay_lock, memory_order_acquire))
		__builtin_ia32_pause();
}

static inline void wg_session_unlock_replay(struct wg_session *session)
{
	atomic_flag_clear_explicit(&session->replay_lock, memory_order_release);
}

#endif
