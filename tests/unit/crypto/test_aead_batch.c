/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every backend, byte by byte against libsodium one packet at a time (crypto/aead.h), and against
 * vectors computed with neither. What is sealed here is opened by the oracle and the other way
 * round, so that no two errors of one backend can cancel out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <sodium.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/aead_batch.h"
#include "crypto/aead_batch_backend.h"
#include "crypto/random.h"
#include "hex.h"
#include "seed.h"

/* As on a CPU without AVX-512. */
#define AUTO_WITH_AVX2 "auto-avx2"

#define MESON_SKIP 77 /* exit status of a test that cannot run here */

#define MAX_LEN 9000
#define GUARD	64
#define SLOT	(GUARD + 64 + MAX_LEN + AEAD_TAG_BYTES + GUARD)

static const char *backend;
static struct aead_batch *batch;

/* A burst: what the backend works on, and what the oracle says should come of it. */
static struct {
	uint8_t slot[SLOT];
	uint8_t text[MAX_LEN];
	uint8_t sealed[MAX_LEN + AEAD_TAG_BYTES];
} packets[AEAD_BATCH_MAX];
static uint8_t keys[AEAD_BATCH_MAX][AEAD_KEY_BYTES];
static struct aead_op ops[AEAD_BATCH_MAX];

static int create(void **state)
{
	(void)state;
	if (strcmp(backend, AUTO_WITH_AVX2) == 0)
		batch = aead_batch_auto_avx2();
	else
		batch = aead_batch_create((enum aead_backend)aead_backend_from_name(backend));
	return batch != NULL ? 0 : -1;
}

static int destroy(void **state)
{
	(void)state;
	aead_batch_destroy(batch);
	return 0;
}

static bool has_backend(void)
{
	if (create(NULL) != 0 && errno == ENOTSUP)
		return false;
	aead_batch_destroy(batch);
	return true; /* or the tests are to fail */
}

static void random_bytes(struct seeded *seeded, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = seeded_next(seeded);

		memcpy(out + i, &x, len - i < 8 ? len - i : 8);
	}
}

