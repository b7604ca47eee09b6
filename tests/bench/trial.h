/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A trial of the generator: packets of given sizes through the gateway, at a given rate, for a
 * while; counts what comes out. Thread: one, which sends and receives.
 */
#ifndef BENCH_TRIAL_H
#define BENCH_TRIAL_H

#include <stdint.h>

#include "tunnels.h"

struct sealed;

#define TRIAL_SIZES 12

enum trial_direction {
	TRIAL_OUTBOUND, /* plain packets in, sealed ones out */
	TRIAL_INBOUND,
};

struct trial {
	enum trial_direction direction;
	unsigned sizes[TRIAL_SIZES]; /* bytes of IP packets, taken in turns */
	unsigned size_count;
	unsigned tunnels; /* taken in turns */
	double pps;	  /* 0: as fast as the gateway takes them, without loss before it */
	double seconds;	  /* at most: inbound, sealed messages may be used up before */
};

struct trial_result {
	uint64_t offered;	 /* packets that were due and made */
	uint64_t received;	 /* came out in whole */
	uint64_t refused;	 /* times that the way to the gateway was full */
	uint64_t late;		 /* times that the generator fell behind and left packets out */
	uint64_t checked, wrong; /* a sample of what was sealed: how many of it were not right */
	double seconds;
};

void trial_run(struct tunnels *tunnels, struct sealed *sealed, const struct trial *trial,
	struct trial_result *result);

#endif
