/* SPDX-License-Identifier: BSD-3-Clause */
/* What an interface does whose link is down, and at the moment when it comes up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "node.h"

#define SEC NS_PER_SEC

/* Two ends; what one sends the other has at once, unless the wire is cut. */
struct world {
	struct rng rng;
	struct wg_time now;
	struct node *nodes[2];
	struct wg_peer *peers[2]; /* peers[i]: of nodes[i], the other one */
	struct endpoint endpoints[2];
	bool cut;
	unsigned got[2];
	uint64_t serial;
};

static void on_send(
	void *arg, struct node *node, const struct wg_path *path, const void *data, size_t len)
{
	struct world *w = arg;
	struct wg_path back = {.remote = w->endpoints[node->id], .local = path->remote.addr};

	if (!w->cut)
		node_receive(w->nodes[1 - node->id], data, len, &back);
}

static void on_deliver(
	void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct world *w = arg;

	(void)peer;
	(void)packet;
	w->got[node->id]++;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	const struct node_hooks hooks = {.arg = w, .send = on_send, .deliver = on_deliver};
	uint8_t private_key[WG_KEY_BYTES];

	assert_non_null(w);
	w->rng.state = 42;
	w->now = (struct wg_time){1000 * SEC, 1700000000ull * SEC};
	assert_true(endpoint_parse("192.0.2.1:51820", &w->endpoints[0]));
	assert_true(endpoint_parse("198.51.100.2:1234", &w->endpoints[1]));
	for (unsigned i = 0; i < 2; i++) {
		w->nodes[i] = node_create(i, &hooks, &w->rng, w->now);
		w->nodes[i]->new_identity = true; /* initiations may follow each other at once */
		memset(private_key, (int)i + 1, WG_KEY_BYTES);
		wg_device_set_private_key(w->nodes[i]->device, private_key, w->now);
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(
			wg_device_add_peer(w->nodes[i]->device,
				wg_device_public_key(w->nodes[1 - i]->device), &w->peers[i]),
			0);
		node_drain(w->nodes[i]);
	}
	wg_peer_set_endpoint(w->peers[0], &w->endpoints[1]);
	node_drain(w->nodes[0]);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	w->cut = true;
	for (unsigned i = 0; i < 2; i++)
		node_destroy(w->nodes[i]);
	free(w);
	return 0;
}

static void set_running(struct world *w, bool running)
{
	wg_device_set_running(w->nodes[0]->device, running, w->now);
	node_drain(w->nodes[0]);
	node_tick(w->nodes[0], w->now);
}

/* Time passes, with all that is due in it. */
static void run(struct world *w, uint64_t ns)
{
	uint64_t end_ns = w->now.mono_ns + ns;

	while (w->now.mono_ns < end_ns)
		nodes_step(w->nodes, &w->now, end_ns);
}

static void send_packet(struct world *w)
{
	const struct packet packet = {.from = 0, .to = 1, .serial = ++w->serial};

	node_send(w->nodes[0], w->peers[0], &packet);
}

static void set_keepalive(struct world *w, uint16_t seconds)
{
	wg_peer_set_persistent_keepalive(w->peers[0], seconds, w->now);
	node_drain(w->nodes[0]);
}

/* Would catch an initiation into nowhere, and timers that go on for nothing. */
static void test_nothing_begins_while_down(void **state)
{
	struct world *w = *state;

	set_running(w, false);
	set_keepalive(w, 25);
	send_packet(w);
	run(w, 200 * SEC);
	assert_int_equal(w->nodes[0]->counts.initiations, 0);
	assert_int_equal(node_deadline(w->nodes[0]), UINT64_MAX);
}

/* `wg setconf`, then `ip link set up`: the tunnel is there at once, not after a retry. */
static void test_keepalive_at_once_when_up(void **state)
{
	struct world *w = *state;

	set_running(w, false);
	set_keepalive(w, 25);
	run(w, SEC);
	set_running(w, true);
	assert_int_equal(w->nodes[0]->counts.initiations, 1);
	assert_non_null(wg_peer_current_session(w->peers[0]));
	/* And goes on as configured. */
	assert_int_equal(w->nodes[1]->counts.opened, 1);
	run(w, 26 * SEC);
	assert_int_equal(w->nodes[1]->counts.opened, 2);
}

/* What was sent just before the link went down does not hold up what comes after. */
static void test_begins_anew_when_up(void **state)
{
	struct world *w = *state;

	w->cut = true;
	set_keepalive(w, 25);
	assert_int_equal(w->nodes[0]->counts.initiations, 1);
	run(w, SEC);
	set_running(w, false);
	w->cut = false;
	run(w, SEC);
	set_running(w, true);
	assert_int_equal(w->nodes[0]->counts.initiations, 2);
	assert_non_null(wg_peer_current_session(w->peers[0]));
}

