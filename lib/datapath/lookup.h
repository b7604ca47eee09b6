/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bulk lookups for a burst that mixes IPv4 and IPv6: addresses are gathered by family, looked up,
 * and the answers put back by position. Private to lib/datapath. Thread: the worker's.
 */
#ifndef DATAPATH_LOOKUP_H
#define DATAPATH_LOOKUP_H

#include <stdint.h>

#include "base/limits.h"
#include "datapath/lpm.h"

struct dp_lookup {
	unsigned n4, n6;
	uint8_t at4[LIMIT_BURST], at6[LIMIT_BURST]; /* positions in the burst */
	const uint8_t *addrs4[LIMIT_BURST], *addrs6[LIMIT_BURST];
};

static inline void dp_lookup_reset(struct dp_lookup *lookup)
{
	lookup->n4 = lookup->n6 = 0;
}

/* The packet at position has this address; it is read when the lookup runs. */
static inline void dp_lookup_add(
	struct dp_lookup *lookup, unsigned position, uint8_t family, const uint8_t *addr)
{
	if (family == IP_V4) {
		lookup->at4[lookup->n4] = (uint8_t)position;
		lookup->addrs4[lookup->n4++] = addr;
	} else {
		lookup->at6[lookup->n6] = (uint8_t)position;
		lookup->addrs6[lookup->n6++] = addr;
	}
}

/* values[position] for every position added; DP_LPM_NONE where nothing matches. */
static inline void dp_lookup_run(
	const struct dp_lookup *lookup, const struct dp_lpm *lpm, uint32_t *values)
{
	uint32_t found[LIMIT_BURST];
	dp_lpm_lookup4_bulk(lpm, lookup->addrs4, found, lookup->n4);
	for (unsigned i = 0; i < lookup->n4; i++)
		values[lookup->at4[i]] = found[i];
	if (lookup->n6 == 0)
		return;
	dp_lpm_lookup6_bulk(lpm, lookup->addrs6, found, lookup->n6);
	for (unsigned i = 0; i < lookup->n6; i++)
		values[lookup->at6[i]] = found[i];
}

#endif
