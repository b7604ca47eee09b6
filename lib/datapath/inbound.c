/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From outer to inner: WireGuard messages in, plain IP packets out. Runs on workers. The stages
 * stand in the order they run.
 *
 * Up to the authentication barrier nothing changes but the packets and counters: whoever can send a
 * frame can make these stages run.
 */
#include "datapath/burst.h"

#include <assert.h>

#include <rte_cycles.h>

#include "base/bytes.h"
#include "base/prefetch.h"
#include "datapath/forward.h"
#include "datapath/locals.h"
#include "datapath/roam.h"
#include "net/ecn.h"
#include "net/inner.h"
#include "net/mss.h"
#include "net/outer.h"
#include "wg/index.h"
#include "wg/messages.h"

/* Data messages of a burst; [0..n) of each array. */
struct inbound {
	unsigned n;
	bool authentic; /* what is in the burst passed the barrier */
	struct rte_mbuf *mbufs[LIMIT_BURST];
	const uint8_t *frames[LIMIT_BURST]; /* Ethernet headers; stay when the mbuf's data moves */
	uint8_t header_len[LIMIT_BURST];
	uint8_t interface[LIMIT_BURST];
	struct wg_session *sessions[LIMIT_BURST];
	struct dp_peer *peers[LIMIT_BURST];
	struct aead_op ops[LIMIT_BURST];
	struct inner inner[LIMIT_BURST]; /* from decap on */
};

static void classify(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n,
	struct inbound *in);
static void find(struct dp_worker *worker, struct inbound *in);
static void open(struct dp_worker *worker, struct inbound *in);
static void spread(struct dp_worker *worker, struct inbound *in);
static void take_in(struct dp_worker *worker, struct inbound *in);
static void accept(struct dp_worker *worker, struct inbound *in);
static void decap(struct dp_worker *worker, struct inbound *in);
static void check_source(struct dp_worker *worker, struct inbound *in);
static void clamp(const struct dp *dp, const struct inbound *in);
static void deliver(struct dp_worker *worker, struct inbound *in);

void dp_inbound(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n)
{
	struct inbound in;
	in.n = 0;
	in.authentic = false;
	classify(worker, port, mbufs, n, &in);
	dp_stage_end(worker, DP_STAGE_CLASSIFY, n);
	if (in.n == 0)
		return;
	n = in.n;
	find(worker, &in);
	dp_stage_end(worker, DP_STAGE_FIND, n);
	if (unlikely(worker->spreading) && dp_spread_suits(worker, DP_JOB_OPEN, in.ops, in.n)) {
		spread(worker, &in);
		return;
	}
	n = in.n;
	open(worker, &in);
	dp_stage_end(worker, DP_STAGE_OPEN, n);
	take_in(worker, &in);
}

static void take_in(struct dp_worker *worker, struct inbound *in)
{
	/* --- The authentication barrier --- */
	assert(in->authentic);
	unsigned n = in->n;
	accept(worker, in);
	dp_stage_end(worker, DP_STAGE_ACCEPT, n);
	n = in->n;
	decap(worker, in);
	dp_stage_end(worker, DP_STAGE_DECAP, n);
	n = in->n;
	check_source(worker, in);
	dp_stage_end(worker, DP_STAGE_SOURCE, n);
	if (unlikely(worker->dp->clamp_mss))
		clamp(worker->dp, in);
	deliver(worker, in);
}

/* ---- classify: data goes on, handshakes to control, the rest to the host ---- */

/* Where frames go that are no data messages. */
struct sorted {
	struct dp_batch handshakes, host, plain, no_room, bad_length, bad_type;
};

/* What the frame before was for: most of a burst is for one address and port. */
struct recipient {
	uint8_t family; /* IP_NONE: there was none yet */
	uint8_t addr[16];
	uint16_t port_be;
	int interface; /* -1: no WireGuard interface of ours */
};

static void classify_frame(struct dp_worker *worker, unsigned port, struct rte_mbuf *m,
	struct recipient *last, struct inbound *in, struct sorted *to);

