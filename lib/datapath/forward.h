/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Forwarding of plain IP packets, for both directions: destination to next hop, and what a router
 * does to a packet on its way. Private to lib/datapath. Thread: the worker's.
 */
#ifndef DATAPATH_FORWARD_H
#define DATAPATH_FORWARD_H

#include "datapath/burst.h"
#include "datapath/lookup.h"

/*
 * Next hops of the packets at the positions in destinations; NULL for the host: no route, or the
 * host forwards this family itself.
 */
void dp_forward_lookup(const struct dp *dp, const struct dp_lookup *destinations, unsigned n,
	struct dp_nexthop **nexthops);

/*
 * Forwards a packet (data at its IP header, validated, TTL above 1): to a port or into burst.
 * False, and the packet is as it was: the host must, for want of a next hop or because it is too
 * big.
 */
bool dp_forward(struct dp_worker *worker, struct rte_mbuf *m, struct dp_nexthop *nexthop,
	struct dp_tunnel_burst *burst);

#endif
