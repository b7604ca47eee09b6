/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cross-packet backend, with AVX-512 IFMA. A lane of ChaCha20 is a block of any packet of the
 * burst: first come the blocks that give the one-time keys, then those of the texts, so that only
 * the last pass of a burst has idle lanes. Poly1305 takes packets of about one length together.
 *
 * Secrets are in vector registers, on the stack and in the context: all three are wiped before each
 * return.
 */
#include <assert.h>
#include <errno.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/aead_batch_backend.h"
#include "crypto/chacha20_avx512.h"
#include "crypto/poly1305_avx512.h"

#define SETS		   2 /* of lanes in one pass */
#define LANES		   (SETS * CHACHA20_LANES)
#define RUN		   8 /* lanes are planned so many at once: some are written beyond the end */
#define ONE_TIME_KEY_BYTES 32
#define STACK_BYTES	   8192 /* the most that a call uses, with reserve; held by a test */

/* A pass of the block function: what each lane computes and what its key stream is for. */
struct pass {
	const uint8_t *key[LANES + RUN];
	uint64_t counter[LANES + RUN];
	uint32_t block[LANES + RUN];
	uintptr_t text[LANES + RUN]; /* unless for a one-time key */
	unsigned lanes;		     /* in use */
	unsigned keys;		     /* the first of them, for one-time keys of packets ... */
	unsigned first_packet;	     /* ... from this one on */
	uint32_t partial;	     /* bit mask: lanes with less than a block of text */
	uint8_t bytes[LANES];	     /* of text, in those */
};

struct context {
	struct aead_batch batch;
	struct pass pass;
	uint8_t tags[AEAD_BATCH_MAX + 1][AEAD_TAG_BYTES]; /* when opening; the last is a dummy's */

	/* Secret during a call, zero between calls. */
	__m512i states[LANES]; /* vectors of words, then one of each lane's key stream */
	/* The last one is a dummy's and stays zero. */
	_Alignas(64) uint8_t one_time_keys[AEAD_BATCH_MAX + 1][ONE_TIME_KEY_BYTES];
};

/* What is planned next: the one-time key of packet 'key', then 'block' of packet 'packet'. */
struct walk {
	const struct aead_op *ops;
	unsigned n;
	unsigned key;
	unsigned packet;
	uint32_t block;
};

static bool plan(struct pass *pass, struct walk *walk);
static void run(struct context *ctx);
static void run_held(struct context *ctx);
static void xor_lanes(struct context *ctx, unsigned from, unsigned to);
static size_t compute_tags(
	struct context *ctx, const struct aead_op *ops, unsigned n, bool sealing);
static uint64_t compare_tags(const struct context *ctx, const struct aead_op *ops, unsigned n);
static void wipe_secrets(struct context *ctx, unsigned n, size_t stack_bytes);

static void seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;
	struct walk walk = {.ops = ops, .n = n};

	while (plan(&ctx->pass, &walk))
		run(ctx);
	wipe_secrets(ctx, n, compute_tags(ctx, ops, n, true));
}

static uint64_t open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;
	struct walk walk = {.ops = ops, .n = n};
	uint64_t authentic;
	size_t stack_bytes;

	/* Tags are of the ciphertext: text in the pass of the last one-time keys has to wait. */
	while (walk.key < n) {
		plan(&ctx->pass, &walk);
		run_held(ctx);
	}
	stack_bytes = compute_tags(ctx, ops, n, false);
	authentic = compare_tags(ctx, ops, n);
	xor_lanes(ctx, ctx->pass.keys, ctx->pass.lanes);
	while (plan(&ctx->pass, &walk))
		run(ctx);
	wipe_secrets(ctx, n, stack_bytes);
	return authentic;
}

static bool supported(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vbmi2") &&
	       __builtin_cpu_supports("bmi2");
}

static struct aead_batch *create(void)
{
	struct context *ctx;

