/* SPDX-License-Identifier: BSD-3-Clause */
/* Handshakes of two devices in memory, with all that may go wrong on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

/* --- Handshakes and sessions --- */

static void test_both_ways(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	assert_int_equal(w->nodes[1]->counts.responses, 1);
	assert_int_equal(w->nodes[0]->counts.keepalives, 0);
	assert_int_equal(wg_peer_latest_handshake_ns(w->peers[0]), WALL_NS);
	assert_int_equal(wg_peer_latest_handshake_ns(w->peers[1]), WALL_NS);
	for (unsigned i = 0; i < 20; i++) {
		world_send_packet(w, i % 2);
		world_pump(w);
	}
	assert_int_equal(w->got[0], 10);
	assert_int_equal(w->got[1], 10);
	assert_true(world_current(w, 0)->initiator);
	assert_false(world_current(w, 1)->initiator);
	assert_int_equal(world_current(w, 0)->local_index, world_current(w, 1)->remote_index);
	assert_memory_equal(
		world_current(w, 0)->send_key, world_current(w, 1)->receive_key, WG_KEY_BYTES);
	assert_memory_equal(
		world_current(w, 1)->send_key, world_current(w, 0)->receive_key, WG_KEY_BYTES);
	world_destroy(w);
}

static void test_preshared_key(void **state)
{
	struct world *w = world_create();
	uint8_t psk[WG_KEY_BYTES];

	(void)state;
	memset(psk, 9, sizeof(psk));
	wg_peer_set_preshared_key(w->peers[0], psk);
	assert_memory_equal(wg_peer_preshared_key(w->peers[0]), psk, sizeof(psk));
	world_send_packet(w, 0);
	world_deliver_one(w);
	assert_int_equal(w->nodes[1]->counts.responses, 1);
	assert_false(world_deliver_one(w));
	assert_null(world_current(w, 0));
	assert_int_equal(wg_device_verdicts(w->nodes[0]->device)[WG_BAD_RESPONSE], 1);
	wg_peer_set_preshared_key(w->peers[1], psk);
	world_run(w, 6 * SEC);
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	/* Another key later does not end the session. */
	wg_peer_set_preshared_key(w->peers[1], NULL);
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(w->got[1], 2);
	world_destroy(w);
}

static void test_staged_in_order_oldest_lost(void **state)
{
	struct world *w = world_create();

	(void)state;
	for (unsigned i = 0; i < WG_STAGED_PACKETS + 10; i++)
		world_send_packet(w, 0);
	assert_int_equal(world_initiations(w, 0), 1);
	assert_int_equal(w->nodes[0]->counts.dropped, 10);
	world_pump(w);
	assert_int_equal(w->got[1], WG_STAGED_PACKETS);
	assert_int_equal(w->last_serial[1], WG_STAGED_PACKETS + 10);
	world_destroy(w);
}

/* A session arrived while the packet was on its way to control. */
static void test_staged_with_session_is_flushed(void **state)
{
	struct world *w = world_create();
	struct packet packet = {.from = 0, .to = 1, .serial = 1000};

	(void)state;
	world_connect(w);
	node_stage(w->nodes[0], w->peers[0], &packet);
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	assert_int_equal(world_initiations(w, 0), 1);
	world_destroy(w);
}

static void test_no_endpoint_gives_packet_back(void **state)
{
	struct world *w = world_create();
	uint8_t key[WG_KEY_BYTES] = {9};
	struct wg_peer *peer = add_peer(w->nodes[0], key);
	int packet;

	(void)state;
	assert_ptr_equal(wg_peer_stage(peer, &packet, w->now), &packet);
	assert_quiet(w->nodes[0]);
	world_destroy(w);
}

/* The responder's session must not be used before the initiator has proven its keys. */
static void test_responder_waits_for_confirmation(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_send_packet(w, 0);
	world_deliver_one(w); /* the initiation */
	assert_int_equal(w->nodes[1]->counts.published, 1);
	assert_null(world_current(w, 1));
	world_send_packet(w, 1); /* staged: no session to send with */
	assert_int_equal(w->nodes[1]->counts.data, 0);
	assert_int_equal(world_initiations(w, 1), 0); /* a handshake is under way already */
	world_deliver_one(w);			      /* the response */
	assert_int_equal(w->nodes[1]->counts.data, 0);
	world_deliver_one(w); /* the first packet */
	assert_int_equal(w->nodes[1]->counts.data, 1);
	world_pump(w);
	assert_int_equal(w->got[0], 1);
	world_destroy(w);
}

