/* SPDX-License-Identifier: BSD-3-Clause */
/* The schedule against a scan of all peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "heap_env.h"
#include "node.h"
#include "wg/peer.h"

#define PEERS 300

static void test_random(void **state)
{
	struct rng rng = {rng_seed("schedule")};
	struct schedule schedule = {0};
	static struct wg_peer peers[PEERS];
	uint64_t deadlines[PEERS];

	(void)state;
	memset(deadlines, 0xff, sizeof(deadlines));
	for (unsigned i = 0; i < 20000; i++) {
		unsigned at = (unsigned)rng_below(&rng, PEERS);
		uint64_t earliest = UINT64_MAX;

		assert_true(schedule_reserve(&schedule, &heap_env, i < PEERS ? i + 1 : PEERS));
		if (i < PEERS)
			at = i;
		deadlines[at] = rng_chance(&rng, 30) ? UINT64_MAX : rng_below(&rng, 1000);
		schedule_set(&schedule, &peers[at], deadlines[at]);
		for (unsigned j = 0; j < PEERS; j++) {
			assert_int_equal(peers[j].schedule_place == 0, deadlines[j] == UINT64_MAX);
			if (deadlines[j] < earliest)
				earliest = deadlines[j];
		}
		assert_int_equal(schedule_earliest(&schedule), earliest);
		if (earliest == UINT64_MAX)
			assert_null(schedule_first(&schedule));
		else
			assert_int_equal(deadlines[schedule_first(&schedule) - peers], earliest);
	}
	schedule_free(&schedule, &heap_env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