static void classify(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n,
	struct inbound *in)
{
	struct recipient last;
	struct sorted to;
	last.family = IP_NONE;
	to.handshakes.n = to.host.n = to.plain.n = 0;
	to.no_room.n = to.bad_length.n = to.bad_type.n = 0;
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (unsigned i = 0; i < n; i++)
		classify_frame(worker, port, mbufs[i], &last, in, &to);

	dp_handshakes_to_control(worker, &to.handshakes);
	dp_frames_to_host(worker, port, &to.host);
	if (unlikely(to.plain.n != 0))
		dp_outbound(worker, port, to.plain.mbufs, to.plain.n);
	dp_drop_batch(worker, &to.no_room, DP_DROP_NO_ROOM);
	dp_drop_batch(worker, &to.bad_length, DP_DROP_MESSAGE_LENGTH);
	dp_drop_batch(worker, &to.bad_type, DP_DROP_MESSAGE_TYPE);
}

static int find_listener(const struct dp *dp, const struct outer *outer)
{
	const struct dp_locals *locals = atomic_load_explicit(&dp->locals, memory_order_acquire);
	bool ours = outer->family == IP_V4 ? dp_locals_has_ipv4(locals, outer->dst)
					   : dp_locals_has_ipv6(locals, outer->dst);
	if (!ours || outer->dst_port_be == 0)
		return -1;
	for (int i = 0; i < LIMIT_INTERFACES; i++)
		if (atomic_load_explicit(&dp->interfaces[i].listen_port_be, memory_order_relaxed) ==
			outer->dst_port_be)
			return i;
	return -1;
}

/* The interface that a datagram is for by its destination, or -1. */
static inline int find_recipient(
	const struct dp *dp, const struct outer *outer, struct recipient *last)
{
	bool ipv4 = outer->family == IP_V4;
	if (likely(last->family == outer->family && last->port_be == outer->dst_port_be &&
		    ip_bytes_equal(ipv4, last->addr, outer->dst)))
		return last->interface;
	last->family = outer->family;
	last->port_be = outer->dst_port_be;
	memcpy(last->addr, outer->dst, ipv4 ? 4 : 16);
	last->interface = find_listener(dp, outer);
	return last->interface;
}

/*
 * UDP checksums are not verified: the payload authenticates itself. IPv4's header has a checksum
 * that costs nothing; what the NIC found wrong, and IPv6 without a checksum, the kernel rejects.
 */
static inline bool checksums_pass(
	const struct rte_mbuf *m, const uint8_t *frame, const struct outer *outer)
{
	uint64_t flags = m->ol_flags;
	if (unlikely((flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD))
		return false;
	if (outer->family == IP_V4)
		return checksum_ipv4_valid(frame + ETHER_HEADER_BYTES);
	return load_be16(frame + outer->payload_offset - UDP_HEADER_BYTES + UDP_CHECKSUM) != 0;
}

/* The interface that a frame of a port is a WireGuard message for, or -1. */
static inline int interface_of_frame(struct dp_worker *worker, unsigned port,
	const struct rte_mbuf *m, struct recipient *last, struct outer *outer)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	if (unlikely(!dp_is_for_mac(m, worker->dp->ports[port].mac) ||
		     outer_classify(frame, m->data_len, outer) != OUTER_UDP ||
		     !outer_from_host(outer) || !checksums_pass(m, frame, outer)))
		return -1;
	return find_recipient(worker->dp, outer, last);
}

static void classify_message(struct dp_worker *worker, struct rte_mbuf *m,
	const struct outer *outer, uint8_t interface, struct inbound *in, struct sorted *to);

