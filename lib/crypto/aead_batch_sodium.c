/* SPDX-License-Identifier: BSD-3-Clause */
/* The plain backend: one packet after the other. Works everywhere, and is the tests' oracle. */
#include <stdlib.h>

#include "crypto/aead.h"
#include "crypto/aead_batch_backend.h"

static void seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	(void)batch;
	for (unsigned i = 0; i < n; i++) {
		const struct aead_op *op = &ops[i];

		aead_seal(op->data, op->data, op->len, NULL, 0, op->counter, op->key);
	}
}

static uint64_t open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	uint64_t authentic = 0;

	(void)batch;
	for (unsigned i = 0; i < n; i++) {
		const struct aead_op *op = &ops[i];

		if (aead_open(op->data, op->data, (size_t)op->len + AEAD_TAG_BYTES, NULL, 0,
			    op->counter, op->key))
			authentic |= UINT64_C(1) << i;
	}
	return authentic;
}

static void destroy(struct aead_batch *batch)
{
	free(batch);
}

static const struct aead_batch_ops backend_ops = {
	.name = "sodium",
	.destroy = destroy,
	.seal = seal,
	.open = open,
};

struct aead_batch *aead_batch_sodium_create(void)
{
	struct aead_batch *batch = malloc(sizeof(*batch));

	if (batch != NULL)
		batch->ops = &backend_ops;
	return batch;
}
