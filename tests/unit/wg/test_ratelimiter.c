/* SPDX-License-Identifier: BSD-3-Clause */
/* The source limiter by its rules, and against a naive one that looks at every source it knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "seed.h"
#include "wg/constants.h"
#include "wg/ratelimiter.h"

#define START_NS (1000 * NS_PER_SEC)
#define STEP_NS	 (50 * NS_PER_MS) /* 20 a second */
#define BURST	 5

static const uint8_t secret[16] = {1, 2, 3};

static struct ip_addr v4(uint32_t address)
{
	struct ip_addr addr = {.family = IP_V4};

	store_be32(addr.bytes, address);
	return addr;
}

static struct ip_addr v6(uint64_t network, uint64_t host)
{
	struct ip_addr addr = {.family = IP_V6};

	store_be64(addr.bytes, network);
	store_be64(addr.bytes + 8, host);
	return addr;
}

static bool allow(struct ratelimiter *limiter, struct ip_addr source, uint64_t now_ns)
{
	return ratelimiter_allow(limiter, &source, now_ns);
}

static struct ratelimiter *create(uint32_t capacity)
{
	struct ratelimiter *limiter = ratelimiter_create(capacity, secret);

	assert_non_null(limiter);
	return limiter;
}

static void spend_burst(struct ratelimiter *limiter, struct ip_addr source, uint64_t now_ns)
{
	for (unsigned i = 0; i < BURST; i++)
		assert_true(allow(limiter, source, now_ns));
	assert_false(allow(limiter, source, now_ns));
}

static void test_burst_and_rate(void **state)
{
	struct ratelimiter *limiter = create(100);
	const struct ip_addr source = v4(0xc0000201);
	uint64_t now_ns = START_NS;

	(void)state;
	spend_burst(limiter, source, now_ns);
	assert_false(allow(limiter, source, now_ns + STEP_NS - 1));
	/* What was refused cost nothing, and the time before it is not lost. */
	assert_true(allow(limiter, source, now_ns + STEP_NS));
	assert_false(allow(limiter, source, now_ns + STEP_NS));
	now_ns += STEP_NS;
	/* Steadily at the rate, each passes; over a second that is 20. */
	for (unsigned i = 0; i < 100; i++) {
		now_ns += STEP_NS;
		assert_true(allow(limiter, source, now_ns));
		assert_false(allow(limiter, source, now_ns));
	}
	/* However long the rest, no more than a burst. */
	spend_burst(limiter, source, now_ns + BURST * STEP_NS);
	spend_burst(limiter, source, now_ns + 100 * NS_PER_SEC);
	ratelimiter_destroy(limiter);
}

static void test_what_is_one_source(void **state)
{
	struct ratelimiter *limiter = create(100);

	(void)state;
	spend_burst(limiter, v4(0xc0000201), START_NS);
	/* The neighbour, and the IPv6 network of the same bits. */
	spend_burst(limiter, v4(0xc0000202), START_NS);
	spend_burst(limiter, v6(0xc0000201, 0), START_NS);
	/* Hosts of a /64 share, the next /64 has its own. */
	for (unsigned i = 0; i < BURST; i++)
		assert_true(allow(
			limiter, v6(0x20010db800000001, i * 0x0101010101010101ull), START_NS));
	assert_false(allow(limiter, v6(0x20010db800000001, 77), START_NS));
	spend_burst(limiter, v6(0x20010db800000002, 77), START_NS);
	ratelimiter_destroy(limiter);
}

static void test_full_table(void **state)
{
	enum { CAPACITY = 37 };
	struct ratelimiter *limiter = create(CAPACITY);

	(void)state;
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_true(allow(limiter, v4(i), START_NS + i));
	/* New ones are refused, known ones go on. */
	for (uint32_t i = CAPACITY; i < 1000; i++)
		assert_false(allow(limiter, v4(i), START_NS + CAPACITY));
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_true(allow(limiter, v4(i), START_NS + CAPACITY + i));
	/* A second after its last message the first of them makes room, and only that one. */
	assert_false(allow(limiter, v4(1000), START_NS + CAPACITY + NS_PER_SEC - 1));
	assert_true(allow(limiter, v4(1000), START_NS + CAPACITY + NS_PER_SEC));
	assert_false(allow(limiter, v4(1001), START_NS + CAPACITY + NS_PER_SEC));
	ratelimiter_destroy(limiter);
}

