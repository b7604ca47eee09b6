/* SPDX-License-Identifier: BSD-3-Clause */
/* Timers as a pure function: every timer at its exact time, and never looked at too late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "node.h"
#include "wg/timers.h"

#define SEC NS_PER_SEC
#define NOW (1000 * SEC)

/* Nothing is due just before at_ns, exactly *due* is at it, and timers_next() says so. */
static void assert_due_at(
	const struct timers *timers, const struct timers_view *view, uint64_t at_ns, unsigned due)
{
	assert_int_equal(timers_due(timers, view, at_ns - 1), 0);
	assert_int_equal(timers_due(timers, view, at_ns), due);
	assert_int_equal(timers_next(timers, view, NOW), at_ns);
}

static void test_nothing(void **state)
{
	struct timers timers = {0};
	struct timers_view view = {.may_send = true};

	(void)state;
	assert_int_equal(timers_due(&timers, &view, UINT64_MAX - 1), 0);
	assert_int_equal(timers_next(&timers, &view, NOW), UINT64_MAX);
}

static void test_retry_and_give_up(void **state)
{
	struct timers timers = {0};
	struct timers_view view = {.may_send = true};
	uint64_t now = NOW;

	(void)state;
	assert_int_equal(TIMERS_ATTEMPTS, 18);
	for (unsigned i = 1; i < TIMERS_ATTEMPTS; i++) {
		timers_initiation_sent(&timers, now, i);
		assert_due_at(&timers, &view, now + 5 * SEC + i, TIMERS_RETRY);
		now += 5 * SEC + i;
	}
	timers_initiation_sent(&timers, now, 0);
	assert_due_at(&timers, &view, now + 5 * SEC, TIMERS_GIVE_UP);
	timers_gave_up(&timers);
	assert_int_equal(timers_next(&timers, &view, now), UINT64_MAX);
	/* Again from the beginning. */
	timers_initiation_sent(&timers, now, 0);
	assert_int_equal(timers_due(&timers, &view, now + 5 * SEC), TIMERS_RETRY);
}

static void test_give_up_leaves_older_keys_their_time(void **state)
{
	struct timers timers = {0};

	(void)state;
	timers_session_derived(&timers, NOW);
	timers_gave_up(&timers);
	assert_int_equal(timers.erase_ns, NOW + 540 * SEC);
	timers_session_derived(&timers, NOW + 300 * SEC);
	assert_int_equal(timers.erase_ns, NOW + 840 * SEC);
}

static void test_complete_ends_retries(void **state)
{
	struct timers timers = {0};
	struct timers_view view = {.may_send = true};

	(void)state;
	timers_initiation_sent(&timers, NOW, 0);
	timers_handshake_complete(&timers);
	assert_int_equal(timers_next(&timers, &view, NOW), UINT64_MAX);
	assert_int_equal(timers.attempts, 0);
}

static void test_stamps(void **state)
{
	struct timers timers = {.jitter_ns = 77};
	struct timers_view owed = {.owed_since_ns = NOW - 3 * SEC, .may_send = true};
	struct timers_view unanswered = {.unanswered_since_ns = NOW - 3 * SEC};

	(void)state;
	assert_due_at(&timers, &owed, NOW + 7 * SEC, TIMERS_KEEPALIVE);
	assert_due_at(&timers, &unanswered, NOW + 12 * SEC + 77, TIMERS_NEW_HANDSHAKE);
}

static void test_persistent(void **state)
{
	struct timers timers = {
		.persistent_interval_ns = 25 * SEC, .persistent_last_ns = NOW - SEC};
	struct timers_view view = {.may_send = true};

	(void)state;
	assert_due_at(&timers, &view, NOW + 24 * SEC, TIMERS_PERSISTENT);
	view.last_sent_ns = NOW + 1 * SEC;
	assert_due_at(&timers, &view, NOW + 26 * SEC, TIMERS_PERSISTENT);
	view.last_received_ns = NOW + 2 * SEC;
	assert_due_at(&timers, &view, NOW + 27 * SEC, TIMERS_PERSISTENT);
	view.may_send = false;
	assert_int_equal(timers_next(&timers, &view, NOW), UINT64_MAX);
	/* Switched on before there was an endpoint: as soon as there is one. */
	timers.persistent_last_ns = 0;
	view = (struct timers_view){.may_send = true};
	assert_int_equal(timers_due(&timers, &view, NOW), TIMERS_PERSISTENT);
	assert_true(timers_next(&timers, &view, NOW) <= NOW);
}

static void test_live_peer_is_looked_at(void **state)
{
	struct timers timers = {0};
	struct timers_view view = {.live = true};

	(void)state;
	assert_int_equal(timers_next(&timers, &view, NOW), NOW + 10 * SEC);
	view.owed_since_ns = NOW - 4 * SEC;
	assert_int_equal(timers_next(&timers, &view, NOW), NOW + 6 * SEC);
	timers_session_derived(&timers, NOW - 538 * SEC);
	assert_int_equal(timers_next(&timers, &view, NOW), NOW + 2 * SEC);
}

/*
 * The promise of the lazy look: whatever stamps appear between two looks, the look at
 * timers_next() is never later than the first thing due.
 */
static void test_no_stamp_is_seen_too_late(void **state)
{
	struct rng rng = {rng_seed("timers")};

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct timers timers = {.jitter_ns = rng_below(&rng, WG_REKEY_JITTER_NS + 1),
			.persistent_interval_ns = rng_below(&rng, 3) * rng_below(&rng, 30) * SEC,
			.persistent_last_ns = NOW - rng_below(&rng, SEC)};
		struct timers_view view = {.live = true, .may_send = true};
		uint64_t look = timers_next(&timers, &view, NOW);
		uint64_t stamp = NOW + 1 + rng_below(&rng, 10 * SEC);

		if (stamp > look)
			continue;
		view.last_sent_ns = rng_chance(&rng, 50) ? stamp : 0;
		view.last_received_ns = rng_chance(&rng, 50) ? stamp : 0;
		view.owed_since_ns = rng_chance(&rng, 50) ? stamp : 0;
		view.unanswered_since_ns = rng_chance(&rng, 50) ? stamp : 0;
		assert_int_equal(timers_due(&timers, &view, look - 1), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_retry_and_give_up),
		cmocka_unit_test(test_give_up_leaves_older_keys_their_time),
		cmocka_unit_test(test_complete_ends_retries),
		cmocka_unit_test(test_stamps),
		cmocka_unit_test(test_persistent),
		cmocka_unit_test(test_live_peer_is_looked_at),
		cmocka_unit_test(test_no_stamp_is_seen_too_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
