/* SPDX-License-Identifier: BSD-3-Clause */
/* Inner to outer: every stage of outbound.c, with far peers that open what leaves. */
#include "rig.h"

#include <stdio.h>

#include <rte_ring.h>

#include "base/bytes.h"
#include "datapath/lpm.h"
#include "datapath/reclaim.h"

/* A packet of the inner network to peer id, and its frame at the inner port. */
static void make_plain(
	unsigned id, int family, unsigned len, struct packet *inner, struct packet *frame)
{
	char dst[40];
	snprintf(dst, sizeof(dst), family == 4 ? "10.%u.0.7" : "fd%02u::7", id);
	inner_build(inner, family, family == 4 ? "192.168.0.5" : "fd99::5", dst, len);
	*frame = *inner;
	ether_wrap(frame, 1);
}

static void every_length_in_all_families(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	for (unsigned id = 1; id <= 3; id++) {
		uint64_t counter = 0, bytes = 0;
		for (unsigned len = 20; len <= RIG_MTU; len += len < 100 ? 1 : 13) {
			make_plain(id, len >= 40 && len % 2 == 0 ? 6 : 4, len, &inner, &frame);
			rig_receive(1, &frame);
			sink_take(0, &sealed);
			assert_int_equal(
				far_open(&rig.far[id], &sealed, RIG_MTU, &text), counter++);
			inner_hop(&inner);
			assert_same(&text, &inner);
			bytes += sealed.len - (rig.far[id].outer_family == 4 ? 42 : 62);
		}
		assert_int_equal(rig.far[id].activity->tx_bytes, bytes);
		assert_int_equal(rig.far[id].activity->last_sent_ns, RIG_NOW_NS);
		assert_int_equal(wg_activity_unanswered_since_ns(rig.far[id].activity), RIG_NOW_NS);
		assert_int_equal(rig.far[id].session.send_counter, counter);
	}
}

/* Padding ends at the MTU. */
static void longest_packets(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	for (unsigned len = RIG_MTU - 20; len <= RIG_MTU; len++) {
		make_plain(1, 4, len, &inner, &frame);
		rig_receive(1, &frame);
		sink_take(0, &sealed);
		far_open(&rig.far[1], &sealed, RIG_MTU, &text);
		assert_int_equal(text.len, len);
	}
	make_plain(1, 4, RIG_MTU + 1, &inner, &frame);
	rig_receive(1, &frame);
	struct packet back;
	ring_take(tap(1), &back, NULL);
	assert_same(&back, &frame);
}

static void ethernet_padding_goes(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	make_plain(1, 4, 21, &inner, &frame);
	memset(frame.bytes + frame.len, 0x77, 60 - frame.len);
	frame.len = 60;
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &text);
	inner_hop(&inner);
	assert_same(&text, &inner);
}

/* Sessions in turn and in runs: each counts for itself, and order is kept. */
static void interleaved_sessions(void **state)
{
	struct packet inner[150], frame, sealed, text;
	struct rte_mbuf *mbufs[150];
	unsigned ids[150];
	uint64_t next[RIG_PEERS] = {0};
	(void)state;
	for (unsigned i = 0; i < 150; i++) {
		ids[i] = i < 50	   ? 1 + i % 3
			 : i < 100 ? 1 + i / 7 % 3
				   : 1 + (unsigned)(rig_random() % 3);
		make_plain(ids[i], 4, 60 + i, &inner[i], &frame);
		mbufs[i] = mbuf_from(&frame);
	}
	dp_receive(rig.worker, 1, mbufs, 150);
	dp_worker_flush(rig.worker);
	for (unsigned i = 0; i < 150; i++) {
		sink_take(0, &sealed);
		assert_int_equal(
			far_open(&rig.far[ids[i]], &sealed, RIG_MTU, &text), next[ids[i]]++);
		inner_hop(&inner[i]);
		assert_same(&text, &inner[i]);
	}
	assert_int_equal(rig.worker->counters.outbound_packets, 150);
}

