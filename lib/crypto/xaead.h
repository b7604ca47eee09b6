/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) over libsodium, for cookie replies.
 * Thread: any; no allocation. dst may be src.
 */
#ifndef CRYPTO_XAEAD_H
#define CRYPTO_XAEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XAEAD_NONCE_BYTES 24

/* Writes len + 16 bytes to dst. */
void xaead_seal(uint8_t *dst, const void *src, size_t len, const void *ad, size_t ad_len,
	const uint8_t nonce[XAEAD_NONCE_BYTES], const uint8_t key[32]);

/* Opens len bytes (with tag) into dst (len - 16 bytes); false, dst untouched, when it is forged. */
__attribute__((warn_unused_result)) bool xaead_open(void *dst, const uint8_t *src, size_t len,
	const void *ad, size_t ad_len, const uint8_t nonce[XAEAD_NONCE_BYTES],
	const uint8_t key[32]);

#endif
