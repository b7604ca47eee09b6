/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sums of long spans: 32-bit words widened to 64 bits, so that no carry is ever looked at and the
 * compiler can use whole vectors; with AVX2 where the CPU has it.
 */
#include "net/checksum.h"

#define STEP_BYTES 64

static inline __attribute__((always_inline)) uint64_t add_steps(const uint8_t *p, size_t steps)
{
	uint64_t sums[STEP_BYTES / 4] = {0};
	uint32_t words[STEP_BYTES / 4];
	uint64_t sum = 0;

	for (; steps > 0; steps--, p += STEP_BYTES) {
		memcpy(words, p, STEP_BYTES);
		for (unsigned i = 0; i < STEP_BYTES / 4; i++)
			sums[i] += words[i];
	}
	for (unsigned i = 0; i < STEP_BYTES / 4; i++)
		sum += sums[i];
	return sum;
}

static uint64_t add_steps_baseline(const uint8_t *p, size_t steps)
{
	return add_steps(p, steps);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint64_t add_steps_avx2(const uint8_t *p, size_t steps)
{
	return add_steps(p, steps);
}
#endif

uint64_t checksum_add_long(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t steps = len / STEP_BYTES;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		sum += add_steps_avx2(p, steps);
	else
#endif
		sum += add_steps_baseline(p, steps);
	return checksum_add(sum, p + steps * STEP_BYTES, len % STEP_BYTES);
}
