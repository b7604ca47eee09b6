/* SPDX-License-Identifier: BSD-3-Clause */
#include "coalesce.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include "base/bytes.h"
#include "net/checksum.h"
#include "net/headers.h"
#include "net/tcp.h"

#define IPV4_DF 0x4000

/* Flows that can be open at once; a newcomer to a taken slot ends the run that was there. */
#define FLOW_SLOTS 64
#define NO_RUN	   0xff
static_assert(COALESCE_BURST < NO_RUN, "a run's number fits a byte");

#define FRAME_MAX_BYTES 65535

#define PREFETCH_AHEAD 4

/* A packet's headers. */
struct look {
	const uint8_t *ip, *tcp;
	uint32_t flow;
	uint32_t seq;
	uint16_t payload_at, payload; /* from the IP header on */
	uint16_t link_bytes;	      /* of Ethernet's header before it */
	bool ipv6;
	bool padded;   /* Ethernet makes short packets longer */
	bool joinable; /* as far as can be told without its neighbours and its checksums */
};

enum look_kind {
	LOOK_OTHER,   /* nothing that can belong to a TCP flow */
	LOOK_UNUSUAL, /* may belong to any flow */
	LOOK_TCP,
};

/* The packets of one flow that were joined so far; at the same place as their frame. */
struct run {
	struct look first;
	struct rte_mbuf *tail;
	uint32_t next_seq;
	uint16_t packets;
	bool verified; /* the first packet's checksums are right */
	bool push;
};

struct coalescer {
	unsigned frames;
	uint8_t slots[FLOW_SLOTS]; /* the open run of a flow, or NO_RUN */
	struct run runs[COALESCE_BURST];
};

static enum look_kind look(const struct rte_mbuf *m, bool ethernet, struct look *out);
static bool same_flow(const struct look *a, const struct look *b);
static bool follows(const struct run *run, const struct rte_mbuf *head, const struct look *packet);
static bool checksums_right(const struct look *packet);
static void join(
	struct run *run, struct rte_mbuf *head, struct rte_mbuf *m, const struct look *packet);
static void finish(const struct run *run, struct rte_mbuf *head, struct virtio_net_hdr_v1 *vnet);

/* True when m joined the open run; else the slot is free for a run that begins with m. */
static bool try_join(
	struct coalescer *c, struct rte_mbuf **mbufs, struct rte_mbuf *m, const struct look *packet)
{
	uint8_t *slot = &c->slots[packet->flow % FLOW_SLOTS];

	if (*slot == NO_RUN)
		return false;
	struct run *run = &c->runs[*slot];
	struct rte_mbuf *head = mbufs[*slot];
	*slot = NO_RUN;
	if (!packet->joinable || !same_flow(&run->first, packet) || !follows(run, head, packet))
		return false;
	if (!run->verified && !checksums_right(&run->first))
		return false;
	run->verified = true;
	if (!checksums_right(packet))
		return false;
	uint16_t full = run->first.payload;
	join(run, head, m, packet);
	if (packet->payload == full && !run->push)
		*slot = (uint8_t)(run - c->runs);
	return true;
}

unsigned coalesce(
	struct rte_mbuf **mbufs, unsigned n, bool ethernet, struct virtio_net_hdr_v1 *vnet)
{
	struct coalescer c;

	assert(n <= COALESCE_BURST);
	c.frames = 0;
	memset(c.slots, NO_RUN, sizeof(c.slots));
	for (unsigned i = 0; i < n && i < PREFETCH_AHEAD; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		if (i + PREFETCH_AHEAD < n)
			rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + PREFETCH_AHEAD], void *));

		struct run *run = &c.runs[c.frames];
		struct look packet;
		enum look_kind kind = look(m, ethernet, &packet);
		if (kind == LOOK_TCP && try_join(&c, mbufs, m, &packet))
			continue;
		/* What may belong to an open run must not be overtaken by packets that join it. */
		if (kind == LOOK_UNUSUAL)
			memset(c.slots, NO_RUN, sizeof(c.slots));
		run->packets = 1;
		if (kind == LOOK_TCP && packet.joinable) {
			*run = (struct run){.first = packet,
				.tail = m,
				.next_seq = packet.seq + packet.payload,
				.packets = 1,
				.push = (packet.tcp[TCP_FLAGS] & TCP_PSH) != 0};
			if (!run->push)
				c.slots[packet.flow % FLOW_SLOTS] = (uint8_t)c.frames;
		}
		/* Never ahead of i: the place was read already. */
		mbufs[c.frames++] = m;
	}
	for (unsigned i = 0; i < c.frames; i++) {
		memset(&vnet[i], 0, sizeof(vnet[i]));
		if (c.runs[i].packets > 1)
			finish(&c.runs[i], mbufs[i], &vnet[i]);
	}
	return c.frames;
}

