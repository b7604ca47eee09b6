/* SPDX-License-Identifier: BSD-3-Clause */
/* Which way is the quicker one for few packets, by costs that are made up and by measured ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "crypto/aead_costs.h"

static void fill(struct aead_costs_curve *curve, uint32_t call, uint32_t block)
{
	for (uint32_t blocks = 0; blocks <= AEAD_COSTS_BLOCKS; blocks++)
		curve->cycles[blocks] = call + block * blocks;
	curve->more = block;
}

/* By itself a packet takes 100 and 10 a block, among others 80; across, the first is dear. */
static struct aead_costs made_up(void)
{
	struct aead_costs costs;

	fill(&costs.alone, 100, 10);
	fill(&costs.each, 80, 10);
	for (unsigned i = 0; i < AEAD_COSTS_PACKETS; i++) {
		fill(&costs.even[i], 170 + 20 * i, 5);
		fill(&costs.uneven[i], 300 + 20 * i, 5);
	}
	aead_costs_note_ones(&costs);
	return costs;
}

static bool alone(unsigned n, const uint32_t *lengths)
{
	struct aead_costs costs = made_up();
	struct aead_op ops[AEAD_BATCH_MAX] = {0};

	for (unsigned i = 0; i < n; i++)
		ops[i].len = lengths[i % 3];
	return aead_costs_better_alone(&costs, ops, n);
}

static void test_one(void **state)
{
	(void)state;
	assert_true(alone(1, (uint32_t[3]){0}));
	assert_true(alone(1, (uint32_t[3]){13 * 64}));	/* 230, 235 */
	assert_false(alone(1, (uint32_t[3]){14 * 64})); /* 240, 240 */
	assert_false(alone(1, (uint32_t[3]){13 * 64 + 1}));
}

static void test_few(void **state)
{
	(void)state;
	/* 2 * 80 + 10 * blocks against 190 + 5 * blocks: equal at 6. */
	assert_true(alone(2, (uint32_t[3]){128, 128}));
	assert_false(alone(2, (uint32_t[3]){192, 192}));
	/* Against 320 + 5 * blocks, of one length or not: equal at 32. */
	assert_true(alone(2, (uint32_t[3]){192, 28 * 64}));
	assert_false(alone(2, (uint32_t[3]){192, 29 * 64}));
	/* 3 * 80 against 210. */
	assert_false(alone(3, (uint32_t[3]){0, 0, 0}));
	assert_true(alone(3, (uint32_t[3]){0, 0, 64}));
}

static void test_many(void **state)
{
	(void)state;
	for (unsigned n = AEAD_COSTS_PACKETS + 1; n <= AEAD_BATCH_MAX; n++)
		assert_false(alone(n, (uint32_t[3]){0, 16, 9000}));
}

/* Longer than what was measured: the cost grows on. */
static void test_long(void **state)
{
	struct aead_costs costs = made_up();
	struct aead_op op = {.len = (AEAD_COSTS_BLOCKS + 40) * 64};

	(void)state;
	assert_false(aead_costs_better_alone(&costs, &op, 1));
	costs.even[0].more = 100;
	assert_true(aead_costs_better_alone(&costs, &op, 1));
	costs.alone.more = 200;
	assert_false(aead_costs_better_alone(&costs, &op, 1));
}

static void check(const struct aead_costs_curve *curve)
{
	for (unsigned blocks = 0; blocks <= AEAD_COSTS_BLOCKS; blocks++)
		assert_in_range(curve->cycles[blocks], 1, UINT32_MAX - 1);
	assert_true(curve->cycles[AEAD_COSTS_BLOCKS] > curve->cycles[1]);
	assert_in_range(curve->more, 1, UINT32_MAX);
}

static void test_measured(void **state)
{
	struct aead_batch *batch = aead_batch_create(AEAD_BACKEND_SODIUM);
	struct aead_costs seal, open;

	(void)state;
	assert_non_null(batch);
	assert_int_equal(aead_costs_measure(&seal, &open, batch, batch), 0);
	aead_batch_destroy(batch);
	for (unsigned i = 0; i < 2; i++) {
		const struct aead_costs *costs = i == 0 ? &seal : &open;

		check(&costs->alone);
		check(&costs->each);
		check(&costs->even[0]);
		check(&costs->even[2]);
		check(&costs->uneven[1]);
		check(&costs->uneven[2]);
		for (uint32_t len = 0; len <= 64 * AEAD_COSTS_BLOCKS + 1; len++) {
			struct aead_op op = {.len = len};

			assert_int_equal(aead_costs_better_alone(costs, &op, 1),
				aead_costs_compare(costs, &op, 1));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one),
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
