/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets in chains of buffers, as a port delivers what is larger than one: each comes out whole,
 * or is dropped for want of room; and its buffers come back, every one of them (the tear-down
 * counts those of the rig's pool, too).
 */
#include "rig.h"

#include <rte_mempool.h>

#define MTU	  9000
#define SMALL	  (RTE_PKTMBUF_HEADROOM + 2048) /* a usual buffer: 2 KiB and headroom */
#define SEGMENTS  8
#define POOL_SIZE 255

static struct rte_mempool *small_pool;

static int start(void **state)
{
	if (rig_eal_start(state) != 0)
		return -1;
	small_pool = rte_pktmbuf_pool_create(
		"small", POOL_SIZE, 0, DP_MBUF_PRIV_BYTES, SMALL, SOCKET_ID_ANY);
	return small_pool == NULL ? -1 : 0;
}

static int stop(void **state)
{
	rte_mempool_free(small_pool);
	return rig_eal_stop(state);
}

static int set_up(void **state)
{
	int error = rig_setup(state);
	for (unsigned port = 0; port < RIG_PORTS; port++)
		dp_set_port_mtu(rig.dp, port, LIMIT_INNER_BYTES);
	dp_interface_set_mtu(rig.dp, 0, MTU);
	return error;
}

static int tear_down(void **state)
{
	assert_int_equal(rte_mempool_in_use_count(small_pool), 0);
	return rig_teardown(state);
}

/* The first segment from the rig's pool, where a whole packet fits, or small as the others. */
static struct rte_mbuf *chain(const struct packet *p, bool roomy, unsigned first, unsigned each)
{
	struct packet part = {.len = p->len < first ? p->len : first};
	struct rte_mbuf *head, *m;
	memcpy(part.bytes, p->bytes, part.len);
	head = roomy ? mbuf_from(&part) : NULL;
	for (unsigned at = roomy ? part.len : 0, len; at < p->len; at += len) {
		len = at == 0 ? first : each;
		len = p->len - at < len ? p->len - at : len;
		m = rte_pktmbuf_alloc(small_pool);
		assert_non_null(m);
		memcpy(rte_pktmbuf_append(m, (uint16_t)len), p->bytes + at, len);
		if (head == NULL)
			head = m;
		else
			assert_int_equal(rte_pktmbuf_chain(head, m), 0);
	}
	return head;
}

static void receive(unsigned port, struct rte_mbuf *m)
{
	dp_receive(rig.worker, port, &m, 1);
	dp_worker_flush(rig.worker);
}

static void make_outbound(unsigned len, struct packet *inner, struct packet *frame)
{
	inner_build(inner, 4, "192.168.0.5", "10.1.0.7", len);
	*frame = *inner;
	ether_wrap(frame, 1);
}

static void make_inbound(unsigned len, struct packet *inner, struct packet *frame)
{
	inner_build(inner, 4, "10.1.0.7", "192.168.0.5", len);
	far_seal(&rig.far[1], 0, inner->bytes, inner->len, 0, frame);
}

static void assert_sealed(const struct packet *inner)
{
	struct packet sealed, text, expected = *inner;
	sink_take(0, &sealed);
	far_open(&rig.far[1], &sealed, MTU, &text);
	inner_hop(&expected);
	assert_same(&text, &expected);
}

static void assert_delivered(const struct packet *inner)
{
	struct packet out, expected = *inner;
	sink_take(1, &out);
	inner_hop(&expected);
	assert_int_equal(out.len, 14 + expected.len);
	assert_memory_equal(out.bytes + 14, expected.bytes, expected.len);
}

/* Headers may be anywhere in the pieces. */
static void whole_where_the_first_has_room(void **state)
{
	static const unsigned lengths[] = {20, 64, 1420, 4000, MTU},
			      pieces[] = {1, 14, 33, 60, 2048};
	struct packet inner, frame;
	(void)state;
	for (unsigned l = 0; l < RTE_DIM(lengths); l++) {
		for (unsigned first = 0; first < RTE_DIM(pieces); first++) {
			unsigned each = lengths[l] < POOL_SIZE ? 1 + first : 2048 - first;
			make_outbound(lengths[l], &inner, &frame);
			receive(1, chain(&frame, true, pieces[first], each));
			assert_sealed(&inner);
			make_inbound(lengths[l], &inner, &frame);
			receive(0, chain(&frame, true, pieces[first], each));
			assert_delivered(&inner);
			assert_int_equal(rte_mempool_in_use_count(small_pool), 0);
		}
	}
}

/* A small packet in small buffers fits into the first of them. */
static void small_ones_in_small_buffers(void **state)
{
	struct packet inner, frame;
	(void)state;
	make_outbound(1400, &inner, &frame);
	receive(1, chain(&frame, false, 100, 700));
	assert_sealed(&inner);
	make_inbound(1400, &inner, &frame);
	receive(0, chain(&frame, false, 100, 700));
	assert_delivered(&inner);
}

/* 9,000 bytes in buffers of 2 KiB: nowhere to put them together. */
static void jumbo_in_small_buffers(void **state)
{
	struct packet inner, frame;
	(void)state;
	for (unsigned i = 0; i < 2 * POOL_SIZE; i++) {
		make_outbound(MTU, &inner, &frame);
		receive(1, chain(&frame, false, 2048, 2048));
		assert_dropped(DP_DROP_NO_ROOM, 1);
		make_inbound(MTU, &inner, &frame);
		receive(0, chain(&frame, false, 2048, 2048));
		assert_dropped(DP_DROP_NO_ROOM, 1);
	}
}

/* Brought together they fill the first buffer so far that padding and tag, or headers, miss. */
static void no_room_to_seal(void **state)
{
	struct packet inner, frame;
	(void)state;
	for (unsigned spare = 0; spare <= DP_SEAL_TAILROOM; spare++) {
		make_outbound(2048 - 14 - spare, &inner, &frame);
		receive(1, chain(&frame, false, 1000, 1000));
		if (spare < DP_SEAL_TAILROOM)
			assert_dropped(DP_DROP_NO_ROOM, 1);
		else
			assert_sealed(&inner);
	}
	/* What the last segment lacks counts for nothing. */
	make_outbound(1000 + 2048 - 14, &inner, &frame);
	receive(1, chain(&frame, true, 1000, 2048));
	assert_sealed(&inner);
}

/* Longer than any packet may be. */
static void longer_than_any(void **state)
{
	struct packet inner, frame;
	(void)state;
	make_outbound(LIMIT_INNER_BYTES + 1, &inner, &frame);
	receive(1, chain(&frame, true, 2048, 2048));
	struct packet back;
	ring_take(tap(1), &back, NULL);
	assert_same(&back, &frame);
	make_outbound(RIG_MAX_BYTES - 14, &inner, &frame);
	struct rte_mbuf *m = chain(&frame, true, 2048, 2048);
	for (unsigned i = 0; i < SEGMENTS; i++) { /* more than the first takes */
		struct rte_mbuf *more = chain(&frame, false, 2048, 2048);
		assert_int_equal(rte_pktmbuf_chain(m, more), 0);
	}
	receive(1, m);
	assert_dropped(DP_DROP_NO_ROOM, 1);
	make_inbound(MTU, &inner, &frame);
	m = chain(&frame, true, 2048, 2048);
	assert_int_equal(rte_pktmbuf_chain(m, chain(&frame, false, 2048, 2048)), 0);
	receive(0, m);
	assert_dropped(DP_DROP_NO_ROOM, 1);
}

/* Among whole ones in a burst; order is kept. */
static void among_others(void **state)
{
	struct packet inner[LIMIT_BURST], frame;
	struct rte_mbuf *mbufs[LIMIT_BURST];
	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		for (unsigned i = 0; i < LIMIT_BURST; i++) {
			if (way == 0)
				make_outbound(100 + 40 * i, &inner[i], &frame);
			else
				make_inbound(100 + 40 * i, &inner[i], &frame);
			mbufs[i] = i % 3 == 0 ? mbuf_from(&frame)
					      : chain(&frame, i % 3 == 1, 64, 1000);
		}
		dp_receive(rig.worker, way == 0 ? 1 : 0, mbufs, LIMIT_BURST);
		dp_worker_flush(rig.worker);
		unsigned dropped = 0;
		for (unsigned i = 0; i < LIMIT_BURST; i++) {
			unsigned len = 100 + 40 * i;
			unsigned room = way == 0 ? 2048 - 14 - DP_SEAL_TAILROOM : 2048 - 42 - 32;
			if (i % 3 == 2 && len > room)
				dropped++;
			else
				(way == 0 ? assert_sealed : assert_delivered)(&inner[i]);
		}
		assert_true(dropped > 0);
		assert_dropped(DP_DROP_NO_ROOM, dropped);
	}
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(whole_where_the_first_has_room),
		TEST(small_ones_in_small_buffers),
		TEST(jumbo_in_small_buffers),
		TEST(no_room_to_seal),
		TEST(longer_than_any),
		TEST(among_others),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
