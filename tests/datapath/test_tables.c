/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Published tables: what is retired is given back when the worker reported quiescent, not before,
 * and publishing waits for nobody.
 */
#include "rig.h"

#include <errno.h>
#include <stdio.h>

#include <rte_malloc.h>
#include <rte_ring.h>

#include "base/bytes.h"
#include "datapath/locals.h"
#include "datapath/lpm.h"
#include "datapath/reclaim.h"

static unsigned released;
static void *last_released;

static void count_release(void *arg, void *object)
{
	assert_ptr_equal(arg, &released);
	released++;
	last_released = object;
}

static int online_setup(void **state)
{
	released = 0;
	if (rig_setup(state) != 0)
		return -1;
	dp_worker_online(rig.worker);
	return 0;
}

static int online_teardown(void **state)
{
	dp_worker_offline(rig.worker);
	dp_reclaim_drain(rig.dp->reclaim);
	return rig_teardown(state);
}

static bool sealed_for(unsigned id)
{
	struct packet inner, frame;
	char dst[40];
	snprintf(dst, sizeof(dst), "10.%u.0.7", id);
	inner_build(&inner, 4, "192.168.0.5", dst, 60);
	frame = inner;
	ether_wrap(&frame, 1);
	rig_receive(1, &frame);
	bool sealed = rig.sinks[0].n == 1;
	if (sealed)
		sink_take(0, &frame);
	else
		ring_take(rig.dp->control_ring, &frame, NULL);
	return sealed;
}

static void assert_released_after_a_turn(void *object)
{
	dp_reclaim_poll(rig.dp->reclaim, 100);
	assert_int_equal(released, 0);
	dp_worker_quiescent(rig.worker);
	dp_reclaim_poll(rig.dp->reclaim, 100);
	assert_int_equal(released, 1);
	assert_ptr_equal(last_released, object);
}

static void sessions_are_released_after_a_turn(void **state)
{
	struct far *far = &rig.far[1];
	struct packet text, frame;
	(void)state;
	dp_peer_set_session(rig.dp, 1, NULL);
	assert_int_equal(dp_retire_session(rig.dp, &far->session, count_release, &released), 0);
	inner_build(&text, 4, "10.1.0.7", "192.168.0.5", 60);
	far_seal(far, 0, text.bytes, text.len, 0, &frame);
	rig_receive(0, &frame);
	assert_dropped(DP_DROP_UNKNOWN_INDEX, 1);
	assert_released_after_a_turn(&far->session);
}

/* A slot that was taken over stays with its new owner. */
static void retiring_leaves_the_slots_next_session(void **state)
{
	static struct wg_session old;
	(void)state;
	old = rig.far[1].session;
	old.local_index ^= 1u << 31;
	assert_int_equal(dp_retire_session(rig.dp, &old, count_release, &released), 0);
	struct packet text, frame;
	inner_build(&text, 4, "10.1.0.7", "192.168.0.5", 60);
	far_seal(&rig.far[1], 0, text.bytes, text.len, 0, &frame);
	rig_receive(0, &frame);
	sink_take(1, &frame);
}

static void peers_are_released_after_a_turn(void **state)
{
	struct ip_prefix prefix;
	(void)state;
	assert_true(sealed_for(1));
	assert_int_equal(dp_remove_peer(rig.dp, 1, count_release, &released), 0);
	assert_null(dp_find_peer(rig.dp, 1));
	assert_false(sealed_for(1)); /* its prefixes and its session are still there */
	struct packet text, frame;
	inner_build(&text, 4, "10.1.0.7", "192.168.0.5", 60);
	far_seal(&rig.far[1], 0, text.bytes, text.len, 0, &frame);
	rig_receive(0, &frame);
	assert_dropped(DP_DROP_UNKNOWN_INDEX, 1);
	assert_released_after_a_turn(&rig.dp->peers[1]);
	assert_true(ip_prefix_parse("10.1.0.0/16", &prefix));
	assert_int_equal(dp_lpm_set(rig.dp->interfaces[0].allowed, &prefix, 2), 0);
	dp_publish_peer(rig.dp, 1, 1);
}

static void a_sleeping_worker_holds_nothing(void **state)
{
	(void)state;
	dp_worker_offline(rig.worker);
	assert_int_equal(
		dp_retire_session(rig.dp, &rig.far[1].session, count_release, &released), 0);
	dp_reclaim_poll(rig.dp->reclaim, 100);
	assert_int_equal(released, 1);
	dp_peer_set_session(rig.dp, 1, NULL);
	dp_worker_online(rig.worker);
}

