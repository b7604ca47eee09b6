/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A gateway and its clients in a simulated network, on a virtual clock: loss, duplication,
 * reordering, delay, outages, replays by a stranger, NAT rebinding, wall clocks that step, restarts
 * that lose all state, load, hints lost or late. Time passes from event to event, so that thousands
 * of hours take seconds. A run is decided by its seed alone.
 *
 * Checked for every packet: no key seals twice with one counter, none is delivered twice, none
 * comes out of another peer than the one that sent it; node.c checks what one end can see for
 * itself. Each round ends by mending the network: from RECOVERY_NS on everything arrives.
 *
 * TEST_SEED=n repeats a run, SIM_HOURS=n makes it as long as that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/units.h"
#include "crypto/x25519.h"
#include "node.h"
#include "wg/messages.h"

#define SEC    NS_PER_SEC
#define MINUTE (60 * SEC)
#define HOUR   (60 * MINUTE)

#define NODES_MAX	 5
#define SERVER		 0
#define DATAGRAM_MAX	 160
#define KEYS		 (1u << 20) /* remembered, for their counters */
#define REPLAY_STORE	 64
#define CONTROL_DELAY_NS (2 * NS_PER_MS)
#define PACKET_MOST_NS	 (5 * SEC) /* longest that the network keeps a datagram */

/*
 * A peer that does not know of the other's restart finds out after 15.333 s without an answer. Its
 * initiation may have to wait for 5 s since the last handshake message, and may meet one of the
 * other side, so that both are void; the next comes 5.333 s later. The rest is for travelling.
 */
#define RECOVERY_NS (28 * SEC)
#define PROBE_NS    (40 * SEC)

enum event_kind { EV_DATAGRAM, EV_PACKET, EV_HINT, EV_STAGE, EV_FAULT };

struct event {
	uint64_t at_ns, order;
	enum event_kind kind;
	unsigned node;
	unsigned life; /* of the node: events of one before a restart are void */
	union {
		struct {
			struct wg_path path;
			uint16_t len;
			uint8_t data[DATAGRAM_MAX];
		} datagram;
		struct {
			unsigned to;
			bool probe;
		} packet;
		struct node_hint hint;
		struct {
			uint8_t public_key[WG_KEY_BYTES];
			struct packet packet;
		} stage;
	};
};

/* What the network and the workers do to packets, percent and longest times. */
struct weather {
	unsigned loss, duplicate, hint_loss;
	uint64_t delay_ns, hint_delay_ns;
	bool faults;
	uint64_t burst_gap_ns, idle_gap_ns; /* of the traffic */
};

struct end {
	struct node *node;
	unsigned life;
	uint8_t private_key[WG_KEY_BYTES], public_key[WG_KEY_BYTES];
	struct endpoint endpoint; /* where the network delivers to it */
	int64_t wall_offset_ns, wall_most_ns;
	uint16_t keepalive_s; /* persistent, clients only */
	bool cut;	      /* an outage */
};

struct sim {
	struct rng rng;
	uint64_t now_ns, order;
	unsigned nodes;
	struct end ends[NODES_MAX];
	struct weather weather;
	struct event **heap;
	size_t events, room;
	bool server_knows_endpoints;
	bool split_handshakes;
	struct endpoint stranger;

	struct event *store[REPLAY_STORE]; /* datagrams that were accepted */
	struct {
		uint64_t id, next_counter;
	} * keys;
	unsigned key_count;
	uint64_t serial;
	uint8_t *delivered; /* a bit for each serial */
	uint64_t delivered_room;

	bool probing;
	struct {
		uint64_t datagrams, lost, packets, got, sealed, restarts, roams, replays, steps,
			rounds, initiations, sessions, ticks;
	} total;
};

