/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/timers.h"

#include "base/units.h"

#define NEVER UINT64_MAX

static uint64_t new_handshake_at(const struct timers *timers, const struct timers_view *view);
static uint64_t keepalive_at(const struct timers_view *view);
static uint64_t persistent_at(const struct timers *timers, const struct timers_view *view);

unsigned timers_due(const struct timers *timers, const struct timers_view *view, uint64_t now_ns)
{
	unsigned due = 0;

	if (timers->retry_ns != 0 && timers->retry_ns <= now_ns)
		due |= timers->attempts < TIMERS_ATTEMPTS ? TIMERS_RETRY : TIMERS_GIVE_UP;
	if (timers->erase_ns != 0 && timers->erase_ns <= now_ns)
		due |= TIMERS_ERASE;
	if (new_handshake_at(timers, view) <= now_ns)
		due |= TIMERS_NEW_HANDSHAKE;
	if (keepalive_at(view) <= now_ns)
		due |= TIMERS_KEEPALIVE;
	if (persistent_at(timers, view) <= now_ns)
		due |= TIMERS_PERSISTENT;
	return due;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t timers_next(const struct timers *timers, const struct timers_view *view, uint64_t now_ns)
{
	uint64_t next = NEVER;

	if (timers->retry_ns != 0)
		next = earlier(next, timers->retry_ns);
	if (timers->erase_ns != 0)
		next = earlier(next, timers->erase_ns);
	next = earlier(next, new_handshake_at(timers, view));
	next = earlier(next, keepalive_at(view));
	next = earlier(next, persistent_at(timers, view));
	if (view->live)
		next = earlier(next, now_ns + WG_KEEPALIVE_TIMEOUT_NS);
	return next;
}

void timers_initiation_sent(struct timers *timers, uint64_t now_ns, uint64_t jitter_ns)
{
	timers->retry_ns = now_ns + WG_REKEY_TIMEOUT_NS + jitter_ns;
	timers->attempts++;
}

void timers_session_derived(struct timers *timers, uint64_t now_ns)
{
	timers->erase_ns = now_ns + WG_ERASE_AFTER_NS;
}

void timers_handshake_complete(struct timers *timers)
{
	timers->retry_ns = 0;
	timers->attempts = 0;
}

void timers_gave_up(struct timers *timers)
{
	timers->retry_ns = 0;
	timers->attempts = 0;
}

static uint64_t new_handshake_at(const struct timers *timers, const struct timers_view *view)
{
	if (view->unanswered_since_ns == 0)
		return NEVER;
	return view->unanswered_since_ns + WG_NEW_HANDSHAKE_NS + timers->jitter_ns;
}

static uint64_t keepalive_at(const struct timers_view *view)
{
	if (view->owed_since_ns == 0)
		return NEVER;
	return view->owed_since_ns + WG_KEEPALIVE_TIMEOUT_NS;
}

/* At once when it was switched on before anything could be sent. */
static uint64_t persistent_at(const struct timers *timers, const struct timers_view *view)
{
	uint64_t last = timers->persistent_last_ns;

	if (timers->persistent_interval_ns == 0 || !view->may_send)
		return NEVER;
	if (last == 0)
		return 0;
	if (view->last_sent_ns > last)
		last = view->last_sent_ns;
	if (view->last_received_ns > last)
		last = view->last_received_ns;
	return last + timers->persistent_interval_ns;
}
