/* SPDX-License-Identifier: BSD-3-Clause */
/* mac1, mac2 and cookie replies, against the whitepaper's formulas written out with the libraries.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <blake2.h>
#include <sodium.h>

#include "base/bytes.h"
#include "wg/cookie.h"

#define START_NS	 (1000 * NS_PER_SEC)
#define RANDOM_BYTES	 (WG_KEY_BYTES + 24)
#define COOKIE_USE_NS	 (115 * NS_PER_SEC)
#define INITIATION_BYTES sizeof(struct wg_msg_initiation)
#define RESPONSE_BYTES	 sizeof(struct wg_msg_response)

static const uint8_t public_key[WG_KEY_BYTES] = {1, 2, 3, 4, 5};

static const struct endpoint source_v4 = {
	.addr = {IP_V4, {192, 0, 2, 1}},
	.port = 0x1234,
};
static const struct endpoint source_v6 = {
	.addr = {IP_V6, {0x20, 0x01, 0x0d, 0xb8, 9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4}},
	.port = 0x1234,
};

struct fixture {
	struct cookie_checker checker;
	struct cookie_jar jar;
	struct wg_msg_initiation msg;
	uint8_t random[RANDOM_BYTES];
};

static void fixture_init(struct fixture *f)
{
	memset(f, 0xee, sizeof(*f));
	cookie_checker_init(&f->checker, public_key);
	cookie_jar_init(&f->jar, public_key);
	for (size_t i = 0; i < sizeof(f->msg); i++)
		((uint8_t *)&f->msg)[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < sizeof(f->random); i++)
		f->random[i] = (uint8_t)(i + 100);
}

static void send_at(struct fixture *f, uint64_t now_ns)
{
	cookie_add_macs(&f->jar, &f->msg, sizeof(f->msg), now_ns);
}

static enum cookie_mac_state check_at(
	const struct fixture *f, const struct endpoint *source, uint64_t now_ns)
{
	return cookie_check_macs(&f->checker, &f->msg, sizeof(f->msg), source, true, now_ns);
}

static void reply_at(struct fixture *f, const struct endpoint *source, uint64_t now_ns,
	struct wg_msg_cookie_reply *reply)
{
	cookie_make_reply(&f->checker, reply, &f->msg, sizeof(f->msg), source, f->random, now_ns);
}

/* A message, its reply, and the cookie taken: all at now. */
static void get_cookie(struct fixture *f, const struct endpoint *source, uint64_t now_ns)
{
	struct wg_msg_cookie_reply reply;

	send_at(f, now_ns);
	assert_int_equal(check_at(f, source, now_ns), COOKIE_MAC_VALID);
	reply_at(f, source, now_ns, &reply);
	assert_true(cookie_take_reply(&f->jar, &reply, now_ns));
}

static bool mac2_is_zero(const struct fixture *f)
{
	return sodium_is_zero(f->msg.macs.mac2, WG_MAC_BYTES);
}

/* --- The formulas of sections 5.4.4 and 5.4.7 --- */

static void oracle_key(uint8_t out[WG_KEY_BYTES], const char *label)
{
	uint8_t in[8 + WG_KEY_BYTES];

	memcpy(in, label, 8);
	memcpy(in + 8, public_key, WG_KEY_BYTES);
	assert_int_equal(blake2s(out, in, NULL, WG_KEY_BYTES, sizeof(in), 0), 0);
}

static void oracle_mac(
	uint8_t out[WG_MAC_BYTES], const uint8_t *key, size_t key_len, const void *in, size_t len)
{
	assert_int_equal(blake2s(out, in, key, WG_MAC_BYTES, len, key_len), 0);
}

