/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From inner to outer: plain IP packets in, data messages out. Runs on workers. The stages stand in
 * the order they run; what is unusual leaves for the host or for control on the way.
 */
#include "datapath/burst.h"

#include <string.h>

#include <rte_cycles.h>

#include "base/bytes.h"
#include "datapath/forward.h"
#include "datapath/locals.h"
#include "net/ecn.h"
#include "net/inner.h"
#include "net/mss.h"
#include "net/outer.h"
#include "wg/messages.h"

/* Packets from an inner port. */
struct plain {
	unsigned n;
	struct rte_mbuf
		*mbufs[LIMIT_BURST]; /* data at the IP header, the Ethernet header before it */
	struct dp_lookup destinations;
};

static void validate(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n,
	struct plain *plain);
static void forward(struct dp_worker *worker, unsigned port, struct plain *plain,
	struct dp_tunnel_burst *burst);
static void clamp(const struct dp *dp, const struct dp_tunnel_burst *burst);
static void route(struct dp_worker *worker, struct dp_tunnel_burst *burst);
static void find_sessions(struct dp_worker *worker, struct dp_tunnel_burst *burst);
static void seal_and_send(struct dp_worker *worker, struct dp_tunnel_burst *burst);
static void number(struct dp_worker *worker, struct dp_tunnel_burst *burst);
static void encap(struct dp_worker *worker, struct dp_tunnel_burst *burst);
static void seal(struct dp_worker *worker, struct dp_tunnel_burst *burst);
static void account(struct dp_worker *worker, const struct dp_tunnel_burst *burst);
static void spread(struct dp_worker *worker, struct dp_tunnel_burst *burst);
static void send(struct dp_worker *worker, struct dp_tunnel_burst *burst);

void dp_outbound(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n)
{
	struct plain plain;
	struct dp_tunnel_burst burst;
	burst.n = 0;
	validate(worker, port, mbufs, n, &plain);
	dp_stage_end(worker, DP_STAGE_VALIDATE, n);
	forward(worker, port, &plain, &burst);
	dp_stage_end(worker, DP_STAGE_FORWARD, plain.n);
	dp_outbound_route(worker, &burst);
}

void dp_outbound_route(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	if (burst->n == 0)
		return;
	unsigned n = burst->n;
	if (unlikely(worker->dp->clamp_mss))
		clamp(worker->dp, burst);
	route(worker, burst);
	dp_stage_end(worker, DP_STAGE_ROUTE, n);
	find_sessions(worker, burst);
	dp_stage_end(worker, DP_STAGE_SESSION, n);
	seal_and_send(worker, burst);
}

static void seal_and_send(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	if (unlikely(worker->spreading))
		dp_spread_make_room(worker);
	unsigned n = burst->n;
	number(worker, burst);
	dp_stage_end(worker, DP_STAGE_NUMBER, n);
	encap(worker, burst);
	dp_stage_end(worker, DP_STAGE_ENCAP, burst->n);
	if (unlikely(worker->spreading) &&
		dp_spread_suits(worker, DP_JOB_SEAL, burst->ops, burst->n)) {
		spread(worker, burst);
		return;
	}
	seal(worker, burst);
	dp_stage_end(worker, DP_STAGE_SEAL, burst->n);
	account(worker, burst);
	dp_stage_end(worker, DP_STAGE_ACCOUNT, burst->n);
	send(worker, burst);
	dp_stage_end(worker, DP_STAGE_SEND, burst->n);
}

/* Moves packet i to position kept. */
static inline void keep(struct dp_tunnel_burst *burst, unsigned kept, unsigned i)
{
	if (likely(kept == i))
		return;
	burst->mbufs[kept] = burst->mbufs[i];
	burst->interface[kept] = burst->interface[i];
	burst->peers[kept] = burst->peers[i];
	burst->sessions[kept] = burst->sessions[i];
	burst->outers[kept] = burst->outers[i];
}

/* The end of the run of one session that begins at i. */
static inline unsigned run_end(const struct dp_tunnel_burst *burst, unsigned i)
{
	unsigned end = i + 1;
	while (end < burst->n && burst->sessions[end] == burst->sessions[i])
		end++;
	return end;
}

