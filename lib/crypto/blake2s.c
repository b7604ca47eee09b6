/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/blake2s.h"

#include <assert.h>
#include <blake2.h>
#include <string.h>

#include "crypto/wipe.h"

static_assert(BLAKE2S_BYTES == BLAKE2S_OUTBYTES, "libb2 must agree");

void blake2s_hash2(
	uint8_t out[BLAKE2S_BYTES], const void *a, size_t a_len, const void *b, size_t b_len)
{
	blake2s_state state;

	blake2s_init(&state, BLAKE2S_BYTES);
	blake2s_update(&state, a, a_len);
	blake2s_update(&state, b, b_len);
	blake2s_final(&state, out, BLAKE2S_BYTES);
	wipe(&state, sizeof(state));
}

void blake2s_mac(
	void *out, size_t out_len, const void *key, size_t key_len, const void *in, size_t in_len)
{
	blake2s_state state;

	assert(out_len >= 1 && out_len <= BLAKE2S_OUTBYTES);
	assert(key_len >= 1 && key_len <= BLAKE2S_KEYBYTES);
	blake2s_init_key(&state, out_len, key, key_len);
	blake2s_update(&state, in, in_len);
	blake2s_final(&state, out, out_len);
	wipe(&state, sizeof(state));
}

void hmac_blake2s(
	uint8_t out[BLAKE2S_BYTES], const void *key, size_t key_len, const void *in, size_t in_len)
{
	uint8_t pad[BLAKE2S_BLOCKBYTES] = {0};
	uint8_t inner[BLAKE2S_BYTES];

	if (key_len > sizeof(pad))
		blake2s_hash2(pad, key, key_len, NULL, 0);
	else if (key_len > 0)
		memcpy(pad, key, key_len);

	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	blake2s_hash2(inner, pad, sizeof(pad), in, in_len);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	blake2s_hash2(out, pad, sizeof(pad), inner, sizeof(inner));

	wipe(pad, sizeof(pad));
	wipe(inner, sizeof(inner));
}

void kdf_blake2s(uint8_t *t0, uint8_t *t1, uint8_t *t2, const void *key, size_t key_len,
	const void *in, size_t in_len)
{
	uint8_t *const outputs[] = {t0, t1, t2};
	uint8_t secret[BLAKE2S_BYTES];
	/* The output before, and the number of this one, as HKDF expands (RFC 5869 section 2.3). */
	uint8_t block[BLAKE2S_BYTES + 1];
	size_t previous = 0;

	hmac_blake2s(secret, key, key_len, in, in_len);
	for (unsigned i = 0; i < 3 && outputs[i] != NULL; i++) {
		block[previous] = (uint8_t)(i + 1);
		hmac_blake2s(block, secret, sizeof(secret), block, previous + 1);
		memcpy(outputs[i], block, BLAKE2S_BYTES);
		previous = BLAKE2S_BYTES;
	}
	wipe(secret, sizeof(secret));
	wipe(block, sizeof(block));
}