static void test_keepalive_confirms_when_nothing_is_staged(void **state)
{
	struct world *w = world_create();

	(void)state;
	wg_peer_set_persistent_keepalive(w->peers[0], 25, w->now);
	node_drain(w->nodes[0]);
	assert_int_equal(world_initiations(w, 0), 1);
	world_pump(w);
	assert_int_equal(w->nodes[0]->counts.keepalives, 1);
	assert_non_null(world_current(w, 1));
	world_destroy(w);
}

/* A lost response to a responder that wants to send: it asks itself once it may. */
static void test_responder_initiates_after_lost_response(void **state)
{
	struct world *w = world_create();
	uint64_t at;

	(void)state;
	world_send_packet(w, 0);
	w->cut = true;
	world_deliver_one(w);
	world_run(w, 1 * SEC);
	world_send_packet(w, 1);
	assert_int_equal(world_initiations(w, 1), 0);
	at = world_run_until_changed(w, &w->nodes[1]->counts.initiations, 10 * SEC);
	assert_int_equal(at, START_NS + 5 * SEC);
	world_destroy(w);
}

static void test_simultaneous_initiations(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_send_packet(w, 0);
	world_send_packet(w, 1);
	assert_int_equal(world_initiations(w, 0), 1);
	assert_int_equal(world_initiations(w, 1), 1);
	world_pump(w); /* each answers, and thereby forgets its own initiation */
	assert_null(world_current(w, 0));
	assert_null(world_current(w, 1));
	world_live_to(w, START_NS + 6 * SEC); /* the jitter decides who is first */
	assert_int_equal(w->got[0], 1);
	assert_int_equal(w->got[1], 1);
	world_send_packet(w, 0);
	world_send_packet(w, 1);
	world_pump(w);
	assert_int_equal(w->got[0], 2);
	assert_int_equal(w->got[1], 2);
	/* No session but the current one, the one before it and one not confirmed. */
	assert_true(w->nodes[0]->counts.published - w->nodes[0]->counts.retired <= 3);
	world_destroy(w);
}

/*
 * Both ends renew at once: what 1 answers to 0 is lost, then 0 answers 1. Up to the first packet of
 * the new session 0 sends with the old one, and nothing of it may be lost.
 */
static void test_crossing_initiations_keep_the_session_in_use(void **state)
{
	struct world *w = world_create();
	struct datagram late;

	(void)state;
	world_connect(w);
	world_live_to(w, START_NS + 119 * SEC);
	world_run_to(w, START_NS + 121 * SEC);
	assert_int_equal(w->sent, 0);
	wg_peer_hint_rekey(w->peers[0], w->now);
	node_drain(w->nodes[0]);
	assert_int_equal(w->sent, 1);
	world_deliver_one(w); /* 0's initiation; 1's response is lost */
	assert_int_equal(w->nodes[1]->counts.responses, 2);
	world_send_packet(w, 1);
	assert_true(world_run_until_changed(w, &w->nodes[1]->counts.initiations, 20 * SEC) != 0);
	w->delivered = w->sent - 1;
	world_deliver_one(
		w); /* of all that, only 1's initiation, as nothing came back for its packet */
	assert_int_equal(w->nodes[0]->counts.responses, 1);
	world_send_packet(w, 0);
	assert_int_equal(w->sent - w->delivered, 2);
	late = w->wire[w->sent - 1];
	w->sent--;
	assert_true(world_deliver_one(w)); /* 0's response; and then what it had sent before */
	assert_true(world_current(w, 1)->initiator);
	assert_true(node_receive(w->nodes[1], late.data, late.len, &late.path));
	assert_int_equal(w->got[1], 1);
	world_pump(w);
	assert_false(world_current(w, 0)->initiator);
	world_destroy(w);
}

