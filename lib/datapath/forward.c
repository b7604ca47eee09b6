/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/forward.h"

#include "net/inner.h"

static struct dp_nexthop *nexthop_by_id(const struct dp *dp, uint32_t id)
{
	if (id >= LIMIT_NEXTHOPS)
		return NULL; /* DP_LPM_NONE too */
	return atomic_load_explicit(&dp->nexthops[id], memory_order_acquire);
}

void dp_forward_lookup(const struct dp *dp, const struct dp_lookup *destinations, unsigned n,
	struct dp_nexthop **nexthops)
{
	uint32_t ids[LIMIT_BURST];
	dp_lookup_run(destinations, dp->routes, ids);
	for (unsigned i = 0; i < n; i++)
		nexthops[i] = nexthop_by_id(dp, ids[i]);

	if (unlikely(!atomic_load_explicit(&dp->forward_ipv4, memory_order_relaxed)))
		for (unsigned i = 0; i < destinations->n4; i++)
			nexthops[destinations->at4[i]] = NULL;
	if (unlikely(!atomic_load_explicit(&dp->forward_ipv6, memory_order_relaxed)))
		for (unsigned i = 0; i < destinations->n6; i++)
			nexthops[destinations->at6[i]] = NULL;
}

static void to_neighbour(struct dp_worker *worker, struct rte_mbuf *m, struct dp_nexthop *nexthop)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	/* Read first: the line stays shared while control does not ask. */
	if (unlikely(!atomic_load_explicit(&nexthop->used, memory_order_relaxed)))
		atomic_store_explicit(&nexthop->used, true, memory_order_relaxed);
	uint8_t *ether = (uint8_t *)rte_pktmbuf_prepend(m, ETHER_HEADER_BYTES);
	memcpy(ether, nexthop->ether, ETHER_TYPE);
	store_be16(ether + ETHER_TYPE, ip_version(ip) == 4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6);
	dp_set_tx_flags(m, 0);
	worker->counters.plain_packets++;
	dp_transmit(worker, nexthop->port, m);
}

bool dp_forward(struct dp_worker *worker, struct rte_mbuf *m, struct dp_nexthop *nexthop,
	struct dp_tunnel_burst *burst)
{
	struct dp *dp = worker->dp;
	if (nexthop == NULL)
		return false;
	if (unlikely(nexthop->mtu != 0 && m->pkt_len > nexthop->mtu))
		return false;
	switch ((enum dp_nexthop_kind)nexthop->kind) {
	case DP_NEXTHOP_HOST:
		return false;
	case DP_NEXTHOP_PORT:
		if (m->pkt_len > dp->ports[nexthop->port].mtu)
			return false;
		inner_decrement_ttl(rte_pktmbuf_mtod(m, uint8_t *));
		to_neighbour(worker, m, nexthop);
		return true;
	case DP_NEXTHOP_WG:
		if (m->pkt_len > dp->interfaces[nexthop->interface].mtu)
			return false;
		inner_decrement_ttl(rte_pktmbuf_mtod(m, uint8_t *));
		dp_tunnel_burst_add(burst, m, nexthop->interface);
		return true;
	}
	return false;
}
