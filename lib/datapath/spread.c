/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/spread.h"

#include <assert.h>
#include <errno.h>

#include <rte_branch_prediction.h>
#include <rte_cycles.h>
#include <rte_pause.h>
#include <rte_ring.h>

#include "base/secret_mem.h"
#include "crypto/wipe.h"
#include "datapath/burst.h"

/*
 * AEAD work is counted in units: bytes, and what a packet takes besides as so many bytes. Packets
 * of all sizes then take about as many cycles a unit, with each of our kernels, in bursts that fill
 * them.
 */
#define PACKET_UNITS 96
#define FULL_PACKETS 16

/* The rate before anything was learnt: between that of the fastest kernel and the next. */
#define RATE_ONE   1024
#define RATE_FIRST RATE_ONE

/*
 * What may be worth another core's while, in cycles of AEAD: a packet must be taken over and, when
 * opened, its headers be fetched back; a job is the least of a ring's and its own lines. Below this
 * it never pays; above, the account tells.
 */
#define WORTH_A_JOB_PACKETS	      8
#define WORTH_A_JOB_CYCLES	      2000
#define WORTH_A_SEALED_PACKET_CYCLES  80
#define WORTH_AN_OPENED_PACKET_CYCLES 120

/*
 * The account is judged each so many jobs: what was saved must be twice what was spent, since some
 * of that shows elsewhere (the lines that the other core wrote, when their buffers are used again).
 * If not, so many bursts are done without jobs: trying then costs a thirtieth of what it loses.
 */
#define JUDGED_JOBS 32
#define REST_BURSTS 1024
/* A CPU that was taken away counts as this at most, in cycles a packet. */
#define STALL_CYCLES 512

static_assert((LIMIT_JOBS & (LIMIT_JOBS - 1)) == 0, "a position is a mask away from its job");

int dp_spread_create(struct dp_worker *worker)
{
	if (worker->dp->workers == 1)
		return 0;
	/* Jobs hold keys. */
	worker->spread = secret_alloc(sizeof(*worker->spread));
	if (worker->spread == NULL)
		return -ENOMEM;
	worker->spread->rate = RATE_FIRST;
	return 0;
}

static struct dp_job *job_at(struct dp_spread *spread, unsigned position)
{
	return &spread->jobs[position & (LIMIT_JOBS - 1)];
}

static void wipe_keys(struct dp_job *job)
{
	wipe(job->keys, job->keys_n * sizeof(job->keys[0]));
	job->keys_n = 0;
}

void dp_spread_destroy(struct dp_worker *worker)
{
	struct dp_spread *spread = worker->spread;
	if (spread == NULL)
		return;
	dp_spread_leave(worker);
	dp_spread_set(worker, false);
	for (; spread->head != spread->tail; spread->head++) {
		struct dp_job *job = job_at(spread, spread->head);
		rte_pktmbuf_free_bulk(job->mbufs, job->n);
		wipe_keys(job);
	}
	secret_free(spread);
	worker->spread = NULL;
}

/* ---- what the loops tell ---- */

static void update_spreading(struct dp_worker *worker)
{
	const struct dp_spread *spread = worker->spread;
	worker->spreading = spread->on || spread->head != spread->tail;
}

void dp_spread_set(struct dp_worker *worker, bool on)
{
	struct dp_spread *spread = worker->spread;
	if (likely(spread == NULL || spread->on == on))
		return;
	spread->on = on;
	spread->direct_units = 0; /* what the AEAD did since, nobody counted */
	dp_spread_leave(worker);
	if (on)
		atomic_fetch_add_explicit(&worker->dp->spread_wanted, 1, memory_order_relaxed);
	else
		atomic_fetch_sub_explicit(&worker->dp->spread_wanted, 1, memory_order_relaxed);
	update_spreading(worker);
}

bool dp_spread_wanted(const struct dp *dp)
{
	return atomic_load_explicit(&dp->spread_wanted, memory_order_relaxed) != 0;
}

static unsigned helpers(const struct dp *dp)
{
	return atomic_load_explicit(&dp->spread_helpers, memory_order_relaxed);
}

void dp_spread_leave(struct dp_worker *worker)
{
	struct dp_spread *spread = worker->spread;
	if (likely(spread == NULL || !spread->helping))
		return;
	spread->helping = false;
	atomic_fetch_sub_explicit(&worker->dp->spread_helpers, 1, memory_order_relaxed);
}

/* ---- what the AEAD takes, and what jobs gain ---- */

static unsigned units_of(const struct aead_op *ops, unsigned n)
{
	unsigned units = n * PACKET_UNITS;
	for (unsigned i = 0; i < n; i++)
		units += ops[i].len;
	return units;
}