/* The responder's own attempts end when the initiator has proven its keys. */
static void test_confirmation_ends_own_attempts(void **state)
{
	struct world *w = world_create();

	(void)state;
	w->cut = true;
	world_send_packet(w, 1); /* an initiation that is lost */
	world_run(w, 1 * SEC);
	w->cut = false;
	world_connect(w);
	assert_int_equal(w->got[0], 1); /* what was staged */
	world_live_to(w, START_NS + 100 * SEC);
	assert_int_equal(world_initiations(w, 1), 1);
	assert_int_equal(world_initiations(w, 0), 1);
	world_destroy(w);
}

/* Packets of the session before are taken until its own end; then its memory goes. */
static void test_previous_session_until_its_end(void **state)
{
	struct world *w = world_create();
	struct datagram late[2];

	(void)state;
	world_connect(w);
	world_live_to(w, START_NS + 119 * SEC);
	for (unsigned i = 0; i < 2; i++) {
		world_send_packet(w, 0);
		late[i] = w->wire[0];
		w->sent = 0;
	}
	world_live_to(w, START_NS + 121 * SEC);
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(world_initiations(w, 0), 2);
	w->last_serial[1] = 0;
	world_live_to(w, START_NS + 180 * SEC - 1);
	assert_true(node_receive(w->nodes[1], late[0].data, late[0].len, &late[0].path));
	world_live_to(w, START_NS + 180 * SEC);
	assert_false(node_receive(w->nodes[1], late[1].data, late[1].len, &late[1].path));
	world_live_to(w, START_NS + 200 * SEC);
	assert_int_equal(w->nodes[1]->counts.retired, 1);
	assert_int_equal(wg_index_count(w->nodes[1]->indices), 1);
	world_destroy(w);
}

/* The old response arrives after the next initiation went out: its index is gone. */
static void test_late_response_finds_nothing(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_send_packet(w, 0);
	world_deliver_one(w);
	assert_int_equal(w->sent - w->delivered, 1); /* the response waits */
	w->cut = true;
	world_run(w, 6 * SEC);
	assert_int_equal(world_initiations(w, 0), 2);
	assert_false(world_deliver_one(w));
	assert_int_equal(wg_device_verdicts(w->nodes[0]->device)[WG_UNKNOWN_INDEX], 1);
	world_destroy(w);
}

/* --- Under load --- */

static void test_cookie_under_load(void **state)
{
	struct world *w = world_create();
	const uint64_t *verdicts = wg_device_verdicts(w->nodes[1]->device);

	(void)state;
	w->nodes[1]->under_load = true;
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(verdicts[WG_COOKIE_SENT], 1);
	assert_int_equal(w->nodes[1]->counts.cookies, 1);
	assert_int_equal(w->nodes[1]->counts.responses, 0);
	assert_int_equal(world_initiations(w, 0), 1);
	world_run(w, 6 * SEC);
	world_pump(w);
	assert_int_equal(w->nodes[1]->counts.cookies, 1);
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
}

/* A cookie reply is not authenticated by the peer: it moves nothing. */
static void test_cookie_reply_does_not_roam(void **state)
{
	struct world *w = world_create();
	struct wg_path elsewhere = {endpoint_of("203.0.113.9:9"), w->endpoints[0].addr};

	(void)state;
	w->nodes[1]->under_load = true;
	world_send_packet(w, 0);
	world_deliver_one(w);
	assert_true(node_receive(w->nodes[0], w->wire[1].data, w->wire[1].len, &elsewhere));
	assert_true(endpoint_equal(&wg_peer_path(w->peers[0])->remote, &w->endpoints[1]));
	world_destroy(w);
}

static void test_source_limit_spares_responses(void **state)
{
	struct world *w = world_create();
	const uint64_t *verdicts[2] = {
		wg_device_verdicts(w->nodes[0]->device), wg_device_verdicts(w->nodes[1]->device)};
	unsigned accepted = 0;

	(void)state;
	/* Cookies for both. */
	w->nodes[0]->under_load = w->nodes[1]->under_load = true;
	world_send_packet(w, 0);
	world_pump(w); /* cookie for the initiation */
	world_run(w, 6 * SEC);
	world_pump(w); /* cookie for the response */
	assert_int_equal(verdicts[0][WG_COOKIE_SENT], 1);
	world_run(w, 6 * SEC);
	assert_int_equal(world_initiations(w, 0), 3);
	for (unsigned i = 0; i < 20; i++) {
		const struct datagram *d = &w->wire[0];

		accepted += node_receive(w->nodes[1], d->data, d->len, &d->path);
	}
	assert_int_equal(accepted, 1);
	assert_int_equal(verdicts[1][WG_REPLAYED], 4); /* a burst of five */
	assert_int_equal(verdicts[1][WG_RATE_LIMITED], 15);
	w->delivered = 1;
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	assert_int_equal(verdicts[0][WG_RATE_LIMITED], 0);
	world_destroy(w);
}

