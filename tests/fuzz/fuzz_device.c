/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: two devices that exchange messages as the input says (in any order, again, altered,
 * with macs made anew, made up), while time passes and both are configured. node.c carries out what
 * they say and checks it; a message that nobody made, or altered where it counts, is not accepted.
 *
 * The input is a list of steps. One begins with a byte: bits 0-3 what happens (enum step), bit 4 to
 * which device, bit 5 the message is altered, bit 6 it gets its macs after that, bit 7 the device
 * is under load.
 */
#include <stdbool.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/units.h"
#include "crypto/x25519.h"
#include "input.h"
#include "node.h"
#include "wg/cookie.h"
#include "wg/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 100
#define WIRE	  32 /* messages that are remembered */
#define KEYS	  2  /* that each device may have */

enum step {
	STEP_DELIVER, /* a message on the wire, by its number from the end */
	STEP_NEWEST,
	STEP_RAW, /* any bytes: type, length */
	STEP_TIME,
	STEP_PACKET,
	STEP_ADD_PEER,
	STEP_REMOVE_PEER,
	STEP_PRESHARED_KEY,
	STEP_PRIVATE_KEY,
	STEP_ENDPOINT,
	STEP_KEEPALIVE,
	STEP_ALLOWED_IP,
	STEP_HINT,
};

struct datagram {
	unsigned to;
	unsigned len;
	uint8_t bytes[256];
};

struct world {
	struct rng rng;
	struct wg_time now;
	struct node *nodes[2];
	uint8_t private_keys[2][KEYS][WG_KEY_BYTES], public_keys[2][KEYS][WG_KEY_BYTES];
	struct datagram wire[WIRE];
	unsigned sent;
	uint64_t serial;
};

static struct endpoint address(unsigned i, unsigned variant)
{
	struct endpoint endpoint = {.port = (uint16_t)(1000 + i)};

	endpoint.addr.family = variant & 1 ? IP_V6 : IP_V4;
	endpoint.addr.bytes[0] = (uint8_t)(0x20 + i);
	endpoint.addr.bytes[1] = (uint8_t)variant;
	return endpoint;
}

static void on_send(
	void *arg, struct node *node, const struct wg_path *path, const void *data, size_t len)
{
	struct world *world = arg;
	struct datagram *datagram = &world->wire[world->sent++ % WIRE];

	MUST(len <= sizeof(datagram->bytes) && path->remote.addr.family != IP_NONE);
	datagram->to = !node->id;
	datagram->len = (unsigned)len;
	memcpy(datagram->bytes, data, len);
}

static void on_deliver(
	void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	(void)peer;
	MUST(packet->from == !node->id && packet->serial <= ((struct world *)arg)->serial);
}

static void set_private_key(struct world *world, unsigned i, unsigned choice)
{
	struct node *node = world->nodes[i];

	node->new_identity = true;
	wg_device_set_private_key(
		node->device, choice < KEYS ? world->private_keys[i][choice] : NULL, world->now);
	node_drain(node);
}

static struct wg_peer *find_peer(struct world *world, unsigned i, unsigned key)
{
	return wg_device_find_peer(world->nodes[i]->device, world->public_keys[!i][key % KEYS]);
}

static void add_peer(struct world *world, unsigned i, unsigned key)
{
	struct endpoint endpoint = address(!i, 0);
	struct node *node = world->nodes[i];
	struct wg_peer *peer;

	if (wg_device_add_peer(node->device, world->public_keys[!i][key % KEYS], &peer) == 0)
		wg_peer_set_endpoint(peer, &endpoint);
	node_drain(node);
}

