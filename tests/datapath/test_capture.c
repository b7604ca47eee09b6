/* SPDX-License-Identifier: BSD-3-Clause */
/* Captures: what ports receive and send is copied as it is on the wire, and goes on all the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <rte_ring.h>

#include "net/headers.h"
#include "rig.h"

static struct rte_ring *captured(void)
{
	return rig.dp->host_ring[DP_NETDEV_CAPTURE];
}

static void assert_captured(const struct packet *frame)
{
	struct packet copy;
	struct dp_mbuf info;

	ring_take(captured(), &copy, &info);
	assert_int_equal(info.kind, DP_HOST_FRAME);
	assert_same(&copy, frame);
}

/* A plain packet that is for a peer, and one of the peer's as it arrives; each as a frame. */
static void make_plain(struct packet *frame, unsigned len)
{
	inner_build(frame, 4, "192.168.0.9", "10.1.0.7", len);
	ether_wrap(frame, 1);
}

static void make_sealed(struct packet *frame, unsigned len)
{
	struct packet inner;

	inner_build(&inner, 4, "10.1.0.7", "192.168.0.9", len);
	far_seal(&rig.far[1], 0, inner.bytes, inner.len, 0, frame);
}

static void test_both_ways(void **state)
{
	struct packet received, sent;

	(void)state;
	dp_set_capture(rig.dp, true);
	for (unsigned len = 28; len <= 1400; len += 7) {
		make_plain(&received, len);
		rig_receive(1, &received);
		sink_take(0, &sent);
		assert_captured(&received);
		assert_captured(&sent);
		make_sealed(&received, len);
		rig_receive(0, &received);
		sink_take(1, &sent);
		/* Sealed, as it came: not what it was opened to in its place. */
		assert_captured(&received);
		assert_captured(&sent);
	}
}

static void test_only_while_on(void **state)
{
	struct packet frame, sent;

	(void)state;
	make_plain(&frame, 100);
	rig_receive(1, &frame);
	sink_take(0, &sent);
	assert_int_equal(rte_ring_count(captured()), 0);
	dp_set_capture(rig.dp, true);
	rig_receive(1, &frame);
	sink_take(0, &sent);
	assert_captured(&frame);
	assert_captured(&sent);
	dp_set_capture(rig.dp, false);
	rig_receive(1, &frame);
	sink_take(0, &sent);
	assert_int_equal(rte_ring_count(captured()), 0);
}

/* What the ports' own interfaces show anyway, and the kernel would answer a second time. */
static void test_no_multicast(void **state)
{
	static const uint8_t group[6] = {1, 0, 0x5e, 0, 0, 5},
			     all[6] = {255, 255, 255, 255, 255, 255};
	struct packet frame, host;
	struct dp_mbuf info;

	(void)state;
	dp_set_capture(rig.dp, true);
	for (unsigned i = 0; i < 2; i++) {
		make_plain(&frame, 100);
		memcpy(frame.bytes + ETHER_DST, i == 0 ? group : all, 6);
		rig_receive(1, &frame);
		assert_int_equal(rte_ring_count(captured()), 0);
		ring_take(tap(1), &host, &info);
		assert_same(&host, &frame);
	}
	frame.len = 9; /* no header whose first bit could be looked at */
	rig_receive(1, &frame);
	assert_int_equal(rte_ring_count(captured()), 0);
	ring_take(tap(1), &host, &info);
}

/* Frames never wait for their copies. */
static void test_no_room(void **state)
{
	struct packet frame, sent;

	(void)state;
	dp_set_capture(rig.dp, true);
	ring_fill(captured());
	make_plain(&frame, 100);
	rig_receive(1, &frame);
	sink_take(0, &sent);
	assert_dropped(DP_DROP_CAPTURE, 2);
	ring_empty(captured());
	rig_receive(1, &frame);
	sink_take(0, &sent);
	assert_captured(&frame);
	assert_captured(&sent);
}

static uint16_t send_to_other(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n)
{
	struct dp_worker *other = arg;

	for (uint16_t i = 0; i < n; i++)
		*dp_mbuf(mbufs[i]) = (struct dp_mbuf){.kind = DP_TRANSMIT, .port = (uint8_t)port};
	dp_input(other, mbufs, n);
	dp_worker_flush(other);
	return n;
}

/* A worker without a queue of the port hands over what it sends: copied once, not by both. */
static void test_by_way_of_another(void **state)
{
	struct dp_worker_config config = {
		.id = 1, .relayed = 1u << 0, .send = send_to_other, .send_arg = rig.worker};
	struct dp_worker *worker;
	struct packet frame, sent;
	struct rte_mbuf *m;

	(void)state;
	assert_int_equal(dp_worker_create(rig.dp, &config, &worker), 0);
	worker->now_ns = RIG_NOW_NS;
	dp_set_capture(rig.dp, true);
	make_plain(&frame, 100);
	m = mbuf_from(&frame);
	dp_receive(worker, 1, &m, 1);
	dp_worker_flush(worker);
	sink_take(0, &sent);
	assert_captured(&frame);
	assert_captured(&sent);
	assert_quiet();
	dp_worker_destroy(worker);
}

static void test_in_pieces(void **state)
{
	struct packet frame, sent;
	struct rte_mbuf *m;

	(void)state;
	dp_set_capture(rig.dp, true);
	make_plain(&frame, 1000);
	m = mbuf_from_segments(&frame, 130);
	dp_receive(rig.worker, 1, &m, 1);
	dp_worker_flush(rig.worker);
	sink_take(0, &sent);
	assert_captured(&frame);
	assert_captured(&sent);
	/* And in a buffer of the driver's own. */
	m = mbuf_external(&frame);
	dp_receive(rig.worker, 1, &m, 1);
	dp_worker_flush(rig.worker);
	sink_take(0, &sent);
	assert_captured(&frame);
	assert_captured(&sent);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_both_ways),
		TEST(test_only_while_on),
		TEST(test_no_multicast),
		TEST(test_no_room),
		TEST(test_by_way_of_another),
		TEST(test_in_pieces),
	};

	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
