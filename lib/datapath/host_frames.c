/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames of a port on their way to its TAP. Anybody can have the gateway get frames that are the
 * host's, more than it takes, and the ring to it ends in drops. ARP's and neighbour discovery's
 * must not be among these: without neighbours every session behind them stands still.
 */
#include "datapath/burst.h"

#include "net/headers.h"

/* RFC 4861 section 4: its types are these and those between, its hop limit the largest. */
enum {
	ND_ROUTER_SOLICITATION = 133,
	ND_REDIRECT = 137,
	ND_HOP_LIMIT = 255,
};

static bool is_vlan(uint16_t type)
{
	return type == ETHER_TYPE_VLAN || type == ETHER_TYPE_QINQ;
}

/*
 * Of the link itself, tagged or not: what comes from beyond it cannot pass for such. ARP is not
 * routed, and a router would have taken from the hop limit (RFC 4861 section 3.1).
 */
static bool is_neighbours(const struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	unsigned header = ETHER_HEADER_BYTES;
	if (m->data_len < header)
		return false;
	uint16_t type = load_be16(frame + ETHER_TYPE);
	for (unsigned tags = 0; tags < 2 && is_vlan(type); tags++) {
		header += VLAN_TAG_BYTES;
		if (m->data_len < header)
			return false;
		type = load_be16(frame + header - sizeof(type));
	}
	if (type != ETHER_TYPE_IPV6)
		return type == ETHER_TYPE_ARP;
	if (m->data_len <= header + IPV6_HEADER_BYTES)
		return false;
	const uint8_t *ip = frame + header;
	uint8_t message = ip[IPV6_HEADER_BYTES];
	return ip[IPV6_NEXT_HEADER] == IP_PROTOCOL_ICMPV6 && ip[IPV6_HOP_LIMIT] == ND_HOP_LIMIT &&
	       message >= ND_ROUTER_SOLICITATION && message <= ND_REDIRECT;
}

/* Drops what may not have the ring's last part, of which all but room packets are left. */
static void make_way(struct dp_worker *worker, struct dp_batch *batch, unsigned room)
{
	struct dp_batch others;
	unsigned kept = 0;
	others.n = 0;
	for (unsigned i = 0; i < batch->n; i++) {
		struct rte_mbuf *m = batch->mbufs[i];
		if (is_neighbours(m)) {
			batch->mbufs[kept++] = m;
		} else if (room > 0) {
			batch->mbufs[kept++] = m;
			room--;
		} else {
			dp_batch_add(&others, m);
		}
	}
	batch->n = kept;
	dp_drop_batch(worker, &others, DP_DROP_HOST_FULL);
}

void dp_send_frames_to_host(struct dp_worker *worker, unsigned port, struct dp_batch *batch)
{
	unsigned netdev = dp_netdev_of_port(port);
	/* Other workers add at the same time: what is kept may be short by their bursts. */
	unsigned free = rte_ring_free_count(worker->dp->host_ring[netdev]);
	worker->counters.host_packets += batch->n;
	if (unlikely(free < batch->n + LIMIT_HOST_RING_KEPT))
		make_way(worker, batch,
			free > LIMIT_HOST_RING_KEPT ? free - LIMIT_HOST_RING_KEPT : 0);
	dp_pass(worker->dp->host_ring[netdev], batch->mbufs, batch->n, &worker->drops,
		DP_DROP_HOST_FULL);
	batch->n = 0;
}
