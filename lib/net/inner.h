/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inner packets: IPv4 or IPv6 from its first byte on, before sealing and after opening.
 *
 * Thread: any; no allocation; nothing is read outside the span given.
 * RFC 791, RFC 8200; what may be forwarded: RFC 1812 section 5, RFC 4291 section 2.
 */
#ifndef NET_INNER_H
#define NET_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "net/checksum.h"
#include "net/headers.h"

/* Why a valid packet is the host's to forward: bits of struct inner's unusual. */
enum inner_unusual {
	INNER_OPTIONS = 1, /* IPv4 options, IPv6 hop-by-hop options: a router must look at them */
	INNER_SCOPE = 2,   /* an address that does not leave its link or host: multicast,
			      broadcast, loopback, link-local IPv6, unspecified, reserved */
};

struct inner {
	uint8_t family;		  /* IP_V4 or IP_V6 */
	uint8_t traffic_class;	  /* DSCP << 2 | ECN */
	uint8_t ttl;		  /* or hop limit; a packet of 1 or 0 is not forwarded */
	uint8_t unusual;	  /* enum inner_unusual; 0 for the common packet */
	uint16_t len;		  /* true length by the header; what follows is padding */
	const uint8_t *src, *dst; /* addresses, in the packet */
};

/* IPv4: 0/8, 127/8 and everything from 224/4 on. */
static inline bool inner_scoped4(const uint8_t *addr)
{
	return addr[0] == 0 || addr[0] == 127 || addr[0] >= 224;
}

/* IPv6: ff00::/8, fe80::/10, and ::/64 (unspecified, loopback, IPv4-mapped). */
static inline bool inner_scoped6(const uint8_t *addr)
{
	return addr[0] == 0xff || (load_be16(addr) & 0xffc0) == 0xfe80 || load_be64(addr) == 0;
}

/*
 * Checks version, header length and total length of a packet against len, the bytes there are, and
 * fills in *out. False: malformed, *out undefined. IPv4's header checksum is not looked at
 * (checksum_ipv4_valid()): a wrong one stays wrong on its way (RFC 1624) and its receiver sees it.
 */
static inline bool inner_parse(const uint8_t *packet, size_t len, struct inner *out)
{
	if (len >= IPV4_HEADER_BYTES && ip_version(packet) == 4) {
		unsigned header = (packet[IPV4_VERSION_IHL] & 0xfu) * 4;
		unsigned total = load_be16(packet + IPV4_TOTAL_LENGTH);

		out->family = IP_V4;
		out->traffic_class = packet[IPV4_TOS];
		out->ttl = packet[IPV4_TTL];
		out->len = (uint16_t)total;
		out->src = packet + IPV4_SRC;
		out->dst = packet + IPV4_DST;
		out->unusual =
			(header > IPV4_HEADER_BYTES ? INNER_OPTIONS : 0) |
			(inner_scoped4(out->src) || inner_scoped4(out->dst) ? INNER_SCOPE : 0);
		return header >= IPV4_HEADER_BYTES && total >= header && total <= len;
	}
	if (len >= IPV6_HEADER_BYTES && ip_version(packet) == 6) {
		unsigned total = load_be16(packet + IPV6_PAYLOAD_LENGTH) + IPV6_HEADER_BYTES;

		out->family = IP_V6;
		out->traffic_class = ipv6_traffic_class(packet);
		out->ttl = packet[IPV6_HOP_LIMIT];
		out->len = (uint16_t)total;
		out->src = packet + IPV6_SRC;
		out->dst = packet + IPV6_DST;
		out->unusual =
			(packet[IPV6_NEXT_HEADER] == IP_PROTOCOL_HOP_BY_HOP ? INNER_OPTIONS : 0) |
			(inner_scoped6(out->src) || inner_scoped6(out->dst) ? INNER_SCOPE : 0);
		return total <= len && total <= UINT16_MAX;
	}
	return false;
}

/* Forwards one hop: TTL or hop limit, above 0 before, less 1; IPv4's checksum follows. */
static inline void inner_decrement_ttl(uint8_t *packet)
{
	if (ip_version(packet) == 4) {
		uint16_t word = load_be16(packet + IPV4_TTL);

		packet[IPV4_TTL]--;
		checksum_update(packet + IPV4_CHECKSUM, word, (uint16_t)(word - 0x100));
	} else {
		packet[IPV6_HOP_LIMIT]--;
	}
}

#endif
