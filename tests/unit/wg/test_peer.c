/* SPDX-License-Identifier: BSD-3-Clause */
/* What a peer does by itself, and when, to the nanosecond; and where it is thought to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

/* --- Timers --- */

static void test_retries_with_jitter_then_gives_up(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[0];
	struct wg_path path = {w->endpoints[1], endpoint_of("203.0.113.7:1").addr};
	uint64_t last = START_NS, at;
	unsigned distinct = 0;

	(void)state;
	wg_peer_hint_roam(w->peers[0], &path);
	node_drain(node);
	w->cut = true;
	world_send_packet(w, 0);
	assert_int_equal(wg_peer_path(w->peers[0])->local.family, IP_V4);
	for (unsigned i = 1; i < 18; i++) {
		at = world_run_until_changed(w, &node->counts.initiations, 20 * SEC);
		assert_in_range(at - last, 5 * SEC, 5 * SEC + 333 * NS_PER_MS);
		distinct += at - last != 5 * SEC;
		assert_int_equal(world_initiations(w, 0), i + 1);
		/* Retries let the host choose our address anew, never the peer's. */
		assert_int_equal(wg_peer_path(w->peers[0])->local.family, IP_NONE);
		assert_true(endpoint_equal(&wg_peer_path(w->peers[0])->remote, &path.remote));
		last = at;
	}
	assert_true(distinct > 10);
	assert_int_equal(node->counts.purged, 0);
	at = world_run_until_changed(w, &node->counts.purged, 20 * SEC);
	assert_in_range(at - START_NS, 90 * SEC, 96 * SEC);
	assert_int_equal(world_initiations(w, 0), 18);
	world_run(w, 600 * SEC);
	assert_int_equal(world_initiations(w, 0), 18);
	assert_int_equal(node_deadline(node), UINT64_MAX);

	/* A later packet starts over. */
	w->cut = false;
	world_send_packet(w, 0);
	assert_int_equal(world_initiations(w, 0), 19);
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
}

static void random_ones(void *arg, void *buf, size_t len)
{
	(void)arg;
	memset(buf, 0xff, len);
}

static void random_zeros(void *arg, void *buf, size_t len)
{
	(void)arg;
	memset(buf, 0, len);
}

/* The ends of the jitter: a third of a second at most, down to none. */
static void test_least_and_most_jitter(void **state)
{
	const struct {
		void (*random)(void *arg, void *buf, size_t len);
		uint64_t jitter_ns;
	} ends[] = {{random_zeros, 0}, {random_ones, 333 * NS_PER_MS}};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world *w = world_create();
		struct node *node = w->nodes[0];
		uint64_t at;

		node->env.random = ends[i].random;
		w->cut = true;
		world_send_packet(w, 0);
		at = world_run_until_changed(w, &node->counts.initiations, 20 * SEC);
		assert_int_equal(at, START_NS + 5 * SEC + ends[i].jitter_ns);
		/* So also when a session is left without an answer. */
		w->cut = false;
		world_pump(w);
		world_run_until_changed(w, &node->counts.initiations, 20 * SEC);
		world_pump(w);
		assert_non_null(world_current(w, 0));
		w->cut = true;
		at = w->now.mono_ns;
		world_send_packet(w, 0);
		assert_int_equal(world_run_until_changed(w, &node->counts.initiations, 20 * SEC),
			at + 15 * SEC + ends[i].jitter_ns);
		world_destroy(w);
	}
}

/* Traffic does not undo the jitter: two ends with traffic would meet for ever. */
static void test_retries_keep_jitter_under_traffic(void **state)
{
	struct world *w = world_create();
	uint64_t last = START_NS;
	unsigned sent = 1, distinct = 0;

	(void)state;
	w->cut = true;
	for (unsigned i = 0; i < 10000; i++) {
		world_send_packet(w, 0);
		if (world_initiations(w, 0) > sent) {
			sent++;
			assert_in_range(w->now.mono_ns - last, 5 * SEC, 5343 * NS_PER_MS);
			distinct += w->now.mono_ns - last > 5 * SEC + 20 * NS_PER_MS;
			last = w->now.mono_ns;
		}
		world_run(w, 10 * NS_PER_MS);
	}
	assert_in_range(sent, 18, 20);
	assert_true(distinct > 10);
	world_destroy(w);
}

