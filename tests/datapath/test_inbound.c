/* SPDX-License-Identifier: BSD-3-Clause */
/* Outer to inner: every stage of inbound.c, with far peers that seal what arrives. */
#include "rig.h"

#include <arpa/inet.h>
#include <stdio.h>

#include <rte_ring.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "datapath/lpm.h"

/* A packet of peer id to the inner network. */
static void make_inner(unsigned id, int family, unsigned len, struct packet *inner)
{
	char src[40];
	snprintf(src, sizeof(src), family == 4 ? "10.%u.0.7" : "fd%02u::7", id);
	inner_build(inner, family, src, family == 4 ? "192.168.0.5" : "fd99::5", len);
}

static void receive_text(unsigned id, const struct packet *text)
{
	struct packet frame;
	far_seal(&rig.far[id], 0, text->bytes, text->len, 0, &frame);
	rig_receive(0, &frame);
}

/* The next frame out of the inner port is inner, one hop on. */
static void assert_delivered(const struct packet *inner)
{
	struct packet expected = *inner, out;
	sink_take(1, &out);
	inner_hop(&expected);
	ether_wrap(&expected, 1);
	memcpy(expected.bytes, "\x02\xbb\0\0\0\x01\x02\0\0\0\0\x11", 12);
	assert_same(&out, &expected);
}

static void assert_to_tun(unsigned interface, const struct packet *inner)
{
	struct packet out;
	struct dp_mbuf info;
	ring_take(tun(interface), &out, &info);
	assert_int_equal(info.kind, DP_HOST_PACKET);
	assert_int_equal(info.interface, interface);
	assert_same(&out, inner);
}

static void assert_to_tap(unsigned port, const struct packet *frame)
{
	struct packet out;
	struct dp_mbuf info;
	rig_receive(port, frame);
	ring_take(tap(port), &out, &info);
	assert_int_equal(info.kind, DP_HOST_FRAME);
	assert_int_equal(info.port, port);
	assert_same(&out, frame);
}

static void every_length_in_all_families(void **state)
{
	struct packet inner, text;
	(void)state;
	for (unsigned id = 1; id <= 3; id++) {
		uint64_t bytes = 0;
		for (unsigned len = 20; len <= RIG_MTU; len += len < 100 ? 1 : 13) {
			make_inner(id, len >= 40 && len % 2 == 0 ? 6 : 4, len, &inner);
			text = inner;
			text.len = (len + 15) / 16 * 16;
			memset(text.bytes + len, 0, text.len - len);
			receive_text(id, &text);
			assert_delivered(&inner);
			bytes += text.len + 32;
		}
		assert_int_equal(rig.far[id].activity->rx_bytes, bytes);
		assert_int_equal(rig.far[id].activity->last_received_ns, RIG_NOW_NS);
		assert_int_equal(wg_activity_owed_since_ns(rig.far[id].activity), RIG_NOW_NS);
		assert_int_equal(rig.far[id].session.replay.next, rig.far[id].counter);
	}
}

/* No multiple of 16 is asked for, and what pads is of no interest. */
static void any_padding(void **state)
{
	struct packet inner, text;
	(void)state;
	for (unsigned padding = 0; padding < 70; padding++) {
		make_inner(1, 4, 83, &inner);
		text = inner;
		text.len += padding;
		memset(text.bytes + 83, 0xff, padding);
		receive_text(1, &text);
		assert_delivered(&inner);
	}
}

static void keepalives_count_but_are_no_data(void **state)
{
	struct packet empty = {.len = 0};
	(void)state;
	rig.far[1].activity->waiting_since = 5; /* unanswered */
	receive_text(1, &empty);
	assert_int_equal(rig.far[1].activity->rx_bytes, 32);
	assert_int_equal(rig.far[1].activity->last_received_ns, RIG_NOW_NS);
	assert_int_equal(wg_activity_owed_since_ns(rig.far[1].activity), 0);
	assert_int_equal(wg_activity_unanswered_since_ns(rig.far[1].activity), 0);
	assert_int_equal(rig.worker->counters.inbound_packets, 1);
}

static void malformed_text(void **state)
{
	struct packet inner, text;
	unsigned n = 0;
	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		make_inner(1, family, 80, &inner);
		for (unsigned len = 1; len < 80; len++, n++) {
			text = inner;
			text.len = len;
			receive_text(1, &text);
		}
		text = inner;
		for (unsigned version = 0; version < 16; version++) {
			text.bytes[0] = (uint8_t)(version << 4 | 4); /* IPv4: header of 16 bytes */
			if (version == 6)
				continue;
			receive_text(1, &text);
			n++;
		}
	}
	make_inner(1, 4, 80, &text);
	store_be16(text.bytes + 2, 19);
	receive_text(1, &text);
	assert_dropped(DP_DROP_INNER_MALFORMED, n + 1);
	assert_int_equal(rig.worker->counters.inbound_packets, n + 1);
}

