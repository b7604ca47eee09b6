/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices in memory, the wire between them, and exact times. What a test does with it is up to
 * the test: nothing happens by itself.
 */
#ifndef TESTS_UNIT_WG_WORLD_H
#define TESTS_UNIT_WG_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/units.h"
#include "node.h"
#include "wg/messages.h"

#define SEC	 NS_PER_SEC
#define START_NS (1000 * SEC)
#define WALL_NS	 (1700000000ull * SEC)
#define WIRE_MAX 512

struct datagram {
	unsigned to;
	struct wg_path path;   /* as the receiver sees it */
	struct ip_addr source; /* the sender's word on its address; IP_NONE: it has none */
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

struct endpoint endpoint_of(const char *text);
struct wg_peer *add_peer(struct node *node, const uint8_t public_key[WG_KEY_BYTES]);
struct world *world_create(void);
void world_destroy(struct world *w);
/* Delivers one datagram. */
bool world_deliver_one(struct world *w);
void world_pump(struct world *w);
/* Nothing is delivered. */
void world_run_to(struct world *w, uint64_t at_ns);
/* All is delivered as soon as it is sent. */
void world_live_to(struct world *w, uint64_t at_ns);
void world_run(struct world *w, uint64_t ns);
/* Goes on, delivering nothing, until *count changes; returns when it did, or 0 by then. */
uint64_t world_run_until_changed(struct world *w, const unsigned *count, uint64_t limit_ns);
void world_send_packet(struct world *w, unsigned from);
/* A session, node 0 the initiator; the wire is empty then. */
void world_connect(struct world *w);
struct wg_session *world_current(struct world *w, unsigned i);
unsigned world_initiations(struct world *w, unsigned i);
void assert_quiet(struct node *node);

#endif
