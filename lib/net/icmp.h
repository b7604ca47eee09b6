/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ICMP errors about packets that the gateway cannot carry, and those that routers send about its
 * own. RFC 792, RFC 1812 section 4.3.2, RFC 1191; RFC 4443. Limiting their rate is the caller's.
 *
 * Thread: any; no allocation.
 */
#ifndef NET_ICMP_H
#define NET_ICMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum icmp_error {
	ICMP_ERROR_UNREACHABLE,	  /* host unreachable; IPv6: address unreachable */
	ICMP_ERROR_TOO_BIG,	  /* fragmentation needed; IPv6: packet too big */
	ICMP_ERROR_TIME_EXCEEDED, /* TTL or hop limit exceeded in transit */
};

/* The largest error: IPv6's minimum MTU; IPv4's are at most 576 bytes. */
#define ICMP_ERROR_MAX 1280

/*
 * Builds the IP packet that tells the sender of packet (len bytes, valid as for inner_parse()) of
 * error, from our address source, which is of the same family. mtu counts for ICMP_ERROR_TOO_BIG.
 * Returns its length, or 0 where no error may be sent: about an ICMP error or redirect, a fragment
 * but the first, a packet to multicast or broadcast (but IPv6's that is too big), or one whose
 * source is no single host.
 */
size_t icmp_build_error(uint8_t out[ICMP_ERROR_MAX], enum icmp_error error, uint32_t mtu,
	const struct ip_addr *source, const uint8_t *packet, size_t len);

/*
 * True for an ICMPv6 "too big" about a UDP datagram, as an IP packet of len bytes without extension
 * headers; *destination is where the datagram was to go, *source_port where it came from (host byte
 * order). Nothing says that it is true: checksums are not looked at, and anybody can send it. IPv4
 * has no use for its like: our datagrams may be fragmented on the way.
 */
bool icmp6_says_too_big(
	const uint8_t *packet, size_t len, struct ip_addr *destination, uint16_t *source_port);

#endif