/* What sealing needs before and behind the packet. */
static inline bool has_room(const struct rte_mbuf *m)
{
	return rte_pktmbuf_headroom(m) >= DP_SEAL_HEADROOM &&
	       rte_pktmbuf_tailroom(m) >= DP_SEAL_TAILROOM;
}

/* True when there is somewhere to send. Of the endpoint, this is the line that encap reads. */
static inline bool leads_somewhere(const struct dp_outer *outer)
{
	return likely(outer != NULL) &&
	       (likely(!outer->special) || likely(!(outer->nowhere | outer->in_doubt)));
}

/* ---- validate: common IP packets for our MAC go on; the rest is the host's ---- */

/*
 * True for a packet that a router forwards without a second thought; *inner tells of it. One whose
 * source is ours is none: peers would take it for our own word. The kernel knows such as martians.
 */
static bool is_common(const struct rte_mbuf *m, const uint8_t mac[6],
	const struct dp_locals *locals, struct inner *inner)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	if (!dp_is_for_mac(m, mac))
		return false;
	if (!inner_parse(frame + ETHER_HEADER_BYTES, m->data_len - ETHER_HEADER_BYTES, inner))
		return false;
	uint16_t type = inner->family == IP_V4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6;
	if (load_be16(frame + ETHER_TYPE) != type || inner->ttl <= 1 || inner->unusual != 0)
		return false;
	return inner->family != IP_V4 || !dp_locals_has_ipv4(locals, inner->src);
}

static void validate(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n,
	struct plain *plain)
{
	const uint8_t *mac = worker->dp->ports[port].mac;
	const struct dp_locals *locals =
		atomic_load_explicit(&worker->dp->locals, memory_order_acquire);
	struct dp_batch host, no_room;
	struct inner inner;
	host.n = no_room.n = 0;
	plain->n = 0;
	dp_lookup_reset(&plain->destinations);
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		if (unlikely(!dp_linear(m))) {
			dp_batch_add(&no_room, m);
		} else if (unlikely(!is_common(m, mac, locals, &inner))) {
			dp_batch_add_frame(&host, m, port);
		} else {
			m->data_off += ETHER_HEADER_BYTES;
			dp_set_length(m, inner.len);
			dp_lookup_add(&plain->destinations, plain->n, inner.family, inner.dst);
			plain->mbufs[plain->n++] = m;
		}
	}
	dp_drop_batch(worker, &no_room, DP_DROP_NO_ROOM);
	dp_frames_to_host(worker, port, &host);
}

/* ---- forward: the kernel's routes tell ports from tunnels ---- */

static void forward(
	struct dp_worker *worker, unsigned port, struct plain *plain, struct dp_tunnel_burst *burst)
{
	struct dp_nexthop *nexthops[LIMIT_BURST];
	struct dp_batch host;
	host.n = 0;
	dp_forward_lookup(worker->dp, &plain->destinations, plain->n, nexthops);
	for (unsigned i = 0; i < plain->n; i++) {
		struct rte_mbuf *m = plain->mbufs[i];
		if (likely(dp_forward(worker, m, nexthops[i], burst)))
			continue;
		rte_pktmbuf_prepend(m, ETHER_HEADER_BYTES); /* as it came */
		dp_batch_add_frame(&host, m, port);
	}
	dp_frames_to_host(worker, port, &host);
}

/* ---- the same for packets that the kernel routed to an interface ---- */

void dp_outbound_tun(struct dp_worker *worker, struct rte_mbuf **mbufs, unsigned n)
{
	struct dp_tunnel_burst burst;
	struct dp_batch malformed, too_big;
	struct inner inner;
	malformed.n = too_big.n = 0;
	burst.n = 0;
	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		uint8_t interface = dp_mbuf(m)->interface;
		if (unlikely(!dp_linear(m) || !inner_parse(rte_pktmbuf_mtod(m, const uint8_t *),
						      m->data_len, &inner))) {
			dp_batch_add(&malformed, m);
		} else if (unlikely(inner.len > worker->dp->interfaces[interface].mtu)) {
			dp_batch_add(&too_big, m);
		} else {
			dp_set_length(m, inner.len);
			dp_tunnel_burst_add(&burst, m, interface);
		}
	}
	dp_drop_batch(worker, &malformed, DP_DROP_TUN_MALFORMED);
	dp_drop_batch(worker, &too_big, DP_DROP_TUN_TOO_BIG);
	dp_outbound_route(worker, &burst);
}