static void classify_frame(struct dp_worker *worker, unsigned port, struct rte_mbuf *m,
	struct recipient *last, struct inbound *in, struct sorted *to)
{
	struct outer outer;
	int interface;
	if (unlikely(!dp_linear(m))) {
		dp_batch_add(&to->no_room, m);
		return;
	}
	if (unlikely(port == DP_PORT_NONE)) {
		/* The kernel took it for the interface: no question of whose it is. */
		const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
		if (outer_classify(frame, m->data_len, &outer) != OUTER_UDP)
			dp_batch_add(&to->bad_length, m);
		else
			classify_message(worker, m, &outer, dp_mbuf(m)->interface, in, to);
		return;
	}
	interface = interface_of_frame(worker, port, m, last, &outer);
	if (unlikely(interface < 0)) {
		if (worker->dp->ports[port].inner)
			dp_batch_add(&to->plain, m);
		else
			dp_batch_add_frame(&to->host, m, port);
		return;
	}
	dp_mbuf(m)->port = (uint8_t)port;
	dp_mbuf(m)->scope_id = worker->dp->ports[port].scope_id;
	classify_message(worker, m, &outer, (uint8_t)interface, in, to);
}

static inline void add_data(struct dp_worker *worker, struct rte_mbuf *m, const struct outer *outer,
	uint8_t interface, struct inbound *in)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t *message = frame + outer->payload_offset;
	uint32_t index = load_le32(message + offsetof(struct wg_msg_data, receiver_le));
	unsigned i = in->n++;
	prefetch_far(&worker->dp->sessions[wg_index_slot(index)]);
	in->mbufs[i] = m;
	in->frames[i] = frame;
	in->header_len[i] = outer->payload_offset;
	in->interface[i] = interface;
	in->ops[i].data = message + sizeof(struct wg_msg_data);
	in->ops[i].counter = load_le64(message + offsetof(struct wg_msg_data, counter_le));
	in->ops[i].len = (uint32_t)(outer->payload_len - WG_KEEPALIVE_BYTES);
}

static void classify_message(struct dp_worker *worker, struct rte_mbuf *m,
	const struct outer *outer, uint8_t interface, struct inbound *in, struct sorted *to)
{
	static const uint8_t handshake_bytes[] = {
		[WG_MSG_INITIATION] = sizeof(struct wg_msg_initiation),
		[WG_MSG_RESPONSE] = sizeof(struct wg_msg_response),
		[WG_MSG_COOKIE_REPLY] = sizeof(struct wg_msg_cookie_reply),
	};
	const uint8_t *message = rte_pktmbuf_mtod(m, const uint8_t *) + outer->payload_offset;
	uint32_t type = outer->payload_len >= sizeof(type) ? load_le32(message) : 0;
	if (likely(type == WG_MSG_DATA && outer->payload_len >= WG_KEEPALIVE_BYTES)) {
		add_data(worker, m, outer, interface, in);
	} else if (outer->payload_len < sizeof(type) || type == WG_MSG_DATA) {
		dp_batch_add(&to->bad_length, m);
	} else if (type < WG_MSG_INITIATION || type > WG_MSG_COOKIE_REPLY) {
		dp_batch_add(&to->bad_type, m);
	} else if (outer->payload_len != handshake_bytes[type]) {
		dp_batch_add(&to->bad_length, m);
	} else {
		struct dp_mbuf *info = dp_mbuf(m);
		info->kind = DP_HANDSHAKE;
		info->interface = interface;
		info->header_len = outer->payload_offset;
		dp_set_length(m, outer->payload_offset + outer->payload_len);
		dp_batch_add(&to->handshakes, m);
	}
}

/* Moves packet i to position kept in the arrays that classify fills in. */
static inline void keep(struct inbound *in, unsigned kept, unsigned i)
{
	if (likely(kept == i))
		return;
	in->mbufs[kept] = in->mbufs[i];
	in->frames[kept] = in->frames[i];
	in->header_len[kept] = in->header_len[i];
	in->interface[kept] = in->interface[i];
	in->ops[kept] = in->ops[i];
}

/* The same with those that find fills in. */
static inline void keep_found(struct inbound *in, unsigned kept, unsigned i)
{
	if (likely(kept == i))
		return;
	keep(in, kept, i);
	in->sessions[kept] = in->sessions[i];
	in->peers[kept] = in->peers[i];
}

