/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The authentication barrier: whatever arrives that is not authentic changes no table, no stamp and
 * no counter but those of drops, and no authentic packet is lost, late or changed for its company.
 */
#include "rig.h"

#include <stdio.h>

#include <rte_ring.h>

#include "base/bytes.h"
#include "crypto/aead.h"

/* All state that packets can change, but for drop counters and cycles. */
struct state {
	struct wg_session sessions[RIG_PEERS];
	struct wg_activity activities[RIG_PEERS];
	struct dp_peer peers[RIG_PEERS];
	struct dp_outer outers[RIG_PEERS];
	struct dp dp;
	struct dp_counters counters;
	uint16_t ip_id;
	unsigned hints, controls;
};

static void remember(struct state *state)
{
	memset(state, 0, sizeof(*state));
	for (uint32_t id = 1; id < RIG_PEERS; id++) {
		const struct dp_peer *peer = dp_find_peer(rig.dp, id);
		memcpy(&state->sessions[id], &rig.far[id].session, sizeof(struct wg_session));
		memcpy(&state->activities[id], rig.far[id].activity, sizeof(struct wg_activity));
		memcpy(&state->peers[id], peer, sizeof(*peer));
		memcpy(&state->outers[id], atomic_load(&peer->outer), sizeof(struct dp_outer));
	}
	memcpy(&state->dp, rig.dp, sizeof(*rig.dp));
	memcpy(&state->counters, &rig.worker->counters, sizeof(state->counters));
	state->counters.inbound_cycles = state->counters.aead_cycles = 0;
	state->ip_id = rig.worker->ip_id;
	state->hints = rte_ring_count(rig.dp->hint_ring) + rte_ring_count(rig.dp->roam_ring);
	state->controls =
		rte_ring_count(rig.dp->control_ring) + rte_ring_count(rig.dp->handshake_ring);
}

static void assert_unchanged(const struct state *before)
{
	static struct state now;
	remember(&now);
	assert_memory_equal(&now, before, sizeof(now));
}

static void make_good(unsigned id, unsigned len, struct packet *inner, struct packet *frame)
{
	char src[40];
	snprintf(src, sizeof(src), "10.%u.0.7", id);
	inner_build(inner, 4, src, "192.168.0.5", len);
	far_seal(&rig.far[id], 0, inner->bytes, inner->len, 0, frame);
}

enum bad {
	BAD_TAG,
	BAD_TEXT,
	BAD_COUNTER,
	BAD_KEY,
	BAD_INDEX,
	BAD_SLOT,
	BAD_SHORT,
	BAD_TRUNCATED,
	BAD_TYPE,
	BAD_PORT,
	BAD_FROM_ELSEWHERE,
	BAD_FAR_FUTURE,
	BAD_COUNT
};

static const enum dp_drop_reason reasons[BAD_COUNT] = {
	[BAD_TAG] = DP_DROP_FORGED,
	[BAD_TEXT] = DP_DROP_FORGED,
	[BAD_COUNTER] = DP_DROP_FORGED,
	[BAD_KEY] = DP_DROP_FORGED,
	[BAD_INDEX] = DP_DROP_UNKNOWN_INDEX,
	[BAD_SLOT] = DP_DROP_UNKNOWN_INDEX,
	[BAD_SHORT] = DP_DROP_MESSAGE_LENGTH,
	[BAD_TRUNCATED] = DP_DROP_FORGED,
	[BAD_TYPE] = DP_DROP_MESSAGE_TYPE,
	[BAD_PORT] = DP_DROP_UNKNOWN_INDEX,
	[BAD_FROM_ELSEWHERE] = DP_DROP_FORGED,
	[BAD_FAR_FUTURE] = DP_DROP_FORGED,
};

/* A packet that is like the far peer's next one, but for what is bad. */
static void make_bad(enum bad bad, unsigned id, struct packet *frame)
{
	struct far far = rig.far[id]; /* its counters stay as they are */
	struct packet inner;
	unsigned message = far.outer_family == 4 ? 42 : 62;
	unsigned len = bad == BAD_SHORT ? (unsigned)(rig_random() % 32) : 0;
	inner_build(&inner, 4, "10.1.0.7", "192.168.0.5", 20 + (unsigned)(rig_random() % 1400));
	if (bad == BAD_KEY)
		far.session.receive_key[31] ^= 0x80;
	if (bad == BAD_PORT)
		far.our_port ^= 51820 ^ 51821;
	if (bad == BAD_FROM_ELSEWHERE)
		far.port ^= 0x5555;
	if (bad == BAD_FAR_FUTURE)
		far.counter = WG_REJECT_AFTER_MESSAGES - 5;
	far_seal(&far, 0, inner.bytes, inner.len, 3, frame);
	uint8_t *bytes = frame->bytes;
	struct packet payload = {.len = frame->len - message};
	memcpy(payload.bytes, bytes + message, payload.len);
	switch (bad) {
	case BAD_FROM_ELSEWHERE:
	case BAD_FAR_FUTURE:
	case BAD_TAG:
		bytes[frame->len - 1 - rig_random() % 16] ^= (uint8_t)(1 << rig_random() % 8);
		break;
	case BAD_TEXT:
		bytes[message + 16 + rig_random() % inner.len] ^= 1;
		break;
	case BAD_COUNTER:
		bytes[message + 8 + rig_random() % 8] ^= 1;
		break;
	case BAD_INDEX:
		bytes[message + 4] ^= 9;
		break;
	case BAD_SLOT:
		bytes[message + 7] ^= 0x40;
		break;
	case BAD_SHORT:
		far_wrap(&far, 0, payload.bytes, len, 0, frame);
		break;
	case BAD_TRUNCATED:
		far_wrap(&far, 0, payload.bytes, payload.len - 1, 0, frame);
		break;
	case BAD_TYPE:
		bytes[message + 1 + rig_random() % 3] ^= 1;
		break;
	default:
		break;
	}
}

