/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/aead_batch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "crypto/aead_batch_backend.h"

static_assert(AEAD_BATCH_MAX <= 64, "aead_batch_open() answers with a 64-bit mask");

static const struct {
	const char *name;
	struct aead_batch *(*create)(void);
} backends[AEAD_BACKEND_COUNT] = {
	[AEAD_BACKEND_AUTO] = {"auto", aead_batch_auto_create},
	[AEAD_BACKEND_SODIUM] = {"sodium", aead_batch_sodium_create},
	[AEAD_BACKEND_IPSEC_MB] = {"ipsec-mb", aead_batch_ipsec_mb_create},
	[AEAD_BACKEND_AVX2] = {"avx2", aead_batch_avx2_create},
	[AEAD_BACKEND_AVX512] = {"avx512", aead_batch_avx512_create},
};

struct aead_batch *aead_batch_create(enum aead_backend backend)
{
	assert(backend < AEAD_BACKEND_COUNT);
	return backends[backend].create();
}

void aead_batch_destroy(struct aead_batch *batch)
{
	if (batch != NULL)
		batch->ops->destroy(batch);
}

const char *aead_backend_name(enum aead_backend backend)
{
	assert(backend < AEAD_BACKEND_COUNT);
	return backends[backend].name;
}

int aead_backend_from_name(const char *name)
{
	for (int i = 0; i < AEAD_BACKEND_COUNT; i++) {
		if (strcmp(backends[i].name, name) == 0)
			return i;
	}
	return -EINVAL;
}

const char *aead_batch_name(const struct aead_batch *batch)
{
	return batch->ops->name;
}

void aead_batch_seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	assert(n <= AEAD_BATCH_MAX);
	if (n > 0)
		batch->ops->seal(batch, ops, n);
}

uint64_t aead_batch_open(struct aead_batch *batch, const struct aead_op *ops, unsigned n)
{
	assert(n <= AEAD_BATCH_MAX);
	return n > 0 ? batch->ops->open(batch, ops, n) : 0;
}
