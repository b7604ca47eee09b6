/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets wait for a session only where there may be one: the room for them is everybody's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "node.h"

#define SEC NS_PER_SEC

static struct wg_time now = {1000 * SEC, 1700000000ull * SEC};
static struct rng rng = {42};
static struct node *node;
static struct wg_peer *peer;
static uint64_t serial;

static void on_send(
	void *arg, struct node *from, const struct wg_path *path, const void *data, size_t len)
{
	(void)arg;
	(void)from;
	(void)path;
	(void)data;
	(void)len;
}

static void set_key(uint8_t fill)
{
	uint8_t key[WG_KEY_BYTES];

	memset(key, fill, sizeof(key));
	wg_device_set_private_key(node->device, key, now);
	node_drain(node);
	node_tick(node, now);
}

/* A peer with an endpoint; its public key is all of fill. */
static void add_peer(uint8_t fill)
{
	uint8_t public_key[WG_KEY_BYTES];
	struct endpoint remote;

	memset(public_key, fill, sizeof(public_key));
	assert_true(endpoint_parse("192.0.2.1:51820", &remote));
	assert_int_equal(wg_device_add_peer(node->device, public_key, &peer), 0);
	wg_peer_set_endpoint(peer, &remote);
	node_drain(node);
}

static int set_up(void **state)
{
	const struct node_hooks hooks = {.send = on_send};

	(void)state;
	node = node_create(0, &hooks, &rng, now);
	node->new_identity = true;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	node_destroy(node);
	return 0;
}

static void send_packet(void)
{
	const struct packet packet = {.serial = ++serial};

	node_send(node, peer, &packet);
}

/* Packets that the peer holds now. */
static unsigned waiting(void)
{
	return node->counts.staged - node->counts.dropped - node->counts.purged;
}

/* Would catch a packet that waits for a key that may never be set. */
static void test_nobody_to_be(void **state)
{
	(void)state;
	add_peer(9);
	send_packet();
	assert_int_equal(node->counts.dropped, 1);
	set_key(1);
	send_packet();
	assert_int_equal(waiting(), 1);
	assert_int_equal(node->counts.initiations, 1);
	/* The key goes, and with it what waited for it. */
	set_key(0);
	assert_int_equal(waiting(), 0);
	assert_int_equal(node_deadline(node), UINT64_MAX);
}

/* A key of low order is found out at the first handshake. */
static void test_nobody_to_talk_to(void **state)
{
	(void)state;
	set_key(1);
	add_peer(0);
	send_packet();
	assert_int_equal(node->counts.purged, 1);
	send_packet();
	assert_int_equal(node->counts.dropped, 1);
	assert_int_equal(node->counts.initiations, 0);
	assert_int_equal(node_deadline(node), UINT64_MAX);
}

/* What waits goes on waiting under another key, and the handshake begins again at once. */
static void test_another_key(void **state)
{
	(void)state;
	set_key(1);
	add_peer(9);
	send_packet();
	assert_int_equal(node->counts.initiations, 1);
	set_key(2);
	assert_int_equal(waiting(), 1);
	assert_int_equal(node->counts.initiations, 2);
}

/* A peer that is to be kept alive is asked as soon as there is a key to ask with. */
static void test_keepalive_waits_for_the_key(void **state)
{
	(void)state;
	add_peer(9);
	wg_peer_set_persistent_keepalive(peer, 25, now);
	node_drain(node);
	assert_int_equal(node->counts.initiations, 0);
	assert_int_equal(node_deadline(node), UINT64_MAX);
	set_key(1);
	assert_int_equal(node->counts.initiations, 1);
}

/* Would catch the last ephemeral key, and its index, that live on until keys are erased. */
static void test_given_up_handshake_is_forgotten(void **state)
{
	uint64_t end_ns;

	(void)state;
	set_key(1);
	add_peer(9);
	send_packet();
	end_ns = now.mono_ns + 100 * SEC;
	assert_int_equal(wg_index_count(node->indices), 1);
	while (node_deadline(node) < end_ns) {
		now.mono_ns = node_deadline(node);
		node_tick(node, now);
	}
	assert_int_equal(node->counts.purged, 1);
	assert_int_equal(wg_index_count(node->indices), 0);
	assert_int_equal(node_deadline(node), UINT64_MAX);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_nobody_to_be),
		TEST(test_nobody_to_talk_to),
		TEST(test_another_key),
		TEST(test_keepalive_waits_for_the_key),
		TEST(test_given_up_handshake_is_forgotten),
	};
	int failed = cmocka_run_group_tests_name("handshakes whole", tests, NULL, NULL);

	node_split_handshakes(true);
	return failed + cmocka_run_group_tests_name("handshakes split", tests, NULL, NULL);
}
