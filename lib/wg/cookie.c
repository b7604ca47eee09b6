/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker keeps one secret, not the one before as well: a cookie is good for as long as the
 * secret it came from is younger than 120 s. A sender whose cookie ends early with its secret gets
 * a new one for its next message, which costs it one retry at worst.
 */
#include "wg/cookie.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/blake2s.h"
#include "crypto/wipe.h"
#include "crypto/xaead.h"

static_assert(sizeof(((struct wg_msg_cookie_reply *)0)->nonce) == XAEAD_NONCE_BYTES, "nonce");

/* The sender's index has the same place in both messages that a cookie reply can answer. */
static_assert(offsetof(struct wg_msg_initiation, sender_le) ==
		      offsetof(struct wg_msg_response, sender_le),
	"sender index");

static void derive_key(
	uint8_t out[WG_KEY_BYTES], const char *label, const uint8_t public_key[WG_KEY_BYTES])
{
	blake2s_hash2(out, label, strlen(label), public_key, WG_KEY_BYTES);
}

/* 0 is "never". A clock that went backwards wraps to a great age: what is kept counts as old. */
static bool is_young(uint64_t born_ns, uint64_t now_ns, uint64_t limit_ns)
{
	return born_ns != 0 && now_ns - born_ns < limit_ns;
}

static uint64_t birth(uint64_t now_ns)
{
	return now_ns ? now_ns : 1;
}

void cookie_checker_init(struct cookie_checker *checker, const uint8_t public_key[WG_KEY_BYTES])
{
	wipe(checker, sizeof(*checker));
	derive_key(checker->mac1_key, WG_LABEL_MAC1, public_key);
	derive_key(checker->cookie_key, WG_LABEL_COOKIE, public_key);
}

void cookie_jar_init(struct cookie_jar *jar, const uint8_t peer_public_key[WG_KEY_BYTES])
{
	wipe(jar, sizeof(*jar));
	derive_key(jar->mac1_key, WG_LABEL_MAC1, peer_public_key);
	derive_key(jar->cookie_key, WG_LABEL_COOKIE, peer_public_key);
}

static void make_mac1(
	uint8_t out[WG_MAC_BYTES], const uint8_t key[WG_KEY_BYTES], const void *msg, size_t len)
{
	blake2s_mac(out, WG_MAC_BYTES, key, WG_KEY_BYTES, msg, len - sizeof(struct wg_macs));
}

/* Over all that stands before it, mac1 included. */
static void make_mac2(uint8_t out[WG_MAC_BYTES], const uint8_t cookie[WG_COOKIE_BYTES],
	const void *msg, size_t len)
{
	blake2s_mac(out, WG_MAC_BYTES, cookie, WG_COOKIE_BYTES, msg, len - WG_MAC_BYTES);
}

/* Mac(secret, source address || source port), both in network byte order. */
static void make_cookie(uint8_t out[WG_COOKIE_BYTES], const uint8_t secret[WG_KEY_BYTES],
	const struct endpoint *source)
{
	size_t addr_len = ip_family_bits(source->addr.family) / 8;
	uint8_t bytes[sizeof(source->addr.bytes) + sizeof(source->port)];

	memcpy(bytes, source->addr.bytes, addr_len);
	store_be16(bytes + addr_len, source->port);
	blake2s_mac(
		out, WG_COOKIE_BYTES, secret, WG_KEY_BYTES, bytes, addr_len + sizeof(source->port));
}

void cookie_add_macs(struct cookie_jar *jar, void *msg, size_t len, uint64_t now_ns)
{
	struct wg_macs macs = {0};
	uint8_t *end = msg;

	assert(len >= sizeof(macs));
	end += len - sizeof(macs);

	make_mac1(macs.mac1, jar->mac1_key, msg, len);
	memcpy(end, macs.mac1, WG_MAC_BYTES);
	memcpy(jar->last_mac1, macs.mac1, WG_MAC_BYTES);
	jar->have_last_mac1 = true;

	/*
	 * The secret behind a cookie is never younger than the cookie. Some of its last seconds are
	 * left for this message to travel, lest it arrive with a mac2 that is no good any more.
	 */
	if (is_young(jar->cookie_born_ns, now_ns,
		    WG_COOKIE_SECRET_MAX_AGE_NS - WG_COOKIE_LATENCY_NS))
		make_mac2(macs.mac2, jar->cookie, msg, len);
	memcpy(end + offsetof(struct wg_macs, mac2), macs.mac2, WG_MAC_BYTES);
}

enum cookie_mac_state cookie_check_macs(const struct cookie_checker *checker, const void *msg,
	size_t len, const struct endpoint *source, bool check_cookie, uint64_t now_ns)
{
	uint8_t cookie[WG_COOKIE_BYTES], mac[WG_MAC_BYTES];
	struct wg_macs macs;
	bool same;

	if (len < sizeof(macs))
		return COOKIE_MAC_INVALID;
	memcpy(&macs, (const uint8_t *)msg + len - sizeof(macs), sizeof(macs));

	make_mac1(mac, checker->mac1_key, msg, len);
	if (!equal_ct(mac, macs.mac1, WG_MAC_BYTES))
		return COOKIE_MAC_INVALID;
	if (!check_cookie ||
		!is_young(checker->secret_born_ns, now_ns, WG_COOKIE_SECRET_MAX_AGE_NS))
		return COOKIE_MAC_VALID;

	make_cookie(cookie, checker->secret, source);
	make_mac2(mac, cookie, msg, len);
	same = equal_ct(mac, macs.mac2, WG_MAC_BYTES);
	wipe(cookie, sizeof(cookie));
	return same ? COOKIE_MAC_WITH_COOKIE : COOKIE_MAC_VALID;
}

void cookie_make_reply(struct cookie_checker *checker, struct wg_msg_cookie_reply *out,
	const void *msg, size_t len, const struct endpoint *source,
	const uint8_t random[WG_KEY_BYTES + 24], uint64_t now_ns)
{
	const uint8_t *bytes = msg;
	uint8_t cookie[WG_COOKIE_BYTES];

	assert(len >= sizeof(struct wg_msg_response));
	if (!is_young(checker->secret_born_ns, now_ns, WG_COOKIE_SECRET_MAX_AGE_NS)) {
		memcpy(checker->secret, random, WG_KEY_BYTES);
		checker->secret_born_ns = birth(now_ns);
	}
	make_cookie(cookie, checker->secret, source);

	out->type_le = htole32(WG_MSG_COOKIE_REPLY);
	memcpy(&out->receiver_le, bytes + offsetof(struct wg_msg_initiation, sender_le),
		sizeof(out->receiver_le));
	memcpy(out->nonce, random + WG_KEY_BYTES, sizeof(out->nonce));
	/* mac1 as additional data: the reply answers this very message. */
	xaead_seal(out->cookie_sealed, cookie, sizeof(cookie), bytes + len - sizeof(struct wg_macs),
		WG_MAC_BYTES, out->nonce, checker->cookie_key);
	wipe(cookie, sizeof(cookie));
}

bool cookie_take_reply(
	struct cookie_jar *jar, const struct wg_msg_cookie_reply *msg, uint64_t now_ns)
{
	if (!jar->have_last_mac1)
		return false;
	if (!xaead_open(jar->cookie, msg->cookie_sealed, sizeof(msg->cookie_sealed), jar->last_mac1,
		    WG_MAC_BYTES, msg->nonce, jar->cookie_key))
		return false;
	jar->cookie_born_ns = birth(now_ns);
	/* One reply to one message: a copy of it must not make the cookie young again. */
	jar->have_last_mac1 = false;
	return true;
}