/* Data messages of every length: short ones, the empty one, ones whose tag is no tag. */
static void every_message_length(void **state)
{
	struct packet frame;
	uint8_t message[300];
	(void)state;
	for (unsigned id = 1; id <= 2; id++) {
		memset(message, 0, sizeof(message));
		store_le32(message, 4);
		store_le32(message + 4, rig.far[id].session.local_index);
		for (unsigned len = 0; len < sizeof(message); len++) {
			far_wrap(&rig.far[id], 0, message, len, 0, &frame);
			rig_receive(0, &frame);
			assert_dropped(len < 32 ? DP_DROP_MESSAGE_LENGTH : DP_DROP_FORGED, 1);
		}
	}
	for (unsigned type = 0; type < 256; type++) {
		for (unsigned len = 4; len < 200; len += 4) {
			static const unsigned right[] = {[1] = 148, [2] = 92, [3] = 64};
			if (type == 4 || (type >= 1 && type <= 3 && len == right[type]))
				continue;
			store_le32(message, type);
			far_wrap(&rig.far[1], 0, message, len, 0, &frame);
			rig_receive(0, &frame);
			assert_dropped(type >= 1 && type <= 3 ? DP_DROP_MESSAGE_LENGTH
							      : DP_DROP_MESSAGE_TYPE,
				1);
		}
	}
	for (unsigned bit = 8; bit < 32; bit++) {
		store_le32(message, 4 | 1u << bit); /* reserved bytes */
		far_wrap(&rig.far[1], 0, message, 100, 0, &frame);
		rig_receive(0, &frame);
		assert_dropped(DP_DROP_MESSAGE_TYPE, 1);
	}
}

static void handshakes_to_control(void **state)
{
	static const unsigned lengths[] = {148, 92, 64};
	struct packet frame, out;
	struct dp_mbuf info;
	struct wg_path path;
	uint8_t message[148] = {0};
	(void)state;
	memset(rig.far[2].addr, 0, 16);
	memcpy(rig.far[2].addr, "\xfe\x80", 2);
	rig.far[2].addr[15] = 9;
	for (unsigned type = 1; type <= 3; type++) {
		for (unsigned id = 1; id <= 3; id++) {
			const struct far *far = &rig.far[id];
			store_le32(message, type);
			far_wrap(far, 0, message, lengths[type - 1], 0, &frame);
			frame.len += 5; /* trailer */
			rig_receive(0, &frame);
			void *m;
			assert_int_equal(rte_ring_dequeue(rig.dp->handshake_ring, &m), 0);
			info = *dp_mbuf(m);
			dp_frame_path(m, &path);
			packet_from(&out, m);
			assert_int_equal(info.kind, DP_HANDSHAKE);
			assert_int_equal(info.interface, far->interface);
			assert_int_equal(info.port, 0);
			assert_int_equal(info.header_len, id == 2 ? 62 : 42);
			assert_int_equal(out.len - info.header_len, lengths[type - 1]);
			assert_int_equal(path.remote.addr.family, far->outer_family);
			assert_memory_equal(path.remote.addr.bytes, far->addr, 16);
			assert_int_equal(path.remote.port, far->port);
			assert_int_equal(path.remote.scope_id, id == 2 ? 70 : 0);
			assert_int_equal(path.local.family, far->outer_family);
			assert_memory_equal(path.local.bytes, far->our_addr, 16);
		}
	}
}

static void packets_do_not_crowd_out_handshakes(void **state)
{
	uint8_t message[148] = {1};
	struct packet frame;
	void *m = NULL;
	(void)state;
	far_wrap(&rig.far[1], 0, message, sizeof(message), 0, &frame);
	ring_fill(rig.dp->control_ring);
	rig_receive(0, &frame);
	ring_empty(rig.dp->control_ring);
	assert_int_equal(rte_ring_dequeue(rig.dp->handshake_ring, &m), 0);
	rte_pktmbuf_free(m);

	ring_fill(rig.dp->handshake_ring);
	rig_receive(0, &frame);
	assert_dropped(DP_DROP_HANDSHAKE_FULL, 1);
	ring_empty(rig.dp->handshake_ring);
}

static void other_frames_to_the_host(void **state)
{
	struct packet inner, frame;
	(void)state;
	for (unsigned id = 1; id <= 2; id++) {
		struct far stranger = rig.far[id];
		make_inner(id, 4, 100, &inner);
		stranger.our_port = 51822;
		far_seal(&stranger, 0, inner.bytes, 100, 0, &frame);
		assert_to_tap(0, &frame);
		stranger = rig.far[id];
		stranger.our_addr[3]++;
		far_seal(&stranger, 0, inner.bytes, 100, 0, &frame);
		assert_to_tap(0, &frame);
		far_seal(&rig.far[id], 0, inner.bytes, 100, 0, &frame);
		for (unsigned len = 1; len < 62; len++) {
			struct packet cut = frame;
			cut.len = len;
			assert_to_tap(0, &cut);
		}
		frame.bytes[0] ^= 1;
		assert_to_tap(0, &frame);
		frame.bytes[0] ^= 1;
		store_be16(frame.bytes + 12, 0x8100);
		assert_to_tap(0, &frame);
	}
	far_seal(&rig.far[1], 0, inner.bytes, 100, 0, &frame);
	static const struct {
		unsigned at;
		uint8_t value;
	} changes[] = {
		{14 + 0, 0x46}, /* options */
		{14 + 6, 0x20}, /* more fragments */
		{14 + 7, 1},	/* a later fragment */
		{14 + 9, 6},	/* TCP */
	};
	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct packet changed = frame;
		changed.bytes[changes[i].at] = changes[i].value;
		store_be16(changed.bytes + 24, 0);
		assert_to_tap(0, &changed);
	}
	frame.bytes[24] ^= 1; /* checksum */
	assert_to_tap(0, &frame);
	far_seal(&rig.far[2], 0, inner.bytes, 100, 0, &frame);
	store_be16(frame.bytes + 60, 0); /* IPv6 without a UDP checksum */
	assert_to_tap(0, &frame);
	frame.bytes[20] = 44; /* fragment header */
	assert_to_tap(0, &frame);
}

