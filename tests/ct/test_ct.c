/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Constant time: what is done with secrets depends on them neither in its branches nor in its
 * addresses. To be run under valgrind, whose memcheck reports exactly that of memory that is marked
 * undefined. So secrets are, and what an attacker may learn is marked defined where it comes out:
 * ciphertext, public keys, whether a mac was right. The functions that decide such things are
 * wrapped here (--wrap in meson.build), so that the product's own code needs no marks.
 *
 * Each check must be silent; the leaks at the end must not be, or the method would prove nothing.
 * Valgrind knows no AVX-512: of the batch AEAD the other backends are run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <valgrind/memcheck.h>

#include "crypto/aead.h"
#include "crypto/aead_batch.h"
#include "crypto/random.h"
#include "crypto/wipe.h"
#include "crypto/x25519.h"
#include "uapi/keytext.h"
#include "wg/cookie.h"
#include "wg/noise.h"

#define SKIPPED 77 /* meson's status for it */

static void secret(void *p, size_t len)
{
	(void)VALGRIND_MAKE_MEM_UNDEFINED(p, len);
}

static void tell(const void *p, size_t len)
{
	(void)VALGRIND_MAKE_MEM_DEFINED(p, len);
}

static unsigned errors(void)
{
	return (unsigned)VALGRIND_COUNT_ERRORS;
}

/* --- What comes out of these may be known --- */

bool __real_equal_ct(const void *a, const void *b, size_t len);
bool __wrap_equal_ct(const void *a, const void *b, size_t len);
bool __wrap_equal_ct(const void *a, const void *b, size_t len)
{
	bool same = __real_equal_ct(a, b, len);

	tell(&same, sizeof(same));
	return same;
}

bool __real_is_zero_ct(const void *p, size_t len);
bool __wrap_is_zero_ct(const void *p, size_t len);
bool __wrap_is_zero_ct(const void *p, size_t len)
{
	bool zero = __real_is_zero_ct(p, len);

	tell(&zero, sizeof(zero));
	return zero;
}

/* libsodium's: whether the shared secret is zero. */
int __real_crypto_scalarmult_curve25519(uint8_t *q, const uint8_t *n, const uint8_t *p);
int __wrap_crypto_scalarmult_curve25519(uint8_t *q, const uint8_t *n, const uint8_t *p);
int __wrap_crypto_scalarmult_curve25519(uint8_t *q, const uint8_t *n, const uint8_t *p)
{
	int rc = __real_crypto_scalarmult_curve25519(q, n, p);

	tell(&rc, sizeof(rc));
	return rc;
}

/* Whether a tag is right. */
int __real_crypto_aead_chacha20poly1305_ietf_decrypt_detached(uint8_t *m, uint8_t *nsec,
	const uint8_t *c, unsigned long long len, const uint8_t *mac, const uint8_t *ad,
	unsigned long long ad_len, const uint8_t *nonce, const uint8_t *key);
int __wrap_crypto_aead_chacha20poly1305_ietf_decrypt_detached(uint8_t *m, uint8_t *nsec,
	const uint8_t *c, unsigned long long len, const uint8_t *mac, const uint8_t *ad,
	unsigned long long ad_len, const uint8_t *nonce, const uint8_t *key);
int __wrap_crypto_aead_chacha20poly1305_ietf_decrypt_detached(uint8_t *m, uint8_t *nsec,
	const uint8_t *c, unsigned long long len, const uint8_t *mac, const uint8_t *ad,
	unsigned long long ad_len, const uint8_t *nonce, const uint8_t *key)
{
	int rc = __real_crypto_aead_chacha20poly1305_ietf_decrypt_detached(
		m, nsec, c, len, mac, ad, ad_len, nonce, key);

	tell(&rc, sizeof(rc));
	return rc;
}

/* The text of what was authentic: a static public key, a timestamp, a packet. */
int __real_crypto_stream_chacha20_ietf_xor_ic(uint8_t *c, const uint8_t *m, unsigned long long len,
	const uint8_t *nonce, uint32_t ic, const uint8_t *key);
int __wrap_crypto_stream_chacha20_ietf_xor_ic(uint8_t *c, const uint8_t *m, unsigned long long len,
	const uint8_t *nonce, uint32_t ic, const uint8_t *key);
