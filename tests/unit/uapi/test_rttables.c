/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of routing tables; what ip(8) makes of the same file is the measure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "uapi/rttables.h"

static const char tables[] = "#\n"
			     "# reserved values\n"
			     "255\tlocal\n"
			     "#7 seven\n"
			     "\n"
			     "  100   vpn   # to the tunnel\n"
			     "0x1f4 branch\n"
			     "nonsense\n"
			     "12\n"
			     "200 vpn2\n"
			     "010 decimal\n"
			     "0 unspec\n"
			     "-1 minus\n"
			     "4294967296 large\n"
			     "4294967295 last";

static bool find(const char *name, uint32_t *number)
{
	FILE *file = fmemopen((void *)(uintptr_t)tables, strlen(tables), "r");
	bool found;

	assert_non_null(file);
	found = rttables_find(file, (struct span){name, strlen(name)}, number);
	fclose(file);
	return found;
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		uint32_t number;
	} good[] = {{"vpn", 100}, {"branch", 500}, {"vpn2", 200}, {"decimal", 10},
		{"last", UINT32_MAX}, {"local", 255}};
	static const char *const bad[] = {"", "vp", "vpn3", "VPN", "seven", "#7", "nonsense", "12",
		"#", "values", "unspec", "minus", "large"};
	uint32_t number;

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(find(good[i].name, &number));
		assert_int_equal(number, good[i].number);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(find(bad[i], &number));
}

/* Wherever the program runs. */
static void test_the_kernels_own(void **state)
{
	uint32_t number;

	(void)state;
	assert_true(rttables_number((struct span){"main", 4}, &number));
	assert_int_equal(number, 254);
	assert_true(rttables_number((struct span){"default", 7}, &number));
	assert_int_equal(number, 253);
	assert_false(rttables_number((struct span){"no such table", 13}, &number));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_the_kernels_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
