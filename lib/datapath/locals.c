/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/locals.h"

#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>

#define FILTER_LOG2_LEAST 9  /* bits: a cache line */
#define FILTER_LOG2_MOST  18 /* as large as a first-level cache: for 4,096 addresses */
#define FILTER_SPARSE	  64 /* bits for each address */

static int compare4(const void *a, const void *b)
{
	return memcmp(a, b, 4);
}

static int compare6(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

/* 127.0.0.0/8 and ::1: what comes by a port can be for none of them (RFC 1122 section 3.2.1.3). */
static bool is_loopback(const struct ip_addr *addr)
{
	static const uint8_t one[16] = {[15] = 1};
	return addr->family == IP_V4 ? addr->bytes[0] == 127 : memcmp(addr->bytes, one, 16) == 0;
}

static unsigned filter_log2_bits(unsigned n)
{
	unsigned log2_bits = FILTER_LOG2_LEAST;
	while (log2_bits < FILTER_LOG2_MOST && 1ul << log2_bits < n * (unsigned long)FILTER_SPARSE)
		log2_bits++;
	return log2_bits;
}

struct dp_locals *dp_locals_create(const struct ip_addr *addrs, unsigned n)
{
	unsigned log2_bits = filter_log2_bits(n);
	size_t filter_bytes = (1ul << log2_bits) / 8;
	struct dp_locals *locals =
		rte_zmalloc("wg_locals", sizeof(*locals) + filter_bytes + n * 16ul, 64);
	if (locals == NULL)
		return NULL;
	uint8_t *addresses = (uint8_t *)locals->filter + filter_bytes, *next = addresses;
	locals->addrs = addresses;
	locals->shift = 32 - log2_bits;
	for (unsigned i = 0; i < n; i++) {
		if (addrs[i].family != IP_V6 || is_loopback(&addrs[i]))
			continue;
		memcpy(next, addrs[i].bytes, 16);
		next += 16;
		locals->n6++;
	}
	for (unsigned i = 0; i < n; i++) {
		if (addrs[i].family != IP_V4 || is_loopback(&addrs[i]))
			continue;
		memcpy(next, addrs[i].bytes, 4);
		unsigned bit = dp_locals_bit(locals, next);
		locals->filter[bit / 64] |= 1ull << bit % 64;
		next += 4;
		locals->n4++;
	}
	qsort(addresses, locals->n6, 16, compare6);
	qsort(addresses + 16ul * locals->n6, locals->n4, 4, compare4);
	return locals;
}

bool dp_locals_search_ipv4(const struct dp_locals *locals, const uint8_t addr[4])
{
	return bsearch(addr, locals->addrs + 16ul * locals->n6, locals->n4, 4, compare4) != NULL;
}

bool dp_locals_has_ipv6(const struct dp_locals *locals, const uint8_t addr[16])
{
	return locals != NULL && bsearch(addr, locals->addrs, locals->n6, 16, compare6) != NULL;
}
