/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The outer headers: Ethernet, IPv4 or IPv6, UDP. Classifies received frames and puts prepared
 * headers before sealed packets.
 *
 * Thread: any; no allocation; nothing is read or written outside the spans given.
 *
 * Sent headers: flow label 0, TTL 64. IPv4 has DF off, as the kernel's WireGuard has it, so that a
 * narrow path fragments the datagram rather than losing it without a sign. It is therefore no
 * atomic datagram and RFC 6864 wants its identification not to repeat soon for the same addresses:
 * each sender passes a counter of its own that starts at a place of its own. At rates where 65,536
 * numbers do not last, a fragment may meet the wrong remainder, and the AEAD then rejects the
 * datagram.
 */
#ifndef NET_OUTER_H
#define NET_OUTER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "net/checksum.h"
#include "net/headers.h"

#define OUTER_HEADER4_BYTES (ETHER_HEADER_BYTES + IPV4_HEADER_BYTES + UDP_HEADER_BYTES)
#define OUTER_HEADER6_BYTES (ETHER_HEADER_BYTES + IPV6_HEADER_BYTES + UDP_HEADER_BYTES)
#define OUTER_HEADER_MAX    OUTER_HEADER6_BYTES

/* What a frame is to the fast path. All but OUTER_UDP is the host's. */
enum outer_verdict {
	OUTER_UDP,	 /* a whole UDP datagram */
	OUTER_NOT_IP,	 /* ARP, a VLAN tag, anything else, or shorter than its headers */
	OUTER_NOT_UDP,	 /* another protocol, or an IPv6 extension header */
	OUTER_FRAGMENT,	 /* of IPv4 (IPv6's has an extension header) */
	OUTER_OPTIONS,	 /* IPv4 options */
	OUTER_MALFORMED, /* version or lengths contradict each other or the frame */
};

struct outer {
	uint8_t family;		/* IP_V4 or IP_V6 */
	uint8_t traffic_class;	/* DSCP << 2 | ECN */
	uint8_t payload_offset; /* in the frame: 42 or 62 */
	uint16_t payload_len;	/* by the UDP header; lies within the frame */
	uint16_t src_port_be, dst_port_be;
	const uint8_t *src, *dst; /* addresses, in the frame */
};

static inline enum outer_verdict outer_classify4(
	const uint8_t *frame, size_t len, struct outer *out)
{
	const uint8_t *ip = frame + ETHER_HEADER_BYTES;
	const uint8_t *udp = ip + IPV4_HEADER_BYTES;
	unsigned total, udp_len;

	if (len < ETHER_HEADER_BYTES + IPV4_HEADER_BYTES)
		return OUTER_NOT_IP;
	if (ip[IPV4_VERSION_IHL] != 0x45)
		return ip_version(ip) == 4 && (ip[0] & 0xf) > 5 ? OUTER_OPTIONS : OUTER_MALFORMED;
	total = load_be16(ip + IPV4_TOTAL_LENGTH);
	if (total < IPV4_HEADER_BYTES || total > len - ETHER_HEADER_BYTES)
		return OUTER_MALFORMED;
	if (load_be16(ip + IPV4_FRAGMENT) & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET))
		return OUTER_FRAGMENT;
	if (ip[IPV4_PROTOCOL] != IP_PROTOCOL_UDP)
		return OUTER_NOT_UDP;
	if (total < IPV4_HEADER_BYTES + UDP_HEADER_BYTES)
		return OUTER_MALFORMED;
	udp_len = load_be16(udp + UDP_LENGTH);
	if (udp_len < UDP_HEADER_BYTES || udp_len > total - IPV4_HEADER_BYTES)
		return OUTER_MALFORMED;
	out->family = IP_V4;
	out->traffic_class = ip[IPV4_TOS];
	out->payload_offset = OUTER_HEADER4_BYTES;
	out->payload_len = (uint16_t)(udp_len - UDP_HEADER_BYTES);
	memcpy(&out->src_port_be, udp + UDP_SRC_PORT, 2);
	memcpy(&out->dst_port_be, udp + UDP_DST_PORT, 2);
	out->src = ip + IPV4_SRC;
	out->dst = ip + IPV4_DST;
	return OUTER_UDP;
}

