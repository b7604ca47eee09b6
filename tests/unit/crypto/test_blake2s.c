/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BLAKE2s, HMAC and the KDF. Digests over many cases were computed with hashlib and hmac of
 * Python 3.11, whose BLAKE2s is another implementation: a BLAKE2s over all results in the order of
 * the loops here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/blake2s.h"
#include "hex.h"

/* RFC 7693 appendix B; and the hash of nothing. */
static void test_rfc7693(void **state)
{
	uint8_t want[32], got[32];

	(void)state;
	hex(want, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	blake2s_hash2(got, "abc", 3, NULL, 0);
	assert_memory_equal(got, want, 32);
	hex(want, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9");
	blake2s_hash2(got, NULL, 0, NULL, 0);
	assert_memory_equal(got, want, 32);
}

/* The known answer of the reference: empty input, key 00 01 .. 1f. */
static void test_keyed_known_answer(void **state)
{
	uint8_t key[32], want[32], got[32];

	(void)state;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	hex(want, "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49");
	blake2s_mac(got, 32, key, sizeof(key), NULL, 0);
	assert_memory_equal(got, want, 32);
}

/* Results one behind the other; in the end their hash is compared. */
struct digest {
	uint8_t bytes[1 << 18];
	size_t len;
};

static void digest_check(struct digest *digest, const char *text)
{
	uint8_t want[32], got[32];

	hex(want, text);
	blake2s_hash2(got, digest->bytes, digest->len, NULL, 0);
	assert_memory_equal(got, want, 32);
}

static struct digest digest;

static void test_plain_lengths(void **state)
{
	uint8_t in[300], split[32];

	(void)state;
	digest.len = 0;
	hex_sequence(in, sizeof(in), 0);
	for (size_t n = 0; n < sizeof(in); n++) {
		uint8_t *out = digest.bytes + digest.len;

		blake2s_hash2(out, in, n, NULL, 0);
		for (size_t at = 0; at <= n; at++) {
			blake2s_hash2(split, in, at, in + at, n - at);
			assert_memory_equal(split, out, 32);
		}
		digest.len += 32;
	}
	digest_check(&digest, "7a6570e94404b612eb8494eebe8cbe16c073edcdecd8b3bd8e1d7c46e9a4e180");
}

static void test_mac_lengths(void **state)
{
	static const size_t lengths[] = {0, 1, 63, 64, 65, 128, 200};
	uint8_t in[200], key[32];

	(void)state;
	digest.len = 0;
	hex_sequence(in, sizeof(in), 0);
	hex_sequence(key, sizeof(key), 3);
	for (size_t key_len = 1; key_len <= 32; key_len++) {
		for (size_t out_len = 1; out_len <= 32; out_len++) {
			for (size_t i = 0; i < 7; i++) {
				blake2s_mac(digest.bytes + digest.len, out_len, key, key_len, in,
					lengths[i]);
				digest.len += out_len;
			}
		}
	}
	digest_check(&digest, "b93d42e59d01ceb8324ca310a7ab11f025cfd41d0ab6eb9a5510825ee6c68f42");
}

/* Keys shorter than, equal to and longer than a block of 64 bytes. */
static void test_hmac_lengths(void **state)
{
	static const size_t lengths[] = {0, 1, 32, 64, 65, 148};
	uint8_t in[148], key[200];

	(void)state;
	digest.len = 0;
	hex_sequence(in, sizeof(in), 0);
	hex_sequence(key, sizeof(key), 3);
	for (size_t key_len = 0; key_len < sizeof(key); key_len++) {
		for (size_t i = 0; i < 6; i++) {
			hmac_blake2s(digest.bytes + digest.len, key, key_len, in, lengths[i]);
			digest.len += 32;
		}
	}
	digest_check(&digest, "ee6ed19654fa7689c9e1e60bc6d369c52086e4300b651f9681aded74f902d336");
}

/* The vectors of tests/vectors/kdf.json, which come from wireguard-go. */
static const struct {
	const char *key, *in, *t[3];
} kdf_vectors[] = {
	{"test-key", "test-input",
		{"6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
			"df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
			"fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24"}},
	{"wireguard", "wireguard",
		{"491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
			"1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
			"31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160"}},
	{"", "",
		{"8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
			"58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
			"0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e"}},
};

/* KDF_1, KDF_2 and KDF_3: as many outputs as asked for, no others touched. */
static void test_kdf_vectors(void **state)
{
	(void)state;
	for (size_t v = 0; v < sizeof(kdf_vectors) / sizeof(kdf_vectors[0]); v++) {
		for (unsigned n = 1; n <= 3; n++) {
			uint8_t got[3][32], want[32];

			kdf_blake2s(got[0], n > 1 ? got[1] : NULL, n > 2 ? got[2] : NULL,
				kdf_vectors[v].key, strlen(kdf_vectors[v].key), kdf_vectors[v].in,
				strlen(kdf_vectors[v].in));
			for (unsigned i = 0; i < n; i++) {
				hex(want, kdf_vectors[v].t[i]);
				assert_memory_equal(got[i], want, 32);
			}
		}
	}
}

/* The handshake writes the chaining key over itself, in either place. */
static void test_outputs_may_alias_inputs(void **state)
{
	uint8_t key[32], in[32], t[3][32], a[32], b[32];

	(void)state;
	hex_sequence(key, sizeof(key), 1);
	hex_sequence(in, sizeof(in), 2);
	kdf_blake2s(t[0], t[1], t[2], key, sizeof(key), in, sizeof(in));
	memcpy(a, key, 32);
	memcpy(b, in, 32);
	kdf_blake2s(a, b, NULL, a, sizeof(a), b, sizeof(b));
	assert_memory_equal(a, t[0], 32);
	assert_memory_equal(b, t[1], 32);
	memcpy(a, key, 32);
	memcpy(b, in, 32);
	kdf_blake2s(b, a, NULL, a, sizeof(a), b, sizeof(b));
	assert_memory_equal(b, t[0], 32);
	assert_memory_equal(a, t[1], 32);

	memcpy(a, key, 32);
	blake2s_hash2(t[0], key, 32, in, 32);
	blake2s_hash2(a, a, 32, in, 32);
	assert_memory_equal(a, t[0], 32);
	hmac_blake2s(t[0], key, 32, in, 32);
	memcpy(a, in, 32);
	hmac_blake2s(a, key, 32, a, 32);
	assert_memory_equal(a, t[0], 32);
	blake2s_mac(t[0], 16, key, 32, in, 32);
	memcpy(a, key, 32);
	blake2s_mac(a, 16, a, 32, in, 32);
	assert_memory_equal(a, t[0], 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc7693),
		cmocka_unit_test(test_keyed_known_answer),
		cmocka_unit_test(test_plain_lengths),
		cmocka_unit_test(test_mac_lengths),
		cmocka_unit_test(test_hmac_lengths),
		cmocka_unit_test(test_kdf_vectors),
		cmocka_unit_test(test_outputs_may_alias_inputs),
	};

	return cmocka_run_group_tests_name("blake2s", tests, NULL, NULL);
}