/* --- Events --- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void schedule_event(struct sim *sim, struct event *event)
{
	size_t i = sim->events++;

	event->order = sim->order++;
	if (sim->events > sim->room) {
		sim->room = sim->room ? sim->room * 2 : 256;
		sim->heap = realloc(sim->heap, sim->room * sizeof(struct event *));
		assert_non_null(sim->heap);
	}
	for (; i > 0 && before(event, sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = event;
}

static struct event *first_event(struct sim *sim)
{
	struct event *first = sim->heap[0], *last = sim->heap[--sim->events];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < sim->events) {
		if (child + 1 < sim->events && before(sim->heap[child + 1], sim->heap[child]))
			child++;
		if (!before(sim->heap[child], last))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return first;
}

static struct event *new_event(
	struct sim *sim, enum event_kind kind, unsigned node, uint64_t delay_ns)
{
	struct event *event = calloc(1, sizeof(*event));

	assert_non_null(event);
	event->kind = kind;
	event->node = node;
	event->life = sim->ends[node].life;
	event->at_ns = sim->now_ns + delay_ns;
	return event;
}

static struct wg_time time_of(const struct sim *sim, unsigned i)
{
	return (struct wg_time){.mono_ns = sim->now_ns,
		.wall_ns =
			sim->now_ns + 1700000000ull * SEC + (uint64_t)sim->ends[i].wall_offset_ns};
}

/* --- The network --- */

static int node_at(const struct sim *sim, const struct endpoint *endpoint)
{
	for (unsigned i = 0; i < sim->nodes; i++)
		if (endpoint_equal(&sim->ends[i].endpoint, endpoint))
			return (int)i;
	return -1;
}

static void put_on_wire(
	struct sim *sim, unsigned to, const struct wg_path *path, const void *data, size_t len)
{
	struct event *event = new_event(
		sim, EV_DATAGRAM, to, NS_PER_MS + rng_below(&sim->rng, sim->weather.delay_ns + 1));

	assert_true(len <= DATAGRAM_MAX);
	event->datagram.path = *path;
	event->datagram.len = (uint16_t)len;
	memcpy(event->datagram.data, data, len);
	schedule_event(sim, event);
}

static void on_send(
	void *arg, struct node *node, const struct wg_path *path, const void *data, size_t len)
{
	struct sim *sim = arg;
	struct end *from = &sim->ends[node->id];
	struct wg_path seen = {from->endpoint, path->remote.addr};
	int to = node_at(sim, &path->remote);

	sim->total.datagrams++;
	/* A stranger who repeats our packets gets nothing but cookies. */
	if (endpoint_equal(&path->remote, &sim->stranger))
		assert_int_equal(wg_message_type_of(data, len), WG_MSG_COOKIE_REPLY);
	if (to < 0 || from->cut || sim->ends[to].cut || rng_chance(&sim->rng, sim->weather.loss)) {
		sim->total.lost++;
		return;
	}
	put_on_wire(sim, (unsigned)to, &seen, data, len);
	if (rng_chance(&sim->rng, sim->weather.duplicate))
		put_on_wire(sim, (unsigned)to, &seen, data, len);
}

static void on_datagram(struct sim *sim, struct event *event)
{
	struct node *node = sim->ends[event->node].node;
	unsigned slot = (unsigned)rng_below(&sim->rng, REPLAY_STORE);

	if (!node_receive(node, event->datagram.data, event->datagram.len, &event->datagram.path)) {
		free(event);
		return;
	}
	/* The stranger takes note of what was accepted, to repeat it later. */
	assert_false(endpoint_equal(&event->datagram.path.remote, &sim->stranger) &&
		     load_le32(event->datagram.data) != WG_MSG_COOKIE_REPLY);
	free(sim->store[slot]);
	sim->store[slot] = event;
}

static void replay(struct sim *sim)
{
	const struct event *event = sim->store[rng_below(&sim->rng, REPLAY_STORE)];
	struct wg_path path;

	if (!event)
		return;
	sim->total.replays++;
	path = event->datagram.path;
	path.remote = sim->stranger;
	put_on_wire(sim, event->node, &path, event->datagram.data, event->datagram.len);
}

/* --- What nodes report --- */

static void on_sealed(
	void *arg, struct node *node, const struct wg_session *session, uint64_t counter)
{
	struct sim *sim = arg;
	uint64_t id = load_le64(session->send_key) | 1;
	unsigned i = (unsigned)(id >> 40) & (KEYS - 1);

	(void)node;
	sim->total.sealed++;
	while (sim->keys[i].id != 0 && sim->keys[i].id != id)
		i = (i + 1) & (KEYS - 1);
	if (sim->keys[i].id == 0) {
		assert_true(++sim->key_count < KEYS / 4 * 3);
		sim->keys[i].id = id;
	}
	assert_true(counter >= sim->keys[i].next_counter);
	sim->keys[i].next_counter = counter + 1;
}

