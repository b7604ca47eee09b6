/* SPDX-License-Identifier: BSD-3-Clause */
/* The handshake: recorded ones rebuilt bit for bit, and two sides in memory. */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include <sodium.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/blake2s.h"
#include "crypto/wipe.h"
#include "crypto/x25519.h"
#include "vectors.h"
#include "wg/cookie.h"
#include "wg/noise.h"
#include "wg/tai64n.h"

#define START_NS (1000 * NS_PER_SEC)

/* One end: an interface with one peer. */
struct side {
	struct noise_identity identity;
	struct noise_peer peer;
	struct cookie_checker checker;
	struct cookie_jar jar;
};

static const struct endpoint nowhere = {.addr = {.family = IP_V4}};

static void side_init(struct side *side, const uint8_t private_key[WG_KEY_BYTES],
	const uint8_t peer_public[WG_KEY_BYTES], const uint8_t preshared_key[WG_KEY_BYTES])
{
	memset(side, 0, sizeof(*side));
	noise_identity_set(&side->identity, private_key);
	noise_peer_init(&side->peer, &side->identity, peer_public);
	if (preshared_key)
		memcpy(side->peer.preshared_key, preshared_key, WG_KEY_BYTES);
	cookie_checker_init(&side->checker, side->identity.public_key);
	cookie_jar_init(&side->jar, peer_public);
}

/* Two ends that know each other; keys from a seed, so that a failure comes again. */
static void pair_init(struct side *a, struct side *b, const uint8_t preshared_key[WG_KEY_BYTES])
{
	struct noise_identity identity_a, identity_b;
	uint8_t key[WG_KEY_BYTES];

	memset(key, 0xa1, sizeof(key));
	noise_identity_set(&identity_a, key);
	memset(key, 0xb2, sizeof(key));
	noise_identity_set(&identity_b, key);
	side_init(a, identity_a.private_key, identity_b.public_key, preshared_key);
	side_init(b, identity_b.private_key, identity_a.public_key, preshared_key);
}

static void initiate_at(
	struct side *side, uint32_t index, uint64_t wall_ns, struct wg_msg_initiation *out)
{
	uint8_t ephemeral[WG_KEY_BYTES], timestamp[WG_TIMESTAMP_BYTES];

	memset(ephemeral, (int)(index & 0xff) + 1, sizeof(ephemeral));
	tai64n_from_wall(timestamp, wall_ns);
	memset(out, 0xee, sizeof(*out));
	assert_true(noise_create_initiation(
		&side->peer, &side->identity, index, ephemeral, timestamp, out));
	cookie_add_macs(&side->jar, out, sizeof(*out), START_NS);
}

static void initiate(struct side *side, uint32_t index, struct wg_msg_initiation *out)
{
	initiate_at(side, index, START_NS, out);
}

static enum wg_verdict receive_initiation(
	struct side *side, const struct wg_msg_initiation *msg, uint64_t now_ns)
{
	struct noise_opened_initiation opened;
	enum wg_verdict verdict;

	if (wg_message_type_of(msg, sizeof(*msg)) != WG_MSG_INITIATION)
		return WG_BAD_MESSAGE;
	if (cookie_check_macs(&side->checker, msg, sizeof(*msg), &nowhere, false, now_ns) ==
		COOKIE_MAC_INVALID)
		return WG_BAD_MAC1;
	verdict = noise_open_initiation(&opened, &side->identity, msg);
	if (verdict != WG_ACCEPTED)
		return verdict;
	if (memcmp(opened.remote_static, side->peer.public_key, WG_KEY_BYTES) != 0)
		return WG_UNKNOWN_PEER;
	verdict = noise_accept_initiation(&side->peer, &opened, msg, now_ns);
	assert_true(is_zero_ct(&opened, sizeof(opened)));
	return verdict;
}

static void respond(struct side *side, uint32_t index, struct wg_msg_response *out)
{
	uint8_t ephemeral[WG_KEY_BYTES];

	memset(ephemeral, (int)(index & 0xff) + 0x40, sizeof(ephemeral));
	memset(out, 0xee, sizeof(*out));
	assert_true(noise_create_response(&side->peer, index, ephemeral, out));
	cookie_add_macs(&side->jar, out, sizeof(*out), START_NS);
}

static enum wg_verdict receive_response(struct side *side, const struct wg_msg_response *msg)
{
	if (wg_message_type_of(msg, sizeof(*msg)) != WG_MSG_RESPONSE)
		return WG_BAD_MESSAGE;
	if (cookie_check_macs(&side->checker, msg, sizeof(*msg), &nowhere, false, START_NS) ==
		COOKIE_MAC_INVALID)
		return WG_BAD_MAC1;
	if (le32toh(msg->receiver_le) != side->peer.handshake.local_index)
		return WG_UNKNOWN_INDEX;
	return noise_accept_response(&side->peer, &side->identity, msg);
}

