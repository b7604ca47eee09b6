/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>
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

/* A kernel that is interrupted, and gives less than it was asked for. */
static unsigned interruptions, most;
static unsigned calls;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	calls++;
	if (interruptions > 0) {
		interruptions--;
		errno = EINTR;
		return -1;
	}
	if (most > 0 && len > most)
		len = most;
	return syscall(SYS_getrandom, buf, len, flags);
}

/* Would catch randomness that is not the kernel's, and a key that is filled in part. */
static void test_goes_on_until_all_is_filled(void **state)
{
	uint8_t seen[64] = {0}, buf[64];

	(void)state;
	most = 7;
	for (unsigned round = 0; round < 64; round++) {
		calls = 0;
		interruptions = 3;
		random_fill(buf, sizeof(buf));
		assert_int_equal(calls, 3 + 10);
		for (size_t i = 0; i < sizeof(buf); i++)
			seen[i] |= buf[i];
	}
	most = 0;
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(seen[i], 0xff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fills_exactly),
		cmocka_unit_test(test_differs),
		cmocka_unit_test(test_goes_on_until_all_is_filled),
	};

	return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
