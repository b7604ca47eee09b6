/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <rte_rcu_qsbr.h>

#include "base/bytes.h"
#include "datapath/lpm.h"
#include "datapath/reclaim.h"

/* ---- randomness, and memory that can run out ---- */

static uint64_t seed;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull >> 16;
}

static unsigned failing; /* one allocation in so many fails; 0: none */

/* The linker sends the library's calls here (--wrap). */
void *__real_malloc(size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

static bool fails(void)
{
	return failing && next_random() % failing == 0;
}

void *__wrap_malloc(size_t bytes)
{
	return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
	return fails() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
	return fails() ? NULL : __real_aligned_alloc(align, bytes);
}

/* ---- the oracle: a list ---- */

#define ORACLE_MAX 400

struct oracle {
	struct {
		struct ip_prefix prefix;
		uint32_t value;
	} entries[ORACLE_MAX];
	unsigned n;
};

static unsigned oracle_find(const struct oracle *oracle, const struct ip_prefix *prefix)
{
	unsigned i = 0;

	while (i < oracle->n && !ip_prefix_equal(&oracle->entries[i].prefix, prefix))
		i++;
	return i;
}

static uint32_t oracle_lookup(const struct oracle *oracle, const struct ip_addr *addr)
{
	uint32_t value = DP_LPM_NONE;
	int best = -1;

	for (unsigned i = 0; i < oracle->n; i++) {
		const struct ip_prefix *prefix = &oracle->entries[i].prefix;

		if (prefix->addr.family == addr->family && prefix->bits > best &&
			ip_prefix_contains(prefix, addr)) {
			best = prefix->bits;
			value = oracle->entries[i].value;
		}
	}
	return value;
}

static uint32_t lookup(const struct dp_lpm *lpm, const struct ip_addr *addr)
{
	return addr->family == IP_V4 ? dp_lpm_lookup4(lpm, addr->bytes)
				     : dp_lpm_lookup6(lpm, addr->bytes);
}

/* ---- random content ---- */

/* Addresses that meet: each byte is one of a few, so that prefixes nest and neighbour. */
static struct ip_addr random_addr(uint8_t family, unsigned spread)
{
	struct ip_addr addr = {.family = family};

	for (unsigned i = 0; i < ip_family_bits(family) / 8; i++) {
		uint64_t r = next_random();

		addr.bytes[i] = (uint8_t)(r % 16 ? (r >> 8) % spread * 85 : r >> 8);
	}
	/* Long runs that are the same, too: paths to compress. */
	if (next_random() % 4 == 0)
		memset(addr.bytes + 1, 0, next_random() % (ip_family_bits(family) / 8));
	return addr;
}

static struct ip_prefix random_prefix(uint8_t family, unsigned spread)
{
	unsigned width = ip_family_bits(family);
	struct ip_prefix prefix = {.addr = random_addr(family, spread)};

	prefix.bits = (uint8_t)(next_random() % 3 ? width - next_random() % 10
						  : next_random() % (width + 1));
	ip_prefix_mask(&prefix);
	return prefix;
}

/* An address near a prefix: its first, its last, or the one beside either. */
static struct ip_addr near(const struct ip_prefix *prefix)
{
	struct ip_addr addr = prefix->addr;
	unsigned bytes = ip_family_bits(addr.family) / 8;
	uint64_t r = next_random();

	if (r & 1) {
		for (unsigned bit = prefix->bits; bit < bytes * 8; bit++)
			addr.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	}
	for (unsigned i = bytes; (r & 2) && i-- > 0;) {
		addr.bytes[i] = (uint8_t)(addr.bytes[i] + (r & 1 ? 1 : -1));
		if (addr.bytes[i] != (r & 1 ? 0 : 0xff))
			break;
	}
	return addr;
}

/* Compares answers near the prefixes and elsewhere, one by one and in bulk. */
static void compare(const struct dp_lpm *lpm, const struct oracle *oracle, unsigned n)
{
	struct ip_addr addrs[2][150];
	const uint8_t *bytes[2][150];
	uint32_t values[150];
	unsigned count[2] = {0, 0};

	assert_true(n <= 150);
	for (unsigned i = 0; i < n; i++) {
		uint8_t family = next_random() & 1 ? IP_V4 : IP_V6;
		struct ip_addr addr =
			oracle->n > 0 && i % 4
				? near(&oracle->entries[next_random() % oracle->n].prefix)
				: random_addr(family, 3);
		unsigned v6 = addr.family == IP_V6;

		assert_int_equal(lookup(lpm, &addr), oracle_lookup(oracle, &addr));
		addrs[v6][count[v6]] = addr;
		bytes[v6][count[v6]] = addrs[v6][count[v6]].bytes;
		count[v6]++;
	}
	for (unsigned v6 = 0; v6 < 2; v6++) {
		(v6 ? dp_lpm_lookup6_bulk : dp_lpm_lookup4_bulk)(lpm, bytes[v6], values, count[v6]);
		for (unsigned i = 0; i < count[v6]; i++)
			assert_int_equal(values[i], oracle_lookup(oracle, &addrs[v6][i]));
	}
}

/* ---- one table under random changes ---- */

struct fixture {
	struct rte_rcu_qsbr *qsbr;
	struct dp_reclaim *reclaim;
	struct dp_lpm *lpm;
	struct oracle oracle;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	size_t bytes = rte_rcu_qsbr_get_memsize(4);

	f->qsbr = aligned_alloc(64, bytes);
	rte_rcu_qsbr_init(f->qsbr, 4);
	f->reclaim = dp_reclaim_create(f->qsbr);
	f->lpm = dp_lpm_create(f->reclaim);
	*state = f;
	return f->lpm ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dp_lpm_destroy(f->lpm);
	dp_reclaim_drain(f->reclaim);
	dp_reclaim_destroy(f->reclaim);
	free(f->qsbr);
	free(f);
	return 0;
}

static void set(struct fixture *f, const struct ip_prefix *prefix, uint32_t value)
{
	unsigned at = oracle_find(&f->oracle, prefix);
	int error;

	if (at == ORACLE_MAX)
		return;
	error = dp_lpm_set(f->lpm, prefix, value);
	if (error) {
		assert_int_equal(error, -ENOMEM);
		assert_true(failing > 0);
		/* Only of what is new: else its old value would go on answering. */
		assert_int_equal(at, f->oracle.n);
		return;
	}
	f->oracle.entries[at].prefix = *prefix;
	f->oracle.entries[at].value = value;
	if (at == f->oracle.n)
		f->oracle.n++;
}

static void delete (struct fixture *f, const struct ip_prefix *prefix)
{
	unsigned at = oracle_find(&f->oracle, prefix);
	int expected = at < f->oracle.n ? 0 : -ENOENT;

	assert_int_equal(dp_lpm_delete(f->lpm, prefix), expected);
	if (expected == 0)
		f->oracle.entries[at] = f->oracle.entries[--f->oracle.n];
}

static void change(struct fixture *f, unsigned spread, bool growing)
{
	uint8_t family = next_random() & 1 ? IP_V4 : IP_V6;
	bool known = f->oracle.n > 0 && next_random() & 1;
	struct ip_prefix prefix = known ? f->oracle.entries[next_random() % f->oracle.n].prefix
					: random_prefix(family, spread);

	if (next_random() % 8 < (growing ? 6 : 2))
		set(f, &prefix, (uint32_t)(next_random() % 1000));
	else
		delete (f, &prefix);
	assert_int_equal(dp_lpm_count(f->lpm), f->oracle.n);
}

static void change_at_random(struct fixture *f, unsigned rounds)
{
	for (unsigned round = 0; round < rounds; round++) {
		unsigned spread = 1 + (unsigned)(next_random() % 4);
		unsigned changes = 20 + (unsigned)(next_random() % 1000);

		for (unsigned i = 0; i < 2 * changes; i++) {
			change(f, spread, i < changes);
			if (i % 16 == 0)
				compare(f->lpm, &f->oracle, 40);
			dp_reclaim_poll(f->reclaim, 3);
		}
		compare(f->lpm, &f->oracle, 150);
	}
}

static void delete_all(struct fixture *f)
{
	while (f->oracle.n > 0) {
		struct ip_prefix prefix = f->oracle.entries[next_random() % f->oracle.n].prefix;

		delete (f, &prefix);
		if (f->oracle.n % 8 == 0)
			compare(f->lpm, &f->oracle, 40);
	}
	compare(f->lpm, &f->oracle, 40);
}

static void random_changes(void **state)
{
	change_at_random(*state, 10);
}

/* Deleted until nothing is left, the table is as small as at first. */
static void nothing_stays_behind(void **state)
{
	struct fixture *f = *state;
	size_t bytes = dp_lpm_bytes(f->lpm);

	for (unsigned round = 0; round < 4; round++) {
		change_at_random(f, 1);
		delete_all(f);
		dp_reclaim_poll(f->reclaim, UINT32_MAX);
		assert_int_equal(dp_lpm_count(f->lpm), 0);
		assert_int_equal(dp_lpm_bytes(f->lpm), bytes);
	}
}

static void nothing_waits_without_readers(void **state)
{
	struct fixture *f = *state;

	dp_lpm_destroy(f->lpm);
	f->lpm = dp_lpm_create(NULL);
	assert_non_null(f->lpm);
	assert_true(dp_lpm_bytes(f->lpm) < 2048);
	change_at_random(f, 3);
	assert_int_equal(dp_reclaim_pending(f->reclaim), 0);
}

/* A change that finds no memory changes nothing; a deletion needs none. */
static void without_memory(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 0; round < 10; round++) {
		failing = 2 + round / 2;
		change_at_random(f, 1);
		failing = round & 1;
		delete_all(f);
		failing = 0;
	}
	change_at_random(f, 1);
}

