/* SPDX-License-Identifier: BSD-3-Clause */
/* The backend across packets for CPUs with AVX2 only; what it does stands in aead_across.h. */
#include <assert.h>

#include "crypto/aead_across.h"
#include "crypto/chacha20_avx2.h"
#include "crypto/poly1305_avx2.h"

static_assert(ACROSS_LANES % CHACHA20_LANES == 0, "a pass is some sets");

static const struct across_kernel kernel;

static void seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	across_seal(batch, ops, n, &kernel);
}

static uint64_t open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	return across_open(batch, ops, n, &kernel);
}

/* ---- ChaCha20 ---- */

static void compute(uint8_t (*states)[CHACHA20_BLOCK_BYTES], const struct across_pass *pass)
{
	for (unsigned first = 0; first < pass->lanes; first += CHACHA20_LANES) {
		__m256i *set = (__m256i *)(states + first);

		chacha20_load(set, pass->key + first, pass->counter + first, pass->block + first);
		chacha20_avx2_x8(set, set);
	}
}

static void order(uint8_t (*states)[CHACHA20_BLOCK_BYTES])
{
	chacha20_transpose((__m256i *)states, (const __m256i *)states);
}

static inline void xor_vector(uintptr_t text, __m256i key_stream)
{
	__m256i *data = (__m256i *)text;

	_mm256_storeu_si256(data, _mm256_xor_si256(key_stream, _mm256_loadu_si256(data)));
}

static void xor_set(const uintptr_t *text, uint8_t (*states)[CHACHA20_BLOCK_BYTES])
{
	__m256i key_stream[CHACHA20_WORDS];

	chacha20_transpose(key_stream, (const __m256i *)states);
#pragma GCC unroll 8
	for (unsigned i = 0; i < CHACHA20_LANES; i++) {
		xor_vector(text[i], key_stream[2 * i]);
		xor_vector(text[i] + 32, key_stream[2 * i + 1]);
	}
}

static void xor_block(uintptr_t text, const uint8_t *key_stream)
{
	const __m256i *vectors = (const __m256i *)key_stream;

	xor_vector(text, vectors[0]);
	xor_vector(text + 32, vectors[1]);
}

/* By halves: there are no masks for bytes. */
static void xor_part(uintptr_t text, const uint8_t *key_stream, unsigned bytes)
{
	uint8_t *at = (uint8_t *)text;

	if (bytes & 32) {
		xor_vector(text, *(const __m256i *)key_stream);
		at += 32;
		key_stream += 32;
	}
	if (bytes & 16) {
		__m128i *data = (__m128i *)at;

		_mm_storeu_si128(data, _mm_xor_si128(_mm_load_si128((const __m128i *)key_stream),
					       _mm_loadu_si128(data)));
		at += 16;
		key_stream += 16;
	}
	for (unsigned i = 0; i < bytes % 16; i++)
		at[i] ^= key_stream[i];
}

/* ---- Poly1305 ---- */

/* The arrangements of Poly1305, each a function of its own. */
static __attribute__((noinline)) void tags_wide_8(const struct poly1305_message *m)
{
	poly1305_wide(m, 2);
}

static __attribute__((noinline)) void tags_wide_4(const struct poly1305_message *m)
{
	poly1305_wide(m, 1);
}

static __attribute__((noinline)) void tags_alone(const struct poly1305_message *m)
{
	poly1305_alone_tag(m);
}

static const struct across_arrangement wide_8 = {tags_wide_8, 8, 3840};
static const struct across_arrangement wide_4 = {tags_wide_4, 4, 4608};
static const struct across_arrangement alone = {tags_alone, 1, 3840};

/* What an arrangement takes, in multiplications: of the longest packet, or of one alone. */
static inline uint32_t steps_wide(uint32_t len)
{
	return len / POLY1305_BLOCK_BYTES + 4;
}

static inline uint32_t steps_alone(uint32_t len)
{
	return len / POLY1305_ROW_BYTES + 9;
}

/* A packet so much longer than the next ones that it would take their time is taken alone. */
static const struct across_arrangement *gather(
	const struct aead_op *ops, const uint8_t *order, unsigned left, unsigned *count)
{
	uint32_t longest = ops[order[0]].len, one_by_one = 0;

	*count = left < 4 ? left : 4;
	for (unsigned i = 0; i < *count; i++)
		one_by_one += steps_alone(ops[order[i]].len);
	if (one_by_one < steps_wide(longest)) {
		*count = 1;
		return &alone;
	}
	if (left <= 4 || ops[order[4]].len < longest / 2)
		return &wide_4;
	*count = left < 8 ? left : 8;
	return &wide_8;
}

static void wipe_registers(void)
{
	__asm__ volatile("vzeroall"
			 :
			 :
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static const struct across_kernel kernel = {
	.set = CHACHA20_LANES,
	.compute = compute,
	.order = order,
	.xor_set = xor_set,
	.xor_block = xor_block,
	.xor_part = xor_part,
	.gather = gather,
	.length_step = 144, /* classes up to jumbo packets */
	.wipe_registers = wipe_registers,
};

static void destroy(struct aead_batch *batch)
{
	free(batch);
}

static const struct aead_batch_ops backend_ops = {
	.name = "avx2",
	.destroy = destroy,
	.seal = seal,
	.open = open,
};

struct aead_batch *aead_batch_avx2_create(void)
{
	return across_create(&backend_ops, __builtin_cpu_supports("avx2"));
}
