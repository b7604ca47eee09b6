/* SPDX-License-Identifier: BSD-3-Clause */
/* Staged packets: order, bound, memory only while there are any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node.h"
#include "wg/constants.h"
#include "wg/stage.h"

static void *packet(uintptr_t n)
{
	return (void *)(n + 1);
}

static void test_order_and_bound(void **state)
{
	struct stage stage = {0};

	(void)state;
	assert_null(stage_pop(&stage));
	for (uintptr_t i = 0; i < 3 * WG_STAGED_PACKETS; i++)
		assert_ptr_equal(stage_push(&stage, packet(i)),
			i < WG_STAGED_PACKETS ? NULL : packet(i - WG_STAGED_PACKETS));
	for (uintptr_t i = 2 * WG_STAGED_PACKETS; i < 3 * WG_STAGED_PACKETS; i++)
		assert_ptr_equal(stage_pop(&stage), packet(i));
	assert_null(stage_pop(&stage));
	assert_null(stage.packets);
}

/* Against counters: what comes out is what went in and was not pushed out. */
static void test_random(void **state)
{
	struct rng rng = {rng_seed("stage")};
	struct stage stage = {0};
	uintptr_t in = 0, out = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		if (rng_chance(&rng, rng_below(&rng, 100) < 60 ? 70 : 20)) {
			void *dropped = stage_push(&stage, packet(in++));

			assert_ptr_equal(
				dropped, in - out > WG_STAGED_PACKETS ? packet(out) : NULL);
			out += dropped != NULL;
		} else {
			assert_ptr_equal(stage_pop(&stage), in == out ? NULL : packet(out));
			out += in != out;
		}
		assert_int_equal(stage.count, in - out);
	}
	while (stage_pop(&stage))
		;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_bound),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