/* A packet in the middle gives the handshake all its attempts again. */
static void test_packet_renews_attempts(void **state)
{
	struct world *w = world_create();

	(void)state;
	w->cut = true;
	world_send_packet(w, 0);
	world_run(w, 60 * SEC);
	world_send_packet(w, 0);
	world_run(w, 80 * SEC);
	assert_int_equal(w->nodes[0]->counts.purged, 0);
	world_run(w, 30 * SEC);
	assert_int_equal(w->nodes[0]->counts.purged, 2);
	world_destroy(w);
}

static void test_one_initiation_per_rekey_timeout(void **state)
{
	struct world *w = world_create();

	(void)state;
	w->cut = true;
	for (unsigned i = 0; i < 49; i++) {
		world_send_packet(w, 0);
		world_run(w, SEC / 10);
	}
	assert_int_equal(world_initiations(w, 0), 1);
	world_destroy(w);
}

static void test_passive_keepalive(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[1];
	uint64_t data_at, at;

	(void)state;
	world_connect(w); /* node 1 has received data and sent none */
	data_at = w->now.mono_ns;
	world_run(w, 4 * SEC);
	world_send_packet(w, 0); /* more data does not put it off */
	world_pump(w);
	at = world_run_until_changed(w, &node->counts.keepalives, 30 * SEC);
	assert_int_equal(at, data_at + 10 * SEC);
	world_pump(w);
	/* A keepalive is not answered, and nothing is owed any more. */
	world_run(w, 100 * SEC);
	world_pump(w);
	assert_int_equal(node->counts.keepalives, 1);
	assert_int_equal(w->nodes[0]->counts.keepalives, 0);
	assert_int_equal(world_initiations(w, 0), 1);
	assert_int_equal(world_initiations(w, 1), 0);
	world_destroy(w);
}

/* The stamp is written between two looks of control, at any offset. */
static void test_passive_keepalive_is_exact(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	world_send_packet(w, 1);
	world_pump(w);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t data_at, at;

		world_run(w, (i * 733 % 2000) * NS_PER_MS);
		world_send_packet(w, 0);
		world_pump(w);
		data_at = w->now.mono_ns;
		if (data_at > START_NS + 100 * SEC)
			break;
		at = world_run_until_changed(w, &w->nodes[1]->counts.keepalives, 30 * SEC);
		assert_int_equal(at, data_at + 10 * SEC);
		world_pump(w);
	}
	world_destroy(w);
}

static void test_sending_settles_what_is_owed(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	world_run(w, 9 * SEC);
	world_send_packet(w, 1);
	world_pump(w);
	world_run(w, 9 * SEC); /* node 0 owes one at 19 s */
	assert_int_equal(w->nodes[0]->counts.keepalives, 0);
	assert_int_equal(w->nodes[1]->counts.keepalives, 0);
	world_run(w, 1 * SEC);
	assert_int_equal(w->nodes[0]->counts.keepalives, 1);
	assert_int_equal(w->nodes[1]->counts.keepalives, 0);
	world_destroy(w);
}

static void test_new_handshake_when_nothing_comes_back(void **state)
{
	struct world *w = world_create();
	struct wg_path path = {w->endpoints[1], endpoint_of("203.0.113.7:1").addr};
	uint64_t first, at;

	(void)state;
	world_connect(w);
	world_run(w, 3 * SEC);
	world_send_packet(w, 1); /* answered so far */
	world_pump(w);
	wg_peer_hint_roam(w->peers[0], &path);
	node_drain(w->nodes[0]);
	world_run(w, 7 * SEC);
	w->cut = true;
	first = w->now.mono_ns;
	world_send_packet(w, 0);
	world_run(w, 5 * SEC);
	world_send_packet(w, 0);
	at = world_run_until_changed(w, &w->nodes[0]->counts.initiations, 30 * SEC);
	assert_in_range(at - first, 15 * SEC, 15 * SEC + 333 * NS_PER_MS);
	assert_int_equal(wg_peer_path(w->peers[0])->local.family, IP_NONE);
	world_destroy(w);
}