static void on_deliver(
	void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct sim *sim = arg;
	uint64_t byte = packet->serial / 8;
	uint8_t bit = (uint8_t)(1 << packet->serial % 8);

	(void)node;
	assert_true(packet->from < sim->nodes && packet->serial <= sim->serial);
	assert_memory_equal(
		wg_peer_public_key(peer), sim->ends[packet->from].public_key, WG_KEY_BYTES);
	assert_int_equal(sim->delivered[byte] & bit, 0);
	sim->delivered[byte] |= bit;
	sim->total.got++;
}

static bool on_hint(void *arg, struct node *node, const struct node_hint *hint)
{
	struct sim *sim = arg;
	struct event *event;

	if (rng_chance(&sim->rng, sim->weather.hint_loss))
		return true;
	event = new_event(
		sim, EV_HINT, node->id, rng_below(&sim->rng, sim->weather.hint_delay_ns + 1));
	event->hint = *hint;
	schedule_event(sim, event);
	return true;
}

static bool on_stage(
	void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct sim *sim = arg;
	struct event *event = new_event(sim, EV_STAGE, node->id, CONTROL_DELAY_NS);

	memcpy(event->stage.public_key, wg_peer_public_key(peer), WG_KEY_BYTES);
	event->stage.packet = *packet;
	schedule_event(sim, event);
	return true;
}

static uint64_t grace_ns(void *arg, struct node *node)
{
	struct sim *sim = arg;

	(void)node;
	return rng_below(&sim->rng, 50 * NS_PER_MS);
}

/* Of a split handshake, while everything else goes on. */
static uint64_t work_ns(void *arg, struct node *node)
{
	struct sim *sim = arg;

	(void)node;
	return rng_below(&sim->rng, 20 * NS_PER_MS);
}

/* --- Nodes --- */

static struct wg_peer *peer_for(struct sim *sim, unsigned from, unsigned to)
{
	return wg_device_find_peer(sim->ends[from].node->device, sim->ends[to].public_key);
}

static void add_peer(struct sim *sim, unsigned i, unsigned other)
{
	struct end *end = &sim->ends[i];
	struct wg_peer *peer;

	assert_int_equal(
		wg_device_add_peer(end->node->device, sim->ends[other].public_key, &peer), 0);
	node_drain(end->node);
	if (i != SERVER || sim->server_knows_endpoints)
		wg_peer_set_endpoint(peer, &sim->ends[other].endpoint);
	if (i != SERVER)
		wg_peer_set_persistent_keepalive(peer, end->keepalive_s, time_of(sim, i));
	node_drain(end->node);
}

static void start_node(struct sim *sim, unsigned i)
{
	struct node_hooks hooks = {.arg = sim,
		.send = on_send,
		.deliver = on_deliver,
		.hint = on_hint,
		.stage = on_stage,
		.grace_ns = grace_ns,
		.work_ns = work_ns,
		.sealed = on_sealed};
	struct end *end = &sim->ends[i];

	node_split_handshakes(sim->split_handshakes);
	end->node = node_create(i, &hooks, &sim->rng, time_of(sim, i));
	wg_device_set_private_key(end->node->device, end->private_key, time_of(sim, i));
	for (unsigned other = 0; other < sim->nodes; other++)
		if (other != i && (i == SERVER || other == SERVER))
			add_peer(sim, i, other);
}

static void stop_node(struct sim *sim, unsigned i)
{
	struct end *end = &sim->ends[i];

	sim->total.initiations += end->node->counts.initiations;
	sim->total.sessions += end->node->counts.published;
	sim->total.ticks += end->node->ticks;
	node_destroy(end->node);
	end->node = NULL;
	end->life++;
}

static void new_endpoint(struct sim *sim, unsigned i)
{
	struct endpoint *endpoint = &sim->ends[i].endpoint;

	*endpoint = (struct endpoint){.addr.family = rng_chance(&sim->rng, 50) ? IP_V4 : IP_V6};
	store_le32(endpoint->addr.bytes, (uint32_t)rng_next(&sim->rng));
	endpoint->port = (uint16_t)(1 + rng_below(&sim->rng, 65535));
}

/* --- Faults --- */

/* Has this node sent an initiation to all its peers since it started? */
static bool has_labels(struct sim *sim, unsigned i)
{
	struct wg_peer *peer = NULL;

	while ((peer = wg_device_next_peer(sim->ends[i].node->device, peer))) {
		const struct node_peer *user = wg_peer_user(peer);

		if (user->last_initiation_ns == 0)
			return false;
	}
	return true;
}

