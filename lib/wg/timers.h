/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The timers of a peer (whitepaper sections 6.1 to 6.5) as pure functions: from a peer's timer
 * state, the stamps that its packets left, and now, they tell what is due and when next to look.
 *
 * Stamps come without a message to control (activity.h), so a peer whose session workers may use is
 * looked at every KEEPALIVE_TIMEOUT at least. Every deadline that a stamp begins lies at least that
 * far behind the stamp (a persistent keepalive's can be nearer, but a stamp only puts it off): it
 * is known in good time, and kept exactly.
 *
 * Thread: control. No allocation.
 */
#ifndef WG_TIMERS_H
#define WG_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "wg/constants.h"

/* Initiations sent before a handshake is given up. */
#define TIMERS_ATTEMPTS (WG_REKEY_ATTEMPT_TIME_NS / WG_REKEY_TIMEOUT_NS)

struct timers {
	uint64_t retry_ns; /* when the handshake under way is tried again; 0: none is */
	uint64_t erase_ns; /* when all keys are erased; 0: there are none */
	uint64_t persistent_interval_ns; /* 0: off */
	uint64_t persistent_last_ns;	 /* when it last fired or was switched on; 0: not yet */
	uint64_t jitter_ns;		 /* of the next new handshake */
	uint32_t attempts;		 /* initiations sent in the handshake under way */
};

/* What the timers depend on beside their own state. */
struct timers_view {
	uint64_t last_sent_ns, last_received_ns, unanswered_since_ns, owed_since_ns;
	bool live;     /* a session that workers may use */
	bool may_send; /* there is an endpoint, a key, and a link that runs */
};

/* What is due: a set of these. */
enum timers_due {
	TIMERS_RETRY = 1 << 0,	       /* send another initiation */
	TIMERS_GIVE_UP = 1 << 1,       /* the handshake has failed */
	TIMERS_NEW_HANDSHAKE = 1 << 2, /* data was sent and nothing came back: begin a handshake */
	TIMERS_KEEPALIVE = 1 << 3,     /* data was received and nothing sent */
	TIMERS_PERSISTENT = 1 << 4,    /* no packet either way for the configured time */
	TIMERS_ERASE = 1 << 5,	       /* erase all keys */
};

unsigned timers_due(const struct timers *timers, const struct timers_view *view, uint64_t now_ns);
/* When to ask timers_due() again; UINT64_MAX: only after something happened. */
uint64_t timers_next(const struct timers *timers, const struct timers_view *view, uint64_t now_ns);

/* An initiation was sent; jitter of 0..WG_REKEY_JITTER_NS. */
void timers_initiation_sent(struct timers *timers, uint64_t now_ns, uint64_t jitter_ns);
/* Keys were derived, in either role. */
void timers_session_derived(struct timers *timers, uint64_t now_ns);
/* The peer has proven its keys: the handshake under way is done. */
void timers_handshake_complete(struct timers *timers);
/* The handshake failed: none is under way; old keys have their time still. */
void timers_gave_up(struct timers *timers);

#endif