/* An answer to such a source would go to many, or to ourselves. */
static void sources_that_are_no_hosts(void **state)
{
	static const char *const sources[] = {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1",
		"239.1.2.3", "255.255.255.255", "::", "::1", "::ffff:192.0.2.2", "ff02::1"};
	struct packet inner, frame;
	(void)state;
	for (unsigned i = 0; i < RTE_DIM(sources); i++) {
		unsigned id = strchr(sources[i], ':') == NULL ? 1 : 2;
		struct far stranger = rig.far[id];
		make_inner(id, 4, 100, &inner);
		assert_int_equal(
			inet_pton(id == 1 ? AF_INET : AF_INET6, sources[i], stranger.addr), 1);
		far_seal(&stranger, 0, inner.bytes, 100, 0, &frame);
		assert_to_tap(0, &frame);
	}
}

static void unusual_packets_to_the_host(void **state)
{
	struct packet inner;
	(void)state;
	for (unsigned id = 1; id <= 3; id++) {
		for (int family = 4; family <= 6; family += 2) {
			char src[40];
			snprintf(src, sizeof(src), family == 4 ? "10.%u.0.7" : "fd%02u::7", id);
			for (uint8_t ttl = 0; ttl <= 1; ttl++) {
				make_inner(id, family, 90, &inner);
				inner_set_ttl(&inner, ttl);
				receive_text(id, &inner);
				assert_to_tun(rig.far[id].interface, &inner);
			}
			inner_build(&inner, family, src, family == 4 ? "172.16.5.5" : "2001:db8::5",
				90); /* no route */
			receive_text(id, &inner);
			assert_to_tun(rig.far[id].interface, &inner);
			inner_build(&inner, family, src, family == 4 ? "224.0.0.5" : "ff02::5", 90);
			receive_text(id, &inner);
			assert_to_tun(rig.far[id].interface, &inner);
			make_inner(id, family, 90, &inner);
			if (family == 4) {
				inner.bytes[0] = 0x46;
				inner_fix_checksum(&inner);
			} else {
				inner.bytes[6] = 0;
			}
			receive_text(id, &inner);
			assert_to_tun(rig.far[id].interface, &inner);
			make_inner(id, family, 1501, &inner); /* more than the inner port takes */
			receive_text(id, &inner);
			assert_to_tun(rig.far[id].interface, &inner);
			dp_set_forwarding(rig.dp, (enum ip_family)family, false);
			make_inner(id, family, 90, &inner);
			receive_text(id, &inner);
			assert_to_tun(rig.far[id].interface, &inner);
			dp_set_forwarding(rig.dp, (enum ip_family)family, true);
		}
	}
}

/*
 * Would catch a peer that speaks as the gateway: to the inner network, and to other peers. Its
 * allowed IPs cover the address, as those of a default route do.
 */
static void sources_of_ours_to_the_host(void **state)
{
	static const char *const to[] = {"192.168.0.5", "10.2.0.7"};
	struct packet inner, sealed;
	struct ip_prefix all;
	(void)state;
	assert_true(ip_prefix_parse("0.0.0.0/0", &all));
	assert_int_equal(dp_set_allowed_ip(rig.dp, &all, 1), 0);
	for (unsigned i = 0; i < 2; i++) {
		inner_build(&inner, 4, "192.0.2.1", to[i], 90);
		receive_text(1, &inner);
		assert_to_tun(0, &inner);
		inner_build(&inner, 4, "192.0.2.2", to[i], 90);
		receive_text(1, &inner);
		sink_take(i == 0 ? 1 : 0, &sealed);
	}
	assert_true(ip_prefix_parse("2001:db8::/32", &all));
	assert_int_equal(dp_set_allowed_ip(rig.dp, &all, 1), 0);
	inner_build(&inner, 6, "2001:db8::1", "fd99::5", 90);
	receive_text(1, &inner);
	assert_delivered(&inner);
}

/* Runs for two interfaces' host sides in one burst. */
static void host_packets_of_two_interfaces(void **state)
{
	struct packet inner[12], frame;
	struct rte_mbuf *mbufs[12];
	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		make_inner(1 + i / 2 % 3, 4, 80, &inner[i]);
		inner_set_ttl(&inner[i], 1);
		far_seal(&rig.far[1 + i / 2 % 3], 0, inner[i].bytes, 80, 0, &frame);
		mbufs[i] = mbuf_from(&frame);
	}
	dp_receive(rig.worker, 0, mbufs, 12);
	for (unsigned i = 0; i < 12; i++)
		assert_to_tun(i / 2 % 3 == 2, &inner[i]);
}

static void peer_to_peer(void **state)
{
	struct packet inner, sealed, text;
	(void)state;
	for (unsigned from = 1; from <= 3; from++) {
		for (unsigned to = 1; to <= 3; to++) {
			char src[40], dst[40];
			snprintf(src, sizeof(src), "10.%u.0.7", from);
			snprintf(dst, sizeof(dst), "10.%u.3.4", to);
			inner_build(&inner, 4, src, dst, 200);
			receive_text(from, &inner);
			sink_take(0, &sealed);
			far_open(&rig.far[to], &sealed, RIG_MTU, &text);
			inner_hop(&inner);
			assert_same(&text, &inner);
		}
	}
	dp_interface_set_mtu(rig.dp, 1, 199);
	inner_build(&inner, 4, "10.1.0.7", "10.3.0.7", 200);
	receive_text(1, &inner);
	assert_to_tun(0, &inner); /* too big for the other tunnel */
}