/* Replaced a thousand times under a worker that never is quiescent: nothing waits, nothing leaks.
 */
static void replacing_waits_for_nobody(void **state)
{
	struct dp_outer outer = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	struct dp_nexthop nexthop = {.kind = DP_NEXTHOP_WG, .interface = 0};
	struct ip_addr local;
	(void)state;
	size_t pending = dp_reclaim_pending(rig.dp->reclaim);
	assert_true(ip_addr_parse("198.51.100.1", &local));
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
		assert_int_equal(dp_set_nexthop(rig.dp, 10, &nexthop), 0);
		assert_int_equal(dp_set_locals(rig.dp, &local, 1), 0);
	}
	assert_int_equal(dp_reclaim_pending(rig.dp->reclaim), pending + 3000);
	assert_true(sealed_for(1));
	dp_worker_quiescent(rig.worker);
	assert_int_equal(dp_reclaim_poll(rig.dp->reclaim, UINT32_MAX), pending + 3000);
}

/* The place beside a peer serves again when no worker can be at what stood there. */
static void the_place_of_an_endpoint(void **state)
{
	struct dp_peer *peer = dp_find_peer(rig.dp, 1);
	struct dp_outer outer = *atomic_load(&peer->outer);
	(void)state;
	assert_ptr_equal(atomic_load(&peer->outer), &peer->own_outer);
	outer.mtu = 1300;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	const struct dp_outer *second = atomic_load(&peer->outer);
	assert_ptr_not_equal(second, &peer->own_outer);
	assert_int_equal(peer->own_outer.mtu, 0); /* as a worker may still see it */
	dp_reclaim_poll(rig.dp->reclaim, 100);
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	assert_ptr_not_equal(atomic_load(&peer->outer), &peer->own_outer);
	assert_int_equal(peer->own_outer.mtu, 0);
	dp_worker_quiescent(rig.worker);
	dp_reclaim_poll(rig.dp->reclaim, 100);
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	assert_ptr_equal(atomic_load(&peer->outer), &peer->own_outer);
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, NULL), 0);
	assert_false(sealed_for(1));
	outer.mtu = 0;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	assert_true(sealed_for(1));
}

/* A driver's own buffer goes back to it, whichever way its packet takes. */
static void buffers_of_drivers_go_back(void **state)
{
	struct packet inner, frames[3], sent;
	static const uint8_t ports[3] = {1, 0, 1}, to[3] = {0, 1, 1};
	(void)state;
	unsigned before = given_back();
	inner_build(&inner, 4, "192.168.0.5", "10.1.0.7", 100);
	frames[0] = inner;
	ether_wrap(&frames[0], 1); /* into a tunnel */
	inner_build(&inner, 6, "fd01::7", "fd99::5", 100);
	far_seal(&rig.far[1], 0, inner.bytes, inner.len, 0, &frames[1]); /* out of one */
	inner_build(&inner, 4, "192.168.0.5", "192.168.0.6", 100);
	frames[2] = inner;
	ether_wrap(&frames[2], 1); /* from one host of a port to another */
	for (unsigned i = 0; i < 3; i++) {
		struct rte_mbuf *m = mbuf_external(&frames[i]);
		dp_receive(rig.worker, ports[i], &m, 1);
		dp_worker_flush(rig.worker);
		sink_take(to[i], &sent);
		assert_int_equal(given_back(), before + i + 1);
	}
}

/* Its peers and its port go; the table of its allowed IPs stays. */
static void an_interface_ends(void **state)
{
	(void)state;
	assert_true(sealed_for(3));
	assert_int_equal(dp_remove_peer(rig.dp, 3, count_release, &released), 0);
	dp_interface_set_listen_port(rig.dp, 1, 0);
	assert_false(sealed_for(3));
	struct packet text, frame;
	inner_build(&text, 4, "10.3.0.7", "192.168.0.5", 60);
	far_seal(&rig.far[3], 0, text.bytes, text.len, 0, &frame);
	rig_receive(0, &frame);
	ring_take(tap(0), &frame, NULL); /* nobody's port any more */
}

