/* SPDX-License-Identifier: BSD-3-Clause */
/* What configuration does and does not do, between two devices in memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/x25519.h"
#include "world.h"

static void test_same_values_change_nothing(void **state)
{
	struct world *w = world_create();
	struct wg_device *device = w->nodes[0]->device;
	struct ip_prefix prefix;
	struct wg_peer *peer;

	(void)state;
	assert_true(ip_prefix_parse("10.1.2.3/16", &prefix));
	assert_int_equal(wg_peer_add_allowed_ip(w->peers[0], &prefix), 0);
	world_connect(w);
	node_drain(w->nodes[0]);
	wg_device_set_private_key(device, w->private_keys[0], w->now);
	wg_peer_set_preshared_key(w->peers[0], NULL);
	wg_peer_set_endpoint(w->peers[0], &w->endpoints[1]);
	wg_peer_set_persistent_keepalive(w->peers[0], 0, w->now);
	assert_int_equal(wg_peer_add_allowed_ip(w->peers[0], &prefix), 0);
	assert_int_equal(wg_device_add_peer(device, w->public_keys[1], &peer), -EEXIST);
	assert_ptr_equal(peer, w->peers[0]);
	assert_quiet(w->nodes[0]);
	assert_int_equal(wg_peer_path(w->peers[0])->local.family, IP_V4); /* not forgotten */
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
}

static void test_private_key_change(void **state)
{
	struct world *w = world_create();
	uint8_t key[WG_KEY_BYTES], public_key[WG_KEY_BYTES];

	(void)state;
	w->nodes[0]->new_identity = true;
	world_connect(w);
	memset(key, 77, sizeof(key));
	wg_device_set_private_key(w->nodes[0]->device, key, w->now);
	node_drain(w->nodes[0]);
	assert_null(world_current(w, 0));
	assert_int_equal(w->nodes[0]->counts.retired, 1);
	x25519_clamp(key);
	x25519_public(public_key, key);
	assert_memory_equal(wg_device_public_key(w->nodes[0]->device), public_key, WG_KEY_BYTES);
	/* The other end knows the old key only. */
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(w->got[1], 0);
	assert_int_equal(wg_device_verdicts(w->nodes[1]->device)[WG_UNKNOWN_PEER], 1);
	world_run(w, 1 * SEC);
	wg_device_set_private_key(w->nodes[0]->device, w->private_keys[0], w->now);
	node_drain(w->nodes[0]);
	world_send_packet(w, 0);
	world_run(w, 0);
	world_pump(w);
	assert_int_equal(w->got[1], 2);
	world_destroy(w);
}

static void test_own_key_is_no_peer(void **state)
{
	struct world *w = world_create();
	struct wg_peer *peer;

	(void)state;
	assert_int_equal(
		wg_device_add_peer(w->nodes[0]->device, w->public_keys[0], &peer), -EINVAL);
	/* A peer whose key becomes our own goes. */
	wg_device_set_private_key(w->nodes[0]->device, w->private_keys[1], w->now);
	assert_int_equal(wg_device_peer_count(w->nodes[0]->device), 0);
	assert_null(wg_device_find_peer(w->nodes[0]->device, w->public_keys[1]));
	node_drain(w->nodes[0]);
	assert_int_equal(w->nodes[0]->counts.peers_removed, 1);
	world_destroy(w);
}

static void test_low_order_public_key(void **state)
{
	struct world *w = world_create();
	uint8_t zero[WG_KEY_BYTES] = {0};
	struct wg_peer *peer = add_peer(w->nodes[0], zero);
	int packet = 1;

	(void)state;
	wg_peer_set_endpoint(peer, &w->endpoints[1]);
	assert_null(wg_peer_stage(peer, &packet, w->now));
	assert_ptr_equal(wg_peer_unstage(peer), &packet);
	node_drain(w->nodes[0]);
	world_run(w, 100 * SEC);
	assert_int_equal(world_initiations(w, 0), 0);
	world_destroy(w);
}

