/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices in memory, and exact times: each timer, the rotation of sessions, what configuration
 * does and does not do.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/units.h"
#include "crypto/x25519.h"
#include "node.h"
#include "wg/messages.h"

#define SEC	 NS_PER_SEC
#define START_NS (1000 * SEC)
#define WALL_NS	 (1700000000ull * SEC)
#define WIRE_MAX 512

/* --- Two ends and a wire --- */

struct datagram {
	unsigned to;
	struct wg_path path; /* as the receiver sees it */
	size_t len;
	uint8_t data[256];
};

struct world {
	struct rng rng;
	struct wg_time now;
	struct node *nodes[2];
	struct wg_peer *peers[2]; /* peers[i]: of nodes[i], the other one */
	uint8_t private_keys[2][WG_KEY_BYTES], public_keys[2][WG_KEY_BYTES];
	struct endpoint endpoints[2];
	struct datagram wire[WIRE_MAX];
	unsigned sent, delivered;
	bool cut; /* datagrams are lost */
	unsigned got[2];
	uint64_t serial, last_serial[2];
};

static unsigned other(unsigned i)
{
	return 1 - i;
}

static void on_send(
	void *arg, struct node *node, const struct wg_path *path, const void *data, size_t len)
{
	struct world *w = arg;
	struct datagram *d;

	if (w->cut || !endpoint_equal(&path->remote, &w->endpoints[other(node->id)]))
		return;
	assert_true(w->sent < WIRE_MAX && len <= sizeof(d->data));
	d = &w->wire[w->sent++];
	d->to = other(node->id);
	d->path.remote = w->endpoints[node->id];
	d->path.local = w->endpoints[other(node->id)].addr;
	d->len = len;
	memcpy(d->data, data, len);
}

static void on_deliver(
	void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct world *w = arg;

	assert_ptr_equal(peer, w->peers[node->id]);
	assert_true(packet->serial > w->last_serial[node->id]);
	w->last_serial[node->id] = packet->serial;
	w->got[node->id]++;
}

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint ep;

	assert_true(endpoint_parse(text, &ep));
	return ep;
}

static struct wg_peer *add_peer(struct node *node, const uint8_t public_key[WG_KEY_BYTES])
{
	struct wg_peer *peer;

	assert_int_equal(wg_device_add_peer(node->device, public_key, &peer), 0);
	node_drain(node);
	return peer;
}

static struct world *world_create(void)
{
	struct world *w = calloc(1, sizeof(*w));
	struct node_hooks hooks = {.arg = w, .send = on_send, .deliver = on_deliver};

	assert_non_null(w);
	w->rng.state = 42;
	w->now = (struct wg_time){START_NS, WALL_NS};
	w->endpoints[0] = endpoint_of("192.0.2.1:51820");
	w->endpoints[1] = endpoint_of("198.51.100.2:1234");
	for (unsigned i = 0; i < 2; i++) {
		w->nodes[i] = node_create(i, &hooks, &w->rng, w->now);
		memset(w->private_keys[i], (int)i + 1, WG_KEY_BYTES);
		x25519_clamp(w->private_keys[i]);
		x25519_public(w->public_keys[i], w->private_keys[i]);
		wg_device_set_private_key(w->nodes[i]->device, w->private_keys[i], w->now);
	}
	for (unsigned i = 0; i < 2; i++) {
		w->peers[i] = add_peer(w->nodes[i], w->public_keys[other(i)]);
		wg_peer_set_endpoint(w->peers[i], &w->endpoints[other(i)]);
		node_drain(w->nodes[i]);
	}
	return w;
}

static void world_destroy(struct world *w)
{
	node_destroy(w->nodes[0]);
	node_destroy(w->nodes[1]);
	free(w);
}

/* Delivers one datagram. */
static bool deliver_one(struct world *w)
{
	const struct datagram *d = &w->wire[w->delivered++];
	bool accepted = node_receive(w->nodes[d->to], d->data, d->len, &d->path);

	if (w->delivered == w->sent)
		w->delivered = w->sent = 0;
	return accepted;
}

static void pump(struct world *w)
{
	while (w->delivered < w->sent)
		deliver_one(w);
}

/* Time goes on to at_ns, with all that is due before. */
static void pass_to(struct world *w, uint64_t at_ns, bool deliver)
{
	for (;;) {
		uint64_t next_ns = at_ns;

		for (unsigned i = 0; i < 2; i++)
			if (node_deadline(w->nodes[i]) < next_ns)
				next_ns = node_deadline(w->nodes[i]);
		if (next_ns > w->now.mono_ns) {
			w->now.wall_ns += next_ns - w->now.mono_ns;
			w->now.mono_ns = next_ns;
		}
		for (unsigned i = 0; i < 2; i++)
			node_tick(w->nodes[i], w->now);
		if (deliver)
			pump(w);
		if (w->now.mono_ns >= at_ns)
			return;
	}
}