/* Both ends finish: their keys must be each other's. */
static void finish(struct side *initiator, struct side *responder)
{
	uint8_t i_send[WG_KEY_BYTES], i_receive[WG_KEY_BYTES];
	uint8_t r_send[WG_KEY_BYTES], r_receive[WG_KEY_BYTES];

	noise_derive_keys(&initiator->peer.handshake, i_send, i_receive);
	noise_derive_keys(&responder->peer.handshake, r_send, r_receive);
	assert_memory_equal(i_send, r_receive, WG_KEY_BYTES);
	assert_memory_equal(i_receive, r_send, WG_KEY_BYTES);
	assert_memory_not_equal(i_send, i_receive, WG_KEY_BYTES);
	assert_true(is_zero_ct(&initiator->peer.handshake, sizeof(struct noise_handshake)));
	assert_true(is_zero_ct(&responder->peer.handshake, sizeof(struct noise_handshake)));
}

/* --- Recorded handshakes --- */

struct recorded_session {
	uint32_t receiver_index[2];   /* [0] the initiator's */
	uint8_t key[2][WG_KEY_BYTES]; /* of packets to [0] the initiator, [1] the responder */
	bool mine;
};

/* The tunnel's MTU when it was recorded: padding does not go beyond it. */
#define RECORDED_MTU 1420

/* A padded IP packet, or nothing. */
static void check_inner(const uint8_t *inner, size_t len)
{
	size_t ip_len;

	if (len == 0)
		return;
	assert_true(len % 16 == 0 || len == RECORDED_MTU);
	assert_true(len >= 20);
	assert_int_equal(inner[0] >> 4, 4);
	ip_len = load_be16(inner + 2);
	assert_in_range(ip_len, 20, len);
	assert_true(len - ip_len < 16);
	for (size_t i = ip_len; i < len; i++)
		assert_int_equal(inner[i], 0);
}

static void open_recorded_data(const struct recorded_session *sessions, size_t count,
	const struct vector_datagram *datagram)
{
	const struct wg_msg_data *header = (const struct wg_msg_data *)datagram->data;
	size_t sealed_len = datagram->len - sizeof(*header);
	uint8_t inner[2048];

	for (size_t i = 0; i < count; i++) {
		for (unsigned to = 0; to < 2; to++) {
			if (!sessions[i].mine ||
				sessions[i].receiver_index[to] != le32toh(header->receiver_le))
				continue;
			assert_true(sealed_len <= sizeof(inner));
			assert_true(aead_open(inner, datagram->data + sizeof(*header), sealed_len,
				NULL, 0, le64toh(header->counter_le), sessions[i].key[to]));
			check_inner(inner, sealed_len - WG_TAG_BYTES);
			return;
		}
	}
	fail_msg("data for no recorded session");
}

/* The n-th message of a type in a recording. */
static const void *recorded_message(
	const struct vector_capture *capture, enum wg_message_type type, size_t n)
{
	for (size_t i = 0; i < capture->count; i++) {
		const struct vector_datagram *datagram = &capture->datagrams[i];

		if (wg_message_type_of(datagram->data, datagram->len) == type && n-- == 0)
			return datagram->data;
	}
	fail_msg("a message is missing in the recording");
	return NULL;
}

static void rebuild_handshake(const struct vector_keys *keys, const struct vector_handshake *vector,
	const struct vector_capture *capture, struct recorded_session *session)
{
	const struct wg_msg_initiation *initiation =
		recorded_message(capture, WG_MSG_INITIATION, vector->n);
	const struct wg_msg_response *response =
		recorded_message(capture, WG_MSG_RESPONSE, vector->n);
	struct wg_msg_initiation my_initiation;
	struct wg_msg_response my_response;
	struct side sides[2], *i, *r;

	for (unsigned s = 0; s < 2; s++) {
		side_init(&sides[s], keys->static_private[s], keys->static_public[!s],
			vector->preshared_key);
		assert_memory_equal(
			sides[s].identity.public_key, keys->static_public[s], WG_KEY_BYTES);
	}
	r = &sides[1];
	if (cookie_check_macs(&r->checker, initiation, sizeof(*initiation), &nowhere, false,
		    START_NS) == COOKIE_MAC_INVALID)
		r = &sides[0];
	i = r == &sides[0] ? &sides[1] : &sides[0];

	assert_int_equal(receive_initiation(r, initiation, START_NS), WG_ACCEPTED);
	assert_true(noise_create_initiation(&i->peer, &i->identity, le32toh(initiation->sender_le),
		vector->initiator_ephemeral, r->peer.latest_timestamp, &my_initiation));
	cookie_add_macs(&i->jar, &my_initiation, sizeof(my_initiation), START_NS);
	assert_memory_equal(&my_initiation, initiation, sizeof(*initiation));

	assert_true(noise_create_response(
		&r->peer, le32toh(response->sender_le), vector->responder_ephemeral, &my_response));
	cookie_add_macs(&r->jar, &my_response, sizeof(my_response), START_NS);
	assert_memory_equal(&my_response, response, sizeof(*response));
	assert_int_equal(receive_response(i, response), WG_ACCEPTED);

	session->mine = true;
	session->receiver_index[0] = i->peer.handshake.local_index;
	session->receiver_index[1] = r->peer.handshake.local_index;
	noise_derive_keys(&i->peer.handshake, session->key[1], session->key[0]);
	uint8_t to_initiator[WG_KEY_BYTES], to_responder[WG_KEY_BYTES];
	noise_derive_keys(&r->peer.handshake, to_initiator, to_responder);
	assert_memory_equal(to_initiator, session->key[0], WG_KEY_BYTES);
	assert_memory_equal(to_responder, session->key[1], WG_KEY_BYTES);
}

