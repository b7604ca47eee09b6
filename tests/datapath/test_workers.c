/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two workers at once on the same sessions, each message given to both: no message is accepted
 * twice, no counter sealed with twice, nothing lost. Threads use no more of the rig than what they
 * are given; all is checked after they ended.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>

#include <rte_ring.h>

#include "base/bytes.h"
#include "wg/messages.h"

#define ROUNDS	 60
#define MESSAGES 150 /* each way and round, half of them of peer 1, half of peer 2 */
#define BYTES	 64  /* of an inner packet */
#define TAG	 40  /* where in it its number stands */

struct side {
	struct dp_worker *worker;
	struct sink *sinks;
	unsigned n;
	struct rte_mbuf *mbufs[3 * MESSAGES];
	uint8_t ports[3 * MESSAGES]; /* that each mbuf comes from */
	uint64_t seed;
	pthread_t thread;
};

static struct sink other_sinks[RIG_PORTS];
static struct side sides[2];
static _Atomic unsigned at_start;

static uint16_t other_send(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n)
{
	struct sink *sink = &((struct sink *)arg)[port];
	memcpy(&sink->mbufs[sink->n], mbufs, n * sizeof(mbufs[0]));
	sink->n += n;
	return n;
}

static int setup(void **state)
{
	struct dp_worker_config config = {.id = 1, .send = other_send, .send_arg = other_sinks};
	if (rig_setup(state) != 0)
		return -1;
	memset(other_sinks, 0, sizeof(other_sinks));
	memset(sides, 0, sizeof(sides));
	sides[0].worker = rig.worker;
	sides[0].sinks = rig.sinks;
	sides[1].sinks = other_sinks;
	if (dp_worker_create(rig.dp, &config, &sides[1].worker) != 0)
		return -1;
	sides[1].worker->now_ns = RIG_NOW_NS + 7;
	return 0;
}

static int teardown(void **state)
{
	dp_worker_destroy(sides[1].worker);
	return rig_teardown(state);
}

/* ---- the threads ---- */

static uint64_t next_random(struct side *side)
{
	side->seed ^= side->seed << 13;
	side->seed ^= side->seed >> 7;
	side->seed ^= side->seed << 17;
	return side->seed;
}

/* Turns with a burst of random length of one port. */
static void *work(void *arg)
{
	struct side *side = arg;
	dp_worker_online(side->worker);
	at_start++;
	while (at_start < 2)
		sched_yield();
	for (unsigned i = 0, end; i < side->n; i = end) {
		unsigned most = 1 + (unsigned)(next_random(side) % 32);
		end = i + 1;
		while (end < side->n && end < i + most && side->ports[end] == side->ports[i])
			end++;
		dp_receive(side->worker, side->ports[i], side->mbufs + i, end - i);
		dp_worker_flush(side->worker);
		dp_worker_quiescent(side->worker);
	}
	dp_worker_offline(side->worker);
	return NULL;
}