/* Nothing is delivered. */
static void run_to(struct world *w, uint64_t at_ns)
{
	pass_to(w, at_ns, false);
}

/* All is delivered as soon as it is sent. */
static void live_to(struct world *w, uint64_t at_ns)
{
	pass_to(w, at_ns, true);
}

static void run(struct world *w, uint64_t ns)
{
	run_to(w, w->now.mono_ns + ns);
}

/* Goes on, delivering nothing, until *count changes; returns when it did, or 0 by then. */
static uint64_t run_until_changed(struct world *w, const unsigned *count, uint64_t limit_ns)
{
	uint64_t end_ns = w->now.mono_ns + limit_ns;
	unsigned before = *count;

	while (*count == before && w->now.mono_ns < end_ns) {
		uint64_t next_ns = end_ns;

		for (unsigned i = 0; i < 2; i++)
			if (node_deadline(w->nodes[i]) < next_ns)
				next_ns = node_deadline(w->nodes[i]);
		run_to(w, next_ns);
	}
	return *count == before ? 0 : w->now.mono_ns;
}

static void send_packet(struct world *w, unsigned from)
{
	struct packet packet = {.from = from, .to = other(from), .serial = ++w->serial};

	node_send(w->nodes[from], w->peers[from], &packet);
}

/* A session, node 0 the initiator; the wire is empty then. */
static void connect(struct world *w)
{
	send_packet(w, 0);
	pump(w);
	assert_int_equal(w->got[1], 1);
	assert_non_null(wg_peer_current_session(w->peers[0]));
	assert_non_null(wg_peer_current_session(w->peers[1]));
	w->got[1] = 0;
}

static struct wg_session *current(struct world *w, unsigned i)
{
	return wg_peer_current_session(w->peers[i]);
}

static unsigned initiations(struct world *w, unsigned i)
{
	return w->nodes[i]->counts.initiations;
}

static void assert_quiet(struct node *node)
{
	struct wg_action action;

	assert_false(wg_device_next_action(node->device, &action));
}

/* --- Handshakes and sessions --- */

static void test_both_ways(void **state)
{
	struct world *w = world_create();

	(void)state;
	connect(w);
	assert_int_equal(w->nodes[1]->counts.responses, 1);
	assert_int_equal(w->nodes[0]->counts.keepalives, 0);
	assert_int_equal(wg_peer_latest_handshake_ns(w->peers[0]), WALL_NS);
	assert_int_equal(wg_peer_latest_handshake_ns(w->peers[1]), WALL_NS);
	for (unsigned i = 0; i < 20; i++) {
		send_packet(w, i % 2);
		pump(w);
	}
	assert_int_equal(w->got[0], 10);
	assert_int_equal(w->got[1], 10);
	assert_true(current(w, 0)->initiator);
	assert_false(current(w, 1)->initiator);
	assert_int_equal(current(w, 0)->local_index, current(w, 1)->remote_index);
	assert_memory_equal(current(w, 0)->send_key, current(w, 1)->receive_key, WG_KEY_BYTES);
	assert_memory_equal(current(w, 1)->send_key, current(w, 0)->receive_key, WG_KEY_BYTES);
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
	send_packet(w, 0);
	deliver_one(w);
	assert_int_equal(w->nodes[1]->counts.responses, 1);
	assert_false(deliver_one(w));
	assert_null(current(w, 0));
	assert_int_equal(wg_device_verdicts(w->nodes[0]->device)[WG_BAD_RESPONSE], 1);
	wg_peer_set_preshared_key(w->peers[1], psk);
	run(w, 6 * SEC);
	pump(w);
	assert_int_equal(w->got[1], 1);
	/* Another key later does not end the session. */
	wg_peer_set_preshared_key(w->peers[1], NULL);
	send_packet(w, 0);
	pump(w);
	assert_int_equal(w->got[1], 2);
	world_destroy(w);
}

