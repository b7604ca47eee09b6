/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mac1, mac2 and cookie replies (whitepaper sections 5.3, 5.4.4, 5.4.7), made and checked.
 * Time and randomness are arguments. Thread: the caller's. No allocation.
 */
#ifndef WG_COOKIE_H
#define WG_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "wg/messages.h"

/* Receiving side, one per interface. */
struct cookie_checker {
	uint8_t mac1_key[WG_KEY_BYTES];	  /* HASH("mac1----" || own public key) */
	uint8_t cookie_key[WG_KEY_BYTES]; /* HASH("cookie--" || own public key) */
	uint8_t secret[WG_KEY_BYTES];	  /* changes every 120 s */
	uint64_t secret_born_ns;	  /* 0: none yet */
};

/* Sending side, one per peer. */
struct cookie_jar {
	uint8_t mac1_key[WG_KEY_BYTES];	  /* HASH("mac1----" || peer's public key) */
	uint8_t cookie_key[WG_KEY_BYTES]; /* HASH("cookie--" || peer's public key) */
	uint8_t cookie[WG_COOKIE_BYTES];
	uint64_t cookie_born_ns; /* 0: none */
	bool have_last_mac1;
	uint8_t last_mac1[WG_MAC_BYTES]; /* of the message sent last: a reply must answer it */
};

enum cookie_mac_state {
	COOKIE_MAC_INVALID,    /* mac1 is wrong: drop */
	COOKIE_MAC_VALID,      /* mac1 is right, mac2 is not checked or wrong */
	COOKIE_MAC_WITH_COOKIE /* both are right */
};

void cookie_checker_init(struct cookie_checker *checker, const uint8_t public_key[WG_KEY_BYTES]);
void cookie_jar_init(struct cookie_jar *jar, const uint8_t peer_public_key[WG_KEY_BYTES]);

/*
 * Writes mac1 and, with a cookie younger than 115 s, mac2 (else zero) into the message's end. The
 * receiver may renew its secret at 120 s: the difference is for the message to arrive.
 */
void cookie_add_macs(struct cookie_jar *jar, void *msg, size_t len, uint64_t now_ns);

/*
 * Checks the macs of a received handshake message. mac2 is checked only when check_cookie, against
 * the cookie of its source address and port; a cookie ends with its secret, at 120 s.
 */
enum cookie_mac_state cookie_check_macs(const struct cookie_checker *checker, const void *msg,
	size_t len, const struct endpoint *source, bool check_cookie, uint64_t now_ns);

/*
 * Makes the cookie reply to a message (for its sender index). random: 32 bytes for a new secret,
 * used when the old one is over 120 s old, then 24 bytes of nonce.
 */
void cookie_make_reply(struct cookie_checker *checker, struct wg_msg_cookie_reply *out,
	const void *msg, size_t len, const struct endpoint *source,
	const uint8_t random[WG_KEY_BYTES + 24], uint64_t now_ns);

/*
 * Takes the cookie of a reply; false, and nothing changed, when it does not authenticate or answers
 * nothing we sent. Only the first reply to a message is taken.
 */
__attribute__((warn_unused_result)) bool cookie_take_reply(
	struct cookie_jar *jar, const struct wg_msg_cookie_reply *msg, uint64_t now_ns);

#endif
