/* SPDX-License-Identifier: BSD-3-Clause */
/* The replay window against a naive one: a byte for each counter, and the rule as it is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "seed.h"
#include "wg/replay.h"

#define LAST_COUNTER (WG_REJECT_AFTER_MESSAGES - 1)
#define WINDOW	     ((uint64_t)WG_REPLAY_WINDOW)

/* Counters from base to base + ORACLE_SPAN - 1. */
#define ORACLE_SPAN (1u << 20)
struct oracle {
	uint64_t base, greatest;
	bool any;
	bool seen[ORACLE_SPAN];
};

static bool oracle_accept(struct oracle *oracle, uint64_t counter)
{
	bool *seen = &oracle->seen[counter - oracle->base];

	if (counter >= WG_REJECT_AFTER_MESSAGES || *seen)
		return false;
	if (oracle->any && counter < oracle->greatest && oracle->greatest - counter >= WINDOW)
		return false;
	if (!oracle->any || counter > oracle->greatest)
		oracle->greatest = counter;
	oracle->any = true;
	*seen = true;
	return true;
}

/* Mostly near the greatest, where packets are; at times at an edge, or far ahead. */
static uint64_t draw_counter(struct seeded *seeded, const struct oracle *oracle)
{
	int64_t offset;
	uint64_t at = oracle->greatest - oracle->base;

	switch (seeded_below(seeded, 16)) {
	case 0: /* the lower border of the window */
		offset = -(int64_t)WINDOW + (int64_t)seeded_below(seeded, 5) - 2;
		break;
	case 1: /* the border of a block */
		offset = (int64_t)seeded_below(seeded, 3) - 1 - (int64_t)(at % 64);
		break;
	case 2: /* anywhere in two windows */
		offset = -(int64_t)seeded_below(seeded, 2 * WINDOW);
		break;
	case 3: /* a jump, at times over all of the window and the blocks */
		offset = (int64_t)seeded_below(seeded, 1ull << seeded_below(seeded, 16));
		break;
	default: /* some reordering */
		offset = (int64_t)seeded_below(seeded, 80) - 72;
		break;
	}
	if (offset < 0 && (uint64_t)-offset > at)
		return oracle->base;
	return oracle->base + at + (uint64_t)offset;
}

static void walk(struct seeded *seeded, uint64_t base, unsigned steps)
{
	struct oracle *oracle = calloc(1, sizeof(*oracle));
	struct replay_window window;

	assert_non_null(oracle);
	oracle->base = oracle->greatest = base;
	replay_init(&window);
	for (unsigned i = 0; i < steps; i++) {
		uint64_t counter = draw_counter(seeded, oracle);

		if (counter - base >= ORACLE_SPAN)
			break;
		assert_int_equal(replay_accept(&window, counter), oracle_accept(oracle, counter));
		assert_int_equal(window.next, oracle->any ? oracle->greatest + 1 : 0);
	}
	free(oracle);
}

static void test_random_walks(void **state)
{
	static const uint64_t bases[] = {0, 1, 63, 64, WINDOW - 1, 1ull << 32, (1ull << 60) + 17,
		WG_REJECT_AFTER_MESSAGES - WINDOW - 100};
	struct seeded seeded = seeded_start("replay walks");

	(void)state;
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
		for (unsigned n = 0; n < 6; n++)
			walk(&seeded, bases[i], 20000);
}

static void test_first(void **state)
{
	static const uint64_t firsts[] = {0, 1, 63, 64, WINDOW - 1, WINDOW, WINDOW + 1,
		2 * WINDOW - 1, 2 * WINDOW, 1ull << 40, LAST_COUNTER};
	struct replay_window window;

	(void)state;
	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		memset(&window, 0xee, sizeof(window));
		replay_init(&window);
		assert_true(replay_accept(&window, firsts[i]));
		assert_false(replay_accept(&window, firsts[i]));
		if (firsts[i] > 0)
			assert_int_equal(replay_accept(&window, 0), firsts[i] < WINDOW);
	}
}

static void test_window_border(void **state)
{
	struct replay_window window;

	(void)state;
	/* At every place within a block. */
	for (uint64_t greatest = 3 * WINDOW; greatest < 3 * WINDOW + 130; greatest++) {
		replay_init(&window);
		assert_true(replay_accept(&window, greatest));
		assert_false(replay_accept(&window, greatest - WINDOW));
		assert_true(replay_accept(&window, greatest - WINDOW + 1));
		assert_false(replay_accept(&window, greatest - WINDOW + 1));
		/* One further, and the last of the window falls out of it. */
		assert_true(replay_accept(&window, greatest + 1));
		assert_false(replay_accept(&window, greatest - WINDOW + 1));
		assert_true(replay_accept(&window, greatest - WINDOW + 2));
	}
}

/* What was seen before a jump is not seen for a counter of the same place in the array. */
static void test_jumps(void **state)
{
	static const uint64_t jumps[] = {1, 64, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 64,
		2 * WINDOW - 1, 2 * WINDOW, 2 * WINDOW + 1, 5 * WINDOW, 1ull << 50};
	const uint64_t start = 4 * WINDOW;
	struct replay_window window;

	(void)state;
	for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		uint64_t greatest = start + jumps[i];

		replay_init(&window);
		for (uint64_t c = start - WINDOW; c <= start; c++)
			assert_true(replay_accept(&window, c));
		assert_true(replay_accept(&window, greatest));
		for (uint64_t c = greatest - 1; c > greatest - WINDOW; c--)
			assert_int_equal(replay_accept(&window, c), c > start);
		assert_false(replay_accept(&window, greatest - WINDOW));
	}
}

static void test_limit(void **state)
{
	static const uint64_t beyond[] = {WG_REJECT_AFTER_MESSAGES, WG_REJECT_AFTER_MESSAGES + 1,
		UINT64_MAX - WINDOW, UINT64_MAX - 1, UINT64_MAX};
	struct replay_window window, before;

	(void)state;
	replay_init(&window);
	for (unsigned round = 0; round < 2; round++) {
		before = window;
		for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++)
			assert_false(replay_accept(&window, beyond[i]));
		assert_memory_equal(&window, &before, sizeof(window));
		if (round == 0)
			assert_true(replay_accept(&window, LAST_COUNTER));
	}
	assert_false(replay_accept(&window, LAST_COUNTER));
	assert_true(replay_accept(&window, LAST_COUNTER - 1));
	assert_true(replay_accept(&window, LAST_COUNTER - WINDOW + 1));
	assert_false(replay_accept(&window, LAST_COUNTER - WINDOW));
	assert_false(replay_accept(&window, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_window_border),
		cmocka_unit_test(test_jumps),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_random_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