static void make_world(struct world *world)
{
	memset(world, 0, sizeof(*world));
	world->now = (struct wg_time){1000 * NS_PER_SEC, 1700000000ull * NS_PER_SEC};
	for (unsigned i = 0; i < 2; i++) {
		struct node_hooks hooks = {.arg = world, .send = on_send, .deliver = on_deliver};

		for (unsigned key = 0; key < KEYS; key++) {
			memset(world->private_keys[i][key], (int)(0x11 * (1 + i + 2 * key)),
				WG_KEY_BYTES);
			x25519_public(world->public_keys[i][key], world->private_keys[i][key]);
		}
		world->nodes[i] = node_create(i, &hooks, &world->rng, world->now);
	}
	for (unsigned i = 0; i < 2; i++) {
		set_private_key(world, i, 0);
		world->nodes[i]->new_identity = false;
		add_peer(world, i, 0);
	}
}

static void add_macs(struct world *world, unsigned to, uint8_t *msg, unsigned len)
{
	const uint8_t *public_key = wg_device_public_key(world->nodes[to]->device);
	struct cookie_jar jar;

	if (len < sizeof(struct wg_macs) || !public_key)
		return;
	cookie_jar_init(&jar, public_key);
	cookie_add_macs(&jar, msg, len, world->now.mono_ns);
}

/*
 * Whether a message differs where its sender's keys vouch for it: all of it but for the type, the
 * indices, which only mac1 covers, and the macs. A data message's counter is its nonce.
 */
static bool differs_where_sealed(const struct datagram *a, const struct datagram *b)
{
	enum wg_message_type type = wg_message_type_of(a->bytes, a->len);
	unsigned begin = 8, end = a->len;

	if (type == WG_MSG_RESPONSE)
		begin = offsetof(struct wg_msg_response, ephemeral);
	if (type == WG_MSG_INITIATION || type == WG_MSG_RESPONSE)
		end -= (unsigned)sizeof(struct wg_macs);
	return memcmp(a->bytes + begin, b->bytes + begin, end - begin) != 0;
}

/* msg is in memory of just its length. */
static bool deliver(struct world *world, unsigned to, const uint8_t *bytes, unsigned len,
	uint8_t step, uint8_t from)
{
	struct wg_path path = {.remote = address(!to, from), .local = address(to, from).addr};
	struct node *node = world->nodes[to];
	uint8_t *msg = malloc(len);
	bool accepted;

	MUST(msg || len == 0);
	if (len > 0)
		memcpy(msg, bytes, len);
	if (step & 0x40)
		add_macs(world, to, msg, len);
	node->under_load = step & 0x80;
	accepted = node_receive(node, msg, len, &path);
	free(msg);
	return accepted;
}

static void deliver_sent(struct world *world, struct input *input, uint8_t step, unsigned back)
{
	struct datagram sent, datagram;
	bool accepted;

	if (back >= WIRE || back >= world->sent)
		return;
	datagram = sent = world->wire[(world->sent - 1 - back) % WIRE];
	for (unsigned n = step & 0x20 ? input_byte(input) % 8 : 0; n > 0; n--) {
		uint8_t offset = input_byte(input), value = input_byte(input);

		if (offset < datagram.len)
			datagram.bytes[offset] ^= value;
	}
	accepted = deliver(
		world, datagram.to, datagram.bytes, datagram.len, step, input_byte(input) % 4);
	MUST(!accepted || !differs_where_sealed(&datagram, &sent));
}

static void deliver_raw(struct world *world, struct input *input, uint8_t step)
{
	static const unsigned lengths[] = {148, 92, 64, 32};
	uint8_t bytes[256] = {0}, type = input_byte(input);
	unsigned len = type > 0 && type < 5 ? lengths[type - 1] : input_byte(input);

	bytes[0] = type;
	input_bytes(input, bytes + 4, len > 4 ? len - 4 : 0);
	/* Nobody made it; a data message that opens would be a wonder, too. */
	MUST(!deliver(world, step >> 4 & 1, bytes, len, step, 0));
}