static void forget(void *arg, void *session)
{
	(void)arg;
	(void)session;
}

static void assert_staged(unsigned id, enum dp_kind kind)
{
	struct packet inner, frame, staged;
	struct dp_mbuf info;
	make_plain(id, 4, 99, &inner, &frame);
	rig_receive(1, &frame);
	ring_take(rig.dp->control_ring, &staged, &info);
	assert_int_equal(info.kind, kind);
	assert_int_equal(info.interface, rig.far[id].interface);
	if (kind == DP_STAGE)
		assert_int_equal(info.peer_id, id);
	inner_hop(&inner);
	assert_same(&staged, &inner);
}

/*
 * The session that a peer began anew seals from its first packet on, not before, so that a peer
 * that lost the current one can read the answer; control has not said anything yet.
 */
static void new_session_from_its_first_packet(void **state)
{
	struct far renewed = rig.far[1];
	struct packet inner, frame, sealed, text;
	struct dp_hint hint;
	(void)state;
	renewed.session.local_index ^= 1u << 3;
	renewed.session.remote_index = 0x77;
	memset(renewed.session.receive_key, 0x17, 32);
	memset(renewed.session.send_key, 0x18, 32);
	atomic_store(&renewed.session.confirmed, false);
	dp_publish_session(rig.dp, &renewed.session);
	dp_peer_set_next_session(rig.dp, 1, &renewed.session);
	for (unsigned turn = 0; turn < 3; turn++) {
		make_plain(1, 4, 100, &inner, &frame);
		rig_receive(1, &frame);
		sink_take(0, &sealed);
		far_open(turn == 0 ? &rig.far[1] : &renewed, &sealed, RIG_MTU, &text);
		far_seal(&renewed, 0, NULL, 0, 0, &frame); /* a keepalive */
		rig_receive(0, &frame);
		assert_true(hint_take(&hint));
		assert_int_equal(hint.kind, DP_HINT_CONFIRM);
	}
	/* No longer when it is gone. */
	assert_int_equal(dp_retire_session(rig.dp, &renewed.session, forget, NULL), 0);
	make_plain(1, 4, 100, &inner, &frame);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &text);
	/* Nor while packets wait to go ahead. */
	dp_peer_set_next_session(rig.dp, 1, &renewed.session);
	dp_peer_set_session(rig.dp, 1, NULL);
	assert_staged(1, DP_STAGE);
}

/* What leaves a burst on its way leaves the others with what is theirs. */
static void some_without_session(void **state)
{
	struct packet inner[60], frame, out, text;
	struct rte_mbuf *mbufs[60];
	(void)state;
	dp_peer_set_session(rig.dp, 3, NULL);
	for (unsigned i = 0; i < 60; i++) {
		make_plain(1 + i * 7 / 4 % 3, 4, 60 + i, &inner[i], &frame);
		mbufs[i] = mbuf_from(&frame);
	}
	dp_receive(rig.worker, 1, mbufs, 60);
	dp_worker_flush(rig.worker);
	for (unsigned i = 0; i < 60; i++) {
		unsigned id = 1 + i * 7 / 4 % 3;
		if (id == 3) {
			ring_take(rig.dp->control_ring, &text, NULL);
		} else {
			sink_take(0, &out);
			far_open(&rig.far[id], &out, RIG_MTU, &text);
		}
		inner_hop(&inner[i]);
		assert_same(&text, &inner[i]);
	}
}

static void without_session_to_control(void **state)
{
	(void)state;
	dp_peer_set_session(rig.dp, 1, NULL);
	assert_staged(1, DP_STAGE);
	dp_peer_set_session(rig.dp, 1, &rig.far[1].session);
	wg_session_set_born(&rig.far[1].session, RIG_NOW_NS - WG_REJECT_AFTER_TIME_NS);
	assert_staged(1, DP_STAGE);
	wg_session_set_born(&rig.far[1].session, rig.far[1].session.born_ns + 1);
	struct packet inner, frame, sealed, text;
	make_plain(1, 4, 99, &inner, &frame);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &text);
	assert_int_equal(rig.far[1].session.send_counter, 1);
}

