/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prefix lookup: TSC cycles for each of a bulk of 32, memory, time of insertion and of a change (a
 * prefix removed and set again), ours beside DPDK's rte_fib, rte_fib6 and rte_lpm6 with the same
 * content and the same queries, in interleaved rounds. Not a test. Use: bench_lpm EAL-OPTIONS --
 * [rounds]; rte_fib6 wants some 1.5 GB (-m), and is left out where it gets none.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lpm6.h>
#include <rte_malloc.h>

#include "base/bytes.h"
#include "datapath/lpm.h"

#define BULK	   32
#define QUERIES	   (1u << 18)
#define MAX_ROUNDS 99
#define CHANGES	   2000
#define MAX_PARTS  3

static uint64_t random_state = 88172645463325252ull;
static uint64_t sink;
static uint8_t queries[QUERIES][16];
static uint32_t queries4[QUERIES]; /* the same, in host order */

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dull >> 24;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- content ---- */

/* So many prefixes of a length, their addresses at random but for the bits that are given. */
struct part {
	unsigned bits, count;
};

struct content {
	const char *name;
	bool v6;
	enum order {
		RANDOM,	    /* IPv6: in one /64 where they are hosts, else in a /32 */
		ONE_PER_64, /* hosts in networks of their own */
		SEQUENTIAL, /* hosts */
		NESTED,	    /* each within one of the part before */
	} order;
	struct part parts[MAX_PARTS];
};

static const struct content contents[] = {
	{"IPv4 1 /32", false, RANDOM, {{32, 1}}},
	{"IPv4 1k /32", false, RANDOM, {{32, 1000}}},
	{"IPv4 100k /32", false, RANDOM, {{32, 100000}}},
	{"IPv4 50k /32, 50k /24", false, RANDOM, {{24, 50000}, {32, 50000}}},
	{"IPv4 20k /32, 80k /24", false, RANDOM, {{24, 80000}, {32, 20000}}},
	{"IPv4 100k /16, /24, /32 nested", false, NESTED, {{16, 1000}, {24, 33000}, {32, 66000}}},
	{"IPv4 100k /32 sequential", false, SEQUENTIAL, {{32, 100000}}},
	{"IPv4 1M /32", false, RANDOM, {{32, 1000000}}},
	{"IPv4 1M /24", false, RANDOM, {{24, 1000000}}},
	{"IPv6 1 /128", true, RANDOM, {{128, 1}}},
	{"IPv6 1k /128 in a /64", true, RANDOM, {{128, 1000}}},
	{"IPv6 100k /128 in a /64", true, RANDOM, {{128, 100000}}},
	{"IPv6 100k /128, one in a /64", true, ONE_PER_64, {{128, 100000}}},
	{"IPv6 100k /64", true, RANDOM, {{64, 100000}}},
	{"IPv6 100k /48, /64, /128 nested", true, NESTED, {{48, 1000}, {64, 33000}, {128, 66000}}},
	{"IPv6 100k /128 sequential", true, SEQUENTIAL, {{128, 100000}}},
	{"IPv6 1M /128 in a /64", true, RANDOM, {{128, 1000000}}},
	{"IPv6 1M /128 sequential", true, SEQUENTIAL, {{128, 1000000}}},
};

static unsigned count_longer(const struct content *content, unsigned bits)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MAX_PARTS; i++)
		n += content->parts[i].bits > bits ? content->parts[i].count : 0;
	return n;
}

static unsigned prefix_count(const struct content *content)
{
	return count_longer(content, 0);
}

static void make_address4(uint8_t *bytes, enum order order, unsigned i)
{
	store_be32(bytes, order == SEQUENTIAL ? 0x0a000000 + i : (uint32_t)next_random());
}

