/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BLAKE2s (RFC 7693) over libb2, HMAC-BLAKE2s (RFC 2104) and the KDF of the WireGuard
 * whitepaper, section 5.4. Thread: any; no allocation; inputs may alias outputs.
 */
#ifndef CRYPTO_BLAKE2S_H
#define CRYPTO_BLAKE2S_H

#include <stddef.h>
#include <stdint.h>

#define BLAKE2S_BYTES 32

/* Hash(a || b) with 32 bytes of output; either part may be empty (NULL, 0). */
void blake2s_hash2(
	uint8_t out[BLAKE2S_BYTES], const void *a, size_t a_len, const void *b, size_t b_len);

/* Keyed hash, Mac() of the whitepaper: out_len 1..32 bytes, key_len 1..32. */
void blake2s_mac(
	void *out, size_t out_len, const void *key, size_t key_len, const void *in, size_t in_len);

/* HMAC-BLAKE2s with 32 bytes of output; any key length. */
void hmac_blake2s(
	uint8_t out[BLAKE2S_BYTES], const void *key, size_t key_len, const void *in, size_t in_len);

/*
 * KDF_n(key, input) of the whitepaper: the first n of t0, t1, t2, where n is the number of
 * leading outputs that are not NULL. Outputs may alias key or input.
 */
void kdf_blake2s(uint8_t *t0, uint8_t *t1, uint8_t *t2, const void *key, size_t key_len,
	const void *in, size_t in_len);

#endif