static void test_allowed_ip_moves(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[0];
	uint8_t key[WG_KEY_BYTES] = {9};
	struct wg_peer *peer = add_peer(node, key);
	const void *cursor = NULL;
	struct ip_prefix prefix, masked;

	(void)state;
	assert_true(ip_prefix_parse("10.1.2.3/16", &prefix));
	masked = prefix;
	ip_prefix_mask(&masked);
	assert_int_equal(wg_peer_add_allowed_ip(w->peers[0], &prefix), 0);
	assert_int_equal(wg_peer_add_allowed_ip(peer, &prefix), 0);
	node_drain(node);
	assert_int_equal(node->counts.prefixes_set, 2);
	assert_int_equal(node->counts.prefixes_cleared, 0);
	assert_false(wg_peer_next_allowed_ip(w->peers[0], &cursor, &prefix));
	assert_true(wg_peer_next_allowed_ip(peer, &cursor, &prefix));
	assert_true(ip_prefix_equal(&prefix, &masked));
	assert_false(wg_peer_next_allowed_ip(peer, &cursor, &prefix));
	wg_peer_remove_allowed_ip(w->peers[0], &prefix); /* not its own any more */
	assert_quiet(node);
	wg_peer_remove_allowed_ip(peer, &prefix);
	node_drain(node);
	assert_int_equal(node->counts.prefixes_cleared, 1);
	world_destroy(w);
}

static void test_removal_reports_all_before(void **state)
{
	struct world *w = world_create();
	struct wg_device *device = w->nodes[0]->device;
	struct wg_peer *peer = w->peers[0];
	struct ip_prefix prefix;
	struct wg_action action;
	unsigned seen[WG_ACT_PREFIX_CLEAR + 1] = {0};

	(void)state;
	assert_true(ip_prefix_parse("10.0.0.0/8", &prefix));
	wg_peer_add_allowed_ip(peer, &prefix);
	world_connect(w);
	world_run(w, 130 * SEC);
	w->cut = true;
	world_send_packet(w, 0); /* a handshake under way */
	node_stage(w->nodes[0], peer, &(struct packet){.serial = 1 << 20});
	atomic_store(&world_current(w, 0)->send_counter, WG_REJECT_AFTER_MESSAGES);
	node_stage(w->nodes[0], peer, &(struct packet){.serial = 1 << 21});
	wg_device_remove_peer(device, peer);
	while (wg_device_next_action(device, &action)) {
		assert_ptr_equal(action.peer, peer);
		seen[action.kind]++;
		if (action.kind == WG_ACT_STAGE_PURGE)
			free(wg_peer_unstage(peer));
		if (action.kind == WG_ACT_SESSION_CURRENT)
			assert_null(action.session);
		if (action.kind == WG_ACT_SESSION_RETIRE) {
			assert_int_equal(seen[WG_ACT_SESSION_CURRENT], 1);
			/* Its index finds nothing already, and is not free yet. */
			assert_null(
				wg_index_find(w->nodes[0]->indices, action.session->local_index));
			assert_int_equal(wg_index_count(w->nodes[0]->indices), 1);
			free(w->nodes[0]->sessions);
			w->nodes[0]->sessions = NULL;
			wg_session_free(device, action.session);
		}
		if (action.kind == WG_ACT_PEER_REMOVE) {
			assert_int_equal(seen[WG_ACT_STAGE_PURGE], 1);
			assert_int_equal(seen[WG_ACT_SESSION_RETIRE], 1);
			assert_int_equal(seen[WG_ACT_PREFIX_CLEAR], 1);
			free(wg_peer_user(peer));
			wg_peer_free(device, peer);
			peer = NULL;
		}
	}
	assert_null(peer);
	assert_int_equal(wg_device_deadline(device), UINT64_MAX);
	world_destroy(w);
}

