/* SPDX-License-Identifier: BSD-3-Clause */
/* What memory the test itself takes, as the kernel counts it. */
#ifndef TESTS_UNIT_WG_MEMORY_USE_H
#define TESTS_UNIT_WG_MEMORY_USE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

struct memory_use {
	unsigned long mapped_bytes;
	unsigned long resident_bytes;
};

static inline struct memory_use memory_use(void)
{
	unsigned long page_bytes = (unsigned long)sysconf(_SC_PAGESIZE), mapped, resident;
	FILE *statm = fopen("/proc/self/statm", "r");

	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%lu %lu", &mapped, &resident), 2);
	fclose(statm);
	return (struct memory_use){mapped * page_bytes, resident * page_bytes};
}

#endif
