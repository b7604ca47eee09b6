/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's ring of a port when more comes than the host takes: neighbours are heard all the same.
 */
#include "rig.h"

#include <rte_ring.h>

#include "base/bytes.h"

#define BURST 64
#define KEPT  128 /* of the ring, for neighbours only */

/* Leaves room for so many in port's ring; what is in it is no packet. */
static void fill_but(unsigned port, unsigned room)
{
	while (rte_ring_free_count(tap(port)) > room)
		assert_int_equal(rte_ring_enqueue(tap(port), tap(port)), 0);
}

/* Takes that out. */
static void empty(unsigned port)
{
	void *object = NULL;
	for (unsigned n = rte_ring_count(tap(port)); n > 0; n--) {
		assert_int_equal(rte_ring_dequeue(tap(port), &object), 0);
		if (object != tap(port))
			rte_pktmbuf_free(object);
	}
}

static void receive(unsigned port, const struct packet *frames, unsigned n)
{
	struct rte_mbuf *mbufs[BURST];
	assert_true(n <= BURST);
	for (unsigned i = 0; i < n; i++)
		mbufs[i] = mbuf_from(&frames[i]);
	dp_receive(rig.worker, port, mbufs, n);
	dp_worker_flush(rig.worker);
}

static void make_arp(unsigned port, struct packet *frame)
{
	frame->len = 46;
	memset(frame->bytes, 0x55, frame->len);
	ether_wrap(frame, port);
	store_be16(frame->bytes + 12, 0x0806);
}

static void make_icmpv6(unsigned port, uint8_t type, uint8_t hop_limit, struct packet *frame)
{
	inner_build(frame, 6, "fe80::9", "ff02::1", 72);
	frame->bytes[6] = 58;
	inner_set_ttl(frame, hop_limit);
	frame->bytes[40] = type;
	ether_wrap(frame, port);
}

/* To a closed port of the gateway's, by the destination; what it is routed to is the host's. */
static void make_junk(unsigned port, int family, struct packet *frame)
{
	inner_build(frame, family, family == 4 ? "192.0.2.77" : "2001:db8::77",
		family == 4 ? "172.16.5.5" : "2001:db8::5", 60);
	ether_wrap(frame, port);
}

/* True when the frame came to the TAP; else it was dropped for want of room. */
static bool is_taken(unsigned port, const struct packet *frame)
{
	unsigned before = rte_ring_count(tap(port));
	receive(port, frame, 1);
	bool taken = rte_ring_count(tap(port)) > before;
	if (!taken)
		assert_dropped(DP_DROP_HOST_FULL, 1);
	return taken;
}

/* Would catch junk that has all of the ring, or has none of it while there is room for it. */
static void junk_leaves_room_for_neighbours(void **state)
{
	static struct packet junk[BURST], frame;
	(void)state;
	for (unsigned port = 0; port < RIG_PORTS; port++) {
		for (unsigned i = 0; i < BURST; i++)
			make_junk(port, i % 2 == 0 ? 4 : 6, &junk[i]);
		fill_but(port, KEPT + BURST + 10);
		receive(port, junk, BURST);
		assert_int_equal(rte_ring_free_count(tap(port)), KEPT + 10);
		receive(port, junk, BURST);
		assert_int_equal(rte_ring_free_count(tap(port)), KEPT);
		assert_dropped(DP_DROP_HOST_FULL, BURST - 10);
		receive(port, junk, BURST);
		assert_int_equal(rte_ring_free_count(tap(port)), KEPT);
		assert_dropped(DP_DROP_HOST_FULL, BURST);
		for (unsigned i = 0; i < KEPT; i++) {
			if (i % 2 == 0)
				make_arp(port, &frame);
			else
				make_icmpv6(port, (uint8_t)(133 + i % 5), 255, &frame);
			assert_true(is_taken(port, &frame));
		}
		assert_int_equal(rte_ring_free_count(tap(port)), 0);
		make_arp(port, &frame);
		assert_false(is_taken(port, &frame));
		empty(port);
	}
}