static uint64_t cycles_of(const struct dp_spread *spread, unsigned units)
{
	return (uint64_t)units * spread->rate / RATE_ONE;
}

/* A mean of the last ones, each of which counts twice the mean at most. */
static void learn(struct dp_spread *spread, uint64_t cycles, unsigned units)
{
	uint64_t rate = cycles * RATE_ONE / units, most = 2 * (uint64_t)spread->rate;
	rate = rate < most ? rate : most;
	spread->rate = (uint32_t)((7 * (uint64_t)spread->rate + rate) / 8 + 1);
}

/* Learns from the AEAD work that was done outside of jobs. */
static void learn_direct(struct dp_worker *worker)
{
	struct dp_spread *spread = worker->spread;
	if (spread->direct_units != 0)
		learn(spread, worker->counters.aead_cycles - spread->direct_from,
			spread->direct_units);
	spread->direct_units = 0;
}

static struct dp_spread_account *account_of(struct dp_spread *spread, uint8_t kind)
{
	return &spread->accounts[kind];
}

void dp_spread_spend(struct dp_worker *worker, const struct dp_job *job, uint64_t cycles)
{
	uint64_t most = (uint64_t)job->n * STALL_CYCLES;
	account_of(worker->spread, job->kind)->spent += cycles < most ? cycles : most;
}

static void judge(struct dp_spread *spread, const struct dp_job *job)
{
	struct dp_spread_account *account = account_of(spread, job->kind);
	if (job->helped)
		account->saved += cycles_of(spread, job->units);
	account->packets += job->n;
	account->units += job->units;
	if (++account->jobs < JUDGED_JOBS)
		return;
	bool pays = account->saved >= 2 * account->spent;
	*account = (struct dp_spread_account){
		.rest = pays ? 0 : REST_BURSTS,
		.rest_units = account->units / account->packets,
	};
}

/* ---- helping ---- */

struct dp_job *dp_spread_take(struct dp *dp)
{
	void *taken;
	if (rte_ring_dequeue(dp->job_ring, &taken) != 0)
		return NULL;
	struct dp_job *job = taken;
	/* Pairs with fill(): the ring's own order is not one that the C language knows. */
	bool done = atomic_load_explicit(&job->done, memory_order_acquire);
	assert(!done);
	(void)done;
	return job;
}

static bool is_own(const struct dp_spread *spread, const struct dp_job *job)
{
	return job >= spread->jobs && job < spread->jobs + LIMIT_JOBS;
}

void dp_spread_work(struct dp_worker *worker, struct dp_job *job)
{
	learn_direct(worker);
	uint64_t begin = rte_rdtsc();
	if (job->kind == DP_JOB_OPEN)
		job->opened = aead_batch_open(worker->aead, job->ops, job->n);
	else
		aead_batch_seal(worker->aead, job->ops, job->n);
	uint64_t cycles = rte_rdtsc() - begin;
	worker->counters.aead_cycles += cycles;
	job->helped = !is_own(worker->spread, job);
	if (!job->helped && job->n >= FULL_PACKETS)
		learn(worker->spread, cycles, job->units);
	dp_stage_end(worker, job->kind == DP_JOB_OPEN ? DP_STAGE_OPEN : DP_STAGE_SEAL, job->n);
	atomic_store_explicit(&job->done, true, memory_order_release);
}

unsigned dp_spread_help(struct dp_worker *worker)
{
	struct dp_spread *spread = worker->spread;
	if (likely(spread == NULL || (!dp_spread_wanted(worker->dp) && !worker->spreading)))
		return 0;
	if (!spread->helping && !worker->spreading) {
		spread->helping = true;
		atomic_fetch_add_explicit(&worker->dp->spread_helpers, 1, memory_order_relaxed);
	}
	struct dp_job *job = dp_spread_take(worker->dp);
	if (job == NULL)
		return 0;
	unsigned n = job->n; /* once it is done the job may become another */
	dp_stages_begin(worker);
	dp_spread_work(worker, job);
	if (!is_own(spread, job))
		worker->counters.helped_packets += n;
	return n;
}

/* ---- the owner's side: begin, and end in order ---- */

/* Copies what the job needs of the world. */
static void fill(struct dp_job *job, enum dp_job_kind kind, struct rte_mbuf **mbufs,
	const struct aead_op *ops, unsigned n)
{
	job->kind = (uint8_t)kind;
	job->n = (uint8_t)n;
	job->units = units_of(ops, n);
	memcpy(job->mbufs, mbufs, n * sizeof(mbufs[0]));
	memcpy(job->ops, ops, n * sizeof(ops[0]));
	for (unsigned i = 0; i < n; i++) {
		if (i == 0 || ops[i].key != ops[i - 1].key)
			memcpy(job->keys[job->keys_n++], ops[i].key, WG_KEY_BYTES);
		job->ops[i].key = job->keys[job->keys_n - 1];
	}
	atomic_store_explicit(&job->done, false, memory_order_release);
}