static void set_mtu(uint32_t nexthop, uint16_t mtu)
{
	struct dp_nexthop changed = *atomic_load(&rig.dp->nexthops[nexthop]);
	changed.mtu = mtu;
	assert_int_equal(dp_set_nexthop(rig.dp, nexthop, &changed), 0);
}

/* A route that is narrower than its link: what does not fit is the host's, which answers for it. */
static void routes_with_an_mtu(void **state)
{
	struct packet inner, sealed, text;
	(void)state;
	set_mtu(7, 200);
	set_mtu(11, 200);
	for (unsigned len = 199; len <= 201; len++) {
		make_inner(1, 4, len, &inner);
		receive_text(1, &inner);
		if (len <= 200)
			assert_delivered(&inner);
		else
			assert_to_tun(0, &inner);
		inner_build(&inner, 4, "10.1.0.7", "10.3.0.7", len);
		receive_text(1, &inner);
		if (len <= 200) {
			sink_take(0, &sealed);
			far_open(&rig.far[3], &sealed, RIG_MTU, &text);
			inner_hop(&inner);
			assert_same(&text, &inner);
		} else {
			assert_to_tun(0, &inner);
		}
	}
}

/* RFC 6040, with a mark on what is not capable of it passed over. */
static void congestion_marks(void **state)
{
	struct packet inner, frame;
	(void)state;
	for (unsigned id = 1; id <= 2; id++) {
		for (unsigned i = 0; i < 32; i++) {
			int family = i < 16 ? 4 : 6;
			uint8_t in = i >> 2 & 3, out = i & 3, expected = in;
			if (in != 0 && in != 3 && (out == 3 || out == 1))
				expected = out;
			make_inner(id, family, 100, &inner);
			inner_set_class(&inner, (uint8_t)(0xb8 | in));
			far_seal(&rig.far[id], 0, inner.bytes, inner.len, (uint8_t)(0x48 | out),
				&frame);
			rig_receive(0, &frame);
			inner_set_class(&inner, (uint8_t)(0xb8 | expected));
			assert_delivered(&inner);
		}
	}
}

static void confirm_hints(void **state)
{
	struct packet inner;
	struct dp_hint hint;
	(void)state;
	make_inner(1, 4, 100, &inner);
	rig.far[1].session.confirmed = false;
	receive_text(1, &inner);
	assert_delivered(&inner);
	assert_true(hint_take(&hint));
	assert_int_equal(hint.kind, DP_HINT_CONFIRM);
	assert_int_equal(hint.local_index, rig.far[1].session.local_index);
	rig.far[1].session.confirmed = true;
	receive_text(1, &inner);
	assert_delivered(&inner);
	assert_false(hint_take(&hint));
}

static void forget(void *arg, void *object)
{
	(void)arg;
	(void)object;
}

/* Has lan send to the peer; inner is as it has to arrive. */
static void send_to(unsigned id, struct packet *inner)
{
	struct packet frame;
	char dst[20];
	snprintf(dst, sizeof(dst), "10.%u.0.9", id);
	inner_build(inner, 4, "192.168.0.5", dst, 100);
	frame = *inner;
	ether_wrap(&frame, 1);
	rig_receive(1, &frame);
	inner_hop(inner);
}

/* An answer to the peer is sealed for where it is now; where to: by the kernel's socket or not. */
static void assert_answered(unsigned id, bool by_kernel, uint32_t scope_id)
{
	struct packet inner, frame, text;
	struct dp_mbuf info;
	struct far *far = &rig.far[id];
	send_to(id, &inner);
	if (!by_kernel) {
		sink_take(0, &frame);
		far_open(far, &frame, RIG_MTU, &text);
		assert_same(&text, &inner);
		return;
	}
	ring_take(tun(far->interface), &frame, &info);
	assert_int_equal(info.kind, DP_HOST_SOCKET);
	assert_int_equal(info.scope_id, scope_id);
	const uint8_t *udp = frame.bytes + info.header_len - 8;
	unsigned bytes = far->outer_family == 4 ? 4 : 16;
	assert_int_equal(info.header_len, far->outer_family == 4 ? 42 : 62);
	assert_memory_equal(udp - bytes, far->addr, bytes);
	assert_memory_equal(udp - 2 * bytes, far->our_addr, bytes);
	assert_int_equal(load_be16(udp), far->our_port);
	assert_int_equal(load_be16(udp + 2), far->port);
}

static void assert_told(unsigned id, uint32_t scope_id)
{
	const struct far *far = &rig.far[id];
	struct wg_path path;
	uint32_t roamed;
	assert_true(dp_take_roam(rig.dp, &roamed, &path));
	assert_int_equal(roamed, id);
	assert_int_equal(path.remote.addr.family, far->outer_family);
	assert_memory_equal(path.remote.addr.bytes, far->addr, 16);
	assert_int_equal(path.remote.port, far->port);
	assert_int_equal(path.remote.scope_id, scope_id);
	assert_int_equal(path.local.family, far->outer_family);
	assert_memory_equal(path.local.bytes, far->our_addr, 16);
	assert_false(dp_take_roam(rig.dp, &roamed, &path));
}

