/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/x25519.h"

#include <sodium.h>

#include "crypto/sodium_ready.h"
#include "crypto/wipe.h"

void x25519_clamp(uint8_t secret[X25519_BYTES])
{
	secret[0] &= 0xf8;
	secret[31] = (secret[31] & 0x7f) | 0x40;
}

void x25519_public(uint8_t public_key[X25519_BYTES], const uint8_t secret[X25519_BYTES])
{
	sodium_ready();
	crypto_scalarmult_curve25519_base(public_key, secret);
}

bool x25519_shared(uint8_t out[X25519_BYTES], const uint8_t secret[X25519_BYTES],
	const uint8_t public_key[X25519_BYTES])
{
	sodium_ready();
	/* libsodium refuses low-order points, and an all-zero result with them. */
	if (crypto_scalarmult_curve25519(out, secret, public_key) == 0)
		return true;
	wipe(out, X25519_BYTES);
	return false;
}
