/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "seed.h"
#include "wg/tai64n.h"

#define STEP_NS (1ull << 24)

static void expect_label(const uint8_t label[WG_TIMESTAMP_BYTES], uint64_t seconds, uint32_t ns)
{
	assert_int_equal(load_be64(label), seconds);
	assert_int_equal(load_be32(label + 8), ns);
}

static void test_known_labels(void **state)
{
	uint8_t label[WG_TIMESTAMP_BYTES];

	(void)state;
	tai64n_from_wall(label, 0);
	expect_label(label, 0x400000000000000aull, 0);
	tai64n_from_wall(label, STEP_NS - 1);
	expect_label(label, 0x400000000000000aull, 0);
	tai64n_from_wall(label, STEP_NS);
	expect_label(label, 0x400000000000000aull, STEP_NS);
	tai64n_from_wall(label, NS_PER_SEC - 1);
	expect_label(label, 0x400000000000000aull, 59 * STEP_NS);
	/* 2018-08-31 15:17:32 UTC, when the recordings were begun. */
	tai64n_from_wall(label, 1535728652 * NS_PER_SEC + 100 * NS_PER_MS);
	expect_label(label, 0x400000005b895c16ull, 5 * STEP_NS);
	tai64n_from_wall(label, UINT64_MAX);
	expect_label(label, 0x400000000000000aull + UINT64_MAX / NS_PER_SEC,
		UINT64_MAX % NS_PER_SEC / STEP_NS * STEP_NS);
}

/* In the order of time, and two initiations 20 ms apart differ. */
static void test_order(void **state)
{
	uint8_t earlier[WG_TIMESTAMP_BYTES], later[WG_TIMESTAMP_BYTES];
	struct seeded seeded = seeded_start("labels");

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t wall_ns = seeded_next(&seeded) >> 1 >> seeded_below(&seeded, 40);

		tai64n_from_wall(earlier, wall_ns);
		tai64n_from_wall(later, wall_ns + seeded_below(&seeded, 40 * NS_PER_MS));
		assert_true(memcmp(earlier, later, WG_TIMESTAMP_BYTES) <= 0);
		tai64n_from_wall(later, wall_ns + WG_INITIATION_INTERVAL_NS);
		assert_true(memcmp(earlier, later, WG_TIMESTAMP_BYTES) < 0);
	}
}

/* The one after is the next that a clock would come to, and nothing lies between. */
static void test_after(void **state)
{
	uint8_t label[WG_TIMESTAMP_BYTES], after[WG_TIMESTAMP_BYTES], clock[WG_TIMESTAMP_BYTES];
	const uint64_t start_ns = 1535728652 * NS_PER_SEC;

	(void)state;
	tai64n_from_wall(label, start_ns);
	for (uint64_t ns = start_ns; ns < start_ns + 3 * NS_PER_SEC; ns += NS_PER_MS) {
		tai64n_from_wall(clock, ns);
		if (memcmp(clock, label, WG_TIMESTAMP_BYTES) == 0)
			continue;
		tai64n_after(after, label);
		assert_memory_equal(after, clock, WG_TIMESTAMP_BYTES);
		memcpy(label, clock, WG_TIMESTAMP_BYTES);
	}
	/* In place, over the end of a second. */
	tai64n_from_wall(label, start_ns - 1);
	tai64n_after(label, label);
	expect_label(label, 0x400000000000000aull + 1535728652, 0);
}

/* Labels of others need not keep to our steps, nor to nanoseconds below 10^9. */
static void test_after_strange_labels(void **state)
{
	static const uint32_t strange[] = {0, 1, STEP_NS - 1, STEP_NS + 1, 999999999, 1000000000,
		0x7fffffff, 0xfeffffff, 0xff000000, 0xffffffff};
	uint8_t label[WG_TIMESTAMP_BYTES], after[WG_TIMESTAMP_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		store_be64(label, 77);
		store_be32(label + 8, strange[i]);
		tai64n_after(after, label);
		assert_true(memcmp(after, label, WG_TIMESTAMP_BYTES) > 0);
		assert_true(load_be32(after + 8) < NS_PER_SEC);
		assert_int_equal(load_be32(after + 8) % STEP_NS, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_labels),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_after),
		cmocka_unit_test(test_after_strange_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
