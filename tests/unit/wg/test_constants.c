/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol's numbers, written out: all other tests use their names, and would follow a wrong
 * one. In the order of the whitepaper; what it leaves open is as in Linux.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "wg/messages.h"
#include "wg/timers.h"

#define SECOND 1000000000ull
#define MILLI  1000000ull

/* Section 5.1 to 5.4: what the messages are, and how many of them are taken. */
static void test_messages(void **state)
{
	(void)state;
	assert_string_equal(WG_CONSTRUCTION, "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s");
	assert_string_equal(WG_IDENTIFIER, "WireGuard v1 zx2c4 Jason@zx2c4.com");
	assert_string_equal(WG_LABEL_MAC1, "mac1----");
	assert_string_equal(WG_LABEL_COOKIE, "cookie--");
	assert_int_equal(WG_MSG_INITIATION, 1);
	assert_int_equal(WG_MSG_RESPONSE, 2);
	assert_int_equal(WG_MSG_COOKIE_REPLY, 3);
	assert_int_equal(WG_MSG_DATA, 4);
	assert_int_equal(sizeof(struct wg_msg_initiation), 148);
	assert_int_equal(sizeof(struct wg_msg_response), 92);
	assert_int_equal(sizeof(struct wg_msg_cookie_reply), 64);
	assert_int_equal(sizeof(struct wg_msg_data), 16);
	assert_int_equal(WG_KEEPALIVE_BYTES, 32);
	assert_int_equal(WG_KEY_BYTES, 32);
	assert_int_equal(WG_TAG_BYTES, 16);
	assert_int_equal(WG_MAC_BYTES, 16);
	assert_int_equal(WG_COOKIE_BYTES, 16);
	assert_int_equal(WG_TIMESTAMP_BYTES, 12);
	assert_int_equal(WG_INITIATION_INTERVAL_NS, 20 * MILLI);
	assert_int_equal(WG_REPLAY_WINDOW, 8192);
}

/* Section 5.3: cookies, and who is asked for one. */
static void test_load(void **state)
{
	(void)state;
	assert_int_equal(WG_COOKIE_SECRET_MAX_AGE_NS, 120 * SECOND);
	assert_int_equal(WG_COOKIE_LATENCY_NS, 5 * SECOND);
	assert_int_equal(WG_UNDER_LOAD_NS, 1 * SECOND);
	assert_int_equal(WG_RATE_PER_S, 20);
	assert_int_equal(WG_RATE_BURST, 5);
}

/* Section 6: sessions and their timers. */
static void test_sessions(void **state)
{
	(void)state;
	assert_int_equal(WG_REKEY_AFTER_MESSAGES, 0x1000000000000000ull);
	assert_int_equal(WG_REJECT_AFTER_MESSAGES, 0xffffffffffffdfffull);
	assert_int_equal(WG_REKEY_AFTER_TIME_NS, 120 * SECOND);
	assert_int_equal(WG_REJECT_AFTER_TIME_NS, 180 * SECOND);
	assert_int_equal(WG_REKEY_ATTEMPT_TIME_NS, 90 * SECOND);
	assert_int_equal(WG_REKEY_TIMEOUT_NS, 5 * SECOND);
	assert_int_equal(WG_REKEY_JITTER_NS, 333 * MILLI);
	assert_int_equal(TIMERS_ATTEMPTS, 18);
	assert_int_equal(WG_KEEPALIVE_TIMEOUT_NS, 10 * SECOND);
	assert_int_equal(WG_NEW_HANDSHAKE_NS, 15 * SECOND);
	assert_int_equal(WG_REKEY_ON_RECEIVE_NS, 165 * SECOND);
	assert_int_equal(WG_ERASE_AFTER_NS, 540 * SECOND);
	assert_int_equal(WG_STAGED_PACKETS, 128);
	assert_true(LIMIT_PEERS >= 1048576);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