static void test_staged_in_order_oldest_lost(void **state)
{
	struct world *w = world_create();

	(void)state;
	for (unsigned i = 0; i < WG_STAGED_PACKETS + 10; i++)
		send_packet(w, 0);
	assert_int_equal(initiations(w, 0), 1);
	assert_int_equal(w->nodes[0]->counts.dropped, 10);
	pump(w);
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
	connect(w);
	node_stage(w->nodes[0], w->peers[0], &packet);
	pump(w);
	assert_int_equal(w->got[1], 1);
	assert_int_equal(initiations(w, 0), 1);
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
	send_packet(w, 0);
	deliver_one(w); /* the initiation */
	assert_int_equal(w->nodes[1]->counts.published, 1);
	assert_null(current(w, 1));
	send_packet(w, 1); /* staged: no session to send with */
	assert_int_equal(w->nodes[1]->counts.data, 0);
	assert_int_equal(initiations(w, 1), 0); /* a handshake is under way already */
	deliver_one(w);				/* the response */
	assert_int_equal(w->nodes[1]->counts.data, 0);
	deliver_one(w); /* the first packet */
	assert_int_equal(w->nodes[1]->counts.data, 1);
	pump(w);
	assert_int_equal(w->got[0], 1);
	world_destroy(w);
}

static void test_keepalive_confirms_when_nothing_is_staged(void **state)
{
	struct world *w = world_create();

	(void)state;
	wg_peer_set_persistent_keepalive(w->peers[0], 25, w->now);
	node_drain(w->nodes[0]);
	assert_int_equal(initiations(w, 0), 1);
	pump(w);
	assert_int_equal(w->nodes[0]->counts.keepalives, 1);
	assert_non_null(current(w, 1));
	world_destroy(w);
}

/* A lost response to a responder that wants to send: it asks itself once it may. */
static void test_responder_initiates_after_lost_response(void **state)
{
	struct world *w = world_create();
	uint64_t at;

	(void)state;
	send_packet(w, 0);
	w->cut = true;
	deliver_one(w);
	run(w, 1 * SEC);
	send_packet(w, 1);
	assert_int_equal(initiations(w, 1), 0);
	at = run_until_changed(w, &w->nodes[1]->counts.initiations, 10 * SEC);
	assert_int_equal(at, START_NS + 5 * SEC);
	world_destroy(w);
}

static void test_simultaneous_initiations(void **state)
{
	struct world *w = world_create();

	(void)state;
	send_packet(w, 0);
	send_packet(w, 1);
	assert_int_equal(initiations(w, 0), 1);
	assert_int_equal(initiations(w, 1), 1);
	pump(w); /* each answers, and thereby forgets its own initiation */
	assert_null(current(w, 0));
	assert_null(current(w, 1));
	live_to(w, START_NS + 6 * SEC); /* the jitter decides who is first */
	assert_int_equal(w->got[0], 1);
	assert_int_equal(w->got[1], 1);
	send_packet(w, 0);
	send_packet(w, 1);
	pump(w);
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
	connect(w);
	live_to(w, START_NS + 119 * SEC);
	run_to(w, START_NS + 121 * SEC);
	assert_int_equal(w->sent, 0);
	wg_peer_hint_rekey(w->peers[0], w->now);
	node_drain(w->nodes[0]);
	assert_int_equal(w->sent, 1);
	deliver_one(w); /* 0's initiation; 1's response is lost */
	assert_int_equal(w->nodes[1]->counts.responses, 2);
	send_packet(w, 1);
	assert_true(run_until_changed(w, &w->nodes[1]->counts.initiations, 20 * SEC) != 0);
	w->delivered = w->sent - 1;
	deliver_one(w); /* of all that, only 1's initiation, as nothing came back for its packet */
	assert_int_equal(w->nodes[0]->counts.responses, 1);
	send_packet(w, 0);
	assert_int_equal(w->sent - w->delivered, 2);
	late = w->wire[w->sent - 1];
	w->sent--;
	assert_true(deliver_one(w)); /* 0's response; and then what it had sent before */
	assert_true(current(w, 1)->initiator);
	assert_true(node_receive(w->nodes[1], late.data, late.len, &late.path));
	assert_int_equal(w->got[1], 1);
	pump(w);
	assert_false(current(w, 0)->initiator);
	world_destroy(w);
}

/* The responder's own attempts end when the initiator has proven its keys. */
static void test_confirmation_ends_own_attempts(void **state)
{
	struct world *w = world_create();

	(void)state;
	w->cut = true;
	send_packet(w, 1); /* an initiation that is lost */
	run(w, 1 * SEC);
	w->cut = false;
	connect(w);
	assert_int_equal(w->got[0], 1); /* what was staged */
	live_to(w, START_NS + 100 * SEC);
	assert_int_equal(initiations(w, 1), 1);
	assert_int_equal(initiations(w, 0), 1);
	world_destroy(w);
}