static void test_capacity_of_one(void **state)
{
	struct ratelimiter *limiter = create(1);

	(void)state;
	spend_burst(limiter, v4(1), START_NS);
	assert_false(allow(limiter, v4(2), START_NS));
	spend_burst(limiter, v4(2), START_NS + NS_PER_SEC);
	assert_false(allow(limiter, v4(1), START_NS + NS_PER_SEC));
	ratelimiter_destroy(limiter);
}

static void test_clock_goes_backwards(void **state)
{
	struct ratelimiter *limiter = create(2);

	(void)state;
	spend_burst(limiter, v4(1), START_NS);
	spend_burst(limiter, v4(2), START_NS);
	/* A step back gives nothing, and from there on time counts again. */
	assert_false(allow(limiter, v4(1), 0));
	assert_false(allow(limiter, v4(1), STEP_NS - 1));
	assert_true(allow(limiter, v4(1), STEP_NS));
	/* Entries of the future do not keep the table full. */
	assert_true(allow(limiter, v4(3), STEP_NS));
	assert_false(allow(limiter, v4(4), STEP_NS));
	ratelimiter_destroy(limiter);
	ratelimiter_destroy(NULL);
}

/* --- The naive one --- */

#define ORACLE_CAPACITY 24
#define ORACLE_SOURCES	40

struct oracle_entry {
	uint32_t source;
	uint64_t used_ns, order;
	double tokens;
};

struct oracle {
	struct oracle_entry entries[ORACLE_CAPACITY];
	unsigned count;
	uint64_t order;
};

static struct oracle_entry *oracle_find(struct oracle *oracle, uint32_t source)
{
	for (unsigned i = 0; i < oracle->count; i++)
		if (oracle->entries[i].source == source)
			return &oracle->entries[i];
	return NULL;
}

static struct oracle_entry *oracle_make_room(struct oracle *oracle, uint64_t now_ns)
{
	struct oracle_entry *oldest = &oracle->entries[0];

	if (oracle->count < ORACLE_CAPACITY)
		return &oracle->entries[oracle->count++];
	for (unsigned i = 1; i < oracle->count; i++)
		if (oracle->entries[i].order < oldest->order)
			oldest = &oracle->entries[i];
	return now_ns >= oldest->used_ns + NS_PER_SEC ? oldest : NULL;
}

static bool oracle_allow(struct oracle *oracle, uint32_t source, uint64_t now_ns)
{
	struct oracle_entry *entry = oracle_find(oracle, source);

	if (!entry) {
		entry = oracle_make_room(oracle, now_ns);
		if (!entry)
			return false;
		*entry =
			(struct oracle_entry){.source = source, .used_ns = now_ns, .tokens = BURST};
	}
	/* Steps of a millisecond are exact in fiftieths of a token to within rounding. */
	entry->tokens += (double)(now_ns - entry->used_ns) / (double)STEP_NS;
	if (entry->tokens > BURST)
		entry->tokens = BURST;
	entry->used_ns = now_ns;
	entry->order = ++oracle->order;
	if (entry->tokens < 1 - 1e-6)
		return false;
	entry->tokens -= 1;
	return true;
}

static void test_random_walk(void **state)
{
	struct seeded seeded = seeded_start("ratelimiter walk");
	struct ratelimiter *limiter = create(ORACLE_CAPACITY);
	struct oracle oracle = {0};
	unsigned allowed = 0, refused = 0;
	uint64_t now_ns = START_NS;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		/* Few sources for a while, then all of them: the table fills and turns over. */
		uint64_t sources = i / 1000 % 2 ? ORACLE_SOURCES : 8;
		uint32_t source = (uint32_t)seeded_below(&seeded, sources);
		bool expected;

		now_ns += seeded_below(&seeded, 12) * NS_PER_MS;
		if (seeded_below(&seeded, 200) == 0)
			now_ns += seeded_below(&seeded, 1200) * NS_PER_MS;
		expected = oracle_allow(&oracle, source, now_ns);
		assert_int_equal(allow(limiter, v4(source), now_ns), expected);
		allowed += expected;
		refused += !expected;
	}
	/* Both happened, or the walk shows nothing. */
	assert_true(allowed > 1000 && refused > 1000);
	ratelimiter_destroy(limiter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_and_rate),
		cmocka_unit_test(test_what_is_one_source),
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_capacity_of_one),
		cmocka_unit_test(test_clock_goes_backwards),
		cmocka_unit_test(test_random_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