/* What is sealed next goes to the new place already, whenever control hears of it. */
static void assert_roams(unsigned id, bool by_kernel, uint32_t scope_id)
{
	struct packet inner;
	for (unsigned i = 0; i < 2; i++) { /* the second changes nothing more */
		make_inner(id, 4, 100, &inner);
		receive_text(id, &inner);
		assert_delivered(&inner);
		assert_answered(id, by_kernel, scope_id);
	}
	assert_told(id, scope_id);
	assert_answered(id, by_kernel, scope_id);
}

/* A host has them, but what comes by the wire is for none of them. */
static void loopback_is_not_ours(void **state)
{
	static const char *const texts[] = {"127.0.0.1", "::1", "198.51.100.1", "2001:db8::1"};
	struct ip_addr locals[4];
	struct packet inner, frame;
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_true(ip_addr_parse(texts[i], &locals[i]));
	assert_int_equal(dp_set_locals(rig.dp, locals, 4), 0);
	for (unsigned id = 1; id <= 2; id++) {
		struct far astray = rig.far[id];
		memcpy(astray.our_addr, locals[id - 1].bytes, 16);
		make_inner(id, 4, 100, &inner);
		far_seal(&astray, 0, inner.bytes, 100, 0, &frame);
		assert_to_tap(0, &frame);
		receive_text(id, &inner);
		assert_delivered(&inner);
	}
}

static void roaming(void **state)
{
	(void)state;
	for (unsigned id = 1; id <= 2; id++) {
		struct far home = rig.far[id];
		/* The same way but for the port: it stays as good as it is. */
		rig.far[id].port++;
		assert_roams(id, false, 0);
		rig.far[id].port = home.port;
		rig.far[id].addr[3]++;
		assert_roams(id, true, 0);
		rig.far[id].port++;
		assert_roams(id, true, 0);
		memcpy(rig.far[id].addr, home.addr, 16);
		assert_int_equal(dp_peer_set_outer(rig.dp, id, NULL), 0);
		assert_roams(id, true, 0);
	}
	/* From the one family to the other, and to another address of ours. */
	struct far home = rig.far[3];
	rig.far[3].outer_family = 6;
	memset(rig.far[3].addr, 0, 16);
	memcpy(rig.far[3].addr, "\xfe\x80", 2);
	memcpy(rig.far[3].our_addr, rig.far[2].our_addr, 16);
	assert_roams(3, true, 70);
	/* The same link-local address by another link, once more than not. */
	for (unsigned i = 0; i < 3; i++) {
		unsigned port = i == 2 ? 0 : 2;
		struct packet inner, frame;
		make_inner(3, 4, 100, &inner);
		far_seal(&rig.far[3], port, inner.bytes, inner.len, 0, &frame);
		rig_receive(port, &frame);
		assert_delivered(&inner);
		assert_answered(3, true, 70 + port);
		if (i != 1)
			assert_told(3, 70 + port);
	}
	rig.far[3].outer_family = 4;
	memcpy(rig.far[3].addr, home.addr, 16);
	memcpy(rig.far[3].our_addr, "\xc0\0\x02\x01\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_roams(3, true, 0);
}

/* What is for the peer goes to control, which knows what to do. */
static void assert_left_to_control(unsigned id)
{
	struct packet inner, out;
	struct dp_mbuf info;
	send_to(id, &inner);
	ring_take(rig.dp->control_ring, &out, &info);
	assert_int_equal(info.kind, DP_STAGE);
	assert_same(&out, &inner);
}

static void assert_received(unsigned id)
{
	struct packet inner;
	make_inner(id, 4, 100, &inner);
	receive_text(id, &inner);
	assert_delivered(&inner);
}

/* Where nothing is sent, as control says, who comes from there has not moved; elsewhere it has. */
static void nothing_is_sent_nowhere(void **state)
{
	struct dp_outer outer = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	struct wg_path path;
	uint32_t roamed;
	(void)state;
	outer.nowhere = outer.via_kernel = true;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	assert_received(1);
	assert_left_to_control(1);
	assert_false(dp_take_roam(rig.dp, &roamed, &path));
	rig.far[1].port++;
	assert_received(1);
	assert_left_to_control(1);
	assert_told(1, 0);
	rig.far[1].addr[3]++;
	assert_roams(1, true, 0);
}

/* From an address that a tunnel of the interface leads to: packets wait until control has looked.
 */
static void a_place_inside_a_tunnel(void **state)
{
	(void)state;
	for (unsigned id = 1; id <= 2; id++) {
		/* Another peer's; inside IPv6 it would be peer 2's own. */
		memcpy(rig.far[id].addr, id == 1 ? "\x0a\x02\0\x09" : "\xfd\x02", id == 1 ? 4 : 2);
		assert_received(id);
		assert_left_to_control(id);
		rig.far[id].port++;
		assert_received(id);
		assert_left_to_control(id);
		assert_told(id, 0);
		assert_left_to_control(id);
	}
	/* Of another interface it is no matter. */
	memcpy(rig.far[3].addr, "\x0a\x02\0\x09", 4);
	assert_roams(3, true, 0);
}

/* Of a burst from here and there, the last one counts; likewise of several before control looks. */
static void the_latest_place_counts(void **state)
{
	struct packet inner, frame;
	struct rte_mbuf *mbufs[8];
	struct far *far = &rig.far[1];
	(void)state;
	make_inner(1, 4, 100, &inner);
	for (unsigned turn = 0; turn < 5; turn++) {
		for (unsigned i = 0; i < 8; i++) {
			far->port = (uint16_t)(40000 + (i * 5 + turn * 3) % 8);
			far_seal(far, 0, inner.bytes, inner.len, 0, &frame);
			mbufs[i] = mbuf_from(&frame);
		}
		dp_receive(rig.worker, 0, mbufs, 8);
		dp_worker_flush(rig.worker);
		for (unsigned i = 0; i < 8; i++) {
			make_inner(1, 4, 100, &inner);
			sink_take(1, &frame);
		}
		assert_answered(1, false, 0);
	}
	assert_told(1, 0);
}

/* Control's news is older than the packet's, until it has heard of that. */
static void control_does_not_undo_a_move(void **state)
{
	struct packet inner;
	struct dp_outer before = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	(void)state;
	rig.far[1].addr[3]++;
	make_inner(1, 4, 100, &inner);
	receive_text(1, &inner);
	assert_delivered(&inner);
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &before), 0);
	assert_answered(1, true, 0);
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, NULL), 0);
	assert_answered(1, true, 0);
	assert_told(1, 0);
	rig.far[1].addr[3]--;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &before), 0);
	assert_answered(1, false, 0);
}