static uint64_t all(unsigned n)
{
	return n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

/* Packet i with its expected result; its data starts 'offset' bytes behind a 64-byte boundary. */
static void prepare(struct seeded *seeded, unsigned i, uint32_t len, const uint8_t *key)
{
	uintptr_t at = (uintptr_t)packets[i].slot + GUARD;
	uint64_t offset = seeded_below(seeded, 64);

	at = (at + 63) / 64 * 64 + offset;
	random_bytes(seeded, packets[i].text, len);
	ops[i] = (struct aead_op){
		.data = (uint8_t *)at,
		.key = key,
		.counter = seeded_next(seeded),
		.len = len,
	};
	aead_seal(packets[i].sealed, packets[i].text, len, NULL, 0, ops[i].counter, key);
}

static void load_text(unsigned i)
{
	memset(packets[i].slot, 0xee, sizeof(packets[i].slot));
	memcpy(ops[i].data, packets[i].text, ops[i].len);
}

static void load_sealed(unsigned i)
{
	memset(packets[i].slot, 0xee, sizeof(packets[i].slot));
	memcpy(ops[i].data, packets[i].sealed, ops[i].len + AEAD_TAG_BYTES);
}

static void assert_same(unsigned i, const uint8_t *want, size_t len, const char *what, unsigned n)
{
	if (memcmp(ops[i].data, want, len) != 0)
		fail_msg("%s: wrong %s of packet %u of %u, %u bytes", backend, what, i, n,
			ops[i].len);
}

static bool untouched(const uint8_t *from, const uint8_t *end)
{
	static uint8_t want[SLOT];

	if (want[0] == 0)
		memset(want, 0xee, sizeof(want));
	return memcmp(from, want, (size_t)(end - from)) == 0;
}

static void assert_guards(unsigned i)
{
	const uint8_t *slot = packets[i].slot, *data = ops[i].data;

	assert_true(untouched(slot, data));
	assert_true(untouched(data + ops[i].len + AEAD_TAG_BYTES, slot + sizeof(packets[i].slot)));
}

/* Seals and opens the prepared burst; 'keys' must stay as they are. */
static void check_burst(unsigned n)
{
	static uint8_t keys_before[sizeof(keys)];
	uint64_t authentic;

	memcpy(keys_before, keys, sizeof(keys));
	for (unsigned i = 0; i < n; i++)
		load_text(i);
	aead_batch_seal(batch, ops, n);
	for (unsigned i = 0; i < n; i++) {
		assert_same(i, packets[i].sealed, ops[i].len + AEAD_TAG_BYTES, "seal", n);
		assert_guards(i);
	}
	for (unsigned i = 0; i < n; i++)
		load_sealed(i);
	authentic = aead_batch_open(batch, ops, n);
	if (authentic != all(n))
		fail_msg("%s: %u packets, authentic %#llx", backend, n,
			(unsigned long long)authentic);
	for (unsigned i = 0; i < n; i++) {
		assert_same(i, packets[i].text, ops[i].len, "open", n);
		assert_guards(i);
	}
	assert_memory_equal(keys, keys_before, sizeof(keys));
}

static void new_keys(struct seeded *seeded)
{
	random_bytes(seeded, keys[0], sizeof(keys));
}

static void test_every_length(void **state)
{
	struct seeded seeded = seeded_start("every_length");
	uint32_t len = 0;

	(void)state;
	while (len <= MAX_LEN) {
		unsigned n = 0;

		new_keys(&seeded);
		for (; n < AEAD_BATCH_MAX && len <= MAX_LEN; n++, len++)
			prepare(&seeded, n, len, keys[n]);
		check_burst(n);
	}
}

/* Equal lengths take a path of their own in a kernel: all the short ones, some long ones. */
static void test_equal_lengths(void **state)
{
	struct seeded seeded = seeded_start("equal_lengths");

	(void)state;
	for (uint32_t len = 0; len <= 9000; len += len < 160 ? 1 : len < 1500 ? 48 : 1499) {
		unsigned n = len < 160 ? 17 : AEAD_BATCH_MAX;

		new_keys(&seeded);
		for (unsigned i = 0; i < n; i++)
			prepare(&seeded, i, len, keys[i]);
		check_burst(n);
	}
}

/* A long packet alone or with a few short ones takes another path than one among its like. */
static void test_few_packets(void **state)
{
	struct seeded seeded = seeded_start("few_packets");

	(void)state;
	for (uint32_t len = 0; len <= MAX_LEN; len += len < 1600 ? 1 : 61) {
		unsigned n = 1 + len % 3;

		new_keys(&seeded);
		prepare(&seeded, 0, len, keys[0]);
		for (unsigned i = 1; i < n; i++)
			prepare(&seeded, i, (uint32_t)seeded_below(&seeded, len + 1), keys[i]);
		check_burst(n);
	}
}

static void test_every_fill(void **state)
{
	static const uint32_t lengths[] = {0, 1, 16, 64, 100, 576, 1424};
	struct seeded seeded = seeded_start("every_fill");

	(void)state;
	for (unsigned n = 0; n <= AEAD_BATCH_MAX; n++) {
		for (unsigned l = 0; l <= 7; l++) {
			new_keys(&seeded);
			for (unsigned i = 0; i < n; i++)
				prepare(&seeded, i,
					l < 7 ? lengths[l] : (uint32_t)seeded_below(&seeded, 1500),
					keys[i]);
			check_burst(n);
		}
	}
}

/* Any mixture: mostly short, some long, some empty; one key for all, few keys, or each its own. */
static void test_random_mixes(void **state)
{
	struct seeded seeded = seeded_start("random_mixes");

	(void)state;
	for (unsigned round = 0; round < 600; round++) {
		unsigned n = 1 + (unsigned)seeded_below(&seeded, AEAD_BATCH_MAX);
		uint64_t key_count = (uint64_t[]){1, 3, AEAD_BATCH_MAX}[round % 3];

		new_keys(&seeded);
		for (unsigned i = 0; i < n; i++) {
			uint64_t kind = seeded_below(&seeded, 100);
			uint64_t limit = kind < 50 ? 200 : kind < 97 ? 1500 : MAX_LEN;
			uint32_t len = (uint32_t)seeded_below(&seeded, limit + 1);

			if (kind == 0)
				len = 0;
			if (kind % 3 == 1)
				len &= ~15u;
			prepare(&seeded, i, len, keys[seeded_below(&seeded, key_count)]);
		}
		check_burst(n);
	}
}

/* What is wrong with a packet. */
enum forgery {
	FORGED_TAG,
	FORGED_TEXT,
	FORGED_COUNTER,
	FORGED_KEY,
	FORGED_LENGTH,
	FORGERIES,
};

static void forge(struct seeded *seeded, unsigned i, enum forgery forgery, uint8_t wrong_key[32])
{
	struct aead_op *op = &ops[i];
	uint8_t bit = (uint8_t)(1u << seeded_below(seeded, 8));

	switch (forgery) {
	case FORGED_TAG:
		op->data[op->len + seeded_below(seeded, AEAD_TAG_BYTES)] ^= bit;
		break;
	case FORGED_TEXT:
		op->data[seeded_below(seeded, op->len)] ^= bit;
		break;
	case FORGED_COUNTER:
		op->counter ^= UINT64_C(1) << seeded_below(seeded, 64);
		break;
	case FORGED_KEY:
		memcpy(wrong_key, op->key, 32);
		wrong_key[seeded_below(seeded, 32)] ^= bit;
		op->key = wrong_key;
		break;
	default:
		/* One byte of text less, and the tag right behind it. */
		op->len--;
		memmove(op->data + op->len, op->data + op->len + 1, AEAD_TAG_BYTES);
		op->data[op->len + AEAD_TAG_BYTES] = 0xee;
		break;
	}
}

static void test_forgery_found_alone(void **state)
{
	struct seeded seeded = seeded_start("forgery_found_alone");

	(void)state;
	for (unsigned round = 0; round < 1500; round++) {
		unsigned n = 1 + (unsigned)seeded_below(&seeded, AEAD_BATCH_MAX);
		unsigned victim = (unsigned)seeded_below(&seeded, n);
		uint32_t limit = round % 10 == 0 ? 1500 : 130;
		uint8_t wrong_key[32];

		new_keys(&seeded);
		for (unsigned i = 0; i < n; i++) {
			prepare(&seeded, i, 1 + (uint32_t)seeded_below(&seeded, limit), keys[i]);
			load_sealed(i);
		}
		forge(&seeded, victim, (enum forgery)(round % FORGERIES), wrong_key);
		assert_true(aead_batch_open(batch, ops, n) == (all(n) & ~(UINT64_C(1) << victim)));
		for (unsigned i = 0; i < n; i++) {
			if (i != victim)
				assert_same(i, packets[i].text, ops[i].len, "open", n);
			assert_guards(i);
		}
	}
}

/* Each bit of the tag is compared, in each lane. */
static void test_every_tag_bit(void **state)
{
	struct seeded seeded = seeded_start("every_tag_bit");

	(void)state;
	new_keys(&seeded);
	for (unsigned i = 0; i < AEAD_BATCH_MAX; i++)
		prepare(&seeded, i, i, keys[i]);
	for (unsigned bit = 0; bit < AEAD_TAG_BYTES * 8; bit++) {
		for (unsigned i = 0; i < AEAD_BATCH_MAX; i++) {
			load_sealed(i);
			ops[i].data[ops[i].len + bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		assert_true(aead_batch_open(batch, ops, AEAD_BATCH_MAX) == 0);
	}
}

static void test_many_forgeries(void **state)
{
	struct seeded seeded = seeded_start("many_forgeries");

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		uint64_t want = seeded_next(&seeded);

		new_keys(&seeded);
		for (unsigned i = 0; i < AEAD_BATCH_MAX; i++) {
			prepare(&seeded, i, (uint32_t)seeded_below(&seeded, 100), keys[i]);
			load_sealed(i);
			if (!(want >> i & 1))
				forge(&seeded, i, FORGED_TAG, NULL);
		}
		assert_true(aead_batch_open(batch, ops, AEAD_BATCH_MAX) == want);
	}
}

struct poly1305_edge {
	const char *key;
	uint64_t counter;
	uint32_t len;
	uint8_t fill; /* every byte of the ciphertext but the last block */
	const char *last_block, *tag;
};
#include "poly1305_edges.h"

#define EDGES (sizeof(poly1305_edges) / sizeof(poly1305_edges[0]))

/* Accumulators at the limits of the field and of the limbs, as computed with Python's integers. */
static void test_poly1305_edges(void **state)
{
	(void)state;
	for (size_t first = 0; first < EDGES; first += AEAD_BATCH_MAX) {
		unsigned n =
			(unsigned)(EDGES - first < AEAD_BATCH_MAX ? EDGES - first : AEAD_BATCH_MAX);

		for (unsigned i = 0; i < n; i++) {
			const struct poly1305_edge *edge = &poly1305_edges[first + i];

			hex(keys[i], edge->key);
			ops[i] = (struct aead_op){
				packets[i].slot + GUARD, keys[i], edge->counter, edge->len};
			memset(packets[i].sealed, edge->fill, edge->len);
			hex(packets[i].sealed + edge->len - 16, edge->last_block);
			hex(packets[i].sealed + edge->len, edge->tag);
			load_sealed(i);
		}
		assert_true(aead_batch_open(batch, ops, n) == all(n));
		aead_batch_seal(batch, ops, n);
		for (unsigned i = 0; i < n; i++)
			assert_same(i, packets[i].sealed, ops[i].len + AEAD_TAG_BYTES, "edge", n);
	}
}

/* RFC 8439 appendix A.1, vector 2: block 1 of the zero key and nonce, which seals the first text.
 */
static void test_rfc8439_keystream(void **state)
{
	static const char block[] =
		"9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43"
		"d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f";
	uint8_t data[64 + AEAD_TAG_BYTES] = {0}, key[32] = {0}, want[64];
	struct aead_op op = {data, key, 0, 64};

	(void)state;
	hex(want, block);
	aead_batch_seal(batch, &op, 1);
	assert_memory_equal(data, want, 64);
}

/* Neither reads nor writes beyond the tag nor before the text: the pages around are closed. */
static void test_stays_inside(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map =
		mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *open_page = map + page;

	(void)state;
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mprotect(map, page, PROT_NONE), 0);
	assert_int_equal(mprotect(map + 2 * page, page, PROT_NONE), 0);
	random_fill(keys, sizeof(keys));
	for (uint32_t len = 0; len <= 1500; len += len < 300 ? 1 : 37) {
		for (int end = 0; end < 2; end++) {
			uint8_t *data = end ? open_page + page - len - AEAD_TAG_BYTES : open_page;

			ops[0] = (struct aead_op){data, keys[0], len, len};
			memset(data, (int)len, len);
			aead_batch_seal(batch, ops, 1);
			assert_true(aead_batch_open(batch, ops, 1) == 1);
			for (uint32_t i = 0; i < len; i++)
				assert_int_equal(data[i], (uint8_t)len);
		}
	}
	munmap(map, 3 * page);
}

static void test_keys_stay_inside(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map =
		mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct seeded seeded = seeded_start("keys_stay_inside");

	(void)state;
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mprotect(map, page, PROT_NONE), 0);
	assert_int_equal(mprotect(map + 2 * page, page, PROT_NONE), 0);
	for (unsigned n = 1; n <= AEAD_BATCH_MAX; n++) {
		for (unsigned i = 0; i < n; i++)
			prepare(&seeded, i, 50, i % 2 ? map + page : map + 2 * page - 32);
		check_burst(n);
	}
	munmap(map, 3 * page);
}