static void check_against_oracle(const struct endpoint *source, const uint8_t *address,
	size_t address_len, void *msg, size_t len)
{
	uint8_t mac1_key[WG_KEY_BYTES], cookie_key[WG_KEY_BYTES], addressed[18];
	uint8_t mac[WG_MAC_BYTES], cookie[WG_COOKIE_BYTES], opened[WG_COOKIE_BYTES];
	uint8_t *bytes = msg;
	struct wg_msg_cookie_reply reply;
	struct fixture f;

	fixture_init(&f);
	oracle_key(mac1_key, "mac1----");
	oracle_key(cookie_key, "cookie--");
	memset(msg, 0x5a, len);
	cookie_add_macs(&f.jar, msg, len, START_NS);
	oracle_mac(mac, mac1_key, WG_KEY_BYTES, msg, len - 32);
	assert_memory_equal(bytes + len - 32, mac, WG_MAC_BYTES);
	assert_true(sodium_is_zero(bytes + len - 16, WG_MAC_BYTES));

	/* Cookie := Mac(secret, address || port), sealed with mac1 as additional data. */
	cookie_make_reply(&f.checker, &reply, msg, len, source, f.random, START_NS);
	memcpy(addressed, address, address_len);
	addressed[address_len] = 0x12;
	addressed[address_len + 1] = 0x34;
	oracle_mac(cookie, f.random, WG_KEY_BYTES, addressed, address_len + 2);
	assert_int_equal(le32toh(reply.type_le), 3);
	assert_int_equal(le32toh(reply.receiver_le), 0x5a5a5a5a);
	assert_memory_equal(reply.nonce, f.random + WG_KEY_BYTES, sizeof(reply.nonce));
	assert_int_equal(
		crypto_aead_xchacha20poly1305_ietf_decrypt(opened, NULL, NULL, reply.cookie_sealed,
			sizeof(reply.cookie_sealed), mac, sizeof(mac), reply.nonce, cookie_key),
		0);
	assert_memory_equal(opened, cookie, sizeof(cookie));

	assert_true(cookie_take_reply(&f.jar, &reply, START_NS));
	cookie_add_macs(&f.jar, msg, len, START_NS);
	oracle_mac(mac, cookie, WG_COOKIE_BYTES, msg, len - 16);
	assert_memory_equal(bytes + len - 16, mac, WG_MAC_BYTES);
	assert_int_equal(cookie_check_macs(&f.checker, msg, len, source, true, START_NS),
		COOKIE_MAC_WITH_COOKIE);
}

static void test_formulas(void **state)
{
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;

	(void)state;
	check_against_oracle(&source_v4, source_v4.addr.bytes, 4, &initiation, sizeof(initiation));
	check_against_oracle(&source_v4, source_v4.addr.bytes, 4, &response, sizeof(response));
	check_against_oracle(&source_v6, source_v6.addr.bytes, 16, &initiation, sizeof(initiation));
	check_against_oracle(&source_v6, source_v6.addr.bytes, 16, &response, sizeof(response));
}

/* --- Checking --- */

static void test_every_bit_counts(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	get_cookie(&f, &source_v4, START_NS);
	send_at(&f, START_NS);
	assert_int_equal(check_at(&f, &source_v4, START_NS), COOKIE_MAC_WITH_COOKIE);
	for (size_t bit = 0; bit < 8 * sizeof(f.msg); bit++) {
		uint8_t *byte = (uint8_t *)&f.msg + bit / 8;
		bool in_mac2 = bit / 8 >= sizeof(f.msg) - WG_MAC_BYTES;

		*byte ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(check_at(&f, &source_v4, START_NS),
			in_mac2 ? COOKIE_MAC_VALID : COOKIE_MAC_INVALID);
		*byte ^= (uint8_t)(1 << bit % 8);
	}
	/* Made for another key. */
	cookie_checker_init(&f.checker, f.random);
	assert_int_equal(check_at(&f, &source_v4, START_NS), COOKIE_MAC_INVALID);
}

static void test_cookie_is_checked_under_load_only(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	get_cookie(&f, &source_v4, START_NS);
	send_at(&f, START_NS);
	assert_int_equal(
		cookie_check_macs(&f.checker, &f.msg, sizeof(f.msg), &source_v4, false, START_NS),
		COOKIE_MAC_VALID);
}

/* Any length, in memory of just that length: short ones are invalid, none is read beyond. */
static void test_lengths(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	for (size_t len = 0; len <= 2 * INITIATION_BYTES; len++) {
		uint8_t *msg = malloc(len);

		if (len > 0)
			memset(msg, 0, len);
		assert_int_equal(
			cookie_check_macs(&f.checker, msg, len, &source_v4, true, START_NS),
			COOKIE_MAC_INVALID);
		if (len >= sizeof(struct wg_macs)) {
			cookie_add_macs(&f.jar, msg, len, START_NS);
			assert_int_equal(
				cookie_check_macs(&f.checker, msg, len, &source_v4, true, START_NS),
				COOKIE_MAC_VALID);
		}
		free(msg);
	}
}