/* Packets of the session before are taken until its own end; then its memory goes. */
static void test_previous_session_until_its_end(void **state)
{
	struct world *w = world_create();
	struct datagram late[2];

	(void)state;
	connect(w);
	live_to(w, START_NS + 119 * SEC);
	for (unsigned i = 0; i < 2; i++) {
		send_packet(w, 0);
		late[i] = w->wire[0];
		w->sent = 0;
	}
	live_to(w, START_NS + 121 * SEC);
	send_packet(w, 0);
	pump(w);
	assert_int_equal(initiations(w, 0), 2);
	w->last_serial[1] = 0;
	live_to(w, START_NS + 180 * SEC - 1);
	assert_true(node_receive(w->nodes[1], late[0].data, late[0].len, &late[0].path));
	live_to(w, START_NS + 180 * SEC);
	assert_false(node_receive(w->nodes[1], late[1].data, late[1].len, &late[1].path));
	live_to(w, START_NS + 200 * SEC);
	assert_int_equal(w->nodes[1]->counts.retired, 1);
	assert_int_equal(wg_index_count(w->nodes[1]->indices), 1);
	world_destroy(w);
}

/* The old response arrives after the next initiation went out: its index is gone. */
static void test_late_response_finds_nothing(void **state)
{
	struct world *w = world_create();

	(void)state;
	send_packet(w, 0);
	deliver_one(w);
	assert_int_equal(w->sent - w->delivered, 1); /* the response waits */
	w->cut = true;
	run(w, 6 * SEC);
	assert_int_equal(initiations(w, 0), 2);
	assert_false(deliver_one(w));
	assert_int_equal(wg_device_verdicts(w->nodes[0]->device)[WG_UNKNOWN_INDEX], 1);
	world_destroy(w);
}

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
	send_packet(w, 0);
	assert_int_equal(wg_peer_path(w->peers[0])->local.family, IP_V4);
	for (unsigned i = 1; i < 18; i++) {
		at = run_until_changed(w, &node->counts.initiations, 20 * SEC);
		assert_in_range(at - last, 5 * SEC, 5 * SEC + 333 * NS_PER_MS);
		distinct += at - last != 5 * SEC;
		assert_int_equal(initiations(w, 0), i + 1);
		/* Retries let the host choose our address anew, never the peer's. */
		assert_int_equal(wg_peer_path(w->peers[0])->local.family, IP_NONE);
		assert_true(endpoint_equal(&wg_peer_path(w->peers[0])->remote, &path.remote));
		last = at;
	}
	assert_true(distinct > 10);
	assert_int_equal(node->counts.purged, 0);
	at = run_until_changed(w, &node->counts.purged, 20 * SEC);
	assert_in_range(at - START_NS, 90 * SEC, 96 * SEC);
	assert_int_equal(initiations(w, 0), 18);
	run(w, 600 * SEC);
	assert_int_equal(initiations(w, 0), 18);
	assert_int_equal(node_deadline(node), UINT64_MAX);

	/* A later packet starts over. */
	w->cut = false;
	send_packet(w, 0);
	assert_int_equal(initiations(w, 0), 19);
	pump(w);
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
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
		send_packet(w, 0);
		if (initiations(w, 0) > sent) {
			sent++;
			assert_in_range(w->now.mono_ns - last, 5 * SEC, 5343 * NS_PER_MS);
			distinct += w->now.mono_ns - last > 5 * SEC + 20 * NS_PER_MS;
			last = w->now.mono_ns;
		}
		run(w, 10 * NS_PER_MS);
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
	send_packet(w, 0);
	run(w, 60 * SEC);
	send_packet(w, 0);
	run(w, 80 * SEC);
	assert_int_equal(w->nodes[0]->counts.purged, 0);
	run(w, 30 * SEC);
	assert_int_equal(w->nodes[0]->counts.purged, 2);
	world_destroy(w);
}

static void test_one_initiation_per_rekey_timeout(void **state)
{
	struct world *w = world_create();

	(void)state;
	w->cut = true;
	for (unsigned i = 0; i < 49; i++) {
		send_packet(w, 0);
		run(w, SEC / 10);
	}
	assert_int_equal(initiations(w, 0), 1);
	world_destroy(w);
}

static void test_passive_keepalive(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[1];
	uint64_t data_at, at;

	(void)state;
	connect(w); /* node 1 has received data and sent none */
	data_at = w->now.mono_ns;
	run(w, 4 * SEC);
	send_packet(w, 0); /* more data does not put it off */
	pump(w);
	at = run_until_changed(w, &node->counts.keepalives, 30 * SEC);
	assert_int_equal(at, data_at + 10 * SEC);
	pump(w);
	/* A keepalive is not answered, and nothing is owed any more. */
	run(w, 100 * SEC);
	pump(w);
	assert_int_equal(node->counts.keepalives, 1);
	assert_int_equal(w->nodes[0]->counts.keepalives, 0);
	assert_int_equal(initiations(w, 0), 1);
	assert_int_equal(initiations(w, 1), 0);
	world_destroy(w);
}

