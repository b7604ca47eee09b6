/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spreading: a saturated worker lets idle ones do AEAD work of its bursts. What it hands over is a
 * job: the packets of one burst that are to be sealed or opened, nothing else. All before (lookup,
 * numbers) and all behind (replay window, routing, sending) stays with the worker that read the
 * packets, its owner, and the owner ends its jobs strictly in the order they were begun: packets of
 * one session leave in the order they came, whoever worked on them.
 *
 * Nobody else pays: a worker that is not saturated has one branch a burst, and only workers that
 * found nothing to do for a while take jobs. A job that nobody has taken yet the owner does itself.
 *
 * What it gains depends on the AEAD, which differs fourfold between CPUs, and on the way between
 * two cores, which differs tenfold. So the owner keeps account: of the AEAD that others did, by
 * what its own takes, and of what it had to do for jobs besides. Where that does not pay it spreads
 * nothing for a while, and then tries again.
 *
 * No table pointer survives a turn, here too: a job holds copies of its keys, wiped when it ends;
 * what comes behind the AEAD looks session and peer up again. A session that ended in between, or
 * another that got its index, is told by the key.
 *
 * Thread: any worker's own, unless stated. Nothing is allocated after create.
 */
#ifndef DATAPATH_SPREAD_H
#define DATAPATH_SPREAD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "crypto/aead_batch.h"
#include "wg/constants.h"

struct dp;
struct dp_worker;
struct rte_mbuf;

enum dp_job_kind { DP_JOB_OPEN, DP_JOB_SEAL, DP_JOB_KINDS };

/* The owner fills it in and releases it, whoever works on it changes it and releases done. */
struct dp_job {
	alignas(64) _Atomic bool done;
	uint8_t kind; /* enum dp_job_kind */
	uint8_t n;
	bool helped; /* another worker did it */
	uint16_t keys_n;
	uint32_t units;	 /* of AEAD work */
	uint64_t opened; /* DP_JOB_OPEN: mask, as of aead_batch_open() */
	struct rte_mbuf *mbufs[LIMIT_BURST];
	struct aead_op ops[LIMIT_BURST];	 /* their keys are those below */
	uint8_t keys[LIMIT_BURST][WG_KEY_BYTES]; /* one for each run of a session */
};

/* Of jobs of one kind that ended since the last judgement. */
struct dp_spread_account {
	uint64_t saved, spent; /* cycles: of the AEAD that others did, and for jobs besides */
	unsigned jobs, packets, units;
	unsigned rest;	     /* so many bursts are not spread: it did not pay ... */
	unsigned rest_units; /* ... with so many units a packet */
};

/* A worker's jobs in the order begun; positions grow for ever. [worker w] but for the jobs */
struct dp_spread {
	bool on;	     /* saturated: jobs may be handed over */
	bool ending;	     /* jobs are being ended further up the stack */
	bool helping;	     /* counted in dp->spread_helpers */
	unsigned head, tail; /* of the jobs begun and not ended */

	/* What the AEAD takes here: cycles a unit of work, times 1,024; learnt all along. */
	uint32_t rate;
	uint32_t direct_units; /* AEAD work under way outside of jobs, to learn from */
	uint64_t direct_from;  /* counters.aead_cycles before it */
	struct dp_spread_account accounts[DP_JOB_KINDS];

	struct dp_job jobs[LIMIT_JOBS];
};

/* Makes worker->spread; NULL where there is but one worker. 0 or -ENOMEM. Thread: control. */
int dp_spread_create(struct dp_worker *worker);
/* Frees the packets of jobs that were not ended. No worker runs any more. Thread: control. */
void dp_spread_destroy(struct dp_worker *worker);

/* Whether this worker is saturated. Its loop tells when that changes; cheap when it does not. */
void dp_spread_set(struct dp_worker *worker, bool on);
/*
 * Of an idle worker's turn: does one job, of another worker or of its own. Returns the number of
 * packets; 0: there was none. Counted as a helper until dp_spread_leave(), unless it has jobs of
 * its own.
 */
unsigned dp_spread_help(struct dp_worker *worker);
/* The worker is not idle any more, or goes to sleep. */
void dp_spread_leave(struct dp_worker *worker);
/* True while some worker is saturated: an idle one had better not sleep. */
bool dp_spread_wanted(const struct dp *dp);

/*
 * While worker->spreading, for each burst right before its AEAD: true when it is to become a job,
 * because others are outstanding that it must not overtake, or because a helper is free and that
 * promises to pay.
 */
bool dp_spread_suits(
	struct dp_worker *worker, enum dp_job_kind kind, const struct aead_op *ops, unsigned n);
/*
 * Begins a job of n (1..64) packets; ops may point to keys that live until the call returns. It is
 * handed over or done on the spot, and ends in dp_inbound_opened() or dp_outbound_sealed(), at once
 * or later.
 */
void dp_spread_begin(struct dp_worker *worker, enum dp_job_kind kind, struct rte_mbuf **mbufs,
	const struct aead_op *ops, unsigned n);
/*
 * Makes sure that the next job finds room: works until the oldest has ended. What numbers packets
 * does so after this call: jobs that end may begin others.
 */
void dp_spread_make_room(struct dp_worker *worker);
/* Tells what the end of a job took that would not have been done without it. */
void dp_spread_spend(struct dp_worker *worker, const struct dp_job *job, uint64_t cycles);
/* Ends the jobs that are done, from the oldest on, up to one that is not. Once a turn. */
void dp_spread_end(struct dp_worker *worker);

/* The two halves of help; for tests, which do jobs in other orders. NULL: none. */
struct dp_job *dp_spread_take(struct dp *dp);
void dp_spread_work(struct dp_worker *worker, struct dp_job *job);

#endif