int __wrap_crypto_stream_chacha20_ietf_xor_ic(uint8_t *c, const uint8_t *m, unsigned long long len,
	const uint8_t *nonce, uint32_t ic, const uint8_t *key)
{
	int rc = __real_crypto_stream_chacha20_ietf_xor_ic(c, m, len, nonce, ic, key);

	tell(c, len);
	return rc;
}

/* --- The checks --- */

static void compare(void)
{
	uint8_t a[32], b[32];
	bool result;

	random_fill(a, sizeof(a));
	for (int at = -1; at < 32; at++) {
		memcpy(b, a, sizeof(b));
		if (at >= 0)
			b[at] ^= 0x10;
		secret(a, sizeof(a));
		secret(b, sizeof(b));
		result = __real_equal_ct(a, b, sizeof(a));
		tell(&result, sizeof(result));
		assert_int_equal(result, at < 0);
		result = __real_is_zero_ct(a, sizeof(a));
		tell(&result, sizeof(result));
		assert_false(result);
		tell(a, sizeof(a));
		tell(b, sizeof(b));
	}
}

static void key_texts(void)
{
	char base64[KEYTEXT_BASE64_CHARS + 1], hex[KEYTEXT_HEX_CHARS + 1];
	uint8_t key[WG_KEY_BYTES], back[WG_KEY_BYTES];
	bool good;

	random_fill(key, sizeof(key));
	secret(key, sizeof(key));
	key_to_base64(base64, key);
	key_to_hex(hex, key);
	good = key_from_base64(back, base64, KEYTEXT_BASE64_CHARS);
	tell(&good, sizeof(good));
	assert_true(good);
	good = key_from_hex(back, hex, KEYTEXT_HEX_CHARS);
	tell(&good, sizeof(good));
	assert_true(good);
	tell(key, sizeof(key));
	tell(back, sizeof(back));
	assert_memory_equal(key, back, sizeof(key));
}

struct end {
	struct noise_identity identity;
	struct noise_peer peer;
};

static void make_identity(struct end *end)
{
	uint8_t key[WG_KEY_BYTES];

	random_fill(key, sizeof(key));
	secret(key, sizeof(key));
	noise_identity_set(&end->identity, key);
	tell(end->identity.public_key, sizeof(end->identity.public_key));
}

static void meet(struct end *end, const struct end *other, const uint8_t psk[WG_KEY_BYTES])
{
	noise_peer_init(&end->peer, &end->identity, other->identity.public_key);
	memcpy(end->peer.preshared_key, psk, WG_KEY_BYTES);
	secret(end->peer.preshared_key, WG_KEY_BYTES);
}

static void handshake(void)
{
	static const uint8_t tai64n[WG_TIMESTAMP_BYTES] = {0x40, 1};
	uint8_t psk[WG_KEY_BYTES], ephemeral[WG_KEY_BYTES], keys[4][WG_KEY_BYTES];
	struct end initiator = {0}, responder = {0};
	struct noise_opened_initiation opened;
	struct wg_msg_initiation initiation = {0};
	struct wg_msg_response response = {0};

	random_fill(psk, sizeof(psk));
	make_identity(&initiator);
	make_identity(&responder);
	meet(&initiator, &responder, psk);
	meet(&responder, &initiator, psk);

	random_fill(ephemeral, sizeof(ephemeral));
	secret(ephemeral, sizeof(ephemeral));
	assert_true(noise_create_initiation(
		&initiator.peer, &initiator.identity, 1, ephemeral, tai64n, &initiation));
	tell(&initiation, sizeof(initiation));
	assert_int_equal(
		noise_open_initiation(&opened, &responder.identity, &initiation), WG_ACCEPTED);
	assert_int_equal(
		noise_accept_initiation(&responder.peer, &opened, &initiation, 1), WG_ACCEPTED);
	tell(ephemeral, sizeof(ephemeral));
	random_fill(ephemeral, sizeof(ephemeral));
	secret(ephemeral, sizeof(ephemeral));
	assert_true(noise_create_response(&responder.peer, 2, ephemeral, &response));
	tell(&response, sizeof(response));
	assert_int_equal(noise_accept_response(&initiator.peer, &initiator.identity, &response),
		WG_ACCEPTED);
	noise_derive_keys(&initiator.peer.handshake, keys[0], keys[1]);
	noise_derive_keys(&responder.peer.handshake, keys[2], keys[3]);
	tell(keys, sizeof(keys));
	assert_memory_equal(keys[0], keys[3], WG_KEY_BYTES);
	assert_memory_equal(keys[1], keys[2], WG_KEY_BYTES);
}