/* The stamp is written between two looks of control, at any offset. */
static void test_passive_keepalive_is_exact(void **state)
{
	struct world *w = world_create();

	(void)state;
	connect(w);
	send_packet(w, 1);
	pump(w);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t data_at, at;

		run(w, (i * 733 % 2000) * NS_PER_MS);
		send_packet(w, 0);
		pump(w);
		data_at = w->now.mono_ns;
		if (data_at > START_NS + 100 * SEC)
			break;
		at = run_until_changed(w, &w->nodes[1]->counts.keepalives, 30 * SEC);
		assert_int_equal(at, data_at + 10 * SEC);
		pump(w);
	}
	world_destroy(w);
}

static void test_sending_settles_what_is_owed(void **state)
{
	struct world *w = world_create();

	(void)state;
	connect(w);
	run(w, 9 * SEC);
	send_packet(w, 1);
	pump(w);
	run(w, 9 * SEC); /* node 0 owes one at 19 s */
	assert_int_equal(w->nodes[0]->counts.keepalives, 0);
	assert_int_equal(w->nodes[1]->counts.keepalives, 0);
	run(w, 1 * SEC);
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
	connect(w);
	run(w, 3 * SEC);
	send_packet(w, 1); /* answered so far */
	pump(w);
	wg_peer_hint_roam(w->peers[0], &path);
	node_drain(w->nodes[0]);
	run(w, 7 * SEC);
	w->cut = true;
	first = w->now.mono_ns;
	send_packet(w, 0);
	run(w, 5 * SEC);
	send_packet(w, 0);
	at = run_until_changed(w, &w->nodes[0]->counts.initiations, 30 * SEC);
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
	connect(w);
	run(w, 11 * SEC); /* the passive keepalive of node 1 */
	pump(w);
	wg_peer_set_persistent_keepalive(w->peers[0], 7, w->now);
	node_drain(node);
	assert_int_equal(node->counts.keepalives, 1);
	pump(w);
	last = w->now.mono_ns;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(
			run_until_changed(w, &node->counts.keepalives, 30 * SEC), last + 7 * SEC);
		last += 7 * SEC;
		pump(w);
	}
	/* Any authenticated packet puts it off, either way. */
	run(w, 6 * SEC);
	send_packet(w, 1);
	pump(w);
	last = w->now.mono_ns;
	assert_int_equal(run_until_changed(w, &node->counts.keepalives, 30 * SEC), last + 7 * SEC);
	pump(w);
	run(w, 3 * SEC);
	send_packet(w, 0);
	pump(w);
	last = w->now.mono_ns;
	assert_int_equal(run_until_changed(w, &node->counts.keepalives, 30 * SEC), last + 7 * SEC);
	pump(w);

	/* The same value again is no change; none stops it. */
	wg_peer_set_persistent_keepalive(w->peers[0], 7, w->now);
	assert_quiet(node);
	wg_peer_set_persistent_keepalive(w->peers[0], 0, w->now);
	assert_quiet(node);
	assert_int_equal(run_until_changed(w, &node->counts.keepalives, 40 * SEC), 0);
	world_destroy(w);
}

/* It does not stand in the way of the passive one. */
static void test_persistent_and_passive_keepalive(void **state)
{
	struct world *w = world_create();
	uint64_t data_at;

	(void)state;
	connect(w);
	run(w, 10 * SEC);
	pump(w);
	wg_peer_set_persistent_keepalive(w->peers[1], 60, w->now);
	node_drain(w->nodes[1]);
	pump(w);
	run(w, 5 * SEC);
	send_packet(w, 0);
	pump(w);
	data_at = w->now.mono_ns;
	assert_int_equal(run_until_changed(w, &w->nodes[1]->counts.keepalives, 40 * SEC),
		data_at + 10 * SEC);
	pump(w);
	assert_int_equal(run_until_changed(w, &w->nodes[1]->counts.keepalives, 80 * SEC),
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
	run(w, 100 * SEC);
	assert_int_equal(initiations(w, 0), 0);
	wg_peer_set_endpoint(peer, &w->endpoints[1]);
	node_drain(w->nodes[0]);
	run(w, 0);
	assert_int_equal(initiations(w, 0), 1);
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
		unsigned before = initiations(w, 0);

		run(w, 3600 * SEC);
		assert_in_range(initiations(w, 0) - before, 500, 720);
	}
	w->cut = false;
	run(w, 6 * SEC);
	pump(w);
	assert_non_null(current(w, 1));
	world_destroy(w);
}

