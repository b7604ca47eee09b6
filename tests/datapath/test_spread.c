/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spreading: AEAD jobs of one worker done by others, late and in any order. What leaves, leaves in
 * the order it came, whatever else happens meanwhile.
 *
 * Every good packet carries its flow and its number within it. The rig's worker is the owner.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <rte_pause.h>
#include <rte_ring.h>

#include "base/bytes.h"
#include "datapath/burst.h"
#include "datapath/spread.h"

#define HELPERS 2
#define STEPS	400
/* Threads that get a CPU at all do so many jobs, in far less time. */
#define HELPED_ENOUGH 20
#define HELP_SECONDS  30
#define TAG	      40 /* where flow and number stand */

enum flow {
	OUT_1, /* from the inner port to peer 1, and so on */
	OUT_2,
	OUT_3,
	IN_1, /* from peer 1 to the inner port */
	IN_2,
	IN_3,
	ACROSS, /* from peer 1 to peer 2 */
	FLOWS
};

static struct dp_worker *helpers[HELPERS];
static unsigned made[FLOWS], seen[FLOWS];
static uint64_t last_counter[RIG_PEERS];
static unsigned forged, replayed;

static uint16_t send_nothing(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n)
{
	(void)arg;
	(void)port;
	(void)mbufs;
	(void)n;
	return 0; /* helpers send nothing: it would be counted as a drop and lost */
}

static int setup(void **state)
{
	if (rig_setup(state) != 0)
		return -1;
	for (unsigned i = 0; i < HELPERS; i++) {
		struct dp_worker_config config = {.id = 1 + i, .send = send_nothing};
		if (dp_worker_create(rig.dp, &config, &helpers[i]) != 0)
			return -1;
		helpers[i]->now_ns = RIG_NOW_NS;
	}
	memset(made, 0, sizeof(made));
	memset(seen, 0, sizeof(seen));
	memset(last_counter, 0xff, sizeof(last_counter));
	forged = replayed = 0;
	dp_worker_online(rig.worker);
	dp_spread_set(rig.worker, true);
	return 0;
}

static int teardown(void **state)
{
	dp_worker_offline(rig.worker);
	for (unsigned i = 0; i < HELPERS; i++)
		dp_worker_destroy(helpers[i]);
	return rig_teardown(state);
}

/* Jobs begun and not ended. */
static unsigned outstanding(void)
{
	return rig.worker->spread->tail - rig.worker->spread->head;
}

/* ---- packets of flows ---- */

static unsigned port_of(enum flow flow)
{
	return flow <= OUT_3 ? 1 : 0;
}

static struct far *sender_of(enum flow flow)
{
	return &rig.far[flow == ACROSS ? 1 : 1 + flow - IN_1];
}

static struct rte_mbuf *make(enum flow flow)
{
	char there[16], here[] = "192.168.0.1";
	struct packet p, frame;
	unsigned len = 300 + (unsigned)(rig_random() % 300);
	bool out = flow <= OUT_3;
	snprintf(there, sizeof(there), "10.%u.0.9", out ? 1 + flow : sender_of(flow)->id);
	inner_build(&p, 4, out ? here : there,
		flow == ACROSS ? "10.2.0.9"
		: out	       ? there
			       : here,
		len);
	store_be32(p.bytes + TAG, flow);
	store_be32(p.bytes + TAG + 4, made[flow]++);
	if (out) {
		ether_wrap(&p, 1);
		return mbuf_from(&p);
	}
	far_seal(sender_of(flow), 0, p.bytes, p.len, 0, &frame);
	return mbuf_from(&frame);
}