	if (!supported()) {
		errno = ENOTSUP;
		return NULL;
	}
	ctx = aligned_alloc(_Alignof(struct context), sizeof(*ctx));
	if (ctx == NULL)
		return NULL;
	memset(ctx, 0, sizeof(*ctx));
	ctx->batch.ops = &aead_batch_avx512;
	return &ctx->batch;
}

static void destroy(struct aead_batch *batch)
{
	free(batch);
}

/* ---- ChaCha20 ---- */

/* Lanes for consecutive blocks of one packet. */
static inline void plan_run(
	struct pass *pass, unsigned lane, unsigned count, const struct aead_op *op, uint32_t block)
{
	for (unsigned end = lane + count; lane < end; lane += RUN, block += RUN) {
		for (unsigned i = 0; i < RUN; i++) {
			pass->key[lane + i] = op->key;
			pass->counter[lane + i] = op->counter;
			pass->block[lane + i] = 1 + block + i;
			pass->text[lane + i] =
				(uintptr_t)op->data + (uintptr_t)(block + i) * CHACHA20_BLOCK_BYTES;
		}
	}
}

/* Plans a pass; false when there is nothing left to do. */
static bool plan(struct pass *pass, struct walk *walk)
{
	unsigned lane = 0;

	pass->first_packet = walk->key;
	for (; walk->key < walk->n && lane < LANES; walk->key++, lane++) {
		pass->key[lane] = walk->ops[walk->key].key;
		pass->counter[lane] = walk->ops[walk->key].counter;
		pass->block[lane] = 0;
	}
	pass->keys = lane;
	pass->partial = 0;
	for (; walk->packet < walk->n && lane < LANES; walk->packet++, walk->block = 0) {
		const struct aead_op *op = &walk->ops[walk->packet];
		uint32_t whole = op->len / CHACHA20_BLOCK_BYTES;
		uint32_t rest = op->len % CHACHA20_BLOCK_BYTES;
		uint32_t left = whole + (rest != 0) - walk->block;
		unsigned count = left < LANES - lane ? left : LANES - lane;

		plan_run(pass, lane, count, op, walk->block);
		lane += count;
		walk->block += count;
		if (count < left)
			break;
		if (rest != 0) {
			pass->partial |= UINT32_C(1) << (lane - 1);
			pass->bytes[lane - 1] = (uint8_t)rest;
		}
	}
	pass->lanes = lane;
	return lane > 0;
}

static void run_block_function(struct context *ctx)
{
	struct pass *pass = &ctx->pass;
	unsigned sets = (pass->lanes + CHACHA20_LANES - 1) / CHACHA20_LANES;

	/* Idle lanes compute something that nobody takes. */
	for (unsigned lane = pass->lanes; lane < sets * CHACHA20_LANES; lane++)
		pass->key[lane] = pass->key[0];
	for (unsigned s = 0; s < sets; s++) {
		unsigned first = s * CHACHA20_LANES;

		chacha20_load(ctx->states + first, pass->key + first, pass->counter + first,
			pass->block + first);
	}
	if (sets == 1)
		chacha20_avx512_x16(ctx->states, ctx->states);
	else
		chacha20_avx512_x32(ctx->states, ctx->states);
}

static inline void xor_whole(uintptr_t text, __m512i key_stream)
{
	__m512i *data = (__m512i *)text;

	_mm512_storeu_si512(data, _mm512_xor_si512(key_stream, _mm512_loadu_si512(data)));
}

static inline void xor_part(uintptr_t text, __m512i key_stream, uint8_t bytes)
{
	__mmask64 mask = _bzhi_u64(UINT64_MAX, bytes);
	__m512i data = _mm512_maskz_loadu_epi8(mask, (void *)text);

	_mm512_mask_storeu_epi8((void *)text, mask, _mm512_xor_si512(key_stream, data));
}

/* The key stream of text lanes that stands in the states goes onto the text. */
static void xor_lanes(struct context *ctx, unsigned from, unsigned to)
{
	const struct pass *pass = &ctx->pass;
	const __m512i *key_stream = ctx->states;

	for (unsigned lane = from; lane < to; lane++) {
		if (pass->partial >> lane & 1)
			xor_part(pass->text[lane], key_stream[lane], pass->bytes[lane]);
		else
			xor_whole(pass->text[lane], key_stream[lane]);
	}
}

