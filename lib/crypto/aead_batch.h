/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam for batch ChaCha20-Poly1305: a burst of packets, each with its own key, counter and
 * length, sealed or opened in place. WireGuard's shape: no additional data, the tag right behind
 * the text (whitepaper section 5.4.6).
 *
 * A context belongs to one thread; every worker has its own. Nothing is allocated after creation.
 * Contexts hold no key between two calls.
 */
#ifndef CRYPTO_AEAD_BATCH_H
#define CRYPTO_AEAD_BATCH_H

#include <stdint.h>

#define AEAD_BATCH_MAX 64

struct aead_op {
	uint8_t *data;	    /* text, followed by 16 bytes of tag; any alignment */
	const uint8_t *key; /* 32 bytes; read during the call only */
	uint64_t counter;
	uint32_t len; /* bytes of text, without the tag */
};

enum aead_backend {
	AEAD_BACKEND_AUTO,     /* the best for this CPU and burst; the first measures it: 40 ms */
	AEAD_BACKEND_SODIUM,   /* one packet after the other; the oracle of the tests */
	AEAD_BACKEND_IPSEC_MB, /* Intel IPsec-MB */
	AEAD_BACKEND_AVX2,     /* our own across packets, AVX2 */
	AEAD_BACKEND_AVX512,   /* our own across packets, AVX-512 IFMA */
	AEAD_BACKEND_COUNT
};

struct aead_batch;

/* NULL with errno set: ENOMEM, or ENOTSUP when this CPU or build lacks the backend. */
struct aead_batch *aead_batch_create(enum aead_backend backend);
void aead_batch_destroy(struct aead_batch *batch);

/* "auto", "sodium", "ipsec-mb", "avx2", "avx512"; and back: -EINVAL when the name is unknown. */
const char *aead_backend_name(enum aead_backend backend);
int aead_backend_from_name(const char *name);
/* The backend's name; of AEAD_BACKEND_AUTO with what it became, like "auto (avx512)". */
const char *aead_batch_name(const struct aead_batch *batch);

/* Seals n (0..64) packets: data[0..len) becomes ciphertext, data[len..len+16) its tag. */
void aead_batch_seal(struct aead_batch *batch, const struct aead_op *ops, unsigned n);

/*
 * Opens n (0..64) packets. Returns a mask: bit i set means that packet i is authentic and now
 * plaintext. The content of the others is unspecified and must not be used.
 */
__attribute__((warn_unused_result)) uint64_t aead_batch_open(
	struct aead_batch *batch, const struct aead_op *ops, unsigned n);

#endif
