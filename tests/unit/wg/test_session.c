/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters are handed out once, also at the end of a session and by many workers. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/limits.h"
#include "wg/session.h"

#define LIMIT WG_REJECT_AFTER_MESSAGES

static struct wg_session *session_at(uint64_t counter)
{
	static struct wg_session session;

	memset(&session, 0, sizeof(session));
	atomic_init(&session.send_counter, counter);
	return &session;
}

static void test_consecutive(void **state)
{
	struct wg_session *session = session_at(0);

	(void)state;
	assert_int_equal(wg_session_reserve(session, 1), 0);
	assert_int_equal(wg_session_reserve(session, 64), 1);
	assert_int_equal(wg_session_reserve(session, 1), 65);
}

static void test_limit(void **state)
{
	struct wg_session *session = session_at(LIMIT - 10);

	(void)state;
	assert_int_equal(wg_session_reserve(session, 9), LIMIT - 10);
	assert_int_equal(wg_session_reserve(session, 1), UINT64_MAX);
}

/*
 * Once one was refused all are. Would catch a counter that steps back: between another's step forth
 * and back it would be handed out twice.
 */
static void test_refused_for_good(void **state)
{
	struct wg_session *session = session_at(LIMIT - 10);

	(void)state;
	assert_int_equal(wg_session_reserve(session, LIMIT_BURST), UINT64_MAX);
	assert_int_equal(wg_session_reserve(session, 1), UINT64_MAX);
	/* However often: it does not wrap. */
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(wg_session_reserve(session, LIMIT_BURST), UINT64_MAX);
	assert_true(atomic_load(&session->send_counter) >= LIMIT);
}

/* --- Many at once --- */

#define THREADS	 4
#define ROUNDS	 3000
#define LAST_FEW 150
#define TRIES	 40

static struct wg_session *shared;
static pthread_barrier_t barrier;
static _Atomic unsigned taken[LAST_FEW];
static _Atomic unsigned beyond;

static void *take(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	for (unsigned round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		for (unsigned i = 0; i < TRIES; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			unsigned n = seed >> 60 ? 1 : LIMIT_BURST;
			uint64_t first = wg_session_reserve(shared, n);

			if (first == UINT64_MAX)
				continue;
			for (unsigned k = 0; k < n; k++) {
				if (first + k < LIMIT && first + k >= LIMIT - LAST_FEW)
					atomic_fetch_add(&taken[first + k - (LIMIT - LAST_FEW)], 1);
				else
					atomic_fetch_add(&beyond, 1);
			}
		}
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void test_many_at_the_end(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	shared = session_at(LIMIT - LAST_FEW);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take, (void *)(i + 1)), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		atomic_store(&shared->send_counter, LIMIT - LAST_FEW);
		for (unsigned i = 0; i < LAST_FEW; i++)
			atomic_store(&taken[i], 0);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		for (unsigned i = 0; i < LAST_FEW; i++)
			assert_in_range(atomic_load(&taken[i]), 0, 1);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(beyond, 0);
	pthread_barrier_destroy(&barrier);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_consecutive),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_refused_for_good),
		cmocka_unit_test(test_many_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
