/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The maximum segment size that a TCP SYN offers (RFC 9293 section 3.7.1), brought down to what a
 * narrower link on the way takes (RFC 4459 section 3.2): for paths that lose ICMP's "too big".
 *
 * Thread: any; no allocation; nothing is read or written outside the span given.
 */
#ifndef NET_MSS_H
#define NET_MSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/headers.h"
#include "net/tcp.h"

/*
 * The look that each packet is worth: false for all but a SYN, and what takes a closer look to
 * tell. packet is valid as for inner_parse(), len its true length.
 */
static inline bool mss_may_be_offered(const uint8_t *packet, size_t len)
{
	if (ip_version(packet) == 4) {
		if (packet[IPV4_PROTOCOL] != IP_PROTOCOL_TCP)
			return false;
		return packet[IPV4_VERSION_IHL] != 0x45 ||
		       (len > IPV4_HEADER_BYTES + TCP_FLAGS &&
			       packet[IPV4_HEADER_BYTES + TCP_FLAGS] & TCP_SYN);
	}
	switch (packet[IPV6_NEXT_HEADER]) {
	case IP_PROTOCOL_TCP:
		return len > IPV6_HEADER_BYTES + TCP_FLAGS &&
		       packet[IPV6_HEADER_BYTES + TCP_FLAGS] & TCP_SYN;
	case IP_PROTOCOL_HOP_BY_HOP:
	case IP_PROTOCOL_ROUTING:
	case IP_PROTOCOL_FRAGMENT:
	case IP_PROTOCOL_DESTINATION_OPTIONS:
		return true;
	default:
		return false;
	}
}

/*
 * Lowers the MSS that a TCP SYN offers to what packets of mtu bytes carry without options: mtu less
 * 40, IPv6 less 60. The TCP checksum follows; a wrong one stays wrong. True when the packet was
 * changed. Left as they are: packets that are no SYN or no first fragment, a SYN without the option
 * (it means 536 or 1220 bytes), options that contradict their lengths, and IPv6 with more than
 * eight extension headers or others than hop-by-hop, routing, fragment and destination options.
 */
bool mss_clamp(uint8_t *packet, size_t len, unsigned mtu);

#endif