/*
 * The stack below the caller, as the last call left it. Only optimized code is looked at: the
 * promise is about what is shipped, and sanitizers spread frames.
 */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
#define STACK_BYTES 16384

static uint8_t stack[STACK_BYTES];
static size_t used_from, used_end; /* the rest of it is zero: cleared before the call, or wiped */

static __attribute__((noinline)) void clear_stack(void)
{
	uint8_t area[STACK_BYTES];

	memset(area, 0, sizeof(area));
	__asm__ volatile("" : : "m"(area));
}

static __attribute__((noinline)) void copy_stack(void)
{
	uint8_t area[STACK_BYTES];

	__asm__ volatile("" : "=m"(area)); /* whatever is there */
	memcpy(stack, area, sizeof(area));
}

static void find_used_stack(void)
{
	size_t from = 0, end = sizeof(stack), margin = sizeof(uint64_t) - 1;

	while (from < end && stack[from] == 0)
		from++;
	while (end > from && stack[end - 1] == 0)
		end--;
	/* Words that are looked for may begin or end with zeros. */
	used_from = from < margin ? 0 : from - margin;
	used_end = end + margin > sizeof(stack) ? sizeof(stack) : end + margin;
}

static void assert_not_on_stack(uint64_t what)
{
	assert_null(memmem(stack + used_from, used_end - used_from, &what, sizeof(what)));
}