static void test_persistent_keepalive(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[0];
	uint64_t last;

	(void)state;
	world_connect(w);
	world_run(w, 11 * SEC); /* the passive keepalive of node 1 */
	world_pump(w);
	wg_peer_set_persistent_keepalive(w->peers[0], 7, w->now);
	node_drain(node);
	assert_int_equal(node->counts.keepalives, 1);
	world_pump(w);
	last = w->now.mono_ns;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(world_run_until_changed(w, &node->counts.keepalives, 30 * SEC),
			last + 7 * SEC);
		last += 7 * SEC;
		world_pump(w);
	}
	/* Any authenticated packet puts it off, either way. */
	world_run(w, 6 * SEC);
	world_send_packet(w, 1);
	world_pump(w);
	last = w->now.mono_ns;
	assert_int_equal(
		world_run_until_changed(w, &node->counts.keepalives, 30 * SEC), last + 7 * SEC);
	world_pump(w);
	world_run(w, 3 * SEC);
	world_send_packet(w, 0);
	world_pump(w);
	last = w->now.mono_ns;
	assert_int_equal(
		world_run_until_changed(w, &node->counts.keepalives, 30 * SEC), last + 7 * SEC);
	world_pump(w);

	/* The same value again is no change; none stops it. */
	wg_peer_set_persistent_keepalive(w->peers[0], 7, w->now);
	assert_quiet(node);
	wg_peer_set_persistent_keepalive(w->peers[0], 0, w->now);
	assert_quiet(node);
	assert_int_equal(world_run_until_changed(w, &node->counts.keepalives, 40 * SEC), 0);
	world_destroy(w);
}

/* It does not stand in the way of the passive one. */
static void test_persistent_and_passive_keepalive(void **state)
{
	struct world *w = world_create();
	uint64_t data_at;

	(void)state;
	world_connect(w);
	world_run(w, 10 * SEC);
	world_pump(w);
	wg_peer_set_persistent_keepalive(w->peers[1], 60, w->now);
	node_drain(w->nodes[1]);
	world_pump(w);
	world_run(w, 5 * SEC);
	world_send_packet(w, 0);
	world_pump(w);
	data_at = w->now.mono_ns;
	assert_int_equal(world_run_until_changed(w, &w->nodes[1]->counts.keepalives, 40 * SEC),
		data_at + 10 * SEC);
	world_pump(w);
	assert_int_equal(world_run_until_changed(w, &w->nodes[1]->counts.keepalives, 80 * SEC),
		data_at + 70 * SEC);
	world_destroy(w);
}

static void test_persistent_keepalive_waits_for_endpoint(void **state)
{
	struct world *w = world_create();
	struct wg_peer *peer;

	(void)state;
	wg_device_remove_peer(w->nodes[0]->device, w->peers[0]);
	node_drain(w->nodes[0]);
	peer = w->peers[0] = add_peer(w->nodes[0], w->public_keys[1]);
	wg_peer_set_persistent_keepalive(peer, 25, w->now);
	node_drain(w->nodes[0]);
	world_run(w, 100 * SEC);
	assert_int_equal(world_initiations(w, 0), 0);
	wg_peer_set_endpoint(peer, &w->endpoints[1]);
	node_drain(w->nodes[0]);
	world_run(w, 0);
	assert_int_equal(world_initiations(w, 0), 1);
	world_destroy(w);
}

/* A peer that stays away: the keepalive begins a handshake for ever, slowly. */
static void test_persistent_keepalive_never_stops(void **state)
{
	struct world *w = world_create();

	(void)state;
	w->cut = true;
	wg_peer_set_persistent_keepalive(w->peers[0], 25, w->now);
	node_drain(w->nodes[0]);
	for (unsigned hour = 0; hour < 5; hour++) {
		unsigned before = world_initiations(w, 0);

		world_run(w, 3600 * SEC);
		assert_in_range(world_initiations(w, 0) - before, 500, 720);
	}
	w->cut = false;
	world_run(w, 6 * SEC);
	world_pump(w);
	assert_non_null(world_current(w, 1));
	world_destroy(w);
}