/* A set of lanes all of which have a whole block of text. */
static void xor_set(struct context *ctx, unsigned set)
{
	const uintptr_t *text = ctx->pass.text + set * CHACHA20_LANES;
	__m512i key_stream[CHACHA20_WORDS];

	chacha20_transpose(key_stream, ctx->states + set * CHACHA20_LANES);
#pragma GCC unroll 16
	for (unsigned i = 0; i < CHACHA20_LANES; i++)
		xor_whole(text[i], key_stream[i]);
}

static bool all_whole(const struct pass *pass, unsigned first)
{
	return pass->keys <= first && pass->lanes >= first + CHACHA20_LANES &&
	       (pass->partial >> first & 0xffff) == 0;
}

/* Puts the states into the order of blocks, and takes the one-time keys. */
static void take_keys(struct context *ctx, unsigned set)
{
	const struct pass *pass = &ctx->pass;
	unsigned first = set * CHACHA20_LANES;

	chacha20_transpose(ctx->states + first, ctx->states + first);
	for (unsigned lane = first; lane < pass->keys && lane < first + CHACHA20_LANES; lane++)
		memcpy(ctx->one_time_keys[pass->first_packet + lane], &ctx->states[lane],
			ONE_TIME_KEY_BYTES);
}

static void run(struct context *ctx)
{
	const struct pass *pass = &ctx->pass;

	run_block_function(ctx);
	for (unsigned set = 0, first = 0; first < pass->lanes; set++, first += CHACHA20_LANES) {
		unsigned end = first + CHACHA20_LANES;

		if (all_whole(pass, first)) {
			xor_set(ctx, set);
			continue;
		}
		take_keys(ctx, set);
		xor_lanes(ctx, pass->keys > first ? pass->keys : first,
			pass->lanes < end ? pass->lanes : end);
	}
}

/* As run(), but the key stream of text lanes stays in the states. */
static void run_held(struct context *ctx)
{
	run_block_function(ctx);
	for (unsigned set = 0; set * CHACHA20_LANES < ctx->pass.lanes; set++)
		take_keys(ctx, set);
}

/* ---- Poly1305 ---- */

#define LENGTH_CLASSES 64

/* Like the length, but with few values: exact enough to put like to like. */
static unsigned length_class(uint32_t len)
{
	unsigned rows = len / POLY1305_ROW_BYTES;

	return rows < LENGTH_CLASSES ? rows : LENGTH_CLASSES - 1;
}

/* Packet numbers by length class, the longest first. */
static void sort_by_length(uint8_t order[AEAD_BATCH_MAX], const struct aead_op *ops, unsigned n)
{
	uint8_t begin[LENGTH_CLASSES] = {0};
	unsigned first = length_class(ops[0].len), same = 0, sum = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned class = length_class(ops[i].len);

		begin[class]++;
		same += class == first;
	}
	if (same == n) {
		for (unsigned i = 0; i < n; i++)
			order[i] = (uint8_t)i;
		return;
	}
	for (unsigned class = LENGTH_CLASSES; class -- > 0;) {
		unsigned count = begin[class];

		begin[class] = (uint8_t)sum;
		sum += count;
	}
	for (unsigned i = 0; i < n; i++)
		order[begin[length_class(ops[i].len)]++] = (uint8_t)i;
}

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

struct arrangement {
	void (*tags)(const struct poly1305_message *m);
	unsigned packets;
	size_t stack_bytes; /* where it may spill secrets, with its caller's frame */
};

static const struct arrangement wide_16 = {tags_wide_16, 16, 5632};
static const struct arrangement wide_8 = {tags_wide_8, 8, 5632};
static const struct arrangement split_8 = {tags_split_8, 8, STACK_BYTES};
static const struct arrangement split_4 = {tags_split_4, 4, 5632};
static const struct arrangement split_2 = {tags_split_2, 2, 4096};
static const struct arrangement alone = {tags_alone, 1, 5632};

