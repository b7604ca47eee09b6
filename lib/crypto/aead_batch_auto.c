/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The automatic backend of a CPU with AVX-512: our own kernel where lanes can be filled, IPsec-MB,
 * whose latency for one packet is shorter, where they cannot. Where one is missing, creating this
 * fails, and aead_batch.c takes a backend that works alone.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "crypto/aead_batch_backend.h"

struct context {
	struct aead_batch batch;
	struct aead_batch *across; /* packets */
	struct aead_batch *alone;
};

static void destroy(struct aead_batch *batch)
{
	struct context *ctx = (struct context *)batch;

	aead_batch_destroy(ctx->across);
	aead_batch_destroy(ctx->alone);
	free(ctx);
}

static struct aead_batch *create(void)
{
	struct context *ctx = calloc(1, sizeof(*ctx));
	int error;

	if (ctx == NULL)
		return NULL;
	ctx->batch.ops = &aead_batch_auto;
	ctx->across = aead_batch_avx512.create();
	if (ctx->across != NULL)
		ctx->alone = aead_batch_ipsec_mb.create();
	if (ctx->alone != NULL)
		return &ctx->batch;
	error = errno;
	destroy(&ctx->batch);
	errno = error;
	return NULL;
}

/* A single packet fills the lanes from about here on. */
#define ALONE_BYTES 4096

/* ChaCha20 takes 16 blocks or 32 at a time, of the texts and one more of each packet. */
#define BLOCK_BYTES 64
#define PASS_BLOCKS 32

/* Two or three packets whose last pass would be mostly idle; measured with bench_aead's method. */
static bool fills_badly(const struct aead_op *ops, unsigned n)
{
	unsigned blocks = n, last;

	for (unsigned i = 0; i < n; i++)
		blocks += (ops[i].len + BLOCK_BYTES - 1) / BLOCK_BYTES;
	last = (blocks - 1) % PASS_BLOCKS + 1;
	if (blocks <= PASS_BLOCKS)
		return n == 2 && last > 16 && last < 20;
	return blocks <= 5 * PASS_BLOCKS / 2 && last <= (n == 2 ? 12 : 6);
}

static struct aead_batch *choose(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;

	if (n > 3)
		return ctx->across;
	if (n == 1)
		return ops[0].len < ALONE_BYTES ? ctx->alone : ctx->across;
	return fills_badly(ops, n) ? ctx->alone : ctx->across;
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

const struct aead_batch_ops aead_batch_auto = {
	.backend = AEAD_BACKEND_AVX512,
	.create = create,
	.destroy = destroy,
	.seal = seal,
	.open = open,
};
