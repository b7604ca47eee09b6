/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole program as control sees it: what was made at start, and the WireGuard interfaces.
 * Thread: control (main lcore) alone, but for what lcore.h, host_exchange.h and dp.h share.
 */
#ifndef APP_GATEWAY_H
#define APP_GATEWAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mempool.h>

#include "base/limits.h"
#include "datapath/dp.h"
#include "endpoint.h"
#include "forwarding.h"
#include "hostif.h"
#include "lcore.h"
#include "port.h"
#include "wg/device.h"

struct interface;
struct handshakers;
struct host_exchange;
struct ifconfig;
struct mirror;
struct neighbours;
struct uapi_server;

struct gateway {
	struct dp *dp;
	struct rte_mempool *pool;
	struct port ports[LIMIT_PORTS];
	struct hostif taps[LIMIT_PORTS]; /* fd -1: not made yet */
	unsigned port_count;
	struct hostif capture; /* fd -1: there is none */
	uint64_t links_due_ns; /* when to look at the ports' links again */
	struct forwarding forwarding_v4, forwarding_v6;
	struct lcore lcores[LIMIT_WORKERS];
	unsigned workers;
	struct handshakers *handshakers; /* NULL: control does handshakes itself */
	uint64_t computed_here;		 /* pieces that control did because they were behind */
	_Atomic bool quit;		 /* [control w, workers r] */

	struct wg_env env;
	struct wg_index_table *indices;
	struct wg_ids *ids;
	struct wg_peer **peers; /* by id; reserved address space, NULL where there is none */
	uint32_t peer_ids;	/* ids at or above were never used */
	struct endpoints endpoints;
	uint64_t under_load_until_ns; /* handshake messages need cookies until then */
	struct neighbours *neighbours;
	struct interface *interfaces[LIMIT_INTERFACES];
	unsigned interface_count;

	struct host_exchange *exchange;
	struct mirror *mirror;
	struct ifconfig *ifconfig;
	struct uapi_server *uapi;
	struct dp_drops drops;	 /* control's own */
	uint32_t staged_packets; /* of all peers, waiting for sessions */
};

/* Both clocks, now. */
struct wg_time gateway_now(void);

/* The worker that a peer's packets from control go to: always the same, so that they keep order. */
static inline struct rte_ring *gateway_ring_of_peer(const struct gateway *gateway, uint32_t peer_id)
{
	return gateway->dp->in_ring[peer_id % gateway->workers];
}

#endif
