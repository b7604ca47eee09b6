/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Longest-prefix match: prefixes of IPv4 and IPv6 to 32-bit values, for cryptokey routing and for
 * forwarding as the workers see them.
 *
 * Thread: one writer (control) for create, destroy, set and delete; any number of readers for the
 * lookups, without locks, while the writer works. A lookup answers as before or as after each
 * change, never anything else. Readers report quiescent to the reclaim queue's rte_rcu_qsbr; the
 * table itself must outlive them (retire it, then dp_lpm_destroy() in the callback).
 *
 * Memory: the C heap; an empty table takes less than a kilobyte, a large one some 140 bytes for
 * each prefix of IPv4, 160 of IPv6. A change takes a few microseconds, but for a prefix that covers
 * very many others (their surroundings get new answers) and when the content has doubled (the table
 * is built anew beside the old one): then up to 0.3 microseconds for each prefix concerned, a
 * quarter of a second for a million of them. At most 8 million prefixes of both families together.
 */
#ifndef DATAPATH_LPM_H
#define DATAPATH_LPM_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

struct dp_lpm;
struct dp_reclaim;

/* The answer where no prefix covers an address; no prefix may have this value. */
#define DP_LPM_NONE UINT32_MAX

/* reclaim outlives the table; NULL: no reader runs beside the writer. NULL: out of memory. */
struct dp_lpm *dp_lpm_create(struct dp_reclaim *reclaim);
/* No reader is at the table any more. */
void dp_lpm_destroy(struct dp_lpm *lpm);

/* Sets the value of prefix (host bits zero), new or known. 0 or, for a new one only, -ENOMEM:
 * nothing changed. */
int dp_lpm_set(struct dp_lpm *lpm, const struct ip_prefix *prefix, uint32_t value);
/* Removes prefix. 0 or -ENOENT; needs no memory. */
int dp_lpm_delete(struct dp_lpm *lpm, const struct ip_prefix *prefix);

/* The value of exactly this prefix, or DP_LPM_NONE. Writer only. */
uint32_t dp_lpm_get(const struct dp_lpm *lpm, const struct ip_prefix *prefix);
/* Prefixes of both families; bytes allocated, with what waits to be reclaimed. Writer only. */
size_t dp_lpm_count(const struct dp_lpm *lpm);
size_t dp_lpm_bytes(const struct dp_lpm *lpm);

/* The value of the longest prefix that contains the address (4 or 16 bytes, as in a packet). */
uint32_t dp_lpm_lookup4(const struct dp_lpm *lpm, const uint8_t *addr);
uint32_t dp_lpm_lookup6(const struct dp_lpm *lpm, const uint8_t *addr);

/*
 * The same for n addresses (any number; bursts of up to LIMIT_BURST overlap their cache misses):
 * values[i] is the answer for the address at addrs[i].
 */
void dp_lpm_lookup4_bulk(
	const struct dp_lpm *lpm, const uint8_t *const *addrs, uint32_t *values, unsigned n);
void dp_lpm_lookup6_bulk(
	const struct dp_lpm *lpm, const uint8_t *const *addrs, uint32_t *values, unsigned n);

#endif
