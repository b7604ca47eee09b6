/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/aead_batch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "crypto/aead_batch_backend.h"

static_assert(AEAD_BATCH_MAX <= 64, "aead_batch_open() answers with a 64-bit mask");

static const struct {
	const char *name;
	const struct aead_batch_ops *ops;
} backends[AEAD_BACKEND_COUNT] = {
	[AEAD_BACKEND_AUTO] = {"auto", NULL},
	[AEAD_BACKEND_SODIUM] = {"sodium", &aead_batch_sodium},
	[AEAD_BACKEND_IPSEC_MB] = {"ipsec-mb", &aead_batch_ipsec_mb},
	[AEAD_BACKEND_AVX512] = {"avx512", &aead_batch_avx512},
};

/* What AUTO tries: fastest first, and the last one works everywhere. */
static const struct aead_batch_ops *const preference[] = {
	&aead_batch_auto,
	&aead_batch_ipsec_mb,
	&aead_batch_sodium,
};

static struct aead_batch *create_best(void)
{
	for (size_t i = 0; i < sizeof(preference) / sizeof(preference[0]); i++) {
		struct aead_batch *batch = preference[i]->create();

		if (batch != NULL || errno != ENOTSUP)
			return batch;
	}
	return NULL;
}

struct aead_batch *aead_batch_create(enum aead_backend backend)
{
	assert(backend < AEAD_BACKEND_COUNT);
	if (backend == AEAD_BACKEND_AUTO)
		return create_best();
	return backends[backend].ops->create();
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

enum aead_backend aead_batch_backend(const struct aead_batch *batch)
{
	return batch->ops->backend;
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