static void test_cookie_is_bound_to_its_source(void **state)
{
	struct endpoint other;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	get_cookie(&f, &source_v4, START_NS);
	send_at(&f, START_NS);
	other = source_v4;
	other.port++;
	assert_int_equal(check_at(&f, &other, START_NS), COOKIE_MAC_VALID);
	other.port = 0x3412;
	assert_int_equal(check_at(&f, &other, START_NS), COOKIE_MAC_VALID);
	for (unsigned i = 0; i < 4; i++) {
		other = source_v4;
		other.addr.bytes[i] ^= 1;
		assert_int_equal(check_at(&f, &other, START_NS), COOKIE_MAC_VALID);
	}
	assert_int_equal(check_at(&f, &source_v6, START_NS), COOKIE_MAC_VALID);
	assert_int_equal(check_at(&f, &source_v4, START_NS), COOKIE_MAC_WITH_COOKIE);

	fixture_init(&f);
	get_cookie(&f, &source_v6, START_NS);
	send_at(&f, START_NS);
	/* All of the address, not only its /64. */
	for (unsigned i = 0; i < 16; i++) {
		other = source_v6;
		other.addr.bytes[i] ^= 1;
		assert_int_equal(check_at(&f, &other, START_NS), COOKIE_MAC_VALID);
	}
	/* The scope is not on the wire. */
	other = source_v6;
	other.scope_id = 7;
	assert_int_equal(check_at(&f, &other, START_NS), COOKIE_MAC_WITH_COOKIE);
}

/* Before any cookie was given out no mac2 is right, whatever a secret of zeros would make of it. */
static void test_no_secret_yet(void **state)
{
	const uint8_t zero_secret[WG_KEY_BYTES] = {0};
	uint8_t cookie[WG_COOKIE_BYTES], addressed[6] = {192, 0, 2, 1, 0x12, 0x34};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	send_at(&f, START_NS);
	assert_int_equal(check_at(&f, &source_v4, START_NS), COOKIE_MAC_VALID);
	oracle_mac(cookie, zero_secret, sizeof(zero_secret), addressed, sizeof(addressed));
	oracle_mac(f.msg.macs.mac2, cookie, sizeof(cookie), &f.msg, sizeof(f.msg) - WG_MAC_BYTES);
	assert_int_equal(check_at(&f, &source_v4, START_NS), COOKIE_MAC_VALID);
	assert_int_equal(check_at(&f, &source_v4, 0), COOKIE_MAC_VALID);
}

/* --- Age --- */

static void test_sender_uses_a_cookie_for_115_s(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	send_at(&f, START_NS);
	assert_true(mac2_is_zero(&f));
	get_cookie(&f, &source_v4, START_NS);
	send_at(&f, START_NS + COOKIE_USE_NS - 1);
	assert_false(mac2_is_zero(&f));
	/* Sent at the last moment, it is still good when it arrives. */
	assert_int_equal(check_at(&f, &source_v4, START_NS + WG_COOKIE_SECRET_MAX_AGE_NS - 1),
		COOKIE_MAC_WITH_COOKIE);
	send_at(&f, START_NS + COOKIE_USE_NS);
	assert_true(mac2_is_zero(&f));
	/* A clock that went backwards: rather no mac2 than one for ever. */
	send_at(&f, START_NS - 1);
	assert_true(mac2_is_zero(&f));
	send_at(&f, START_NS + 1);
	assert_false(mac2_is_zero(&f));
}

static void test_secret_ends_after_120_s(void **state)
{
	const uint64_t end_ns = START_NS + WG_COOKIE_SECRET_MAX_AGE_NS;
	struct wg_msg_cookie_reply reply;
	uint8_t secret[WG_KEY_BYTES];
	struct fixture f;

	(void)state;
	fixture_init(&f);
	get_cookie(&f, &source_v4, START_NS);
	memcpy(secret, f.checker.secret, sizeof(secret));
	assert_memory_equal(secret, f.random, sizeof(secret));

	/* Within 120 s other random bytes are for the nonce only. */
	memset(f.random, 0x33, sizeof(f.random));
	reply_at(&f, &source_v4, end_ns - 1, &reply);
	assert_memory_equal(f.checker.secret, secret, sizeof(secret));
	assert_int_equal(f.checker.secret_born_ns, START_NS);
	assert_memory_equal(reply.nonce, f.random + WG_KEY_BYTES, sizeof(reply.nonce));

	/* A cookie ends with its secret, whether or not there is a new one. */
	send_at(&f, START_NS);
	assert_int_equal(check_at(&f, &source_v4, end_ns - 1), COOKIE_MAC_WITH_COOKIE);
	assert_int_equal(check_at(&f, &source_v4, end_ns), COOKIE_MAC_VALID);
	reply_at(&f, &source_v4, end_ns, &reply);
	assert_memory_equal(f.checker.secret, f.random, sizeof(secret));
	assert_int_equal(f.checker.secret_born_ns, end_ns);
	assert_int_equal(check_at(&f, &source_v4, end_ns), COOKIE_MAC_VALID);

	/* The new one leads to a message that passes. */
	assert_true(cookie_take_reply(&f.jar, &reply, end_ns));
	send_at(&f, end_ns);
	assert_int_equal(check_at(&f, &source_v4, end_ns), COOKIE_MAC_WITH_COOKIE);
}