/* All that its source may send is used up by others: the response that we asked for passes. */
static void test_response_passes_exhausted_source(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[1];
	const uint64_t *verdicts = wg_device_verdicts(node->device);
	struct datagram initiation, response;

	(void)state;
	node->under_load = true;
	world_send_packet(w, 0);
	world_pump(w); /* node 0 has a cookie now */
	world_run(w, 6 * SEC);
	initiation = w->wire[0];
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	world_run(w, 6 * SEC);
	world_pump(w);
	atomic_store(&world_current(w, 1)->send_counter, WG_REKEY_AFTER_MESSAGES);
	wg_peer_hint_rekey(w->peers[1], w->now);
	node_drain(node);
	assert_int_equal(world_initiations(w, 1), 1);
	world_deliver_one(w);
	response = w->wire[1];
	assert_int_equal(wg_message_type_of(response.data, response.len), WG_MSG_RESPONSE);
	for (unsigned i = 0; i < 20; i++)
		node_receive(node, initiation.data, initiation.len, &initiation.path);
	assert_int_equal(verdicts[WG_RATE_LIMITED], 15);
	assert_true(world_deliver_one(w));
	assert_int_equal(verdicts[WG_RATE_LIMITED], 15);
	world_pump(w);
	assert_true(world_current(w, 1)->initiator);
	world_destroy(w);
}

/* --- Malformed and forged --- */

static void test_lengths_and_forgeries(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[1];
	uint64_t verdicts[WG_VERDICT_COUNT] = {0};
	struct datagram d;

	(void)state;
	world_send_packet(w, 0);
	d = w->wire[0];
	for (size_t len = 0; len <= 200; len++) {
		for (uint8_t type = 0; type < 6; type++) {
			uint8_t *exact = calloc(1, len ? len : 1);

			assert_non_null(exact);
			if (len > 0)
				exact[0] = type;
			verdicts[node_judge(node->device, exact, len, &d.path, false, w->now)]++;
			free(exact);
		}
	}
	assert_int_equal(verdicts[WG_ACCEPTED], 0);
	assert_int_equal(verdicts[WG_BAD_MAC1], 2);
	assert_int_equal(verdicts[WG_UNKNOWN_INDEX], 1);
	assert_int_equal(verdicts[WG_BAD_MESSAGE], 201 * 6 - 3);
	/* Every bit of the real one counts, but for mac2, which is not asked for. */
	for (unsigned bit = 0; bit < (148 - 16) * 8; bit += 5) {
		uint8_t forged[148];

		memcpy(forged, d.data, sizeof(forged));
		forged[bit / 8] ^= (uint8_t)(1 << (bit % 8));
		assert_int_not_equal(
			node_judge(node->device, forged, sizeof(forged), &d.path, false, w->now),
			WG_ACCEPTED);
	}
	assert_quiet(node);
	assert_int_equal(node_deadline(node), UINT64_MAX);
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
}

static void test_no_key_and_unknown_peer(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[1];
	struct datagram d;

	(void)state;
	world_send_packet(w, 0);
	d = w->wire[0];
	wg_device_set_private_key(node->device, NULL, w->now);
	assert_null(wg_device_private_key(node->device));
	assert_int_equal(
		node_judge(node->device, d.data, d.len, &d.path, false, w->now), WG_NO_KEY);
	wg_device_set_private_key(node->device, w->private_keys[1], w->now);
	wg_device_remove_peer(node->device, w->peers[1]);
	assert_int_equal(
		node_judge(node->device, d.data, d.len, &d.path, false, w->now), WG_UNKNOWN_PEER);
	node_drain(node);
	world_destroy(w);
}