/* ---- the same for packets that waited for a session, and keepalives ---- */

static bool find_named_session(struct dp_worker *worker, struct dp_tunnel_burst *burst, unsigned i,
	enum dp_drop_reason *reason)
{
	const struct dp_mbuf *info = dp_mbuf(burst->mbufs[i]);
	struct dp_peer *peer = dp_peer_by_id(worker->dp, info->peer_id);
	struct wg_session *session = dp_session_in_slot(worker->dp, info->local_index);
	*reason = DP_DROP_PEER_GONE;
	if (peer == NULL)
		return false;
	*reason = DP_DROP_SESSION_GONE;
	if (session == NULL || session->local_index != info->local_index ||
		session->peer_id != peer->id || !wg_session_alive(session, worker->now_ns))
		return false;
	*reason = DP_DROP_NO_ROOM;
	if (!has_room(burst->mbufs[i]))
		return false;
	*reason = DP_DROP_NO_ENDPOINT;
	burst->interface[i] = peer->interface;
	burst->peers[i] = peer;
	burst->sessions[i] = session;
	burst->outers[i] = atomic_load_explicit(&peer->outer, memory_order_acquire);
	return leads_somewhere(burst->outers[i]);
}

void dp_outbound_peer(struct dp_worker *worker, struct rte_mbuf **mbufs, unsigned n)
{
	struct dp_tunnel_burst burst;
	enum dp_drop_reason reason;
	burst.n = 0;
	for (unsigned i = 0; i < n; i++) {
		burst.mbufs[burst.n] = mbufs[i];
		if (likely(find_named_session(worker, &burst, burst.n, &reason)))
			burst.n++;
		else
			dp_drop(&worker->drops, &mbufs[i], 1, reason);
	}
	seal_and_send(worker, &burst);
}

/* ---- clamp: TCP connections are offered what fits the tunnel, on request ---- */

static void clamp(const struct dp *dp, const struct dp_tunnel_burst *burst)
{
	for (unsigned i = 0; i < burst->n; i++) {
		struct rte_mbuf *m = burst->mbufs[i];
		uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *);
		if (unlikely(mss_may_be_offered(ip, m->data_len)))
			mss_clamp(ip, m->data_len, dp->interfaces[burst->interface[i]].mtu);
	}
}

/* ---- route: cryptokey routing tells the peer ---- */

/* Peers of the packets [begin, end), all of one interface; NULL where nobody owns the address. */
static void route_run(struct dp *dp, struct dp_tunnel_burst *burst, unsigned begin, unsigned end)
{
	const struct dp_lpm *allowed = atomic_load_explicit(
		&dp->interfaces[burst->interface[begin]].allowed, memory_order_acquire);
	struct dp_lookup lookup;
	uint32_t ids[LIMIT_BURST];
	if (unlikely(allowed == NULL)) {
		memset(&burst->peers[begin], 0, (end - begin) * sizeof(burst->peers[0]));
		return;
	}
	dp_lookup_reset(&lookup);
	for (unsigned i = begin; i < end; i++) {
		const uint8_t *ip = rte_pktmbuf_mtod(burst->mbufs[i], const uint8_t *);
		if (ip_version(ip) == 4)
			dp_lookup_add(&lookup, i, IP_V4, ip + IPV4_DST);
		else
			dp_lookup_add(&lookup, i, IP_V6, ip + IPV6_DST);
	}
	dp_lookup_run(&lookup, allowed, ids);
	for (unsigned i = begin; i < end; i++)
		dp_prefetch_to_seal(dp, ids[i]);
	for (unsigned i = begin; i < end; i++)
		burst->peers[i] = ids[i] < LIMIT_PEERS ? &dp->peers[ids[i]] : NULL;
}