static void many_local_addresses(void **state)
{
	struct ip_addr locals[200];
	struct packet text, frame;
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		memset(&locals[i], 0, sizeof(locals[i]));
		locals[i].family = i % 2 != 0 ? IP_V6 : IP_V4;
		for (unsigned k = 0; k < (i % 2 != 0 ? 16 : 4); k++)
			locals[i].bytes[k] = (uint8_t)rig_random();
		if (locals[i].family == IP_V4 &&
			locals[i].bytes[0] == 127) /* loopback is nobody's */
			locals[i].bytes[0] = 128;
	}
	for (unsigned id = 1; id <= 2; id++) {
		for (unsigned i = 0; i < 200; i++) {
			if ((locals[i].family == IP_V4) != (id == 1))
				continue;
			struct far far = rig.far[id];
			memcpy(far.our_addr, locals[i].bytes, 16);
			inner_build(&text, 4, id == 1 ? "10.1.0.7" : "10.2.0.7", "192.168.0.5", 60);
			assert_int_equal(dp_set_locals(rig.dp, locals, 200), 0);
			far.counter = 1000 + i;
			far_seal(&far, 0, text.bytes, text.len, 0, &frame);
			rig_receive(0, &frame);
			sink_take(1, &frame);
			struct wg_path path;
			uint32_t roamed; /* it was not where we spoke from */
			assert_true(dp_take_roam(rig.dp, &roamed, &path));
			assert_int_equal(roamed, id);
			far.our_addr[1] ^= 0x10;
			far_seal(&far, 0, text.bytes, text.len, 0, &frame);
			rig_receive(0, &frame);
			ring_take(tap(0), &frame, NULL);
		}
	}
	assert_int_equal(dp_set_locals(rig.dp, NULL, 0), 0);
	far_seal(&rig.far[1], 0, text.bytes, text.len, 0, &frame);
	rig_receive(0, &frame);
	ring_take(tap(0), &frame, NULL);
}

static bool is_among(const struct ip_addr *addrs, unsigned n, const uint8_t *bytes)
{
	for (unsigned i = 0; i < n; i++)
		if (addrs[i].family == IP_V4 && memcmp(addrs[i].bytes, bytes, 4) == 0)
			return true;
	return false;
}

/* Sets of all sizes, of neighbouring addresses; catches one of ours that the filter does not know.
 */
static void what_is_ours(void **state)
{
	static const unsigned sizes[] = {0, 1, 2, 8, 9, 16, 17, 300, 5000};
	static struct ip_addr addrs[5000];
	uint8_t bytes[4];
	(void)state;
	store_be32(bytes, (uint32_t)rig_random());
	assert_false(dp_locals_has_ipv4(NULL, bytes));
	for (unsigned s = 0; s < RTE_DIM(sizes); s++) {
		unsigned n = sizes[s];
		uint32_t first = 0x0a000000 + (uint32_t)(rig_random() & 0xffff00);
		for (unsigned i = 0; i < n; i++) {
			addrs[i] = (struct ip_addr){.family = i % 8 == 7 ? IP_V6 : IP_V4};
			store_be32(addrs[i].bytes, first + 3 * i);
		}
		struct dp_locals *locals = dp_locals_create(addrs, n);
		assert_non_null(locals);
		for (unsigned i = 0; i<3 * n + 2; i += n> 300 && i > 50 ? 17 : 1) {
			store_be32(bytes, first + i);
			assert_int_equal(
				dp_locals_has_ipv4(locals, bytes), is_among(addrs, n, bytes));
		}
		rte_free(locals);
	}
}

static void wrong_number_of_workers(void **state)
{
	struct dp *dp;
	(void)state;
	assert_int_equal(dp_create(0, &dp), -EINVAL);
	assert_int_equal(dp_create(LIMIT_WORKERS + 1, &dp), -EINVAL);
}

static void every_drop_has_a_name(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DP_DROP_COUNT; i++) {
		assert_true(strlen(dp_drop_name((enum dp_drop_reason)i)) > 0);
		assert_true(strlen(dp_drop_text((enum dp_drop_reason)i)) > 10);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(dp_drop_name((enum dp_drop_reason)i),
				dp_drop_name((enum dp_drop_reason)k));
	}
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, online_setup, online_teardown)
	const struct CMUnitTest tests[] = {
		TEST(sessions_are_released_after_a_turn),
		TEST(retiring_leaves_the_slots_next_session),
		TEST(peers_are_released_after_a_turn),
		TEST(a_sleeping_worker_holds_nothing),
		TEST(replacing_waits_for_nobody),
		TEST(the_place_of_an_endpoint),
		TEST(buffers_of_drivers_go_back),
		TEST(an_interface_ends),
		TEST(many_local_addresses),
		TEST(what_is_ours),
		TEST(wrong_number_of_workers),
		TEST(every_drop_has_a_name),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
