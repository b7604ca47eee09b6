/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The automatic backend of a CPU with AVX-512: our own kernel where lanes can be filled, IPsec-MB,
 * whose latency for one packet is shorter, where they cannot. Where one is missing, creating this
 * fails, and aead_batch.c takes a backend that works alone.
 */
#include <errno.h>
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

static struct aead_batch *choose(struct aead_batch *batch, unsigned n)
{
	struct context *ctx = (struct context *)batch;

	return n == 1 ? ctx->alone : ctx->across;
}

static void seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	batch = choose(batch, n);
	batch->ops->seal(batch, ops, n);
}

static uint64_t open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	batch = choose(batch, n);
	return batch->ops->open(batch, ops, n);
}

const struct aead_batch_ops aead_batch_auto = {
	.backend = AEAD_BACKEND_AVX512,
	.create = create,
	.destroy = destroy,
	.seal = seal,
	.open = open,
};
