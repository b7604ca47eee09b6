/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No memory to remember what is to be freed: then it is not, but what control takes away is out of
 * the workers' sight all the same. (It is linked with a malloc of its own.)
 */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>

#include "datapath/reclaim.h"

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static bool none_left;
static unsigned released;

void *__wrap_malloc(size_t size)
{
	return none_left ? NULL : __real_malloc(size);
}

static void count_release(void *arg, void *object)
{
	(void)arg;
	(void)object;
	released++;
}

/* The queue of what waits to be freed is full, and cannot grow. */
static int full_setup(void **state)
{
	static int object;
	if (rig_setup(state) != 0)
		return -1;
	dp_worker_online(rig.worker);
	none_left = true;
	while (dp_reclaim_retire(rig.dp->reclaim, count_release, NULL, &object) == 0)
		continue;
	released = 0;
	return 0;
}

static int full_teardown(void **state)
{
	none_left = false;
	dp_worker_offline(rig.worker);
	dp_reclaim_drain(rig.dp->reclaim);
	return rig_teardown(state);
}

static void receive_from(struct far *far)
{
	struct packet text, frame;
	inner_build(&text, 4, "10.1.0.7", "192.168.0.5", 60);
	far_seal(far, 0, text.bytes, text.len, 0, &frame);
	rig_receive(0, &frame);
}

/* Would catch keys in use after the device has ended their session. */
static void session_is_unpublished(void **state)
{
	struct far *far = &rig.far[1];
	(void)state;
	dp_peer_set_session(rig.dp, 1, NULL);
	assert_int_equal(dp_retire_session(rig.dp, &far->session, count_release, NULL), -ENOMEM);
	receive_from(far);
	assert_dropped(DP_DROP_UNKNOWN_INDEX, 1);
}

/* Would catch a peer that was removed and goes on sending and receiving. */
static void peer_is_unpublished(void **state)
{
	(void)state;
	assert_int_equal(dp_remove_peer(rig.dp, 1, count_release, NULL), -ENOMEM);
	assert_null(dp_find_peer(rig.dp, 1));
	receive_from(&rig.far[1]);
	assert_dropped(DP_DROP_UNKNOWN_INDEX, 1);
	none_left = false;
	dp_worker_quiescent(rig.worker);
	dp_reclaim_poll(rig.dp->reclaim, 1000);
	/* Those before, but not the peer. */
	assert_int_equal(dp_reclaim_pending(rig.dp->reclaim), 0);
	assert_null(dp_find_peer(rig.dp, 1));
}

/* Would catch plain packets that go on to where the next hop was. */
static void next_hop_is_the_hosts(void **state)
{
	struct dp_nexthop moved = *atomic_load(&rig.dp->nexthops[7]);
	struct packet packet;
	struct dp_mbuf info;
	(void)state;
	moved.ether[5]++;
	assert_int_equal(dp_set_nexthop(rig.dp, 7, &moved), -ENOMEM);
	receive_from(&rig.far[1]);
	ring_take(tun(0), &packet, &info);
	assert_int_equal(info.kind, DP_HOST_PACKET);
	assert_quiet();
	none_left = false;
	assert_int_equal(dp_set_nexthop(rig.dp, 7, &moved), 0);
	receive_from(&rig.far[1]);
	sink_take(1, &packet);
	assert_memory_equal(packet.bytes, moved.ether, 6);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, full_setup, full_teardown)
	const struct CMUnitTest tests[] = {
		TEST(session_is_unpublished),
		TEST(peer_is_unpublished),
		TEST(next_hop_is_the_hosts),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