static void pass_time(struct world *world, uint8_t amount)
{
	static const uint64_t units[] = {NS_PER_MS, 100 * NS_PER_MS, NS_PER_SEC, 10 * NS_PER_SEC};
	uint64_t ns = units[amount >> 6] * (amount & 63);

	world->now.mono_ns += ns;
	world->now.wall_ns += ns;
	for (unsigned i = 0; i < 2; i++)
		node_tick(world->nodes[i], world->now);
}

static void send_packet(struct world *world, unsigned i, unsigned key)
{
	struct packet packet = {.from = i, .to = !i};
	struct wg_peer *peer = find_peer(world, i, key);

	if (!peer)
		return;
	packet.serial = ++world->serial;
	node_send(world->nodes[i], peer, &packet);
}

static void configure_peer(struct world *world, unsigned i, enum step step, uint8_t value)
{
	struct wg_peer *peer = find_peer(world, i, value >> 7);
	uint8_t secret[WG_KEY_BYTES];
	struct ip_prefix prefix = {
		.addr = {.family = value & 1 ? IP_V6 : IP_V4}, .bits = value % 33};
	struct endpoint endpoint = address(!i, value & 3);

	if (!peer)
		return;
	memset(secret, value & 3, sizeof(secret));
	prefix.addr.bytes[0] = value;
	switch (step) {
	case STEP_REMOVE_PEER:
		wg_device_remove_peer(world->nodes[i]->device, peer);
		break;
	case STEP_PRESHARED_KEY:
		wg_peer_set_preshared_key(peer, secret);
		break;
	case STEP_ENDPOINT:
		wg_peer_set_endpoint(peer, &endpoint);
		break;
	case STEP_KEEPALIVE:
		wg_peer_set_persistent_keepalive(peer, value & 31, world->now);
		break;
	default:
		if (value & 0x40)
			wg_peer_remove_allowed_ip(peer, &prefix);
		else
			MUST(wg_peer_add_allowed_ip(peer, &prefix) == 0);
		break;
	}
	node_drain(world->nodes[i]);
}

/* Hints are for anything, at any time. */
static void give_hint(struct world *world, unsigned i, uint8_t value)
{
	struct node *node = world->nodes[i];
	struct wg_peer *peer = find_peer(world, i, value >> 7);
	struct wg_path path = {
		.remote = address(!i, value & 3), .local = address(i, value & 3).addr};

	if (!peer)
		return;
	if (value & 0x40)
		wg_peer_hint_roam(peer, &path);
	else
		wg_peer_hint_rekey(peer, world->now);
	node_drain(node);
}

static void take_step(struct world *world, struct input *input)
{
	uint8_t byte = input_byte(input);
	enum step step = byte & 15;
	unsigned i = byte >> 4 & 1;

	switch (step) {
	case STEP_DELIVER:
		deliver_sent(world, input, byte, input_byte(input));
		break;
	case STEP_NEWEST:
		deliver_sent(world, input, byte, 0);
		break;
	case STEP_RAW:
		deliver_raw(world, input, byte);
		break;
	case STEP_TIME:
		pass_time(world, input_byte(input));
		break;
	case STEP_PACKET:
		send_packet(world, i, input_byte(input));
		break;
	case STEP_ADD_PEER:
		add_peer(world, i, input_byte(input));
		break;
	case STEP_PRIVATE_KEY:
		set_private_key(world, i, input_byte(input) % (KEYS + 1));
		break;
	case STEP_REMOVE_PEER:
	case STEP_PRESHARED_KEY:
	case STEP_ENDPOINT:
	case STEP_KEEPALIVE:
	case STEP_ALLOWED_IP:
		configure_peer(world, i, step, input_byte(input));
		break;
	case STEP_HINT:
		give_hint(world, i, input_byte(input));
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	static struct world world;

	make_world(&world);
	for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++)
		take_step(&world, &input);
	node_destroy(world.nodes[0]);
	node_destroy(world.nodes[1]);
	return 0;
}
