/* SPDX-License-Identifier: BSD-3-Clause */
/* X25519 (RFC 7748 section 5) over libsodium. Thread: any; no allocation. */
#ifndef CRYPTO_X25519_H
#define CRYPTO_X25519_H

#include <stdbool.h>
#include <stdint.h>

#define X25519_BYTES 32

/* Clamps a secret in place (RFC 7748 section 5, decodeScalar25519). */
void x25519_clamp(uint8_t secret[X25519_BYTES]);

/* The public key of a secret. */
void x25519_public(uint8_t public_key[X25519_BYTES], const uint8_t secret[X25519_BYTES]);

/* The shared secret; false when it is all zero (a low-order public key), and out is then wiped. */
__attribute__((warn_unused_result)) bool x25519_shared(uint8_t out[X25519_BYTES],
	const uint8_t secret[X25519_BYTES], const uint8_t public_key[X25519_BYTES]);

#endif
