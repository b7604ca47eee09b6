/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sums of long spans, in vectors: the two halves of each 32-bit word are added to lanes of their
 * own. These do not overflow in 64 KiB, so that no carry is ever looked at. With AVX2 where the CPU
 * has it.
 */
#include "net/checksum.h"

typedef uint32_t lanes __attribute__((vector_size(32)));

#define STEP_BYTES (2 * sizeof(lanes))

static inline __attribute__((always_inline)) uint64_t add_steps(const uint8_t *p, size_t steps)
{
	lanes low = {0}, high = {0};
	uint64_t sum = 0;

	for (; steps > 0; steps--, p += STEP_BYTES) {
		lanes a, b;
		memcpy(&a, p, sizeof(a));
		memcpy(&b, p + sizeof(a), sizeof(b));
		low += (a & 0xffff) + (b & 0xffff);
		high += (a >> 16) + (b >> 16);
	}
	for (unsigned i = 0; i < sizeof(lanes) / 4; i++)
		sum += (uint64_t)low[i] + high[i];
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
