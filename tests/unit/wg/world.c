/* SPDX-License-Identifier: BSD-3-Clause */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/x25519.h"

static unsigned world_other(unsigned i)
{
	return 1 - i;
}

static void on_send(
	void *arg, struct node *node, const struct wg_path *path, const void *data, size_t len)
{
	struct world *w = arg;
	struct datagram *d;

	if (w->cut || !endpoint_equal(&path->remote, &w->endpoints[world_other(node->id)]))
		return;
	assert_true(w->sent < WIRE_MAX && len <= sizeof(d->data));
	d = &w->wire[w->sent++];
	d->to = world_other(node->id);
	d->path.remote = w->endpoints[node->id];
	d->path.local = w->endpoints[world_other(node->id)].addr;
	d->source = path->local;
	/* An answer leaves from where the question went. */
	if (wg_message_type_of(data, len) == WG_MSG_RESPONSE ||
		wg_message_type_of(data, len) == WG_MSG_COOKIE_REPLY)
		assert_true(ip_addr_equal(&d->source, &w->endpoints[node->id].addr));
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

struct endpoint endpoint_of(const char *text)
{
	struct endpoint ep;

	assert_true(endpoint_parse(text, &ep));
	return ep;
}

struct wg_peer *add_peer(struct node *node, const uint8_t public_key[WG_KEY_BYTES])
{
	struct wg_peer *peer;

	assert_int_equal(wg_device_add_peer(node->device, public_key, &peer), 0);
	node_drain(node);
	return peer;
}

struct world *world_create(void)
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
		w->peers[i] = add_peer(w->nodes[i], w->public_keys[world_other(i)]);
		wg_peer_set_endpoint(w->peers[i], &w->endpoints[world_other(i)]);
		node_drain(w->nodes[i]);
	}
	return w;
}

void world_destroy(struct world *w)
{
	node_destroy(w->nodes[0]);
	node_destroy(w->nodes[1]);
	free(w);
}

bool world_deliver_one(struct world *w)
{
	const struct datagram *d = &w->wire[w->delivered++];
	bool accepted = node_receive(w->nodes[d->to], d->data, d->len, &d->path);

	if (w->delivered == w->sent)
		w->delivered = w->sent = 0;
	return accepted;
}

void world_pump(struct world *w)
{
	while (w->delivered < w->sent)
		world_deliver_one(w);
}

/* Time goes on to at_ns, with all that is due before. */
static void world_pass_to(struct world *w, uint64_t at_ns, bool deliver)
{
	for (;;) {
		nodes_step(w->nodes, &w->now, at_ns);
		if (deliver)
			world_pump(w);
		if (w->now.mono_ns >= at_ns)
			return;
	}
}

void world_run_to(struct world *w, uint64_t at_ns)
{
	world_pass_to(w, at_ns, false);
}

void world_live_to(struct world *w, uint64_t at_ns)
{
	world_pass_to(w, at_ns, true);
}

void world_run(struct world *w, uint64_t ns)
{
	world_run_to(w, w->now.mono_ns + ns);
}

uint64_t world_run_until_changed(struct world *w, const unsigned *count, uint64_t limit_ns)
{
	uint64_t end_ns = w->now.mono_ns + limit_ns;
	unsigned before = *count;

	while (*count == before && w->now.mono_ns < end_ns) {
		uint64_t next_ns = end_ns;

		for (unsigned i = 0; i < 2; i++)
			if (node_deadline(w->nodes[i]) < next_ns)
				next_ns = node_deadline(w->nodes[i]);
		world_run_to(w, next_ns);
	}
	return *count == before ? 0 : w->now.mono_ns;
}

void world_send_packet(struct world *w, unsigned from)
{
	struct packet packet = {.from = from, .to = world_other(from), .serial = ++w->serial};

	node_send(w->nodes[from], w->peers[from], &packet);
}

void world_connect(struct world *w)
{
	world_send_packet(w, 0);
	world_pump(w);
	assert_int_equal(w->got[1], 1);
	assert_non_null(wg_peer_current_session(w->peers[0]));
	assert_non_null(wg_peer_current_session(w->peers[1]));
	w->got[1] = 0;
}

struct wg_session *world_current(struct world *w, unsigned i)
{
	return wg_peer_current_session(w->peers[i]);
}

unsigned world_initiations(struct world *w, unsigned i)
{
	return w->nodes[i]->counts.initiations;
}

void assert_quiet(struct node *node)
{
	struct wg_action action;

	assert_false(wg_device_next_action(node->device, &action));
}