/* A message that must not get through: forged, or one that came before. */
static struct rte_mbuf *make_bad(void)
{
	struct far *far = &rig.far[1 + rig_random() % 3];
	struct packet p, frame;
	inner_build(&p, 4, "10.1.0.9", "192.168.0.1", 60);
	store_be32(p.bytes + TAG, FLOWS);
	if (rig_random() % 2 == 0 && far->counter > 0) {
		uint64_t counter = far->counter;
		far->counter = rig_random() % counter;
		far_seal(far, 0, p.bytes, p.len, 0, &frame);
		far->counter = counter;
		replayed++;
	} else {
		far_seal(far, 0, p.bytes, p.len, 0, &frame);
		far->counter--;
		frame.bytes[frame.len - 1 - rig_random() % 60] ^= 0x10;
		forged++;
	}
	return mbuf_from(&frame);
}

/* A burst of n packets as the owner receives it; about one in `bad` is bad, if inbound; 0: none. */
static void receive(unsigned port, unsigned n, unsigned bad)
{
	struct rte_mbuf *mbufs[LIMIT_BURST];
	enum flow flow = port == 1 ? OUT_1 : IN_1;
	for (unsigned i = 0; i < n; i++) {
		/* In runs, as packets come. */
		if (rig_random() % 4 == 0)
			flow = port == 1 ? rig_random() % IN_1
					 : IN_1 + rig_random() % (FLOWS - IN_1);
		mbufs[i] =
			bad != 0 && port == 0 && rig_random() % bad == 0 ? make_bad() : make(flow);
	}
	dp_receive(rig.worker, port, mbufs, n);
}

/* ---- what leaves ---- */

static void check_tag(const uint8_t *ip)
{
	unsigned flow = load_be32(ip + TAG);
	assert_true(flow < FLOWS);
	assert_int_equal(load_be32(ip + TAG + 4), seen[flow]);
	seen[flow]++;
}

static void check_sealed(const struct packet *frame)
{
	struct packet text;
	unsigned id = load_be16(frame->bytes + 12) != 0x0800  ? 2
		      : load_be16(frame->bytes + 34) == 51821 ? 3
							      : 1;
	uint64_t counter = far_open(&rig.far[id], frame, RIG_MTU, &text);
	assert_int_equal(counter, last_counter[id] + 1);
	last_counter[id] = counter;
	check_tag(text.bytes);
}

static void check_sinks(void)
{
	struct packet p;
	for (unsigned port = 0; port < 2; port++) {
		struct sink *sink = &rig.sinks[port];
		for (unsigned i = 0; i < sink->n; i++) {
			packet_from(&p, sink->mbufs[i]);
			if (port == 0)
				check_sealed(&p);
			else
				check_tag(p.bytes + 14);
		}
		sink->n = 0;
	}
}

static void owner_turn(void)
{
	dp_worker_flush(rig.worker);
	dp_worker_quiescent(rig.worker);
	check_sinks();
}

static void assert_all_came(void)
{
	assert_int_equal(outstanding(), 0);
	for (unsigned flow = 0; flow < FLOWS; flow++)
		assert_int_equal(seen[flow], made[flow]);
	assert_dropped(DP_DROP_FORGED, forged);
	assert_dropped(DP_DROP_REPLAYED, replayed);
}

/* Until nothing is outstanding; helpers work on what they took before. */
static void owner_finish(void)
{
	dp_spread_set(rig.worker, false);
	while (outstanding() > 0) {
		while (dp_spread_help(rig.worker) > 0)
			continue;
		owner_turn();
		sched_yield();
	}
	owner_turn();
	assert_false(rig.worker->spreading);
}

/* The helpers want jobs, and find none yet. */
static void join(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(dp_spread_help(helpers[i]), 0);
}

static struct dp_spread_account *account_of(enum dp_job_kind kind)
{
	return &rig.worker->spread->accounts[kind];
}

/* Spreads whether it pays or not. */
static void never_judge(void)
{
	account_of(DP_JOB_OPEN)->jobs = account_of(DP_JOB_SEAL)->jobs = 0;
}

/* ---- the tests ---- */

