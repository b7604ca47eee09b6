/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets for the tests of the host exchange: made, checked by a naive oracle, put into mbufs. */
#ifndef TESTS_UNIT_APP_FRAMES_H
#define TESTS_UNIT_APP_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_net.h>

struct rte_mbuf;
struct rte_mempool;

/* EAL without hugepages, files or ports, and a pool of mbufs with the data path's private area. */
struct rte_mempool *frames_set_up(const char *test, unsigned mbufs);

/* A generator with a printed seed (DPDK_WG_SEED sets it). */
uint64_t frames_seed(void);
uint32_t frames_random(uint64_t *state);
uint32_t frames_random_below(uint64_t *state, uint32_t limit);

struct frame_spec {
	bool ethernet, ipv6, udp;
	unsigned vlan_tags;
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	uint16_t window;
	uint8_t flags; /* TCP's */
	uint8_t traffic_class, ttl;
	uint16_t ip_id;
	bool df;
	unsigned ip_options;  /* words, IPv4 only */
	unsigned tcp_options; /* words */
	uint32_t payload;
	uint8_t fill; /* of the payload: bytes count up from it */
};

/* Ordinary values with this payload. */
struct frame_spec frame_plain(bool ipv6, bool udp, uint32_t payload);

/* Writes the frame with right checksums; returns its length. */
uint32_t frame_make(const struct frame_spec *spec, uint8_t *out);
/* Writes it as the kernel hands over a large one: its checksum left open. */
uint32_t frame_make_large(const struct frame_spec *spec, uint16_t gso_size, uint8_t *out,
	struct virtio_net_hdr_v1 *vnet);

uint32_t frame_l4_at(const struct frame_spec *spec);
uint32_t frame_headers(const struct frame_spec *spec);

/* The oracle: lengths and all checksums of an IP packet are right. */
bool frame_right(const uint8_t *ip, uint32_t len);

struct rte_mbuf *frame_mbuf(struct rte_mempool *pool, const void *data, uint32_t len);
/* Copies a chain's bytes out; returns how many. */
uint32_t frame_flatten(const struct rte_mbuf *m, uint8_t *out);

#endif