static void route(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	for (unsigned i = 0, end; i < burst->n; i = end) {
		end = i + 1;
		while (end < burst->n && burst->interface[end] == burst->interface[i])
			end++;
		route_run(worker->dp, burst, i, end);
	}
}

/* ---- session: each peer's current one; without, the packet waits for a handshake ---- */

static inline void set_kind(
	struct rte_mbuf *m, enum dp_kind kind, const struct dp_tunnel_burst *burst, unsigned i)
{
	*dp_mbuf(m) = (struct dp_mbuf){
		.kind = (uint8_t)kind,
		.port = DP_PORT_NONE,
		.interface = burst->interface[i],
		.peer_id = burst->peers[i] != NULL ? burst->peers[i]->id : 0,
	};
}

/*
 * A new session that its initiator has proven is used ahead of control's word. Without a current
 * one packets are being staged: then control's word makes sure that none overtakes them.
 */
static inline struct wg_session *session_of(const struct dp_peer *peer)
{
	struct wg_session *current = atomic_load_explicit(&peer->current, memory_order_acquire);
	struct wg_session *next = atomic_load_explicit(&peer->next, memory_order_acquire);
	if (likely(next == NULL) || current == NULL)
		return current;
	return atomic_load_explicit(&next->proven, memory_order_relaxed) ? next : current;
}

static void load_sessions(struct dp_tunnel_burst *burst)
{
	for (unsigned i = 0; i < burst->n; i++) {
		const struct dp_peer *peer = burst->peers[i];
		if (unlikely(peer == NULL)) {
			burst->sessions[i] = NULL;
			burst->outers[i] = NULL;
			continue;
		}
		burst->sessions[i] = session_of(peer);
		burst->outers[i] = atomic_load_explicit(&peer->outer, memory_order_acquire);
		if (i > 0 && peer == burst->peers[i - 1])
			continue;
		/* To the first level: what is wanted of the second here, of two lines at once and
		 * out of memory, mostly never comes (Zen 4). */
		rte_prefetch0(burst->outers[i]);
		rte_prefetch0(
			(const char *)burst->sessions[i] + offsetof(struct wg_session, send_key));
	}
}

static void find_sessions(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	struct dp_batch control, no_room;
	unsigned kept = 0;
	control.n = no_room.n = 0;
	load_sessions(burst);
	for (unsigned i = 0; i < burst->n; i++) {
		struct rte_mbuf *m = burst->mbufs[i];
		struct wg_session *session = burst->sessions[i];
		/* The endpoint is looked at only with a session: who is removed loses that first.
		 */
		if (unlikely(burst->outers[i] == NULL)) {
			set_kind(m, DP_UNREACHABLE, burst, i);
			dp_batch_add(&control, m);
		} else if (unlikely(session == NULL ||
				    !wg_session_may_seal(session, worker->now_ns) ||
				    !leads_somewhere(burst->outers[i]))) {
			set_kind(m, DP_STAGE, burst, i);
			dp_batch_add(&control, m);
		} else if (unlikely(!has_room(m))) {
			dp_batch_add(&no_room, m);
		} else {
			keep(burst, kept++, i);
		}
	}
	burst->n = kept;
	dp_to_control(worker, &control);
	dp_drop_batch(worker, &no_room, DP_DROP_NO_ROOM);
}

/* ---- number: one reservation of counters for each run of a session ---- */

static void number(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	struct dp_batch control;
	unsigned kept = 0;
	control.n = 0;
	for (unsigned i = 0, end; i < burst->n; i = end) {
		end = run_end(burst, i);
		uint64_t counter = wg_session_reserve(burst->sessions[i], end - i);
		for (unsigned k = i; k < end; k++) {
			if (unlikely(counter == UINT64_MAX)) {
				/* Used up: as good as no session. */
				set_kind(burst->mbufs[k], DP_STAGE, burst, k);
				dp_batch_add(&control, burst->mbufs[k]);
				continue;
			}
			burst->counters[kept] = counter + (k - i);
			keep(burst, kept++, k);
		}
	}
	burst->n = kept;
	dp_to_control(worker, &control);
}

/* ---- encap: padding, data header, the peer's prepared outer header ---- */

