/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the protocol says of a handshake message. Each value is a counter under its name; the
 * list is one so that names, telemetry and documentation cannot drift apart.
 */
#ifndef WG_VERDICT_H
#define WG_VERDICT_H

/* X(enumerator, telemetry name, description) */
#define WG_VERDICTS(X)                                                                             \
	X(WG_ACCEPTED, "accepted", "handshake message accepted")                                   \
	X(WG_BAD_MESSAGE, "handshake_bad_message",                                                 \
		"unknown type, reserved bits set or wrong length")                                 \
	X(WG_BAD_MAC1, "handshake_bad_mac1", "mac1 is wrong: not meant for this interface's key")  \
	X(WG_COOKIE_SENT, "handshake_cookie_sent",                                                 \
		"under load, no valid cookie: cookie reply sent")                                  \
	X(WG_RATE_LIMITED, "handshake_rate_limited",                                               \
		"source exceeds its share of handshakes under load")                               \
	X(WG_BAD_STATIC, "handshake_bad_static", "static key or timestamp does not decrypt")       \
	X(WG_UNKNOWN_PEER, "handshake_unknown_peer", "public key of no configured peer")           \
	X(WG_REPLAYED, "handshake_replayed", "initiation with an old timestamp")                   \
	X(WG_FLOODED, "handshake_flooded", "second initiation of a peer within 20 ms")             \
	X(WG_UNKNOWN_INDEX, "handshake_unknown_index",                                             \
		"response or cookie reply for no handshake of ours")                               \
	X(WG_BAD_RESPONSE, "handshake_bad_response",                                               \
		"response does not authenticate or comes unasked")                                 \
	X(WG_BAD_COOKIE, "handshake_bad_cookie", "cookie reply does not authenticate")             \
	X(WG_NO_KEY, "handshake_no_key", "the interface has no private key")                       \
	X(WG_LINK_DOWN, "handshake_link_down",                                                     \
		"it was on its way when the interface's link went down")                           \
	X(WG_NO_INDEX, "handshake_no_index", "no receiver index is free")                          \
	X(WG_NO_MEMORY, "handshake_no_memory", "no memory for a session")

enum wg_verdict {
#define WG_VERDICT_ENUM(id, name, text) id,
	WG_VERDICTS(WG_VERDICT_ENUM)
#undef WG_VERDICT_ENUM
		WG_VERDICT_COUNT,
	WG_PENDING = WG_VERDICT_COUNT, /* none yet: not counted */
};

#endif