/*
 * Back or forth by up to a day. Back only when the node remembers a label for each peer: without,
 * no protocol can make the next one greater than what the peer saw before a restart.
 */
static void step_wall_clock(struct sim *sim, unsigned i)
{
	struct end *end = &sim->ends[i];
	int64_t offset_ns = (int64_t)rng_below(&sim->rng, 48 * HOUR) - (int64_t)(24 * HOUR);

	if (offset_ns < end->wall_most_ns && !has_labels(sim, i))
		return;
	sim->total.steps++;
	end->wall_offset_ns = offset_ns;
	if (offset_ns > end->wall_most_ns)
		end->wall_most_ns = offset_ns;
}

static void restart(struct sim *sim, unsigned i)
{
	struct end *end = &sim->ends[i];

	sim->total.restarts++;
	stop_node(sim, i);
	/*
	 * With its state a node loses the labels it used: no protocol can help it if its clock is
	 * then before them.
	 */
	end->wall_offset_ns = end->wall_most_ns;
	/* Nor if it is told what it has forgotten: an initiation of before is good once more. */
	for (unsigned slot = 0; slot < REPLAY_STORE; slot++) {
		if (sim->store[slot] && sim->store[slot]->node == i) {
			free(sim->store[slot]);
			sim->store[slot] = NULL;
		}
	}
	if (i != SERVER && rng_chance(&sim->rng, 50))
		new_endpoint(sim, i);
	start_node(sim, i);
}

static void fault(struct sim *sim)
{
	unsigned i = (unsigned)rng_below(&sim->rng, sim->nodes);
	unsigned client = 1 + (unsigned)rng_below(&sim->rng, sim->nodes - 1);

	switch (rng_below(&sim->rng, 16)) {
	case 0:
		restart(sim, i);
		break;
	case 1:
	case 2:
		sim->total.roams++;
		new_endpoint(sim, client);
		break;
	case 3:
	case 4:
		step_wall_clock(sim, i);
		break;
	case 5:
	case 6:
		sim->ends[i].cut = true;
		break;
	case 7:
	case 8:
	case 9:
		sim->ends[i].cut = false;
		break;
	case 10:
		sim->ends[i].node->under_load = !sim->ends[i].node->under_load;
		break;
	default:
		replay(sim);
		break;
	}
}

/* --- Traffic --- */

static void send_packet(struct sim *sim, unsigned from, unsigned to)
{
	struct packet packet = {.from = from, .to = to, .serial = ++sim->serial};

	if (sim->serial / 8 >= sim->delivered_room) {
		uint64_t room = sim->delivered_room ? sim->delivered_room * 2 : 65536;

		sim->delivered = realloc(sim->delivered, room);
		assert_non_null(sim->delivered);
		memset(sim->delivered + sim->delivered_room, 0, room - sim->delivered_room);
		sim->delivered_room = room;
	}
	sim->total.packets++;
	node_send(sim->ends[from].node, peer_for(sim, from, to), &packet);
}

/*
 * Bursts and pauses, each direction for itself; while the mended network is probed, a packet each
 * second instead.
 */
static void on_packet(struct sim *sim, struct event *event)
{
	uint64_t gap_ns =
		rng_chance(&sim->rng, 90) ? sim->weather.burst_gap_ns : sim->weather.idle_gap_ns;

	if (event->packet.probe == sim->probing)
		send_packet(sim, event->node, event->packet.to);
	if (event->packet.probe && !sim->probing) {
		free(event);
		return;
	}
	event->at_ns = sim->now_ns + (event->packet.probe ? SEC : 1 + rng_below(&sim->rng, gap_ns));
	schedule_event(sim, event);
}

static void add_traffic(struct sim *sim, unsigned from, unsigned to, bool probe)
{
	struct event *event = new_event(sim, EV_PACKET, from, rng_below(&sim->rng, SEC));

	event->packet.to = to;
	event->packet.probe = probe;
	schedule_event(sim, event);
}

static void add_traffic_all(struct sim *sim, bool probe)
{
	for (unsigned client = 1; client < sim->nodes; client++) {
		add_traffic(sim, client, SERVER, probe);
		add_traffic(sim, SERVER, client, probe);
	}
}

/* --- Time --- */