static void test_recorded_handshakes(void **state)
{
	static const char *const captures[] = {"wireguard-ping-tcp.pcap", "wireguard-psk.pcap"};
	struct vector_keys keys;
	size_t rebuilt = 0, opened = 0;

	(void)state;
	vector_keys_load(&keys);
	for (size_t c = 0; c < sizeof(captures) / sizeof(captures[0]); c++) {
		struct recorded_session sessions[VECTOR_HANDSHAKES_MAX] = {0};
		struct vector_capture capture;

		vector_capture_load(&capture, captures[c]);
		for (size_t i = 0; i < keys.count; i++) {
			if (strcmp(keys.handshakes[i].capture, captures[c]) != 0)
				continue;
			rebuild_handshake(&keys, &keys.handshakes[i], &capture, &sessions[i]);
			rebuilt++;
		}
		for (size_t i = 0; i < capture.count; i++) {
			const struct vector_datagram *datagram = &capture.datagrams[i];

			if (wg_message_type_of(datagram->data, datagram->len) != WG_MSG_DATA)
				continue;
			open_recorded_data(sessions, VECTOR_HANDSHAKES_MAX, datagram);
			opened++;
		}
		vector_capture_free(&capture);
	}
	/* None was left out: 26 recorded messages, 8 of them of handshakes. */
	assert_int_equal(rebuilt, 4);
	assert_int_equal(opened, 18);
}

/* --- Two ends --- */

static void run_handshake(const uint8_t preshared_key[WG_KEY_BYTES])
{
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;
	struct side a, b;

	pair_init(&a, &b, preshared_key);
	initiate(&a, 0x11223344, &initiation);
	assert_int_equal(a.peer.handshake.state, NOISE_INITIATION_SENT);
	assert_int_equal(a.peer.handshake.local_index, 0x11223344);
	assert_int_equal(le32toh(initiation.sender_le), 0x11223344);

	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
	assert_int_equal(b.peer.handshake.state, NOISE_INITIATION_ACCEPTED);
	assert_int_equal(b.peer.handshake.remote_index, 0x11223344);
	assert_int_equal(b.peer.latest_initiation_ns, START_NS);

	respond(&b, 0x55667788, &response);
	assert_int_equal(b.peer.handshake.state, NOISE_RESPONSE_SENT);
	assert_int_equal(b.peer.handshake.local_index, 0x55667788);
	assert_int_equal(le32toh(response.receiver_le), 0x11223344);

	assert_int_equal(receive_response(&a, &response), WG_ACCEPTED);
	assert_int_equal(a.peer.handshake.state, NOISE_RESPONSE_ACCEPTED);
	assert_int_equal(a.peer.handshake.remote_index, 0x55667788);
	assert_true(is_zero_ct(a.peer.handshake.ephemeral_private, WG_KEY_BYTES));
	finish(&a, &b);
}

static void test_handshake(void **state)
{
	uint8_t preshared_key[WG_KEY_BYTES];

	(void)state;
	run_handshake(NULL);
	memset(preshared_key, 0x77, sizeof(preshared_key));
	run_handshake(preshared_key);
}

/* The keys of two handshakes, or of one with and without a preshared key, have nothing in common.
 */
static void test_keys_are_fresh(void **state)
{
	uint8_t keys[6][WG_KEY_BYTES], preshared_key[WG_KEY_BYTES] = {1};
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;
	struct side a, b;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		pair_init(&a, &b, i == 2 ? preshared_key : NULL);
		initiate(&a, i == 1 ? 9 : 8, &initiation);
		assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
		respond(&b, 7, &response);
		assert_int_equal(receive_response(&a, &response), WG_ACCEPTED);
		noise_derive_keys(&a.peer.handshake, keys[2 * i], keys[2 * i + 1]);
	}
	for (unsigned i = 0; i < 6; i++)
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(keys[i], keys[j], WG_KEY_BYTES);
}

static void test_preshared_key_mismatch(void **state)
{
	uint8_t preshared_key[WG_KEY_BYTES] = {1};
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	memcpy(b.peer.preshared_key, preshared_key, WG_KEY_BYTES);
	initiate(&a, 1, &initiation);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
	respond(&b, 2, &response);
	before = a.peer;
	assert_int_equal(receive_response(&a, &response), WG_BAD_RESPONSE);
	assert_memory_equal(&a.peer, &before, sizeof(before));

	/* The handshake is still open: with the right key the same response is accepted. */
	memcpy(a.peer.preshared_key, preshared_key, WG_KEY_BYTES);
	assert_int_equal(receive_response(&a, &response), WG_ACCEPTED);
	finish(&a, &b);
}

/* --- What must be rejected, and leave no trace --- */

/* mac2 is all that may be altered: without load nobody looks at it. */
static bool is_mac2_bit(size_t bit, size_t len)
{
	return bit / 8 >= len - WG_MAC_BYTES;
}