/* One thread, so that it can be repeated: what each of them does next is drawn by lot. */
static void jobs_end_in_order_whenever_they_are_done(void **state)
{
	struct dp_job *held[HELPERS] = {NULL};
	unsigned longest = 0;
	(void)state;
	join(HELPERS);
	for (unsigned step = 0; step < 4000; step++) {
		unsigned i = (unsigned)(rig_random() % HELPERS);
		unsigned what = (unsigned)(rig_random() % 8);
		never_judge();
		/* The owner would wait for what is held here. */
		if (outstanding() >= LIMIT_JOBS - 2)
			what = 7;
		if (what < 2)
			receive(what, 1 + (unsigned)(rig_random() % LIMIT_BURST), 9);
		else if (what < 4)
			owner_turn();
		else if (what < 6 && held[i] == NULL)
			held[i] = dp_spread_take(rig.dp);
		else if (held[i] != NULL) {
			dp_spread_work(helpers[i], held[i]);
			held[i] = NULL;
			if (what == 7)
				owner_turn();
		}
		longest = RTE_MAX(longest, outstanding());
	}
	for (unsigned i = 0; i < HELPERS; i++)
		if (held[i] != NULL)
			dp_spread_work(helpers[i], held[i]);
	owner_finish();
	assert_all_came();
	assert_true(forged > 0 && replayed > 0 && longest > 3);
}

static _Atomic bool stop;
static _Atomic unsigned helped; /* jobs that threads did: relaxed, as it orders nothing */

static void *help(void *arg)
{
	struct dp_worker *worker = arg;
	uint64_t state = 77 + worker->id;
	while (!stop) {
		struct dp_job *job;
		if (!worker->spread->helping)
			dp_spread_help(worker);
		job = dp_spread_take(rig.dp);
		if (job == NULL) {
			sched_yield();
			continue;
		}
		state = state * 6364136223846793005u + 1442695040888963407u;
		for (unsigned i = 0; i < state >> 50; i++)
			rte_pause();
		if (state >> 32 & 1)
			sched_yield();
		dp_spread_work(worker, job);
		atomic_fetch_add_explicit(&helped, 1, memory_order_relaxed);
	}
	dp_spread_leave(worker);
	return NULL;
}

static unsigned jobs_helped(void)
{
	return atomic_load_explicit(&helped, memory_order_relaxed);
}

static time_t seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* The owner leaves what is outstanding to the helpers until they have done some of it. */
static void wait_for_help(time_t until)
{
	unsigned before = jobs_helped();
	while (outstanding() > 0 && jobs_helped() == before && seconds() < until)
		sched_yield();
}

static void jobs_end_in_order_with_helpers_on_threads(void **state)
{
	pthread_t threads[HELPERS];
	time_t until = seconds() + HELP_SECONDS;
	(void)state;
	stop = false;
	helped = 0;
	join(HELPERS);
	for (unsigned i = 0; i < HELPERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, help, helpers[i]), 0);
	for (unsigned step = 0;
		step < STEPS || (jobs_helped() < HELPED_ENOUGH && seconds() < until); step++) {
		receive(rig_random() % 2, 1 + (unsigned)(rig_random() % 32), 9);
		owner_turn();
		never_judge();
		if (step % 4 == 0)
			wait_for_help(until);
		if (step % 50 == 49)
			dp_spread_set(rig.worker, step % 100 == 99);
	}
	owner_finish();
	stop = true;
	for (unsigned i = 0; i < HELPERS; i++)
		pthread_join(threads[i], NULL);
	print_message("helpers did %u jobs\n", jobs_helped());
	assert_true(jobs_helped() >= HELPED_ENOUGH);
	assert_all_came();
}

static void without_helpers_nothing_waits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		receive(i % 2, 1 + i, 5);
		assert_int_equal(outstanding(), 0);
		owner_turn();
	}
	assert_all_came();
}