static void run_both(void)
{
	at_start = 0;
	for (unsigned i = 0; i < 2; i++) {
		sides[i].seed = rig_random() | 1;
		assert_int_equal(pthread_create(&sides[i].thread, NULL, work, &sides[i]), 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(sides[i].thread, NULL);
		sides[i].n = 0;
	}
}

/* ---- what they get ---- */

static void give(struct side *side, unsigned port, const struct packet *frame)
{
	side->ports[side->n] = (uint8_t)port;
	side->mbufs[side->n++] = mbuf_from(frame);
}

/* In runs, each of one port: bursts shall be more than single packets. */
static void shuffle(struct side *side)
{
	for (unsigned i = side->n - 1; i > 0; i--) {
		unsigned k = (unsigned)(rig_random() % (i + 1));
		if (side->ports[i] != side->ports[k])
			continue;
		struct rte_mbuf *m = side->mbufs[i];
		side->mbufs[i] = side->mbufs[k];
		side->mbufs[k] = m;
	}
}

static void build(struct packet *p, const char *src, const char *dst, unsigned tag)
{
	inner_build(p, 4, src, dst, BYTES);
	store_be32(p->bytes + TAG, tag);
}

static void give_inbound(unsigned tag)
{
	struct packet text, frame;
	unsigned id = 1 + tag % 2;
	build(&text, id == 1 ? "10.1.0.9" : "10.2.0.9", "192.168.0.1", tag);
	far_seal(&rig.far[id], 0, text.bytes, text.len, 0, &frame);
	give(&sides[0], 0, &frame);
	give(&sides[1], 0, &frame);
}

static void give_outbound(struct side *side, unsigned tag)
{
	struct packet frame;
	build(&frame, "192.168.0.1", tag % 2 == 0 ? "10.1.0.9" : "10.2.0.9", tag);
	ether_wrap(&frame, 1);
	give(side, 1, &frame);
}

/* ---- what came of it ---- */

static void take_all(struct sink *sink, void (*check)(const struct packet *p))
{
	struct packet p;
	for (unsigned i = 0; i < sink->n; i++) {
		packet_from(&p, sink->mbufs[i]);
		check(&p);
	}
	sink->n = 0;
}

static unsigned char delivered[MESSAGES];

static void check_delivered(const struct packet *p)
{
	unsigned tag = load_be32(p->bytes + 14 + TAG);
	assert_int_equal(p->len, 14 + BYTES);
	assert_true(tag < MESSAGES);
	delivered[tag]++;
}

static unsigned char sealed[2 * MESSAGES], counters[3][ROUNDS * 2 * MESSAGES];
static uint64_t first_counter;

static void check_sealed(const struct packet *p)
{
	struct packet text;
	unsigned id = load_be16(p->bytes + 12) == 0x0800 ? 1 : 2;
	uint64_t counter = far_open(&rig.far[id], p, RIG_MTU, &text) - first_counter;
	unsigned tag = load_be32(text.bytes + TAG);
	assert_true(tag < sizeof(sealed) && counter < sizeof(counters[id]));
	assert_int_equal(id, 1 + tag % 2);
	sealed[tag]++;
	counters[id][counter]++;
}

static void assert_each_once(const unsigned char *count, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(count[i], 1);
}

static void assert_time(uint64_t value, bool or_none)
{
	assert_true(value == RIG_NOW_NS || value == RIG_NOW_NS + 7 || (or_none && value == 0));
}

static uint64_t replays(void)
{
	return sides[0].worker->drops.count[DP_DROP_REPLAYED] +
	       sides[1].worker->drops.count[DP_DROP_REPLAYED];
}

static void both_ways_on_the_same_sessions(void **state)
{
	(void)state;
	memset(counters, 0, sizeof(counters));
	first_counter = 0;
	for (unsigned round = 1; round <= ROUNDS; round++) {
		memset(delivered, 0, sizeof(delivered));
		memset(sealed, 0, sizeof(sealed));
		for (unsigned i = 0; i < MESSAGES; i++) {
			/* In stretches, so that bursts form. */
			for (unsigned k = 0; i % 30 == 0 && k < 30; k++)
				give_inbound(i + k);
			for (unsigned k = 0; i % 30 == 0 && k < 30; k++) {
				give_outbound(&sides[0], i + k);
				give_outbound(&sides[1], MESSAGES + i + k);
			}
		}
		shuffle(&sides[0]);
		shuffle(&sides[1]);
		run_both();
		for (unsigned i = 0; i < 2; i++) {
			take_all(&sides[i].sinks[1], check_delivered);
			take_all(&sides[i].sinks[0], check_sealed);
		}
		assert_each_once(delivered, MESSAGES);
		assert_each_once(sealed, 2 * MESSAGES);
		assert_int_equal(replays(), round * MESSAGES);
	}
	for (unsigned id = 1; id <= 2; id++) {
		struct wg_activity *activity = rig.far[id].activity;
		assert_each_once(counters[id], ROUNDS * MESSAGES);
		assert_int_equal(atomic_load(&activity->rx_bytes),
			ROUNDS * MESSAGES / 2 * (BYTES + WG_KEEPALIVE_BYTES));
		assert_int_equal(atomic_load(&activity->tx_bytes),
			ROUNDS * MESSAGES * (BYTES + WG_KEEPALIVE_BYTES));
		assert_time(activity->last_received_ns, false);
		assert_time(activity->last_sent_ns, false);
		assert_time(wg_activity_owed_since_ns(activity), true);
		assert_time(wg_activity_unanswered_since_ns(activity), true);
	}
	assert_dropped(DP_DROP_REPLAYED, (unsigned)rig.worker->drops.count[DP_DROP_REPLAYED]);
}

/* The last counters of a session, asked for by both: each goes to one, the rest waits. */
static void the_last_counters(void **state)
{
	const unsigned left = MESSAGES / 2;
	unsigned refused = 0, total = 0;
	struct dp_hint hint;
	void *m;
	(void)state;
	memset(counters, 0, sizeof(counters));
	memset(sealed, 0, sizeof(sealed));
	first_counter = WG_REJECT_AFTER_MESSAGES - left;
	for (unsigned id = 1; id <= 2; id++)
		atomic_store(&rig.far[id].session.send_counter, first_counter);
	for (unsigned i = 0; i < MESSAGES; i++) {
		give_outbound(&sides[0], i);
		give_outbound(&sides[1], MESSAGES + i);
	}
	run_both();
	for (unsigned i = 0; i < 2; i++) {
		total += sides[i].sinks[0].n;
		take_all(&sides[i].sinks[0], check_sealed);
	}
	while (rte_ring_dequeue(rig.dp->control_ring, &m) == 0) {
		assert_int_equal(dp_mbuf(m)->kind, DP_STAGE);
		rte_pktmbuf_free(m);
		refused++;
	}
	while (hint_take(&hint))
		assert_int_equal(hint.kind, DP_HINT_REKEY);
	assert_int_equal(total + refused, 2 * MESSAGES);
	assert_true(total <= 2 * left);
	for (unsigned id = 1; id <= 2; id++)
		for (unsigned i = 0; i < sizeof(counters[id]); i++)
			assert_true(counters[id][i] <= (i < left));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_ways_on_the_same_sessions, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_counters, setup, teardown),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