static inline enum outer_verdict outer_classify6(
	const uint8_t *frame, size_t len, struct outer *out)
{
	const uint8_t *ip = frame + ETHER_HEADER_BYTES;
	const uint8_t *udp = ip + IPV6_HEADER_BYTES;
	unsigned payload, udp_len;

	if (len < ETHER_HEADER_BYTES + IPV6_HEADER_BYTES)
		return OUTER_NOT_IP;
	if (ip_version(ip) != 6)
		return OUTER_MALFORMED;
	payload = load_be16(ip + IPV6_PAYLOAD_LENGTH);
	if (payload > len - ETHER_HEADER_BYTES - IPV6_HEADER_BYTES)
		return OUTER_MALFORMED;
	if (ip[IPV6_NEXT_HEADER] != IP_PROTOCOL_UDP)
		return OUTER_NOT_UDP;
	if (payload < UDP_HEADER_BYTES)
		return OUTER_MALFORMED;
	udp_len = load_be16(udp + UDP_LENGTH);
	if (udp_len < UDP_HEADER_BYTES || udp_len > payload)
		return OUTER_MALFORMED;
	out->family = IP_V6;
	out->traffic_class = ipv6_traffic_class(ip);
	out->payload_offset = OUTER_HEADER6_BYTES;
	out->payload_len = (uint16_t)(udp_len - UDP_HEADER_BYTES);
	memcpy(&out->src_port_be, udp + UDP_SRC_PORT, 2);
	memcpy(&out->dst_port_be, udp + UDP_DST_PORT, 2);
	out->src = ip + IPV6_SRC;
	out->dst = ip + IPV6_DST;
	return OUTER_UDP;
}

/*
 * Classifies len bytes of a frame, from the Ethernet header on; bytes behind the IP packet are
 * padding. *out is filled in for OUTER_UDP only. Checksums are not looked at.
 */
static inline enum outer_verdict outer_classify(const uint8_t *frame, size_t len, struct outer *out)
{
	if (len < ETHER_HEADER_BYTES)
		return OUTER_NOT_IP;
	switch (load_be16(frame + ETHER_TYPE)) {
	case ETHER_TYPE_IPV4:
		return outer_classify4(frame, len, out);
	case ETHER_TYPE_IPV6:
		return outer_classify6(frame, len, out);
	default:
		return OUTER_NOT_IP;
	}
}

/*
 * Whether a datagram says it comes from what may be a host: not from a multicast or broadcast
 * address, loopback, or none at all. The kernel discards the others.
 */
static inline bool outer_from_host(const struct outer *outer)
{
	const uint8_t *src = outer->src;

	if (outer->family == IP_V4)
		return src[0] != 0 && src[0] != 127 && src[0] < 224;
	return src[0] != 0xff && load_be64(src) != 0;
}

/*
 * Prepares the header from src to dst, which are of one family: all but lengths, identification,
 * ECN and checksums. macs is the destination MAC address, then the source's; traffic_class has ECN
 * bits of 0. The checksum fields hold sums over what is known already. Returns its length.
 */
unsigned outer_prepare(uint8_t header[OUTER_HEADER_MAX], const uint8_t macs[12],
	const struct endpoint *src, const struct endpoint *dst, uint8_t traffic_class);

/*
 * Finishes a copy of a prepared header for a payload of payload_len bytes: lengths, ECN,
 * identification and header checksum (the last two IPv4's only). The UDP checksum field is left
 * with the folded sum of the pseudo-header, which is what a NIC that fills in the checksum wants;
 * where none does, one of the next two functions follows.
 */
static inline void outer_finish(
	uint8_t *header, unsigned header_len, unsigned payload_len, uint8_t ecn, uint16_t id)
{
	uint8_t *udp = header + header_len - UDP_HEADER_BYTES;
	uint8_t *ip = header + ETHER_HEADER_BYTES;
	uint16_t udp_len = (uint16_t)(payload_len + UDP_HEADER_BYTES);
	uint64_t sum;
	uint16_t part;

	if (header_len == OUTER_HEADER4_BYTES) {
		uint16_t total = (uint16_t)(udp_len + IPV4_HEADER_BYTES);

		memcpy(&part, ip + IPV4_CHECKSUM, 2);
		sum = checksum_add16(checksum_add16(checksum_add16(part, total), id), ecn);
		ip[IPV4_TOS] |= ecn;
		store_be16(ip + IPV4_TOTAL_LENGTH, total);
		store_be16(ip + IPV4_ID, id);
		checksum_store(ip + IPV4_CHECKSUM, checksum_finish(sum));
	} else {
		ip[1] |= (uint8_t)(ecn << 4);
		store_be16(ip + IPV6_PAYLOAD_LENGTH, udp_len);
	}
	store_be16(udp + UDP_LENGTH, udp_len);
	memcpy(&part, udp + UDP_CHECKSUM, 2);
	checksum_store(udp + UDP_CHECKSUM, checksum_fold(checksum_add16(part, udp_len)));
}

/* Sends without a UDP checksum; IPv4 only (the payload authenticates itself). */
static inline void outer_omit_udp_checksum(uint8_t *header)
{
	checksum_store(header + OUTER_HEADER4_BYTES - UDP_HEADER_BYTES + UDP_CHECKSUM, 0);
}

/* Completes the UDP checksum of a finished header over the payload_len bytes that follow it. */
static inline void outer_complete_udp_checksum(
	uint8_t *header, unsigned header_len, unsigned payload_len)
{
	uint8_t *udp = header + header_len - UDP_HEADER_BYTES;
	/* The field holds the pseudo-header's sum and is part of the span: both count once. */
	uint16_t checksum = checksum_finish(checksum_add(0, udp, UDP_HEADER_BYTES + payload_len));

	checksum_store(udp + UDP_CHECKSUM, checksum ? checksum : 0xffff);
}

#endif
