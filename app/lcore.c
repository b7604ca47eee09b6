/* SPDX-License-Identifier: BSD-3-Clause */
#include "lcore.h"

#include <sys/prctl.h>
#include <time.h>

#include <rte_ethdev.h>
#include <rte_pause.h>
#include <rte_ring.h>

#include "base/units.h"
#include "clock.h"
#include "datapath/spread.h"

/*
 * Rest: after so many empty turns a worker sleeps, each time twice as long. The longest sleep must
 * not overflow a receive queue when traffic starts at full rate: 1,024 descriptors last 69 us at
 * 14.88 Mpps. After a second without any packet, power counts more than the first burst.
 */
#define EMPTY_TURNS_BEFORE_SLEEP 256
#define SLEEP_FIRST_NS		 (5 * NS_PER_US)
#define SLEEP_LONGEST_NS	 (40 * NS_PER_US)
#define SLEEP_IDLE_NS		 (400 * NS_PER_US)
#define IDLE_AFTER_NS		 NS_PER_SEC

/*
 * Saturated: so many turns with a full burst more than without. It lasts for a while, so that
 * spreading does not stop as soon as it works. A vectorized driver gives 32 packets at most.
 */
#define FULL_BURST	   32
#define PRESSURE_SATURATED 16
#define PRESSURE_MOST	   256
/* Idle enough to help: a worker with a little traffic of its own does not let that wait. */
#define EMPTY_TURNS_BEFORE_HELP 64

/* Far from the 100 ms that bonds allow at most. */
#define SEND_TURN_NS (10 * NS_PER_MS)

/* dp_send_fn. A port with fewer queues than workers is reached through the worker that has one. */
static uint16_t send_frames(void *arg, unsigned port_index, struct rte_mbuf **mbufs, uint16_t n)
{
	struct lcore *lcore = arg;
	const struct port *port = &lcore->ports[port_index];
	struct dp_worker *worker = lcore->worker;

	if (worker->id < port->tx_queues)
		return rte_eth_tx_burst(port->id, (uint16_t)worker->id, mbufs, n);

	for (uint16_t i = 0; i < n; i++) {
		dp_mbuf(mbufs[i])->kind = DP_TRANSMIT;
		dp_mbuf(mbufs[i])->port = (uint8_t)port_index;
	}
	dp_pass(worker->dp->relay_ring[worker->id % port->tx_queues], mbufs, n, &worker->drops,
		DP_DROP_WORKER_FULL);
	return n;
}

/* Two pollers on one CPU only take each other's time: such a worker helps nobody. */
static bool has_cpu_to_itself(unsigned lcore_id)
{
	rte_cpuset_t own = rte_lcore_cpuset(lcore_id), shared;
	unsigned other;

	RTE_LCORE_FOREACH_WORKER(other)
	{
		rte_cpuset_t set = rte_lcore_cpuset(other);
		CPU_AND(&shared, &own, &set);
		if (other != lcore_id && CPU_COUNT(&shared) > 0)
			return false;
	}
	return true;
}

static uint32_t relayed_ports(const struct lcore *lcore, unsigned id)
{
	uint32_t relayed = 0;

	for (unsigned p = 0; p < lcore->port_count; p++)
		relayed |= (uint32_t)(id >= lcore->ports[p].tx_queues) << p;
	return relayed;
}

static bool takes_relays(const struct lcore *lcore, unsigned id)
{
	for (unsigned p = 0; p < lcore->port_count; p++)
		if (id < lcore->ports[p].tx_queues && lcore->ports[p].tx_queues < lcore->workers)
			return true;
	return false;
}

int lcore_create(struct lcore *lcore, struct dp *dp, unsigned id, enum aead_backend backend)
{
	struct dp_worker_config config = {
		.id = id,
		.relayed = relayed_ports(lcore, id),
		.backend = backend,
		.send = send_frames,
		.send_arg = lcore,
	};

	lcore->takes_relays = takes_relays(lcore, id);
	lcore->may_help = has_cpu_to_itself(lcore->lcore_id);
	return dp_worker_create(dp, &config, &lcore->worker);
}

void lcore_destroy(struct lcore *lcore)
{
	if (lcore->worker)
		dp_worker_destroy(lcore->worker);
	lcore->worker = NULL;
}

static void feel_pressure(struct lcore *lcore, bool full)
{
	if (full && lcore->pressure < PRESSURE_MOST)
		lcore->pressure++;
	else if (!full && lcore->pressure > 0)
		lcore->pressure--;
	if (lcore->pressure >= PRESSURE_SATURATED)
		dp_spread_set(lcore->worker, true);
	else if (lcore->pressure == 0)
		dp_spread_set(lcore->worker, false);
}

/*
 * A bond sends its own frames (LACP's, one a call) only while it is called to send, be it nothing.
 * By one queue is enough.
 */
