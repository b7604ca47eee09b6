/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frame as the kernel hands it over (virtio-net header, IP packet or Ethernet frame of up to
 * 64 KiB) becomes packets as they go out: cut to gso_size, every checksum complete. TCP and UDP,
 * IPv4 and IPv6, with and without Ethernet and VLAN tags (virtio 1.1, section 5.1.6).
 *
 * The kernel is trusted, its header is checked all the same: nothing outside of the frame is read
 * and a header that makes no sense is refused. Thread: the caller's. Memory: mbufs of its pool.
 */
#ifndef APP_SEGMENT_H
#define APP_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_net.h>

struct rte_mbuf;
struct rte_mempool;

/* Kernel headers before 6.2 do not know the type of large UDP frames. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* A frame being cut. The caller's; fields are segment.c's business, but for packets and flow. */
struct segmenter {
	const uint8_t *frame;
	uint32_t len;
	uint32_t packets;     /* that the frame makes in all, at least 1 */
	uint32_t flow;	      /* hash of addresses, protocol and ports: the same for a whole flow */
	uint32_t made;	      /* packets made so far */
	uint32_t checksum_at; /* a frame with VLAN tags may have it beyond 65,535 */
	uint16_t ip_at, l4_at, payload_at;
	uint16_t gso_size; /* 0: a frame that is one packet */
	uint16_t ip_id;
	bool ipv6, tcp, checksum;
};

/*
 * Looks at a frame; false when its virtio-net header is bogus: then it makes no packet. ethernet:
 * it begins with an Ethernet header, not with IP. frame must stay as it is until all is cut.
 */
__attribute__((warn_unused_result)) bool segment_begin(struct segmenter *s,
	const struct virtio_net_hdr_v1 *vnet, const uint8_t *frame, uint32_t len, bool ethernet);

/* Bytes of the longest packet it will make. */
uint32_t segment_max_bytes(const struct segmenter *s);

/* Writes the next of the packets (n of them, at most packets - made) into mbufs fresh from a pool,
 * whose tailroom takes segment_max_bytes(). Their private area is not touched. */
void segment_next(struct segmenter *s, struct rte_mbuf **mbufs, uint32_t n);

/* The flow hash of a packet, as segment_begin() computes it. */
uint32_t segment_flow(const uint8_t *frame, uint32_t len, bool ethernet);

#endif