static void used_up_session_to_control(void **state)
{
	struct packet inner, frame, sealed, text;
	struct dp_hint hint;
	(void)state;
	atomic_store(&rig.far[1].session.send_counter, WG_REJECT_AFTER_MESSAGES - 2);
	make_plain(1, 4, 99, &inner, &frame);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	assert_int_equal(
		far_open(&rig.far[1], &sealed, RIG_MTU, &text), WG_REJECT_AFTER_MESSAGES - 2);
	assert_true(hint_take(&hint));
	assert_int_equal(hint.kind, DP_HINT_REKEY);
	for (unsigned i = 0; i < 10; i++)
		assert_staged(1, DP_STAGE);
	assert_int_equal(rig.far[1].session.send_counter, WG_REJECT_AFTER_MESSAGES);
}

static void without_peer_or_endpoint_to_control(void **state)
{
	struct ip_prefix prefix;
	(void)state;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, NULL), 0);
	assert_staged(1, DP_UNREACHABLE);
	assert_true(ip_prefix_parse("10.2.0.0/16", &prefix));
	assert_int_equal(dp_lpm_delete(rig.dp->interfaces[0].allowed, &prefix), 0);
	assert_staged(2, DP_UNREACHABLE);
}

static void assert_to_tap(const struct packet *frame)
{
	struct packet back;
	struct dp_mbuf info;
	rig_receive(1, frame);
	ring_take(tap(1), &back, &info);
	assert_int_equal(info.kind, DP_HOST_FRAME);
	assert_int_equal(info.port, 1);
	assert_same(&back, frame);
}

static void options_packet(struct packet *frame)
{
	struct packet inner;
	make_plain(1, 4, 80, &inner, frame);
	inner.bytes[0] = 0x46;
	memset(inner.bytes + 20, 1, 4);
	inner_fix_checksum(&inner);
	*frame = inner;
	ether_wrap(frame, 1);
}

static void unusual_packets_to_the_host(void **state)
{
	struct packet inner, frame;
	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		for (uint8_t ttl = 0; ttl <= 1; ttl++) {
			make_plain(1, family, 80, &inner, &frame);
			inner_set_ttl(&inner, ttl);
			frame = inner;
			ether_wrap(&frame, 1);
			assert_to_tap(&frame);
		}
		make_plain(1, family, 80, &inner, &frame);
		frame.bytes[5] ^= 1; /* another MAC address */
		assert_to_tap(&frame);
		memset(frame.bytes, 0xff, 6);
		assert_to_tap(&frame);
		make_plain(1, family, 80, &inner, &frame);
		store_be16(frame.bytes + 12, 0x0806);
		assert_to_tap(&frame);
		store_be16(frame.bytes + 12, family == 4 ? 0x86dd : 0x0800);
		assert_to_tap(&frame);
		inner_build(&frame, family, family == 4 ? "192.168.0.5" : "fd99::5",
			family == 4 ? "224.0.0.5" : "ff02::5", 80);
		ether_wrap(&frame, 1);
		assert_to_tap(&frame);
		inner_build(&frame, family, family == 4 ? "192.168.0.5" : "fd99::5",
			family == 4 ? "8.8.8.8" : "2001:4860::8888", 80); /* no route */
		ether_wrap(&frame, 1);
		assert_to_tap(&frame);
	}
	options_packet(&frame);
	assert_to_tap(&frame);
	make_plain(1, 6, 80, &inner, &frame);
	frame.bytes[14 + 6] = 0; /* hop-by-hop options */
	assert_to_tap(&frame);
}