static void destroyed_before_it_is_reclaimed(void **state)
{
	struct fixture *f = *state;

	change_at_random(f, 1);
	for (unsigned i = 0; i < 1000; i++)
		change(f, 2, true);
	assert_true(dp_reclaim_pending(f->reclaim) > 0);
	dp_lpm_destroy(f->lpm);
	f->lpm = NULL;
	dp_reclaim_drain(f->reclaim);
}

/* ---- particular prefixes ---- */

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;

	assert_true(ip_prefix_parse(text, &prefix));
	return prefix;
}

static uint32_t answer(const struct dp_lpm *lpm, const char *text)
{
	struct ip_addr addr;

	assert_true(ip_addr_parse(text, &addr));
	return lookup(lpm, &addr);
}

static void lengths(void **state)
{
	static const char *const texts[] = {"0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/8", "10.1.0.0/16",
		"10.1.2.0/24", "10.1.2.3/32", "255.255.255.255/32", "0.0.0.0/32", "::/0",
		"8000::/1", "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8:0:1:8000::/65",
		"2001:db8:0:1::/63", "2001:db8:0:1::1/128", "::/128",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"};
	struct fixture *f = *state;

	assert_int_equal(answer(f->lpm, "10.1.2.3"), DP_LPM_NONE);
	assert_int_equal(answer(f->lpm, "::"), DP_LPM_NONE);
	for (uint32_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct ip_prefix prefix = prefix_of(texts[i]);

		ip_prefix_mask(&prefix);
		set(f, &prefix, i);
		assert_int_equal(dp_lpm_get(f->lpm, &prefix), i);
		compare(f->lpm, &f->oracle, 100);
	}
	assert_int_equal(answer(f->lpm, "10.1.2.3"), 5);
	assert_int_equal(answer(f->lpm, "10.1.2.4"), 4);
	assert_int_equal(answer(f->lpm, "10.1.3.3"), 3);
	assert_int_equal(answer(f->lpm, "10.2.2.3"), 2);
	assert_int_equal(answer(f->lpm, "200.0.0.1"), 1);
	assert_int_equal(answer(f->lpm, "9.0.0.1"), 0);
	assert_int_equal(answer(f->lpm, "255.255.255.255"), 6);
	assert_int_equal(answer(f->lpm, "0.0.0.0"), 7);
	assert_int_equal(answer(f->lpm, "2001:db8:0:1::1"), 14);
	assert_int_equal(answer(f->lpm, "2001:db8:0:1:8000::"), 12);
	assert_int_equal(answer(f->lpm, "::"), 15);
	delete_all(f);
}

static void nothing(void *arg, void *object)
{
	(void)arg;
	(void)object;
}

/* What a deletion without memory leaves behind follows its surroundings ever after. */
static void left_over(void **state)
{
	struct fixture *f = *state;
	struct ip_prefix covering = prefix_of("10.0.0.0/8"), host = prefix_of("10.20.30.40/32");
	size_t pending;

	for (unsigned i = 0; i < 100; i++) {
		struct ip_prefix other = {.addr = {.family = IP_V4}, .bits = 32};

		store_be32(other.addr.bytes, 10u << 24 | (uint32_t)(next_random() & 0xffffff));
		assert_int_equal(dp_lpm_set(f->lpm, &other, 3), 0);
	}
	assert_int_equal(dp_lpm_set(f->lpm, &covering, 1), 0);
	assert_int_equal(dp_lpm_set(f->lpm, &host, 2), 0);
	/* The queue is full, so that the next to be retired takes memory. */
	while (pending = dp_reclaim_pending(f->reclaim), pending < 64 || pending & (pending - 1))
		dp_reclaim_retire(f->reclaim, nothing, NULL, NULL);
	failing = 1;
	assert_int_equal(dp_lpm_delete(f->lpm, &host), 0);
	failing = 0;
	assert_int_equal(dp_reclaim_pending(f->reclaim), pending);
	assert_int_equal(answer(f->lpm, "10.20.30.40"), 1);
	assert_int_equal(dp_lpm_set(f->lpm, &covering, 5), 0);
	assert_int_equal(answer(f->lpm, "10.20.30.40"), 5);
	assert_int_equal(dp_lpm_set(f->lpm, &host, 6), 0);
	assert_int_equal(answer(f->lpm, "10.20.30.40"), 6);
}

/* Every address of a small network, in order, both ways: words that are values, no buckets. */
static void dense(void **state)
{
	struct fixture *f = *state;
	struct ip_prefix prefix = {.addr = {.family = IP_V4, .bytes = {10, 7}}, .bits = 32};

	for (uint32_t i = 0; i < 65536; i++) {
		prefix.addr.bytes[2] = (uint8_t)(i >> 8);
		prefix.addr.bytes[3] = (uint8_t)i;
		assert_int_equal(dp_lpm_set(f->lpm, &prefix, i), 0);
		dp_reclaim_poll(f->reclaim, UINT32_MAX);
	}
	for (uint32_t i = 0; i < 65536; i++) {
		uint8_t addr[4] = {10, 7, (uint8_t)(i >> 8), (uint8_t)i};

		assert_int_equal(dp_lpm_lookup4(f->lpm, addr), i);
		addr[1] ^= 1;
		assert_int_equal(dp_lpm_lookup4(f->lpm, addr), DP_LPM_NONE);
	}
	assert_true(dp_lpm_bytes(f->lpm) < 8u << 20);
	for (uint32_t i = 65536; i-- > 0;) {
		uint8_t addr[4] = {10, 7, (uint8_t)(i >> 8), (uint8_t)i};

		memcpy(prefix.addr.bytes, addr, 4);
		assert_int_equal(dp_lpm_delete(f->lpm, &prefix), 0);
		assert_int_equal(dp_lpm_lookup4(f->lpm, addr), DP_LPM_NONE);
		dp_reclaim_poll(f->reclaim, UINT32_MAX);
	}
	assert_int_equal(dp_lpm_count(f->lpm), 0);
}

#define MANY 50000

/* Many random hosts, more than the oracle can hold: each answers its own, its neighbour does not.
 */
static void many_hosts(void **state)
{
	struct fixture *f = *state;
	struct ip_prefix *prefixes = calloc(MANY, sizeof(*prefixes));
	struct ip_prefix covering = prefix_of("2001:db8::/32");
	size_t most;

	assert_int_equal(dp_lpm_set(f->lpm, &covering, 7777777), 0);
	for (uint32_t i = 0; i < MANY; i++) {
		uint64_t r = next_random() | 1;

		prefixes[i].addr = covering.addr;
		prefixes[i].bits = 128;
		memcpy(prefixes[i].addr.bytes + 4 + i % 4 * 2, &r, 6);
		assert_int_equal(dp_lpm_set(f->lpm, &prefixes[i], i), 0);
		dp_reclaim_poll(f->reclaim, UINT32_MAX);
	}
	most = dp_lpm_bytes(f->lpm);
	for (uint32_t i = 0; i < MANY; i++) {
		uint32_t value = dp_lpm_lookup6(f->lpm, prefixes[i].addr.bytes);

		/* A later one may be the same by chance. */
		assert_int_equal(value, dp_lpm_get(f->lpm, &prefixes[i]));
		prefixes[i].addr.bytes[15] ^= 0x40;
		value = dp_lpm_lookup6(f->lpm, prefixes[i].addr.bytes);
		assert_true(value == 7777777 || value == dp_lpm_get(f->lpm, &prefixes[i]));
		prefixes[i].addr.bytes[15] ^= 0x40;
	}
	for (uint32_t i = 0; i < MANY; i++) {
		dp_lpm_delete(f->lpm, &prefixes[i]);
		dp_reclaim_poll(f->reclaim, UINT32_MAX);
	}
	assert_int_equal(dp_lpm_count(f->lpm), 1);
	print_message("%u hosts: %zu bytes, none: %zu\n", MANY, most, dp_lpm_bytes(f->lpm));
	free(prefixes);
}

/* ---- readers beside the writer ---- */

#define READERS 2
#define FIXED	64

/*
 * What readers check while the writer works around it: hosts that are never touched, a host that
 * comes and goes under a network (either answer is right), and a network below one that moves.
 */
struct readers {
	struct fixture *f;
	bool stop;
	uint64_t wrong[READERS], lookups[READERS];
};

static struct ip_prefix fixed_prefix(unsigned i)
{
	struct ip_prefix prefix = {
		.addr = {.family = IP_V4, .bytes = {10, 0, 0, (uint8_t)(4 * i)}}, .bits = 32};

	if (i & 1) {
		prefix =
			(struct ip_prefix){.addr = {.family = IP_V6, .bytes = {0xfd}}, .bits = 128};
		prefix.addr.bytes[15] = (uint8_t)(4 * i);
	}
	return prefix;
}

static uint64_t check_all(const struct dp_lpm *lpm)
{
	static const uint8_t come_and_go[] = {10, 0, 1, 5};
	uint32_t value = dp_lpm_lookup4(lpm, come_and_go);
	uint64_t wrong = value != 5000 && value != 6000;
	uint8_t v4[FIXED][4], v6[FIXED][16];
	const uint8_t *p4[FIXED], *p6[FIXED];
	uint32_t values[2][FIXED];

	for (unsigned i = 0; i < FIXED; i++) {
		memcpy(v4[i], fixed_prefix(i & ~1u).addr.bytes, 4);
		memcpy(v6[i], fixed_prefix(i | 1).addr.bytes, 16);
		p4[i] = v4[i];
		p6[i] = v6[i];
		wrong += dp_lpm_lookup4(lpm, v4[i]) != (i & ~1u);
		wrong += dp_lpm_lookup6(lpm, v6[i]) != (i | 1);
	}
	dp_lpm_lookup4_bulk(lpm, p4, values[0], FIXED);
	dp_lpm_lookup6_bulk(lpm, p6, values[1], FIXED);
	for (unsigned i = 0; i < FIXED; i++)
		wrong += (values[0][i] != (i & ~1u)) + (values[1][i] != (i | 1));
	return wrong;
}

struct reader {
	struct readers *readers;
	unsigned id;
};

static void *read_on(void *arg)
{
	struct reader *reader = arg;
	struct readers *readers = reader->readers;
	uint64_t wrong = 0, lookups = 0;

	rte_rcu_qsbr_thread_register(readers->f->qsbr, reader->id);
	rte_rcu_qsbr_thread_online(readers->f->qsbr, reader->id);
	while (!__atomic_load_n(&readers->stop, __ATOMIC_RELAXED)) {
		wrong += check_all(readers->f->lpm);
		lookups += 4 * FIXED + 1;
		rte_rcu_qsbr_quiescent(readers->f->qsbr, reader->id);
	}
	rte_rcu_qsbr_thread_offline(readers->f->qsbr, reader->id);
	readers->wrong[reader->id] = wrong;
	readers->lookups[reader->id] = lookups;
	return NULL;
}

static bool is_fixed(const struct ip_prefix *prefix)
{
	for (unsigned i = 0; i < FIXED; i++) {
		struct ip_prefix other = fixed_prefix(i);

		if (ip_prefix_equal(prefix, &other))
			return true;
	}
	return false;
}

/* Around the fixed ones: neighbours, covering networks, far ones; grows and shrinks in waves. */
static void churn(struct fixture *f, unsigned step)
{
	struct ip_prefix host = prefix_of("10.0.1.5/32");
	struct ip_prefix prefix = fixed_prefix((unsigned)next_random() % FIXED);
	unsigned width = ip_family_bits(prefix.addr.family);
	unsigned flip = width - 1 - (unsigned)(next_random() % (next_random() & 1 ? 12 : width));

	if (step & 1)
		dp_lpm_set(f->lpm, &host, 6000);
	else
		dp_lpm_delete(f->lpm, &host);
	prefix.addr.bytes[flip / 8] ^= (uint8_t)(0x80 >> flip % 8);
	prefix.bits = (uint8_t)(next_random() & 1 ? width : next_random() % width);
	/* The network around the host above stays: nothing between the two. */
	if (prefix.addr.family == IP_V4 && prefix.bits > 24 && prefix.bits < 32)
		prefix.bits = 24;
	ip_prefix_mask(&prefix);
	if (is_fixed(&prefix) || (prefix.addr.family == IP_V4 && prefix.addr.bytes[2] == 1))
		return;
	if (next_random() % 8 < (step / 2000 % 2 ? 1 : 7))
		dp_lpm_set(f->lpm, &prefix, 100000 + (uint32_t)(next_random() % 1000));
	else
		dp_lpm_delete(f->lpm, &prefix);
}

static void readers_beside_the_writer(void **state)
{
	struct fixture *f = *state;
	struct ip_prefix network = prefix_of("10.0.1.0/24");
	struct readers readers = {.f = f};
	struct reader each[READERS];
	pthread_t threads[READERS];
	struct timespec start, now;
	unsigned step = 0;

	dp_lpm_set(f->lpm, &network, 5000);
	for (unsigned i = 0; i < FIXED; i++) {
		struct ip_prefix prefix = fixed_prefix(i);

		assert_int_equal(dp_lpm_set(f->lpm, &prefix, i), 0);
	}
	for (unsigned i = 0; i < READERS; i++) {
		each[i] = (struct reader){&readers, i};
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &each[i]), 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		churn(f, step++);
		dp_reclaim_poll(f->reclaim, 64);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < 2);
	__atomic_store_n(&readers.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		print_message("reader %u: %llu lookups beside %u changes\n", i,
			(unsigned long long)readers.lookups[i], step);
		assert_int_equal(readers.wrong[i], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(random_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_stays_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_waits_without_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(destroyed_before_it_is_reclaimed, setup, teardown),
		cmocka_unit_test_setup_teardown(left_over, setup, teardown),
		cmocka_unit_test_setup_teardown(dense, setup, teardown),
		cmocka_unit_test_setup_teardown(many_hosts, setup, teardown),
		cmocka_unit_test_setup_teardown(readers_beside_the_writer, setup, teardown),
	};
	const char *given = getenv("TEST_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
	printf("TEST_SEED=%llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
