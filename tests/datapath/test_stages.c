/* SPDX-License-Identifier: BSD-3-Clause */
/* What stages count while control wants it: every packet once in every stage that it reaches. */
#include "rig.h"

#include "datapath/stages.h"

#define PACKETS 20

/* A burst of packets to peer 1, and one of packets from it. */
static void play(void)
{
	struct rte_mbuf *mbufs[PACKETS];
	struct packet inner, frame;
	inner_build(&inner, 4, "192.168.0.1", "10.1.0.1", 100);
	frame = inner;
	ether_wrap(&frame, 1);
	for (unsigned i = 0; i < PACKETS; i++)
		mbufs[i] = mbuf_from(&frame);
	dp_receive(rig.worker, 1, mbufs, PACKETS);
	dp_worker_flush(rig.worker);
	inner_build(&inner, 4, "10.1.0.1", "192.168.0.1", 112);
	for (unsigned i = 0; i < PACKETS; i++) {
		far_seal(&rig.far[1], 0, inner.bytes, inner.len, 0, &frame);
		mbufs[i] = mbuf_from(&frame);
	}
	dp_receive(rig.worker, 0, mbufs, PACKETS);
	dp_worker_flush(rig.worker);
	for (unsigned i = 0; i < PACKETS; i++) {
		sink_take(0, &frame);
		sink_take(1, &frame);
	}
}

static void nothing_counted_unasked(void **state)
{
	static const struct dp_stages nothing;
	(void)state;
	play();
	assert_memory_equal(&rig.worker->stages, &nothing, sizeof(nothing));
}

static void each_packet_once_in_each_stage(void **state)
{
	const struct dp_stages *stages = &rig.worker->stages;
	const struct dp_counters *counters = &rig.worker->counters;
	uint64_t cycles = 0;
	(void)state;
	dp_measure_stages(rig.dp, true);
	play();
	for (enum dp_stage stage = 0; stage < DP_STAGE_COUNT; stage++) {
		uint64_t expected = stage == DP_STAGE_TRANSMIT ? 2 * PACKETS : PACKETS;
		/* What reads ports is not here, nor another worker. */
		if (stage == DP_STAGE_RECEIVE || stage == DP_STAGE_SPREAD)
			expected = 0;
		assert_int_equal(stages->packets[stage], expected);
		assert_true((stages->cycles[stage] != 0) == (expected != 0));
		if (stage != DP_STAGE_TRANSMIT)
			cycles += stages->cycles[stage];
	}
	/* Laps of one clock: the stages are no more than the whole, and no less than the AEAD. */
	assert_true(cycles <= counters->inbound_cycles + counters->outbound_cycles);
	assert_true(stages->cycles[DP_STAGE_OPEN] + stages->cycles[DP_STAGE_SEAL] >=
		    counters->aead_cycles);
}

static void what_leaves_early_is_counted_no_further(void **state)
{
	const struct dp_stages *stages = &rig.worker->stages;
	struct packet inner, frame;
	struct dp_mbuf info;
	(void)state;
	dp_measure_stages(rig.dp, true);
	inner_build(&inner, 4, "192.168.0.1", "10.0.0.1", 100); /* routed, but nobody's */
	frame = inner;
	ether_wrap(&frame, 1);
	rig_receive(1, &frame);
	assert_int_equal(stages->packets[DP_STAGE_ROUTE], 1);
	assert_int_equal(stages->packets[DP_STAGE_SEAL], 0);
	ring_take(rig.dp->control_ring, &frame, &info);
	assert_int_equal(info.kind, DP_UNREACHABLE);
}

static void off_again(void **state)
{
	struct dp_stages before;
	(void)state;
	dp_measure_stages(rig.dp, true);
	play();
	dp_measure_stages(rig.dp, false);
	before = rig.worker->stages;
	play();
	assert_memory_equal(rig.worker->stages.packets, before.packets, sizeof(before.packets));
	assert_memory_equal(rig.worker->stages.cycles, before.cycles, sizeof(before.cycles));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_counted_unasked),
		TEST(each_packet_once_in_each_stage),
		TEST(what_leaves_early_is_counted_no_further),
		TEST(off_again),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