static void test_initiation_bit_flips(void **state)
{
	struct wg_msg_initiation initiation, flipped;
	struct noise_opened_initiation opened;
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate(&a, 1, &initiation);
	before = b.peer;
	for (size_t bit = 0; bit < 8 * sizeof(initiation); bit++) {
		enum wg_verdict verdict;

		if (is_mac2_bit(bit, sizeof(initiation)))
			continue;
		flipped = initiation;
		((uint8_t *)&flipped)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		verdict = receive_initiation(&b, &flipped, START_NS);
		assert_true(verdict == WG_BAD_MESSAGE || verdict == WG_BAD_MAC1);

		/* And with a right mac1, which anybody can make who knows the public key. */
		cookie_add_macs(&a.jar, &flipped, sizeof(flipped), START_NS);
		if (bit / 8 >= offsetof(struct wg_msg_initiation, ephemeral) &&
			bit / 8 < offsetof(struct wg_msg_initiation, macs)) {
			/* The top bit of a Curve25519 point is ignored, but hashed all the same. */
			verdict = noise_open_initiation(&opened, &b.identity, &flipped);
			if (bit / 8 < offsetof(struct wg_msg_initiation, timestamp_sealed)) {
				assert_int_equal(verdict, WG_BAD_STATIC);
				assert_true(is_zero_ct(&opened, sizeof(opened)));
			} else {
				assert_int_equal(
					receive_initiation(&b, &flipped, START_NS), WG_BAD_STATIC);
			}
		}
		assert_memory_equal(&b.peer, &before, sizeof(before));
	}
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
}

static void test_response_bit_flips(void **state)
{
	struct wg_msg_initiation initiation;
	struct wg_msg_response response, flipped;
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate(&a, 1, &initiation);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
	respond(&b, 2, &response);
	before = a.peer;
	for (size_t bit = 0; bit < 8 * sizeof(response); bit++) {
		enum wg_verdict verdict;

		if (is_mac2_bit(bit, sizeof(response)))
			continue;
		flipped = response;
		((uint8_t *)&flipped)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		verdict = receive_response(&a, &flipped);
		assert_true(verdict == WG_BAD_MESSAGE || verdict == WG_BAD_MAC1);

		cookie_add_macs(&b.jar, &flipped, sizeof(flipped), START_NS);
		if (bit / 8 >= offsetof(struct wg_msg_response, ephemeral) &&
			bit / 8 < offsetof(struct wg_msg_response, macs))
			assert_int_equal(receive_response(&a, &flipped), WG_BAD_RESPONSE);
		assert_memory_equal(&a.peer, &before, sizeof(before));
	}
	assert_int_equal(receive_response(&a, &response), WG_ACCEPTED);
	finish(&a, &b);
}

static void test_initiation_replay(void **state)
{
	struct wg_msg_initiation first, second, older;
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate_at(&a, 1, START_NS, &first);
	initiate_at(&a, 2, START_NS + NS_PER_SEC, &second);
	initiate_at(&a, 3, START_NS - NS_PER_SEC, &older);

	assert_int_equal(receive_initiation(&b, &first, START_NS), WG_ACCEPTED);
	before = b.peer;
	/* The same label, an older one; however late, and within 20 ms too. */
	assert_int_equal(receive_initiation(&b, &first, START_NS), WG_REPLAYED);
	assert_int_equal(receive_initiation(&b, &first, START_NS + 3600 * NS_PER_SEC), WG_REPLAYED);
	assert_int_equal(receive_initiation(&b, &older, START_NS + 3600 * NS_PER_SEC), WG_REPLAYED);
	assert_memory_equal(&b.peer, &before, sizeof(before));
	assert_int_equal(receive_initiation(&b, &second, START_NS + NS_PER_SEC), WG_ACCEPTED);
	assert_int_equal(receive_initiation(&b, &first, START_NS + 2 * NS_PER_SEC), WG_REPLAYED);
	assert_int_equal(b.peer.handshake.remote_index, 2);
}

static void test_initiation_flood(void **state)
{
	const uint64_t interval = WG_INITIATION_INTERVAL_NS;
	struct wg_msg_initiation messages[4];
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	for (unsigned i = 0; i < 4; i++)
		initiate_at(&a, i, START_NS + i * NS_PER_SEC, &messages[i]);
	assert_int_equal(receive_initiation(&b, &messages[0], START_NS), WG_ACCEPTED);
	before = b.peer;
	assert_int_equal(receive_initiation(&b, &messages[1], START_NS), WG_FLOODED);
	assert_int_equal(receive_initiation(&b, &messages[1], START_NS + interval - 1), WG_FLOODED);
	assert_memory_equal(&b.peer, &before, sizeof(before));
	/* Refused ones do not prolong it. */
	assert_int_equal(receive_initiation(&b, &messages[1], START_NS + interval), WG_ACCEPTED);
	/* A clock that goes backwards, even to its start, locks nobody out. */
	assert_int_equal(receive_initiation(&b, &messages[2], 0), WG_ACCEPTED);
	assert_int_equal(b.peer.latest_initiation_ns, 1);
	assert_int_equal(receive_initiation(&b, &messages[3], interval), WG_FLOODED);
	assert_int_equal(receive_initiation(&b, &messages[3], interval + 1), WG_ACCEPTED);
}