static void nothing_authentic_changes_nothing(void **unused)
{
	static struct state before;
	struct packet frame;
	struct rte_mbuf *mbufs[200];
	(void)unused;
	rig.far[1].session.confirmed = false;
	rig.far[2].session.initiator = true;
	wg_session_set_born(&rig.far[2].session, RIG_NOW_NS - WG_REKEY_ON_RECEIVE_NS);
	for (enum bad bad = 0; bad < BAD_COUNT; bad++) {
		remember(&before);
		for (unsigned i = 0; i < 200; i++) {
			make_bad(bad, 1 + i % 3, &frame);
			mbufs[i] = mbuf_from(&frame);
		}
		dp_receive(rig.worker, 0, mbufs, 200);
		dp_worker_flush(rig.worker);
		assert_dropped(reasons[bad], 200);
		assert_unchanged(&before);
	}
	assert_quiet();
}

/* An expired session's packets are authentic, but too late to matter. */
static void expired_sessions_change_nothing(void **unused)
{
	static struct state before;
	struct packet inner, frame;
	(void)unused;
	wg_session_set_born(&rig.far[1].session, RIG_NOW_NS - WG_REJECT_AFTER_TIME_NS);
	remember(&before);
	make_good(1, 100, &inner, &frame);
	rig_receive(0, &frame);
	assert_dropped(DP_DROP_SESSION_EXPIRED, 1);
	assert_unchanged(&before);
}

/* A replayed packet is authentic, but nothing of it may count: no stamp, no byte, no new path. */
static void replayed_packets_change_nothing(void **unused)
{
	static struct state before;
	struct packet inner, frame, out;
	(void)unused;
	make_good(1, 100, &inner, &frame);
	rig_receive(0, &frame);
	sink_take(1, &out);
	rig.far[1].session.confirmed = false;
	rig.worker->now_ns += 5;
	store_be16(frame.bytes + 34, 9); /* and from elsewhere */
	store_be16(frame.bytes + 40, 0);
	remember(&before);
	for (unsigned i = 0; i < 50; i++)
		rig_receive(0, &frame);
	assert_dropped(DP_DROP_REPLAYED, 50);
	assert_unchanged(&before);
}

#define ROUNDS 40
#define GOOD   60

struct good {
	unsigned id;
	struct packet inner, frame;
};

/* What a round's good packets leave behind without company. */
static void play(const struct good *good, bool with_bad, struct state *after)
{
	struct rte_mbuf *mbufs[2 * GOOD];
	unsigned n = 0;
	for (unsigned i = 0; i < GOOD; i++) {
		while (with_bad && n < GOOD + i && rig_random() % 2 == 0) {
			struct packet frame;
			enum bad bad = (enum bad)(rig_random() % BAD_COUNT);
			make_bad(bad, good[i].id, &frame);
			mbufs[n++] = mbuf_from(&frame);
			rig.worker->drops.count[reasons[bad]]--; /* made up for by the drop */
		}
		if (with_bad && i > 0 && rig_random() % 4 == 0 && n < GOOD + i) {
			mbufs[n++] = mbuf_from(&good[rig_random() % i].frame);
			rig.worker->drops.count[DP_DROP_REPLAYED]--;
		}
		mbufs[n++] = mbuf_from(&good[i].frame);
	}
	dp_receive(rig.worker, 0, mbufs, n);
	dp_worker_flush(rig.worker);
	for (unsigned i = 0; i < GOOD; i++) {
		struct packet out, expected = good[i].inner;
		sink_take(1, &out);
		inner_hop(&expected);
		assert_int_equal(out.len, expected.len + 14);
		assert_memory_equal(out.bytes + 14, expected.bytes, expected.len);
	}
	assert_quiet();
	remember(after);
}

static void bad_company_harms_no_good_packet(void **unused)
{
	static struct state alone, in_company;
	static struct good good[GOOD];
	static struct rig at_first;
	struct wg_activity activities[RIG_PEERS];
	(void)unused;
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned run = 1 + (unsigned)(rig_random() % 8);
		at_first = rig;
		for (uint32_t id = 1; id < RIG_PEERS; id++)
			activities[id] = *rig.far[id].activity;
		struct dp_counters counters = rig.worker->counters;
		for (unsigned i = 0; i < GOOD; i++) {
			good[i].id = 1 + i / run % 3;
			make_good(good[i].id, 20 + (unsigned)(rig_random() % 300), &good[i].inner,
				&good[i].frame);
		}
		play(good, false, &alone);
		for (uint32_t id = 1; id < RIG_PEERS; id++) { /* back to before */
			rig.far[id].session = at_first.far[id].session;
			*rig.far[id].activity = activities[id];
		}
		rig.worker->counters = counters;
		play(good, true, &in_company);
		assert_memory_equal(&alone, &in_company, sizeof(alone));
		rig.worker->now_ns += 1000;
	}
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(nothing_authentic_changes_nothing),
		TEST(expired_sessions_change_nothing),
		TEST(replayed_packets_change_nothing),
		TEST(bad_company_harms_no_good_packet),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