static void test_clock_goes_backwards(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	get_cookie(&f, &source_v4, START_NS);
	/* The old secret counts as old, a new one is made, and all works on. */
	get_cookie(&f, &source_v4, START_NS / 2);
	send_at(&f, START_NS / 2);
	assert_int_equal(check_at(&f, &source_v4, START_NS / 2), COOKIE_MAC_WITH_COOKIE);
	/* At the very start of the clock, where 0 must not be taken for "none". */
	get_cookie(&f, &source_v4, 0);
	send_at(&f, 2);
	assert_int_equal(check_at(&f, &source_v4, 2), COOKIE_MAC_WITH_COOKIE);
}

/* --- Taking --- */

static void expect_refused(struct fixture *f, const struct wg_msg_cookie_reply *reply)
{
	struct cookie_jar before = f->jar;

	assert_false(cookie_take_reply(&f->jar, reply, START_NS));
	assert_memory_equal(&f->jar, &before, sizeof(before));
}

static void test_reply_to_nothing(void **state)
{
	struct wg_msg_cookie_reply reply;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	/* The checker saw a message of mac1 zero, which is what an unused jar holds. */
	memset(&f.msg.macs, 0, sizeof(f.msg.macs));
	reply_at(&f, &source_v4, START_NS, &reply);
	expect_refused(&f, &reply);
}

static void test_reply_is_taken_once(void **state)
{
	struct wg_msg_cookie_reply reply;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	send_at(&f, START_NS);
	reply_at(&f, &source_v4, START_NS, &reply);
	assert_true(cookie_take_reply(&f.jar, &reply, START_NS));
	expect_refused(&f, &reply);
}

static void test_reply_to_an_older_message(void **state)
{
	struct wg_msg_cookie_reply reply;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	send_at(&f, START_NS);
	reply_at(&f, &source_v4, START_NS, &reply);
	f.msg.ephemeral[0] ^= 1;
	send_at(&f, START_NS);
	expect_refused(&f, &reply);
	reply_at(&f, &source_v4, START_NS, &reply);
	assert_true(cookie_take_reply(&f.jar, &reply, START_NS));
}

static void test_reply_bit_flips(void **state)
{
	struct wg_msg_cookie_reply reply;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	send_at(&f, START_NS);
	reply_at(&f, &source_v4, START_NS, &reply);
	/* Type and receiver are the caller's to match. */
	for (size_t bit = 8 * offsetof(struct wg_msg_cookie_reply, nonce); bit < 8 * sizeof(reply);
		bit++) {
		uint8_t *byte = (uint8_t *)&reply + bit / 8;

		*byte ^= (uint8_t)(1 << bit % 8);
		expect_refused(&f, &reply);
		*byte ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(cookie_take_reply(&f.jar, &reply, START_NS));
}

static void test_init_forgets(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	get_cookie(&f, &source_v4, START_NS);
	send_at(&f, START_NS);
	assert_int_equal(check_at(&f, &source_v4, START_NS), COOKIE_MAC_WITH_COOKIE);
	cookie_checker_init(&f.checker, public_key);
	assert_true(sodium_is_zero(f.checker.secret, sizeof(f.checker.secret)));
	assert_int_equal(check_at(&f, &source_v4, START_NS), COOKIE_MAC_VALID);
	cookie_jar_init(&f.jar, public_key);
	send_at(&f, START_NS);
	assert_true(mac2_is_zero(&f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formulas),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_cookie_is_checked_under_load_only),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_cookie_is_bound_to_its_source),
		cmocka_unit_test(test_no_secret_yet),
		cmocka_unit_test(test_sender_uses_a_cookie_for_115_s),
		cmocka_unit_test(test_secret_ends_after_120_s),
		cmocka_unit_test(test_clock_goes_backwards),
		cmocka_unit_test(test_reply_to_nothing),
		cmocka_unit_test(test_reply_is_taken_once),
		cmocka_unit_test(test_reply_to_an_older_message),
		cmocka_unit_test(test_reply_bit_flips),
		cmocka_unit_test(test_init_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
