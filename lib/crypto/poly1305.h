/* SPDX-License-Identifier: BSD-3-Clause */
/* What Poly1305 of several messages at once takes, whatever computes it. Internal to lib/crypto. */
#ifndef CRYPTO_POLY1305_H
#define CRYPTO_POLY1305_H

#include <stdint.h>

#define POLY1305_INLINE static inline __attribute__((always_inline))

#define POLY1305_BLOCK_BYTES 16

/* A ciphertext without additional data. */
struct poly1305_message {
	const uint8_t *text;
	uint32_t len;
	const uint8_t *key; /* one-time key: r, s */
	uint8_t *tag;	    /* 16 bytes, written */
};

#endif