static void handle(struct sim *sim, struct event *event)
{
	struct end *end = &sim->ends[event->node];
	bool stale = event->life != end->life;
	struct wg_peer *peer;

	switch (event->kind) {
	case EV_DATAGRAM:
		if (stale && endpoint_equal(&event->datagram.path.remote, &sim->stranger))
			break;
		on_datagram(sim, event);
		return;
	case EV_PACKET:
		on_packet(sim, event);
		return;
	case EV_FAULT:
		if (sim->weather.faults)
			fault(sim);
		event->at_ns = sim->now_ns + rng_below(&sim->rng, MINUTE / 2);
		schedule_event(sim, event);
		return;
	case EV_HINT:
		if (!stale)
			node_hint(end->node, &event->hint);
		break;
	case EV_STAGE:
		peer = wg_device_find_peer(end->node->device, event->stage.public_key);
		if (!stale)
			node_stage(end->node, peer, &event->stage.packet);
		break;
	}
	free(event);
}

static void run_to(struct sim *sim, uint64_t until_ns)
{
	for (;;) {
		uint64_t next_ns = sim->events ? sim->heap[0]->at_ns : UINT64_MAX;
		bool event_next = true;

		for (unsigned i = 0; i < sim->nodes; i++) {
			if (node_deadline(sim->ends[i].node) < next_ns) {
				next_ns = node_deadline(sim->ends[i].node);
				event_next = false;
			}
		}
		if (next_ns > until_ns) {
			sim->now_ns = until_ns;
			return;
		}
		if (next_ns > sim->now_ns)
			sim->now_ns = next_ns;
		for (unsigned i = 0; i < sim->nodes; i++)
			node_tick(sim->ends[i].node, time_of(sim, i));
		if (event_next)
			handle(sim, first_event(sim));
	}
}

/* --- Rounds --- */

static uint64_t minutes(struct sim *sim, uint64_t least, uint64_t most)
{
	return (least + rng_below(&sim->rng, most - least + 1)) * MINUTE;
}

static void storm(struct sim *sim)
{
	sim->weather = (struct weather){
		.loss = (unsigned)rng_below(&sim->rng, 60),
		.duplicate = (unsigned)rng_below(&sim->rng, 20),
		.hint_loss = (unsigned)rng_below(&sim->rng, 80),
		.delay_ns = rng_chance(&sim->rng, 30) ? PACKET_MOST_NS - SEC
						      : rng_below(&sim->rng, 500) * NS_PER_MS,
		.hint_delay_ns = rng_below(&sim->rng, 1000) * NS_PER_MS,
		.faults = true,
		.burst_gap_ns = 1 + rng_below(&sim->rng, 5 * SEC),
		.idle_gap_ns = 1 + rng_below(&sim->rng, 400 * SEC),
	};
	run_to(sim, sim->now_ns + minutes(sim, 2, 15));
}

/* The network is whole again: from RECOVERY_NS on each packet arrives, both ways. */
static void mend(struct sim *sim)
{
	uint64_t serial, got;

	sim->weather = (struct weather){.delay_ns = 20 * NS_PER_MS,
		.hint_delay_ns = NS_PER_MS,
		.burst_gap_ns = SEC,
		.idle_gap_ns = SEC};
	for (unsigned i = 0; i < sim->nodes; i++) {
		sim->ends[i].cut = false;
		sim->ends[i].node->under_load = false;
	}
	/* What the storm still holds comes down first. */
	sim->probing = true;
	run_to(sim, sim->now_ns + PACKET_MOST_NS);
	add_traffic_all(sim, true);
	run_to(sim, sim->now_ns + RECOVERY_NS);
	serial = sim->serial;
	run_to(sim, sim->now_ns + PROBE_NS - RECOVERY_NS);
	got = sim->serial;
	sim->probing = false;
	run_to(sim, sim->now_ns + SEC);
	for (uint64_t i = serial + 1; i <= got; i++)
		assert_true(sim->delivered[i / 8] >> i % 8 & 1);
	assert_true(got - serial >= 2 * (sim->nodes - 1) * 10);
}

/* Hours with little to do: sessions end, keys are erased, and come again. */
static void calm(struct sim *sim)
{
	sim->weather = (struct weather){.loss = rng_chance(&sim->rng, 50) ? 2 : 0,
		.delay_ns = 50 * NS_PER_MS,
		.hint_delay_ns = NS_PER_MS,
		.burst_gap_ns = 1 + rng_below(&sim->rng, 4000 * SEC),
		.idle_gap_ns = 6 * HOUR};
	run_to(sim, sim->now_ns + minutes(sim, 0, 30 * 60));
}