static void make_address6(uint8_t *bytes, enum order order, unsigned i, unsigned bits)
{
	store_be32(bytes, 0xfd112233);
	if (order == SEQUENTIAL || order == ONE_PER_64) {
		store_be32(bytes + (order == ONE_PER_64 ? 4 : 12), i);
		if (order == ONE_PER_64)
			bytes[15] = 1;
		return;
	}
	if (bits <= 64 || order == NESTED)
		store_be32(bytes + 4, (uint32_t)next_random());
	store_be64(bytes + 8, next_random() << 24 ^ next_random());
}

/* The first bits of another address. */
static void take_bits(uint8_t *bytes, const struct ip_prefix *from)
{
	memcpy(bytes, from->addr.bytes, from->bits / 8);
}

static struct ip_prefix *make_prefixes(const struct content *content)
{
	struct ip_prefix *prefixes = calloc(prefix_count(content), sizeof(*prefixes));
	struct ip_prefix *prefix = prefixes, *above = NULL;

	if (!prefixes)
		abort();
	for (unsigned p = 0; p < MAX_PARTS; p++) {
		const struct part *part = &content->parts[p];
		struct ip_prefix *part_begin = prefix;

		for (unsigned i = 0; i < part->count; i++, prefix++) {
			prefix->addr.family = content->v6 ? IP_V6 : IP_V4;
			prefix->bits = (uint8_t)part->bits;
			if (content->v6)
				make_address6(prefix->addr.bytes, content->order, i, part->bits);
			else
				make_address4(prefix->addr.bytes, content->order, i);
			if (content->order == NESTED && above != NULL)
				take_bits(
					prefix->addr.bytes, &above[next_random() % part[-1].count]);
			ip_prefix_mask(prefix);
		}
		above = part_begin;
	}
	return prefixes;
}

static void make_queries(const struct ip_prefix *prefixes, unsigned n, unsigned hot)
{
	for (unsigned i = 0; i < QUERIES; i++) {
		memcpy(queries[i],
			i < hot ? prefixes[next_random() % n].addr.bytes : queries[i % hot], 16);
		queries4[i] = load_be32(queries[i]);
	}
}

/* ---- the competitors ---- */

struct table {
	const char *name;
	/* NULL: not for this content, or no memory. */
	void *(*create)(const struct content *content);
	int (*add)(void *table, const struct ip_prefix *prefix, uint32_t value);
	int (*remove)(void *table, const struct ip_prefix *prefix);
	void (*lookup)(void *table, unsigned from, bool v6);
	void (*destroy)(void *table);
	double (*bytes)(void *table);
};

static double heap_bytes(void *table)
{
	struct rte_malloc_socket_stats stats;

	(void)table;
	rte_malloc_get_socket_stats(0, &stats);
	return (double)stats.heap_allocsz_bytes;
}

static void *ours_create(const struct content *content)
{
	(void)content;
	return dp_lpm_create(NULL);
}

static int ours_add(void *table, const struct ip_prefix *prefix, uint32_t value)
{
	return dp_lpm_set(table, prefix, value);
}

static int ours_remove(void *table, const struct ip_prefix *prefix)
{
	return dp_lpm_delete(table, prefix);
}

static void ours_lookup(void *table, unsigned from, bool v6)
{
	const uint8_t *addrs[BULK];
	uint32_t values[BULK];

	for (unsigned i = 0; i < BULK; i++)
		addrs[i] = queries[from + i];
	if (v6)
		dp_lpm_lookup6_bulk(table, addrs, values, BULK);
	else
		dp_lpm_lookup4_bulk(table, addrs, values, BULK);
	sink += values[0];
}

static void ours_destroy(void *table)
{
	dp_lpm_destroy(table);
}

static double ours_bytes(void *table)
{
	return (double)dp_lpm_bytes(table);
}