/* In rows, and as words of 16 lanes. */
static void assert_no_session_key(const uint8_t key[AEAD_KEY_BYTES])
{
	for (unsigned i = 0; i < AEAD_KEY_BYTES; i += 8)
		assert_not_on_stack(load_le64(key + i));
	for (unsigned i = 0; i < AEAD_KEY_BYTES; i += 4)
		assert_not_on_stack(load_le32(key + i) * UINT64_C(0x100000001));
}

/* Limbs that could as well be a length or another small number do not count. */
static void assert_no_limbs_of_26(uint64_t low, uint64_t high)
{
	uint64_t limbs[] = {low, low >> 26, low >> 52 | high << 12, high >> 14, high >> 40};

	for (unsigned i = 0; i < 5; i++) {
		uint64_t limb = limbs[i] & 0x3ffffff;

		if (limb >> 20 != 0)
			assert_not_on_stack(limb);
	}
}

/* s, and r clamped, as it comes and in limbs of 44 and 26 bits. */
static void assert_no_one_time_key(const struct aead_op *op)
{
	uint8_t one_time_key[32], nonce[12] = {0};
	uint64_t low, high;

	store_le64(nonce + 4, op->counter);
	crypto_stream_chacha20_ietf(one_time_key, sizeof(one_time_key), nonce, op->key);
	low = load_le64(one_time_key) & 0x0ffffffc0fffffff;
	high = load_le64(one_time_key + 8) & 0x0ffffffc0ffffffc;
	assert_not_on_stack(load_le64(one_time_key));
	assert_not_on_stack(load_le64(one_time_key + 16));
	assert_not_on_stack(load_le64(one_time_key + 24));
	assert_not_on_stack(low);
	assert_not_on_stack(low & 0xfffffffffff);
	assert_not_on_stack((low >> 44 | high << 20) & 0xfffffffffff);
	assert_not_on_stack(high >> 24);
	assert_no_limbs_of_26(low, high);
}