/* Whatever the header claims and however little of it there is. */
static void malformed_packets_to_the_host(void **state)
{
	struct packet inner, frame;
	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		make_plain(1, family, 60, &inner, &frame);
		for (unsigned len = 1; len < 74; len++) {
			frame.len = len;
			assert_to_tap(&frame);
		}
		make_plain(1, family, 60, &inner, &frame);
		store_be16(frame.bytes + 14 + (family == 4 ? 2 : 4), family == 4 ? 61 : 21);
		assert_to_tap(&frame);
	}
	make_plain(1, 4, 60, &inner, &frame);
	store_be16(frame.bytes + 16, 19); /* total length below the header's */
	assert_to_tap(&frame);
	frame.bytes[14] = 0x44;
	assert_to_tap(&frame);
	frame.bytes[14] = 0x55;
	assert_to_tap(&frame);
}

static void host_forwards_when_told(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	dp_set_forwarding(rig.dp, IP_V4, false);
	make_plain(1, 4, 60, &inner, &frame);
	assert_to_tap(&frame);
	make_plain(1, 6, 60, &inner, &frame);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &text);
	dp_set_forwarding(rig.dp, IP_V4, true);
	dp_set_forwarding(rig.dp, IP_V6, false);
	assert_to_tap(&frame);
}

static void plain_forwarding_between_ports(void **state)
{
	struct packet inner, frame, out;
	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		inner_build(&inner, family, family == 4 ? "172.16.0.1" : "fd90::1",
			family == 4 ? "192.168.9.9" : "fd99::9", 1500);
		frame = inner;
		ether_wrap(&frame, 2);
		rig_receive(2, &frame);
		sink_take(1, &out);
		inner_hop(&inner);
		ether_wrap(&inner, 1);
		assert_memory_equal(out.bytes, "\x02\xbb\0\0\0\x01\x02\0\0\0\0\x11", 12);
		assert_int_equal(out.len, inner.len);
		assert_memory_equal(out.bytes + 12, inner.bytes + 12, inner.len - 12);
	}
	dp_set_port_mtu(rig.dp, 1, 1499);
	rig_receive(2, &frame);
	ring_take(tap(2), &out, NULL);
	assert_same(&out, &frame);
}

static void congestion_marks_are_copied_out(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	for (unsigned id = 1; id <= 2; id++) {
		for (unsigned i = 0; i < 512; i++) {
			uint8_t class = (uint8_t)i;
			make_plain(id, i < 256 ? 4 : 6, 60, &inner, &frame);
			inner_set_class(&inner, class);
			frame = inner;
			ether_wrap(&frame, 1);
			rig_receive(1, &frame);
			sink_take(0, &sealed);
			far_open(&rig.far[id], &sealed, RIG_MTU, &text);
			inner_hop(&inner);
			assert_same(&text, &inner);
			struct packet outer = {.len = sealed.len - 14};
			memcpy(outer.bytes, sealed.bytes + 14, outer.len);
			assert_int_equal(inner_class(&outer), class & 3);
		}
	}
}

static void checksum_offload(void **state)
{
	(void)state;
	rig.dp->ports[0].offload_udp = true;
	for (unsigned id = 1; id <= 2; id++) {
		struct packet inner, frame, sealed;
		make_plain(id, 4, 61, &inner, &frame);
		rig_receive(1, &frame);
		assert_int_equal(rig.sinks[0].n, 1);
		const struct rte_mbuf *m = rig.sinks[0].mbufs[0];
		bool ipv4 = id == 1;
		assert_int_equal(m->l2_len, 14);
		assert_int_equal(m->l3_len, ipv4 ? 20 : 40);
		assert_int_equal(m->ol_flags,
			RTE_MBUF_F_TX_UDP_CKSUM | (ipv4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6));
		/* What the NIC does: the sum over the datagram, where the pseudo-header's stands.
		 */
		sink_take(0, &sealed);
		unsigned udp = ipv4 ? 34 : 54;
		uint32_t sum = 0, pseudo = 17 + sealed.len - udp;
		for (unsigned i = ipv4 ? 26 : 22; i < udp; i += 2)
			pseudo += load_be16(sealed.bytes + i);
		while (pseudo >> 16 != 0)
			pseudo = (pseudo & 0xffff) + (pseudo >> 16);
		sum = load_be16(sealed.bytes + udp + 6);
		assert_int_equal(sum, pseudo);
	}
}