static void set_up(struct sim *sim, uint64_t seed)
{
	sim->rng.state = seed;
	sim->now_ns = 1000 * SEC;
	sim->nodes = 2 + (unsigned)rng_below(&sim->rng, NODES_MAX - 1);
	sim->server_knows_endpoints = rng_chance(&sim->rng, 50);
	sim->split_handshakes = rng_chance(&sim->rng, 50);
	sim->keys = calloc(KEYS, sizeof(*sim->keys));
	assert_non_null(sim->keys);
	assert_true(endpoint_parse("192.0.2.66:666", &sim->stranger));
	for (unsigned i = 0; i < sim->nodes; i++) {
		struct end *end = &sim->ends[i];

		for (unsigned k = 0; k < WG_KEY_BYTES; k++)
			end->private_key[k] = (uint8_t)rng_next(&sim->rng);
		x25519_clamp(end->private_key);
		x25519_public(end->public_key, end->private_key);
		new_endpoint(sim, i);
		if (rng_chance(&sim->rng, 8))
			end->keepalive_s = (uint16_t)(1 + rng_below(&sim->rng, 60));
	}
	for (unsigned i = 0; i < sim->nodes; i++)
		start_node(sim, i);
	sim->weather = (struct weather){.burst_gap_ns = SEC, .idle_gap_ns = SEC};
	add_traffic_all(sim, false);
	schedule_event(sim, new_event(sim, EV_FAULT, 0, 0));
}

static void tear_down(struct sim *sim)
{
	for (unsigned i = 0; i < sim->nodes; i++)
		stop_node(sim, i);
	for (unsigned i = 0; i < REPLAY_STORE; i++)
		free(sim->store[i]);
	for (size_t i = 0; i < sim->events; i++)
		free(sim->heap[i]);
	free(sim->heap);
	free(sim->keys);
	free(sim->delivered);
}

/* One network for so many hours. */
static void simulate(uint64_t seed, uint64_t hours)
{
	struct sim sim = {0};
	uint64_t end_ns, begun_ns;

	set_up(&sim, seed);
	begun_ns = sim.now_ns;
	end_ns = sim.now_ns + hours * HOUR;
	while (sim.now_ns < end_ns) {
		storm(&sim);
		mend(&sim);
		calm(&sim);
		sim.total.rounds++;
	}
	tear_down(&sim);
	/* Timers do not run in circles: a look each few seconds and node, at the most. */
	assert_true(sim.total.ticks < (sim.now_ns - begun_ns) / SEC * sim.nodes);
	printf("seed %llu: %llu h, %u nodes, %llu rounds: %llu datagrams (%llu lost), "
	       "%llu initiations, %llu sessions, %llu of %llu packets, %llu restarts, %llu roams, "
	       "%llu replays, %llu clock steps\n",
		(unsigned long long)seed, (unsigned long long)((sim.now_ns - begun_ns) / HOUR),
		sim.nodes, (unsigned long long)sim.total.rounds,
		(unsigned long long)sim.total.datagrams, (unsigned long long)sim.total.lost,
		(unsigned long long)sim.total.initiations, (unsigned long long)sim.total.sessions,
		(unsigned long long)sim.total.got, (unsigned long long)sim.total.packets,
		(unsigned long long)sim.total.restarts, (unsigned long long)sim.total.roams,
		(unsigned long long)sim.total.replays, (unsigned long long)sim.total.steps);
}

#define NETWORKS 20

/* Each network has its own seed, so that one of them can be run again alone: SIM_NETWORKS=1. */
static void test_networks(void **state)
{
	uint64_t seed = rng_seed("sim");
	const char *hours = getenv("SIM_HOURS"), *networks = getenv("SIM_NETWORKS");
	uint64_t each = hours ? strtoull(hours, NULL, 0) : 200;
	uint64_t count = networks ? strtoull(networks, NULL, 0) : NETWORKS;

	(void)state;
	for (uint64_t i = 0; i < count; i++) {
		printf("running TEST_SEED=%llu SIM_NETWORKS=1 SIM_HOURS=%llu\n",
			(unsigned long long)(seed + i), (unsigned long long)each);
		fflush(stdout);
		simulate(seed + i, each);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
