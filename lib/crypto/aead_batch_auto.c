/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The automatic backend: our own kernel for this CPU where a burst fills its lanes, IPsec-MB, whose
 * latency for one packet is shorter, where it does not. Where a CPU can have no kernel of ours, all
 * is IPsec-MB's, or else libsodium's.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "crypto/aead_batch_backend.h"

struct context {
	struct aead_batch batch;
	struct aead_batch *across; /* packets */
	struct aead_batch *alone;
	bool (*better_alone)(const struct aead_op *ops, unsigned n);
};

static struct aead_batch *choose(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;

	return ctx->better_alone(ops, n) ? ctx->alone : ctx->across;
}

static void seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	batch = choose(batch, ops, n);
	batch->ops->seal(batch, ops, n);
}

static uint64_t open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	batch = choose(batch, ops, n);
	return batch->ops->open(batch, ops, n);
}

/* ---- choices, measured with bench_aead --grid ---- */

#define BLOCK_BYTES 64

/* What ChaCha20 takes for a burst: the blocks of the texts, and one more of each packet. */
static unsigned count_blocks(const struct aead_op *ops, unsigned n)
{
	unsigned blocks = n;

	for (unsigned i = 0; i < n; i++)
		blocks += (ops[i].len + BLOCK_BYTES - 1) / BLOCK_BYTES;
	return blocks;
}

/* How many lanes of the last of passes over so many are in use. */
static unsigned last_pass(unsigned blocks, unsigned lanes)
{
	return (blocks - 1) % lanes + 1;
}

/* Lanes come in sets of 16; one packet's Poly1305 fills them from about 4 KiB on. */
static bool better_alone_avx512(const struct aead_op *ops, unsigned n)
{
	unsigned blocks, last;

	if (n > 3)
		return false;
	if (n == 1)
		return ops[0].len < 4096;
	blocks = count_blocks(ops, n);
	last = last_pass(blocks, 32);
	if (blocks <= 32)
		return n == 2 && last > 16 && last < 20;
	return blocks <= 80 && last <= (n == 2 ? 12 : 6);
}

/* Lanes come in sets of 8. */
static bool better_alone_avx2(const struct aead_op *ops, unsigned n)
{
	unsigned blocks, last;

	if (n > 2)
		return false;
	blocks = count_blocks(ops, n);
	last = last_pass(blocks, 8);
	if (n == 1)
		return blocks < 24 || (blocks < 64 && last < 7);
	return blocks > 16 && blocks < 40 && last < 3;
}

/* ---- creation ---- */

static void destroy(struct aead_batch *batch)
{
	struct context *ctx = (struct context *)batch;

	aead_batch_destroy(ctx->across);
	aead_batch_destroy(ctx->alone);
	free(ctx);
}

static const struct aead_batch_ops auto_avx512 = {
	.name = "auto (avx512)", .destroy = destroy, .seal = seal, .open = open};
static const struct aead_batch_ops auto_avx2 = {
	.name = "auto (avx2)", .destroy = destroy, .seal = seal, .open = open};

/* Takes what it is made of, NULL included. */
static struct aead_batch *combine(struct aead_batch *across, struct aead_batch *alone,
	const struct aead_batch_ops *ops,
	bool (*better_alone)(const struct aead_op *ops, unsigned n))
{
	struct context *ctx = across && alone ? malloc(sizeof(*ctx)) : NULL;
	int error = errno;

	if (ctx != NULL) {
		*ctx = (struct context){{ops}, across, alone, better_alone};
		return &ctx->batch;
	}
	aead_batch_destroy(across);
	aead_batch_destroy(alone);
	errno = error;
	return NULL;
}

struct aead_batch *aead_batch_auto_avx2(void)
{
	return combine(aead_batch_avx2_create(), aead_batch_ipsec_mb_avx2(), &auto_avx2,
		better_alone_avx2);
}

struct aead_batch *aead_batch_auto_create(void)
{
	struct aead_batch *batch = combine(aead_batch_avx512_create(), aead_batch_ipsec_mb_create(),
		&auto_avx512, better_alone_avx512);

	if (batch == NULL && errno == ENOTSUP)
		batch = combine(aead_batch_avx2_create(), aead_batch_ipsec_mb_create(), &auto_avx2,
			better_alone_avx2);
	if (batch == NULL && errno == ENOTSUP)
		batch = aead_batch_ipsec_mb_create();
	if (batch == NULL && errno == ENOTSUP)
		batch = aead_batch_sodium_create();
	return batch;
}
