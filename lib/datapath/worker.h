/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker: what one lcore owns on the data path, and the entry points that its loop calls. A turn
 * of the loop: set now_ns, give the entry points what ports and rings had, dp_worker_flush(),
 * dp_worker_quiescent().
 *
 * Thread: the worker's own, but for create and destroy (control, before and after). The functions
 * make no system call, allocate nothing and take no lock but a session's replay lock.
 */
#ifndef DATAPATH_WORKER_H
#define DATAPATH_WORKER_H

#include <stdalign.h>
#include <stdint.h>

#include <rte_branch_prediction.h>
#include <rte_cycles.h>
#include <rte_rcu_qsbr.h>

#include "base/limits.h"
#include "crypto/aead_batch.h"
#include "datapath/dp.h"
#include "datapath/drops.h"
#include "datapath/stages.h"

/* Sends up to n frames on a port's queue of this worker; returns how many it took. */
typedef uint16_t (*dp_send_fn)(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n);

struct dp_worker_config {
	unsigned id;	  /* below dp->workers */
	uint32_t relayed; /* bit p: frames for port p are sent by way of another worker */
	enum aead_backend backend;
	dp_send_fn send;
	void *send_arg;
};

/* All [worker w, any r]; each grows for ever. */
struct dp_counters {
	uint64_t inbound_packets, inbound_bytes;   /* opened and accepted; bytes of UDP payload */
	uint64_t outbound_packets, outbound_bytes; /* sealed; bytes of UDP payload */
	uint64_t plain_packets;			   /* sent on a port in the plain, opened or not */
	uint64_t host_packets, control_packets;	   /* handed on */
	uint64_t inbound_cycles, outbound_cycles;  /* of the TSC, for frames from ports */
	uint64_t input_cycles;			   /* the same for the rings, either way */
	uint64_t aead_cycles;			   /* of these three, in the AEAD */
	uint64_t helped_packets; /* sealed or opened for other workers: spread.h */
};

struct dp_spread;

struct dp_tx {
	uint16_t n;
	struct rte_mbuf *mbufs[LIMIT_BURST];
};

struct dp_worker {
	struct dp *dp;
	unsigned id;
	uint16_t ip_id;	 /* next IPv4 identification */
	uint64_t now_ns; /* CLOCK_BOOTTIME; the loop sets it once a turn */
	struct aead_batch *aead;
	dp_send_fn send;
	void *send_arg;
	struct dp_counters counters;
	struct dp_drops drops;
	bool spreading; /* bursts may have to go through dp_spread_begin() */
	bool measuring; /* stages are counted in this burst */
	struct dp_spread *spread;
	uint32_t tx_pending; /* bit p: tx[p] is not empty */
	uint32_t relayed;    /* as configured */
	struct dp_tx tx[LIMIT_PORTS];
	struct dp_stages stages;
};

/* 0, -ENOMEM, or -ENOTSUP: this CPU lacks the backend. Registered with dp->qsbr, offline. */
int dp_worker_create(struct dp *dp, const struct dp_worker_config *config, struct dp_worker **out);
void dp_worker_destroy(struct dp_worker *worker);

/*
 * Both entry points take n packets (any number, worked on in bursts of LIMIT_BURST), which are the
 * data path's from then on.
 */

/*
 * Ethernet frames from a port. From an outer port: inbound. From an inner port: outbound. From a
 * one-armed port, which is both: WireGuard for us is inbound, the rest outbound.
 */
void dp_receive(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n);
/* Packets of in_ring and relay_ring, by their kind. */
void dp_input(struct dp_worker *worker, struct rte_mbuf **mbufs, unsigned n);
/* Sends what the transmit buffers hold; the queue's refusals are dropped. Once a turn. */
void dp_worker_flush(struct dp_worker *worker);

/*
 * Laps (stages.h): begins to measure, if control wants it, for the burst or the read of a port that
 * follows; and ends a stage that n packets entered.
 */
static inline void dp_stages_begin(struct dp_worker *worker)
{
	worker->measuring = atomic_load_explicit(&worker->dp->measure_stages, memory_order_relaxed);
	if (unlikely(worker->measuring))
		worker->stages.last = rte_rdtsc();
}

void dp_stage_count(struct dp_stages *stages, enum dp_stage stage, unsigned n);

static inline void dp_stage_end(struct dp_worker *worker, enum dp_stage stage, unsigned n)
{
	if (unlikely(worker->measuring))
		dp_stage_count(&worker->stages, stage, n);
}

/* The worker holds no pointer of dp's tables. Once a turn while online. */
static inline void dp_worker_quiescent(struct dp_worker *worker)
{
	rte_rcu_qsbr_quiescent(worker->dp->qsbr, worker->id);
}

/* Before the first turn and after each sleep; before each sleep and after the last turn. */
static inline void dp_worker_online(struct dp_worker *worker)
{
	rte_rcu_qsbr_thread_online(worker->dp->qsbr, worker->id);
}

static inline void dp_worker_offline(struct dp_worker *worker)
{
	rte_rcu_qsbr_thread_offline(worker->dp->qsbr, worker->id);
}

#endif
