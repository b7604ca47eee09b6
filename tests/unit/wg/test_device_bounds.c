/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of very many peers: what concerns all of them is done in pieces, so that the actions
 * queued at a time, and the memory for them, have a bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/secret_mem.h"
#include "base/units.h"
#include "crypto/x25519.h"
#include "heap_env.h"
#include "memory_use.h"
#include "wg/messages.h"

/* What goes at once, and so many actions of it, however many peers there are. */
#define PIECE	     1024
#define ACTIONS_MOST (8 * PIECE)

static struct wg_time now = {1000 * NS_PER_SEC, 1700000000 * NS_PER_SEC};
static const struct wg_path from_somewhere = {
	.remote = {.addr = {.family = IP_V4, .bytes = {192, 0, 2, 1}}, .port = 1}};

struct counted {
	unsigned added, removed, cleared, published, retired, sent;
};

struct world {
	struct wg_env env;
	struct wg_index_table *indices;
	struct wg_ids *ids;
	struct wg_device *device;
	struct counted counts;
	uint8_t sent[148]; /* the last datagram */
};

static void *secret_env_alloc(void *arg, size_t size)
{
	(void)arg;
	return secret_alloc(size);
}

static void secret_env_free(void *arg, void *p)
{
	(void)arg;
	secret_free(p);
}

/* As the program does it, but for the grace period. Returns how many actions there were. */
static unsigned drain(struct world *w)
{
	struct wg_action action;
	unsigned n = 0;

	for (; wg_device_next_action(w->device, &action); n++) {
		switch (action.kind) {
		case WG_ACT_SEND:
			w->counts.sent++;
			memcpy(w->sent, action.send.data, action.send.len);
			break;
		case WG_ACT_PEER_ADD:
			w->counts.added++;
			break;
		case WG_ACT_PEER_REMOVE:
			w->counts.removed++;
			wg_peer_free(w->device, action.peer);
			break;
		case WG_ACT_PREFIX_CLEAR:
			w->counts.cleared++;
			break;
		case WG_ACT_SESSION_PUBLISH:
			w->counts.published++;
			break;
		case WG_ACT_SESSION_RETIRE:
			w->counts.retired++;
			wg_session_free(w->device, action.session);
			break;
		default:
			break;
		}
	}
	return n;
}

static void key_of(uint8_t key[WG_KEY_BYTES], uint32_t i)
{
	memset(key, 7, WG_KEY_BYTES);
	memcpy(key + 4, &i, sizeof(i));
	x25519_clamp(key);
}

static struct world *world_create(uint32_t private_key)
{
	struct world *w = calloc(1, sizeof(*w));
	uint8_t key[WG_KEY_BYTES];

	assert_non_null(w);
	w->env = (struct wg_env){
		.random = heap_env_random, .alloc = secret_env_alloc, .free = secret_env_free};
	w->indices = wg_index_table_create(heap_env_random, NULL);
	w->ids = wg_ids_create(LIMIT_PEERS);
	assert_true(w->indices && w->ids);
	w->device = wg_device_create(&w->env, w->indices, w->ids);
	assert_non_null(w->device);
	key_of(key, private_key);
	wg_device_set_private_key(w->device, key, now);
	return w;
}

/* Returns how many actions there were at once. */
static unsigned shut_down(struct world *w)
{
	unsigned n, most = 0;
	bool more;

	do {
		more = wg_device_shutdown(w->device, PIECE);
		n = drain(w);
		most = n > most ? n : most;
	} while (more);
	return most;
}

static void world_destroy(struct world *w)
{
	shut_down(w);
	assert_int_equal(wg_index_count(w->indices), 0);
	wg_device_free(w->device);
	wg_ids_destroy(w->ids);
	wg_index_table_destroy(w->indices);
	free(w);
}

static struct wg_peer *add_peer(struct world *w, const uint8_t public_key[WG_KEY_BYTES])
{
	struct wg_peer *peer;

	assert_int_equal(wg_device_add_peer(w->device, public_key, &peer), 0);
	return peer;
}

static void add_prefixes(struct wg_peer *peer, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		struct ip_prefix prefix = {.addr.family = IP_V4, .bits = 32};

		store_be32(prefix.addr.bytes, i);
		assert_int_equal(wg_peer_add_allowed_ip(peer, &prefix), 0);
	}
}

/* Would catch a shutdown that queues an action for each peer and prefix before any is taken. */
static void test_shutdown_in_pieces(void **state)
{
	enum { PEERS = 20000, PREFIXES = 50000 };
	struct world *w = world_create(1);
	uint8_t key[WG_KEY_BYTES] = {0};

	(void)state;
	for (uint32_t i = 0; i < PEERS; i++) {
		memcpy(key, &i, sizeof(i));
		add_prefixes(add_peer(w, key), i, 1);
		drain(w);
		/* One has very many of its own. */
		if (i == PEERS / 2)
			add_prefixes(wg_device_find_peer(w->device, key), 1u << 24, PREFIXES);
		drain(w);
	}
	assert_in_range(shut_down(w), 1, ACTIONS_MOST);
	assert_int_equal(w->counts.removed, PEERS);
	assert_int_equal(w->counts.cleared, PEERS + PREFIXES);
	assert_int_equal(wg_device_peer_count(w->device), 0);
	world_destroy(w);
}

/* Gone with the last peer, though the device lives on for what workers hold. */
static void test_shutdown_takes_the_key(void **state)
{
	struct world *w = world_create(1);
	uint8_t key[WG_KEY_BYTES] = {1};

	(void)state;
	add_peer(w, key);
	assert_non_null(wg_device_private_key(w->device));
	shut_down(w);
	assert_null(wg_device_private_key(w->device));
	assert_null(wg_device_public_key(w->device));
	world_destroy(w);
}