static void assert_no_secret(unsigned n)
{
	find_used_stack();
	for (unsigned i = 0; i < n; i++) {
		assert_no_session_key(ops[i].key);
		assert_no_one_time_key(&ops[i]);
	}
}

static void test_no_secret_left_on_stack(void **state)
{
	struct seeded seeded = seeded_start("no_secret_left_on_stack");

	(void)state;
	if (strncmp(backend, "avx", 3) != 0)
		skip(); /* other people's code */
	for (unsigned round = 0; round < 90; round++) {
		unsigned n = 1 + (unsigned)seeded_below(&seeded, round % 2 ? 8 : AEAD_BATCH_MAX);
		uint32_t limit = (uint32_t[]){64, 300, 1500}[round % 3];

		new_keys(&seeded);
		for (unsigned i = 0; i < n; i++) {
			prepare(&seeded, i, (uint32_t)seeded_below(&seeded, limit), keys[0]);
			load_text(i);
		}
		clear_stack();
		aead_batch_seal(batch, ops, n);
		copy_stack();
		assert_no_secret(n);
		clear_stack();
		assert_true(aead_batch_open(batch, ops, n) == all(n));
		copy_stack();
		assert_no_secret(n);
	}
}
#endif

static void test_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < AEAD_BACKEND_COUNT; i++)
		assert_int_equal(
			aead_backend_from_name(aead_backend_name((enum aead_backend)i)), i);
	assert_string_equal(aead_backend_name(AEAD_BACKEND_AUTO), "auto");
	assert_string_equal(aead_backend_name(AEAD_BACKEND_SODIUM), "sodium");
	assert_string_equal(aead_backend_name(AEAD_BACKEND_IPSEC_MB), "ipsec-mb");
	assert_int_equal(aead_backend_from_name("rot13"), -EINVAL);
	assert_int_equal(aead_backend_from_name(""), -EINVAL);
	assert_int_equal(aead_backend_from_name("sodium "), -EINVAL);
}