static void test_keys_erased(void **state)
{
	struct world *w = world_create();
	uint64_t born;

	(void)state;
	connect(w);
	born = w->now.mono_ns;
	run(w, 10 * SEC);
	pump(w); /* the passive keepalive: nothing is open */
	run_to(w, born + 540 * SEC - 1);
	assert_non_null(current(w, 0));
	run(w, 1);
	assert_null(current(w, 0));
	assert_null(current(w, 1));
	assert_int_equal(w->nodes[0]->counts.retired, 1);
	assert_int_equal(w->nodes[1]->counts.retired, 1);
	run(w, 1 * SEC);
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
	connect(w);
	live_to(w, START_NS + 119 * SEC);
	send_packet(w, 0);
	send_packet(w, 1);
	pump(w);
	assert_int_equal(initiations(w, 0), 1);
	live_to(w, START_NS + 120 * SEC);
	send_packet(w, 1); /* not the responder's to do */
	pump(w);
	assert_int_equal(initiations(w, 1), 0);
	assert_int_equal(initiations(w, 0), 1);
	send_packet(w, 0);
	send_packet(w, 0);
	pump(w);
	assert_int_equal(initiations(w, 0), 2);
	assert_int_equal(w->got[1], 3);
	assert_int_equal(wg_session_age_ns(current(w, 0), w->now.mono_ns), 0);
	send_packet(w, 0);
	pump(w);
	assert_int_equal(wg_session_age_ns(current(w, 1), w->now.mono_ns), 0);
	/* What is under way for the session before is still accepted. */
	assert_int_equal(w->nodes[1]->counts.retired, 0);
	world_destroy(w);
}

static void test_initiator_rekeys_on_receive(void **state)
{
	struct world *w = world_create();

	(void)state;
	connect(w);
	live_to(w, START_NS + 164 * SEC);
	send_packet(w, 1);
	pump(w);
	assert_int_equal(initiations(w, 0), 1);
	live_to(w, START_NS + 165 * SEC);
	send_packet(w, 1);
	pump(w);
	assert_int_equal(initiations(w, 0), 2);
	assert_int_equal(initiations(w, 1), 0);
	world_destroy(w);
}

/* A hint for what is done already, or raised by a clock a little ahead. */
static void test_early_rekey_hint_may_be_raised_again(void **state)
{
	struct world *w = world_create();

	(void)state;
	wg_peer_hint_rekey(w->peers[0], w->now);
	assert_quiet(w->nodes[0]);
	connect(w);
	atomic_store(&current(w, 0)->rekey_asked, true);
	wg_peer_hint_rekey(w->peers[0], w->now);
	assert_quiet(w->nodes[0]);
	assert_false(atomic_load(&current(w, 0)->rekey_asked));
	/* One that was lost on its way is made up for at the next look. */
	atomic_store(&current(w, 0)->rekey_asked, true);
	run(w, 10 * SEC);
	assert_false(atomic_load(&current(w, 0)->rekey_asked));
	world_destroy(w);
}

static void test_session_dies_at_180_s(void **state)
{
	struct world *w = world_create();

	(void)state;
	connect(w);
	live_to(w, START_NS + 180 * SEC - 1);
	send_packet(w, 1);
	pump(w);
	assert_int_equal(w->got[0], 1);
	run(w, 1);
	pump(w); /* node 0 heard the last packet at more than 165 s */
	assert_int_equal(initiations(w, 0), 2);
	w->cut = true;
	run(w, 30 * SEC);
	w->cut = false;
	send_packet(w, 1);
	pump(w);
	assert_int_equal(w->got[0], 2);
	world_destroy(w);
}

static void test_message_limits(void **state)
{
	struct world *w = world_create();

	(void)state;
	connect(w);
	run(w, 6 * SEC);
	atomic_store(&current(w, 1)->send_counter, WG_REKEY_AFTER_MESSAGES - 1);
	send_packet(w, 1);
	assert_int_equal(initiations(w, 1), 0);
	send_packet(w, 1); /* also the responder's to do */
	assert_int_equal(initiations(w, 1), 1);
	pump(w);
	assert_int_equal(w->got[0], 2);

	run(w, 6 * SEC);
	atomic_store(&current(w, 0)->send_counter, WG_REJECT_AFTER_MESSAGES - 2);
	send_packet(w, 0); /* sealed, the last one */
	assert_int_equal(w->nodes[0]->counts.staged, 1);
	send_packet(w, 0); /* staged */
	assert_int_equal(w->nodes[0]->counts.staged, 2);
	pump(w);
	assert_int_equal(w->got[1], 2);
	world_destroy(w);
}

/* --- Under load --- */

