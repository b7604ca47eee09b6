/* SPDX-License-Identifier: BSD-3-Clause */
/* Public keys are often chosen by strangers: who knows the program must not know where they lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "uapi/slots.h"

enum { KEYS = 4096 };

/* Keys that differ in these four bytes alone, in as many slots as chance gives them. */
static unsigned used_slots(const struct slots *slots, unsigned at)
{
	uint8_t key[WG_KEY_BYTES] = {1, 2, 3}, used[2 * KEYS] = {0};
	unsigned n = 0;

	assert_int_equal(slots->mask, 2 * KEYS - 1);
	for (uint32_t i = 0; i < KEYS; i++) {
		uint8_t *slot;

		memcpy(key + at, &i, sizeof(i));
		slot = &used[slots_hash_key(slots, key) & slots->mask];
		n += !*slot;
		*slot = 1;
	}
	return n;
}

/* Would catch a hash that leaves a part of the key out. */
static void test_each_byte_counts(void **state)
{
	struct slots slots;

	(void)state;
	assert_true(slots_init(&slots, KEYS));
	/* 8192 (1 - e^(-1/2)), and ten standard deviations. */
	for (unsigned at = 0; at <= WG_KEY_BYTES - 4; at += 4)
		assert_in_range(used_slots(&slots, at), 3223 - 250, 3223 + 250);
	slots_free(&slots);
}

/* Would catch a hash that everybody can work out. */
static void test_each_table_has_its_own(void **state)
{
	uint8_t key[WG_KEY_BYTES] = {5};
	struct slots one, other;

	(void)state;
	assert_true(slots_init(&one, 1) && slots_init(&other, 1));
	assert_int_equal(slots_hash_key(&one, key), slots_hash_key(&one, key));
	assert_int_not_equal(slots_hash_key(&one, key), slots_hash_key(&other, key));
	slots_free(&one);
	slots_free(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_byte_counts),
		cmocka_unit_test(test_each_table_has_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
