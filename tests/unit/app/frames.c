/* SPDX-License-Identifier: BSD-3-Clause */
#include "frames.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "app/eal_files.h"
#include "app/segment.h"
#include "base/bytes.h"
#include "datapath/mbuf.h"

static void end(void)
{
	rte_eal_cleanup();
	eal_files_remove();
}

struct rte_mempool *frames_set_up(const char *test, unsigned mbufs)
{
	static char line[256]; /* EAL keeps its arguments */
	char *args[24], *rest = line;
	int n = 0;

	/* Whatever CPU this process may use. */
	cpu_set_t set;
	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	int cpu = 0;
	while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &set))
		cpu++;
	snprintf(line, sizeof(line),
		"%s --no-huge -m 128 --no-pci --no-shconf --no-telemetry --log-level=error"
		" --lcores 0@%d --file-prefix dpdk-wg-%s-%d",
		test, cpu, test, (int)getpid());
	while ((args[n] = strsep(&rest, " ")) != NULL)
		n++;
	eal_files_init();
	atexit(end);
	if (rte_eal_init(n, args) < 0) {
		fprintf(stderr, "EAL does not start\n");
		exit(1);
	}
	/* EAL ties the main thread to its lcore's CPU; a test's other threads want the rest. */
	sched_setaffinity(0, sizeof(set), &set);
	struct rte_mempool *pool = rte_pktmbuf_pool_create(
		test, mbufs, 0, DP_MBUF_PRIV_BYTES, RTE_PKTMBUF_HEADROOM + 2048, SOCKET_ID_ANY);
	if (pool == NULL) {
		fprintf(stderr, "no memory for mbufs\n");
		exit(1);
	}
	return pool;
}

uint64_t frames_seed(void)
{
	const char *given = getenv("DPDK_WG_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) << 20 ^ getpid();

	printf("seed: DPDK_WG_SEED=%#llx\n", (unsigned long long)seed);
	return seed;
}

uint32_t frames_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)(z >> 32);
}

uint32_t frames_random_below(uint64_t *state, uint32_t limit)
{
	return frames_random(state) % limit;
}

struct frame_spec frame_plain(bool ipv6, bool udp, uint32_t payload)
{
	return (struct frame_spec){.ipv6 = ipv6,
		.udp = udp,
		.src_port = 40000,
		.dst_port = 5201,
		.seq = 0xfffffff0,
		.ack = 77,
		.window = 500,
		.flags = 0x10,
		.traffic_class = 2,
		.ttl = 64,
		.ip_id = 0xfffe,
		.df = true,
		.tcp_options = 3,
		.payload = payload,
		.fill = 1};
}

static uint32_t ip_at(const struct frame_spec *spec)
{
	return spec->ethernet ? 14 + 4 * spec->vlan_tags : 0;
}

uint32_t frame_l4_at(const struct frame_spec *spec)
{
	return ip_at(spec) + (spec->ipv6 ? 40 : 20 + 4 * spec->ip_options);
}

uint32_t frame_headers(const struct frame_spec *spec)
{
	return frame_l4_at(spec) + (spec->udp ? 8 : 20 + 4 * spec->tcp_options);
}

/* Byte by byte, as RFC 1071 says it first. */
static uint32_t naive_sum(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static uint32_t naive_pseudo(const uint8_t *ip, uint8_t protocol, uint32_t len)
{
	uint8_t tail[8] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
		(uint8_t)len, 0, 0, 0, protocol};
	uint32_t sum = ip[0] >> 4 == 6 ? naive_sum(0, ip + 8, 32) : naive_sum(0, ip + 12, 8);

	return naive_sum(sum, tail, 8);
}

static void make_ethernet(const struct frame_spec *spec, uint8_t *out)
{
	memset(out, 0x02, 12);
	for (unsigned i = 0; i < spec->vlan_tags; i++) {
		store_be16(out + 12 + 4 * i, i + 1 < spec->vlan_tags ? 0x88a8 : 0x8100);
		store_be16(out + 14 + 4 * i, (uint16_t)(100 + i));
	}
	store_be16(out + 12 + 4 * spec->vlan_tags, spec->ipv6 ? 0x86dd : 0x0800);
}

static void make_ip(const struct frame_spec *spec, uint8_t *ip, uint32_t len)
{
	uint8_t protocol = spec->udp ? 17 : 6;

	if (spec->ipv6) {
		store_be32(ip, 6u << 28 | (uint32_t)spec->traffic_class << 20 | 0x12345);
		store_be16(ip + 4, (uint16_t)(len - 40));
		ip[6] = protocol;
		ip[7] = spec->ttl;
		for (unsigned i = 0; i < 32; i++)
			ip[8 + i] = (uint8_t)(0x20 + i);
		return;
	}
	uint32_t header = 20 + 4 * spec->ip_options;
	memset(ip, 1, header); /* options: no operation */
	ip[0] = (uint8_t)(0x40 | header / 4);
	ip[1] = spec->traffic_class;
	store_be16(ip + 2, (uint16_t)len);
	store_be16(ip + 4, spec->ip_id);
	store_be16(ip + 6, spec->df ? 0x4000 : 0);
	ip[8] = spec->ttl;
	ip[9] = protocol;
	store_be16(ip + 10, 0);
	store_be32(ip + 12, 0x0a000001);
	store_be32(ip + 16, 0x0a000102);
	store_be16(ip + 10, (uint16_t)~naive_sum(0, ip, header));
}