static void test_cookie_under_load(void **state)
{
	struct world *w = world_create();
	const uint64_t *verdicts = wg_device_verdicts(w->nodes[1]->device);

	(void)state;
	w->nodes[1]->under_load = true;
	send_packet(w, 0);
	pump(w);
	assert_int_equal(verdicts[WG_COOKIE_SENT], 1);
	assert_int_equal(w->nodes[1]->counts.cookies, 1);
	assert_int_equal(w->nodes[1]->counts.responses, 0);
	assert_int_equal(initiations(w, 0), 1);
	run(w, 6 * SEC);
	pump(w);
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
	send_packet(w, 0);
	deliver_one(w);
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
	send_packet(w, 0);
	pump(w); /* cookie for the initiation */
	run(w, 6 * SEC);
	pump(w); /* cookie for the response */
	assert_int_equal(verdicts[0][WG_COOKIE_SENT], 1);
	run(w, 6 * SEC);
	assert_int_equal(initiations(w, 0), 3);
	for (unsigned i = 0; i < 20; i++) {
		const struct datagram *d = &w->wire[0];

		accepted += node_receive(w->nodes[1], d->data, d->len, &d->path);
	}
	assert_int_equal(accepted, 1);
	assert_int_equal(verdicts[1][WG_REPLAYED], 4); /* a burst of five */
	assert_int_equal(verdicts[1][WG_RATE_LIMITED], 15);
	w->delivered = 1;
	pump(w);
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
	send_packet(w, 0);
	pump(w); /* node 0 has a cookie now */
	run(w, 6 * SEC);
	initiation = w->wire[0];
	pump(w);
	assert_int_equal(w->got[1], 1);
	run(w, 6 * SEC);
	pump(w);
	atomic_store(&current(w, 1)->send_counter, WG_REKEY_AFTER_MESSAGES);
	wg_peer_hint_rekey(w->peers[1], w->now);
	node_drain(node);
	assert_int_equal(initiations(w, 1), 1);
	deliver_one(w);
	response = w->wire[1];
	assert_int_equal(wg_message_type_of(response.data, response.len), WG_MSG_RESPONSE);
	for (unsigned i = 0; i < 20; i++)
		node_receive(node, initiation.data, initiation.len, &initiation.path);
	assert_int_equal(verdicts[WG_RATE_LIMITED], 15);
	assert_true(deliver_one(w));
	assert_int_equal(verdicts[WG_RATE_LIMITED], 15);
	pump(w);
	assert_true(current(w, 1)->initiator);
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
	connect(w);
	/* By data. */
	w->endpoints[0] = endpoint_of("[2001:db8::1]:40000");
	send_packet(w, 0);
	pump(w);
	assert_true(endpoint_equal(&wg_peer_path(w->peers[1])->remote, &w->endpoints[0]));
	assert_true(ip_addr_equal(&wg_peer_path(w->peers[1])->local, &w->endpoints[1].addr));
	/* Not by a replay of it, nor by a forgery. */
	send_packet(w, 0);
	memcpy(data, w->wire[0].data, len = w->wire[0].len);
	pump(w);
	assert_false(node_receive(w->nodes[1], data, len, &elsewhere));
	data[len - 1] ^= 1;
	assert_false(node_receive(w->nodes[1], data, len, &elsewhere));
	assert_true(endpoint_equal(&wg_peer_path(w->peers[1])->remote, &w->endpoints[0]));
	/* By an initiation. */
	w->endpoints[0] = endpoint_of("192.0.2.77:7");
	live_to(w, START_NS + 130 * SEC);
	send_packet(w, 0);
	pump(w);
	assert_int_equal(initiations(w, 0), 2);
	assert_true(endpoint_equal(&wg_peer_path(w->peers[1])->remote, &w->endpoints[0]));
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
	send_packet(w, 0);
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
	pump(w);
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
}

static void test_no_key_and_unknown_peer(void **state)
{
	struct world *w = world_create();
	struct node *node = w->nodes[1];
	struct datagram d;

	(void)state;
	send_packet(w, 0);
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
	send_packet(w, 0);
	run(w, 1000 * SEC);
	assert_int_equal(initiations(w, 0), 0);
	assert_int_equal(node_deadline(w->nodes[0]), UINT64_MAX);
	wg_device_set_private_key(w->nodes[0]->device, w->private_keys[0], w->now);
	send_packet(w, 0);
	pump(w);
	assert_int_equal(w->got[1], 2);
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
	send_packet(w, 0);
	deliver_one(w);
	d = &w->wire[w->delivered];
	assert_int_equal(
		node_judge(twin, d->data, d->len, &d->path, false, w->now), WG_UNKNOWN_INDEX);
	pump(w);
	assert_int_equal(w->got[1], 1);

	/* The same for a confirmation. */
	run(w, 6 * SEC);
	w->delivered = w->sent = 0;
	atomic_store(&current(w, 1)->send_counter, WG_REKEY_AFTER_MESSAGES);
	wg_peer_hint_rekey(w->peers[1], w->now);
	node_drain(w->nodes[1]);
	deliver_one(w);
	index = node->sessions->session->local_index;
	assert_true(node->sessions->session != current(w, 0));
	wg_device_hint_confirm(twin, index, w->now);
	node_drain(node);
	assert_true(node->sessions->session != current(w, 0));
	pump(w);
	assert_int_equal(current(w, 0)->local_index, index);
	wg_device_free(twin);
	world_destroy(w);
}