static void by_the_kernel(void **state)
{
	struct packet inner, frame, sealed, text;
	struct dp_outer outer = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	struct dp_mbuf info;
	(void)state;
	outer.via_kernel = true;
	outer.scope_id = 70;
	outer.port = DP_PORT_NONE; /* as it may be where no port leads there */
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	for (unsigned id = 1; id <= 3; id += 2) {
		make_plain(id, 4, 1400, &inner, &frame);
		rig_receive(1, &frame);
		ring_take(tun(rig.far[id].interface), &sealed, &info);
		assert_int_equal(info.kind, DP_HOST_SOCKET);
		assert_int_equal(info.interface, rig.far[id].interface);
		assert_int_equal(info.scope_id, id == 1 ? 70 : 0);
		assert_int_equal(info.header_len, 42);
		assert_int_equal(sealed.len, 42 + 16 + 1408 + 16);
		store_be16(sealed.bytes + 40, 0); /* the kernel makes its own UDP checksum */
		far_open(&rig.far[id], &sealed, RIG_MTU, &text);
		dp_set_port_mtu(rig.dp, 0, 1467); /* one too small for peer 3's */
	}
	dp_set_port_mtu(rig.dp, 0, 1468);
	rig_receive(1, &frame);
	sink_take(0, &sealed);

	/* A route's MTU counts like the port's. */
	outer = *atomic_load(&dp_find_peer(rig.dp, 3)->outer);
	outer.mtu = 1467;
	assert_int_equal(dp_peer_set_outer(rig.dp, 3, &outer), 0);
	rig_receive(1, &frame);
	ring_take(tun(rig.far[3].interface), &sealed, &info);
	assert_int_equal(info.kind, DP_HOST_SOCKET);
	outer.mtu = 1468;
	assert_int_equal(dp_peer_set_outer(rig.dp, 3, &outer), 0);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
}

static void rekey_hints(void **state)
{
	struct packet inner, frame, sealed;
	struct dp_hint hint;
	(void)state;
	make_plain(1, 4, 60, &inner, &frame);
	for (unsigned initiator = 0; initiator < 2; initiator++) {
		rig.far[1].session.initiator = initiator != 0;
		for (unsigned old = 0; old < 2; old++) {
			wg_session_set_born(
				&rig.far[1].session, RIG_NOW_NS - WG_REKEY_AFTER_TIME_NS + 1 - old);
			for (unsigned again = 0; again < 2; again++) {
				rig_receive(1, &frame);
				sink_take(0, &sealed);
				bool due = initiator != 0 && old != 0 && again == 0;
				assert_int_equal(hint_take(&hint), due);
				if (due) {
					assert_int_equal(hint.kind, DP_HINT_REKEY);
					assert_int_equal(
						hint.local_index, rig.far[1].session.local_index);
				}
			}
		}
	}
	rig.far[3].session.send_counter = WG_REKEY_AFTER_MESSAGES - 1;
	make_plain(3, 4, 60, &inner, &frame);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	assert_false(hint_take(&hint));
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	assert_true(hint_take(&hint));
	assert_int_equal(hint.local_index, rig.far[3].session.local_index);
}

