/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two directions share: bursts as parallel arrays, and the few moves that end a packet's
 * stay in one. Private to lib/datapath. Thread: the worker's.
 *
 * A stage keeps order and compacts as it goes: survivors are written back at `kept`, which runs
 * along with the index until the first packet is taken out.
 */
#ifndef DATAPATH_BURST_H
#define DATAPATH_BURST_H

#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "base/prefetch.h"
#include "datapath/spread.h"
#include "datapath/worker.h"

/* Packets that leave a burst together for one destination. */
struct dp_batch {
	unsigned n;
	struct rte_mbuf *mbufs[LIMIT_BURST];
};

static inline void dp_batch_add(struct dp_batch *batch, struct rte_mbuf *m)
{
	batch->mbufs[batch->n++] = m;
}

/* Sets what travels with a frame for the TAP of port, and adds it. */
static inline void dp_batch_add_frame(struct dp_batch *batch, struct rte_mbuf *m, unsigned port)
{
	*dp_mbuf(m) = (struct dp_mbuf){.kind = DP_HOST_FRAME, .port = (uint8_t)port};
	dp_batch_add(batch, m);
}

/* IP packets on their way into tunnels; [0..n) of each array. */
struct dp_tunnel_burst {
	unsigned n;
	struct rte_mbuf *mbufs[LIMIT_BURST]; /* data at the IP header, room before and behind */
	uint8_t interface[LIMIT_BURST];
	struct dp_peer *peers[LIMIT_BURST];
	struct wg_session *sessions[LIMIT_BURST];
	const struct dp_outer *outers[LIMIT_BURST];
	uint64_t counters[LIMIT_BURST];
	struct aead_op ops[LIMIT_BURST];
};

static inline void dp_tunnel_burst_add(
	struct dp_tunnel_burst *burst, struct rte_mbuf *m, uint8_t interface)
{
	burst->mbufs[burst->n] = m;
	burst->interface[burst->n++] = interface;
}

/* The entries into the two directions; n up to LIMIT_BURST. */
void dp_inbound(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n);
void dp_outbound(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n);
/* From `route` on: mbufs and interface are filled in. */
void dp_outbound_route(struct dp_worker *worker, struct dp_tunnel_burst *burst);
/* The same for packets that the kernel routed there: DP_ROUTE. */
void dp_outbound_tun(struct dp_worker *worker, struct rte_mbuf **mbufs, unsigned n);
/* From `number` on, for packets whose dp_mbuf tells peer and session: DP_PEER. */
void dp_outbound_peer(struct dp_worker *worker, struct rte_mbuf **mbufs, unsigned n);

/* From behind the AEAD on, for jobs that were spread: spread.h. */
void dp_inbound_opened(struct dp_worker *worker, const struct dp_job *job);
void dp_outbound_sealed(struct dp_worker *worker, const struct dp_job *job);

/* True with the packet in one piece; else it is for the caller to drop. */
static inline bool dp_linear(struct rte_mbuf *m)
{
	return likely(m->nb_segs == 1) || rte_pktmbuf_linearize(m) == 0;
}

/* True for a frame to this MAC address, of at least an Ethernet header. */
static inline bool dp_is_for_mac(const struct rte_mbuf *m, const uint8_t mac[6])
{
	return m->data_len >= ETHER_HEADER_BYTES &&
	       memcmp(rte_pktmbuf_mtod(m, const uint8_t *) + ETHER_DST, mac, 6) == 0;
}

/* Cuts a packet down to its true length; padding and trailers go. */
static inline void dp_set_length(struct rte_mbuf *m, unsigned len)
{
	m->data_len = (uint16_t)len;
	m->pkt_len = len;
}

void dp_flush_port(struct dp_worker *worker, unsigned port);

/* Queues a frame for a port; sends when the buffer is full. */
static inline void dp_transmit(struct dp_worker *worker, unsigned port, struct rte_mbuf *m)
{
	struct dp_tx *tx = &worker->tx[port];
	tx->mbufs[tx->n++] = m;
	worker->tx_pending |= 1u << port;
	if (unlikely(tx->n == LIMIT_BURST))
		dp_flush_port(worker, port);
}

void dp_send_frames_to_host(struct dp_worker *worker, unsigned port, struct dp_batch *batch);

/* Gives frames to the host exchange, for the TAP of port: host_frames.c. */
static inline void dp_frames_to_host(
	struct dp_worker *worker, unsigned port, struct dp_batch *batch)
{
	if (likely(batch->n == 0))
		return;
	dp_send_frames_to_host(worker, port, batch);
}

/* Gives packets, whose kind and so on is set, to the host exchange or to control. */
static inline void dp_to_host(struct dp_worker *worker, unsigned netdev, struct dp_batch *batch)
{
	if (likely(batch->n == 0))
		return;
	worker->counters.host_packets += batch->n;
	dp_pass(worker->dp->host_ring[netdev], batch->mbufs, batch->n, &worker->drops,
		DP_DROP_HOST_FULL);
	batch->n = 0;
}

/* Handshakes have a ring of their own: packets without a session must not crowd them out. */
static inline void dp_handshakes_to_control(struct dp_worker *worker, struct dp_batch *batch)
{
	if (likely(batch->n == 0))
		return;
	worker->counters.control_packets += batch->n;
	dp_pass(worker->dp->handshake_ring, batch->mbufs, batch->n, &worker->drops,
		DP_DROP_HANDSHAKE_FULL);
	batch->n = 0;
}

static inline void dp_to_control(struct dp_worker *worker, struct dp_batch *batch)
{
	if (likely(batch->n == 0))
		return;
	worker->counters.control_packets += batch->n;
	dp_pass(worker->dp->control_ring, batch->mbufs, batch->n, &worker->drops,
		DP_DROP_CONTROL_FULL);
	batch->n = 0;
}

static inline void dp_drop_batch(
	struct dp_worker *worker, struct dp_batch *batch, enum dp_drop_reason reason)
{
	if (likely(batch->n == 0))
		return;
	dp_drop(&worker->drops, batch->mbufs, batch->n, reason);
	batch->n = 0;
}

/* The peer with this id (any value), or NULL. */
static inline struct dp_peer *dp_peer_by_id(const struct dp *dp, uint32_t id)
{
	if (unlikely(id >= LIMIT_PEERS)) /* DP_LPM_NONE too */
		return NULL;
	struct dp_peer *peer = &dp->peers[id];
	return likely(atomic_load_explicit(&peer->live, memory_order_acquire)) ? peer : NULL;
}

/* The lines of a peer (any id) that sealing for it touches, and those that accepting from it does.
 */
static inline void dp_prefetch_to_seal(const struct dp *dp, uint32_t id)
{
	const struct dp_peer *peer = &dp->peers[id < LIMIT_PEERS ? id : 0];
	prefetch_far(peer);
}

static inline void dp_prefetch_to_accept(const struct dp *dp, uint32_t id)
{
	const struct dp_peer *peer = &dp->peers[id < LIMIT_PEERS ? id : 0];
	prefetch_far(&peer->live);
	prefetch_far(peer);
	prefetch_far(&peer->own_outer);
}

static inline struct wg_session *dp_session_in_slot(const struct dp *dp, uint32_t index)
{
	return atomic_load_explicit(&dp->sessions[wg_index_slot(index)], memory_order_acquire);
}

/* Tells control; false when the ring is full. */
bool dp_send_hint(
	struct dp_worker *worker, enum dp_hint_kind kind, const struct wg_session *session);
/* Asks for a new session, once in the life of this one unless control clears the mark. */
void dp_hint_rekey(struct dp_worker *worker, struct wg_session *session);

#endif
