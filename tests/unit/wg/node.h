/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One end of a tunnel in memory: a device whose actions are carried out, and a naive data plane of
 * one packet at a time in the worker's place. For the tests of the device and for the simulation.
 * Everything that can be checked on one end is checked here, at each packet, with assertions of
 * cmocka.
 */
#ifndef TESTS_NODE_H
#define TESTS_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wg/device.h"

#define NODE_PACKET_MAX 256

struct node;

/* A deterministic generator (splitmix64): all randomness of a test comes from its seed. */
struct rng {
	uint64_t state;
};
uint64_t rng_next(struct rng *rng);
/* 0 <= value < bound */
uint64_t rng_below(struct rng *rng, uint64_t bound);
bool rng_chance(struct rng *rng, unsigned percent);
/* The seed in environment variable TEST_SEED, else a new one; printed in either case. */
uint64_t rng_seed(const char *test);

/*
 * A plain packet; what it says about itself lets each end check it. The headers are for whoever
 * routes it on the way. Its size is a multiple of 16: padding adds nothing.
 */
struct packet {
	uint8_t headers[28];
	uint32_t from, to;
	uint64_t serial;
};

enum node_hint_kind { NODE_HINT_REKEY, NODE_HINT_CONFIRM, NODE_HINT_ROAM };

struct node_hint {
	enum node_hint_kind kind;
	uint32_t local_index;
	uint8_t public_key[WG_KEY_BYTES];
	struct wg_path path;
};

struct node_hooks {
	void *arg;
	void (*send)(void *arg, struct node *node, const struct wg_path *path, const void *data,
		size_t len);
	void (*deliver)(
		void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet);
	/* True: taken, comes back through node_hint() or never. NULL or false: it is given at once.
	 */
	bool (*hint)(void *arg, struct node *node, const struct node_hint *hint);
	/* The same for a packet to be staged: it comes back through node_stage(). */
	bool (*stage)(
		void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet);
	/* Time from a session's retirement until no worker can see it. */
	uint64_t (*grace_ns)(void *arg, struct node *node);
	/* How long work of a split handshake takes. NULL: none at all. */
	uint64_t (*work_ns)(void *arg, struct node *node);
	/* Each packet sealed: for checks across nodes. May be NULL. */
	void (*sealed)(
		void *arg, struct node *node, const struct wg_session *session, uint64_t counter);
};

/* Counted since creation. */
struct node_counts {
	unsigned initiations, responses, cookies, keepalives, data, staged, purged, published,
		retired, currents, endpoints, prefixes_set, prefixes_cleared, peers_added,
		peers_removed, opened, replayed, unknown, dropped;
};

struct node_session {
	struct wg_session *session;
	bool used; /* an authenticated packet came in with it */
	struct node_session *next;
};

struct node_peer {
	struct wg_session *current;
	struct wg_path path;
	uint64_t unstaged_serial;
	uint64_t last_initiation_ns;
};

struct node {
	uint32_t id;
	struct node_hooks hooks;
	struct wg_env env;
	struct rng *rng;
	struct wg_index_table *indices;
	struct wg_ids *ids;
	struct wg_device *device;
	struct wg_time now;
	bool under_load;
	bool new_identity; /* the test changes keys: initiations may follow each other at once */
	uint64_t ticks;	   /* of the device */
	struct node_session *sessions;
	struct node_grave *graves;
	struct node_work *works;
	struct node_counts counts;
	uint64_t allocated; /* pieces of memory that the device holds */
};

struct node *node_create(
	uint32_t id, const struct node_hooks *hooks, struct rng *rng, struct wg_time now);
/* Ends everything and checks that nothing is left: memory, indices. */
void node_destroy(struct node *node);

/* Time passes: timers and graves that are due. Carries actions out. */
void node_tick(struct node *node, struct wg_time now);
/* When node_tick() has something to do. */
uint64_t node_deadline(const struct node *node);
/* Time goes on to the next deadline of these two, at the latest to end_ns, and they do what is due.
 */
void nodes_step(struct node *const nodes[2], struct wg_time *now, uint64_t end_ns);
/* Carries out what is queued; after calls of the device made by the test itself. */
void node_drain(struct node *node);

/* A datagram arrives. True: accepted (at once, if handshakes are split). */
bool node_receive(struct node *node, const void *data, size_t len, const struct wg_path *path);
/* The verdict on a handshake message; not split. The caller drains. */
enum wg_verdict node_judge(struct wg_device *device, const void *data, size_t len,
	const struct wg_path *path, bool under_load, struct wg_time now);
/* Splits the handshakes of nodes made from now on, or no longer. */
void node_split_handshakes(bool split);
/* A packet goes to peer: sealed and sent, or staged. */
void node_send(struct node *node, struct wg_peer *peer, const struct packet *packet);
/* The packet has no session, says a worker: control stages it. */
void node_stage(struct node *node, struct wg_peer *peer, const struct packet *packet);
void node_hint(struct node *node, const struct node_hint *hint);

#endif