static void test_create(void **state)
{
	(void)state;
	aead_batch_destroy(NULL);
	for (unsigned i = 0; i < AEAD_BACKEND_COUNT; i++) {
		struct aead_batch *one = aead_batch_create((enum aead_backend)i);

		if (one == NULL) {
			assert_int_equal(errno, ENOTSUP);
			continue;
		}
		assert_memory_equal(aead_batch_name(one), aead_backend_name((enum aead_backend)i),
			strlen(aead_backend_name((enum aead_backend)i)));
		aead_batch_destroy(one);
	}
}

/* The backend to test is named by the argument. */
int main(int argc, char **argv)
{
	const struct CMUnitTest common[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_create),
	};
	const struct CMUnitTest per_backend[] = {
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_equal_lengths),
		cmocka_unit_test(test_few_packets),
		cmocka_unit_test(test_every_fill),
		cmocka_unit_test(test_random_mixes),
		cmocka_unit_test(test_forgery_found_alone),
		cmocka_unit_test(test_every_tag_bit),
		cmocka_unit_test(test_many_forgeries),
		cmocka_unit_test(test_poly1305_edges),
		cmocka_unit_test(test_rfc8439_keystream),
		cmocka_unit_test(test_stays_inside),
		cmocka_unit_test(test_keys_stay_inside),
#ifdef STACK_BYTES
		cmocka_unit_test(test_no_secret_left_on_stack),
#endif
	};

	if (argc != 2 ||
		(strcmp(argv[1], AUTO_WITH_AVX2) != 0 && aead_backend_from_name(argv[1]) < 0)) {
		fprintf(stderr, "usage: %s BACKEND\n", argv[0]);
		return EXIT_FAILURE;
	}
	backend = argv[1];
	if (!has_backend()) {
		printf("%s: not on this CPU\n", backend);
		return MESON_SKIP;
	}
	return cmocka_run_group_tests_name("aead_batch", common, NULL, NULL) +
	       cmocka_run_group_tests_name(argv[1], per_backend, create, destroy);
}
