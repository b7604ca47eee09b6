/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Explicit congestion notification through the tunnel, RFC 6040: normal mode on sealing (copied
 * out, section 4.1), its table on opening (section 4.2), but that a packet which is not
 * ECN-capable is never dropped for an outer CE mark: it passes unchanged, as in the kernel.
 *
 * Thread: any; no allocation.
 */
#ifndef NET_ECN_H
#define NET_ECN_H

#include <stdint.h>

#include "net/checksum.h"
#include "net/headers.h"

enum ecn {
	ECN_NOT_ECT = 0,
	ECN_ECT1 = 1,
	ECN_ECT0 = 2,
	ECN_CE = 3,
};

#define ECN_MASK 3

/* The outer ECN bits for an inner packet's traffic class. */
static inline uint8_t ecn_seal(uint8_t inner_traffic_class)
{
	return inner_traffic_class & ECN_MASK;
}

/* The inner ECN bits after opening. */
static inline uint8_t ecn_combine(uint8_t inner, uint8_t outer)
{
	inner &= ECN_MASK;
	outer &= ECN_MASK;
	if (inner == ECN_NOT_ECT || inner == ECN_CE)
		return inner;
	if (outer == ECN_CE)
		return ECN_CE;
	return outer == ECN_ECT1 ? ECN_ECT1 : inner;
}

/* Writes a packet's ECN bits; IPv4's header checksum follows. */
static inline void ecn_set(uint8_t *packet, uint8_t ecn)
{
	uint16_t word = load_be16(packet);

	if (ip_version(packet) == 4) {
		uint16_t changed = (uint16_t)((word & ~ECN_MASK) | ecn);

		store_be16(packet, changed);
		checksum_update(packet + IPV4_CHECKSUM, word, changed);
	} else {
		store_be16(packet, (uint16_t)((word & ~(ECN_MASK << 4)) | ecn << 4));
	}
}

/*
 * Carries the outer traffic class's congestion mark over to an opened packet, valid as for
 * inner_parse(), whose own traffic class is inner_traffic_class.
 */
static inline void ecn_open(
	uint8_t *packet, uint8_t inner_traffic_class, uint8_t outer_traffic_class)
{
	uint8_t ecn = ecn_combine(inner_traffic_class, outer_traffic_class);

	if (ecn != (inner_traffic_class & ECN_MASK))
		ecn_set(packet, ecn);
}

#endif