/* The end of the run of one session that begins at i. */
static inline unsigned run_end(const struct inbound *in, unsigned i)
{
	unsigned end = i + 1;
	while (end < in->n && in->sessions[end] == in->sessions[i])
		end++;
	return end;
}

/* ---- find: receiver index to session and peer ---- */

static void find_sessions(struct dp_worker *worker, struct inbound *in);
static void find_peers(struct dp_worker *worker, struct inbound *in);

static void find(struct dp_worker *worker, struct inbound *in)
{
	find_sessions(worker, in);
	find_peers(worker, in);
}

static inline uint32_t index_of(const struct inbound *in, unsigned i)
{
	return load_le32(
		in->frames[i] + in->header_len[i] + offsetof(struct wg_msg_data, receiver_le));
}

static void find_sessions(struct dp_worker *worker, struct inbound *in)
{
	struct dp *dp = worker->dp;
	struct dp_batch unknown, expired;
	struct wg_session *sessions[LIMIT_BURST];
	unsigned kept = 0;
	unknown.n = expired.n = 0;
	for (unsigned i = 0; i < in->n; i++) {
		sessions[i] = dp_session_in_slot(dp, index_of(in, i));
		prefetch_far(sessions[i]);
	}
	for (unsigned i = 0; i < in->n; i++) {
		struct wg_session *session = sessions[i];
		if (unlikely(session == NULL || session->local_index != index_of(in, i))) {
			dp_batch_add(&unknown, in->mbufs[i]);
		} else if (unlikely(!wg_session_alive(session, worker->now_ns))) {
			dp_batch_add(&expired, in->mbufs[i]);
		} else {
			dp_prefetch_to_accept(dp, session->peer_id);
			keep(in, kept, i);
			in->sessions[kept] = session;
			in->ops[kept++].key = session->receive_key;
		}
	}
	in->n = kept;
	dp_drop_batch(worker, &unknown, DP_DROP_UNKNOWN_INDEX);
	dp_drop_batch(worker, &expired, DP_DROP_SESSION_EXPIRED);
}

static void find_peers(struct dp_worker *worker, struct inbound *in)
{
	struct dp_batch unknown;
	unsigned kept = 0;
	unknown.n = 0;
	for (unsigned i = 0; i < in->n; i++) {
		in->peers[i] = dp_peer_by_id(worker->dp, in->sessions[i]->peer_id);
		/* An index belongs to one interface: its other ports do not know it. */
		if (unlikely(in->peers[i] == NULL || in->peers[i]->interface != in->interface[i])) {
			dp_batch_add(&unknown, in->mbufs[i]);
			continue;
		}
		keep_found(in, kept++, i);
	}
	in->n = kept;
	dp_drop_batch(worker, &unknown, DP_DROP_UNKNOWN_INDEX);
}

/* ---- open ---- */

static void open(struct dp_worker *worker, struct inbound *in)
{
	struct dp_batch forged;
	unsigned kept = 0;
	uint64_t begin = rte_rdtsc();
	uint64_t opened = aead_batch_open(worker->aead, in->ops, in->n);
	worker->counters.aead_cycles += rte_rdtsc() - begin;
	in->authentic = true;
	if (likely(in->n == 0 || opened == UINT64_MAX >> (LIMIT_BURST - in->n)))
		return;
	forged.n = 0;
	for (unsigned i = 0; i < in->n; i++) {
		if ((opened >> i & 1) == 0)
			dp_batch_add(&forged, in->mbufs[i]);
		else
			keep_found(in, kept++, i);
	}
	in->n = kept;
	dp_drop_batch(worker, &forged, DP_DROP_FORGED);
}

/* ---- the same while this worker spreads its AEAD work ---- */

static void spread(struct dp_worker *worker, struct inbound *in)
{
	for (unsigned i = 0; i < in->n; i++) {
		dp_mbuf(in->mbufs[i])->header_len = in->header_len[i];
		dp_mbuf(in->mbufs[i])->interface = in->interface[i];
	}
	dp_spread_begin(worker, DP_JOB_OPEN, in->mbufs, in->ops, in->n);
}

