/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The automatic backend: our own kernel for this CPU where a burst fills its lanes, IPsec-MB, whose
 * latency for one packet is shorter, where that is quicker, as was measured once. Where a CPU can
 * have no kernel of ours, all is IPsec-MB's, or else libsodium's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "crypto/aead_batch_backend.h"
#include "crypto/aead_costs.h"

/* Measured by the first batch of its kind, and the same for all. */
struct costs {
	pthread_mutex_t lock;
	bool known;
	struct aead_costs seal, open;
};

struct context {
	struct aead_batch batch;
	struct aead_batch *across; /* packets */
	struct aead_batch *alone;
	const struct costs *costs;
};

static void seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;
	bool alone = aead_costs_better_alone(&ctx->costs->seal, ops, n);

	batch = alone ? ctx->alone : ctx->across;
	batch->ops->seal(batch, ops, n);
}

static uint64_t open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	struct context *ctx = (struct context *)batch;
	bool alone = aead_costs_better_alone(&ctx->costs->open, ops, n);

	batch = alone ? ctx->alone : ctx->across;
	return batch->ops->open(batch, ops, n);
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

static int measure(struct costs *costs, struct aead_batch *across, struct aead_batch *alone)
{
	int err = 0;

	pthread_mutex_lock(&costs->lock);
	if (!costs->known)
		err = aead_costs_measure(&costs->seal, &costs->open, across, alone);
	costs->known |= err == 0;
	pthread_mutex_unlock(&costs->lock);
	return err;
}

/* Takes what it is made of, NULL included. */
static struct aead_batch *combine(struct aead_batch *across, struct aead_batch *alone,
	const struct aead_batch_ops *ops, struct costs *costs)
{
	struct context *ctx = across && alone ? malloc(sizeof(*ctx)) : NULL;
	int error = errno;

	if (ctx != NULL && (error = -measure(costs, across, alone)) == 0) {
		*ctx = (struct context){{ops}, across, alone, costs};
		return &ctx->batch;
	}
	free(ctx);
	aead_batch_destroy(across);
	aead_batch_destroy(alone);
	errno = error;
	return NULL;
}

struct aead_batch *aead_batch_auto_avx2(void)
{
	static struct costs costs = {.lock = PTHREAD_MUTEX_INITIALIZER};

	return combine(aead_batch_avx2_create(), aead_batch_ipsec_mb_avx2(), &auto_avx2, &costs);
}

struct aead_batch *aead_batch_auto_create(void)
{
	static struct costs with_avx512 = {.lock = PTHREAD_MUTEX_INITIALIZER};
	static struct costs with_avx2 = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct aead_batch *batch = combine(aead_batch_avx512_create(), aead_batch_ipsec_mb_create(),
		&auto_avx512, &with_avx512);

	if (batch == NULL && errno == ENOTSUP)
		batch = combine(aead_batch_avx2_create(), aead_batch_ipsec_mb_create(), &auto_avx2,
			&with_avx2);
	if (batch == NULL && errno == ENOTSUP)
		batch = aead_batch_ipsec_mb_create();
	if (batch == NULL && errno == ENOTSUP)
		batch = aead_batch_sodium_create();
	return batch;
}
