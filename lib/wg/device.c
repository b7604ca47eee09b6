/* SPDX-License-Identifier: BSD-3-Clause */
/* The interface: its life, its identity, its peers, what arrives, when time passes. */
#include "wg/device.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "crypto/blake2s.h"
#include "crypto/wipe.h"
#include "crypto/x25519.h"
#include "wg/peer.h"
#include "wg/work.h"

#define DEVICE_FIRST_BUCKETS 16u

static void set_identity(struct wg_device *device, const uint8_t key[WG_KEY_BYTES]);
static bool reserve_peer(struct wg_device *device);
static uint32_t hash_of(const struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES]);
static struct wg_peer **bucket_of(const struct wg_device *device, uint32_t hash);
static struct wg_peer *find_hashed(
	const struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES], uint32_t hash);
static void link_peer(struct wg_device *device, struct wg_peer *peer);
static void unlink_peer(struct wg_device *device, struct wg_peer *peer);
static enum wg_verdict receive(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, bool under_load, struct wg_time now);
static enum wg_verdict receive_cookie(
	struct wg_device *device, const struct wg_msg_cookie_reply *msg, uint64_t now_ns);
static enum wg_verdict check_macs(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, bool under_load, uint64_t now_ns);
static void send_cookie(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, uint64_t now_ns);

struct wg_device *wg_device_create(
	const struct wg_env *env, struct wg_index_table *indices, struct wg_ids *ids)
{
	struct wg_device *device = env->alloc(env->arg, sizeof(*device));
	uint8_t secret[16];

	if (!device)
		return NULL;
	device->env = env;
	device->indices = indices;
	device->ids = ids;
	device->running = true;
	env->random(env->arg, device->bucket_key, sizeof(device->bucket_key));
	env->random(env->arg, secret, sizeof(secret));
	device->limiter = ratelimiter_create(LIMIT_LIMITED_SOURCES, secret);
	device->allowedips = allowedips_create();
	if (!device->limiter || !device->allowedips || !actions_init(&device->actions) ||
		!reserve_peer(device)) {
		wg_device_free(device);
		return NULL;
	}
	return device;
}

bool wg_device_shutdown(struct wg_device *device, unsigned most)
{
	while (device->oldest && most > 0) {
		most -= peer_clear_allowed_ips(device->oldest, most);
		if (most > 0) {
			wg_device_remove_peer(device, device->oldest);
			most--;
		}
	}
	if (device->oldest)
		return true;
	/* The device may live on for as long as workers hold what was its. */
	set_identity(device, NULL);
	return false;
}

void wg_device_free(struct wg_device *device)
{
	const struct wg_env *env = device->env;

	assert(!device->oldest && device->unfreed == 0);
	actions_free(&device->actions);
	schedule_free(&device->schedule, env);
	allowedips_destroy(device->allowedips);
	if (device->limiter)
		ratelimiter_destroy(device->limiter);
	if (device->buckets)
		env->free(env->arg, device->buckets);
	wipe(device, sizeof(*device));
	env->free(env->arg, device);
}

bool wg_device_next_action(struct wg_device *device, struct wg_action *out)
{
	return actions_pop(&device->actions, out);
}

/* --- Identity --- */

void device_note_time(struct wg_device *device, struct wg_time now)
{
	if (now.mono_ns > device->now_ns)
		device->now_ns = now.mono_ns;
}

static bool same_identity(const struct noise_identity *identity, const uint8_t key[WG_KEY_BYTES])
{
	uint8_t clamped[WG_KEY_BYTES];
	bool same;

	if (!key || is_zero_ct(key, WG_KEY_BYTES))
		return !identity->set;
	memcpy(clamped, key, sizeof(clamped));
	x25519_clamp(clamped);
	same = identity->set && equal_ct(clamped, identity->private_key, sizeof(clamped));
	wipe(clamped, sizeof(clamped));
	return same;
}

void wg_device_set_private_key(
	struct wg_device *device, const uint8_t key[WG_KEY_BYTES], struct wg_time now)
{
	struct wg_peer *self;

	device_note_time(device, now);
	if (same_identity(&device->identity, key))
		return;
	set_identity(device, key);
	if (device->identity.set) {
		self = wg_device_find_peer(device, device->identity.public_key);
		if (self)
			wg_device_remove_peer(device, self);
	}
	device->unsettled = device->oldest;
	(void)wg_device_settle(device);
}

void wg_device_set_running(struct wg_device *device, bool running, struct wg_time now)
{
	device_note_time(device, now);
	if (device->running == running)
		return;
	device->running = running;
	device->running_serial++;
	device->unsettled = device->oldest;
	(void)wg_device_settle(device);
}

void wg_device_forget_sources(struct wg_device *device)
{
	device->source_serial++;
	device->unsettled = device->oldest;
	(void)wg_device_settle(device);
}