/* A client with this key has w respond to it. */
static void handshake(struct world *client, struct world *w, uint32_t private_key)
{
	uint8_t key[WG_KEY_BYTES];
	struct wg_peer *peer;
	static int packet;

	now.wall_ns += NS_PER_SEC;
	key_of(key, private_key);
	wg_device_set_private_key(client->device, key, now);
	peer = wg_device_find_peer(client->device, wg_device_public_key(w->device));
	if (!peer)
		peer = add_peer(client, wg_device_public_key(w->device));
	wg_peer_set_endpoint(peer, &from_somewhere.remote);
	if (wg_peer_stage(peer, &packet, now))
		fail();
	wg_device_tick(client->device, now);
	drain(client);
	while (wg_peer_unstage(peer))
		;
	assert_int_equal(wg_device_receive(w->device, client->sent,
				 sizeof(struct wg_msg_initiation), &from_somewhere, false, now),
		WG_ACCEPTED);
}

static void add_client(struct world *w, uint32_t private_key)
{
	uint8_t key[WG_KEY_BYTES], public_key[WG_KEY_BYTES];

	key_of(key, private_key);
	x25519_public(public_key, key);
	add_peer(w, public_key);
}

/*
 * Would catch sessions of all peers that end at once, sessions that do not end, and a peer that
 * takes a handshake under the new key and loses it when its turn comes.
 */
static void test_new_key_in_pieces(void **state)
{
	enum { PEERS = 3 * LIMIT_SETTLE_PEERS + 10 };
	struct world *w = world_create(1), *client = world_create(2);
	uint8_t key[WG_KEY_BYTES];
	unsigned n;

	(void)state;
	for (uint32_t i = 0; i < PEERS; i++) {
		add_client(w, 100 + i);
		handshake(client, w, 100 + i);
		drain(w);
	}
	assert_int_equal(w->counts.published, PEERS);
	assert_int_equal(w->counts.retired, 0);

	now.mono_ns += NS_PER_SEC; /* no flood of one peer's */
	key_of(key, 3);
	wg_device_set_private_key(w->device, key, now);
	n = drain(w);
	assert_in_range(w->counts.retired, 1, LIMIT_SETTLE_PEERS);
	assert_in_range(n, 1, 5 * LIMIT_SETTLE_PEERS);
	/* The newest has not had its turn. */
	handshake(client, w, 100 + PEERS - 1);
	drain(w);
	assert_int_equal(w->counts.published, PEERS + 1);
	while (wg_device_deadline(w->device) <= now.mono_ns) {
		wg_device_tick(w->device, now);
		assert_in_range(drain(w), 0, 5 * LIMIT_SETTLE_PEERS);
	}
	assert_int_equal(w->counts.retired, PEERS);
	world_destroy(client);
	world_destroy(w);
}

/* The peer whose turn is next goes; those behind it have theirs all the same. */
static void test_removal_while_a_new_key_spreads(void **state)
{
	enum { PEERS = 2 * LIMIT_SETTLE_PEERS };
	struct world *w = world_create(1), *client = world_create(2);
	uint8_t key[WG_KEY_BYTES];
	struct wg_peer *peer = NULL;

	(void)state;
	for (uint32_t i = 0; i < PEERS; i++) {
		add_client(w, 100 + i);
		if (i == PEERS - 1)
			handshake(client, w, 100 + i);
		drain(w);
	}
	key_of(key, 3);
	wg_device_set_private_key(w->device, key, now);
	for (unsigned i = 0; i <= LIMIT_SETTLE_PEERS; i++)
		peer = wg_device_next_peer(w->device, peer);
	wg_device_remove_peer(w->device, peer);
	drain(w);
	assert_int_equal(w->counts.retired, 0);
	assert_true(wg_device_settle(w->device));
	drain(w);
	assert_int_equal(w->counts.retired, 1);
	world_destroy(client);
	world_destroy(w);
}

/* A sanitizer keeps what is freed. */
#ifdef __SANITIZE_ADDRESS__
#define SLACK_BYTES (1ul << 30)
#else
#define SLACK_BYTES (4ul << 20)
#endif

/* As many as there may be (a sixteenth of them in a short run): removing them takes no memory. */
static void test_as_many_peers_as_there_may_be(void **state)
{
	const char *full = getenv("DPDK_WG_FULL");
	uint32_t peers = full && strcmp(full, "yes") == 0 ? LIMIT_PEERS : LIMIT_PEERS / 16;
	struct world *w = world_create(1);
	uint8_t key[WG_KEY_BYTES] = {0};
	unsigned long before, most = 0;
	bool more;

	(void)state;
	for (uint32_t i = 0; i < peers; i++) {
		memcpy(key, &i, sizeof(i));
		add_prefixes(add_peer(w, key), i, 1);
		if (i % 64 == 63)
			drain(w);
	}
	drain(w);
	assert_int_equal(wg_device_peer_count(w->device), peers);
	before = memory_use().resident_bytes;
	do {
		unsigned long resident;

		more = wg_device_shutdown(w->device, PIECE);
		resident = memory_use().resident_bytes;
		most = resident > most ? resident : most;
		assert_in_range(drain(w), 1, ACTIONS_MOST);
	} while (more);
	assert_int_equal(w->counts.removed, peers);
	assert_int_equal(w->counts.cleared, peers);
	assert_in_range(most, 0, before + SLACK_BYTES);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_many_peers_as_there_may_be),
		cmocka_unit_test(test_shutdown_in_pieces),
		cmocka_unit_test(test_shutdown_takes_the_key),
		cmocka_unit_test(test_new_key_in_pieces),
		cmocka_unit_test(test_removal_while_a_new_key_spreads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
