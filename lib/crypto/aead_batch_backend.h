/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a backend of aead_batch.h is made of. Internal to lib/crypto: aead_batch.c chooses and
 * dispatches, one file per backend implements.
 */
#ifndef CRYPTO_AEAD_BATCH_BACKEND_H
#define CRYPTO_AEAD_BATCH_BACKEND_H

#include "crypto/aead_batch.h"

struct aead_batch_ops {
	const char *name;
	void (*destroy)(struct aead_batch *batch);
	void (*seal)(struct aead_batch *batch, const struct aead_op *ops, unsigned n);
	uint64_t (*open)(struct aead_batch *batch, const struct aead_op *ops, unsigned n);
};

/* The first member of every backend's own context. */
struct aead_batch {
	const struct aead_batch_ops *ops;
};

/* As aead_batch_create(): NULL with errno set. */
struct aead_batch *aead_batch_auto_create(void);
struct aead_batch *aead_batch_sodium_create(void);
struct aead_batch *aead_batch_ipsec_mb_create(void);
struct aead_batch *aead_batch_avx2_create(void);
struct aead_batch *aead_batch_avx512_create(void);

/* IPsec-MB and the automatic backend as they are on a CPU without AVX-512: for tests and
 * benchmarks. */
struct aead_batch *aead_batch_ipsec_mb_avx2(void);
struct aead_batch *aead_batch_auto_avx2(void);

#endif