static uint32_t flow_hash(const struct look *packet)
{
	uint64_t h = load_le32(packet->tcp + TCP_PORTS);

	if (packet->ipv6) {
		h ^= load_le64(packet->ip + 16) ^ load_le64(packet->ip + 24) * 3;
		h ^= load_le64(packet->ip + 32) ^ load_le64(packet->ip + 8) * 3;
	} else {
		h ^= load_le64(packet->ip + 12);
	}
	return (uint32_t)((h * 0x9e3779b97f4a7c15ull) >> 32);
}

/* Is the packet as long as it says? Ethernet may have padded it. */
static bool length_fits(uint32_t says, uint32_t len, struct look *out)
{
	out->padded = out->link_bytes > 0 && says < len;
	return says == len || out->padded;
}

/* Where the TCP header is, or why there is none. */
static enum look_kind find_tcp(const uint8_t *ip, uint32_t len, struct look *out)
{
	uint8_t protocol;
	uint32_t tcp_at, says;
	bool plain;

	if (len < IPV4_HEADER_BYTES)
		return LOOK_UNUSUAL;
	out->ip = ip;
	out->ipv6 = ip[0] >> 4 == 6;
	if (out->ipv6) {
		if (len < IPV6_HEADER_BYTES)
			return LOOK_UNUSUAL;
		protocol = ip[IPV6_NEXT_HEADER];
		tcp_at = IPV6_HEADER_BYTES;
		says = (uint32_t)load_be16(ip + IPV6_PAYLOAD_LENGTH) + IPV6_HEADER_BYTES;
		plain = length_fits(says, len, out);
		if (protocol == IP_PROTOCOL_ICMPV6)
			return LOOK_OTHER;
	} else {
		protocol = ip[IPV4_PROTOCOL];
		tcp_at = IPV4_HEADER_BYTES;
		says = load_be16(ip + IPV4_TOTAL_LENGTH);
		/* Version 4 without options, no fragment. */
		plain = ip[0] == 0x45 && length_fits(says, len, out) &&
			(load_be16(ip + IPV4_FRAGMENT) & ~IPV4_DF) == 0;
		if (plain && protocol == IP_PROTOCOL_ICMP)
			return LOOK_OTHER;
	}
	if (plain && protocol == IP_PROTOCOL_UDP)
		return LOOK_OTHER;
	if (!plain || protocol != IP_PROTOCOL_TCP || says < tcp_at + TCP_HEADER_BYTES)
		return LOOK_UNUSUAL;
	out->tcp = ip + tcp_at;
	return LOOK_TCP;
}

/* Ethernet's header leads to one of IP, right behind it. */
static bool ethernet_to_ip(const uint8_t *frame, uint32_t len)
{
	if (len <= ETHER_HEADER_BYTES)
		return false;
	uint16_t type = load_be16(frame + ETHER_TYPE);
	uint8_t version = frame[ETHER_HEADER_BYTES] >> 4;
	return (type == ETHER_TYPE_IPV4 && version == 4) ||
	       (type == ETHER_TYPE_IPV6 && version == 6);
}

static enum look_kind look(const struct rte_mbuf *m, bool ethernet, struct look *out)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	if (m->nb_segs != 1)
		return LOOK_UNUSUAL;
	/* A VLAN's flows are none of those that may be open. */
	if (ethernet && !ethernet_to_ip(frame, m->data_len))
		return LOOK_OTHER;
	out->link_bytes = ethernet ? ETHER_HEADER_BYTES : 0;
	uint32_t len = (uint32_t)m->data_len - out->link_bytes;
	enum look_kind kind = find_tcp(frame + out->link_bytes, len, out);
	if (kind != LOOK_TCP)
		return kind;

	uint32_t payload_at = (uint32_t)(out->tcp - out->ip) + tcp_header_bytes(out->tcp);
	uint8_t flags = out->tcp[TCP_FLAGS];
	out->flow = flow_hash(out);
	out->seq = load_be32(out->tcp + TCP_SEQ);
	out->joinable = !out->padded && (flags & (uint8_t) ~(TCP_PSH | TCP_ECE)) == TCP_ACK &&
			(out->tcp[TCP_DATA_OFFSET] & 0xf) == 0 &&
			tcp_header_bytes(out->tcp) >= TCP_HEADER_BYTES && payload_at < len;
	if (out->joinable) {
		out->payload_at = (uint16_t)payload_at;
		out->payload = (uint16_t)(len - payload_at);
	}
	return LOOK_TCP;
}

static bool same_flow(const struct look *a, const struct look *b)
{
	if (a->ipv6 != b->ipv6 || load_le32(a->tcp) != load_le32(b->tcp))
		return false;
	if (memcmp(a->ip - a->link_bytes, b->ip - b->link_bytes, a->link_bytes) != 0)
		return false;
	return a->ipv6 ? memcmp(a->ip + IPV6_SRC, b->ip + IPV6_SRC, 32) == 0
		       : load_le64(a->ip + IPV4_SRC) == load_le64(b->ip + IPV4_SRC);
}

