/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP's MSS on its way through a tunnel, with and without clamping. That a clamped packet is right
 * in all else is the affair of tests/unit/net/test_mss.c; here: which packets, which MTU.
 */
#include "rig.h"

#include <stdio.h>

#include "base/bytes.h"

#define SYN	0x02
#define SYN_ACK 0x12
#define ACK	0x10

/* A TCP packet with an MSS option that begins at the segment's byte 20. */
static void make_tcp(
	struct packet *p, int family, const char *src, const char *dst, uint8_t flags, uint16_t mss)
{
	unsigned tcp = family == 4 ? 20 : 40;
	inner_build(p, family, src, dst, tcp + 24);
	p->bytes[family == 4 ? 9 : 6] = 6;
	if (family == 4)
		inner_fix_checksum(p);
	memset(p->bytes + tcp, 0, 24);
	p->bytes[tcp + 12] = 0x60;
	p->bytes[tcp + 13] = flags;
	store_be16(p->bytes + tcp + 20, 0x0204);
	store_be16(p->bytes + tcp + 22, mss);
}

static unsigned mss_of(const struct packet *p, unsigned ip)
{
	return load_be16(p->bytes + ip + (p->bytes[ip] >> 4 == 4 ? 20 : 40) + 22);
}

/* What an offer becomes from the inner port to peer id. */
static unsigned outbound(unsigned id, int family, uint8_t flags, uint16_t mss)
{
	struct packet frame, sealed, text;
	char dst[40];
	snprintf(dst, sizeof(dst), family == 4 ? "10.%u.0.7" : "fd%02u::7", id);
	make_tcp(&frame, family, family == 4 ? "192.168.0.5" : "fd99::5", dst, flags, mss);
	ether_wrap(&frame, 1);
	rig_receive(1, &frame);
	sink_take(0, &sealed);
	far_open(&rig.far[id], &sealed, rig.dp->interfaces[rig.far[id].interface].mtu, &text);
	return mss_of(&text, 0);
}

/* And from peer id to the inner port. */
static unsigned inbound(unsigned id, int family, uint8_t flags, uint16_t mss)
{
	struct packet text, frame, out;
	char src[40];
	snprintf(src, sizeof(src), family == 4 ? "10.%u.0.7" : "fd%02u::7", id);
	make_tcp(&text, family, src, family == 4 ? "192.168.0.5" : "fd99::5", flags, mss);
	far_seal(&rig.far[id], 0, text.bytes, text.len, 0, &frame);
	rig_receive(0, &frame);
	sink_take(1, &out);
	return mss_of(&out, 14);
}

static void from_kernel(const struct packet *p)
{
	struct rte_mbuf *m = mbuf_from(p);
	*dp_mbuf(m) = (struct dp_mbuf){.kind = DP_ROUTE, .interface = 0};
	dp_input(rig.worker, &m, 1);
	dp_worker_flush(rig.worker);
}

static void both_ways(void **state)
{
	(void)state;
	dp_set_clamp_mss(rig.dp, true);
	for (unsigned id = 1; id <= 3; id++) {
		assert_int_equal(outbound(id, 4, SYN, 1460), 1380);
		assert_int_equal(outbound(id, 6, SYN_ACK, 1440), 1360);
		assert_int_equal(inbound(id, 4, SYN_ACK, 1460), 1380);
		assert_int_equal(inbound(id, 6, SYN, 1440), 1360);
		assert_int_equal(outbound(id, 4, SYN, 1380), 1380);
		assert_int_equal(inbound(id, 6, SYN, 536), 536);
		assert_int_equal(outbound(id, 4, ACK, 1460), 1460);
		assert_int_equal(inbound(id, 4, ACK, 1460), 1460);
	}
}

static void only_on_request(void **state)
{
	(void)state;
	assert_int_equal(outbound(1, 4, SYN, 1460), 1460);
	assert_int_equal(outbound(1, 6, SYN, 1440), 1440);
	assert_int_equal(inbound(1, 4, SYN, 1460), 1460);
	assert_int_equal(inbound(1, 6, SYN, 1440), 1440);
}

/* Each tunnel has its own MTU, which may change. */
static void mtu_of_the_tunnel(void **state)
{
	(void)state;
	dp_set_clamp_mss(rig.dp, true);
	dp_interface_set_mtu(rig.dp, 1, 1300);
	assert_int_equal(outbound(1, 4, SYN, 1460), 1380);
	assert_int_equal(outbound(3, 4, SYN, 1460), 1260);
	assert_int_equal(inbound(1, 6, SYN, 1440), 1360);
	assert_int_equal(inbound(3, 6, SYN, 1440), 1240);
}

/* From peer to peer both tunnels count. */
static void peer_to_peer(void **state)
{
	struct packet text, frame, sealed, out;
	(void)state;
	dp_set_clamp_mss(rig.dp, true);
	for (unsigned from = 1; from <= 3; from += 2) {
		unsigned to = 4 - from;
		char src[40], dst[40];
		snprintf(src, sizeof(src), "10.%u.0.7", from);
		snprintf(dst, sizeof(dst), "10.%u.0.7", to);
		dp_interface_set_mtu(rig.dp, 1, 1300);
		make_tcp(&text, 4, src, dst, SYN, 1460);
		far_seal(&rig.far[from], 0, text.bytes, text.len, 0, &frame);
		rig_receive(0, &frame);
		sink_take(0, &sealed);
		far_open(&rig.far[to], &sealed, RIG_MTU, &out);
		assert_int_equal(mss_of(&out, 0), 1260);
	}
}

/* What the kernel routed into the tunnel, and what has no session yet. */
static void from_the_kernel_and_staged(void **state)
{
	struct packet text, sealed, out;
	struct dp_mbuf info;
	(void)state;
	dp_set_clamp_mss(rig.dp, true);
	make_tcp(&text, 4, "192.168.0.5", "10.1.0.7", SYN, 1460);
	from_kernel(&text);
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, RIG_MTU, &out);
	assert_int_equal(mss_of(&out, 0), 1380);
	dp_peer_set_session(rig.dp, 1, NULL);
	from_kernel(&text);
	ring_take(rig.dp->control_ring, &out, &info);
	assert_int_equal(info.kind, DP_STAGE);
	assert_int_equal(mss_of(&out, 0), 1380);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_ways),
		TEST(only_on_request),
		TEST(mtu_of_the_tunnel),
		TEST(peer_to_peer),
		TEST(from_the_kernel_and_staged),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
