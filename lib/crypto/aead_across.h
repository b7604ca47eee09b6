/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the backends across packets have in common. A lane of ChaCha20 is a block of any packet of
 * the burst: first come the blocks that give the one-time keys, then those of the texts, so that
 * only the last pass of a burst has idle lanes. Poly1305 takes packets of about one length
 * together.
 *
 * A kernel is the vector code of one kind of CPU, compiled for it. All here is inlined into the
 * backend's own file, where the kernel is a constant.
 *
 * Secrets are in vector registers, on the stack and in the context: all three are wiped before each
 * return.
 */
#ifndef CRYPTO_AEAD_ACROSS_H
#define CRYPTO_AEAD_ACROSS_H

#include <errno.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/prefetch.h"
#include "crypto/aead.h"
#include "crypto/aead_batch_backend.h"
#include "crypto/poly1305.h"

#define ACROSS_INLINE static inline __attribute__((always_inline))

#define ACROSS_LANES	     32 /* in one pass */
#define ACROSS_RUN	     8	/* lanes planned at once: some are written beyond the end */
#define ACROSS_GROUP	     16 /* packets that an arrangement of Poly1305 takes at most */
#define CHACHA20_BLOCK_BYTES 64
#define ONE_TIME_KEY_BYTES   32

/* A pass of the block function: what each lane computes and what its key stream is for. */
struct across_pass {
	const uint8_t *key[ACROSS_LANES + ACROSS_RUN];
	uint64_t counter[ACROSS_LANES + ACROSS_RUN];
	uint32_t block[ACROSS_LANES + ACROSS_RUN];
	uintptr_t text[ACROSS_LANES + ACROSS_RUN]; /* unless for a one-time key */
	unsigned lanes;				   /* in use */
	unsigned keys;		     /* the first of them, for one-time keys of packets ... */
	unsigned first_packet;	     /* ... from this one on */
	uint32_t partial;	     /* bit mask: lanes with less than a block of text */
	uint8_t bytes[ACROSS_LANES]; /* of text, in those */
};

struct across {
	struct aead_batch batch;
	struct across_pass pass;
	uint8_t tags[AEAD_BATCH_MAX + 1][AEAD_TAG_BYTES]; /* when opening; the last is a dummy's */

	/* Secret during a call, zero between calls. */
	_Alignas(64) uint8_t states[ACROSS_LANES][CHACHA20_BLOCK_BYTES];
	/* The last one is a dummy's and stays zero. */
	_Alignas(64) uint8_t one_time_keys[AEAD_BATCH_MAX + 1][ONE_TIME_KEY_BYTES];
};

/* A way to compute the tags of some packets together. */
struct across_arrangement {
	void (*tags)(const struct poly1305_message m[ACROSS_GROUP]); /* some may be empty */
	unsigned packets;
	size_t stack_bytes; /* where it may spill secrets, with its callers' frames; held by a test
			     */
};

struct across_kernel {
	unsigned set; /* lanes whose states are computed together, word by word */
	/* The key streams of the pass, set after set, in words: vector i has word i of each. */
	void (*compute)(uint8_t (*states)[CHACHA20_BLOCK_BYTES], const struct across_pass *pass);
	/* Words of a set to key streams one after the other. */
	void (*order)(uint8_t (*states)[CHACHA20_BLOCK_BYTES]);
	/* Words of a set onto as many whole blocks of text. */
	void (*xor_set)(const uintptr_t *text, uint8_t (*states)[CHACHA20_BLOCK_BYTES]);
	void (*xor_block)(uintptr_t text, const uint8_t *key_stream);
	void (*xor_part)(uintptr_t text, const uint8_t *key_stream, unsigned bytes);
	/* The arrangement for the next of 'left' packets; packet order[0] is the longest. */
	const struct across_arrangement *(*gather)(
		const struct aead_op *ops, const uint8_t *order, unsigned left, unsigned *count);
	unsigned length_step; /* packets that differ by less may count as of one length */
	void (*wipe_registers)(void);
};

