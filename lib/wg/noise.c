/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Noise_IKpsk2 (whitepaper section 5.4). Each message is worked out on a copy of the handshake
 * that replaces the peer's only when all of it went well: a message that fails leaves no trace.
 */
#include "wg/noise.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/blake2s.h"
#include "crypto/wipe.h"
#include "crypto/x25519.h"

/* The running transcript of section 5.4: C and H. */
struct transcript {
	uint8_t chaining_key[WG_KEY_BYTES];
	uint8_t hash[WG_KEY_BYTES];
};

static void transcript_begin(struct transcript *t, const uint8_t responder_public[WG_KEY_BYTES]);
static void mix_hash(struct transcript *t, const void *data, size_t len);
static void mix_ephemeral(struct transcript *t, const uint8_t public_key[WG_KEY_BYTES]);
static void mix_key(struct transcript *t, uint8_t *key, const uint8_t shared[WG_KEY_BYTES]);
static bool mix_dh(struct transcript *t, uint8_t *key, const uint8_t private_key[WG_KEY_BYTES],
	const uint8_t public_key[WG_KEY_BYTES]);
static void mix_preshared_key(
	struct transcript *t, uint8_t key[WG_KEY_BYTES], const uint8_t preshared_key[WG_KEY_BYTES]);
static void seal_hashed(struct transcript *t, uint8_t *dst, const void *src, size_t len,
	const uint8_t key[WG_KEY_BYTES]);
static bool open_hashed(struct transcript *t, void *dst, const uint8_t *src, size_t len,
	const uint8_t key[WG_KEY_BYTES]);
static void take_transcript(struct noise_handshake *handshake, const struct transcript *t);

void noise_identity_set(struct noise_identity *identity, const uint8_t private_key[WG_KEY_BYTES])
{
	uint8_t key[WG_KEY_BYTES] = {0};

	if (private_key)
		memcpy(key, private_key, sizeof(key));
	wipe(identity, sizeof(*identity));
	if (!is_zero_ct(key, sizeof(key))) {
		x25519_clamp(key);
		memcpy(identity->private_key, key, sizeof(key));
		x25519_public(identity->public_key, key);
		identity->set = true;
	}
	wipe(key, sizeof(key));
}

void noise_peer_init(struct noise_peer *peer, const struct noise_identity *identity,
	const uint8_t public_key[WG_KEY_BYTES])
{
	memset(peer, 0, sizeof(*peer));
	memcpy(peer->public_key, public_key, WG_KEY_BYTES);
	noise_peer_rekey_static(peer, identity);
}

void noise_peer_rekey_static(struct noise_peer *peer, const struct noise_identity *identity)
{
	noise_handshake_wipe(&peer->handshake);
	wipe(peer->static_static, sizeof(peer->static_static));
	peer->reachable = identity->set && x25519_shared(peer->static_static, identity->private_key,
						   peer->public_key);
}

void noise_handshake_wipe(struct noise_handshake *handshake)
{
	wipe(handshake, sizeof(*handshake));
}

bool noise_create_initiation(struct noise_peer *peer, const struct noise_identity *identity,
	uint32_t local_index, const uint8_t ephemeral[WG_KEY_BYTES],
	const uint8_t tai64n[WG_TIMESTAMP_BYTES], struct wg_msg_initiation *out)
{
	struct noise_handshake next = {.state = NOISE_INITIATION_SENT, .local_index = local_index};
	struct transcript t;
	uint8_t key[WG_KEY_BYTES];
	bool ok;

	if (!peer->reachable)
		return false;
	assert(identity->set);
	memcpy(next.ephemeral_private, ephemeral, WG_KEY_BYTES);
	x25519_clamp(next.ephemeral_private);

	out->type_le = htole32(WG_MSG_INITIATION);
	out->sender_le = htole32(local_index);
	x25519_public(out->ephemeral, next.ephemeral_private);

	transcript_begin(&t, peer->public_key);
	mix_ephemeral(&t, out->ephemeral);
	ok = mix_dh(&t, key, next.ephemeral_private, peer->public_key);
	if (ok) {
		seal_hashed(&t, out->static_sealed, identity->public_key, WG_KEY_BYTES, key);
		mix_key(&t, key, peer->static_static);
		seal_hashed(&t, out->timestamp_sealed, tai64n, WG_TIMESTAMP_BYTES, key);
		take_transcript(&next, &t);
		peer->handshake = next;
	}
	wipe(key, sizeof(key));
	wipe(&t, sizeof(t));
	wipe(&next, sizeof(next));
	return ok;
}

