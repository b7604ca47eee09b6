/* SPDX-License-Identifier: BSD-3-Clause */
/* What is a message: every type with every length, in memory of just that length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wg/messages.h"

#define LENGTHS 2000

static enum wg_message_type expected_type(uint32_t type, size_t len)
{
	switch (type) {
	case 1:
		return len == 148 ? WG_MSG_INITIATION : WG_MSG_NONE;
	case 2:
		return len == 92 ? WG_MSG_RESPONSE : WG_MSG_NONE;
	case 3:
		return len == 64 ? WG_MSG_COOKIE_REPLY : WG_MSG_NONE;
	case 4:
		return len >= 32 ? WG_MSG_DATA : WG_MSG_NONE;
	default:
		return WG_MSG_NONE;
	}
}

static void test_lengths(void **state)
{
	static const uint32_t types[] = {0, 1, 2, 3, 4, 5, 255, 0x01000000, 0x00010000, 0x00000100,
		0x80000004, 0x00000101, 0xffffffff};

	(void)state;
	for (size_t len = 0; len < LENGTHS; len++) {
		uint8_t *msg = malloc(len);

		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
			uint8_t head[4];

			store_le32(head, types[i]);
			if (len > 0)
				memset(msg, 0, len);
			memcpy(msg, head, len < 4 ? len : 4);
			assert_int_equal(
				wg_message_type_of(msg, len), expected_type(types[i], len));
		}
		free(msg);
	}
}

/* The layout of the whitepaper, as far as other code counts on it. */
static void test_layout(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct wg_msg_initiation, sender_le), 4);
	assert_int_equal(offsetof(struct wg_msg_initiation, ephemeral), 8);
	assert_int_equal(offsetof(struct wg_msg_initiation, static_sealed), 40);
	assert_int_equal(offsetof(struct wg_msg_initiation, timestamp_sealed), 88);
	assert_int_equal(offsetof(struct wg_msg_initiation, macs), 116);
	assert_int_equal(offsetof(struct wg_msg_response, sender_le), 4);
	assert_int_equal(offsetof(struct wg_msg_response, receiver_le), 8);
	assert_int_equal(offsetof(struct wg_msg_response, ephemeral), 12);
	assert_int_equal(offsetof(struct wg_msg_response, empty_sealed), 44);
	assert_int_equal(offsetof(struct wg_msg_response, macs), 60);
	assert_int_equal(offsetof(struct wg_msg_cookie_reply, receiver_le), 4);
	assert_int_equal(offsetof(struct wg_msg_cookie_reply, nonce), 8);
	assert_int_equal(offsetof(struct wg_msg_cookie_reply, cookie_sealed), 32);
	assert_int_equal(offsetof(struct wg_msg_data, receiver_le), 4);
	assert_int_equal(offsetof(struct wg_msg_data, counter_le), 8);
	assert_int_equal(WG_KEEPALIVE_BYTES, 32);
	assert_int_equal(WG_HANDSHAKE_MAX_BYTES, 148);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