static void test_response_unasked(void **state)
{
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate(&a, 1, &initiation);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
	respond(&b, 2, &response);

	/* In every state but INITIATION_SENT, also where the rest would fit. */
	for (enum noise_state s = NOISE_NONE; s <= NOISE_RESPONSE_ACCEPTED; s++) {
		if (s == NOISE_INITIATION_SENT)
			continue;
		before = a.peer;
		a.peer.handshake.state = s;
		assert_int_equal(
			noise_accept_response(&a.peer, &a.identity, &response), WG_BAD_RESPONSE);
		a.peer.handshake.state = NOISE_INITIATION_SENT;
		assert_memory_equal(&a.peer, &before, sizeof(before));
	}
	assert_int_equal(receive_response(&a, &response), WG_ACCEPTED);
	before = a.peer;
	assert_int_equal(receive_response(&a, &response), WG_BAD_RESPONSE);
	assert_memory_equal(&a.peer, &before, sizeof(before));
	finish(&a, &b);
}

/* A response to an initiation that has been superseded. */
static void test_response_late(void **state)
{
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate(&a, 1, &initiation);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
	respond(&b, 2, &response);
	initiate_at(&a, 3, START_NS + NS_PER_SEC, &initiation);
	assert_int_equal(noise_accept_response(&a.peer, &a.identity, &response), WG_BAD_RESPONSE);
	assert_int_equal(a.peer.handshake.state, NOISE_INITIATION_SENT);
	assert_int_equal(a.peer.handshake.local_index, 3);
}

/* Both begin at once: each may answer the other's initiation in place of its own. */
static void test_initiations_cross(void **state)
{
	struct wg_msg_initiation from_a, from_b;
	struct wg_msg_response response;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate(&a, 1, &from_a);
	initiate(&b, 2, &from_b);
	assert_int_equal(receive_initiation(&a, &from_b, START_NS), WG_ACCEPTED);
	assert_int_equal(a.peer.handshake.local_index, 0);
	assert_true(is_zero_ct(a.peer.handshake.ephemeral_private, WG_KEY_BYTES));
	respond(&a, 3, &response);
	assert_int_equal(receive_response(&b, &response), WG_ACCEPTED);
	finish(&b, &a);
}

/* An initiation of somebody else, made for us: known by its key only. */
static void test_other_peers(void **state)
{
	struct wg_msg_initiation initiation;
	struct noise_opened_initiation opened;
	struct noise_identity nobody;
	struct side a, b, stranger;
	uint8_t key[WG_KEY_BYTES] = {5};

	(void)state;
	pair_init(&a, &b, NULL);
	side_init(&stranger, key, b.identity.public_key, NULL);
	initiate(&stranger, 1, &initiation);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_UNKNOWN_PEER);
	/* For b, thus not for a; and for nobody without a key. */
	assert_int_equal(receive_initiation(&a, &initiation, START_NS), WG_BAD_MAC1);
	assert_int_equal(noise_open_initiation(&opened, &a.identity, &initiation), WG_BAD_STATIC);
	noise_identity_set(&nobody, NULL);
	assert_int_equal(noise_open_initiation(&opened, &nobody, &initiation), WG_NO_KEY);
	assert_true(is_zero_ct(&opened, sizeof(opened)));

	/* Claims to be a, but lacks a's private key: the timestamp does not open. */
	memcpy(stranger.identity.public_key, a.identity.public_key, WG_KEY_BYTES);
	initiate(&stranger, 1, &initiation);
	assert_int_equal(noise_open_initiation(&opened, &b.identity, &initiation), WG_ACCEPTED);
	assert_memory_equal(opened.remote_static, a.identity.public_key, WG_KEY_BYTES);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_BAD_STATIC);
	assert_int_equal(b.peer.handshake.state, NOISE_NONE);
}

/* --- Keys --- */

/* The points of small order, canonical or not, with the ignored top bit clear. */
static const uint8_t low_order[][WG_KEY_BYTES] = {
	{0},
	{1},
	{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
		0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f,
		0x49, 0xb8, 0x00},
	{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
		0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0,
		0x9f, 0x11, 0x57},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0x7f},
	{0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0x7f},
	{0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0x7f},
};
#define LOW_ORDER_COUNT (sizeof(low_order) / sizeof(low_order[0]))

static void test_low_order_static(void **state)
{
	struct wg_msg_initiation initiation;
	const uint8_t ephemeral[WG_KEY_BYTES] = {3}, timestamp[WG_TIMESTAMP_BYTES] = {0x40};
	struct side a, b, forger;

	(void)state;
	pair_init(&a, &b, NULL);
	for (size_t i = 0; i < LOW_ORDER_COUNT; i++) {
		noise_peer_init(&b.peer, &b.identity, low_order[i]);
		assert_false(b.peer.reachable);
		assert_true(is_zero_ct(b.peer.static_static, WG_KEY_BYTES));
		assert_false(noise_create_initiation(
			&b.peer, &b.identity, 1, ephemeral, timestamp, &initiation));
		assert_int_equal(b.peer.handshake.state, NOISE_NONE);

		/* The static-static of such a key is no secret: anybody could speak for it. */
		forger = a;
		memcpy(forger.identity.public_key, low_order[i], WG_KEY_BYTES);
		memset(forger.peer.static_static, 0, WG_KEY_BYTES);
		initiate(&forger, 1, &initiation);
		assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_BAD_STATIC);
		assert_int_equal(b.peer.handshake.state, NOISE_NONE);
	}
}