/* A hint that found no place was not raised: the next packet asks for the handshake. */
static void a_full_hint_ring(void **state)
{
	struct wg_session *session = &rig.far[1].session;
	struct packet inner, frame, sealed;
	struct dp_hint hint;
	(void)state;
	make_plain(1, 4, 60, &inner, &frame);
	session->initiator = true;
	wg_session_set_born(session, RIG_NOW_NS - WG_REKEY_AFTER_TIME_NS);
	hints_fill();
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	hints_empty();
	for (unsigned again = 0; again < 2; again++) {
		rig_receive(1, &frame);
		sink_take(0, &sealed);
		assert_int_equal(hint_take(&hint), again == 0);
	}
	assert_int_equal(hint.kind, DP_HINT_REKEY);
	assert_int_equal(hint.local_index, rig.far[1].session.local_index);
	assert_int_equal(hint.local_index, session->local_index);
}

static void packets_in_pieces(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	make_plain(1, 4, 1000, &inner, &frame);
	struct rte_mbuf *m = mbuf_from_segments(&frame, 100);
	dp_receive(rig.worker, 1, &m, 1);
	dp_worker_flush(rig.worker);
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &text);
	inner_hop(&inner);
	assert_same(&text, &inner);

	m = mbuf_from_segments(&frame, 100);
	m->data_off = (uint16_t)(m->buf_len - 100); /* no room to bring the pieces together */
	dp_receive(rig.worker, 1, &m, 1);
	assert_dropped(DP_DROP_NO_ROOM, 1);
}

static void packets_without_room(void **state)
{
	struct packet inner, frame;
	(void)state;
	make_plain(1, 4, 100, &inner, &frame);
	for (unsigned behind = 0; behind < 2; behind++) {
		struct rte_mbuf *m = mbuf_from(&frame);
		uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
		m->data_off = behind ? (uint16_t)(m->buf_len - frame.len - 31) : 65;
		memmove(rte_pktmbuf_mtod(m, void *), data, frame.len);
		dp_receive(rig.worker, 1, &m, 1);
		dp_worker_flush(rig.worker);
		assert_dropped(DP_DROP_NO_ROOM, 1);
	}
}

static struct rte_mbuf *kernel_packet(const struct packet *p, enum dp_kind kind, unsigned id)
{
	struct rte_mbuf *m = mbuf_from(p);
	*dp_mbuf(m) = (struct dp_mbuf){.kind = (uint8_t)kind,
		.port = 0,
		.interface = rig.far[id].interface,
		.peer_id = id,
		.local_index = rig.far[id].session.local_index};
	return m;
}

static void input(struct rte_mbuf *m)
{
	dp_input(rig.worker, &m, 1);
	dp_worker_flush(rig.worker);
}

/*
 * Would catch an inner client that speaks to peers as the gateway; the kernel takes such packets
 * for martians. It does not mind them of IPv6, and sends its own by the TUN.
 */
static void sources_of_ours_to_the_host(void **state)
{
	static const char *const ours[] = {"198.51.100.1", "192.0.2.1"};
	struct packet inner, frame, sealed, text;
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		inner_build(&inner, 4, ours[i], "10.1.0.7", 80);
		frame = inner;
		ether_wrap(&frame, 1);
		assert_to_tap(&frame);
		input(kernel_packet(&inner, DP_ROUTE, 1));
		sink_take(0, &sealed);
		far_open(&rig.far[1], &sealed, RIG_MTU, &text);
		assert_same(&text, &inner);
		inner.bytes[15] ^= 1;
		inner_fix_checksum(&inner);
		frame = inner;
		ether_wrap(&frame, 1);
		rig_receive(1, &frame);
		sink_take(0, &sealed);
		far_open(&rig.far[1], &sealed, RIG_MTU, &text);
	}
	inner_build(&frame, 6, "2001:db8::1", "fd01::7", 80);
	ether_wrap(&frame, 1);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &text);
	assert_int_equal(dp_set_locals(rig.dp, NULL, 0), 0);
	inner_build(&frame, 4, ours[0], "10.1.0.7", 80);
	ether_wrap(&frame, 1);
	rig_receive(1, &frame); /* ours no more */
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &text);
}

