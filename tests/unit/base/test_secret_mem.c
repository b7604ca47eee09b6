/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/secret_mem.h"
#include "memory_use.h"
#include "seed.h"

#if defined(__SANITIZE_ADDRESS__)
#define PLAIN_HEAP true
#else
#define PLAIN_HEAP false
#endif

/* The VmFlags of the mapping that p lies in, from /proc/self/smaps. */
static void flags_of(const void *p, char flags[256])
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	bool inside = false;
	char line[4096];

	assert_non_null(smaps);
	flags[0] = '\0';
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, 256, "%.200s", line + 8);
	}
	fclose(smaps);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* Small, the largest small, the smallest large, large. */
static const size_t sizes[] = {1, 64, 65, 1300, 4096, 4097, 1u << 20};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void test_locked_not_dumped_not_inherited(void **state)
{
	char flags[256];

	(void)state;
	if (PLAIN_HEAP)
		skip();
	for (size_t i = 0; i < SIZES; i++) {
		uint8_t *p = secret_alloc(sizes[i]);

		assert_non_null(p);
		p[sizes[i] - 1] = 1;
		flags_of(p + sizes[i] - 1, flags);
		if (secret_lock_error() == 0)
			assert_non_null(strstr(flags, " lo"));
		assert_non_null(strstr(flags, " dd"));
		assert_non_null(strstr(flags, " dc"));
		secret_free(p);
	}
}

static void test_zeroed_and_aligned(void **state)
{
	(void)state;
	for (size_t i = 0; i < SIZES; i++) {
		for (int again = 0; again < 3; again++) {
			uint8_t *p = secret_alloc(sizes[i]);

			assert_int_equal((uintptr_t)p % 64, 0);
			assert_true(all_zero(p, sizes[i]));
			memset(p, 0xa5, sizes[i]);
			secret_free(p);
		}
	}
	secret_free(NULL);
}

/* What is freed is wiped, but for the word that links it; its neighbour keeps the slab mapped. */
static void test_wiped_when_freed(void **state)
{
	uint8_t *neighbour, *p;

	(void)state;
	if (PLAIN_HEAP)
		skip();
	neighbour = secret_alloc(1000);
	p = secret_alloc(1000);
	memset(p, 0xa5, 1000);
	secret_free(p);
	assert_true(all_zero(p + sizeof(void *), 1000 - sizeof(void *)));
	secret_free(neighbour);
}

static void test_too_large_is_refused(void **state)
{
	size_t huge = SIZE_MAX;

	(void)state;
	if (PLAIN_HEAP)
		skip();
	/* Out of the compiler's sight, which knows that no object is so large. */
	__asm__("" : "+r"(huge));
	assert_null(secret_alloc(huge));
	assert_null(secret_alloc(huge / 2));
	assert_null(secret_alloc(huge / 4));
}

/* Objects of any size in any order, each with a pattern of its own that nobody else writes to. */
static void test_any_order(void **state)
{
	enum { OBJECTS = 3000, STEPS = 60000 };
	static struct {
		uint8_t *p;
		size_t size;
		uint8_t mark;
	} objects[OBJECTS];
	struct seeded seed = seeded_start("secret_mem");

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		unsigned i = (unsigned)(seeded_below(&seed, OBJECTS));
		unsigned kind = (unsigned)(seeded_below(&seed, 100));
		size_t most = kind == 0 ? 100000 : kind < 20 ? 5000 : 1500;

		if (objects[i].p) {
			for (size_t k = 0; k < objects[i].size; k++)
				assert_int_equal(objects[i].p[k], objects[i].mark);
			secret_free(objects[i].p);
			objects[i].p = NULL;
			continue;
		}
		objects[i].size = 1 + seeded_below(&seed, most);
		objects[i].mark = (uint8_t)step;
		objects[i].p = secret_alloc(objects[i].size);
		assert_true(all_zero(objects[i].p, objects[i].size));
		memset(objects[i].p, objects[i].mark, objects[i].size);
	}
	for (unsigned i = 0; i < OBJECTS; i++)
		secret_free(objects[i].p);
}

/* What was taken for many goes back to the system when they go. */
static void test_memory_is_given_back(void **state)
{
	enum { OBJECTS = 20000, BYTES = 1280 };
	static void *objects[OBJECTS];
	unsigned long before, most, after;

	(void)state;
	if (PLAIN_HEAP)
		skip();
	before = memory_use().mapped_bytes;
	for (int i = 0; i < OBJECTS; i++)
		objects[i] = secret_alloc(BYTES);
	most = memory_use().mapped_bytes;
	for (int i = 0; i < OBJECTS; i++)
		secret_free(objects[i]);
	after = memory_use().mapped_bytes;
	assert_in_range(most - before, OBJECTS * BYTES * 0.8, OBJECTS * BYTES * 1.1);
	assert_in_range(after, 0, before + (512 << 10));
}

/* An object larger than the small ones takes its pages, not a huge one. */
static void test_large_objects_take_what_they_need(void **state)
{
	enum { OBJECTS = 200, BYTES = 40000 };
	static void *objects[OBJECTS];
	unsigned long before, after;

	(void)state;
	if (PLAIN_HEAP)
		skip();
	before = memory_use().resident_bytes;
	for (int i = 0; i < OBJECTS; i++) {
		objects[i] = secret_alloc(BYTES);
		memset(objects[i], 1, BYTES);
	}
	after = memory_use().resident_bytes;
	for (int i = 0; i < OBJECTS; i++)
		secret_free(objects[i]);
	assert_in_range(after - before, OBJECTS * BYTES, OBJECTS * (BYTES + 16384ul));
}

/* Who may not lock so much gets memory all the same, and is told. */
static void test_beyond_the_limit(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (PLAIN_HEAP || geteuid() != 0)
		skip();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit none = {0, 0};
		uint8_t *p;
		int rc = setrlimit(RLIMIT_MEMLOCK, &none) | setresuid(65534, 65534, 65534);

		p = secret_alloc(3000);
		if (p)
			memset(p, 1, 3000);
		_exit(rc == 0 && p && secret_lock_error() != 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: what the parent allocates its child does not have. */
		cmocka_unit_test(test_beyond_the_limit),
		cmocka_unit_test(test_locked_not_dumped_not_inherited),
		cmocka_unit_test(test_zeroed_and_aligned),
		cmocka_unit_test(test_wiped_when_freed),
		cmocka_unit_test(test_too_large_is_refused),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_memory_is_given_back),
		cmocka_unit_test(test_large_objects_take_what_they_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