static void test_low_order_ephemeral(void **state)
{
	struct wg_msg_initiation initiation, forged;
	struct wg_msg_response response;
	struct noise_opened_initiation opened;
	struct noise_peer before;
	const uint8_t ephemeral[WG_KEY_BYTES] = {3};
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate(&a, 1, &initiation);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
	for (size_t i = 0; i < LOW_ORDER_COUNT; i++) {
		forged = initiation;
		memcpy(forged.ephemeral, low_order[i], WG_KEY_BYTES);
		assert_int_equal(
			noise_open_initiation(&opened, &b.identity, &forged), WG_BAD_STATIC);
		assert_true(is_zero_ct(&opened, sizeof(opened)));

		struct side responder = b;
		memcpy(responder.peer.handshake.remote_ephemeral, low_order[i], WG_KEY_BYTES);
		before = responder.peer;
		assert_false(noise_create_response(&responder.peer, 2, ephemeral, &response));
		assert_memory_equal(&responder.peer, &before, sizeof(before));
	}
	respond(&b, 2, &response);
	before = a.peer;
	for (size_t i = 0; i < LOW_ORDER_COUNT; i++) {
		struct wg_msg_response bad = response;

		memcpy(bad.ephemeral, low_order[i], WG_KEY_BYTES);
		assert_int_equal(
			noise_accept_response(&a.peer, &a.identity, &bad), WG_BAD_RESPONSE);
		assert_memory_equal(&a.peer, &before, sizeof(before));
	}
	assert_int_equal(receive_response(&a, &response), WG_ACCEPTED);
	finish(&a, &b);
}

/* What a forger makes of a public key with which every shared secret is zero, by the formulas. */
static void forge_initiation(struct wg_msg_initiation *out, const struct side *to,
	const uint8_t ephemeral[WG_KEY_BYTES], const uint8_t claimed[WG_KEY_BYTES])
{
	const uint8_t zero[WG_KEY_BYTES] = {0};
	uint8_t chaining_key[WG_KEY_BYTES], hash[WG_KEY_BYTES], key[WG_KEY_BYTES];

	memset(out, 0, sizeof(*out));
	memcpy(out->ephemeral, ephemeral, WG_KEY_BYTES);
	blake2s_hash2(chaining_key, WG_CONSTRUCTION, strlen(WG_CONSTRUCTION), NULL, 0);
	blake2s_hash2(hash, chaining_key, WG_KEY_BYTES, WG_IDENTIFIER, strlen(WG_IDENTIFIER));
	blake2s_hash2(hash, hash, WG_KEY_BYTES, to->identity.public_key, WG_KEY_BYTES);
	kdf_blake2s(chaining_key, NULL, NULL, chaining_key, WG_KEY_BYTES, ephemeral, WG_KEY_BYTES);
	blake2s_hash2(hash, hash, WG_KEY_BYTES, ephemeral, WG_KEY_BYTES);
	kdf_blake2s(chaining_key, key, NULL, chaining_key, WG_KEY_BYTES, zero, WG_KEY_BYTES);
	aead_seal(out->static_sealed, claimed, WG_KEY_BYTES, hash, WG_KEY_BYTES, 0, key);
}

static void forge_response(struct wg_msg_response *out, const struct noise_handshake *handshake,
	const uint8_t ephemeral[WG_KEY_BYTES])
{
	const uint8_t zero[WG_KEY_BYTES] = {0};
	uint8_t chaining_key[WG_KEY_BYTES], hash[WG_KEY_BYTES], key[WG_KEY_BYTES];
	uint8_t tau[WG_KEY_BYTES];

	memset(out, 0, sizeof(*out));
	memcpy(out->ephemeral, ephemeral, WG_KEY_BYTES);
	kdf_blake2s(chaining_key, NULL, NULL, handshake->chaining_key, WG_KEY_BYTES, ephemeral,
		WG_KEY_BYTES);
	blake2s_hash2(hash, handshake->hash, WG_KEY_BYTES, ephemeral, WG_KEY_BYTES);
	kdf_blake2s(chaining_key, NULL, NULL, chaining_key, WG_KEY_BYTES, zero, WG_KEY_BYTES);
	kdf_blake2s(chaining_key, NULL, NULL, chaining_key, WG_KEY_BYTES, zero, WG_KEY_BYTES);
	kdf_blake2s(chaining_key, tau, key, chaining_key, WG_KEY_BYTES, zero, WG_KEY_BYTES);
	blake2s_hash2(hash, hash, WG_KEY_BYTES, tau, WG_KEY_BYTES);
	aead_seal(out->empty_sealed, NULL, 0, hash, WG_KEY_BYTES, 0, key);
}