static void set_identity(struct wg_device *device, const uint8_t key[WG_KEY_BYTES])
{
	noise_identity_set(&device->identity, key);
	device->identity_serial++;
	wipe(&device->checker, sizeof(device->checker));
	if (device->identity.set)
		cookie_checker_init(&device->checker, device->identity.public_key);
}

bool wg_device_settle(struct wg_device *device)
{
	for (unsigned n = 0; n < LIMIT_SETTLE_PEERS && device->unsettled; n++) {
		struct wg_peer *peer = device->unsettled;

		device->unsettled = peer->newer;
		peer_settle(peer);
	}
	return !device->unsettled;
}

const uint8_t *wg_device_private_key(const struct wg_device *device)
{
	return device->identity.set ? device->identity.private_key : NULL;
}

const uint8_t *wg_device_public_key(const struct wg_device *device)
{
	return device->identity.set ? device->identity.public_key : NULL;
}

/* --- Peers --- */

struct wg_peer *wg_device_find_peer(
	const struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES])
{
	return find_hashed(device, public_key, hash_of(device, public_key));
}

int wg_device_add_peer(
	struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES], struct wg_peer **out)
{
	uint32_t hash = hash_of(device, public_key);
	struct wg_peer *peer = find_hashed(device, public_key, hash);
	int error = 0;

	*out = peer;
	if (peer)
		return -EEXIST;
	if (device->identity.set &&
		memcmp(public_key, device->identity.public_key, WG_KEY_BYTES) == 0)
		return -EINVAL;
	if (!reserve_peer(device))
		return -ENOMEM;
	peer = peer_create(device, public_key, &error);
	if (!peer)
		return error;
	peer->key_hash = hash;
	link_peer(device, peer);
	actions_push(&device->actions, WG_ACT_PEER_ADD, peer);
	*out = peer;
	return 0;
}

void wg_device_remove_peer(struct wg_device *device, struct wg_peer *peer)
{
	assert(peer->device == device);
	peer_dismantle(peer);
	unlink_peer(device, peer);
	actions_push(&device->actions, WG_ACT_PEER_REMOVE, peer);
}

struct wg_peer *wg_device_next_peer(const struct wg_device *device, const struct wg_peer *peer)
{
	return peer ? peer->newer : device->oldest;
}

uint32_t wg_device_peer_count(const struct wg_device *device)
{
	return device->peer_count;
}

/* Room for one more peer in the schedule and, about one to a bucket, in the hash table. */
static bool reserve_peer(struct wg_device *device)
{
	const struct wg_env *env = device->env;
	uint32_t count = device->bucket_count ? device->bucket_count * 2 : DEVICE_FIRST_BUCKETS;
	struct wg_peer **old = device->buckets, **buckets;

	if (!schedule_reserve(&device->schedule, env, device->peer_count + 1))
		return false;
	if (device->peer_count < device->bucket_count)
		return true;
	buckets = env->alloc(env->arg, count * sizeof(struct wg_peer *));
	if (!buckets)
		return false;
	device->buckets = buckets;
	device->bucket_count = count;
	for (struct wg_peer *peer = device->oldest; peer; peer = peer->newer) {
		struct wg_peer **bucket = bucket_of(device, peer->key_hash);

		peer->bucket_next = *bucket;
		*bucket = peer;
	}
	if (old)
		env->free(env->arg, old);
	return true;
}

/* Keyed: peers are often added on behalf of strangers, who choose their keys. */
static uint32_t hash_of(const struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES])
{
	uint32_t hash;

	blake2s_mac(&hash, sizeof(hash), device->bucket_key, sizeof(device->bucket_key), public_key,
		WG_KEY_BYTES);
	return hash;
}

static struct wg_peer **bucket_of(const struct wg_device *device, uint32_t hash)
{
	return &device->buckets[hash & (device->bucket_count - 1)];
}

static struct wg_peer *find_hashed(
	const struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES], uint32_t hash)
{
	struct wg_peer *peer = *bucket_of(device, hash);

	while (peer && (peer->key_hash != hash ||
			       memcmp(peer->noise.public_key, public_key, WG_KEY_BYTES) != 0))
		peer = peer->bucket_next;
	return peer;
}

static void link_peer(struct wg_device *device, struct wg_peer *peer)
{
	struct wg_peer **bucket = bucket_of(device, peer->key_hash);

	peer->bucket_next = *bucket;
	*bucket = peer;
	peer->older = device->newest;
	if (peer->older)
		peer->older->newer = peer;
	else
		device->oldest = peer;
	device->newest = peer;
	device->peer_count++;
}

static void unlink_peer(struct wg_device *device, struct wg_peer *peer)
{
	struct wg_peer **link = bucket_of(device, peer->key_hash);

	while (*link != peer)
		link = &(*link)->bucket_next;
	*link = peer->bucket_next;
	if (peer->older)
		peer->older->newer = peer->newer;
	else
		device->oldest = peer->newer;
	if (peer->newer)
		peer->newer->older = peer->older;
	else
		device->newest = peer->older;
	if (device->unsettled == peer)
		device->unsettled = peer->newer;
	device->peer_count--;
}