/* Without a spare endpoint the next packet has to do it; a peer that went is not told of. */
static void more_moves_than_spare_endpoints(void **state)
{
	struct packet inner;
	struct wg_path path;
	uint32_t roamed;
	void *spare[LIMIT_ROAMS];
	(void)state;
	make_inner(1, 4, 100, &inner);
	rig.far[1].port++;
	unsigned n = rte_ring_dequeue_burst(rig.dp->spare_ring, spare, LIMIT_ROAMS, NULL);
	assert_int_equal(n, LIMIT_ROAMS);
	receive_text(1, &inner);
	assert_delivered(&inner);
	assert_false(dp_take_roam(rig.dp, &roamed, &path));
	assert_int_equal(rte_ring_enqueue_burst(rig.dp->spare_ring, spare, n, NULL), n);
	assert_roams(1, false, 0);
	/* As many as there are: one more has to wait, and then all are there again. */
	for (unsigned i = 0; i <= LIMIT_ROAMS; i++) {
		rig.far[1].port++;
		make_inner(1, 4, 100, &inner);
		receive_text(1, &inner);
		assert_delivered(&inner);
	}
	rig.far[1].port--;
	assert_told(1, 0);
	assert_int_equal(rte_ring_count(rig.dp->spare_ring), LIMIT_ROAMS);
	rig.far[1].port++;
	make_inner(1, 4, 100, &inner);
	receive_text(1, &inner);
	assert_delivered(&inner);
	assert_int_equal(dp_remove_peer(rig.dp, 1, forget, NULL), 0);
	assert_false(dp_take_roam(rig.dp, &roamed, &path));
}

/*
 * A worker is put aside in the middle of taking a spare endpoint: as long as that lasts the ring
 * has no place for new ones. Nobody waits for it, and no spare is forgotten.
 */
static void a_worker_put_aside_while_it_takes_a_spare_endpoint(void **state)
{
	struct packet inner;
	(void)state;
	void *taken = ring_stall_consumer(rig.dp->spare_ring);
	for (unsigned i = 1; i < LIMIT_ROAMS; i++) {
		rig.far[1].port++;
		make_inner(1, 4, 100, &inner);
		receive_text(1, &inner);
		assert_delivered(&inner);
		assert_told(1, 0);
	}
	assert_int_equal(rig.dp->roam_spares, 1); /* the one that is being taken */
	ring_resume_consumer(rig.dp->spare_ring);
	assert_int_equal(rte_ring_count(rig.dp->spare_ring), 0);
	assert_int_equal(rte_ring_enqueue(rig.dp->spare_ring, taken), 0);
	/* What there was no place for is made up for, whether a peer moves or not. */
	struct wg_path path;
	uint32_t roamed;
	assert_false(dp_take_roam(rig.dp, &roamed, &path));
	assert_int_equal(rte_ring_count(rig.dp->spare_ring), LIMIT_ROAMS);
	rig.far[1].port++;
	assert_roams(1, false, 0);
}

/* The initiator's early rekey; only of the session that it sends with. */
static void rekey_hints(void **state)
{
	struct packet inner;
	struct dp_hint hint;
	(void)state;
	make_inner(1, 4, 100, &inner);
	for (unsigned i = 0; i < 8; i++) {
		bool initiator = i & 1, old = i & 2, current = i & 4;
		rig.far[1].session.initiator = initiator;
		wg_session_set_born(
			&rig.far[1].session, RIG_NOW_NS - WG_REKEY_ON_RECEIVE_NS + !old);
		dp_peer_set_session(rig.dp, 1, current ? &rig.far[1].session : NULL);
		receive_text(1, &inner);
		assert_delivered(&inner);
		assert_int_equal(hint_take(&hint), initiator && old && current);
	}
	assert_int_equal(hint.kind, DP_HINT_REKEY);
	assert_int_equal(hint.local_index, rig.far[1].session.local_index);
}

