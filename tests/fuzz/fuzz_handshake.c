/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: two ends with fixed keys exchange handshake messages as the input says: true ones,
 * altered ones, or any bytes at all. What must hold whatever comes:
 * - a message that is not accepted changes nothing of the peer or of its cookie;
 * - a message altered where it is authenticated is never accepted;
 * - when both ends finish the same handshake, their keys fit.
 *
 * The input is a list of steps. A step begins with a byte: bits 0-2 what is delivered (enum step),
 * bit 3 mac1 made right after altering, bit 4 the receiver is under load, bit 5 which end receives,
 * bits 6-7 how much time passes before. STEP_RAW goes on with a length and as many bytes, the
 * others with a count and as many pairs (offset, value to xor).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/wipe.h"
#include "wg/cookie.h"
#include "wg/noise.h"
#include "wg/ratelimiter.h"
#include "wg/replay.h"
#include "wg/tai64n.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
	STEP_RAW,
	STEP_INITIATION,
	STEP_RESPONSE,
	STEP_COOKIE_REPLY, /* to the message received last */
	STEP_AGAIN,	   /* what this end was sent last, as it was sent */
	STEP_FINISH,
};

#define STEP_KIND(b)	     ((b)&7)
#define STEP_REPAIRS_MAC1(b) (((b) >> 3) & 1)
#define STEP_UNDER_LOAD(b)   (((b) >> 4) & 1)
#define STEP_RECEIVER(b)     (((b) >> 5) & 1)
#define STEP_PAUSE(b)	     (((b) >> 6) & 3)

/* More than an input of a few hundred bytes needs; bounds the time one input takes. */
#define STEPS_MAX 64

struct message {
	uint8_t bytes[256];
	size_t len;
};

struct end {
	struct noise_identity identity;
	struct noise_peer peer;
	struct cookie_checker checker;
	struct cookie_jar jar;
	struct endpoint address;
	struct replay_window replay;
	struct message sent;	 /* to the other end, last; as it was made */
	struct message received; /* last handshake message with a right mac1 */
};

struct world {
	struct end ends[2];
	struct ratelimiter *limiter;
	uint64_t now_ns;
	uint32_t next_index;
};