/* In constant time, which a library's loop over bytes takes thirty times as long for. */
static inline bool is_key(const uint8_t a[WG_KEY_BYTES], const uint8_t b[WG_KEY_BYTES])
{
	uint64_t difference = 0;
	for (unsigned i = 0; i < WG_KEY_BYTES; i += 8)
		difference |= load_le64(a + i) ^ load_le64(b + i);
	return difference == 0;
}

/* True while the key that the packet was opened with is that of its index. */
static inline bool is_still_the_session(
	struct dp_worker *worker, uint32_t index, const uint8_t *key)
{
	const struct wg_session *session = dp_session_in_slot(worker->dp, index);
	return session != NULL && session->local_index == index &&
	       is_key(session->receive_key, key);
}

/* As find had it, of what is authentic and still has its session. */
static void restore(struct dp_worker *worker, const struct dp_job *job, struct inbound *in)
{
	struct dp_batch forged, gone;
	forged.n = gone.n = 0;
	/* Another core wrote to the data header's line and to the inner header's. */
	for (unsigned i = 0; i < job->n; i++) {
		prefetch_for_writing(job->ops[i].data - sizeof(struct wg_msg_data));
		prefetch_for_writing(job->ops[i].data + IPV6_HEADER_BYTES);
	}
	for (unsigned i = 0; i < job->n; i++) {
		struct rte_mbuf *m = job->mbufs[i];
		unsigned at = in->n;
		in->mbufs[at] = m;
		in->header_len[at] = dp_mbuf(m)->header_len;
		in->interface[at] = dp_mbuf(m)->interface;
		in->ops[at] = job->ops[i];
		in->frames[at] = job->ops[i].data - sizeof(struct wg_msg_data) - in->header_len[at];
		if (unlikely((job->opened >> i & 1) == 0))
			dp_batch_add(&forged, m);
		else if (unlikely(!is_still_the_session(worker, index_of(in, at), job->ops[i].key)))
			dp_batch_add(&gone, m);
		else
			in->n++;
	}
	dp_drop_batch(worker, &forged, DP_DROP_FORGED);
	dp_drop_batch(worker, &gone, DP_DROP_SESSION_GONE);
}

void dp_inbound_opened(struct dp_worker *worker, const struct dp_job *job)
{
	struct inbound in;
	in.n = 0;
	in.authentic = true;
	uint64_t begin = rte_rdtsc();
	restore(worker, job, &in);
	find(worker, &in);
	dp_spread_spend(worker, job, rte_rdtsc() - begin);
	dp_stage_end(worker, DP_STAGE_SPREAD, job->n);
	take_in(worker, &in);
}

/* ---- accept: replay window, stamps, hints; once for each run of a session ---- */

static void account_run(
	struct dp_worker *worker, const struct inbound *in, unsigned begin, unsigned end);

static void accept(struct dp_worker *worker, struct inbound *in)
{
	struct dp_batch replayed;
	unsigned kept = 0;
	replayed.n = 0;
	for (unsigned i = 0, end; i < in->n; i = end) {
		struct wg_session *session = in->sessions[i];
		unsigned first = kept;
		end = run_end(in, i);
		wg_session_lock_replay(session);
		for (unsigned k = i; k < end; k++) {
			if (likely(replay_accept(&session->replay, in->ops[k].counter)))
				keep_found(in, kept++, k);
			else
				dp_batch_add(&replayed, in->mbufs[k]);
		}
		wg_session_unlock_replay(session);
		if (likely(kept > first))
			account_run(worker, in, first, kept);
	}
	in->n = kept;
	dp_drop_batch(worker, &replayed, DP_DROP_REPLAYED);
}

/* Whitepaper section 6.2: the initiator renews early when it receives with the current session. */
static inline bool rekey_is_due(
	const struct dp_peer *peer, const struct wg_session *session, uint64_t now_ns)
{
	return wg_session_age_ns(session, now_ns) >= WG_REKEY_ON_RECEIVE_NS && session->initiator &&
	       atomic_load_explicit(&peer->current, memory_order_relaxed) == session;
}