static void send_turns(struct lcore *lcore)
{
	uint64_t now_ns = lcore->worker->now_ns;

	if (lcore->worker->id != 0 || now_ns - lcore->send_turn_ns < SEND_TURN_NS)
		return;
	lcore->send_turn_ns = now_ns;
	for (unsigned p = 0; p < lcore->port_count; p++)
		if (lcore->ports[p].wants_turns)
			(void)rte_eth_tx_burst(lcore->ports[p].id, 0, NULL, 0);
}

static unsigned take_from(struct lcore *lcore, struct rte_ring *ring)
{
	struct rte_mbuf *mbufs[LIMIT_BURST];
	unsigned n = rte_ring_sc_dequeue_burst(ring, (void **)mbufs, LIMIT_BURST, NULL);

	if (n > 0) {
		dp_spread_leave(lcore->worker);
		dp_input(lcore->worker, mbufs, n);
	}
	return n;
}

/* One turn; returns how many packets it found. */
static unsigned turn(struct lcore *lcore)
{
	struct dp_worker *worker = lcore->worker;
	struct rte_mbuf *mbufs[LIMIT_BURST];
	unsigned total = 0, n;
	bool full = false;

	for (unsigned p = 0; p < lcore->port_count; p++) {
		if (worker->id >= lcore->ports[p].rx_queues)
			continue;
		dp_stages_begin(worker);
		n = rte_eth_rx_burst(lcore->ports[p].id, (uint16_t)worker->id, mbufs, LIMIT_BURST);
		if (n > 0) {
			dp_stage_end(worker, DP_STAGE_RECEIVE, n);
			dp_spread_leave(worker);
			dp_receive(worker, p, mbufs, n);
		}
		full |= n >= FULL_BURST;
		total += n;
	}
	n = take_from(lcore, worker->dp->in_ring[worker->id]);
	full |= n >= FULL_BURST;
	total += n;
	if (lcore->takes_relays) {
		n = take_from(lcore, worker->dp->relay_ring[worker->id]);
		full |= n >= FULL_BURST;
		total += n;
	}
	dp_worker_flush(worker);
	send_turns(lcore);
	feel_pressure(lcore, full);
	return total;
}

struct rest {
	unsigned empty_turns;
	uint64_t sleep_ns, last_busy_ns;
};

/* After an empty turn: true when there was work for another worker, or a job of its own. */
static bool help(struct lcore *lcore, const struct rest *rest)
{
	struct dp_worker *worker = lcore->worker;
	bool idle = rest->empty_turns >= EMPTY_TURNS_BEFORE_HELP;

	return (worker->spreading || (lcore->may_help && idle)) && dp_spread_help(worker) > 0;
}

/* A sleeper is no helper: while one is wanted, who can help stays awake. */
static bool stays_awake(const struct lcore *lcore)
{
	const struct dp_worker *worker = lcore->worker;

	return lcore->poll || worker->spreading ||
	       (lcore->may_help && dp_spread_wanted(worker->dp));
}

static void rest(struct lcore *lcore, struct rest *rest)
{
	if (++rest->empty_turns < EMPTY_TURNS_BEFORE_SLEEP || stays_awake(lcore)) {
		rte_pause();
		return;
	}
	dp_spread_leave(lcore->worker);
	bool idle = lcore->worker->now_ns - rest->last_busy_ns > IDLE_AFTER_NS;
	uint64_t longest = idle ? SLEEP_IDLE_NS : SLEEP_LONGEST_NS;
	struct timespec ts = {.tv_nsec = (long)rest->sleep_ns};

	dp_worker_offline(lcore->worker);
	nanosleep(&ts, NULL);
	dp_worker_online(lcore->worker);
	lcore->stats.sleeps++;
	rest->sleep_ns = RTE_MIN(rest->sleep_ns * 2, longest);
}

int lcore_run(void *arg)
{
	struct lcore *lcore = arg;
	struct rest resting = {.sleep_ns = SLEEP_FIRST_NS};

	/* The default slack of 50 us would be most of a short sleep. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	dp_worker_online(lcore->worker);
	while (!atomic_load_explicit(lcore->quit, memory_order_relaxed)) {
		lcore->worker->now_ns = clock_now_ns();
		unsigned n = turn(lcore);
		dp_worker_quiescent(lcore->worker);
		lcore->stats.turns++;
		if (n == 0) {
			if (!help(lcore, &resting))
				rest(lcore, &resting);
			continue;
		}
		lcore->stats.busy_turns++;
		lcore->stats.received += n;
		resting = (struct rest){
			.sleep_ns = SLEEP_FIRST_NS, .last_busy_ns = lcore->worker->now_ns};
	}
	dp_worker_offline(lcore->worker);
	return 0;
}