/* Does the IP header differ from the run's first only in what cutting brings back? */
static bool ip_follows(const struct run *run, const struct look *packet)
{
	const uint8_t *a = run->first.ip, *b = packet->ip;

	if (packet->ipv6) /* version, class, flow label; next header, hop limit */
		return load_le32(a) == load_le32(b) && load_le16(a + 6) == load_le16(b + 6);
	uint16_t steps = (uint16_t)(load_be16(b + IPV4_ID) - load_be16(a + IPV4_ID));
	bool df = (load_be16(b + IPV4_FRAGMENT) & IPV4_DF) != 0;
	/* version, length, TOS; flags; TTL, protocol */
	return load_le16(a) == load_le16(b) && load_le16(a + 6) == load_le16(b + 6) &&
	       load_le16(a + 8) == load_le16(b + 8) &&
	       (steps == run->packets || (df && steps == 0));
}

static bool follows(const struct run *run, const struct rte_mbuf *head, const struct look *packet)
{
	const struct look *first = &run->first;
	const uint8_t *a = first->tcp, *b = packet->tcp;

	if (packet->seq != run->next_seq || packet->payload > first->payload ||
		packet->payload_at != first->payload_at ||
		head->pkt_len - packet->link_bytes + packet->payload > FRAME_MAX_BYTES)
		return false;
	if (load_le32(a + TCP_ACK_NUMBER) != load_le32(b + TCP_ACK_NUMBER) ||
		((a[TCP_FLAGS] ^ b[TCP_FLAGS]) & ~TCP_PSH) != 0 ||
		load_le16(a + TCP_WINDOW) != load_le16(b + TCP_WINDOW) ||
		load_le16(a + TCP_URGENT) != load_le16(b + TCP_URGENT))
		return false;
	size_t options = (size_t)(packet->payload_at - (b - packet->ip)) - TCP_HEADER_BYTES;
	return memcmp(a + TCP_HEADER_BYTES, b + TCP_HEADER_BYTES, options) == 0 &&
	       ip_follows(run, packet);
}

/* The sum of the pseudo header of a TCP segment of tcp_bytes. */
static uint64_t pseudo_sum(const struct look *packet, uint32_t tcp_bytes)
{
	return packet->ipv6 ? checksum_pseudo6(packet->ip + IPV6_SRC, packet->ip + IPV6_DST,
				      IP_PROTOCOL_TCP, tcp_bytes)
			    : checksum_pseudo4(packet->ip + IPV4_SRC, packet->ip + IPV4_DST,
				      IP_PROTOCOL_TCP, tcp_bytes);
}

static bool checksums_right(const struct look *packet)
{
	size_t ip_bytes = (size_t)(packet->tcp - packet->ip);
	size_t tcp_bytes = packet->payload_at - ip_bytes + packet->payload;

	if (!packet->ipv6 && !checksum_ipv4_valid(packet->ip))
		return false;
	uint64_t sum = pseudo_sum(packet, (uint32_t)tcp_bytes);
	return checksum_finish(checksum_add(sum, packet->tcp, tcp_bytes)) == 0;
}

static void join(
	struct run *run, struct rte_mbuf *head, struct rte_mbuf *m, const struct look *packet)
{
	run->push = (packet->tcp[TCP_FLAGS] & TCP_PSH) != 0;
	rte_pktmbuf_adj(m, (uint16_t)(packet->link_bytes + packet->payload_at));
	run->tail->next = m;
	run->tail = m;
	run->next_seq += packet->payload;
	run->packets++;
	head->pkt_len += packet->payload;
	head->nb_segs++;
}

/* The first packet's headers become those of the whole frame. */
static void finish(const struct run *run, struct rte_mbuf *head, struct virtio_net_hdr_v1 *vnet)
{
	const struct look *first = &run->first;
	uint8_t *ip = rte_pktmbuf_mtod_offset(head, uint8_t *, first->link_bytes);
	uint32_t len = head->pkt_len - first->link_bytes;
	uint16_t ip_bytes = (uint16_t)(first->tcp - first->ip);
	uint8_t *tcp = ip + ip_bytes;

	if (first->ipv6) {
		store_be16(ip + IPV6_PAYLOAD_LENGTH, (uint16_t)(len - IPV6_HEADER_BYTES));
	} else {
		store_be16(ip + IPV4_TOTAL_LENGTH, (uint16_t)len);
		checksum_store(ip + IPV4_CHECKSUM, 0);
		checksum_store(ip + IPV4_CHECKSUM,
			checksum_finish(checksum_add(0, ip, IPV4_HEADER_BYTES)));
	}
	if (run->push)
		tcp[TCP_FLAGS] |= TCP_PSH;
	/* The kernel adds the rest: the pseudo header's sum as it is, not its complement. */
	checksum_store(tcp + TCP_CHECKSUM, checksum_fold(pseudo_sum(first, len - ip_bytes)));

	vnet->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vnet->gso_type = first->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	vnet->hdr_len = (uint16_t)(first->link_bytes + first->payload_at);
	vnet->gso_size = first->payload;
	vnet->csum_start = (uint16_t)(first->link_bytes + ip_bytes);
	vnet->csum_offset = TCP_CHECKSUM;
}
