/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages on the wire (whitepaper sections 5.4.2, 5.4.3, 5.4.6, 5.4.7). All integers
 * little-endian. */
#ifndef WG_MESSAGES_H
#define WG_MESSAGES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wg/constants.h"

enum wg_message_type {
	WG_MSG_NONE = 0, /* what is no message at all */
	WG_MSG_INITIATION = 1,
	WG_MSG_RESPONSE = 2,
	WG_MSG_COOKIE_REPLY = 3,
	WG_MSG_DATA = 4,
};

/* Both macs stand at the end of a handshake message. */
struct wg_macs {
	uint8_t mac1[WG_MAC_BYTES];
	uint8_t mac2[WG_MAC_BYTES];
} __attribute__((packed));

struct wg_msg_initiation {
	uint32_t type_le; /* type byte, three reserved zero bytes */
	uint32_t sender_le;
	uint8_t ephemeral[WG_KEY_BYTES];
	uint8_t static_sealed[WG_KEY_BYTES + WG_TAG_BYTES];
	uint8_t timestamp_sealed[WG_TIMESTAMP_BYTES + WG_TAG_BYTES];
	struct wg_macs macs;
} __attribute__((packed));

struct wg_msg_response {
	uint32_t type_le;
	uint32_t sender_le;
	uint32_t receiver_le;
	uint8_t ephemeral[WG_KEY_BYTES];
	uint8_t empty_sealed[WG_TAG_BYTES];
	struct wg_macs macs;
} __attribute__((packed));

struct wg_msg_cookie_reply {
	uint32_t type_le;
	uint32_t receiver_le;
	uint8_t nonce[24];
	uint8_t cookie_sealed[WG_COOKIE_BYTES + WG_TAG_BYTES];
} __attribute__((packed));

/* Followed by the padded, sealed packet and its tag. */
struct wg_msg_data {
	uint32_t type_le;
	uint32_t receiver_le;
	uint64_t counter_le;
} __attribute__((packed));

static_assert(sizeof(struct wg_msg_initiation) == 148, "section 5.4.2");
static_assert(sizeof(struct wg_msg_response) == 92, "section 5.4.3");
static_assert(sizeof(struct wg_msg_cookie_reply) == 64, "section 5.4.7");
static_assert(sizeof(struct wg_msg_data) == 16, "section 5.4.6");

/* An empty data message: the keepalive of section 6.5. */
#define WG_KEEPALIVE_BYTES (sizeof(struct wg_msg_data) + WG_TAG_BYTES)

/* The largest message of a handshake. */
#define WG_HANDSHAKE_MAX_BYTES sizeof(struct wg_msg_initiation)

/*
 * What a whole UDP payload claims to be: its type if the type word (reserved bytes included) is
 * known and the length is one that the type can have, else WG_MSG_NONE. The message may then be
 * read through its struct.
 */
static inline enum wg_message_type wg_message_type_of(const void *msg, size_t len)
{
	if (len < sizeof(uint32_t))
		return WG_MSG_NONE;
	switch (load_le32(msg)) {
	case WG_MSG_INITIATION:
		return len == sizeof(struct wg_msg_initiation) ? WG_MSG_INITIATION : WG_MSG_NONE;
	case WG_MSG_RESPONSE:
		return len == sizeof(struct wg_msg_response) ? WG_MSG_RESPONSE : WG_MSG_NONE;
	case WG_MSG_COOKIE_REPLY:
		return len == sizeof(struct wg_msg_cookie_reply) ? WG_MSG_COOKIE_REPLY
								 : WG_MSG_NONE;
	case WG_MSG_DATA:
		return len >= WG_KEEPALIVE_BYTES ? WG_MSG_DATA : WG_MSG_NONE;
	default:
		return WG_MSG_NONE;
	}
}

#endif
