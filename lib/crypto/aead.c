/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/aead.h"

#include <sodium.h>

#include "base/bytes.h"
#include "crypto/sodium_ready.h"

#define NONCE_BYTES crypto_aead_chacha20poly1305_IETF_NPUBBYTES

static void make_nonce(uint8_t nonce[NONCE_BYTES], uint64_t counter)
{
	store_le32(nonce, 0);
	store_le64(nonce + 4, counter);
}

void aead_seal(uint8_t *dst, const void *src, size_t len, const void *ad, size_t ad_len,
	uint64_t counter, const uint8_t key[AEAD_KEY_BYTES])
{
	uint8_t nonce[NONCE_BYTES];

	sodium_ready();
	make_nonce(nonce, counter);
	crypto_aead_chacha20poly1305_ietf_encrypt(
		dst, NULL, src, len, ad, ad_len, NULL, nonce, key);
}

bool aead_open(void *dst, const uint8_t *src, size_t len, const void *ad, size_t ad_len,
	uint64_t counter, const uint8_t key[AEAD_KEY_BYTES])
{
	uint8_t nonce[NONCE_BYTES];
	size_t text_len;

	if (len < AEAD_TAG_BYTES)
		return false;
	text_len = len - AEAD_TAG_BYTES;
	sodium_ready();
	make_nonce(nonce, counter);
	/* Verify alone first: libsodium's whole open zeroes dst when the tag is wrong. */
	if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(
		    NULL, NULL, src, text_len, src + text_len, ad, ad_len, nonce, key) != 0)
		return false;
	/* Block 0 gave the one-time key; the text starts with block 1 (RFC 8439 section 2.8). */
	if (text_len > 0)
		crypto_stream_chacha20_ietf_xor_ic(dst, src, text_len, nonce, 1, key);
	return true;
}