static void test_keys_erased(void **state)
{
	struct world *w = world_create();
	uint64_t born;

	(void)state;
	world_connect(w);
	born = w->now.mono_ns;
	world_run(w, 10 * SEC);
	world_pump(w); /* the passive keepalive: nothing is open */
	world_run_to(w, born + 540 * SEC - 1);
	assert_non_null(world_current(w, 0));
	world_run(w, 1);
	assert_null(world_current(w, 0));
	assert_null(world_current(w, 1));
	assert_int_equal(w->nodes[0]->counts.retired, 1);
	assert_int_equal(w->nodes[1]->counts.retired, 1);
	world_run(w, 1 * SEC);
	assert_int_equal(wg_index_count(w->nodes[0]->indices), 0);
	assert_int_equal(wg_index_count(w->nodes[1]->indices), 0);
	/* An idle peer costs nothing. */
	assert_int_equal(node_deadline(w->nodes[0]), UINT64_MAX);
	assert_int_equal(node_deadline(w->nodes[1]), UINT64_MAX);
	world_destroy(w);
}

static void test_initiator_rekeys_on_send(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	world_live_to(w, START_NS + 119 * SEC);
	world_send_packet(w, 0);
	world_send_packet(w, 1);
	world_pump(w);
	assert_int_equal(world_initiations(w, 0), 1);
	world_live_to(w, START_NS + 120 * SEC);
	world_send_packet(w, 1); /* not the responder's to do */
	world_pump(w);
	assert_int_equal(world_initiations(w, 1), 0);
	assert_int_equal(world_initiations(w, 0), 1);
	world_send_packet(w, 0);
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(world_initiations(w, 0), 2);
	assert_int_equal(w->got[1], 3);
	assert_int_equal(wg_session_age_ns(world_current(w, 0), w->now.mono_ns), 0);
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(wg_session_age_ns(world_current(w, 1), w->now.mono_ns), 0);
	/* What is under way for the session before is still accepted. */
	assert_int_equal(w->nodes[1]->counts.retired, 0);
	world_destroy(w);
}

static void test_initiator_rekeys_on_receive(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	world_live_to(w, START_NS + 164 * SEC);
	world_send_packet(w, 1);
	world_pump(w);
	assert_int_equal(world_initiations(w, 0), 1);
	world_live_to(w, START_NS + 165 * SEC);
	world_send_packet(w, 1);
	world_pump(w);
	assert_int_equal(world_initiations(w, 0), 2);
	assert_int_equal(world_initiations(w, 1), 0);
	world_destroy(w);
}

/* A hint for what is done already, or raised by a clock a little ahead. */
static void test_early_rekey_hint_may_be_raised_again(void **state)
{
	struct world *w = world_create();

	(void)state;
	wg_peer_hint_rekey(w->peers[0], w->now);
	assert_quiet(w->nodes[0]);
	world_connect(w);
	atomic_store(&world_current(w, 0)->rekey_asked, true);
	wg_peer_hint_rekey(w->peers[0], w->now);
	assert_quiet(w->nodes[0]);
	assert_false(atomic_load(&world_current(w, 0)->rekey_asked));
	/* One that was lost on its way is made up for at the next look. */
	atomic_store(&world_current(w, 0)->rekey_asked, true);
	world_run(w, 10 * SEC);
	assert_false(atomic_load(&world_current(w, 0)->rekey_asked));
	world_destroy(w);
}

static void test_session_dies_at_180_s(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	world_live_to(w, START_NS + 180 * SEC - 1);
	world_send_packet(w, 1);
	world_pump(w);
	assert_int_equal(w->got[0], 1);
	world_run(w, 1);
	world_pump(w); /* node 0 heard the last packet at more than 165 s */
	assert_int_equal(world_initiations(w, 0), 2);
	w->cut = true;
	world_run(w, 30 * SEC);
	w->cut = false;
	world_send_packet(w, 1);
	world_pump(w);
	assert_int_equal(w->got[0], 2);
	world_destroy(w);
}

static void test_message_limits(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_connect(w);
	world_run(w, 6 * SEC);
	atomic_store(&world_current(w, 1)->send_counter, WG_REKEY_AFTER_MESSAGES - 1);
	world_send_packet(w, 1);
	assert_int_equal(world_initiations(w, 1), 0);
	world_send_packet(w, 1); /* also the responder's to do */
	assert_int_equal(world_initiations(w, 1), 1);
	world_pump(w);
	assert_int_equal(w->got[0], 2);

	world_run(w, 6 * SEC);
	atomic_store(&world_current(w, 0)->send_counter, WG_REJECT_AFTER_MESSAGES - 2);
	world_send_packet(w, 0); /* sealed, the last one */
	assert_int_equal(w->nodes[0]->counts.staged, 1);
	world_send_packet(w, 0); /* staged */
	assert_int_equal(w->nodes[0]->counts.staged, 2);
	world_pump(w);
	assert_int_equal(w->got[1], 2);
	world_destroy(w);
}

