/* SPDX-License-Identifier: BSD-3-Clause */
/* Allowed IPs against a plain list, and the sizes that are promised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "node.h"
#include "wg/peer.h"

#define PEERS	 8
#define PREFIXES 400

static struct wg_peer peers[PEERS];

static struct oracle {
	struct ip_prefix prefix;
	struct wg_peer *peer;
} oracle[PREFIXES];
static unsigned known;

static struct oracle *oracle_find(const struct ip_prefix *prefix)
{
	for (unsigned i = 0; i < known; i++)
		if (ip_prefix_equal(&oracle[i].prefix, prefix))
			return &oracle[i];
	return NULL;
}

/* Few distinct bits, so that prefixes are drawn again. */
static struct ip_addr random_addr(struct rng *rng)
{
	struct ip_addr addr = {.family = rng_chance(rng, 50) ? IP_V4 : IP_V6};
	unsigned len = ip_family_bits(addr.family) / 8;

	for (unsigned i = 0; i < len; i++)
		addr.bytes[i] = rng_chance(rng, 80) ? 0 : (uint8_t)(rng_below(rng, 4) << 6 | 1);
	return addr;
}

static struct ip_prefix random_prefix(struct rng *rng)
{
	struct ip_prefix prefix = {.addr = random_addr(rng)};

	prefix.bits = (uint8_t)rng_below(rng, ip_family_bits(prefix.addr.family) + 1);
	if (rng_chance(rng, 50))
		prefix.bits = (uint8_t)(prefix.bits / 8 * 8);
	ip_prefix_mask(&prefix);
	return prefix;
}

/* The one peer in whose list the prefix stands. */
static struct wg_peer *owner(const struct allowedips *table, const struct ip_prefix *wanted)
{
	struct wg_peer *found = NULL;

	for (unsigned p = 0; p < PEERS; p++) {
		const struct allowedips_entry *entry = NULL;

		while ((entry = allowedips_next(table, &peers[p], entry))) {
			struct ip_prefix prefix = allowedips_prefix(entry);

			if (ip_prefix_equal(&prefix, wanted)) {
				assert_null(found);
				found = &peers[p];
			}
		}
	}
	return found;
}

static void check_lists(const struct allowedips *table)
{
	unsigned seen = 0;

	for (unsigned p = 0; p < PEERS; p++) {
		const struct allowedips_entry *entry = NULL;

		while ((entry = allowedips_next(table, &peers[p], entry))) {
			struct ip_prefix prefix = allowedips_prefix(entry);
			struct oracle *o = oracle_find(&prefix);

			assert_non_null(o);
			assert_ptr_equal(o->peer, &peers[p]);
			seen++;
		}
	}
	assert_int_equal(seen, known);
}

static void test_against_list(void **state)
{
	struct rng rng = {rng_seed("allowedips")};
	struct allowedips *table = allowedips_create();

	(void)state;
	for (unsigned i = 0; i < 60000; i++) {
		struct wg_peer *peer = &peers[rng_below(&rng, PEERS)], *old = NULL;
		struct ip_prefix prefix = known && rng_chance(&rng, 40)
						  ? oracle[rng_below(&rng, known)].prefix
						  : random_prefix(&rng);
		struct oracle *o = oracle_find(&prefix);

		if (rng_chance(&rng, 50) && (o || known < PREFIXES)) {
			assert_int_equal(allowedips_set(table, &prefix, peer, &old), 0);
			assert_ptr_equal(old, o ? o->peer : NULL);
			if (!o)
				o = &oracle[known++];
			*o = (struct oracle){prefix, peer};
		} else {
			if (o && rng_chance(&rng, 70))
				peer = o->peer;
			assert_int_equal(
				allowedips_remove(table, &prefix, peer), o && o->peer == peer);
			if (o && o->peer == peer)
				*o = oracle[--known];
		}
		o = oracle_find(&prefix);
		assert_ptr_equal(owner(table, &prefix), o ? o->peer : NULL);
		if (i % 500 == 0)
			check_lists(table);
	}
	check_lists(table);
	allowedips_destroy(table);
	memset(peers, 0, sizeof(peers));
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct ip_prefix host(uint32_t n)
{
	struct ip_prefix prefix = {.addr = {.family = IP_V4}, .bits = 32};

	store_be32(prefix.addr.bytes, n);
	return prefix;
}

static void fill(const char *what, uint32_t count, uint32_t stride)
{
	struct allowedips *table = allowedips_create();
	double start = seconds(), filled;
	struct wg_peer *old;

	for (uint32_t i = 0; i < count; i++) {
		struct ip_prefix prefix = host(i * stride);

		assert_true(allowedips_set(table, &prefix, &peers[0], &old) == 0 && !old);
	}
	filled = seconds();
	for (uint32_t i = 0; i < count; i++) {
		struct ip_prefix prefix = host(i * stride);

		assert_true(allowedips_remove(table, &prefix, &peers[0]));
	}
	assert_null(allowedips_next(table, &peers[0], NULL));
	printf("%s: %u prefixes set in %.3f s, removed in %.3f s of CPU time\n", what, count,
		filled - start, seconds() - filled);
	/* Far above what it takes, for slow machines and sanitizers; quadratic would be hours. */
	assert_true(seconds() - start < 20);
	allowedips_destroy(table);
}

static void test_many(void **state)
{
	(void)state;
	fill("in order", 1000000, 1);
	fill("scattered", 1000000, 2654435769u);
	fill("subnets", 130560, 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_list),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