/* The kernel forwarded it: no hop is counted, and its routing is not doubted. */
static void packets_of_the_kernel(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	for (unsigned id = 1; id <= 3; id++) {
		make_plain(id, id == 3 ? 6 : 4, 100, &inner, &frame);
		inner_set_ttl(&inner, 1);
		input(kernel_packet(&inner, DP_ROUTE, id));
		sink_take(0, &sealed);
		far_open(&rig.far[id], &sealed, RIG_MTU, &text);
		assert_same(&text, &inner);
	}
	make_plain(1, 4, RIG_MTU + 1, &inner, &frame);
	input(kernel_packet(&inner, DP_ROUTE, 1));
	assert_dropped(DP_DROP_TUN_TOO_BIG, 1);
	inner.len = 19;
	input(kernel_packet(&inner, DP_ROUTE, 1));
	inner.len = 0;
	input(kernel_packet(&inner, DP_ROUTE, 1));
	assert_dropped(DP_DROP_TUN_MALFORMED, 2);
	make_plain(1, 4, 100, &inner, &frame);
	input(kernel_packet(&inner, DP_ROUTE, 3)); /* not peer 1's interface */
	ring_take(rig.dp->control_ring, &text, NULL);
	input(kernel_packet(&frame, DP_TRANSMIT, 1));
	sink_take(0, &sealed);
	assert_same(&sealed, &frame);
}

static void packets_that_waited(void **state)
{
	struct packet inner, frame, sealed, text, empty = {.len = 0};
	(void)state;
	dp_peer_set_session(rig.dp, 1, NULL); /* the flush comes before the session is current */
	make_plain(1, 4, 100, &inner, &frame);
	input(kernel_packet(&inner, DP_PEER, 1));
	sink_take(0, &sealed);
	assert_int_equal(far_open(&rig.far[1], &sealed, RIG_MTU, &text), 0);
	assert_same(&text, &inner);
	assert_int_equal(wg_activity_unanswered_since_ns(rig.far[1].activity), RIG_NOW_NS);

	input(kernel_packet(&empty, DP_PEER, 2));
	sink_take(0, &sealed);
	assert_int_equal(sealed.len, 62 + 32);
	far_open(&rig.far[2], &sealed, RIG_MTU, &text);
	assert_int_equal(rig.far[2].activity->last_sent_ns, RIG_NOW_NS);
	assert_int_equal(rig.far[2].activity->tx_bytes, 32);
	assert_int_equal(wg_activity_unanswered_since_ns(rig.far[2].activity), 0);
}

/* While a packet waits its peer goes, and another one gets the id: it must not get the packet. */
static void the_id_passes_to_another_peer(void **state)
{
	static struct wg_session session;
	struct dp_outer outer = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	struct packet inner, frame;
	struct rte_mbuf *packet, *keepalive;
	(void)state;
	make_plain(1, 4, 100, &inner, &frame);
	packet = kernel_packet(&inner, DP_PEER, 1);
	inner.len = 0;
	keepalive = kernel_packet(&inner, DP_PEER, 1);
	assert_int_equal(dp_remove_peer(rig.dp, 1, forget, NULL), 0);
	assert_int_equal(dp_retire_session(rig.dp, &rig.far[1].session, forget, NULL), 0);
	dp_worker_quiescent(rig.worker);
	dp_reclaim_poll(rig.dp->reclaim, UINT32_MAX);
	session = rig.far[1].session;
	session.local_index ^= 1u << 31; /* even the slot is the same */
	*rig.far[1].activity = (struct wg_activity){0};
	dp_publish_peer(rig.dp, 1, 0);
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	dp_publish_session(rig.dp, &session);
	dp_peer_set_session(rig.dp, 1, &session);
	input(packet);
	input(keepalive);
	assert_dropped(DP_DROP_SESSION_GONE, 2);
	assert_int_equal(session.send_counter, 0);
	assert_int_equal(rig.far[1].activity->last_sent_ns, 0);
}

