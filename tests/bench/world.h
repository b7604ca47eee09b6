/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the benchmarks of the data path measure on: an outer and an inner port that are arrays, one
 * interface, any number of peers with a session, an endpoint and a /32 each, and players, each of
 * which is a worker with packets of its own.
 *
 * What packets are made from (keys, indices, counters) is kept apart from what the workers read:
 * making packets does not bring the workers' tables into the caches.
 */
#ifndef BENCH_WORLD_H
#define BENCH_WORLD_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "datapath/worker.h"

#define WORLD_BURST	 32
#define WORLD_BATCH	 512  /* packets made and played at once: as many as a NIC's queue holds */
#define WORLD_MTU	 8960 /* of the tunnel */
#define WORLD_MAX_BYTES	 8960
#define WORLD_OUTER_PORT 0
#define WORLD_INNER_PORT 1

enum direction {
	OUTBOUND,
	INBOUND,
};

/* A worker, what it gets and what it sent. */
struct player {
	alignas(128) struct dp_worker *worker; /* no line is another's, nor beside it */
	struct rte_mempool *pool;
	uint64_t random_state;
	unsigned peer_from, peer_count; /* of whom its packets are */
	unsigned run;			/* so many packets of a peer in a row */
	struct aead_batch *sealer;
	uint8_t *texts; /* for player_seal() */
	struct rte_mbuf *mbufs[WORLD_BATCH], *sent_mbufs[WORLD_BATCH];
	unsigned sent;
	uint32_t *turns; /* cycles of each burst's turn of its loop; NULL: not kept */
};

extern struct dp *world_dp;

/* Ends the program with a line on stderr. */
void die(const char *what);
uint64_t random_of(uint64_t *state);

/*
 * EAL, with hugepages or without, for so many peers; two workers, and no peer yet. outer6: between
 * the ends of the tunnels is IPv6, whose UDP checksums the ports leave to the program.
 */
void world_start(unsigned most_peers, bool huge, bool outer6);
void world_stop(void);
/* Adds peers up to a number of them. */
void world_add_peers(unsigned count);

/*
 * Changes while players play; one thread at a time, which then calls dp_reclaim_poll() as control
 * does. A removed peer's id may be added again when released was called.
 */
void world_add_peer(uint32_t id);
void world_remove_peer(uint32_t id, void (*released)(void *arg, void *peer), void *arg);
/* A new session, which its packets use from now on; the one before stays for those on their way. */
void world_rekey(uint32_t id);

/* A player with the worker of this id. */
void player_init(struct player *player, unsigned id);
void player_end(struct player *player);
/* Makes a batch of packets, and plays it; returns the TSC cycles that took. */
void player_make(struct player *player, enum direction direction, unsigned size);
uint64_t player_play(struct player *player, enum direction direction);
/* Seals a burst of texts of its own until they are a batch; returns the TSC cycles that took. */
uint64_t player_seal(struct player *player, unsigned size);
/* Runs function(arg) in a thread on a CPU. */
void start_thread(unsigned cpu, void *(*function)(void *), void *arg);
void join_thread(void); /* the one thread */

double median(double *values, unsigned n); /* sorts */

#endif
