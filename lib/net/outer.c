/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/outer.h"

static uint64_t prepare4(
	uint8_t *ip, const struct endpoint *src, const struct endpoint *dst, uint8_t traffic_class)
{
	ip[IPV4_VERSION_IHL] = 0x45;
	ip[IPV4_TOS] = traffic_class;
	ip[IPV4_TTL] = IP_DEFAULT_TTL;
	ip[IPV4_PROTOCOL] = IP_PROTOCOL_UDP;
	memcpy(ip + IPV4_SRC, src->addr.bytes, 4);
	memcpy(ip + IPV4_DST, dst->addr.bytes, 4);
	checksum_store(ip + IPV4_CHECKSUM, checksum_fold(checksum_add(0, ip, IPV4_HEADER_BYTES)));
	return checksum_pseudo4(ip + IPV4_SRC, ip + IPV4_DST, IP_PROTOCOL_UDP, 0);
}

static uint64_t prepare6(
	uint8_t *ip, const struct endpoint *src, const struct endpoint *dst, uint8_t traffic_class)
{
	store_be16(ip, 6 << 12);
	ipv6_set_traffic_class(ip, traffic_class);
	ip[IPV6_NEXT_HEADER] = IP_PROTOCOL_UDP;
	ip[IPV6_HOP_LIMIT] = IP_DEFAULT_TTL;
	memcpy(ip + IPV6_SRC, src->addr.bytes, 16);
	memcpy(ip + IPV6_DST, dst->addr.bytes, 16);
	return checksum_pseudo6(ip + IPV6_SRC, ip + IPV6_DST, IP_PROTOCOL_UDP, 0);
}

unsigned outer_prepare(uint8_t header[OUTER_HEADER_MAX], const uint8_t macs[12],
	const struct endpoint *src, const struct endpoint *dst, uint8_t traffic_class)
{
	bool v4 = dst->addr.family == IP_V4;
	unsigned len = v4 ? OUTER_HEADER4_BYTES : OUTER_HEADER6_BYTES;
	uint8_t *ip = header + ETHER_HEADER_BYTES;
	uint8_t *udp = header + len - UDP_HEADER_BYTES;
	uint64_t pseudo;

	assert(src->addr.family == dst->addr.family && (traffic_class & 3) == 0);
	memset(header, 0, OUTER_HEADER_MAX);
	memcpy(header, macs, 12);
	store_be16(header + ETHER_TYPE, v4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6);
	pseudo = v4 ? prepare4(ip, src, dst, traffic_class) : prepare6(ip, src, dst, traffic_class);
	store_be16(udp + UDP_SRC_PORT, src->port);
	store_be16(udp + UDP_DST_PORT, dst->port);
	checksum_store(udp + UDP_CHECKSUM, checksum_fold(pseudo));
	return len;
}