static void packets_that_waited_too_long(void **state)
{
	struct packet inner, frame;
	struct rte_mbuf *m;
	(void)state;
	make_plain(1, 4, 100, &inner, &frame);
	m = kernel_packet(&inner, DP_PEER, 1);
	dp_mbuf(m)->peer_id = 99;
	input(m);
	assert_dropped(DP_DROP_PEER_GONE, 1);
	m = kernel_packet(&inner, DP_PEER, 1);
	dp_mbuf(m)->local_index ^= 1u << 30; /* the slot's, but not the session's */
	input(m);
	m = kernel_packet(&inner, DP_PEER, 1);
	dp_mbuf(m)->local_index = rig.far[2].session.local_index; /* not the peer's */
	input(m);
	wg_session_set_born(&rig.far[1].session, RIG_NOW_NS - WG_REJECT_AFTER_TIME_NS);
	input(kernel_packet(&inner, DP_PEER, 1));
	assert_dropped(DP_DROP_SESSION_GONE, 3);
	wg_session_set_born(&rig.far[1].session, RIG_NOW_NS);
	struct dp_outer nowhere = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	nowhere.nowhere = true;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &nowhere), 0);
	input(kernel_packet(&inner, DP_PEER, 1));
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, NULL), 0);
	input(kernel_packet(&inner, DP_PEER, 1));
	assert_dropped(DP_DROP_NO_ENDPOINT, 2);
	assert_int_equal(rig.far[1].session.send_counter, 0);
}

static void full_queues_drop(void **state)
{
	struct packet inner, frame, sealed;
	struct rte_mbuf *mbufs[200];
	(void)state;
	make_plain(1, 4, 60, &inner, &frame);
	for (unsigned i = 0; i < 200; i++)
		mbufs[i] = mbuf_from(&frame);
	rig.sinks[0].room = 70;
	dp_receive(rig.worker, 1, mbufs, 200);
	dp_worker_flush(rig.worker);
	assert_dropped(DP_DROP_TX_FULL, 130);
	while (rig.sinks[0].n > 0)
		sink_take(0, &sealed);

	frame.bytes[5] ^= 1;
	ring_fill(tap(1));
	rig_receive(1, &frame);
	assert_dropped(DP_DROP_HOST_FULL, 1);
	ring_empty(tap(1));

	frame.bytes[5] ^= 1;
	dp_peer_set_session(rig.dp, 1, NULL);
	ring_fill(rig.dp->control_ring);
	rig_receive(1, &frame);
	assert_dropped(DP_DROP_CONTROL_FULL, 1);
	ring_empty(rig.dp->control_ring);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_length_in_all_families),
		TEST(longest_packets),
		TEST(ethernet_padding_goes),
		TEST(interleaved_sessions),
		TEST(new_session_from_its_first_packet),
		TEST(some_without_session),
		TEST(without_session_to_control),
		TEST(used_up_session_to_control),
		TEST(without_peer_or_endpoint_to_control),
		TEST(unusual_packets_to_the_host),
		TEST(sources_of_ours_to_the_host),
		TEST(malformed_packets_to_the_host),
		TEST(host_forwards_when_told),
		TEST(plain_forwarding_between_ports),
		TEST(congestion_marks_are_copied_out),
		TEST(checksum_offload),
		TEST(by_the_kernel),
		TEST(rekey_hints),
		TEST(a_full_hint_ring),
		TEST(packets_in_pieces),
		TEST(packets_without_room),
		TEST(packets_of_the_kernel),
		TEST(packets_that_waited),
		TEST(the_id_passes_to_another_peer),
		TEST(packets_that_waited_too_long),
		TEST(full_queues_drop),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