/* Right in all but that it rests on shared secrets of zero. */
static void test_zero_shared_secret(void **state)
{
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;
	struct noise_opened_initiation opened;
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, NULL);
	initiate(&a, 1, &initiation);
	before = a.peer;
	for (size_t i = 0; i < LOW_ORDER_COUNT; i++) {
		forge_initiation(&initiation, &b, low_order[i], a.identity.public_key);
		assert_int_equal(
			noise_open_initiation(&opened, &b.identity, &initiation), WG_BAD_STATIC);
		assert_true(is_zero_ct(&opened, sizeof(opened)));

		forge_response(&response, &a.peer.handshake, low_order[i]);
		assert_int_equal(
			noise_accept_response(&a.peer, &a.identity, &response), WG_BAD_RESPONSE);
		assert_memory_equal(&a.peer, &before, sizeof(before));
	}
}

static void test_identity(void **state)
{
	struct noise_identity identity;
	uint8_t key[WG_KEY_BYTES], clamped[WG_KEY_BYTES], public_key[WG_KEY_BYTES];

	(void)state;
	memset(key, 0xff, sizeof(key));
	memset(clamped, 0xff, sizeof(clamped));
	clamped[0] = 0xf8;
	clamped[31] = 0x7f;
	memset(&identity, 0xee, sizeof(identity));
	noise_identity_set(&identity, key);
	assert_true(identity.set);
	assert_memory_equal(identity.private_key, clamped, WG_KEY_BYTES);
	crypto_scalarmult_base(public_key, key);
	assert_memory_equal(identity.public_key, public_key, WG_KEY_BYTES);

	/* Its own key again. */
	noise_identity_set(&identity, identity.private_key);
	assert_true(identity.set);
	assert_memory_equal(identity.private_key, clamped, WG_KEY_BYTES);

	noise_identity_set(&identity, NULL);
	assert_true(is_zero_ct(&identity, sizeof(identity)));
	noise_identity_set(&identity, key);
	memset(key, 0, sizeof(key));
	noise_identity_set(&identity, key);
	assert_true(is_zero_ct(&identity, sizeof(identity)));
}

static void test_static_static(void **state)
{
	struct wg_msg_initiation initiation;
	const uint8_t ephemeral[WG_KEY_BYTES] = {3}, timestamp[WG_TIMESTAMP_BYTES] = {0x40};
	uint8_t shared[WG_KEY_BYTES], key[WG_KEY_BYTES] = {9}, preshared_key[WG_KEY_BYTES] = {7};
	struct noise_peer before;
	struct side a, b;

	(void)state;
	pair_init(&a, &b, preshared_key);
	assert_true(a.peer.reachable);
	assert_memory_equal(a.peer.static_static, b.peer.static_static, WG_KEY_BYTES);
	assert_int_equal(
		crypto_scalarmult(shared, a.identity.private_key, b.identity.public_key), 0);
	assert_memory_equal(a.peer.static_static, shared, WG_KEY_BYTES);

	/* A changed identity: new static-static, no handshake, all else kept. */
	initiate(&a, 1, &initiation);
	assert_int_equal(receive_initiation(&b, &initiation, START_NS), WG_ACCEPTED);
	before = b.peer;
	noise_identity_set(&b.identity, key);
	noise_peer_rekey_static(&b.peer, &b.identity);
	assert_int_equal(crypto_scalarmult(shared, key, a.identity.public_key), 0);
	assert_memory_equal(b.peer.static_static, shared, WG_KEY_BYTES);
	assert_true(is_zero_ct(&b.peer.handshake, sizeof(b.peer.handshake)));
	memset(&before.handshake, 0, sizeof(before.handshake));
	memcpy(before.static_static, shared, WG_KEY_BYTES);
	assert_memory_equal(&b.peer, &before, sizeof(before));

	/* None: nobody is reachable. */
	noise_identity_set(&b.identity, NULL);
	noise_peer_rekey_static(&b.peer, &b.identity);
	assert_false(b.peer.reachable);
	assert_true(is_zero_ct(b.peer.static_static, WG_KEY_BYTES));
	assert_false(noise_create_initiation(
		&b.peer, &b.identity, 1, ephemeral, timestamp, &initiation));
}

/* --- Secrets do not outlive their call --- */

#define STACK_BYTES (256u << 10)

/* AddressSanitizer's own code spills registers to the stack that it instruments. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define STACK_IS_OURS false
#else
#define STACK_IS_OURS true
#endif

/* One call on a stack of its own, which can be searched afterwards. */
struct stack_call {
	void (*run)(struct stack_call *call);
	struct side *a, *b;
	struct wg_msg_initiation initiation;
	struct wg_msg_response response;
	struct noise_opened_initiation opened;
	uint8_t ephemeral[WG_KEY_BYTES];
	uint8_t send_key[WG_KEY_BYTES], receive_key[WG_KEY_BYTES];
};

static void call_create_initiation(struct stack_call *call)
{
	const uint8_t timestamp[WG_TIMESTAMP_BYTES] = {0x40};

	call->ephemeral[0] ^= 8;
	(void)!noise_create_initiation(&call->a->peer, &call->a->identity, 1, call->ephemeral,
		timestamp, &call->initiation);
}