/* What is planned next: the one-time key of packet 'key', then 'block' of packet 'packet'. */
struct across_walk {
	const struct aead_op *ops;
	unsigned n;
	unsigned key;
	unsigned packet;
	uint32_t block;
};

ACROSS_INLINE struct aead_batch *across_create(const struct aead_batch_ops *ops, bool supported)
{
	struct across *ctx;

	if (!supported) {
		errno = ENOTSUP;
		return NULL;
	}
	ctx = aligned_alloc(_Alignof(struct across), sizeof(*ctx));
	if (ctx == NULL)
		return NULL;
	memset(ctx, 0, sizeof(*ctx));
	ctx->batch.ops = ops;
	return &ctx->batch;
}

/* ---- ChaCha20 ---- */

/* Lanes for consecutive blocks of one packet. */
ACROSS_INLINE void across_plan_run(struct across_pass *pass, unsigned lane, unsigned count,
	const struct aead_op *op, uint32_t block)
{
	for (unsigned end = lane + count; lane < end; lane += ACROSS_RUN, block += ACROSS_RUN) {
		for (unsigned i = 0; i < ACROSS_RUN; i++) {
			pass->key[lane + i] = op->key;
			pass->counter[lane + i] = op->counter;
			pass->block[lane + i] = 1 + block + i;
			pass->text[lane + i] =
				(uintptr_t)op->data + (uintptr_t)(block + i) * CHACHA20_BLOCK_BYTES;
		}
	}
}

/* Plans a pass; false when there is nothing left to do. */
static inline bool across_plan(
	struct across_pass *pass, struct across_walk *walk, const struct across_kernel *kernel)
{
	unsigned lane = 0;

	pass->first_packet = walk->key;
	for (; walk->key < walk->n && lane < ACROSS_LANES; walk->key++, lane++) {
		pass->key[lane] = walk->ops[walk->key].key;
		pass->counter[lane] = walk->ops[walk->key].counter;
		pass->block[lane] = 0;
	}
	pass->keys = lane;
	pass->partial = 0;
	for (; walk->packet < walk->n && lane < ACROSS_LANES; walk->packet++, walk->block = 0) {
		const struct aead_op *op = &walk->ops[walk->packet];
		uint32_t whole = op->len / CHACHA20_BLOCK_BYTES;
		uint32_t rest = op->len % CHACHA20_BLOCK_BYTES;
		uint32_t left = whole + (rest != 0) - walk->block;
		unsigned count = left < ACROSS_LANES - lane ? left : ACROSS_LANES - lane;

		across_plan_run(pass, lane, count, op, walk->block);
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
	/* Idle lanes compute something that nobody takes. */
	for (; lane % kernel->set != 0; lane++)
		pass->key[lane] = pass->key[0];
	return pass->lanes > 0;
}

/* The key stream of text lanes that stands in the states, in order, goes onto the text. */
static inline void across_xor_lanes(
	struct across *ctx, unsigned from, unsigned to, const struct across_kernel *kernel)
{
	const struct across_pass *pass = &ctx->pass;

	for (unsigned lane = from; lane < to; lane++) {
		if (pass->partial >> lane & 1)
			kernel->xor_part(pass->text[lane], ctx->states[lane], pass->bytes[lane]);
		else
			kernel->xor_block(pass->text[lane], ctx->states[lane]);
	}
}

/* Of a set: all its lanes are in use, for whole blocks of text. */
ACROSS_INLINE bool across_all_whole(
	const struct across_pass *pass, unsigned first, const struct across_kernel *kernel)
{
	return pass->keys <= first && pass->lanes >= first + kernel->set &&
	       (pass->partial >> first & ((1u << kernel->set) - 1)) == 0;
}

/* Puts a set's key streams into order, and takes the one-time keys. */
static inline void across_take_keys(
	struct across *ctx, unsigned first, const struct across_kernel *kernel)
{
	const struct across_pass *pass = &ctx->pass;