enum wg_verdict noise_open_initiation(struct noise_opened_initiation *out,
	const struct noise_identity *identity, const struct wg_msg_initiation *msg)
{
	struct transcript t;
	uint8_t key[WG_KEY_BYTES];
	bool ok;

	memset(out, 0, sizeof(*out));
	if (!identity->set)
		return WG_NO_KEY;

	transcript_begin(&t, identity->public_key);
	mix_ephemeral(&t, msg->ephemeral);
	ok = mix_dh(&t, key, identity->private_key, msg->ephemeral) &&
	     open_hashed(
		     &t, out->remote_static, msg->static_sealed, sizeof(msg->static_sealed), key);
	if (ok) {
		memcpy(out->hash, t.hash, sizeof(out->hash));
		memcpy(out->chaining_key, t.chaining_key, sizeof(out->chaining_key));
	}
	wipe(key, sizeof(key));
	wipe(&t, sizeof(t));
	return ok ? WG_ACCEPTED : WG_BAD_STATIC;
}

/* Replayed before flooded: an old initiation is a replay however seldom it comes. */
enum wg_verdict noise_judge_timestamp(
	const struct noise_peer *peer, const uint8_t timestamp[WG_TIMESTAMP_BYTES], uint64_t now_ns)
{
	/* TAI64N is big-endian: the order of its bytes is the order of time. */
	if (memcmp(timestamp, peer->latest_timestamp, WG_TIMESTAMP_BYTES) <= 0)
		return WG_REPLAYED;
	/* A clock that went backwards wraps to a great age: it never locks a peer out. */
	if (peer->latest_initiation_ns != 0 &&
		now_ns - peer->latest_initiation_ns < WG_INITIATION_INTERVAL_NS)
		return WG_FLOODED;
	return WG_ACCEPTED;
}

enum wg_verdict noise_accept_initiation(struct noise_peer *peer,
	struct noise_opened_initiation *opened, const struct wg_msg_initiation *msg,
	uint64_t now_ns)
{
	struct noise_handshake next = {.state = NOISE_INITIATION_ACCEPTED};
	struct transcript t;
	uint8_t key[WG_KEY_BYTES], timestamp[WG_TIMESTAMP_BYTES];
	enum wg_verdict verdict = WG_BAD_STATIC;

	assert(memcmp(peer->public_key, opened->remote_static, WG_KEY_BYTES) == 0);
	memcpy(t.hash, opened->hash, sizeof(t.hash));
	memcpy(t.chaining_key, opened->chaining_key, sizeof(t.chaining_key));
	wipe(opened, sizeof(*opened));

	mix_key(&t, key, peer->static_static);
	/* Of a peer that is not reachable static_static is zero, which anybody knows. */
	if (peer->reachable && open_hashed(&t, timestamp, msg->timestamp_sealed,
				       sizeof(msg->timestamp_sealed), key))
		verdict = noise_judge_timestamp(peer, timestamp, now_ns);
	if (verdict == WG_ACCEPTED) {
		memcpy(next.remote_ephemeral, msg->ephemeral, WG_KEY_BYTES);
		next.remote_index = le32toh(msg->sender_le);
		take_transcript(&next, &t);
		peer->handshake = next;
		memcpy(peer->latest_timestamp, timestamp, WG_TIMESTAMP_BYTES);
		peer->latest_initiation_ns = now_ns ? now_ns : 1; /* 0 means never */
	}
	wipe(key, sizeof(key));
	wipe(&t, sizeof(t));
	wipe(&next, sizeof(next));
	return verdict;
}