/* Without a private key of our own packets wait; nothing goes round in circles. */
static void test_without_identity(void **state)
{
	struct world *w = world_create();

	(void)state;
	wg_device_set_private_key(w->nodes[0]->device, NULL, w->now);
	world_send_packet(w, 0);
	world_run(w, 1000 * SEC);
	assert_int_equal(world_initiations(w, 0), 0);
	assert_int_equal(node_deadline(w->nodes[0]), UINT64_MAX);
	wg_device_set_private_key(w->nodes[0]->device, w->private_keys[0], w->now);
	world_send_packet(w, 0);
	world_pump(w);
	/* What could not be sent does not wait for a key. */
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
}

/* Two interfaces share the table of indices: what belongs to one means nothing to the other. */
static void test_index_of_another_interface(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[0];
	struct wg_device *twin = wg_device_create(&node->env, node->indices, node->ids);
	const struct datagram *d;
	uint32_t index;

	(void)state;
	assert_non_null(twin);
	wg_device_set_private_key(twin, w->private_keys[0], w->now);
	world_send_packet(w, 0);
	world_deliver_one(w);
	d = &w->wire[w->delivered];
	assert_int_equal(
		node_judge(twin, d->data, d->len, &d->path, false, w->now), WG_UNKNOWN_INDEX);
	world_pump(w);
	assert_int_equal(w->got[1], 1);

	/* The same for a confirmation. */
	world_run(w, 6 * SEC);
	w->delivered = w->sent = 0;
	atomic_store(&world_current(w, 1)->send_counter, WG_REKEY_AFTER_MESSAGES);
	wg_peer_hint_rekey(w->peers[1], w->now);
	node_drain(w->nodes[1]);
	world_deliver_one(w);
	index = node->sessions->session->local_index;
	assert_true(node->sessions->session != world_current(w, 0));
	wg_device_hint_confirm(twin, index, w->now);
	node_drain(node);
	assert_true(node->sessions->session != world_current(w, 0));
	world_pump(w);
	assert_int_equal(world_current(w, 0)->local_index, index);
	wg_device_free(twin);
	world_destroy(w);
}

/* --- Clocks --- */

static void test_labels_increase_when_wall_clock_steps_back(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	for (unsigned i = 0; i < 5; i++) {
		w->now.wall_ns -= 86400 * SEC;
		world_run(w, 200 * SEC);
		w->sent = w->delivered = 0;
		world_send_packet(w, 0);
		world_pump(w);
		assert_int_equal(w->got[1], i + 1);
	}
	assert_int_equal(wg_device_verdicts(w->nodes[1]->device)[WG_REPLAYED], 0);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_preshared_key),
		cmocka_unit_test(test_staged_in_order_oldest_lost),
		cmocka_unit_test(test_staged_with_session_is_flushed),
		cmocka_unit_test(test_no_endpoint_gives_packet_back),
		cmocka_unit_test(test_responder_waits_for_confirmation),
		cmocka_unit_test(test_keepalive_confirms_when_nothing_is_staged),
		cmocka_unit_test(test_responder_initiates_after_lost_response),
		cmocka_unit_test(test_simultaneous_initiations),
		cmocka_unit_test(test_crossing_initiations_keep_the_session_in_use),
		cmocka_unit_test(test_confirmation_ends_own_attempts),
		cmocka_unit_test(test_previous_session_until_its_end),
		cmocka_unit_test(test_late_response_finds_nothing),
		cmocka_unit_test(test_cookie_under_load),
		cmocka_unit_test(test_cookie_reply_does_not_roam),
		cmocka_unit_test(test_source_limit_spares_responses),
		cmocka_unit_test(test_response_passes_exhausted_source),
		cmocka_unit_test(test_lengths_and_forgeries),
		cmocka_unit_test(test_no_key_and_unknown_peer),
		cmocka_unit_test(test_without_identity),
		cmocka_unit_test(test_index_of_another_interface),
		cmocka_unit_test(test_labels_increase_when_wall_clock_steps_back),
	};

	int failed = cmocka_run_group_tests_name("handshake: handshakes whole", tests, NULL, NULL);

	node_split_handshakes(true);
	return failed +
	       cmocka_run_group_tests_name("handshake: handshakes split", tests, NULL, NULL);
}