static void cookies(void)
{
	struct endpoint source = {.addr = {.family = IP_V4, .bytes = {192, 0, 2, 1}}, .port = 4000};
	uint8_t public_key[WG_KEY_BYTES], random[WG_KEY_BYTES + 24];
	struct wg_msg_initiation message = {0};
	struct wg_msg_cookie_reply reply;
	struct cookie_checker checker;
	struct cookie_jar jar;

	random_fill(public_key, sizeof(public_key));
	random_fill(random, sizeof(random));
	cookie_checker_init(&checker, public_key);
	cookie_jar_init(&jar, public_key);
	cookie_add_macs(&jar, &message, sizeof(message), 1);
	secret(random, WG_KEY_BYTES);
	cookie_make_reply(&checker, &reply, &message, sizeof(message), &source, random, 1);
	tell(&reply, sizeof(reply));
	assert_true(cookie_take_reply(&jar, &reply, 2));
	secret(jar.cookie, sizeof(jar.cookie));
	cookie_add_macs(&jar, &message, sizeof(message), 3);
	tell(&message, sizeof(message));
	assert_int_equal(cookie_check_macs(&checker, &message, sizeof(message), &source, true, 4),
		COOKIE_MAC_WITH_COOKIE);
	message.macs.mac2[7] ^= 1;
	assert_int_equal(cookie_check_macs(&checker, &message, sizeof(message), &source, true, 4),
		COOKIE_MAC_VALID);
}

/* Packets of several lengths, one of them forged. */
static void batch(enum aead_backend backend)
{
	enum { PACKETS = 9, FORGED = 4, ROOM = 1500 };
	static uint8_t data[PACKETS][ROOM + AEAD_TAG_BYTES];
	struct aead_batch *aead = aead_batch_create(backend);
	struct aead_op ops[PACKETS];
	uint8_t key[AEAD_KEY_BYTES];
	uint64_t opened;

	assert_non_null(aead);
	random_fill(key, sizeof(key));
	secret(key, sizeof(key));
	for (unsigned i = 0; i < PACKETS; i++) {
		ops[i] = (struct aead_op){data[i], key, i, i * (ROOM / PACKETS)};
		secret(data[i], ROOM);
	}
	aead_batch_seal(aead, ops, PACKETS);
	tell(data, sizeof(data));
	data[FORGED][ops[FORGED].len + 3] ^= 0x80;
	opened = aead_batch_open(aead, ops, PACKETS);
	tell(&opened, sizeof(opened));
	assert_int_equal(opened, ((1u << PACKETS) - 1) & ~(1u << FORGED));
	aead_batch_destroy(aead);
}

/* --- The leaks --- */

/* Ends with the first difference. */
static __attribute__((noinline)) bool leaky_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i])
			return false;
	return true;
}

static void leaky_compare(void)
{
	uint8_t a[32] = {1}, b[32] = {2};
	volatile bool same;

	secret(a, sizeof(a));
	same = leaky_equal(a, b, sizeof(a));
	(void)same;
}

static void leaky_table(void)
{
	static const volatile char digits[] = "0123456789abcdef";
	uint8_t key = 0x5a;
	volatile char digit;

	secret(&key, sizeof(key));
	digit = digits[key >> 4];
	(void)digit;
}

/* --- */

static void silent(void (*check)(void))
{
	unsigned before = errors();

	check();
	assert_int_equal(errors(), before);
}

static void test_compare(void **state)
{
	(void)state;
	silent(compare);
}

static void test_key_texts(void **state)
{
	(void)state;
	silent(key_texts);
}

static void test_handshake(void **state)
{
	(void)state;
	silent(handshake);
}

static void test_cookies(void **state)
{
	(void)state;
	silent(cookies);
}

static void test_batches(void **state)
{
	unsigned before = errors();

	(void)state;
	batch(AEAD_BACKEND_SODIUM);
	batch(AEAD_BACKEND_IPSEC_MB);
	if (__builtin_cpu_supports("avx2"))
		batch(AEAD_BACKEND_AVX2);
	assert_int_equal(errors(), before);
}

static void test_leaks_are_seen(void **state)
{
	unsigned before = errors();

	(void)state;
	leaky_compare();
	assert_true(errors() > before);
	before = errors();
	leaky_table();
	assert_true(errors() > before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_key_texts),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_leaks_are_seen),
	};

	if (!RUNNING_ON_VALGRIND) {
		printf("to be run under valgrind\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
