/* SPDX-License-Identifier: BSD-3-Clause */
/* What the packet tests share: a slow Internet checksum as oracle, seeded randomness, cmocka. */
#ifndef TESTS_NET_NAIVE_H
#define TESTS_NET_NAIVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint64_t naive_state;

static inline uint64_t naive_random(void)
{
	naive_state ^= naive_state << 13;
	naive_state ^= naive_state >> 7;
	naive_state ^= naive_state << 17;
	return naive_state * 0x2545f4914f6cdd1dull;
}

/* The environment's TEST_SEED, or the clock; printed either way. */
static inline void naive_seed(void)
{
	const char *given = getenv("TEST_SEED");

	naive_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
	printf("TEST_SEED=%llu\n", (unsigned long long)naive_state);
}

static inline void naive_fill(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(naive_random() >> 32);
}

/* RFC 1071 word by word, not complemented, as a number. */
static inline uint32_t naive_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* A copy of exactly len bytes on the heap, so that a sanitizer sees one byte too many. */
static inline uint8_t *naive_copy(const uint8_t *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, p, len);
	return copy;
}

#endif
