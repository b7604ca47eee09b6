/* SPDX-License-Identifier: BSD-3-Clause */
/* Random walks that can be walked again: the seed is printed, and taken from DPDK_WG_SEED. */
#ifndef TESTS_SEED_H
#define TESTS_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/random.h"

struct seeded {
	uint64_t state;
};

static inline struct seeded seeded_start(const char *what)
{
	const char *text = getenv("DPDK_WG_SEED");
	struct seeded seeded;

	if (text)
		seeded.state = strtoull(text, NULL, 0);
	else
		random_fill(&seeded.state, sizeof(seeded.state));
	printf("%s: DPDK_WG_SEED=%#llx\n", what, (unsigned long long)seeded.state);
	return seeded;
}

/* A counter, hashed by two rounds of multiply and fold. */
static inline uint64_t seeded_next(struct seeded *seeded)
{
	uint64_t x = seeded->state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
	return x ^ (x >> 32);
}

/* Uniform enough in 0..n-1. */
static inline uint64_t seeded_below(struct seeded *seeded, uint64_t n)
{
	return seeded_next(seeded) % n;
}

#endif
