/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes, offsets and numbers of the headers that the data path reads and writes. Offsets are from
 * the start of the header itself; fields are read with base/bytes.h, at any alignment.
 *
 * Ethernet: IEEE 802.3. IPv4: RFC 791, RFC 2474. IPv6: RFC 8200. UDP: RFC 768.
 */
#ifndef NET_HEADERS_H
#define NET_HEADERS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

#define ETHER_HEADER_BYTES 14
#define IPV4_HEADER_BYTES  20 /* without options */
#define IPV6_HEADER_BYTES  40 /* without extension headers */
#define UDP_HEADER_BYTES   8

enum ether_offset {
	ETHER_DST = 0,
	ETHER_SRC = 6,
	ETHER_TYPE = 12,
};

#define ETHER_TYPE_IPV4 0x0800
#define ETHER_TYPE_ARP	0x0806
#define ETHER_TYPE_VLAN 0x8100 /* IEEE 802.1Q: a tag, whose last two bytes are the next type */
#define ETHER_TYPE_QINQ 0x88a8
#define ETHER_TYPE_IPV6 0x86dd
#define VLAN_TAG_BYTES	4

enum ipv4_offset {
	IPV4_VERSION_IHL = 0,
	IPV4_TOS = 1,
	IPV4_TOTAL_LENGTH = 2,
	IPV4_ID = 4,
	IPV4_FRAGMENT = 6, /* flags and offset */
	IPV4_TTL = 8,
	IPV4_PROTOCOL = 9,
	IPV4_CHECKSUM = 10,
	IPV4_SRC = 12,
	IPV4_DST = 16,
};

#define IPV4_MORE_FRAGMENTS  0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff

enum ipv6_offset {
	IPV6_VERSION_CLASS_FLOW = 0,
	IPV6_PAYLOAD_LENGTH = 4,
	IPV6_NEXT_HEADER = 6,
	IPV6_HOP_LIMIT = 7,
	IPV6_SRC = 8,
	IPV6_DST = 24,
};

#define IPV6_FRAGMENT_OFFSET 0xfff8 /* in the fragment header's third and fourth byte */

enum udp_offset {
	UDP_SRC_PORT = 0,
	UDP_DST_PORT = 2,
	UDP_LENGTH = 4,
	UDP_CHECKSUM = 6,
};

enum ip_protocol {
	IP_PROTOCOL_HOP_BY_HOP = 0,
	IP_PROTOCOL_ICMP = 1,
	IP_PROTOCOL_TCP = 6,
	IP_PROTOCOL_UDP = 17,
	IP_PROTOCOL_ROUTING = 43,
	IP_PROTOCOL_FRAGMENT = 44,
	IP_PROTOCOL_ICMPV6 = 58,
	IP_PROTOCOL_DESTINATION_OPTIONS = 60,
};

/* Default TTL and hop limit of packets that we make (RFC 1340; the kernel's too). */
#define IP_DEFAULT_TTL 64

/* Two addresses of a family, as they lie in packets. Each length by itself: no call is made. */
static inline bool ip_bytes_equal(bool ipv4, const uint8_t *a, const uint8_t *b)
{
	return ipv4 ? memcmp(a, b, 4) == 0 : memcmp(a, b, 16) == 0;
}

/* The version nibble of an IP packet of at least one byte. */
static inline unsigned ip_version(const uint8_t *packet)
{
	return packet[0] >> 4;
}

/* Traffic class of an IPv6 header: DSCP and ECN, as IPv4's second byte. */
static inline uint8_t ipv6_traffic_class(const uint8_t *packet)
{
	return (uint8_t)(load_be16(packet) >> 4);
}

/* Sets the traffic class and leaves version and flow label. */
static inline void ipv6_set_traffic_class(uint8_t *packet, uint8_t traffic_class)
{
	uint16_t word = load_be16(packet);

	store_be16(packet, (uint16_t)((word & 0xf00f) | traffic_class << 4));
}

#endif