	kernel->order(ctx->states + first);
	for (unsigned lane = first; lane < pass->keys && lane < first + kernel->set; lane++)
		memcpy(ctx->one_time_keys[pass->first_packet + lane], ctx->states[lane],
			ONE_TIME_KEY_BYTES);
}

static inline void across_run(struct across *ctx, const struct across_kernel *kernel)
{
	const struct across_pass *pass = &ctx->pass;

	kernel->compute(ctx->states, pass);
	for (unsigned first = 0; first < pass->lanes; first += kernel->set) {
		unsigned end = first + kernel->set;

		if (across_all_whole(pass, first, kernel)) {
			kernel->xor_set(pass->text + first, ctx->states + first);
			continue;
		}
		across_take_keys(ctx, first, kernel);
		across_xor_lanes(ctx, pass->keys > first ? pass->keys : first,
			pass->lanes < end ? pass->lanes : end, kernel);
	}
}

/* As across_run(), but the key stream of text lanes stays in the states. */
static inline void across_run_held(struct across *ctx, const struct across_kernel *kernel)
{
	kernel->compute(ctx->states, &ctx->pass);
	for (unsigned first = 0; first < ctx->pass.lanes; first += kernel->set)
		across_take_keys(ctx, first, kernel);
}

/* ---- Poly1305 ---- */

#define LENGTH_CLASSES 64

/* Packet numbers by length, the longest first, exact enough to put like to like. */
ACROSS_INLINE void across_sort(
	uint8_t order[AEAD_BATCH_MAX], const struct aead_op *ops, unsigned n, unsigned step)
{
	uint8_t begin[LENGTH_CLASSES] = {0}, class_of[AEAD_BATCH_MAX];
	unsigned same = 0, sum = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned class = ops[i].len / step;

		class = class < LENGTH_CLASSES ? class : LENGTH_CLASSES - 1;
		class_of[i] = (uint8_t) class;
		begin[class]++;
		same += class == class_of[0];
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
		order[begin[class_of[i]]++] = (uint8_t)i;
}

/* Returns how much of the stack it used. */
static inline size_t across_compute_tags(struct across *ctx, const struct aead_op *ops, unsigned n,
	bool sealing, const struct across_kernel *kernel)
{
	const struct poly1305_message nothing = {ctx->one_time_keys[AEAD_BATCH_MAX], 0,
		ctx->one_time_keys[AEAD_BATCH_MAX], ctx->tags[AEAD_BATCH_MAX]};
	uint8_t order[AEAD_BATCH_MAX];
	size_t stack_bytes = 0;
	unsigned done = 0;

	across_sort(order, ops, n, kernel->length_step);
	while (done < n) {
		unsigned count;
		const struct across_arrangement *a =
			kernel->gather(ops, order + done, n - done, &count);
		struct poly1305_message m[ACROSS_GROUP];

		for (unsigned i = 0; i < count; i++) {
			unsigned packet = order[done + i];
			const struct aead_op *op = &ops[packet];

			m[i].text = op->data;
			m[i].len = op->len;
			m[i].key = ctx->one_time_keys[packet];
			m[i].tag = sealing ? op->data + op->len : ctx->tags[packet];
		}
		for (unsigned i = count; i < ACROSS_GROUP; i++)
			m[i] = nothing;
		a->tags(m);
		done += count;
		stack_bytes = a->stack_bytes > stack_bytes ? a->stack_bytes : stack_bytes;
	}
	return stack_bytes;
}

static inline uint64_t across_compare_tags(
	const struct across *ctx, const struct aead_op *ops, unsigned n)
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

/* ---- the end of a call ---- */

typedef uint64_t across_line __attribute__((vector_size(64)));

/* wipe() of whole cache lines, without a call for a few of them. */
ACROSS_INLINE void across_wipe_lines(void *lines, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += sizeof(across_line))
		*(across_line *)((uint8_t *)lines + i) = (across_line){0};
	__asm__ volatile("" : : "r"(lines) : "memory");
}

/*
 * What was spilled there: key words, one-time keys and their powers. In assembly, from right below
 * this function's frame on: what a compiler would keep for itself above an array of its own is
 * where the frames of other functions had their secrets.
 */
