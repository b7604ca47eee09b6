/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our own addresses, sorted: an immutable set that is replaced whole. Made by control, read by
 * workers and private to the data path. Small (tens), so a binary search over one or two cache
 * lines; the classifier asks once for a run of packets to one address.
 */
#ifndef DATAPATH_LOCALS_H
#define DATAPATH_LOCALS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

struct dp_locals;

/* Copies n addresses, but for those of loopback. NULL: no memory. Freed with rte_free(). */
struct dp_locals *dp_locals_create(const struct ip_addr *addrs, unsigned n);

/* addr: the address as it stands in the header. locals may be NULL: none. */
bool dp_locals_has_ipv4(const struct dp_locals *locals, const uint8_t addr[4]);
bool dp_locals_has_ipv6(const struct dp_locals *locals, const uint8_t addr[16]);

#endif