/* --- What arrives --- */

enum wg_verdict wg_device_receive(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, bool under_load, struct wg_time now)
{
	enum wg_verdict verdict;

	device_note_time(device, now);
	verdict = receive(device, msg, len, path, under_load, now);
	if (verdict != WG_PENDING)
		device->verdicts[verdict]++;
	return verdict;
}

void wg_device_split_handshakes(struct wg_device *device, bool split)
{
	device->split = split;
}

enum wg_verdict wg_device_finish(struct wg_device *device, struct wg_work *work, struct wg_time now)
{
	enum wg_verdict verdict;

	device_note_time(device, now);
	verdict = handshake_finish(device, work, now);
	if (verdict != WG_PENDING)
		device->verdicts[verdict]++;
	wg_work_free(device, work);
	return verdict;
}

void wg_work_free(struct wg_device *device, struct wg_work *work)
{
	wipe(work, sizeof(*work));
	device->env->free(device->env->arg, work);
	device->unfreed--;
}

static enum wg_verdict receive(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, bool under_load, struct wg_time now)
{
	enum wg_message_type type = wg_message_type_of(msg, len);
	enum wg_verdict verdict;

	if (!device->running)
		return WG_LINK_DOWN;
	if (type == WG_MSG_COOKIE_REPLY)
		return receive_cookie(device, msg, now.mono_ns);
	if (type != WG_MSG_INITIATION && type != WG_MSG_RESPONSE)
		return WG_BAD_MESSAGE;
	if (!device->identity.set)
		return WG_NO_KEY;
	verdict = check_macs(device, msg, len, path, under_load, now.mono_ns);
	if (verdict != WG_ACCEPTED)
		return verdict;
	return type == WG_MSG_INITIATION ? handshake_receive_initiation(device, msg, path, now)
					 : handshake_receive_response(device, msg, path, now);
}

/* Changes nothing but the cookie: a reply is not authenticated by the peer's own key. */
static enum wg_verdict receive_cookie(
	struct wg_device *device, const struct wg_msg_cookie_reply *msg, uint64_t now_ns)
{
	struct wg_peer *peer = device_find_index(device, le32toh(msg->receiver_le));

	if (!peer)
		return WG_UNKNOWN_INDEX;
	return cookie_take_reply(&peer->jar, msg, now_ns) ? WG_ACCEPTED : WG_BAD_COOKIE;
}

/*
 * Under load a sender must show that it receives at its address, and each address gets its share
 * of initiations. A response is one that we asked for: it has no such limit.
 */
static enum wg_verdict check_macs(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, bool under_load, uint64_t now_ns)
{
	switch (cookie_check_macs(&device->checker, msg, len, &path->remote, under_load, now_ns)) {
	case COOKIE_MAC_VALID:
		if (!under_load)
			return WG_ACCEPTED;
		send_cookie(device, msg, len, path, now_ns);
		return WG_COOKIE_SENT;
	case COOKIE_MAC_WITH_COOKIE:
		if (under_load && len == sizeof(struct wg_msg_initiation) &&
			!ratelimiter_allow(device->limiter, &path->remote.addr, now_ns))
			return WG_RATE_LIMITED;
		return WG_ACCEPTED;
	default:
		return WG_BAD_MAC1;
	}
}

static void send_cookie(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, uint64_t now_ns)
{
	struct wg_msg_cookie_reply reply;
	uint8_t random[WG_KEY_BYTES + 24];

	device->env->random(device->env->arg, random, sizeof(random));
	cookie_make_reply(&device->checker, &reply, msg, len, &path->remote, random, now_ns);
	wipe(random, sizeof(random));
	actions_push_send(&device->actions, NULL, path, &reply, sizeof(reply));
}

void wg_device_hint_confirm(struct wg_device *device, uint32_t local_index, struct wg_time now)
{
	struct wg_peer *peer = device_find_index(device, local_index);

	device_note_time(device, now);
	if (peer)
		handshake_confirm(peer, local_index, now);
}

/* The table is the program's: the index may be that of another interface's peer. */
struct wg_peer *device_find_index(const struct wg_device *device, uint32_t index)
{
	struct wg_peer *peer = wg_index_find(device->indices, index);

	return peer && peer->device == device ? peer : NULL;
}

const uint64_t *wg_device_verdicts(const struct wg_device *device)
{
	return device->verdicts;
}

/* --- Time passes --- */

uint64_t wg_device_deadline(const struct wg_device *device)
{
	return device->unsettled ? 0 : schedule_earliest(&device->schedule);
}

void wg_device_tick(struct wg_device *device, struct wg_time now)
{
	device_note_time(device, now);
	(void)wg_device_settle(device);
	for (unsigned n = 0; n < LIMIT_TICK_PEERS; n++) {
		if (schedule_earliest(&device->schedule) > now.mono_ns)
			return;
		peer_service(schedule_first(&device->schedule), now);
	}
}
