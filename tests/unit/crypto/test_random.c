/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/random.h"

/* Every byte is written and none beyond; a byte that stays the same 64 times is not random. */
static void test_fills_exactly(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 64; len++) {
		uint8_t seen[64] = {0}, buf[66];

		for (unsigned round = 0; round < 64; round++) {
			memset(buf, 0, sizeof(buf));
			random_fill(buf + 1, len);
			assert_int_equal(buf[0], 0);
			assert_int_equal(buf[1 + len], 0);
			for (size_t i = 0; i < len; i++)
				seen[i] |= buf[1 + i];
		}
		for (size_t i = 0; i < len; i++)
			assert_int_equal(seen[i], 0xff);
	}
}

static void test_differs(void **state)
{
	uint8_t a[32], b[32];

	(void)state;
	random_fill(a, sizeof(a));
	random_fill(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fills_exactly),
		cmocka_unit_test(test_differs),
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