/* Hints that found no place were not raised: the next packet has them again. */
static void a_full_hint_ring(void **state)
{
	struct wg_session *session = &rig.far[1].session;
	struct packet inner;
	struct dp_hint hint;
	(void)state;
	make_inner(1, 4, 100, &inner);
	session->initiator = true;
	session->confirmed = false;
	wg_session_set_born(session, RIG_NOW_NS - WG_REKEY_ON_RECEIVE_NS);
	dp_peer_set_session(rig.dp, 1, session);
	hints_fill();
	receive_text(1, &inner);
	assert_delivered(&inner);
	hints_empty();
	receive_text(1, &inner);
	assert_delivered(&inner);
	bool confirm = false, rekey = false;
	while (hint_take(&hint)) {
		assert_int_equal(hint.local_index, rig.far[1].session.local_index);
		confirm |= hint.kind == DP_HINT_CONFIRM;
		rekey |= hint.kind == DP_HINT_REKEY;
	}
	assert_true(confirm && rekey);
}

/* The owner of a shorter prefix does not speak for that of a longer one. */
static void inner_source_must_be_the_peers(void **state)
{
	struct packet inner;
	(void)state;
	struct ip_prefix all;
	assert_true(ip_prefix_parse("0.0.0.0/0", &all));
	assert_int_equal(dp_lpm_set(rig.dp->interfaces[0].allowed, &all, 1), 0);
	make_inner(2, 4, 100, &inner);
	receive_text(1, &inner);
	assert_dropped(DP_DROP_INNER_SOURCE, 1);
	make_inner(2, 6, 100, &inner);
	receive_text(1, &inner);
	assert_dropped(DP_DROP_INNER_SOURCE, 1);
	make_inner(3, 6, 100, &inner); /* another interface's, here nobody's */
	receive_text(1, &inner);
	assert_dropped(DP_DROP_INNER_SOURCE, 1);
	make_inner(3, 4, 100, &inner);
	receive_text(1, &inner); /* and by the default route peer 1's */
	assert_delivered(&inner);
}

/* What is taken out of a burst leaves the others as they are: families, ways and order. */
static void stolen_sources_amid_others(void **state)
{
	struct packet inner[3 * 8], frame;
	struct rte_mbuf *mbufs[3 * 8];
	(void)state;
	for (unsigned i = 0; i < 3 * 8; i++) {
		int family = i % 2 == 0 ? 4 : 6;
		make_inner(i % 3 == 0 ? 2 : 1, family, 60 + i, &inner[i]);
		if (i % 3 == 2)
			inner_set_ttl(&inner[i], 1);
		far_seal(&rig.far[1], 0, inner[i].bytes, inner[i].len, 0, &frame);
		mbufs[i] = mbuf_from(&frame);
	}
	dp_receive(rig.worker, 0, mbufs, 3 * 8);
	dp_worker_flush(rig.worker);
	assert_dropped(DP_DROP_INNER_SOURCE, 8);
	for (unsigned i = 0; i < 3 * 8; i++) {
		if (i % 3 == 1)
			assert_delivered(&inner[i]);
		else if (i % 3 == 2)
			assert_to_tun(0, &inner[i]);
	}
}

/* Recipients in turn: the classifier remembers the one before. */
static void recipients_in_turn(void **state)
{
	struct packet inner, frame;
	struct rte_mbuf *mbufs[64];
	unsigned ours = 0, others = 0;
	(void)state;
	for (unsigned i = 0; i < 64; i++) {
		unsigned id = 1 + i / 4 % 2;
		struct far *far = &rig.far[id];
		bool addr = rig_random() % 2, port = rig_random() % 2;
		make_inner(id, 4, 60, &inner);
		far->our_addr[2] ^= addr;
		far->our_port = (uint16_t)(far->our_port ^ port << 8);
		far_seal(far, 0, inner.bytes, inner.len, 0, &frame);
		far->our_addr[2] ^= addr;
		far->our_port = (uint16_t)(far->our_port ^ port << 8);
		mbufs[i] = mbuf_from(&frame);
		*(addr || port ? &others : &ours) += 1;
	}
	dp_receive(rig.worker, 0, mbufs, 64);
	dp_worker_flush(rig.worker);
	assert_int_equal(rig.sinks[1].n, ours);
	assert_int_equal(rte_ring_count(tap(0)), others);
	while (ours-- > 0)
		sink_take(1, &frame);
	while (others-- > 0)
		ring_take(tap(0), &frame, NULL);
}

static void duplicates_within_a_burst(void **state)
{
	struct packet inner, frame;
	struct rte_mbuf *mbufs[30];
	(void)state;
	for (unsigned i = 0; i < 30; i += 3) {
		make_inner(1, 4, 80 + i, &inner);
		far_seal(&rig.far[1], 0, inner.bytes, inner.len, 0, &frame);
		for (unsigned k = 0; k < 3; k++)
			mbufs[i + k] = mbuf_from(&frame);
	}
	dp_receive(rig.worker, 0, mbufs, 30);
	dp_worker_flush(rig.worker);
	assert_dropped(DP_DROP_REPLAYED, 20);
	assert_int_equal(rig.sinks[1].n, 10);
	for (unsigned i = 0; i < 10; i++)
		sink_take(1, &frame);
	assert_int_equal(rig.far[1].session.replay.next, 10);
	assert_int_equal(rig.worker->counters.inbound_packets, 10);
}

static void old_counters_and_late_ones(void **state)
{
	struct packet inner;
	(void)state;
	make_inner(1, 4, 80, &inner);
	rig.far[1].counter = 100000;
	receive_text(1, &inner);
	assert_delivered(&inner);
	rig.far[1].counter = 100000 - WG_REPLAY_WINDOW + 1;
	receive_text(1, &inner);
	assert_delivered(&inner);
	rig.far[1].counter = 100000 - WG_REPLAY_WINDOW;
	receive_text(1, &inner);
	rig.far[1].counter = WG_REJECT_AFTER_MESSAGES;
	receive_text(1, &inner);
	assert_dropped(DP_DROP_REPLAYED, 2);
}

