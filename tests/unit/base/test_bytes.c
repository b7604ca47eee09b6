/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"

/* Each accessor at each alignment, against the bytes written out by hand. */
static void test_order(void **state)
{
	const uint8_t bytes[8] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};

	(void)state;
	for (size_t at = 0; at < 8; at++) {
		uint8_t buf[24];

		memset(buf, 0x5a, sizeof(buf));
		memcpy(buf + at, bytes, sizeof(bytes));
		assert_int_equal(load_be16(buf + at), 0x0123);
		assert_int_equal(load_le16(buf + at), 0x2301);
		assert_int_equal(load_be32(buf + at), 0x01234567);
		assert_int_equal(load_le32(buf + at), 0x67452301);
		assert_true(load_be64(buf + at) == 0x0123456789abcdefull);
		assert_true(load_le64(buf + at) == 0xefcdab8967452301ull);
	}
}

static void test_store_inverts_load(void **state)
{
	uint8_t buf[24];

	(void)state;
	for (size_t at = 0; at < 8; at++) {
		memset(buf, 0x5a, sizeof(buf));
		store_be16(buf + at, 0x0123);
		assert_memory_equal(buf + at, "\x01\x23\x5a", 3);
		store_le16(buf + at, 0x0123);
		assert_memory_equal(buf + at, "\x23\x01\x5a", 3);
		store_be32(buf + at, 0x01234567);
		assert_memory_equal(buf + at, "\x01\x23\x45\x67\x5a", 5);
		store_le32(buf + at, 0x01234567);
		assert_memory_equal(buf + at, "\x67\x45\x23\x01\x5a", 5);
		store_be64(buf + at, 0x0123456789abcdefull);
		assert_memory_equal(buf + at, "\x01\x23\x45\x67\x89\xab\xcd\xef\x5a", 9);
		store_le64(buf + at, 0x0123456789abcdefull);
		assert_memory_equal(buf + at, "\xef\xcd\xab\x89\x67\x45\x23\x01\x5a", 9);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_store_inverts_load),
	};

	return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