static void account_run(
	struct dp_worker *worker, const struct inbound *in, unsigned begin, unsigned end)
{
	struct wg_session *session = in->sessions[begin];
	struct dp_peer *peer = in->peers[begin];
	unsigned last = end - 1;
	uint64_t text_bytes = 0;
	for (unsigned i = begin; i < end; i++)
		text_bytes += in->ops[i].len;
	uint64_t bytes = text_bytes + (end - begin) * WG_KEEPALIVE_BYTES;
	wg_activity_received(&peer->activity, worker->now_ns, bytes, text_bytes != 0);
	worker->counters.inbound_bytes += bytes;
	worker->counters.inbound_packets += end - begin;

	if (unlikely(!atomic_load_explicit(&session->confirmed, memory_order_relaxed))) {
		atomic_store_explicit(&session->proven, true, memory_order_relaxed);
		(void)dp_send_hint(worker, DP_HINT_CONFIRM, session);
	}
	uint32_t scope_id = dp_mbuf(in->mbufs[last])->scope_id;
	if (unlikely(!dp_is_on_path(atomic_load_explicit(&peer->outer, memory_order_acquire),
		    in->frames[last], in->header_len[last], scope_id)))
		dp_roam(worker, peer, in->frames[last], in->header_len[last], scope_id);
	if (unlikely(rekey_is_due(peer, session, worker->now_ns)))
		dp_hint_rekey(worker, session);
}

/* ---- decap: true length and ECN; keepalives end here ---- */

static inline uint8_t outer_traffic_class(const struct inbound *in, unsigned i)
{
	const uint8_t *ip = in->frames[i] + ETHER_HEADER_BYTES;
	return in->header_len[i] == OUTER_HEADER4_BYTES ? ip[IPV4_TOS] : ipv6_traffic_class(ip);
}

static void decap(struct dp_worker *worker, struct inbound *in)
{
	struct dp_batch malformed;
	unsigned kept = 0;
	malformed.n = 0;
	for (unsigned i = 0; i < in->n; i++) {
		struct rte_mbuf *m = in->mbufs[i];
		uint8_t *text = in->ops[i].data;
		struct inner *inner = &in->inner[kept];
		if (unlikely(in->ops[i].len == 0)) {
			rte_pktmbuf_free(m);
		} else if (unlikely(!inner_parse(text, in->ops[i].len, inner))) {
			dp_batch_add(&malformed, m);
		} else {
			ecn_open(text, inner->traffic_class, outer_traffic_class(in, i));
			m->data_off = (uint16_t)(text - (uint8_t *)m->buf_addr);
			dp_set_length(m, inner->len);
			keep_found(in, kept++, i);
		}
	}
	in->n = kept;
	dp_drop_batch(worker, &malformed, DP_DROP_INNER_MALFORMED);
}

/* ---- source: the longest prefix over all peers of the interface must answer this peer ---- */

/* True for the host that stands with the peer: no longer prefix can be another's. */
static inline bool is_own_host(const struct dp_peer *peer, const struct inner *inner)
{
	if (inner->family == IP_V4) {
		uint32_t host = atomic_load_explicit(&peer->host4, memory_order_acquire);
		return host != 0 && host == load_be32(inner->src);
	}
	return atomic_load_explicit(&peer->host6_state, memory_order_acquire) == DP_HOST6_VALID &&
	       memcmp(peer->host6, inner->src, sizeof(peer->host6)) == 0;
}

/* Owners of the source addresses of the packets [begin, end), all of one interface. */
static void find_owners(
	struct dp *dp, const struct inbound *in, unsigned begin, unsigned end, uint32_t *owners)
{
	const struct dp_lpm *allowed = atomic_load_explicit(
		&dp->interfaces[in->interface[begin]].allowed, memory_order_acquire);
	struct dp_lookup lookup;
	if (unlikely(allowed == NULL)) {
		for (unsigned i = begin; i < end; i++)
			owners[i] = DP_LPM_NONE;
		return;
	}
	dp_lookup_reset(&lookup);
	for (unsigned i = begin; i < end; i++) {
		if (is_own_host(in->peers[i], &in->inner[i]))
			owners[i] = in->peers[i]->id;
		else
			dp_lookup_add(&lookup, i, in->inner[i].family, in->inner[i].src);
	}
	dp_lookup_run(&lookup, allowed, owners);
}

