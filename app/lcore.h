/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker lcores: each polls its queue of every port and its ring, gives what comes to the data
 * path, and rests when nothing comes. Made and ended by control; run() is the lcore's own.
 */
#ifndef APP_LCORE_H
#define APP_LCORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "datapath/worker.h"
#include "port.h"

/* [worker w, control r], relaxed: for /wg/lcores */
struct lcore_stats {
	uint64_t turns, busy_turns;
	uint64_t received;
	uint64_t sleeps;
};

struct lcore {
	unsigned lcore_id; /* EAL's */
	struct dp_worker *worker;
	const struct port *ports; /* by index, as the data path numbers them */
	unsigned port_count, workers;
	bool poll;	       /* never sleep */
	bool takes_relays;     /* other workers send by its queues */
	bool may_help;	       /* no other worker shares its CPU */
	unsigned pressure;     /* [worker w] how long its bursts were full */
	uint64_t send_turn_ns; /* [worker w] when ports last had one: send_turns() */
	_Atomic bool *quit;
	struct lcore_stats stats;
};

/* Creates the data-path worker number id for an lcore. 0 or a negative errno (dp_worker_create). */
int lcore_create(struct lcore *lcore, struct dp *dp, unsigned id, enum aead_backend backend);
void lcore_destroy(struct lcore *lcore);

/* The lcore's main function, for rte_eal_remote_launch(); returns 0 after *quit. */
int lcore_run(void *lcore);

#endif