static void *fib_create(const struct content *content)
{
	struct rte_fib_conf conf = {
		.type = RTE_FIB_DIR24_8,
		.max_routes = (int)(prefix_count(content) + 16),
		.dir24_8 = {.nh_sz = RTE_FIB_DIR24_8_4B,
			.num_tbl8 = count_longer(content, 24) + 1024},
	};
	struct rte_fib *fib = content->v6 ? NULL : rte_fib_create("bench", 0, &conf);

	if (fib)
		rte_fib_select_lookup(fib, RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO);
	return fib;
}

static int fib_add(void *table, const struct ip_prefix *prefix, uint32_t value)
{
	return rte_fib_add(table, load_be32(prefix->addr.bytes), prefix->bits, value);
}

static int fib_remove(void *table, const struct ip_prefix *prefix)
{
	return rte_fib_delete(table, load_be32(prefix->addr.bytes), prefix->bits);
}

static void fib_lookup(void *table, unsigned from, bool v6)
{
	uint64_t values[BULK];

	(void)v6;
	rte_fib_lookup_bulk(table, queries4 + from, values, BULK);
	sink += values[0];
}

static void fib_destroy(void *table)
{
	rte_fib_free(table);
}

static void *fib6_create(const struct content *content)
{
	/* It wants 13 of these for each prefix, but drops what it cannot take. */
	struct rte_fib6_conf conf = {
		.type = RTE_FIB6_TRIE,
		.max_routes = (int)prefix_count(content) + 16,
		.trie = {.nh_sz = RTE_FIB6_TRIE_4B, .num_tbl8 = 1000000},
	};
	struct rte_fib6 *fib = content->v6 && prefix_count(content) <= 100000
				       ? rte_fib6_create("bench", 0, &conf)
				       : NULL;

	if (fib && rte_fib6_select_lookup(fib, RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512) != 0)
		rte_fib6_select_lookup(fib, RTE_FIB6_LOOKUP_TRIE_SCALAR);
	return fib;
}

static int fib6_add(void *table, const struct ip_prefix *prefix, uint32_t value)
{
	return rte_fib6_add(table, prefix->addr.bytes, prefix->bits, value);
}

static int fib6_remove(void *table, const struct ip_prefix *prefix)
{
	return rte_fib6_delete(table, prefix->addr.bytes, prefix->bits);
}

static void fib6_lookup(void *table, unsigned from, bool v6)
{
	uint64_t values[BULK];

	(void)v6;
	rte_fib6_lookup_bulk(table, queries + from, values, BULK);
	sink += values[0];
}

static void fib6_destroy(void *table)
{
	rte_fib6_free(table);
}

static void *lpm6_create(const struct content *content)
{
	struct rte_lpm6_config config = {
		.max_rules = prefix_count(content) + 16,
		.number_tbl8s = content->order == SEQUENTIAL ? 100000 : 1000000,
	};

	if (!content->v6 || (content->order != SEQUENTIAL && prefix_count(content) > 100000))
		return NULL;
	return rte_lpm6_create("bench", 0, &config);
}

static int lpm6_add(void *table, const struct ip_prefix *prefix, uint32_t value)
{
	return rte_lpm6_add(table, prefix->addr.bytes, prefix->bits, value);
}

static int lpm6_remove(void *table, const struct ip_prefix *prefix)
{
	return rte_lpm6_delete(table, prefix->addr.bytes, prefix->bits);
}

static void lpm6_lookup(void *table, unsigned from, bool v6)
{
	int32_t values[BULK];

	(void)v6;
	rte_lpm6_lookup_bulk_func(table, queries + from, values, BULK);
	sink += (uint32_t)values[0];
}

static void lpm6_destroy(void *table)
{
	rte_lpm6_free(table);
}

static const struct table tables[] = {
	{"dp_lpm", ours_create, ours_add, ours_remove, ours_lookup, ours_destroy, ours_bytes},
	{"rte_fib", fib_create, fib_add, fib_remove, fib_lookup, fib_destroy, heap_bytes},
	{"rte_fib6", fib6_create, fib6_add, fib6_remove, fib6_lookup, fib6_destroy, heap_bytes},
	{"rte_lpm6", lpm6_create, lpm6_add, lpm6_remove, lpm6_lookup, lpm6_destroy, heap_bytes},
};