/* --- Roaming --- */

static void test_roaming(void **state)
{
	struct world *w = world_create();
	uint8_t data[256];
	struct wg_path elsewhere = {endpoint_of("203.0.113.9:9"), w->endpoints[0].addr};
	size_t len;

	(void)state;
	world_connect(w);
	/* By data. */
	w->endpoints[0] = endpoint_of("[2001:db8::1]:40000");
	world_send_packet(w, 0);
	world_pump(w);
	assert_true(endpoint_equal(&wg_peer_path(w->peers[1])->remote, &w->endpoints[0]));
	assert_true(ip_addr_equal(&wg_peer_path(w->peers[1])->local, &w->endpoints[1].addr));
	/* Not by a replay of it, nor by a forgery. */
	world_send_packet(w, 0);
	memcpy(data, w->wire[0].data, len = w->wire[0].len);
	world_pump(w);
	assert_false(node_receive(w->nodes[1], data, len, &elsewhere));
	data[len - 1] ^= 1;
	assert_false(node_receive(w->nodes[1], data, len, &elsewhere));
	assert_true(endpoint_equal(&wg_peer_path(w->peers[1])->remote, &w->endpoints[0]));
	/* By an initiation. */
	w->endpoints[0] = endpoint_of("192.0.2.77:7");
	world_live_to(w, START_NS + 130 * SEC);
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(world_initiations(w, 0), 2);
	assert_true(endpoint_equal(&wg_peer_path(w->peers[1])->remote, &w->endpoints[0]));
	world_destroy(w);
}

/* Our next initiation leaves from where the peer reached us, and so does what we seal. */
static void test_initiation_leaves_from_the_address_spoken_to(void **state)
{
	struct world *w = world_create();

	(void)state;
	world_send_packet(w, 0);
	assert_int_equal(w->wire[0].source.family, IP_NONE);
	world_pump(w);
	world_live_to(w, START_NS + 120 * SEC);
	world_send_packet(w, 0);
	assert_int_equal(world_initiations(w, 0), 2);
	assert_int_equal(w->sent, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_true(ip_addr_equal(&w->wire[i].source, &w->endpoints[0].addr));
	assert_int_equal(wg_message_type_of(w->wire[1].data, w->wire[1].len), WG_MSG_INITIATION);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_retries_with_jitter_then_gives_up),
		cmocka_unit_test(test_least_and_most_jitter),
		cmocka_unit_test(test_retries_keep_jitter_under_traffic),
		cmocka_unit_test(test_packet_renews_attempts),
		cmocka_unit_test(test_one_initiation_per_rekey_timeout),
		cmocka_unit_test(test_passive_keepalive),
		cmocka_unit_test(test_passive_keepalive_is_exact),
		cmocka_unit_test(test_sending_settles_what_is_owed),
		cmocka_unit_test(test_new_handshake_when_nothing_comes_back),
		cmocka_unit_test(test_persistent_keepalive),
		cmocka_unit_test(test_persistent_and_passive_keepalive),
		cmocka_unit_test(test_persistent_keepalive_waits_for_endpoint),
		cmocka_unit_test(test_persistent_keepalive_never_stops),
		cmocka_unit_test(test_keys_erased),
		cmocka_unit_test(test_initiator_rekeys_on_send),
		cmocka_unit_test(test_initiator_rekeys_on_receive),
		cmocka_unit_test(test_early_rekey_hint_may_be_raised_again),
		cmocka_unit_test(test_session_dies_at_180_s),
		cmocka_unit_test(test_message_limits),
		cmocka_unit_test(test_roaming),
		cmocka_unit_test(test_initiation_leaves_from_the_address_spoken_to),
	};

	int failed = cmocka_run_group_tests_name("peer: handshakes whole", tests, NULL, NULL);

	node_split_handshakes(true);
	return failed + cmocka_run_group_tests_name("peer: handshakes split", tests, NULL, NULL);
}