static void call_open_initiation(struct stack_call *call)
{
	noise_open_initiation(&call->opened, &call->b->identity, &call->initiation);
}

static void call_accept_initiation(struct stack_call *call)
{
	noise_accept_initiation(&call->b->peer, &call->opened, &call->initiation, START_NS);
}

static void call_create_response(struct stack_call *call)
{
	call->ephemeral[0] ^= 16;
	(void)!noise_create_response(&call->b->peer, 2, call->ephemeral, &call->response);
}

static void call_accept_response(struct stack_call *call)
{
	noise_accept_response(&call->a->peer, &call->a->identity, &call->response);
}

static void call_derive_keys(struct stack_call *call)
{
	noise_derive_keys(&call->a->peer.handshake, call->send_key, call->receive_key);
}

static void *run_call(void *arg)
{
	struct stack_call *call = arg;
	volatile uint8_t depth[STACK_BYTES / 4];

	/* Where the end of the thread does not write over what the call left. */
	depth[0] = depth[sizeof(depth) - 1] = 0;
	call->run(call);
	depth[0] = 1;
	return NULL;
}

/* Either half of a secret is one too many. */
static void expect_absent(const uint8_t *stack, const uint8_t secret[WG_KEY_BYTES])
{
	if (is_zero_ct(secret, WG_KEY_BYTES))
		return;
	assert_null(memmem(stack, STACK_BYTES, secret, WG_KEY_BYTES / 2));
	assert_null(memmem(stack, STACK_BYTES, secret + WG_KEY_BYTES / 2, WG_KEY_BYTES / 2));
}

static void expect_clean_stack(const uint8_t *stack, const struct stack_call *call,
	const struct side *a_before, const struct side *b_before)
{
	const struct side *const sides[] = {call->a, call->b, a_before, b_before};

	for (unsigned i = 0; i < 4; i++) {
		expect_absent(stack, sides[i]->identity.private_key);
		expect_absent(stack, sides[i]->peer.static_static);
		expect_absent(stack, sides[i]->peer.preshared_key);
		expect_absent(stack, sides[i]->peer.handshake.chaining_key);
		expect_absent(stack, sides[i]->peer.handshake.ephemeral_private);
	}
	expect_absent(stack, call->opened.chaining_key);
	expect_absent(stack, call->ephemeral);
	expect_absent(stack, call->send_key);
	expect_absent(stack, call->receive_key);
}

static void run_on_own_stack(struct stack_call *call)
{
	static alignas(4096) uint8_t stack[STACK_BYTES];
	struct side a_before = *call->a, b_before = *call->b;
	pthread_attr_t attr;
	pthread_t thread;

	memset(stack, 0, sizeof(stack));
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstack(&attr, stack, STACK_BYTES), 0);
	assert_int_equal(pthread_create(&thread, &attr, run_call, call), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	if (STACK_IS_OURS)
		expect_clean_stack(stack, call, &a_before, &b_before);
}

static void test_stack_is_wiped(void **state)
{
	static void (*const calls[])(struct stack_call *) = {call_create_initiation,
		call_open_initiation, call_accept_initiation, call_create_response,
		call_accept_response, call_derive_keys};
	uint8_t key_a[WG_KEY_BYTES], key_b[WG_KEY_BYTES], preshared_key[WG_KEY_BYTES];
	struct noise_identity identity_a, identity_b;
	struct side a, b;
	struct stack_call call = {.a = &a, .b = &b};

	(void)state;
	/* Bytes that stand nowhere by chance, as a run of one value might. */
	for (unsigned i = 0; i < WG_KEY_BYTES; i++) {
		key_a[i] = (uint8_t)(0x21 + 17 * i);
		key_b[i] = (uint8_t)(0x37 + 13 * i);
		preshared_key[i] = (uint8_t)(0x12 + 19 * i);
		call.ephemeral[i] = (uint8_t)(0x48 + 11 * i);
	}
	x25519_clamp(call.ephemeral);
	noise_identity_set(&identity_a, key_a);
	noise_identity_set(&identity_b, key_b);
	side_init(&a, key_a, identity_b.public_key, preshared_key);
	side_init(&b, key_b, identity_a.public_key, preshared_key);

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		call.run = calls[i];
		run_on_own_stack(&call);
	}
	/* The handshake was done, or this shows nothing. */
	assert_int_equal(b.peer.handshake.state, NOISE_RESPONSE_SENT);
	assert_false(is_zero_ct(call.send_key, WG_KEY_BYTES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded_handshakes),
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_keys_are_fresh),
		cmocka_unit_test(test_preshared_key_mismatch),
		cmocka_unit_test(test_initiation_bit_flips),
		cmocka_unit_test(test_response_bit_flips),
		cmocka_unit_test(test_initiation_replay),
		cmocka_unit_test(test_initiation_flood),
		cmocka_unit_test(test_response_unasked),
		cmocka_unit_test(test_response_late),
		cmocka_unit_test(test_initiations_cross),
		cmocka_unit_test(test_other_peers),
		cmocka_unit_test(test_low_order_static),
		cmocka_unit_test(test_low_order_ephemeral),
		cmocka_unit_test(test_zero_shared_secret),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_static_static),
		cmocka_unit_test(test_stack_is_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
