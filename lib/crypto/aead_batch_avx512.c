/* SPDX-License-Identifier: BSD-3-Clause */
/* The backend across packets for CPUs with AVX-512 IFMA; what it does stands in aead_across.h. */
#include <assert.h>

#include "crypto/aead_across.h"
#include "crypto/chacha20_avx512.h"
#include "crypto/poly1305_avx512.h"

static_assert(ACROSS_LANES == 2 * CHACHA20_LANES, "a pass is one set or two");

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
	__m512i *vectors = (__m512i *)states;

	for (unsigned first = 0; first < pass->lanes; first += CHACHA20_LANES)
		chacha20_load(vectors + first, pass->key + first, pass->counter + first,
			pass->block + first);
	if (pass->lanes <= CHACHA20_LANES)
		chacha20_avx512_x16(vectors, vectors);
	else
		chacha20_avx512_x32(vectors, vectors);
}

static void order(uint8_t (*states)[CHACHA20_BLOCK_BYTES])
{
	chacha20_transpose((__m512i *)states, (const __m512i *)states);
}

static inline void xor_vector(uintptr_t text, __m512i key_stream)
{
	__m512i *data = (__m512i *)text;

	_mm512_storeu_si512(data, _mm512_xor_si512(key_stream, _mm512_loadu_si512(data)));
}

static void xor_set(const uintptr_t *text, uint8_t (*states)[CHACHA20_BLOCK_BYTES])
{
	__m512i key_stream[CHACHA20_WORDS];

	chacha20_transpose(key_stream, (const __m512i *)states);
#pragma GCC unroll 16
	for (unsigned i = 0; i < CHACHA20_LANES; i++)
		xor_vector(text[i], key_stream[i]);
}

static void xor_block(uintptr_t text, const uint8_t *key_stream)
{
	xor_vector(text, _mm512_load_si512(key_stream));
}

static void xor_part(uintptr_t text, const uint8_t *key_stream, unsigned bytes)
{
	__mmask64 mask = _bzhi_u64(UINT64_MAX, bytes);
	__m512i data = _mm512_maskz_loadu_epi8(mask, (void *)text);

	data = _mm512_xor_si512(_mm512_load_si512(key_stream), data);
	_mm512_mask_storeu_epi8((void *)text, mask, data);
}

/* ---- Poly1305 ---- */

/* Texts up to here are taken a lane each, when there are enough of them. */
#define WIDE_BYTES 256
/* A packet so much longer than the next one is taken alone, ... */
#define FAR_BYTES 2048
/* ... with the lanes of eight packets, if it is worth the powers of r that takes. */
#define ALONE_BYTES 512

/* The arrangements of Poly1305, each a function of its own. */
static __attribute__((noinline)) void tags_wide_16(const struct poly1305_message *m)
{
	poly1305_wide(m, 2);
}

static __attribute__((noinline)) void tags_wide_8(const struct poly1305_message *m)
{
	poly1305_wide(m, 1);
}

static __attribute__((noinline)) void tags_split_8(const struct poly1305_message *m)
{
	poly1305_split_tags(m, 4);
}

static __attribute__((noinline)) void tags_split_4(const struct poly1305_message *m)
{
	poly1305_split_tags(m, 2);
}

static __attribute__((noinline)) void tags_split_2(const struct poly1305_message *m)
{
	poly1305_split_tags(m, 1);
}

static __attribute__((noinline)) void tags_alone(const struct poly1305_message *m)
{
	poly1305_alone_tag(m);
}

static const struct across_arrangement wide_16 = {tags_wide_16, 16, 5632};
static const struct across_arrangement wide_8 = {tags_wide_8, 8, 5632};
static const struct across_arrangement split_8 = {tags_split_8, 8, 8192};
static const struct across_arrangement split_4 = {tags_split_4, 4, 5632};
static const struct across_arrangement split_2 = {tags_split_2, 2, 4096};
static const struct across_arrangement alone = {tags_alone, 1, 5632};

static const struct across_arrangement *gather(
	const struct aead_op *ops, const uint8_t *order, unsigned left, unsigned *count)
{
	const struct across_arrangement *a;
	uint32_t longest = ops[order[0]].len;
	unsigned like = 1;

	if (longest <= WIDE_BYTES && left > 2) {
		a = left > 8 ? &wide_16 : &wide_8;
	} else {
		/* Not a jumbo packet and short ones: they would take its time. */
		while (like < left && like < 8 && ops[order[like]].len + FAR_BYTES > longest)
			like++;
		a = like > 4 ? &split_8 : like > 2 ? &split_4 : &split_2;
		if (like == 1 && longest > ALONE_BYTES)
			a = &alone;
		left = like;
	}
	*count = left < a->packets ? left : a->packets;
	return a;
}

static void wipe_registers(void)
{
	__asm__ volatile("vzeroall\n\t"
			 "vpxord %%zmm16, %%zmm16, %%zmm16\n\tvmovdqa64 %%zmm16, %%zmm17\n\t"
			 "vmovdqa64 %%zmm16, %%zmm18\n\tvmovdqa64 %%zmm16, %%zmm19\n\t"
			 "vmovdqa64 %%zmm16, %%zmm20\n\tvmovdqa64 %%zmm16, %%zmm21\n\t"
			 "vmovdqa64 %%zmm16, %%zmm22\n\tvmovdqa64 %%zmm16, %%zmm23\n\t"
			 "vmovdqa64 %%zmm16, %%zmm24\n\tvmovdqa64 %%zmm16, %%zmm25\n\t"
			 "vmovdqa64 %%zmm16, %%zmm26\n\tvmovdqa64 %%zmm16, %%zmm27\n\t"
			 "vmovdqa64 %%zmm16, %%zmm28\n\tvmovdqa64 %%zmm16, %%zmm29\n\t"
			 "vmovdqa64 %%zmm16, %%zmm30\n\tvmovdqa64 %%zmm16, %%zmm31"
			 :
			 :
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16",
			 "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
			 "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}

static const struct across_kernel kernel = {
	.set = CHACHA20_LANES,
	.compute = compute,
	.order = order,
	.xor_set = xor_set,
	.xor_block = xor_block,
	.xor_part = xor_part,
	.gather = gather,
	.length_step = POLY1305_ROW_BYTES,
	.wipe_registers = wipe_registers,
};

static void destroy(struct aead_batch *batch)
{
	free(batch);
}

static const struct aead_batch_ops backend_ops = {
	.name = "avx512",
	.destroy = destroy,
	.seal = seal,
	.open = open,
};

static bool supported(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vbmi2") &&
	       __builtin_cpu_supports("bmi2");
}

struct aead_batch *aead_batch_avx512_create(void)
{
	return across_create(&backend_ops, supported());
}