/* Packets may come a moment before the news that the link is up. */
static void test_staged_before_up_leave_when_up(void **state)
{
	struct world *w = *state;

	set_running(w, false);
	send_packet(w);
	send_packet(w);
	assert_int_equal(w->nodes[0]->counts.dropped, 0);
	run(w, SEC);
	set_running(w, true);
	assert_int_equal(w->got[1], 2);
}

/* But they do not wait for long, and what waited when the link went down does not at all. */
static void test_staged_are_purged(void **state)
{
	struct world *w = *state;

	w->cut = true;
	send_packet(w);
	assert_int_equal(w->nodes[0]->counts.initiations, 1);
	set_running(w, false);
	assert_int_equal(w->nodes[0]->counts.purged, 1);
	send_packet(w);
	run(w, 6 * SEC);
	assert_int_equal(w->nodes[0]->counts.purged, 2);
	set_running(w, true);
	run(w, 60 * SEC);
	assert_int_equal(w->nodes[0]->counts.initiations, 1);
}

/* Keys do not outlive the link; the tunnel comes back with new ones. */
static void test_sessions_end_with_the_link(void **state)
{
	struct world *w = *state;
	unsigned opened;

	set_keepalive(w, 25);
	assert_non_null(wg_peer_current_session(w->peers[0]));
	opened = w->nodes[1]->counts.opened;
	set_running(w, false);
	assert_null(wg_peer_current_session(w->peers[0]));
	run(w, 60 * SEC);
	assert_int_equal(node_deadline(w->nodes[0]), UINT64_MAX);
	assert_int_equal(w->nodes[1]->counts.opened, opened);
	set_running(w, true);
	assert_int_equal(w->nodes[0]->counts.initiations, 2);
	assert_int_equal(w->nodes[1]->counts.opened, opened + 1);
}

/* What was sent or received just before the link went down asks for nothing afterwards. */
static void test_nothing_is_owed_from_before(void **state)
{
	struct world *w = *state;

	send_packet(w); /* which nobody answers */
	assert_int_equal(w->got[1], 1);
	set_running(w, false);
	set_running(w, true);
	run(w, 60 * SEC);
	assert_int_equal(w->nodes[0]->counts.initiations, 1);
}

/* Only what changes has a keepalive sent. */
static void test_the_same_state_changes_nothing(void **state)
{
	struct world *w = *state;

	w->cut = true;
	set_keepalive(w, 25);
	set_running(w, true);
	assert_int_equal(w->nodes[0]->counts.initiations, 1);
	set_running(w, false);
	set_running(w, false);
	set_running(w, true);
	assert_int_equal(w->nodes[0]->counts.initiations, 2);
	set_running(w, true);
	assert_int_equal(w->nodes[0]->counts.initiations, 2);
}

static bool has_local(const struct world *w)
{
	return wg_peer_path(w->peers[0])->local.family != IP_NONE;
}

/* Our address that the peer spoke to is forgotten, once: where it speaks to next counts. */
static void test_sources_are_forgotten(void **state)
{
	struct world *w = *state;
	unsigned endpoints;

	send_packet(w);
	assert_true(has_local(w));
	endpoints = w->nodes[0]->counts.endpoints;
	wg_device_forget_sources(w->nodes[0]->device);
	node_drain(w->nodes[0]);
	assert_false(has_local(w));
	assert_true(endpoint_equal(&wg_peer_path(w->peers[0])->remote, &w->endpoints[1]));
	assert_int_equal(w->nodes[0]->counts.endpoints, endpoints + 1);
	/* Nothing is there to be forgotten. */
	wg_device_forget_sources(w->nodes[0]->device);
	node_drain(w->nodes[0]);
	assert_int_equal(w->nodes[0]->counts.endpoints, endpoints + 1);
	wg_peer_hint_roam(w->peers[0],
		&(struct wg_path){.remote = w->endpoints[1], .local = w->endpoints[0].addr});
	run(w, SEC);
	assert_true(has_local(w));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_begins_while_down),
		TEST(test_keepalive_at_once_when_up),
		TEST(test_begins_anew_when_up),
		TEST(test_staged_before_up_leave_when_up),
		TEST(test_staged_are_purged),
		TEST(test_sessions_end_with_the_link),
		TEST(test_nothing_is_owed_from_before),
		TEST(test_the_same_state_changes_nothing),
		TEST(test_sources_are_forgotten),
	};
	int failed = cmocka_run_group_tests_name("handshakes whole", tests, NULL, NULL);

	node_split_handshakes(true);
	return failed + cmocka_run_group_tests_name("handshakes split", tests, NULL, NULL);
}