#define TABLES (sizeof(tables) / sizeof(*tables))

/* ---- measuring ---- */

/* Microseconds that removing a prefix and setting it again takes. */
static double change(
	const struct table *table, void *made, const struct ip_prefix *prefixes, unsigned n)
{
	double start = seconds();

	for (unsigned i = 0; i < CHANGES; i++) {
		unsigned which = (unsigned)(next_random() % n);

		table->remove(made, &prefixes[which]);
		table->add(made, &prefixes[which], 1 + which % 1000000);
	}
	return (seconds() - start) * 1e6 / CHANGES;
}

static void *load(const struct table *table, const struct content *content,
	const struct ip_prefix *prefixes, unsigned n)
{
	double before = table->bytes == heap_bytes ? heap_bytes(NULL) : 0, mb;
	void *made = table->create(content);
	unsigned refused = 0;
	double start = seconds();

	if (!made)
		return NULL;
	for (unsigned i = 0; i < n; i++)
		refused += table->add(made, &prefixes[i], 1 + i % 1000000) != 0;
	start = seconds() - start;
	mb = (table->bytes(made) - before) / 1e6;
	printf("  %-9s inserted in %.3f s, %.0f MB, %.2f us a change", table->name, start, mb,
		change(table, made, prefixes, n));
	printf(refused ? ", %u refused\n" : "\n", refused);
	return made;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(void *made[TABLES], bool v6, unsigned hot, unsigned rounds)
{
	double cycles[TABLES][MAX_ROUNDS];

	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned t = 0; t < TABLES; t++) {
			uint64_t start = rte_rdtsc_precise();

			for (unsigned i = 0; made[t] && i < QUERIES; i += BULK)
				tables[t].lookup(made[t], i, v6);
			cycles[t][round] = (double)(rte_rdtsc_precise() - start) / QUERIES;
		}
	}
	for (unsigned t = 0; t < TABLES; t++) {
		if (!made[t])
			continue;
		qsort(cycles[t], rounds, sizeof(double), compare_doubles);
		printf("  %-9s %6u keys: %6.1f cycles least, %6.1f median\n", tables[t].name, hot,
			cycles[t][0], cycles[t][rounds / 2]);
	}
}

static void run(const struct content *content, unsigned rounds)
{
	static const unsigned hot[] = {1024, 4096, QUERIES};
	unsigned n = prefix_count(content);
	struct ip_prefix *prefixes = make_prefixes(content);
	void *made[TABLES];

	printf("%s\n", content->name);
	for (unsigned t = 0; t < TABLES; t++)
		made[t] = load(&tables[t], content, prefixes, n);
	for (unsigned h = 0; h < sizeof(hot) / sizeof(*hot); h++) {
		make_queries(prefixes, n, hot[h]);
		measure(made, content->v6, hot[h], rounds);
		fflush(stdout);
	}
	for (unsigned t = 0; t < TABLES; t++) {
		if (made[t])
			tables[t].destroy(made[t]);
	}
	free(prefixes);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	unsigned rounds = 9;

	if (used < 0)
		return EXIT_FAILURE;
	if (used + 1 < argc)
		rounds = (unsigned)strtoul(argv[used + 1], NULL, 10);
	if (rounds == 0 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "rounds: 1 to %d\n", MAX_ROUNDS);
		return EXIT_FAILURE;
	}
	printf("TSC %.0f MHz\n", (double)rte_get_tsc_hz() / 1e6);
	for (unsigned i = 0; i < sizeof(contents) / sizeof(*contents); i++)
		run(&contents[i], rounds);
	rte_eal_cleanup();
	return sink == 1; /* so that no lookup is for nothing */
}
