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
 * What is worth another core's while: a packet's way there and back costs as much as the AEAD of
 * some hundred bytes (more of an opened packet, whose inner header its owner reads), a job's as
 * much as some thousand.
 */
#define WORTH_A_JOB_BYTES	     4096
#define WORTH_A_SEALED_PACKET_BYTES  192
#define WORTH_AN_OPENED_PACKET_BYTES 384

static_assert((LIMIT_JOBS & (LIMIT_JOBS - 1)) == 0, "a position is a mask away from its job");

int dp_spread_create(struct dp_worker *worker)
{
	if (worker->dp->workers == 1)
		return 0;
	/* Jobs hold keys. */
	worker->spread = secret_alloc(sizeof(*worker->spread));
	return worker->spread == NULL ? -ENOMEM : 0;
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

void dp_spread_work(struct dp_worker *worker, struct dp_job *job)
{
	uint64_t begin = rte_rdtsc();
	if (job->kind == DP_JOB_OPEN)
		job->opened = aead_batch_open(worker->aead, job->ops, job->n);
	else
		aead_batch_seal(worker->aead, job->ops, job->n);
	worker->counters.aead_cycles += rte_rdtsc() - begin;
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
	if (job < spread->jobs || job >= spread->jobs + LIMIT_JOBS)
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
	memcpy(job->mbufs, mbufs, n * sizeof(mbufs[0]));
	memcpy(job->ops, ops, n * sizeof(ops[0]));
	for (unsigned i = 0; i < n; i++) {
		if (i == 0 || ops[i].key != ops[i - 1].key)
			memcpy(job->keys[job->keys_n++], ops[i].key, WG_KEY_BYTES);
		job->ops[i].key = job->keys[job->keys_n - 1];
	}
	atomic_store_explicit(&job->done, false, memory_order_release);
}

static bool is_worth_it(enum dp_job_kind kind, const struct aead_op *ops, unsigned n)
{
	unsigned each =
		kind == DP_JOB_OPEN ? WORTH_AN_OPENED_PACKET_BYTES : WORTH_A_SEALED_PACKET_BYTES;
	unsigned bytes = 0;
	for (unsigned i = 0; i < n; i++)
		bytes += ops[i].len;
	return bytes >= WORTH_A_JOB_BYTES && bytes >= n * each;
}

bool dp_spread_suits(const struct dp_worker *worker, enum dp_job_kind kind,
	const struct aead_op *ops, unsigned n)
{
	const struct dp_spread *spread = worker->spread;
	return n > 0 && (spread->head != spread->tail || (spread->on && helpers(worker->dp) > 0 &&
								 is_worth_it(kind, ops, n)));
}

/* True when some helper will take it: each has at most one job waiting for it. */
static bool hand_over(struct dp_worker *worker, struct dp_job *job)
{
	struct dp *dp = worker->dp;
	return worker->spread->on && rte_ring_count(dp->job_ring) < helpers(dp) &&
	       is_worth_it((enum dp_job_kind)job->kind, job->ops, job->n) &&
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
	struct dp_job *job = job_at(spread, spread->tail++);
	worker->spreading = true;
	fill(job, kind, mbufs, ops, n);
	bool handed_over = hand_over(worker, job);
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