static void sessions_that_do_not_serve(void **state)
{
	struct packet inner;
	(void)state;
	make_inner(1, 4, 80, &inner);
	wg_session_set_born(&rig.far[1].session, RIG_NOW_NS - WG_REJECT_AFTER_TIME_NS);
	receive_text(1, &inner);
	assert_dropped(DP_DROP_SESSION_EXPIRED, 1);
	rig.far[1].our_port = 51821; /* interface 1's */
	wg_session_set_born(&rig.far[1].session, rig.far[1].session.born_ns + 1);
	receive_text(1, &inner);
	assert_dropped(DP_DROP_UNKNOWN_INDEX, 1);
	rig.far[1].our_port = 51820;
	struct packet frame;
	far_seal(&rig.far[1], 0, inner.bytes, inner.len, 0, &frame);
	frame.bytes[42 + 7] ^= 0x80; /* the slot's, but not the session's */
	rig_receive(0, &frame);
	frame.bytes[42 + 4] ^= 1;
	rig_receive(0, &frame);
	assert_dropped(DP_DROP_UNKNOWN_INDEX, 2);
	assert_int_equal(rig.far[1].session.replay.next, 0);
}

static void one_armed(void **state)
{
	struct packet inner, frame, sealed, text;
	(void)state;
	make_inner(1, 4, 80, &inner);
	far_seal(&rig.far[1], 2, inner.bytes, inner.len, 0, &frame);
	rig_receive(2, &frame);
	assert_delivered(&inner);
	/* Plain traffic into a tunnel, and what merely looks like the outside. */
	inner_build(&inner, 4, "192.168.0.5", "10.2.0.9", 100);
	frame = inner;
	ether_wrap(&frame, 2);
	rig_receive(2, &frame);
	sink_take(0, &sealed);
	far_open(&rig.far[2], &sealed, RIG_MTU, &text);
	frame.bytes[0] = 0xff;
	assert_to_tap(2, &frame);
}

/* What the kernel received, or put together from fragments. */
static void frames_of_the_kernel(void **state)
{
	struct packet inner, frame;
	struct rte_mbuf *m;
	(void)state;
	for (unsigned id = 1; id <= 2; id++) {
		make_inner(id, 4, 80, &inner);
		memset(rig.far[id].our_addr, 0xcc,
			id == 1 ? 4 : 16); /* whatever address the kernel took it at */
		memcpy(rig.far[id].addr, "\xfe\x80", 2);
		far_seal(&rig.far[id], 0, inner.bytes, inner.len, 0, &frame);
		memset(frame.bytes, 0, 12);
		m = mbuf_from(&frame);
		*dp_mbuf(m) =
			(struct dp_mbuf){.kind = DP_OUTER, .port = DP_PORT_NONE, .scope_id = 33};
		dp_input(rig.worker, &m, 1);
		dp_worker_flush(rig.worker);
		assert_delivered(&inner);
		assert_told(id, id == 2 ? 33 : 0);
	}
}

static void packets_in_pieces(void **state)
{
	struct packet inner, frame;
	(void)state;
	make_inner(1, 4, 1000, &inner);
	far_seal(&rig.far[1], 0, inner.bytes, inner.len, 0, &frame);
	struct rte_mbuf *m = mbuf_from_segments(&frame, 100);
	m->data_off = (uint16_t)(m->buf_len - 100);
	dp_receive(rig.worker, 0, &m, 1);
	assert_dropped(DP_DROP_NO_ROOM, 1);
	m = mbuf_from_segments(&frame, 50);
	dp_receive(rig.worker, 0, &m, 1);
	dp_worker_flush(rig.worker);
	assert_delivered(&inner);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_length_in_all_families),
		TEST(any_padding),
		TEST(keepalives_count_but_are_no_data),
		TEST(malformed_text),
		TEST(every_message_length),
		TEST(handshakes_to_control),
		TEST(packets_do_not_crowd_out_handshakes),
		TEST(other_frames_to_the_host),
		TEST(sources_that_are_no_hosts),
		TEST(unusual_packets_to_the_host),
		TEST(sources_of_ours_to_the_host),
		TEST(host_packets_of_two_interfaces),
		TEST(peer_to_peer),
		TEST(routes_with_an_mtu),
		TEST(congestion_marks),
		TEST(confirm_hints),
		TEST(loopback_is_not_ours),
		TEST(roaming),
		TEST(nothing_is_sent_nowhere),
		TEST(a_place_inside_a_tunnel),
		TEST(the_latest_place_counts),
		TEST(control_does_not_undo_a_move),
		TEST(more_moves_than_spare_endpoints),
		TEST(a_worker_put_aside_while_it_takes_a_spare_endpoint),
		TEST(rekey_hints),
		TEST(a_full_hint_ring),
		TEST(inner_source_must_be_the_peers),
		TEST(stolen_sources_amid_others),
		TEST(recipients_in_turn),
		TEST(duplicates_within_a_burst),
		TEST(old_counters_and_late_ones),
		TEST(sessions_that_do_not_serve),
		TEST(one_armed),
		TEST(frames_of_the_kernel),
		TEST(packets_in_pieces),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