static bool is_worth_it(
	const struct dp_spread *spread, enum dp_job_kind kind, unsigned units, unsigned n)
{
	unsigned each =
		kind == DP_JOB_OPEN ? WORTH_AN_OPENED_PACKET_CYCLES : WORTH_A_SEALED_PACKET_CYCLES;
	uint64_t cycles = cycles_of(spread, units);
	return n >= WORTH_A_JOB_PACKETS && cycles >= WORTH_A_JOB_CYCLES &&
	       cycles >= (uint64_t)n * each;
}

/* Whether this burst is one of those that are not spread; packets half as large again are. */
static bool rests(struct dp_spread_account *account, unsigned units, unsigned n)
{
	if (likely(account->rest == 0))
		return false;
	account->rest--;
	if (2 * units > 3 * account->rest_units * n)
		account->rest = 0;
	return account->rest != 0;
}

bool dp_spread_suits(
	struct dp_worker *worker, enum dp_job_kind kind, const struct aead_op *ops, unsigned n)
{
	struct dp_spread *spread = worker->spread;
	if (n == 0)
		return false;
	if (spread->head != spread->tail)
		return true;
	learn_direct(worker);
	unsigned units = units_of(ops, n);
	if (!rests(account_of(spread, (uint8_t)kind), units, n) && spread->on &&
		helpers(worker->dp) > 0 && is_worth_it(spread, kind, units, n))
		return true;
	spread->direct_units = n >= FULL_PACKETS ? units : 0;
	spread->direct_from = worker->counters.aead_cycles;
	return false;
}

/* True when some helper will take it: each has at most one job waiting for it. */
static bool hand_over(struct dp_worker *worker, struct dp_job *job)
{
	struct dp *dp = worker->dp;
	struct dp_spread *spread = worker->spread;
	return spread->on && account_of(spread, job->kind)->rest == 0 &&
	       rte_ring_count(dp->job_ring) < helpers(dp) &&
	       is_worth_it(spread, (enum dp_job_kind)job->kind, job->units, job->n) &&
	       rte_ring_enqueue(dp->job_ring, job) == 0;
}

void dp_spread_make_room(struct dp_worker *worker)
{
	struct dp_spread *spread = worker->spread;
	/* The last place is for what a job that ends begins: one other at most (peer to peer). */
	assert(!spread->ending || spread->tail - spread->head < LIMIT_JOBS);
	while (unlikely(!spread->ending && spread->tail - spread->head == LIMIT_JOBS - 1)) {
		struct dp_job *job = dp_spread_take(worker->dp);
		if (job != NULL)
			dp_spread_work(worker, job);
		else
			rte_pause();
		dp_spread_end(worker);
	}
}

void dp_spread_begin(struct dp_worker *worker, enum dp_job_kind kind, struct rte_mbuf **mbufs,
	const struct aead_op *ops, unsigned n)
{
	struct dp_spread *spread = worker->spread;
	dp_spread_make_room(worker);
	uint64_t begin = rte_rdtsc();
	struct dp_job *job = job_at(spread, spread->tail++);
	worker->spreading = true;
	fill(job, kind, mbufs, ops, n);
	bool handed_over = hand_over(worker, job);
	dp_spread_spend(worker, job, rte_rdtsc() - begin);
	dp_stage_end(worker, DP_STAGE_SPREAD, n);
	if (!handed_over)
		dp_spread_work(worker, job);
	dp_spread_end(worker);
}

static void end_done(struct dp_worker *worker)
{
	struct dp_spread *spread = worker->spread;
	while (spread->head != spread->tail) {
		struct dp_job *job = job_at(spread, spread->head);
		if (!atomic_load_explicit(&job->done, memory_order_acquire))
			return;
		if (job->kind == DP_JOB_OPEN)
			dp_inbound_opened(worker, job);
		else
			dp_outbound_sealed(worker, job);
		wipe_keys(job);
		judge(spread, job);
		spread->head++;
	}
}

void dp_spread_end(struct dp_worker *worker)
{
	struct dp_spread *spread = worker->spread;
	struct dp_job *job;
	if (spread->ending)
		return;
	spread->ending = true;
	end_done(worker);
	/* The helpers became busy, or went: what they left behind is the owner's. */
	while (spread->head != spread->tail && helpers(worker->dp) == 0 &&
		(job = dp_spread_take(worker->dp)) != NULL) {
		dp_spread_work(worker, job);
		end_done(worker);
	}
	spread->ending = false;
	update_spreading(worker);
}
