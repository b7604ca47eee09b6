/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ChaCha20-Poly1305 (RFC 8439) one message at a time, with WireGuard's nonce: 32 zero bits and
 * a 64-bit little-endian counter. Over libsodium. For handshakes, tests and as an oracle; packets
 * go through aead_batch.h. Thread: any; no allocation. dst may be src (in place), else disjoint.
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_BYTES 32
#define AEAD_TAG_BYTES 16

/* Writes len + 16 bytes to dst: the ciphertext and its tag. */
void aead_seal(uint8_t *dst, const void *src, size_t len, const void *ad, size_t ad_len,
	uint64_t counter, const uint8_t key[AEAD_KEY_BYTES]);

/*
 * Opens len bytes (ciphertext and tag) into dst (len - 16 bytes). False, and nothing is written
 * to dst, when len < 16 or the tag is wrong.
 */
__attribute__((warn_unused_result)) bool aead_open(void *dst, const uint8_t *src, size_t len,
	const void *ad, size_t ad_len, uint64_t counter, const uint8_t key[AEAD_KEY_BYTES]);

#endif
