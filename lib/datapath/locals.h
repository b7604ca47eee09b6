/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our own addresses, sorted: an immutable set that is replaced whole. Made by control, read by
 * workers and private to the data path. Small (tens), so a binary search over one or two cache
 * lines; the classifier asks once for a run of packets to one address. Whether a packet's IPv4
 * source is one of them is asked for each: few of others' get past a bit for each of ours.
 */
#ifndef DATAPATH_LOCALS_H
#define DATAPATH_LOCALS_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_branch_prediction.h>

#include "base/addr.h"
#include "base/bytes.h"

struct dp_locals {
	unsigned n4, n6;
	unsigned shift;	      /* of a hash, to the number of its bit */
	const uint8_t *addrs; /* the IPv6 addresses, then the IPv4 addresses */
	/* Bits of the IPv4 addresses, sparse (locals.c); with few addresses one line. */
	alignas(64) uint64_t filter[];
};

/* Copies n addresses, but for those of loopback. NULL: no memory. Freed with rte_free(). */
struct dp_locals *dp_locals_create(const struct ip_addr *addrs, unsigned n);

static inline unsigned dp_locals_bit(const struct dp_locals *locals, const uint8_t addr[4])
{
	return (load_be32(addr) * 0x9e3779b1u) >> locals->shift;
}

/* Past the filter. */
bool dp_locals_search_ipv4(const struct dp_locals *locals, const uint8_t addr[4]);

/* addr: the address as it stands in the header. locals may be NULL: none. */
static inline bool dp_locals_has_ipv4(const struct dp_locals *locals, const uint8_t addr[4])
{
	if (locals == NULL)
		return false;
	unsigned bit = dp_locals_bit(locals, addr);
	if (likely((locals->filter[bit / 64] >> bit % 64 & 1) == 0))
		return false;
	return dp_locals_search_ipv4(locals, addr);
}

bool dp_locals_has_ipv6(const struct dp_locals *locals, const uint8_t addr[16]);

#endif