/* More actions than a block of the queue holds: all come out, in order. */
static void test_many_actions_in_order(void **state)
{
	struct world *w = world_create();
	struct wg_device *device = w->nodes[0]->device;
	struct ip_prefix prefix = {.addr = {.family = IP_V4}, .bits = 32};
	uint32_t pushed = 0, popped = 0;

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		struct wg_action action;
		uint32_t leave = round % 4 == 3 ? 0 : 700;

		for (unsigned i = 0; i < 900; i++) {
			store_be32(prefix.addr.bytes, pushed++);
			assert_int_equal(wg_peer_add_allowed_ip(w->peers[0], &prefix), 0);
		}
		while (pushed - popped > leave) {
			assert_true(wg_device_next_action(device, &action));
			assert_int_equal(action.kind, WG_ACT_PREFIX_SET);
			assert_int_equal(load_be32(action.prefix.addr.bytes), popped++);
		}
	}
	assert_quiet(w->nodes[0]);
	world_destroy(w);
}

/* So that a thousand peers due at once do not keep control from all else. */
static void test_tick_is_bounded(void **state)
{
	struct world *w = world_create();
	struct wg_device *device = w->nodes[0]->device;
	uint8_t key[WG_KEY_BYTES] = {0};

	(void)state;
	for (unsigned i = 0; i < 3 * LIMIT_TICK_PEERS; i++) {
		struct wg_peer *peer;

		store_le32(key, i + 2);
		peer = add_peer(w->nodes[0], key);
		wg_peer_set_persistent_keepalive(peer, 25, w->now);
		wg_peer_set_endpoint(peer, &w->endpoints[1]);
	}
	w->cut = true;
	for (unsigned i = 1; i <= 3; i++) {
		assert_true(wg_device_deadline(device) <= w->now.mono_ns);
		wg_device_tick(device, w->now);
		node_drain(w->nodes[0]);
		assert_int_equal(world_initiations(w, 0), i * LIMIT_TICK_PEERS);
	}
	assert_true(wg_device_deadline(device) > w->now.mono_ns);
	world_destroy(w);
}

static void test_peer_list_and_ids(void **state)
{
	struct world *w = world_create();
	struct wg_device *device = w->nodes[0]->device;
	struct wg_peer *peers[100], *peer;
	uint8_t key[WG_KEY_BYTES] = {0};

	(void)state;
	wg_device_remove_peer(device, w->peers[0]);
	node_drain(w->nodes[0]);
	for (unsigned i = 0; i < 100; i++) {
		store_le32(key, i + 1);
		peers[i] = add_peer(w->nodes[0], key);
	}
	peer = NULL;
	for (unsigned i = 0; i < 100; i++) {
		peer = wg_device_next_peer(device, peer);
		assert_ptr_equal(peer, peers[i]);
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(wg_peer_id(peer), wg_peer_id(peers[j]));
	}
	assert_null(wg_device_next_peer(device, peer));
	for (unsigned i = 0; i < 100; i += 2)
		wg_device_remove_peer(device, peers[i]);
	assert_int_equal(wg_device_peer_count(device), 50);
	for (unsigned i = 0; i < 100; i++) {
		store_le32(key, i + 1);
		assert_ptr_equal(wg_device_find_peer(device, key), i % 2 ? peers[i] : NULL);
	}
	node_drain(w->nodes[0]);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_values_change_nothing),
		cmocka_unit_test(test_private_key_change),
		cmocka_unit_test(test_own_key_is_no_peer),
		cmocka_unit_test(test_low_order_public_key),
		cmocka_unit_test(test_allowed_ip_moves),
		cmocka_unit_test(test_removal_reports_all_before),
		cmocka_unit_test(test_many_actions_in_order),
		cmocka_unit_test(test_tick_is_bounded),
		cmocka_unit_test(test_peer_list_and_ids),
	};

	int failed = cmocka_run_group_tests_name("device: handshakes whole", tests, NULL, NULL);

	node_split_handshakes(true);
	return failed + cmocka_run_group_tests_name("device: handshakes split", tests, NULL, NULL);
}
