/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop of a worker that others send by: its port's one queue is this test, which keeps what it
 * is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "app/lcore.h"
#include "frames.h"

#define WORKERS	  2
#define TIMEOUT_S 10

static struct rte_mempool *pool;

static struct {
	_Atomic unsigned n; /* [the running worker w, any r] */
	struct rte_mbuf *mbufs[2 * LIMIT_RELAY_RING];
} sent;

static uint16_t keep(void *queue, struct rte_mbuf **mbufs, uint16_t n)
{
	unsigned before = atomic_load(&sent.n);

	(void)queue;
	for (uint16_t i = 0; i < n; i++)
		sent.mbufs[before + i] = mbufs[i];
	atomic_store(&sent.n, before + n);
	return n;
}

static struct rte_mbuf *frame_to_send(void)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	assert_non_null(m);
	assert_non_null(rte_pktmbuf_append(m, 60));
	*dp_mbuf(m) = (struct dp_mbuf){.kind = DP_TRANSMIT, .port = 0};
	return m;
}

/* A turn's worth of frames from worker 1, by way of worker 0; true while they find room. */
static bool relay(struct lcore *from)
{
	struct rte_mbuf *mbufs[LIMIT_BURST];

	for (unsigned i = 0; i < LIMIT_BURST; i++)
		mbufs[i] = frame_to_send();
	assert_int_equal(
		from->worker->send(from->worker->send_arg, 0, mbufs, LIMIT_BURST), LIMIT_BURST);
	return from->worker->drops.count[DP_DROP_WORKER_FULL] == 0;
}

static void *run(void *lcore)
{
	(void)lcore_run(lcore);
	return NULL;
}

static void run_until_sent(struct lcore *lcore, unsigned n)
{
	struct timespec begin, now;
	pthread_t thread;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(pthread_create(&thread, NULL, run, lcore), 0);
	do {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (atomic_load(&sent.n) < n && now.tv_sec - begin.tv_sec < TIMEOUT_S);
	atomic_store(lcore->quit, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&sent.n), n);
}

/*
 * Would catch frames of other workers, as many as there may be, that keep the host exchange from
 * reading and control from sending, or have their own wait.
 */
static void relayed_frames_leave_room_for_others(void **state)
{
	struct port port = {.id = 0, .tx_queues = 1};
	_Atomic bool quit = false;
	struct lcore lcores[WORKERS];
	struct dp *dp;
	unsigned relayed;

	(void)state;
	rte_eth_fp_ops[port.id].tx_pkt_burst = keep;
	assert_int_equal(dp_create(WORKERS, &dp), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		lcores[i] = (struct lcore){
			.ports = &port, .port_count = 1, .workers = WORKERS, .quit = &quit};
		assert_int_equal(lcore_create(&lcores[i], dp, i, AEAD_BACKEND_SODIUM), 0);
	}

	for (relayed = LIMIT_BURST; relay(&lcores[1]); relayed += LIMIT_BURST)
		;
	relayed -= (unsigned)lcores[1].worker->drops.count[DP_DROP_WORKER_FULL];
	assert_int_equal(relayed, LIMIT_RELAY_RING);
	assert_int_equal(rte_ring_count(dp->in_ring[0]), 0);
	struct rte_mbuf *of_host = frame_to_send();
	assert_int_equal(rte_ring_enqueue(dp->in_ring[0], of_host), 0);
	run_until_sent(&lcores[0], relayed + 1);
	assert_ptr_equal(sent.mbufs[0], of_host);

	rte_pktmbuf_free_bulk(sent.mbufs, sent.n);
	for (unsigned i = 0; i < WORKERS; i++)
		lcore_destroy(&lcores[i]);
	dp_destroy(dp);
	assert_true(rte_mempool_full(pool));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(relayed_frames_leave_room_for_others)};

	pool = frames_set_up("lcore", 8191);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
