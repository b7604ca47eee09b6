/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/wipe.h"

static void test_wipe_clears_exactly(void **state)
{
	uint8_t buf[66];

	(void)state;
	for (size_t len = 0; len <= 64; len++) {
		memset(buf, 0xff, sizeof(buf));
		wipe(buf + 1, len);
		assert_int_equal(buf[0], 0xff);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(buf[1 + i], 0);
		assert_int_equal(buf[1 + len], 0xff);
	}
}

/* Any one bit anywhere makes a difference; what lies behind the end does not. */
static void test_every_bit_counts(void **state)
{
	uint8_t a[33], b[33], zero[33] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(a); i++)
		a[i] = (uint8_t)(i * 37 + 1);
	memcpy(b, a, sizeof(b));
	for (size_t bit = 0; bit < 32 * 8; bit++) {
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(equal_ct(a, b, 32));
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		zero[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(is_zero_ct(zero, 32));
		zero[bit / 8] = 0;
	}
	b[32] ^= 1;
	zero[32] = 1;
	assert_true(equal_ct(a, b, 32));
	assert_true(is_zero_ct(zero, 32));
	assert_true(equal_ct(a, zero, 0));
	assert_true(is_zero_ct(a, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wipe_clears_exactly),
		cmocka_unit_test(test_every_bit_counts),
	};

	return cmocka_run_group_tests_name("wipe", tests, NULL, NULL);
}