/* The helpers joined and do nothing: the owner takes its own jobs back when it has too many. */
static void a_helper_that_never_comes_holds_up_nothing(void **state)
{
	(void)state;
	join(1);
	for (unsigned i = 0; i < 5 * LIMIT_JOBS; i++) {
		never_judge();
		receive(i % 2, 20, 5);
		assert_true(outstanding() < LIMIT_JOBS);
		owner_turn();
	}
	assert_true(outstanding() > 0);
	/* When it leaves, what it left is done in the same turn. */
	dp_spread_leave(helpers[0]);
	owner_turn();
	assert_all_came();
}

static void a_full_job_ring(void **state)
{
	(void)state;
	atomic_store(&rig.dp->spread_helpers, 1000);
	ring_fill(rig.dp->job_ring);
	receive(1, 64, 0);
	receive(0, 64, 5);
	assert_int_equal(outstanding(), 0);
	ring_empty(rig.dp->job_ring);
	atomic_store(&rig.dp->spread_helpers, 0);
	owner_turn();
	assert_all_came();
}

/* A worker is put aside as it takes a job of another's: nobody waits for it who does not own that.
 */
static void a_worker_put_aside_while_it_takes_a_job(void **state)
{
	(void)state;
	atomic_store(&rig.dp->spread_helpers, 1000);
	assert_int_equal(rte_ring_enqueue(rig.dp->job_ring, rig.dp), 0);
	assert_ptr_equal(ring_stall_consumer(rig.dp->job_ring), rig.dp);
	for (unsigned i = 0; i < 4 * LIMIT_WORKERS; i++) {
		never_judge();
		receive(i % 2, 20, 5);
		owner_turn();
	}
	ring_resume_consumer(rig.dp->job_ring);
	atomic_store(&rig.dp->spread_helpers, 0);
	owner_turn();
	assert_all_came();
}

static void small_bursts_stay_at_home(void **state)
{
	(void)state;
	join(1);
	receive(1, 2, 0);
	assert_int_equal(outstanding(), 0);
	owner_turn();
	assert_all_came();
	receive(1, LIMIT_BURST, 0);
	assert_int_equal(outstanding(), 1);
	assert_int_equal(dp_spread_help(helpers[0]), LIMIT_BURST);
	owner_turn();
	assert_all_came();
}

/* The owner does what no helper took. */
static void drain(void)
{
	owner_turn();
	while (outstanding() > 0) {
		dp_spread_help(rig.worker);
		owner_turn();
	}
}

/* A burst after all before have ended: whether it became a job. */
static bool becomes_a_job(unsigned port)
{
	drain();
	unsigned tail = rig.worker->spread->tail;
	receive(port, 32, 0);
	return rig.worker->spread->tail != tail;
}

/* The helper joined and does nothing: the owner is left with the trouble. */
static void what_does_not_pay_rests_for_a_while(void **state)
{
	struct dp_spread_account *account = account_of(DP_JOB_SEAL);
	(void)state;
	join(1);
	unsigned jobs = 0;
	while (jobs < 200 && becomes_a_job(1))
		jobs++;
	assert_in_range(jobs, 16, 100);
	assert_true(account->rest > 100);
	account->rest = 20;
	for (unsigned i = 0; i < 19; i++)
		assert_false(becomes_a_job(1));
	assert_true(becomes_a_job(1));
	/* Opened packets have an account of their own. */
	account->rest = 20;
	assert_true(becomes_a_job(0));
	/* Nor does it last when packets become larger. */
	account->rest = 20;
	account->rest_units = 1000;
	assert_false(becomes_a_job(1));
	account->rest_units = 100;
	assert_true(becomes_a_job(1));
	owner_finish();
	assert_all_came();
}

static void what_pays_goes_on(void **state)
{
	(void)state;
	join(1);
	/* Far more than anything else can take. */
	rig.worker->spread->rate = 1u << 30;
	for (unsigned i = 0; i < 200; i++) {
		receive(1, 32, 0);
		assert_int_equal(outstanding(), 1);
		assert_int_equal(dp_spread_help(helpers[0]), 32);
		owner_turn();
		assert_int_equal(outstanding(), 0);
	}
	assert_true(rig.worker->spread->rate == 1u << 30);
	assert_all_came();
}

