/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

#include "uapi/keytext.h"

#define ROUNDS 2000

/* libsodium's encodings are the oracle, both ways. */
static void test_against_sodium(void **state)
{
	uint8_t key[WG_KEY_BYTES], back[WG_KEY_BYTES];
	char ours[KEYTEXT_HEX_CHARS + 1], theirs[KEYTEXT_HEX_CHARS + 1];

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		randombytes_buf(key, sizeof(key));
		key_to_base64(ours, key);
		sodium_bin2base64(
			theirs, sizeof(theirs), key, sizeof(key), sodium_base64_VARIANT_ORIGINAL);
		assert_string_equal(ours, theirs);
		assert_true(key_from_base64(back, ours, strlen(ours)));
		assert_memory_equal(back, key, sizeof(key));

		key_to_hex(ours, key);
		sodium_bin2hex(theirs, sizeof(theirs), key, sizeof(key));
		assert_string_equal(ours, theirs);
		assert_true(key_from_hex(back, ours, strlen(ours)));
		assert_memory_equal(back, key, sizeof(key));
	}
}

static void test_upper_case_hex(void **state)
{
	uint8_t key[WG_KEY_BYTES];
	char text[KEYTEXT_HEX_CHARS + 1];

	(void)state;
	memset(text, 'F', sizeof(text));
	memcpy(text, "aBcDeF", 6);
	assert_true(key_from_hex(key, text, KEYTEXT_HEX_CHARS));
	assert_int_equal(key[0], 0xab);
	assert_int_equal(key[2], 0xef);
	assert_int_equal(key[31], 0xff);
}

/* Every byte value at every place: accepted exactly when it is a digit. */
static void test_each_character(void **state)
{
	static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/";
	uint8_t key[WG_KEY_BYTES];
	char text[KEYTEXT_HEX_CHARS];

	(void)state;
	for (int at = 0; at < KEYTEXT_BASE64_CHARS; at++) {
		for (int c = 0; c < 256; c++) {
			bool good = c && strchr(base64, c);

			memset(text, 'A', KEYTEXT_BASE64_CHARS);
			text[43] = '=';
			text[at] = (char)c;
			if (at == 43)
				good = c == '=';
			if (at == 42) /* two bits beyond the key must be zero */
				good = good && (strchr(base64, c) - base64) % 4 == 0;
			assert_int_equal(key_from_base64(key, text, KEYTEXT_BASE64_CHARS), good);
		}
	}
	for (int at = 0; at < KEYTEXT_HEX_CHARS; at++) {
		for (int c = 0; c < 256; c++) {
			memset(text, '0', sizeof(text));
			text[at] = (char)c;
			assert_int_equal(key_from_hex(key, text, sizeof(text)),
				c && strchr("0123456789abcdefABCDEF", c));
		}
	}
}

static void test_each_length(void **state)
{
	uint8_t key[WG_KEY_BYTES], untouched[WG_KEY_BYTES];
	char text[128];

	(void)state;
	memset(key, 0x5a, sizeof(key));
	memcpy(untouched, key, sizeof(key));
	memset(text, 'A', sizeof(text));
	for (size_t len = 0; len < sizeof(text); len++) {
		assert_false(key_from_base64(key, text, len));
		if (len != KEYTEXT_HEX_CHARS)
			assert_false(key_from_hex(key, text, len));
		assert_memory_equal(key, untouched, sizeof(key));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_sodium),
		cmocka_unit_test(test_upper_case_hex),
		cmocka_unit_test(test_each_character),
		cmocka_unit_test(test_each_length),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