/* The multiple of 16 above, but nothing larger than the MTU (whitepaper section 5.4.6). */
static inline unsigned padded_bytes(unsigned len, unsigned mtu)
{
	unsigned padded = (len + 15) & ~15u;
	return likely(padded <= mtu) ? padded : RTE_MAX(len, mtu);
}

static inline uint8_t outer_ecn(const uint8_t *ip, unsigned len)
{
	if (len == 0)
		return ECN_NOT_ECT;
	return ecn_seal(ip_version(ip) == 4 ? ip[IPV4_TOS] : ipv6_traffic_class(ip));
}

/* The copies are of whole vectors: what they write beyond the header, the next header covers. */
static inline void put_headers(uint8_t *text, const struct dp_outer *outer, unsigned payload_len,
	uint8_t ecn, uint16_t ip_id)
{
	uint8_t *header = text - sizeof(struct wg_msg_data) - outer->header_len;
	if (outer->header_len == OUTER_HEADER4_BYTES)
		memcpy(header, outer->header, 48);
	else
		memcpy(header, outer, DP_OUTER_HEADER_ROOM);
	outer_finish(header, outer->header_len, payload_len, ecn, ip_id);
}

static inline void put_data_header(uint8_t *text, uint32_t receiver_index, uint64_t counter)
{
	uint8_t *message = text - sizeof(struct wg_msg_data);
	store_le32(message + offsetof(struct wg_msg_data, type_le), WG_MSG_DATA);
	store_le32(message + offsetof(struct wg_msg_data, receiver_le), receiver_index);
	store_le64(message + offsetof(struct wg_msg_data, counter_le), counter);
}

static void encap(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	for (unsigned i = 0; i < burst->n; i++) {
		struct rte_mbuf *m = burst->mbufs[i];
		const struct wg_session *session = burst->sessions[i];
		const struct dp_outer *outer = burst->outers[i];
		uint8_t *text = rte_pktmbuf_mtod(m, uint8_t *);
		unsigned len = m->data_len;
		unsigned padded =
			padded_bytes(len, worker->dp->interfaces[burst->interface[i]].mtu);
		unsigned payload_len = padded + WG_KEEPALIVE_BYTES;
		unsigned headers_len = outer->header_len + sizeof(struct wg_msg_data);

		memset(text + len, 0, 16);
		put_headers(text, outer, payload_len, outer_ecn(text, len), worker->ip_id++);
		put_data_header(text, session->remote_index, burst->counters[i]);
		burst->ops[i] = (struct aead_op){
			.data = text,
			.key = session->send_key,
			.counter = burst->counters[i],
			.len = padded,
		};
		m->data_off = (uint16_t)(m->data_off - headers_len);
		dp_set_length(m, outer->header_len + payload_len);
	}
}

/* ---- seal ---- */

static void seal(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	uint64_t begin = rte_rdtsc();
	aead_batch_seal(worker->aead, burst->ops, burst->n);
	worker->counters.aead_cycles += rte_rdtsc() - begin;
}

/* ---- account: stamps and hints, once for each run of a session ---- */

/* Whitepaper section 6.2: any side by count, the initiator by age. */
static inline bool rekey_is_due(const struct wg_session *session, uint64_t counter, uint64_t now_ns)
{
	return counter >= WG_REKEY_AFTER_MESSAGES ||
	       (session->initiator &&
		       wg_session_sealing_age_ns(session, now_ns) >= WG_REKEY_AFTER_TIME_NS);
}

static void account(struct dp_worker *worker, const struct dp_tunnel_burst *burst)
{
	for (unsigned i = 0, end; i < burst->n; i = end) {
		uint64_t text_bytes = 0;
		end = run_end(burst, i);
		for (unsigned k = i; k < end; k++)
			text_bytes += burst->ops[k].len;
		uint64_t bytes = text_bytes + (end - i) * WG_KEEPALIVE_BYTES;
		wg_activity_sent(
			&burst->peers[i]->activity, worker->now_ns, bytes, text_bytes != 0);
		worker->counters.outbound_bytes += bytes;
		if (unlikely(rekey_is_due(
			    burst->sessions[i], burst->counters[end - 1], worker->now_ns)))
			dp_hint_rekey(worker, burst->sessions[i]);
	}
	worker->counters.outbound_packets += burst->n;
}