bool noise_create_response(struct noise_peer *peer, uint32_t local_index,
	const uint8_t ephemeral[WG_KEY_BYTES], struct wg_msg_response *out)
{
	struct noise_handshake next = peer->handshake;
	struct transcript t;
	uint8_t secret[WG_KEY_BYTES], key[WG_KEY_BYTES];
	bool ok;

	assert(peer->handshake.state == NOISE_INITIATION_ACCEPTED);
	memcpy(secret, ephemeral, WG_KEY_BYTES);
	x25519_clamp(secret);

	out->type_le = htole32(WG_MSG_RESPONSE);
	out->sender_le = htole32(local_index);
	out->receiver_le = htole32(next.remote_index);
	x25519_public(out->ephemeral, secret);

	memcpy(t.hash, next.hash, sizeof(t.hash));
	memcpy(t.chaining_key, next.chaining_key, sizeof(t.chaining_key));
	mix_ephemeral(&t, out->ephemeral);
	ok = mix_dh(&t, NULL, secret, next.remote_ephemeral) &&
	     mix_dh(&t, NULL, secret, peer->public_key);
	if (ok) {
		mix_preshared_key(&t, key, peer->preshared_key);
		seal_hashed(&t, out->empty_sealed, NULL, 0, key);
		next.state = NOISE_RESPONSE_SENT;
		next.local_index = local_index;
		take_transcript(&next, &t);
		peer->handshake = next;
	}
	wipe(secret, sizeof(secret));
	wipe(key, sizeof(key));
	wipe(&t, sizeof(t));
	wipe(&next, sizeof(next));
	return ok;
}

enum wg_verdict noise_accept_response(struct noise_peer *peer,
	const struct noise_identity *identity, const struct wg_msg_response *msg)
{
	struct noise_handshake next = peer->handshake;
	struct transcript t;
	uint8_t key[WG_KEY_BYTES];
	uint8_t nothing[1];
	bool ok = false;

	memcpy(t.hash, next.hash, sizeof(t.hash));
	memcpy(t.chaining_key, next.chaining_key, sizeof(t.chaining_key));
	if (next.state == NOISE_INITIATION_SENT && identity->set) {
		mix_ephemeral(&t, msg->ephemeral);
		ok = mix_dh(&t, NULL, next.ephemeral_private, msg->ephemeral) &&
		     mix_dh(&t, NULL, identity->private_key, msg->ephemeral);
	}
	if (ok) {
		mix_preshared_key(&t, key, peer->preshared_key);
		ok = open_hashed(&t, nothing, msg->empty_sealed, sizeof(msg->empty_sealed), key);
	}
	if (ok) {
		next.state = NOISE_RESPONSE_ACCEPTED;
		next.remote_index = le32toh(msg->sender_le);
		memcpy(next.remote_ephemeral, msg->ephemeral, WG_KEY_BYTES);
		wipe(next.ephemeral_private, sizeof(next.ephemeral_private));
		take_transcript(&next, &t);
		peer->handshake = next;
	}
	wipe(key, sizeof(key));
	wipe(&t, sizeof(t));
	wipe(&next, sizeof(next));
	return ok ? WG_ACCEPTED : WG_BAD_RESPONSE;
}