static void packets_whose_work_is_little_stay_at_home(void **state)
{
	(void)state;
	join(1);
	for (unsigned port = 0; port < 2; port++) {
		drain();
		/* Some 67 cycles a packet: as a burst it would be enough. Nothing is learnt now. */
		rig.worker->spread->direct_units = 0;
		rig.worker->spread->rate = 122;
		assert_false(becomes_a_job(port));
		rig.worker->spread->rate = 1u << 30;
		assert_true(becomes_a_job(port));
	}
	owner_finish();
	assert_all_came();
}

/* By direct work and by jobs of its own, from below and from above. */
static void the_owner_learns_what_its_work_takes(void **state)
{
	uint32_t *rate = &rig.worker->spread->rate;
	(void)state;
	*rate = 1;
	for (unsigned i = 0; i < 100; i++)
		assert_false(becomes_a_job(i % 2));
	assert_true(*rate > 20);
	*rate = 1u << 31;
	for (unsigned i = 0; i < 100; i++)
		assert_false(becomes_a_job(i % 2));
	assert_true(*rate < 1u << 28);
	join(1);
	*rate = 1u << 31;
	for (unsigned i = 0; i < 100; i++) {
		never_judge();
		assert_true(becomes_a_job(i % 2));
	}
	assert_true(*rate < 1u << 28);
	owner_finish();
	assert_all_came();
}

/* ---- what ends while a job is under way ---- */

static void spoil_session(void *arg, void *object)
{
	*(bool *)arg = true;
	memset(object, 0xee, sizeof(struct wg_session));
}

/* A burst of flow is with a helper; returns the job. */
static struct dp_job *under_way(enum flow flow, unsigned n)
{
	struct rte_mbuf *mbufs[LIMIT_BURST];
	struct dp_job *job;
	join(1);
	for (unsigned i = 0; i < n; i++)
		mbufs[i] = make(flow);
	dp_receive(rig.worker, port_of(flow), mbufs, n);
	job = dp_spread_take(rig.dp);
	assert_non_null(job);
	return job;
}

/* No grace period waits for a job: the session's memory is another's before it is done. */
static void retire_session_of_peer_1(void)
{
	bool released = false;
	dp_peer_set_session(rig.dp, 1, NULL);
	assert_int_equal(
		dp_retire_session(rig.dp, &rig.far[1].session, spoil_session, &released), 0);
	owner_turn();
	dp_reclaim_poll(rig.dp->reclaim, 10);
	assert_true(released);
}

static void session_ends_while_opening(void **state)
{
	struct dp_job *job = under_way(IN_1, 30);
	struct wg_activity before = *rig.far[1].activity;
	(void)state;
	retire_session_of_peer_1();
	dp_spread_work(helpers[0], job);
	assert_int_equal(job->opened, (1u << 30) - 1);
	owner_turn();
	assert_dropped(DP_DROP_SESSION_GONE, 30);
	assert_memory_equal(&before, rig.far[1].activity, sizeof(before));
}

/* Even if another session gets its index, of another peer. */
static void index_changes_hands_while_opening(void **state)
{
	struct dp_job *job = under_way(IN_1, 30);
	struct wg_session *other = &rig.far[2].session;
	struct wg_activity before = *rig.far[2].activity;
	uint32_t index = rig.far[1].session.local_index;
	(void)state;
	retire_session_of_peer_1();
	other->local_index = index;
	dp_publish_session(rig.dp, other);
	dp_spread_work(helpers[0], job);
	owner_turn();
	assert_dropped(DP_DROP_SESSION_GONE, 30);
	assert_memory_equal(&before, rig.far[2].activity, sizeof(before));
	assert_int_equal(other->replay.next, 0);
}

static void keep(void *arg, void *object)
{
	(void)arg;
	(void)object;
}

