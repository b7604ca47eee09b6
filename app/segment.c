/* SPDX-License-Identifier: BSD-3-Clause */
#include "segment.h"

#include <string.h>

#include <rte_mbuf.h>

#include "base/bytes.h"
#include "net/checksum.h"
#include "net/headers.h"
#include "net/tcp.h"

#define VLAN_BYTES 4

#define ETHER_TYPE_VLAN 0x8100
#define ETHER_TYPE_QINQ 0x88a8

static bool find_ip(const uint8_t *frame, uint32_t len, bool ethernet, struct segmenter *s);
static bool begin_large(struct segmenter *s, const struct virtio_net_hdr_v1 *vnet);
static void write_headers(struct segmenter *s, uint8_t *out, uint32_t payload, bool last);

bool segment_begin(struct segmenter *s, const struct virtio_net_hdr_v1 *vnet, const uint8_t *frame,
	uint32_t len, bool ethernet)
{
	if (len == 0 || len > UINT16_MAX + ETHER_HEADER_BYTES + 2 * VLAN_BYTES)
		return false;
	*s = (struct segmenter){.frame = frame, .len = len, .packets = 1};
	s->flow = segment_flow(frame, len, ethernet);
	s->checksum = (vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
	if (s->checksum) {
		uint32_t at = (uint32_t)vnet->csum_start + vnet->csum_offset;
		if (at + sizeof(uint16_t) > len)
			return false;
		s->l4_at = vnet->csum_start;
		s->checksum_at = at;
	}
	if (vnet->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	return find_ip(frame, len, ethernet, s) && begin_large(s, vnet);
}

/* The length of the transport header at l4_at, 0 when it is not what the virtio-net header says. */
static uint32_t transport_bytes(
	const struct segmenter *s, unsigned type, const struct virtio_net_hdr_v1 *vnet)
{
	uint32_t room = s->len - s->l4_at;

	if (type == VIRTIO_NET_HDR_GSO_UDP_L4)
		return vnet->csum_offset == UDP_CHECKSUM && room >= UDP_HEADER_BYTES
			       ? UDP_HEADER_BYTES
			       : 0;
	if (type != (s->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4) ||
		vnet->csum_offset != TCP_CHECKSUM || room < TCP_HEADER_BYTES)
		return 0;
	uint32_t bytes = tcp_header_bytes(s->frame + s->l4_at);
	return bytes >= TCP_HEADER_BYTES && bytes <= room ? bytes : 0;
}

/* A frame to be cut: its headers must be what the virtio-net header says they are. */
static bool begin_large(struct segmenter *s, const struct virtio_net_hdr_v1 *vnet)
{
	unsigned type = vnet->gso_type & ~(unsigned)VIRTIO_NET_HDR_GSO_ECN;
	const uint8_t *ip = s->frame + s->ip_at;
	unsigned least = s->ip_at + (s->ipv6 ? IPV6_HEADER_BYTES : (ip[0] & 0xfu) * 4);
	uint8_t protocol = s->ipv6 ? ip[IPV6_NEXT_HEADER] : ip[IPV4_PROTOCOL];

	if (!s->checksum || vnet->gso_size == 0)
		return false;
	/* IPv6 may have extension headers in between. */
	if (s->l4_at < least || (!s->ipv6 && s->l4_at != least))
		return false;
	s->tcp = type != VIRTIO_NET_HDR_GSO_UDP_L4;
	if (s->l4_at == least && protocol != (s->tcp ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP))
		return false;
	uint32_t header = transport_bytes(s, type, vnet);
	if (header == 0)
		return false;
	if (s->l4_at + header > UINT16_MAX)
		return false;
	s->payload_at = (uint16_t)(s->l4_at + header);
	uint32_t payload = s->len - s->payload_at;
	if (payload > vnet->gso_size) {
		s->gso_size = vnet->gso_size;
		s->packets = (payload + s->gso_size - 1) / s->gso_size;
		s->ip_id = s->ipv6 ? 0 : load_be16(ip + IPV4_ID);
	}
	return true;
}

uint32_t segment_max_bytes(const struct segmenter *s)
{
	return s->gso_size == 0 ? s->len : (uint32_t)s->payload_at + s->gso_size;
}

/* The field holds the sum of the pseudo header: with it, the sum is that of the whole. */
static void complete_checksum(uint8_t *start, size_t len, uint8_t *field)
{
	uint16_t checksum = checksum_finish(checksum_add(0, start, len));

	/* Zero means "none" to UDP; its other form is the same number. */
	checksum_store(field, checksum ? checksum : 0xffff);
}

void segment_next(struct segmenter *s, struct rte_mbuf **mbufs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		uint8_t *out = rte_pktmbuf_mtod(m, uint8_t *);
		uint32_t len = s->len;

		if (s->gso_size == 0) {
			memcpy(out, s->frame, len);
		} else {
			uint32_t from = s->payload_at + s->made * s->gso_size;
			uint32_t payload = RTE_MIN((uint32_t)s->gso_size, s->len - from);

			memcpy(out, s->frame, s->payload_at);
			memcpy(out + s->payload_at, s->frame + from, payload);
			write_headers(s, out, payload, s->made + 1 == s->packets);
			len = s->payload_at + payload;
		}
		if (s->checksum)
			complete_checksum(out + s->l4_at, len - s->l4_at, out + s->checksum_at);
		m->data_len = (uint16_t)len;
		m->pkt_len = len;
		s->made++;
	}
}

/* What differs from packet to packet; the checksum field is left with its new pseudo header. */
static void write_headers(struct segmenter *s, uint8_t *out, uint32_t payload, bool last)
{
	uint8_t *ip = out + s->ip_at;
	uint8_t *l4 = out + s->l4_at;
	uint16_t l4_bytes_before = (uint16_t)(s->len - s->l4_at);
	uint16_t l4_bytes = (uint16_t)(s->payload_at - s->l4_at + payload);

	if (s->ipv6) {
		store_be16(ip + IPV6_PAYLOAD_LENGTH,
			(uint16_t)(s->l4_at - s->ip_at - IPV6_HEADER_BYTES + l4_bytes));
	} else {
		size_t ip_bytes = (size_t)(s->l4_at - s->ip_at);
		store_be16(ip + IPV4_TOTAL_LENGTH, (uint16_t)(ip_bytes + l4_bytes));
		store_be16(ip + IPV4_ID, (uint16_t)(s->ip_id + s->made));
		checksum_store(ip + IPV4_CHECKSUM, 0);
		checksum_store(ip + IPV4_CHECKSUM, checksum_finish(checksum_add(0, ip, ip_bytes)));
	}
	if (s->tcp) {
		store_be32(l4 + TCP_SEQ, load_be32(l4 + TCP_SEQ) + s->made * s->gso_size);
		if (!last)
			l4[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (s->made > 0)
			l4[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	} else {
		store_be16(l4 + UDP_LENGTH, l4_bytes);
	}
	/* One's complement: taking the old length out is adding its complement. */
	uint16_t pseudo;
	memcpy(&pseudo, out + s->checksum_at, 2);
	checksum_store(out + s->checksum_at,
		checksum_fold(checksum_add16(
			checksum_add16(pseudo, (uint16_t)~l4_bytes_before), l4_bytes)));
}

/* Finds the IP header, behind Ethernet and up to two VLAN tags; the fixed part of it is there. */
static bool find_ip(const uint8_t *frame, uint32_t len, bool ethernet, struct segmenter *s)
{
	uint32_t at = 0;
	uint16_t type = 0;

	if (ethernet) {
		at = ETHER_HEADER_BYTES;
		if (len < at)
			return false;
		type = load_be16(frame + at - 2);
		for (int tags = 0; tags < 2 && (type == ETHER_TYPE_VLAN || type == ETHER_TYPE_QINQ);
			tags++) {
			at += VLAN_BYTES;
			if (len < at)
				return false;
			type = load_be16(frame + at - 2);
		}
	}
	if (len <= at)
		return false;
	unsigned version = frame[at] >> 4;
	if (ethernet && type != (version == 4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6))
		return false;
	s->ip_at = (uint16_t)at;
	s->ipv6 = version == 6;
	if (version == 4)
		return len - at >= IPV4_HEADER_BYTES && (frame[at] & 0xf) >= IPV4_HEADER_BYTES / 4;
	return version == 6 && len - at >= IPV6_HEADER_BYTES;
}

static uint32_t hash_words(const uint8_t *p, unsigned words, uint64_t h)
{
	for (unsigned i = 0; i < words; i++) {
		h = (h ^ load_le32(p + 4 * i)) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 32;
	}
	return (uint32_t)h;
}

uint32_t segment_flow(const uint8_t *frame, uint32_t len, bool ethernet)
{
	struct segmenter s = {0};

	if (!find_ip(frame, len, ethernet, &s))
		return 0;
	const uint8_t *ip = frame + s.ip_at;
	uint32_t l4_at = s.ip_at + (s.ipv6 ? IPV6_HEADER_BYTES : (ip[0] & 0xfu) * 4);
	uint8_t protocol = s.ipv6 ? ip[IPV6_NEXT_HEADER] : ip[IPV4_PROTOCOL];
	uint32_t h = s.ipv6 ? hash_words(ip + IPV6_SRC, 8, protocol)
			    : hash_words(ip + IPV4_SRC, 2, protocol);
	/* Only the first fragment has ports: none of them counts, so that they stay together. */
	bool fragment = !s.ipv6 && (load_be16(ip + IPV4_FRAGMENT) &
					   (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)) != 0;

	if (!fragment && (protocol == IP_PROTOCOL_TCP || protocol == IP_PROTOCOL_UDP) &&
		l4_at + 4 <= len)
		h = hash_words(frame + l4_at, 1, h);
	return h;
}
