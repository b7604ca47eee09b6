/* SPDX-License-Identifier: BSD-3-Clause */
/* XChaCha20-Poly1305 against draft-irtf-cfrg-xchacha-03, appendix A.3.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/xaead.h"
#include "hex.h"

static const char text[] =
	"Ladies and Gentlemen of the class of '99: If I could offer you only one tip "
	"for the future, sunscreen would be it.";
static const char sealed_hex[] =
	"bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440b"
	"f3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3f"
	"ac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947"
	"deafd8780acf49";

#define TEXT_LEN   (sizeof(text) - 1)
#define SEALED_LEN (TEXT_LEN + 16)

static uint8_t key[32], nonce[XAEAD_NONCE_BYTES], ad[12], sealed[SEALED_LEN];

static int load_vector(void **state)
{
	(void)state;
	assert_int_equal(sizeof(sealed_hex) / 2, SEALED_LEN);
	hex(key, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
	hex(nonce, "404142434445464748494a4b4c4d4e4f5051525354555657");
	hex(ad, "50515253c0c1c2c3c4c5c6c7");
	hex(sealed, sealed_hex);
	return 0;
}

static void test_vector(void **state)
{
	uint8_t buf[SEALED_LEN];

	(void)state;
	xaead_seal(buf, text, TEXT_LEN, ad, sizeof(ad), nonce, key);
	assert_memory_equal(buf, sealed, SEALED_LEN);
	memset(buf, 0, sizeof(buf));
	assert_true(xaead_open(buf, sealed, SEALED_LEN, ad, sizeof(ad), nonce, key));
	assert_memory_equal(buf, text, TEXT_LEN);
}

static void test_in_place(void **state)
{
	uint8_t buf[SEALED_LEN];

	(void)state;
	memcpy(buf, text, TEXT_LEN);
	xaead_seal(buf, buf, TEXT_LEN, ad, sizeof(ad), nonce, key);
	assert_memory_equal(buf, sealed, SEALED_LEN);
	assert_true(xaead_open(buf, buf, SEALED_LEN, ad, sizeof(ad), nonce, key));
	assert_memory_equal(buf, text, TEXT_LEN);
}

static void assert_refused(
	const uint8_t *in, size_t len, const uint8_t *ad_in, const uint8_t *nonce_in)
{
	uint8_t out[SEALED_LEN], before[SEALED_LEN];

	memset(before, 0xa5, sizeof(before));
	memcpy(out, before, sizeof(out));
	assert_false(xaead_open(out, in, len, ad_in, sizeof(ad), nonce_in, key));
	assert_memory_equal(out, before, sizeof(out));
}

static void test_forgeries(void **state)
{
	uint8_t bad[SEALED_LEN], bad_ad[sizeof(ad)], bad_nonce[sizeof(nonce)];

	(void)state;
	for (size_t bit = 0; bit < SEALED_LEN * 8; bit++) {
		memcpy(bad, sealed, sizeof(bad));
		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(bad, sizeof(bad), ad, nonce);
	}
	for (size_t bit = 0; bit < sizeof(ad) * 8; bit++) {
		memcpy(bad_ad, ad, sizeof(ad));
		bad_ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(sealed, sizeof(sealed), bad_ad, nonce);
	}
	for (size_t bit = 0; bit < sizeof(nonce) * 8; bit++) {
		memcpy(bad_nonce, nonce, sizeof(nonce));
		bad_nonce[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(sealed, sizeof(sealed), ad, bad_nonce);
	}
	for (size_t len = 0; len < SEALED_LEN; len++)
		assert_refused(sealed, len, ad, nonce);
}

/* A cookie reply's ciphertext: 16 bytes and tag. */
static void test_cookie_size(void **state)
{
	uint8_t cookie[16], out[32], back[16];

	(void)state;
	hex_sequence(cookie, sizeof(cookie), 9);
	xaead_seal(out, cookie, sizeof(cookie), ad, sizeof(ad), nonce, key);
	assert_true(xaead_open(back, out, sizeof(out), ad, sizeof(ad), nonce, key));
	assert_memory_equal(back, cookie, sizeof(cookie));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_forgeries),
		cmocka_unit_test(test_cookie_size),
	};

	return cmocka_run_group_tests_name("xaead", tests, load_vector, NULL);
}
