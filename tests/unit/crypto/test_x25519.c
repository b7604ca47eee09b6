/* SPDX-License-Identifier: BSD-3-Clause */
/* X25519 against RFC 7748, and the points that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/random.h"
#include "crypto/x25519.h"
#include "hex.h"

/* RFC 7748 section 5.2. */
static void test_rfc7748_vectors(void **state)
{
	static const char *const vectors[][3] = {
		{"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
		{"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint8_t secret[32], point[32], want[32], got[32];

		hex(secret, vectors[i][0]);
		hex(point, vectors[i][1]);
		hex(want, vectors[i][2]);
		assert_true(x25519_shared(got, secret, point));
		assert_memory_equal(got, want, 32);
	}
}

/* RFC 7748 section 5.2: k and u start as the base point; k, u = X25519(k, u), k. */
static void test_rfc7748_iterated(void **state)
{
	uint8_t k[32] = {9}, u[32] = {9}, next[32], want[32];

	(void)state;
	for (unsigned i = 1; i <= 1000; i++) {
		assert_true(x25519_shared(next, k, u));
		memcpy(u, k, 32);
		memcpy(k, next, 32);
		if (i == 1) {
			hex(want,
				"422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
			assert_memory_equal(k, want, 32);
		}
	}
	hex(want, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
	assert_memory_equal(k, want, 32);
}

/* RFC 7748 section 6.1. */
static void test_rfc7748_diffie_hellman(void **state)
{
	uint8_t alice[32], bob[32], alice_public[32], bob_public[32], want[32], got[32];

	(void)state;
	hex(alice, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
	hex(bob, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
	x25519_public(alice_public, alice);
	x25519_public(bob_public, bob);
	hex(want, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
	assert_memory_equal(alice_public, want, 32);
	hex(want, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
	assert_memory_equal(bob_public, want, 32);
	hex(want, "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
	assert_true(x25519_shared(got, alice, bob_public));
	assert_memory_equal(got, want, 32);
	assert_true(x25519_shared(got, bob, alice_public));
	assert_memory_equal(got, want, 32);
}

/*
 * The points of order 1, 2, 4 and 8 on the curve and its twist, and their forms above the prime;
 * each with the unused top bit clear and set.
 */
static void test_low_order_refused(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	const uint8_t zero[32] = {0};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(points) / sizeof(points[0]); i++) {
		uint8_t secret[32], point[32], out[32];

		hex(point, points[i / 2]);
		if (i % 2)
			point[31] |= 0x80;
		random_fill(secret, sizeof(secret));
		memset(out, 0xff, sizeof(out));
		assert_false(x25519_shared(out, secret, point));
		assert_memory_equal(out, zero, 32);
	}
}

static void test_clamp(void **state)
{
	uint8_t secret[32], clamped[32], a[32], b[32];

	(void)state;
	memset(secret, 0xff, 32);
	memcpy(clamped, secret, 32);
	x25519_clamp(clamped);
	assert_int_equal(clamped[0], 0xf8);
	assert_int_equal(clamped[31], 0x7f);
	assert_memory_equal(clamped + 1, secret + 1, 30);
	memset(clamped, 0, 32);
	x25519_clamp(clamped);
	assert_int_equal(clamped[0], 0);
	assert_int_equal(clamped[31], 0x40);

	/* X25519 clamps by itself: a clamped secret is the same secret. */
	random_fill(secret, sizeof(secret));
	memcpy(clamped, secret, 32);
	x25519_clamp(clamped);
	x25519_public(a, secret);
	x25519_public(b, clamped);
	assert_memory_equal(a, b, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc7748_vectors),
		cmocka_unit_test(test_rfc7748_iterated),
		cmocka_unit_test(test_rfc7748_diffie_hellman),
		cmocka_unit_test(test_low_order_refused),
		cmocka_unit_test(test_clamp),
	};

	return cmocka_run_group_tests_name("x25519", tests, NULL, NULL);
}
