/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/xaead.h"

#include <sodium.h>

#include "crypto/sodium_ready.h"

#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES

void xaead_seal(uint8_t *dst, const void *src, size_t len, const void *ad, size_t ad_len,
	const uint8_t nonce[XAEAD_NONCE_BYTES], const uint8_t key[32])
{
	sodium_ready();
	crypto_aead_xchacha20poly1305_ietf_encrypt(
		dst, NULL, src, len, ad, ad_len, NULL, nonce, key);
}

bool xaead_open(void *dst, const uint8_t *src, size_t len, const void *ad, size_t ad_len,
	const uint8_t nonce[XAEAD_NONCE_BYTES], const uint8_t key[32])
{
	size_t text_len;

	if (len < TAG_BYTES)
		return false;
	text_len = len - TAG_BYTES;
	sodium_ready();
	/* Verify alone first: libsodium's whole open zeroes dst when the tag is wrong. */
	if (crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
		    NULL, NULL, src, text_len, src + text_len, ad, ad_len, nonce, key) != 0)
		return false;
	/* The text starts with block 1, behind the block of the one-time key. */
	if (text_len > 0)
		crypto_stream_xchacha20_xor_ic(dst, src, text_len, nonce, 1, key);
	return true;
}