static void check_source(struct dp_worker *worker, struct inbound *in)
{
	struct dp_batch stolen;
	uint32_t owners[LIMIT_BURST];
	unsigned kept = 0;
	stolen.n = 0;
	for (unsigned i = 0, end; i < in->n; i = end) {
		end = i + 1;
		while (end < in->n && in->interface[end] == in->interface[i])
			end++;
		find_owners(worker->dp, in, i, end, owners);
	}
	for (unsigned i = 0; i < in->n; i++) {
		if (unlikely(owners[i] != in->peers[i]->id)) {
			dp_batch_add(&stolen, in->mbufs[i]);
			continue;
		}
		if (unlikely(kept != i))
			in->inner[kept] = in->inner[i];
		keep_found(in, kept++, i);
	}
	in->n = kept;
	dp_drop_batch(worker, &stolen, DP_DROP_INNER_SOURCE);
}

/* ---- clamp: TCP connections are offered what fits the tunnel, on request ---- */

static void clamp(const struct dp *dp, const struct inbound *in)
{
	for (unsigned i = 0; i < in->n; i++) {
		struct rte_mbuf *m = in->mbufs[i];
		uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *);
		if (unlikely(mss_may_be_offered(ip, m->data_len)))
			mss_clamp(ip, m->data_len, dp->interfaces[in->interface[i]].mtu);
	}
}

/* ---- deliver: to a port, to another peer, or to the host ---- */

static void to_host(
	struct dp_worker *worker, struct rte_mbuf *m, uint8_t interface, struct dp_batch *host)
{
	if (host->n != 0 && dp_mbuf(host->mbufs[0])->interface != interface)
		dp_to_host(
			worker, dp_netdev_of_interface(dp_mbuf(host->mbufs[0])->interface), host);
	*dp_mbuf(m) = (struct dp_mbuf){
		.kind = DP_HOST_PACKET, .port = DP_PORT_NONE, .interface = interface};
	dp_batch_add(host, m);
}

/* True for what a router forwards without a second thought. A source of ours: see outbound.c. */
static inline bool is_common(const struct inner *inner, const struct dp_locals *locals)
{
	return inner->ttl > 1 && inner->unusual == 0 &&
	       (inner->family != IP_V4 || !dp_locals_has_ipv4(locals, inner->src));
}

static void deliver(struct dp_worker *worker, struct inbound *in)
{
	const struct dp_locals *locals =
		atomic_load_explicit(&worker->dp->locals, memory_order_acquire);
	struct dp_nexthop *nexthops[LIMIT_BURST];
	struct dp_tunnel_burst burst; /* for other peers */
	struct dp_lookup destinations;
	struct dp_batch host;
	burst.n = host.n = 0;
	dp_lookup_reset(&destinations);
	for (unsigned i = 0; i < in->n; i++)
		dp_lookup_add(&destinations, i, in->inner[i].family, in->inner[i].dst);
	dp_forward_lookup(worker->dp, &destinations, in->n, nexthops);
	for (unsigned i = 0; i < in->n; i++) {
		if (unlikely(!is_common(&in->inner[i], locals) ||
			     !dp_forward(worker, in->mbufs[i], nexthops[i], &burst)))
			to_host(worker, in->mbufs[i], in->interface[i], &host);
	}
	if (host.n != 0)
		dp_to_host(
			worker, dp_netdev_of_interface(dp_mbuf(host.mbufs[0])->interface), &host);
	dp_stage_end(worker, DP_STAGE_DELIVER, in->n);
	dp_outbound_route(worker, &burst);
}