/* The packets that are taken together next: at most 'left', the longest first. */
static unsigned gather(const struct aead_op *ops, const uint8_t *order, unsigned left,
	const struct arrangement **a)
{
	uint32_t longest = ops[order[0]].len;
	unsigned like = 1;

	if (longest <= WIDE_BYTES && left > 2) {
		*a = left > 8 ? &wide_16 : &wide_8;
	} else {
		/* Not a jumbo packet and short ones: they would take its time. */
		while (like < left && like < 8 && ops[order[like]].len + FAR_BYTES > longest)
			like++;
		*a = like > 4 ? &split_8 : like > 2 ? &split_4 : &split_2;
		if (like == 1 && longest > ALONE_BYTES)
			*a = &alone;
		left = like;
	}
	return left < (*a)->packets ? left : (*a)->packets;
}

/* Returns how much of the stack it used. */
static size_t compute_tags(struct context *ctx, const struct aead_op *ops, unsigned n, bool sealing)
{
	const struct poly1305_message nothing = {ctx->one_time_keys[AEAD_BATCH_MAX], 0,
		ctx->one_time_keys[AEAD_BATCH_MAX], ctx->tags[AEAD_BATCH_MAX]};
	uint8_t order[AEAD_BATCH_MAX];
	size_t stack_bytes = 0;
	unsigned done = 0;

	sort_by_length(order, ops, n);
	while (done < n) {
		const struct arrangement *a;
		unsigned count = gather(ops, order + done, n - done, &a);
		struct poly1305_message m[16];

		for (unsigned i = 0; i < count; i++) {
			unsigned packet = order[done + i];
			const struct aead_op *op = &ops[packet];

			m[i].text = op->data;
			m[i].len = op->len;
			m[i].key = ctx->one_time_keys[packet];
			m[i].tag = sealing ? op->data + op->len : ctx->tags[packet];
		}
		for (unsigned i = count; i < 16; i++)
			m[i] = nothing;
		a->tags(m);
		done += count;
		stack_bytes = a->stack_bytes > stack_bytes ? a->stack_bytes : stack_bytes;
	}
	return stack_bytes;
}

/* ---- the end of a call ---- */

/* wipe() of whole cache lines, without a call for a few of them. */
static inline void wipe_lines(void *lines, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		_mm512_store_si512((uint8_t *)lines + i, _mm512_setzero_si512());
	__asm__ volatile("" : : "r"(lines) : "memory");
}

/* What compilers spilled there: one-time keys and their powers. */
static __attribute__((noinline)) void wipe_stack(size_t bytes)
{
	_Alignas(64) uint8_t area[STACK_BYTES];

	wipe_lines(area + STACK_BYTES - bytes, bytes);
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

static void wipe_secrets(struct context *ctx, unsigned n, size_t stack_bytes)
{
	wipe_lines(ctx->states, sizeof(ctx->states));
	wipe_lines(ctx->one_time_keys, (n + 1) / 2 * 2 * ONE_TIME_KEY_BYTES);
	wipe_stack(stack_bytes);
	wipe_registers();
}

static uint64_t compare_tags(const struct context *ctx, const struct aead_op *ops, unsigned n)
{
	uint64_t authentic = 0;

	for (unsigned i = 0; i < n; i++) {
		__m128i theirs = _mm_loadu_si128((const __m128i *)(ops[i].data + ops[i].len));
		__m128i ours = _mm_loadu_si128((const __m128i *)ctx->tags[i]);
		__m128i difference = _mm_xor_si128(theirs, ours);
		uint64_t same = (uint64_t)_mm_testz_si128(difference, difference);

		authentic |= same << i;
	}
	return authentic;
}

const struct aead_batch_ops aead_batch_avx512 = {
	.backend = AEAD_BACKEND_AVX512,
	.create = create,
	.destroy = destroy,
	.seal = seal,
	.open = open,
};
