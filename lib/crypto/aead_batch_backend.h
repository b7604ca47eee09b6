/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a backend of aead_batch.h is made of. Internal to lib/crypto: aead_batch.c chooses and
 * dispatches, one file per backend implements.
 */
#ifndef CRYPTO_AEAD_BATCH_BACKEND_H
#define CRYPTO_AEAD_BATCH_BACKEND_H

#include "crypto/aead_batch.h"

struct aead_batch_ops {
	enum aead_backend backend;
	/* As aead_batch_create(): NULL with errno set. */
	struct aead_batch *(*create)(void);
	void (*destroy)(struct aead_batch *batch);
	void (*seal)(struct aead_batch *batch, const struct aead_op *ops, unsigned n);
	uint64_t (*open)(struct aead_batch *batch, const struct aead_op *ops, unsigned n);
};

/* The first member of every backend's own context. */
struct aead_batch {
	const struct aead_batch_ops *ops;
};

extern const struct aead_batch_ops aead_batch_sodium;
extern const struct aead_batch_ops aead_batch_ipsec_mb;
extern const struct aead_batch_ops aead_batch_avx512;
/* AVX-512 and IPsec-MB, by fill: what AUTO is where both work. */
extern const struct aead_batch_ops aead_batch_auto;

#endif
