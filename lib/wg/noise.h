/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake, Noise_IKpsk2 (whitepaper section 5.4), in both roles, as pure functions of their
 * arguments: ephemeral secrets, timestamps and indices come in, messages and keys come out. The
 * macs of a message belong to cookie.h and are left untouched here.
 *
 * Thread: the caller's; the structures belong to it. No allocation.
 */
#ifndef WG_NOISE_H
#define WG_NOISE_H

#include <stdbool.h>
#include <stdint.h>

#include "wg/messages.h"
#include "wg/verdict.h"

/* An interface's own key pair. */
struct noise_identity {
	bool set;
	uint8_t private_key[WG_KEY_BYTES];
	uint8_t public_key[WG_KEY_BYTES];
};

enum noise_state {
	NOISE_NONE,
	NOISE_INITIATION_SENT,
	NOISE_INITIATION_ACCEPTED,
	NOISE_RESPONSE_SENT,
	NOISE_RESPONSE_ACCEPTED,
};

/* One handshake in progress. Wiped by noise_handshake_wipe() and when its keys are derived. */
struct noise_handshake {
	enum noise_state state;
	uint8_t hash[WG_KEY_BYTES];
	uint8_t chaining_key[WG_KEY_BYTES];
	uint8_t ephemeral_private[WG_KEY_BYTES];
	uint8_t remote_ephemeral[WG_KEY_BYTES];
	uint32_t local_index;
	uint32_t remote_index;
};

/* What the handshake knows about a peer. */
struct noise_peer {
	uint8_t public_key[WG_KEY_BYTES];
	uint8_t preshared_key[WG_KEY_BYTES]; /* all zero when there is none */
	uint8_t static_static[WG_KEY_BYTES]; /* DH(own static, peer's static) */
	bool reachable;			     /* false: no identity, or a low-order public key */
	uint8_t latest_timestamp[WG_TIMESTAMP_BYTES];
	uint64_t latest_initiation_ns; /* when the last one was accepted; 0 never */
	struct noise_handshake handshake;
};

/* An initiation whose sender is known, but whose timestamp has not been read. Holds secrets. */
struct noise_opened_initiation {
	uint8_t remote_static[WG_KEY_BYTES];
	uint8_t hash[WG_KEY_BYTES];
	uint8_t chaining_key[WG_KEY_BYTES];
};

/* Sets (clamped) or, with NULL or a zero key, unsets the identity; wipes the old one. */
void noise_identity_set(struct noise_identity *identity, const uint8_t private_key[WG_KEY_BYTES]);

void noise_peer_init(struct noise_peer *peer, const struct noise_identity *identity,
	const uint8_t public_key[WG_KEY_BYTES]);
/* Re-derives static_static after the identity changed, and drops the handshake in progress. */
void noise_peer_rekey_static(struct noise_peer *peer, const struct noise_identity *identity);

void noise_handshake_wipe(struct noise_handshake *handshake);

/*
 * Initiator, first message: fills all of *out but the macs; state becomes INITIATION_SENT.
 * ephemeral: 32 random bytes, clamped inside. False when the peer is not reachable.
 */
__attribute__((warn_unused_result)) bool noise_create_initiation(struct noise_peer *peer,
	const struct noise_identity *identity, uint32_t local_index,
	const uint8_t ephemeral[WG_KEY_BYTES], const uint8_t tai64n[WG_TIMESTAMP_BYTES],
	struct wg_msg_initiation *out);

/* Responder, step one: who sent it? WG_ACCEPTED, WG_NO_KEY or WG_BAD_STATIC. */
enum wg_verdict noise_open_initiation(struct noise_opened_initiation *out,
	const struct noise_identity *identity, const struct wg_msg_initiation *msg);

/*
 * Responder, step two, with the peer found by its public key: the timestamp must decrypt and be
 * newer than the last, and the last accepted initiation at least 20 ms old. On WG_ACCEPTED state
 * becomes INITIATION_ACCEPTED and a handshake in progress is replaced (read its local index before:
 * it is WG_INDEX_NONE then, until the response is made); on anything else
 * (WG_BAD_STATIC, WG_REPLAYED, WG_FLOODED) the peer is unchanged. Wipes *opened.
 */
enum wg_verdict noise_accept_initiation(struct noise_peer *peer,
	struct noise_opened_initiation *opened, const struct wg_msg_initiation *msg,
	uint64_t now_ns);

/*
 * What noise_accept_initiation() says of a timestamp that decrypted: WG_ACCEPTED, WG_REPLAYED or
 * WG_FLOODED.
 */
enum wg_verdict noise_judge_timestamp(const struct noise_peer *peer,
	const uint8_t timestamp[WG_TIMESTAMP_BYTES], uint64_t now_ns);

/*
 * Responder, second message, in state INITIATION_ACCEPTED only: fills all but the macs; state
 * becomes RESPONSE_SENT. ephemeral as above. False, and the peer unchanged, when a shared secret
 * is zero.
 */
__attribute__((warn_unused_result)) bool noise_create_response(struct noise_peer *peer,
	uint32_t local_index, const uint8_t ephemeral[WG_KEY_BYTES], struct wg_msg_response *out);

/*
 * Initiator: WG_ACCEPTED and RESPONSE_ACCEPTED, or WG_BAD_RESPONSE and the peer unchanged. The
 * caller has matched msg->receiver_le with the handshake's local index.
 */
enum wg_verdict noise_accept_response(struct noise_peer *peer,
	const struct noise_identity *identity, const struct wg_msg_response *msg);

/*
 * The transport keys of a finished handshake (RESPONSE_SENT or RESPONSE_ACCEPTED), ordered for
 * this side, then wipes the handshake. local_index and remote_index are to be read before.
 */
void noise_derive_keys(struct noise_handshake *handshake, uint8_t send_key[WG_KEY_BYTES],
	uint8_t receive_key[WG_KEY_BYTES]);

#endif
