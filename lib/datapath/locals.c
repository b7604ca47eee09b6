/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/locals.h"

#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>

/* The IPv6 addresses, then the IPv4 addresses. */
struct dp_locals {
	unsigned n4, n6;
	uint8_t bytes[];
};

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

struct dp_locals *dp_locals_create(const struct ip_addr *addrs, unsigned n)
{
	struct dp_locals *locals = rte_zmalloc("wg_locals", sizeof(*locals) + n * 16ul, 0);
	if (locals == NULL)
		return NULL;
	uint8_t *next = locals->bytes;
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
		next += 4;
		locals->n4++;
	}
	qsort(locals->bytes, locals->n6, 16, compare6);
	qsort(locals->bytes + 16ul * locals->n6, locals->n4, 4, compare4);
	return locals;
}

bool dp_locals_has_ipv4(const struct dp_locals *locals, const uint8_t addr[4])
{
	return locals != NULL &&
	       bsearch(addr, locals->bytes + 16ul * locals->n6, locals->n4, 4, compare4) != NULL;
}

bool dp_locals_has_ipv6(const struct dp_locals *locals, const uint8_t addr[16])
{
	return locals != NULL && bsearch(addr, locals->bytes, locals->n6, 16, compare6) != NULL;
}