static __attribute__((noinline)) void across_wipe_stack(size_t bytes)
{
	uint8_t *frame, *at;

	__asm__ volatile("vpxor %%xmm0, %%xmm0, %%xmm0\n\t"
			 "mov %%rsp, %[frame]\n\t"
			 "lea -64(%%rsp), %[at]\n\t"
			 "sub %[bytes], %%rsp\n\t"
			 "vmovdqu %%ymm0, (%[at])\n\t"
			 "vmovdqu %%ymm0, 32(%[at])\n\t"
			 "and $-64, %[at]\n\t"
			 "1:\n\t"
			 "vmovdqa %%ymm0, (%[at])\n\t"
			 "vmovdqa %%ymm0, 32(%[at])\n\t"
			 "sub $64, %[at]\n\t"
			 "cmp %%rsp, %[at]\n\t"
			 "ja 1b\n\t"
			 "mov %[frame], %%rsp"
			 : [at] "=&r"(at), [frame] "=&r"(frame)
			 : [bytes] "r"(bytes)
			 : "xmm0", "cc", "memory");
}

static inline void across_wipe_secrets(
	struct across *ctx, unsigned n, size_t stack_bytes, const struct across_kernel *kernel)
{
	across_wipe_lines(ctx->states, sizeof(ctx->states));
	across_wipe_lines(ctx->one_time_keys, (n + 1) / 2 * 2 * ONE_TIME_KEY_BYTES);
	across_wipe_stack(stack_bytes);
	kernel->wipe_registers();
}

/*
 * ---- a call ----
 *
 * What computes is a function of its own: all that it spills is below the frame of the one that
 * wipes.
 */

/*
 * Of a pass that seals: texts that are in no near cache come, to be written, while the key streams
 * for them are computed. When opening, the tags have fetched them before.
 */
ACROSS_INLINE void across_fetch(const struct across_pass *pass)
{
	for (unsigned lane = pass->keys; lane < pass->lanes; lane++)
		prefetch_for_writing((const void *)pass->text[lane]);
}

/* Each returns how much of the stack it used. */
static __attribute__((noinline)) size_t across_compute_seal(struct across *ctx,
	const struct aead_op *ops, unsigned n, const struct across_kernel *kernel)
{
	struct across_walk walk = {.ops = ops, .n = n};

	while (across_plan(&ctx->pass, &walk, kernel)) {
		across_fetch(&ctx->pass);
		across_run(ctx, kernel);
	}
	return across_compute_tags(ctx, ops, n, true, kernel);
}

static __attribute__((noinline)) size_t across_compute_open(struct across *ctx,
	const struct aead_op *ops, unsigned n, uint64_t *authentic,
	const struct across_kernel *kernel)
{
	struct across_walk walk = {.ops = ops, .n = n};
	size_t stack_bytes;

	/* Tags are of the ciphertext: text in the pass of the last one-time keys has to wait. */
	while (walk.key < n) {
		across_plan(&ctx->pass, &walk, kernel);
		across_run_held(ctx, kernel);
	}
	stack_bytes = across_compute_tags(ctx, ops, n, false, kernel);
	*authentic = across_compare_tags(ctx, ops, n);
	across_xor_lanes(ctx, ctx->pass.keys, ctx->pass.lanes, kernel);
	while (across_plan(&ctx->pass, &walk, kernel))
		across_run(ctx, kernel);
	return stack_bytes;
}

ACROSS_INLINE void across_seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n,
	const struct across_kernel *kernel)
{
	struct across *ctx = (struct across *)batch;
	size_t stack_bytes = across_compute_seal(ctx, ops, n, kernel);

	across_wipe_secrets(ctx, n, stack_bytes, kernel);
}

ACROSS_INLINE uint64_t across_open(struct aead_batch *batch, const struct aead_op *ops, unsigned n,
	const struct across_kernel *kernel)
{
	struct across *ctx = (struct across *)batch;
	uint64_t authentic;
	size_t stack_bytes = across_compute_open(ctx, ops, n, &authentic, kernel);

	across_wipe_secrets(ctx, n, stack_bytes, kernel);
	return authentic;
}

#endif
