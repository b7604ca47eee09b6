/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The far side of a gateway's tunnels, for the generator: many peers with one session each, on two
 * DPDK ports. Keys follow from the tunnel's number, so that the gateway's config file can be
 * written before there is a session. For measurements only: the keys are no secret.
 *
 * Thread: one. Nothing is allocated but by tunnels_create().
 */
#ifndef BENCH_TUNNELS_H
#define BENCH_TUNNELS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "net/outer.h"
#include "wg/constants.h"

#define TUNNELS_MOST 10000

/* DPDK's port numbers, in the order of the --vdev arguments. */
enum generator_port {
	OUTER_PORT,
	INNER_PORT,
};

struct tunnel {
	uint8_t send_key[WG_KEY_BYTES], receive_key[WG_KEY_BYTES];
	uint64_t counter;      /* of the next message sent */
	uint32_t remote_index; /* the gateway's; 0: no session yet */
	/* Prepared headers (net/outer.h) of what this peer sends, and of what is for its network.
	 */
	uint8_t outer[OUTER_HEADER4_BYTES];
	uint8_t plain[OUTER_HEADER4_BYTES];
	uint8_t inner[OUTER_HEADER4_BYTES]; /* from its network; the Ethernet header is left out */
};

struct tunnels {
	struct tunnel *tunnels;
	unsigned count, mtu; /* of the gateway's interface */
	struct rte_mempool *pool;
	struct aead_batch *aead;
};

/* The gateway's config file: count peers, a /24 each. */
void tunnels_write_config(FILE *to, unsigned count, unsigned mtu);

/* macs: of the gateway's two ports, by enum generator_port. 0 or a negative errno. */
int tunnels_create(struct tunnels *tunnels, unsigned count, unsigned mtu,
	const struct rte_ether_addr macs[2], struct rte_mempool *pool);
void tunnels_destroy(struct tunnels *tunnels);

/* Makes a new session for each of the first n tunnels; false when the gateway does not answer. */
bool tunnels_handshake(struct tunnels *tunnels, unsigned n);
/* A keepalive from each of the first n: it confirms a session, and keeps its timers at rest. */
void tunnels_keepalive(struct tunnels *tunnels, unsigned n);

/* Opens a message from the gateway: true when it is whole and for the tunnel's network. */
bool tunnels_check(struct tunnels *tunnels, struct rte_mbuf *mbuf);

#endif