/* --- Clocks --- */

static void test_labels_increase_when_wall_clock_steps_back(void **state)
{
	struct world *w = world_create();

	(void)state;
	connect(w);
	for (unsigned i = 0; i < 5; i++) {
		w->now.wall_ns -= 86400 * SEC;
		run(w, 200 * SEC);
		w->sent = w->delivered = 0;
		send_packet(w, 0);
		pump(w);
		assert_int_equal(w->got[1], i + 1);
	}
	assert_int_equal(wg_device_verdicts(w->nodes[1]->device)[WG_REPLAYED], 0);
	world_destroy(w);
}

/* --- Configuration --- */

static void test_same_values_change_nothing(void **state)
{
	struct world *w = world_create();
	struct wg_device *device = w->nodes[0]->device;
	struct ip_prefix prefix;
	struct wg_peer *peer;

	(void)state;
	assert_true(ip_prefix_parse("10.1.2.3/16", &prefix));
	assert_int_equal(wg_peer_add_allowed_ip(w->peers[0], &prefix), 0);
	connect(w);
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
	send_packet(w, 0);
	pump(w);
	assert_int_equal(w->got[1], 1);
	world_destroy(w);
}

static void test_private_key_change(void **state)
{
	struct world *w = world_create();
	uint8_t key[WG_KEY_BYTES], public_key[WG_KEY_BYTES];

	(void)state;
	w->nodes[0]->new_identity = true;
	connect(w);
	memset(key, 77, sizeof(key));
	wg_device_set_private_key(w->nodes[0]->device, key, w->now);
	node_drain(w->nodes[0]);
	assert_null(current(w, 0));
	assert_int_equal(w->nodes[0]->counts.retired, 1);
	x25519_clamp(key);
	x25519_public(public_key, key);
	assert_memory_equal(wg_device_public_key(w->nodes[0]->device), public_key, WG_KEY_BYTES);
	/* The other end knows the old key only. */
	send_packet(w, 0);
	pump(w);
	assert_int_equal(w->got[1], 0);
	assert_int_equal(wg_device_verdicts(w->nodes[1]->device)[WG_UNKNOWN_PEER], 1);
	run(w, 1 * SEC);
	wg_device_set_private_key(w->nodes[0]->device, w->private_keys[0], w->now);
	node_drain(w->nodes[0]);
	send_packet(w, 0);
	run(w, 0);
	pump(w);
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
	run(w, 100 * SEC);
	assert_int_equal(initiations(w, 0), 0);
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
	connect(w);
	run(w, 130 * SEC);
	w->cut = true;
	send_packet(w, 0); /* a handshake under way */
	node_stage(w->nodes[0], peer, &(struct packet){.serial = 1 << 20});
	atomic_store(&current(w, 0)->send_counter, WG_REJECT_AFTER_MESSAGES);
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
		assert_int_equal(initiations(w, 0), i * LIMIT_TICK_PEERS);
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
		cmocka_unit_test(test_retries_with_jitter_then_gives_up),
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
		cmocka_unit_test(test_cookie_under_load),
		cmocka_unit_test(test_cookie_reply_does_not_roam),
		cmocka_unit_test(test_source_limit_spares_responses),
		cmocka_unit_test(test_response_passes_exhausted_source),
		cmocka_unit_test(test_roaming),
		cmocka_unit_test(test_lengths_and_forgeries),
		cmocka_unit_test(test_no_key_and_unknown_peer),
		cmocka_unit_test(test_without_identity),
		cmocka_unit_test(test_index_of_another_interface),
		cmocka_unit_test(test_labels_increase_when_wall_clock_steps_back),
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

	int failed = cmocka_run_group_tests_name("handshakes whole", tests, NULL, NULL);

	node_split_handshakes(true);
	return failed + cmocka_run_group_tests_name("handshakes split", tests, NULL, NULL);
}