static void peer_ends_while_opening(void **state)
{
	struct dp_job *job = under_way(IN_1, 30);
	(void)state;
	assert_int_equal(dp_remove_peer(rig.dp, 1, keep, NULL), 0);
	owner_turn();
	dp_reclaim_poll(rig.dp->reclaim, 10);
	dp_spread_work(helpers[0], job);
	owner_turn();
	assert_dropped(DP_DROP_UNKNOWN_INDEX, 30);
}

/* What was numbered is sent, with the keys and the headers it began with. */
static void session_and_endpoint_end_while_sealing(void **state)
{
	struct wg_session before = rig.far[1].session;
	struct dp_job *job = under_way(OUT_1, 30);
	(void)state;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, NULL), 0);
	retire_session_of_peer_1();
	dp_spread_work(helpers[0], job);
	memcpy(&rig.far[1].session, &before, sizeof(before));
	owner_turn();
	assert_all_came();
}

static void peer_ends_while_sealing_for_the_kernel(void **state)
{
	struct dp_outer outer = *atomic_load(&dp_find_peer(rig.dp, 1)->outer);
	struct packet frame, text;
	struct dp_mbuf info;
	struct dp_job *job;
	(void)state;
	outer.via_kernel = true;
	assert_int_equal(dp_peer_set_outer(rig.dp, 1, &outer), 0);
	job = under_way(OUT_1, 30);
	assert_int_equal(dp_remove_peer(rig.dp, 1, keep, NULL), 0);
	owner_turn();
	dp_reclaim_poll(rig.dp->reclaim, 10);
	dp_spread_work(helpers[0], job);
	owner_turn();
	for (unsigned i = 0; i < 30; i++) {
		ring_take(tun(0), &frame, &info);
		assert_int_equal(info.kind, DP_HOST_SOCKET);
		assert_int_equal(info.interface, 0);
		assert_int_equal(info.peer_id, 1);
		assert_int_equal(info.header_len, 42);
		outer_omit_udp_checksum(frame.bytes);
		assert_int_equal(far_open(&rig.far[1], &frame, RIG_MTU, &text), i);
		check_tag(text.bytes);
	}
	assert_all_came();
}

/* Keys do not outlive their job. */
static void keys_are_wiped(void **state)
{
	static const uint8_t zero[LIMIT_BURST][WG_KEY_BYTES];
	struct dp_job *job = under_way(IN_1, 30);
	(void)state;
	assert_memory_equal(job->keys[0], rig.far[1].session.receive_key, WG_KEY_BYTES);
	dp_spread_work(helpers[0], job);
	owner_turn();
	assert_memory_equal(job->keys, zero, sizeof(zero));
	assert_all_came();
}

/* The end of the program: the tear-down finds every packet, taken by a helper or waiting. */
static void the_end_with_jobs_under_way(void **state)
{
	(void)state;
	under_way(IN_1, 30);
	receive(1, 64, 0);
	receive(0, 64, 3);
	receive(1, 64, 0);
	assert_int_equal(outstanding(), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(jobs_end_in_order_whenever_they_are_done),
		TEST(jobs_end_in_order_with_helpers_on_threads),
		TEST(without_helpers_nothing_waits),
		TEST(a_helper_that_never_comes_holds_up_nothing),
		TEST(a_full_job_ring),
		TEST(a_worker_put_aside_while_it_takes_a_job),
		TEST(small_bursts_stay_at_home),
		TEST(what_does_not_pay_rests_for_a_while),
		TEST(what_pays_goes_on),
		TEST(packets_whose_work_is_little_stay_at_home),
		TEST(the_owner_learns_what_its_work_takes),
		TEST(session_ends_while_opening),
		TEST(index_changes_hands_while_opening),
		TEST(peer_ends_while_opening),
		TEST(session_and_endpoint_end_while_sealing),
		TEST(peer_ends_while_sealing_for_the_kernel),
		TEST(keys_are_wiped),
		TEST(the_end_with_jobs_under_way),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