static void make_l4(const struct frame_spec *spec, uint8_t *l4, uint32_t len)
{
	store_be16(l4, spec->src_port);
	store_be16(l4 + 2, spec->dst_port);
	if (spec->udp) {
		store_be16(l4 + 4, (uint16_t)len);
		store_be16(l4 + 6, 0);
		return;
	}
	store_be32(l4 + 4, spec->seq);
	store_be32(l4 + 8, spec->ack);
	l4[12] = (uint8_t)((5 + spec->tcp_options) << 4);
	l4[13] = spec->flags;
	store_be16(l4 + 14, spec->window);
	store_be32(l4 + 16, 0);
	for (unsigned i = 0; i < 4 * spec->tcp_options; i++)
		l4[20 + i] = (uint8_t)(i + 1);
}

/* All but the transport checksum, which is zero. */
static uint32_t make_open(const struct frame_spec *spec, uint8_t *out)
{
	uint32_t headers = frame_headers(spec);

	if (spec->ethernet)
		make_ethernet(spec, out);
	make_ip(spec, out + ip_at(spec), headers - ip_at(spec) + spec->payload);
	make_l4(spec, out + frame_l4_at(spec), headers - frame_l4_at(spec) + spec->payload);
	for (uint32_t i = 0; i < spec->payload; i++)
		out[headers + i] = (uint8_t)(spec->fill + i + (i >> 8));
	return headers + spec->payload;
}

uint32_t frame_make(const struct frame_spec *spec, uint8_t *out)
{
	uint32_t len = make_open(spec, out);
	uint8_t *l4 = out + frame_l4_at(spec);
	uint32_t l4_len = len - frame_l4_at(spec);
	uint32_t sum = naive_pseudo(out + ip_at(spec), spec->udp ? 17 : 6, l4_len);
	uint16_t checksum = (uint16_t)~naive_sum(sum, l4, l4_len);

	store_be16(l4 + (spec->udp ? 6 : 16), checksum ? checksum : 0xffff);
	return len;
}

uint32_t frame_make_large(const struct frame_spec *spec, uint16_t gso_size, uint8_t *out,
	struct virtio_net_hdr_v1 *vnet)
{
	uint32_t len = make_open(spec, out);
	uint32_t l4_at = frame_l4_at(spec);
	uint32_t sum = naive_pseudo(out + ip_at(spec), spec->udp ? 17 : 6, len - l4_at);

	*vnet = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = (uint16_t)frame_headers(spec),
		.gso_size = gso_size,
		.csum_start = (uint16_t)l4_at,
		.csum_offset = spec->udp ? 6 : 16};
	if (gso_size != 0)
		vnet->gso_type = spec->udp    ? VIRTIO_NET_HDR_GSO_UDP_L4
				 : spec->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6
					      : VIRTIO_NET_HDR_GSO_TCPV4;
	store_be16(out + l4_at + vnet->csum_offset, (uint16_t)sum);
	return len;
}

bool frame_right(const uint8_t *ip, uint32_t len)
{
	bool ipv6 = len > 0 && ip[0] >> 4 == 6;

	if (len < (ipv6 ? 40u : 20u))
		return false;
	uint32_t header = ipv6 ? 40 : (ip[0] & 0xfu) * 4;
	uint8_t protocol = ipv6 ? ip[6] : ip[9];
	uint32_t l4_len = len - header;
	if (!ipv6 && (load_be16(ip + 2) != len || naive_sum(0, ip, header) != 0xffff))
		return false;
	if (ipv6 && load_be16(ip + 4) != l4_len)
		return false;
	if (protocol == 17 && load_be16(ip + header + 4) != l4_len)
		return false;
	return naive_sum(naive_pseudo(ip, protocol, l4_len), ip + header, l4_len) == 0xffff;
}

struct rte_mbuf *frame_mbuf(struct rte_mempool *pool, const void *data, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	if (m == NULL || len > rte_pktmbuf_tailroom(m)) {
		fprintf(stderr, "no mbuf for %u bytes\n", len);
		exit(1);
	}
	if (len > 0)
		memcpy(rte_pktmbuf_append(m, (uint16_t)len), data, len);
	return m;
}

uint32_t frame_flatten(const struct rte_mbuf *m, uint8_t *out)
{
	uint32_t len = 0;

	for (; m != NULL; m = m->next) {
		memcpy(out + len, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
		len += m->data_len;
	}
	return len;
}
