/* SPDX-License-Identifier: BSD-3-Clause */
/* One message at a time, against RFC 8439. Its section 2.8.2 has a nonce WireGuard cannot have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/aead.h"
#include "hex.h"

/* RFC 8439 appendix A.5. */
static const char key_hex[] = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0";
static const char ad_hex[] = "f33388860000000000004e91";
static const uint64_t counter = 0x0807060504030201;
static const char text[] =
	"Internet-Drafts are draft documents valid for a maximum of six months and may be "
	"updated, replaced, or obsoleted by other documents at any time. It is "
	"inappropriate to use Internet-Drafts as reference material or to cite them other "
	"than as /\xe2\x80\x9cwork in progress./\xe2\x80\x9d";
static const char sealed_hex[] =
	"64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea0"
	"9ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad"
	"176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f615"
	"7b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7"
	"f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd631"
	"59434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda"
	"04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38";

#define TEXT_LEN   (sizeof(text) - 1)
#define SEALED_LEN (TEXT_LEN + AEAD_TAG_BYTES)

static uint8_t key[32], ad[12], sealed[SEALED_LEN];

static int load_vector(void **state)
{
	(void)state;
	assert_int_equal(sizeof(sealed_hex) / 2, SEALED_LEN);
	hex(key, key_hex);
	hex(ad, ad_hex);
	hex(sealed, sealed_hex);
	return 0;
}

static void test_vector(void **state)
{
	uint8_t buf[SEALED_LEN];

	(void)state;
	aead_seal(buf, text, TEXT_LEN, ad, sizeof(ad), counter, key);
	assert_memory_equal(buf, sealed, SEALED_LEN);
	memset(buf, 0, sizeof(buf));
	assert_true(aead_open(buf, sealed, SEALED_LEN, ad, sizeof(ad), counter, key));
	assert_memory_equal(buf, text, TEXT_LEN);
}

static void test_in_place(void **state)
{
	uint8_t buf[SEALED_LEN];

	(void)state;
	memcpy(buf, text, TEXT_LEN);
	aead_seal(buf, buf, TEXT_LEN, ad, sizeof(ad), counter, key);
	assert_memory_equal(buf, sealed, SEALED_LEN);
	assert_true(aead_open(buf, buf, SEALED_LEN, ad, sizeof(ad), counter, key));
	assert_memory_equal(buf, text, TEXT_LEN);
}

/* Nothing comes out of a forgery: not even zeroes. */
static void assert_refused(const uint8_t *in, size_t len, const uint8_t *ad_in, uint64_t number)
{
	uint8_t out[SEALED_LEN], before[SEALED_LEN];

	memset(before, 0xa5, sizeof(before));
	memcpy(out, before, sizeof(out));
	assert_false(aead_open(out, in, len, ad_in, sizeof(ad), number, key));
	assert_memory_equal(out, before, sizeof(out));
}

static void test_forgeries(void **state)
{
	uint8_t bad[SEALED_LEN], bad_ad[12];

	(void)state;
	for (size_t bit = 0; bit < SEALED_LEN * 8; bit++) {
		memcpy(bad, sealed, sizeof(bad));
		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(bad, sizeof(bad), ad, counter);
	}
	for (size_t bit = 0; bit < sizeof(ad) * 8; bit++) {
		memcpy(bad_ad, ad, sizeof(ad));
		bad_ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_refused(sealed, sizeof(sealed), bad_ad, counter);
	}
	for (unsigned bit = 0; bit < 64; bit++)
		assert_refused(sealed, sizeof(sealed), ad, counter ^ UINT64_C(1) << bit);
	for (size_t len = 0; len < SEALED_LEN; len++)
		assert_refused(sealed, len, ad, counter);
}

static void test_empty(void **state)
{
	uint8_t tag[AEAD_TAG_BYTES];

	(void)state;
	aead_seal(tag, NULL, 0, NULL, 0, 7, key);
	assert_true(aead_open(NULL, tag, sizeof(tag), NULL, 0, 7, key));
	assert_false(aead_open(NULL, tag, sizeof(tag), NULL, 0, 8, key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_forgeries),
		cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests_name("aead", tests, load_vector, NULL);
}