/* Puts a tag in front of the frame's type. */
static void tag(struct packet *frame, uint16_t type)
{
	memmove(frame->bytes + 16, frame->bytes + 12, frame->len - 12);
	store_be16(frame->bytes + 12, type);
	store_be16(frame->bytes + 14, 100);
	frame->len += 4;
}

/* VLANs of the host interface have neighbours, too. */
static void neighbours_in_vlans(void **state)
{
	struct packet frame;
	(void)state;
	fill_but(0, KEPT);
	for (unsigned tags = 1; tags <= 3; tags++) {
		for (unsigned kind = 0; kind < 3; kind++) {
			if (kind == 0)
				make_arp(0, &frame);
			else if (kind == 1)
				make_icmpv6(0, 135, 255, &frame);
			else
				make_junk(0, 6, &frame);
			for (unsigned i = 0; i < tags; i++)
				tag(&frame, i == 1 ? 0x88a8 : 0x8100);
			assert_int_equal(is_taken(0, &frame), tags <= 2 && kind < 2);
		}
	}
	make_icmpv6(0, 135, 255, &frame);
	tag(&frame, 0x8100);
	for (frame.len = 14; frame.len < 18 + 40 + 1; frame.len++)
		assert_false(is_taken(0, &frame));
	empty(0);
}

/* Would catch a part that who is not on the link can have, too. */
static void who_is_a_neighbour(void **state)
{
	struct packet frame;
	(void)state;
	for (unsigned port = 0; port < RIG_PORTS; port++) {
		fill_but(port, KEPT);
		for (unsigned type = 0; type < 256; type++) {
			make_icmpv6(port, (uint8_t)type, 255, &frame);
			assert_int_equal(is_taken(port, &frame), type >= 133 && type <= 137);
			make_icmpv6(port, (uint8_t)type, 254, &frame);
			assert_false(is_taken(port, &frame));
		}
		for (unsigned protocol = 0; protocol < 256; protocol++) {
			make_icmpv6(port, 136, 255, &frame);
			frame.bytes[14 + 6] = (uint8_t)protocol;
			assert_int_equal(is_taken(port, &frame), protocol == 58);
		}
		make_icmpv6(port, 136, 255, &frame);
		for (frame.len = 1; frame.len < 14 + 40 + 1; frame.len++)
			assert_false(is_taken(port, &frame));
		make_icmpv6(port, 136, 255, &frame);
		store_be16(frame.bytes + 12, 0x0800);
		assert_false(is_taken(port, &frame));
		empty(port);
	}
}

/* What goes on to the host keeps its order. */
static void neighbours_among_junk(void **state)
{
	static struct packet frames[BURST], out;
	struct dp_mbuf info;
	void *filler = NULL;
	(void)state;
	for (unsigned i = 0; i < BURST; i++) {
		if (i % 4 == 3)
			make_arp(0, &frames[i]);
		else
			make_junk(0, 4, &frames[i]);
		frames[i].bytes[30] = (uint8_t)i; /* to tell one from the other */
	}
	fill_but(0, KEPT + 10);
	receive(0, frames, BURST);
	assert_dropped(DP_DROP_HOST_FULL, BURST * 3 / 4 - 10);
	while (rte_ring_count(tap(0)) > BURST / 4 + 10)
		assert_int_equal(rte_ring_dequeue(tap(0), &filler), 0);
	for (unsigned i = 0, junk = 0; i < BURST; i++) {
		if (i % 4 != 3 && junk++ >= 10)
			continue;
		ring_take(tap(0), &out, &info);
		assert_int_equal(info.kind, DP_HOST_FRAME);
		assert_int_equal(info.port, 0);
		assert_same(&out, &frames[i]);
	}
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(junk_leaves_room_for_neighbours),
		TEST(neighbours_in_vlans),
		TEST(who_is_a_neighbour),
		TEST(neighbours_among_junk),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