void noise_derive_keys(struct noise_handshake *handshake, uint8_t send_key[WG_KEY_BYTES],
	uint8_t receive_key[WG_KEY_BYTES])
{
	bool initiator = handshake->state == NOISE_RESPONSE_ACCEPTED;
	uint8_t no_key[WG_KEY_BYTES];

	assert(initiator || handshake->state == NOISE_RESPONSE_SENT);
	/* The first key is the initiator's to send with. */
	kdf_blake2s(initiator ? send_key : receive_key, initiator ? receive_key : send_key, NULL,
		handshake->chaining_key, WG_KEY_BYTES, NULL, 0);
	noise_handshake_wipe(handshake);
	/* The hash library leaves its last output on the stack. Let that be no key. */
	kdf_blake2s(no_key, no_key, NULL, NULL, 0, NULL, 0);
}

/* C := Hash(Construction); H := Hash(Hash(C || Identifier) || responder's public key) */
static void transcript_begin(struct transcript *t, const uint8_t responder_public[WG_KEY_BYTES])
{
	blake2s_hash2(t->chaining_key, WG_CONSTRUCTION, strlen(WG_CONSTRUCTION), NULL, 0);
	blake2s_hash2(t->hash, t->chaining_key, WG_KEY_BYTES, WG_IDENTIFIER, strlen(WG_IDENTIFIER));
	mix_hash(t, responder_public, WG_KEY_BYTES);
}

static void mix_hash(struct transcript *t, const void *data, size_t len)
{
	blake2s_hash2(t->hash, t->hash, WG_KEY_BYTES, data, len);
}

static void mix_ephemeral(struct transcript *t, const uint8_t public_key[WG_KEY_BYTES])
{
	mix_key(t, NULL, public_key);
	mix_hash(t, public_key, WG_KEY_BYTES);
}

/* (C, key) := Kdf2(C, shared), or with key NULL: C := Kdf1(C, shared) */
static void mix_key(struct transcript *t, uint8_t *key, const uint8_t shared[WG_KEY_BYTES])
{
	kdf_blake2s(
		t->chaining_key, key, NULL, t->chaining_key, WG_KEY_BYTES, shared, WG_KEY_BYTES);
}

/* mix_key() with a Diffie-Hellman result; false when that is zero. */
static bool mix_dh(struct transcript *t, uint8_t *key, const uint8_t private_key[WG_KEY_BYTES],
	const uint8_t public_key[WG_KEY_BYTES])
{
	uint8_t shared[WG_KEY_BYTES];
	bool ok = x25519_shared(shared, private_key, public_key);

	if (ok)
		mix_key(t, key, shared);
	wipe(shared, sizeof(shared));
	return ok;
}

/* (C, tau, key) := Kdf3(C, Q); H := Hash(H || tau). Without a preshared key Q is zero. */
static void mix_preshared_key(
	struct transcript *t, uint8_t key[WG_KEY_BYTES], const uint8_t preshared_key[WG_KEY_BYTES])
{
	uint8_t tau[WG_KEY_BYTES];

	kdf_blake2s(t->chaining_key, tau, key, t->chaining_key, WG_KEY_BYTES, preshared_key,
		WG_KEY_BYTES);
	mix_hash(t, tau, sizeof(tau));
	wipe(tau, sizeof(tau));
}

/* Seals under the hash so far, and hashes what came out. */
static void seal_hashed(struct transcript *t, uint8_t *dst, const void *src, size_t len,
	const uint8_t key[WG_KEY_BYTES])
{
	aead_seal(dst, src, len, t->hash, WG_KEY_BYTES, 0, key);
	mix_hash(t, dst, len + WG_TAG_BYTES);
}

static bool open_hashed(struct transcript *t, void *dst, const uint8_t *src, size_t len,
	const uint8_t key[WG_KEY_BYTES])
{
	if (!aead_open(dst, src, len, t->hash, WG_KEY_BYTES, 0, key))
		return false;
	mix_hash(t, src, len);
	return true;
}

static void take_transcript(struct noise_handshake *handshake, const struct transcript *t)
{
	memcpy(handshake->hash, t->hash, sizeof(handshake->hash));
	memcpy(handshake->chaining_key, t->chaining_key, sizeof(handshake->chaining_key));
}