/* ---- send: checksums, and the port; or the kernel's socket ---- */

/* What the NIC does not do. IPv4 allows none, and the payload authenticates itself. */
static inline void finish_udp_checksum(
	struct rte_mbuf *m, unsigned header_len, const struct dp_port *port)
{
	uint8_t *header = rte_pktmbuf_mtod(m, uint8_t *);
	bool ipv4 = header_len == OUTER_HEADER4_BYTES;
	if (port->offload_udp) {
		dp_set_tx_flags(m,
			RTE_MBUF_F_TX_UDP_CKSUM | (ipv4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6));
		m->l2_len = ETHER_HEADER_BYTES;
		m->l3_len = ipv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
		return;
	}
	dp_set_tx_flags(m, 0);
	if (ipv4)
		outer_omit_udp_checksum(header);
	else
		outer_complete_udp_checksum(header, header_len, m->data_len - header_len);
}

/* What exceeds the MTU of the port or of the route the kernel fragments. */
static inline bool goes_by_kernel(
	const struct dp_worker *worker, const struct dp_tunnel_burst *burst, unsigned i)
{
	const struct dp_outer *outer = burst->outers[i];
	unsigned len = burst->mbufs[i]->data_len - ETHER_HEADER_BYTES;
	/* First: it may have no port. */
	if (unlikely(outer->special) &&
		(outer->via_kernel || (outer->mtu != 0 && len > outer->mtu)))
		return true;
	return len > worker->dp->ports[outer->port].mtu;
}

/* Sets what travels with a sealed frame. */
static void set_sealed(const struct dp_tunnel_burst *burst, unsigned i, enum dp_kind kind)
{
	struct dp_mbuf *info = dp_mbuf(burst->mbufs[i]);
	set_kind(burst->mbufs[i], kind, burst, i);
	info->port = burst->outers[i]->port;
	info->header_len = burst->outers[i]->header_len;
	info->scope_id = burst->outers[i]->scope_id;
}

static void send_by_kernel(struct dp_worker *worker, struct rte_mbuf *m)
{
	struct dp_batch socket;
	socket.n = 0;
	dp_batch_add(&socket, m);
	dp_to_host(worker, dp_netdev_of_interface(dp_mbuf(m)->interface), &socket);
}

static void send(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	for (unsigned i = 0; i < burst->n; i++) {
		struct rte_mbuf *m = burst->mbufs[i];
		const struct dp_outer *outer = burst->outers[i];
		if (unlikely(goes_by_kernel(worker, burst, i))) {
			set_sealed(burst, i, DP_HOST_SOCKET);
			send_by_kernel(worker, m);
			continue;
		}
		finish_udp_checksum(m, outer->header_len, &worker->dp->ports[outer->port]);
		dp_transmit(worker, outer->port, m);
	}
}

/* ---- the same while this worker spreads its AEAD work: accounted now, sent when sealed ---- */

static void spread(struct dp_worker *worker, struct dp_tunnel_burst *burst)
{
	account(worker, burst);
	for (unsigned i = 0; i < burst->n; i++)
		set_sealed(
			burst, i, goes_by_kernel(worker, burst, i) ? DP_HOST_SOCKET : DP_TRANSMIT);
	dp_spread_begin(worker, DP_JOB_SEAL, burst->mbufs, burst->ops, burst->n);
}

void dp_outbound_sealed(struct dp_worker *worker, const struct dp_job *job)
{
	for (unsigned i = 0; i < job->n; i++) {
		struct rte_mbuf *m = job->mbufs[i];
		const struct dp_mbuf *info = dp_mbuf(m);
		if (unlikely(info->kind == DP_HOST_SOCKET)) {
			send_by_kernel(worker, m);
			continue;
		}
		finish_udp_checksum(m, info->header_len, &worker->dp->ports[info->port]);
		dp_transmit(worker, info->port, m);
	}
	dp_stage_end(worker, DP_STAGE_SEND, job->n);
}