struct input {
	const uint8_t *at;
	size_t left;
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static uint8_t take_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static void make_world(struct world *world)
{
	static const uint8_t secret[16] = {1};

	memset(world, 0, sizeof(*world));
	world->now_ns = 1000 * NS_PER_SEC;
	for (unsigned i = 0; i < 2; i++) {
		struct end *end = &world->ends[i];
		uint8_t key[WG_KEY_BYTES];

		memset(key, (int)(0x11 * (i + 1)), sizeof(key));
		noise_identity_set(&end->identity, key);
		end->address.addr.family = i ? IP_V6 : IP_V4;
		end->address.addr.bytes[0] = 0x20;
		end->address.port = (uint16_t)(1000 + i);
		replay_init(&end->replay);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct end *end = &world->ends[i];

		noise_peer_init(&end->peer, &end->identity, world->ends[!i].identity.public_key);
		end->peer.preshared_key[0] = 0x33;
		cookie_checker_init(&end->checker, end->identity.public_key);
		cookie_jar_init(&end->jar, end->peer.public_key);
	}
	world->limiter = ratelimiter_create(2, secret);
	must(world->limiter != NULL);
}

static void make_initiation(struct world *world, struct end *from)
{
	struct wg_msg_initiation msg;
	uint8_t ephemeral[WG_KEY_BYTES], timestamp[WG_TIMESTAMP_BYTES];

	memset(ephemeral, (int)(++world->next_index & 0xff), sizeof(ephemeral));
	tai64n_from_wall(timestamp, world->now_ns);
	must(noise_create_initiation(
		&from->peer, &from->identity, world->next_index, ephemeral, timestamp, &msg));
	cookie_add_macs(&from->jar, &msg, sizeof(msg), world->now_ns);
	memcpy(from->sent.bytes, &msg, sizeof(msg));
	from->sent.len = sizeof(msg);
}

static void make_response(struct world *world, struct end *from)
{
	struct wg_msg_response msg;
	uint8_t ephemeral[WG_KEY_BYTES];

	if (from->peer.handshake.state != NOISE_INITIATION_ACCEPTED)
		return;
	memset(ephemeral, (int)(++world->next_index & 0xff), sizeof(ephemeral));
	must(noise_create_response(&from->peer, world->next_index, ephemeral, &msg));
	cookie_add_macs(&from->jar, &msg, sizeof(msg), world->now_ns);
	memcpy(from->sent.bytes, &msg, sizeof(msg));
	from->sent.len = sizeof(msg);
}

static void make_cookie_reply(struct world *world, struct end *from, const struct end *to)
{
	struct wg_msg_cookie_reply msg;
	uint8_t random[WG_KEY_BYTES + 24];

	if (from->received.len == 0)
		return;
	memset(random, (int)(++world->next_index & 0xff), sizeof(random));
	cookie_make_reply(&from->checker, &msg, from->received.bytes, from->received.len,
		&to->address, random, world->now_ns);
	memcpy(from->sent.bytes, &msg, sizeof(msg));
	from->sent.len = sizeof(msg);
}

static bool receive_initiation(struct world *world, struct end *to, const uint8_t *msg)
{
	const struct wg_msg_initiation *initiation = (const struct wg_msg_initiation *)msg;
	struct noise_opened_initiation opened;

	if (noise_open_initiation(&opened, &to->identity, initiation) != WG_ACCEPTED) {
		must(is_zero_ct(&opened, sizeof(opened)));
		return false;
	}
	if (memcmp(opened.remote_static, to->peer.public_key, WG_KEY_BYTES) != 0)
		return false;
	return noise_accept_initiation(&to->peer, &opened, initiation, world->now_ns) ==
	       WG_ACCEPTED;
}

static bool receive_response(struct end *to, const uint8_t *msg)
{
	const struct wg_msg_response *response = (const struct wg_msg_response *)msg;

	if (to->peer.handshake.local_index != le32toh(response->receiver_le))
		return false;
	return noise_accept_response(&to->peer, &to->identity, response) == WG_ACCEPTED;
}

static bool passes_macs(struct world *world, struct end *to, const struct end *from,
	const uint8_t *msg, size_t len, bool under_load)
{
	enum cookie_mac_state macs = cookie_check_macs(
		&to->checker, msg, len, &from->address, under_load, world->now_ns);

	if (macs == COOKIE_MAC_INVALID)
		return false;
	memcpy(to->received.bytes, msg, len);
	to->received.len = len;
	if (!under_load)
		return true;
	return macs == COOKIE_MAC_WITH_COOKIE &&
	       ratelimiter_allow(world->limiter, &from->address.addr, world->now_ns);
}

/* msg is in memory of just its length. */
static bool receive(struct world *world, struct end *to, const struct end *from, const uint8_t *msg,
	size_t len, bool under_load)
{
	switch (wg_message_type_of(msg, len)) {
	case WG_MSG_INITIATION:
		return passes_macs(world, to, from, msg, len, under_load) &&
		       receive_initiation(world, to, msg);
	case WG_MSG_RESPONSE:
		return passes_macs(world, to, from, msg, len, under_load) &&
		       receive_response(to, msg);
	case WG_MSG_COOKIE_REPLY:
		return cookie_take_reply(
			&to->jar, (const struct wg_msg_cookie_reply *)msg, world->now_ns);
	case WG_MSG_DATA:
		return replay_accept(
			&to->replay, le64toh(((const struct wg_msg_data *)msg)->counter_le));
	case WG_MSG_NONE:
		break;
	}
	return false;
}

/* Where a handshake message is sealed or hashed: an altered bit there must be noticed. */
static bool altered_where_authenticated(const struct message *msg, const struct message *original)
{
	size_t begin, end;

	/* Here a data message is its counter only, and nothing is authenticated. */
	if (wg_message_type_of(msg->bytes, msg->len) == WG_MSG_DATA)
		return false;
	switch (wg_message_type_of(original->bytes, original->len)) {
	case WG_MSG_INITIATION:
		begin = offsetof(struct wg_msg_initiation, ephemeral);
		end = offsetof(struct wg_msg_initiation, macs);
		break;
	case WG_MSG_RESPONSE:
		begin = offsetof(struct wg_msg_response, ephemeral);
		end = offsetof(struct wg_msg_response, macs);
		break;
	default:
		begin = offsetof(struct wg_msg_cookie_reply, nonce);
		end = sizeof(struct wg_msg_cookie_reply);
		break;
	}
	return memcmp(msg->bytes + begin, original->bytes + begin, end - begin) != 0;
}

static void read_raw(struct input *input, struct message *msg)
{
	msg->len = take_byte(input);
	for (size_t i = 0; i < msg->len; i++)
		msg->bytes[i] = take_byte(input);
}

static void alter(struct input *input, struct message *msg)
{
	for (unsigned n = take_byte(input); n > 0 && input->left > 0; n--) {
		uint8_t offset = take_byte(input), value = take_byte(input);

		if (offset < msg->len)
			msg->bytes[offset] ^= value;
	}
}

static void deliver(struct world *world, struct end *to, const struct end *from,
	const struct message *msg, bool under_load, bool must_fail)
{
	struct noise_peer peer = to->peer;
	struct cookie_jar jar = to->jar;
	uint8_t *bytes = malloc(msg->len);

	if (msg->len > 0)
		memcpy(bytes, msg->bytes, msg->len);
	if (!receive(world, to, from, bytes, msg->len, under_load)) {
		must(memcmp(&peer, &to->peer, sizeof(peer)) == 0);
		must(memcmp(&jar, &to->jar, sizeof(jar)) == 0);
	} else {
		must(!must_fail);
	}
	free(bytes);
}

/* Two ends whose indices match have done the same handshake. */
static void finish(struct end *initiator, struct end *responder)
{
	struct noise_handshake *i = &initiator->peer.handshake, *r = &responder->peer.handshake;
	uint8_t keys[4][WG_KEY_BYTES];

	if (i->state != NOISE_RESPONSE_ACCEPTED || r->state != NOISE_RESPONSE_SENT ||
		i->local_index != r->remote_index || i->remote_index != r->local_index)
		return;
	noise_derive_keys(i, keys[0], keys[1]);
	noise_derive_keys(r, keys[2], keys[3]);
	must(memcmp(keys[0], keys[3], WG_KEY_BYTES) == 0);
	must(memcmp(keys[1], keys[2], WG_KEY_BYTES) == 0);
}

static void take_step(struct world *world, struct input *input)
{
	static const uint64_t pauses_ns[] = {0, 10 * NS_PER_MS, NS_PER_SEC, 100 * NS_PER_SEC};
	uint8_t step = take_byte(input);
	struct end *to = &world->ends[STEP_RECEIVER(step)];
	struct end *from = &world->ends[!STEP_RECEIVER(step)];
	struct message msg = {0};
	bool must_fail = false;

	world->now_ns += pauses_ns[STEP_PAUSE(step)];
	switch ((enum step)STEP_KIND(step)) {
	case STEP_RAW:
		read_raw(input, &msg);
		break;
	case STEP_INITIATION:
		make_initiation(world, from);
		break;
	case STEP_RESPONSE:
		make_response(world, from);
		break;
	case STEP_COOKIE_REPLY:
		make_cookie_reply(world, from, to);
		break;
	case STEP_AGAIN:
		break;
	case STEP_FINISH:
	default:
		finish(to, from);
		return;
	}
	if (STEP_KIND(step) != STEP_RAW) {
		msg = from->sent;
		alter(input, &msg);
		must_fail = altered_where_authenticated(&msg, &from->sent);
	}
	if (STEP_REPAIRS_MAC1(step) && msg.len >= sizeof(struct wg_macs)) {
		struct cookie_jar jar = from->jar;

		cookie_add_macs(&jar, msg.bytes, msg.len, world->now_ns);
	}
	deliver(world, to, from, &msg, STEP_UNDER_LOAD(step), must_fail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct world world;

	make_world(&world);
	for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++)
		take_step(&world, &input);
	ratelimiter_destroy(world.limiter);
	return 0;
}
