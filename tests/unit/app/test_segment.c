/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "app/segment.h"
#include "base/bytes.h"
#include "frames.h"

#define PACKETS_MAX 1500

static struct rte_mempool *pool;
static uint64_t state;
static uint8_t frame[70000];

static unsigned cut_all(struct segmenter *s, struct rte_mbuf **mbufs)
{
	assert_in_range(s->packets, 1, PACKETS_MAX);
	assert_int_equal(rte_pktmbuf_alloc_bulk(pool, mbufs, s->packets), 0);
	while (s->made < s->packets) {
		uint32_t n = 1 + frames_random_below(&state, s->packets - s->made);
		segment_next(s, mbufs + s->made, n);
	}
	return s->packets;
}

static struct frame_spec random_spec(void)
{
	struct frame_spec spec = frame_plain(frames_random_below(&state, 2),
		frames_random_below(&state, 2), 1 + frames_random_below(&state, 60000));

	spec.ethernet = frames_random_below(&state, 2);
	spec.vlan_tags = frames_random_below(&state, 3);
	spec.seq = frames_random(&state);
	spec.ip_id = (uint16_t)frames_random(&state);
	spec.flags = (uint8_t)(0x10 | frames_random(&state)); /* FIN, PSH, CWR, ... */
	spec.tcp_options = frames_random_below(&state, 11);
	spec.ip_options = frames_random_below(&state, 4) == 0 ? frames_random_below(&state, 11) : 0;
	spec.fill = (uint8_t)frames_random(&state);
	return spec;
}

/* What a TCP sender would have sent had it cut the data itself. */
static void check_tcp(
	const struct frame_spec *spec, uint16_t gso_size, unsigned i, bool last, const uint8_t *l4)
{
	uint8_t flags = spec->flags;

	if (!last)
		flags &= 0xf6; /* FIN, PSH only with the last byte */
	if (i > 0)
		flags &= 0x7f; /* CWR only once */
	assert_int_equal(load_be32(l4 + 4), (uint32_t)(spec->seq + i * gso_size));
	assert_int_equal(l4[13], flags);
	assert_int_equal(load_be32(l4 + 8), spec->ack);
}

static void check_cut(const struct frame_spec *spec, uint16_t gso_size, struct rte_mbuf **mbufs,
	unsigned n, uint32_t flow)
{
	uint32_t headers = frame_headers(spec), l4_at = frame_l4_at(spec);
	uint32_t ip_at = l4_at - (spec->ipv6 ? 40 : 20 + 4 * spec->ip_options);
	uint32_t done = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *p = rte_pktmbuf_mtod(mbufs[i], const uint8_t *);
		uint32_t payload = mbufs[i]->pkt_len - headers;
		bool last = i + 1 == n;
		assert_int_equal(mbufs[i]->data_len, mbufs[i]->pkt_len);
		if (!last)
			assert_int_equal(payload, gso_size);
		assert_true(frame_right(p + ip_at, mbufs[i]->pkt_len - ip_at));
		assert_memory_equal(p, frame, ip_at);
		assert_memory_equal(p + headers, frame + headers + done, payload);
		assert_int_equal(segment_flow(p, mbufs[i]->pkt_len, spec->ethernet), flow);
		if (!spec->ipv6)
			assert_int_equal(load_be16(p + ip_at + 4), (uint16_t)(spec->ip_id + i));
		if (!spec->udp)
			check_tcp(spec, gso_size, i, last, p + l4_at);
		done += payload;
	}
	assert_int_equal(done, spec->payload);
}

static void large_frames_are_cut(void **unused)
{
	struct rte_mbuf *mbufs[PACKETS_MAX];

	(void)unused;
	for (unsigned round = 0; round < 400; round++) {
		struct frame_spec spec = random_spec();
		uint16_t gso_size = (uint16_t)(48 + frames_random_below(&state, 1400));
		struct virtio_net_hdr_v1 vnet;
		uint32_t len = frame_make_large(&spec, gso_size, frame, &vnet);
		struct segmenter s;
		if (spec.flags & 0x80)
			vnet.gso_type |= spec.udp ? 0 : VIRTIO_NET_HDR_GSO_ECN;
		assert_true(segment_begin(&s, &vnet, frame, len, spec.ethernet));
		assert_int_equal(s.packets, (spec.payload + gso_size - 1) / gso_size);
		unsigned n = cut_all(&s, mbufs);
		check_cut(&spec, gso_size, mbufs, n, s.flow);
		rte_pktmbuf_free_bulk(mbufs, n);
	}
}

static void single_frames_get_their_checksum(void **unused)
{
	(void)unused;
	for (unsigned round = 0; round < 400; round++) {
		struct frame_spec spec = random_spec();
		struct virtio_net_hdr_v1 vnet;
		struct segmenter s;
		struct rte_mbuf *m;
		spec.payload %= 1500;
		uint32_t len = frame_make_large(&spec, 0, frame, &vnet);
		assert_true(segment_begin(&s, &vnet, frame, len, spec.ethernet));
		assert_int_equal(cut_all(&s, &m), 1);
		uint8_t whole[2048];
		frame_make(&spec, whole);
		assert_int_equal(m->pkt_len, len);
		assert_memory_equal(rte_pktmbuf_mtod(m, void *), whole, len);
		rte_pktmbuf_free(m);
	}
}

/* UDP: a sum of zero is sent as its other form, for zero means that there is none. */
static void udp_checksum_is_never_zero(void **unused)
{
	struct frame_spec spec = frame_plain(false, true, 2);
	struct virtio_net_hdr_v1 vnet;
	struct segmenter s;
	struct rte_mbuf *m;

	(void)unused;
	uint32_t len = frame_make(&spec, frame);
	/* With its checksum as payload, the checksum comes out as zero. */
	uint16_t payload = load_be16(frame + 28), checksum = load_be16(frame + 26);
	uint32_t sum = payload + checksum;
	len = frame_make_large(&spec, 0, frame, &vnet);
	store_be16(frame + 28, (uint16_t)((sum & 0xffff) + (sum >> 16)));
	assert_true(segment_begin(&s, &vnet, frame, len, false));
	cut_all(&s, &m);
	assert_int_equal(load_be16(rte_pktmbuf_mtod_offset(m, uint8_t *, 26)), 0xffff);
	rte_pktmbuf_free(m);
}

static void frames_with_checksum_pass_unchanged(void **unused)
{
	static const struct virtio_net_hdr_v1 none;
	uint8_t odd[] = {1, 2, 3};
	struct segmenter s;
	struct rte_mbuf *m;

	(void)unused;
	assert_true(segment_begin(&s, &none, odd, sizeof(odd), true));
	cut_all(&s, &m);
	assert_int_equal(m->pkt_len, sizeof(odd));
	assert_memory_equal(rte_pktmbuf_mtod(m, void *), odd, sizeof(odd));
	rte_pktmbuf_free(m);
}

/* With VLAN tags a frame is longer than 65,535: its headers could seem to end at its beginning. */
static void headers_beyond_64_kib_are_refused(void **unused)
{
	static uint8_t long_frame[65535 + 22];
	struct virtio_net_hdr_v1 vnet = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
		.gso_size = 1000,
		.csum_start = 65505,
		.csum_offset = 16};
	struct segmenter s;

	(void)unused;
	memset(long_frame, 0, sizeof(long_frame));
	store_be16(long_frame + 12, 0x88a8);
	store_be16(long_frame + 16, 0x8100);
	store_be16(long_frame + 20, 0x86dd);
	long_frame[22] = 0x60;
	long_frame[22 + 6] = 60; /* destination options: TCP comes somewhere behind */
	long_frame[65505 + 12] = 13 << 4;
	assert_false(segment_begin(&s, &vnet, long_frame, sizeof(long_frame), true));
	/* A checksum's place there is no reason to refuse. */
	vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	vnet.csum_start = 65535;
	assert_true(segment_begin(&s, &vnet, long_frame, sizeof(long_frame), true));
	assert_int_equal(s.checksum_at, 65535 + 16);
}

static void bogus_headers_are_refused(void **unused)
{
	struct virtio_net_hdr_v1 good, bad;
	struct segmenter s;

	(void)unused;
	for (unsigned kind = 0; kind < 4; kind++) {
		struct frame_spec spec = frame_plain(kind & 1, kind & 2, 5000);
		uint32_t len = frame_make_large(&spec, 1000, frame, &good);
		uint32_t l4_at = frame_l4_at(&spec);
		assert_true(segment_begin(&s, &good, frame, len, false));
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		assert_false(segment_begin(&s, &bad, frame, len, false));                          \
	} while (0)
		REFUSED(bad.gso_size = 0);
		REFUSED(bad.flags = 0);
		REFUSED(bad.csum_start = 0);
		REFUSED(bad.csum_start = (uint16_t)(l4_at - 1));
		REFUSED(bad.csum_start = 0xffff);
		REFUSED(bad.csum_offset = 4);
		REFUSED(bad.csum_offset = 0xffff);
		REFUSED(bad.gso_type = VIRTIO_NET_HDR_GSO_UDP); /* not offered */
		REFUSED(bad.gso_type = 0x7f);
		REFUSED(bad.gso_type =
				kind == 0 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4);
		REFUSED(frame[0] ^= 0x20); /* another version */
		frame[0] ^= 0x20;
		REFUSED(frame[spec.ipv6 ? 6 : 9] ^= 1);
		frame[spec.ipv6 ? 6 : 9] ^= 1;
		assert_true(segment_begin(&s, &good, frame, len, false));
		/* Cut off in the headers, at every place. */
		for (uint32_t cut = 0; cut < frame_headers(&spec); cut++)
			assert_false(segment_begin(&s, &good, frame, cut, false));
		/* The same as Ethernet is nothing known. */
		assert_false(segment_begin(&s, &good, frame, len, true));
	}
	assert_false(segment_begin(&s, &good, frame, sizeof(frame), false));
}

/* Anything at all: ASan sees what is read beyond the frame. */
static void random_headers_stay_in_the_frame(void **unused)
{
	struct rte_mbuf *mbufs[64];

	(void)unused;
	for (unsigned round = 0; round < 20000; round++) {
		struct frame_spec spec = random_spec();
		struct virtio_net_hdr_v1 vnet;
		struct segmenter s;
		spec.payload %= 1600;
		uint32_t len = frame_make_large(
			&spec, (uint16_t)frames_random_below(&state, 2000), frame, &vnet);
		for (unsigned i = frames_random_below(&state, 4); i > 0; i--)
			((uint8_t *)&vnet)[frames_random_below(&state, 10)] =
				(uint8_t)frames_random(&state);
		for (unsigned i = frames_random_below(&state, 4); i > 0; i--)
			frame[frames_random_below(&state, 80)] = (uint8_t)frames_random(&state);
		len = frames_random_below(&state, 3) == 0 ? frames_random_below(&state, len) : len;
		uint8_t *copy = malloc(len);
		memcpy(copy, frame, len);
		if (segment_begin(&s, &vnet, copy, len, spec.ethernet)) {
			assert_in_range(s.packets, 1, len);
			while (s.made < s.packets && segment_max_bytes(&s) <= 2048) {
				uint32_t n = RTE_MIN(s.packets - s.made, (uint32_t)64);
				assert_int_equal(rte_pktmbuf_alloc_bulk(pool, mbufs, n), 0);
				segment_next(&s, mbufs, n);
				for (uint32_t i = 0; i < n; i++)
					assert_in_range(
						mbufs[i]->pkt_len, 1, segment_max_bytes(&s));
				rte_pktmbuf_free_bulk(mbufs, n);
			}
		}
		free(copy);
	}
}

static void cost_is_printed(void **unused)
{
	struct frame_spec spec = frame_plain(false, false, 46 * 1368);
	struct rte_mbuf *mbufs[64];
	struct virtio_net_hdr_v1 vnet;
	uint32_t len = frame_make_large(&spec, 1368, frame, &vnet);
	uint64_t best = UINT64_MAX;

	(void)unused;
	for (unsigned round = 0; round < 200; round++) {
		struct segmenter s;
		uint64_t start = rte_rdtsc();
		assert_true(segment_begin(&s, &vnet, frame, len, false));
		assert_int_equal(rte_pktmbuf_alloc_bulk(pool, mbufs, s.packets), 0);
		segment_next(&s, mbufs, s.packets);
		rte_pktmbuf_free_bulk(mbufs, s.packets);
		best = RTE_MIN(best, rte_rdtsc() - start);
	}
	print_message("cutting 64 KiB: %.0f cycles a packet of 1420 bytes\n", (double)best / 46);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_frames_are_cut),
		cmocka_unit_test(single_frames_get_their_checksum),
		cmocka_unit_test(udp_checksum_is_never_zero),
		cmocka_unit_test(frames_with_checksum_pass_unchanged),
		cmocka_unit_test(bogus_headers_are_refused),
		cmocka_unit_test(headers_beyond_64_kib_are_refused),
		cmocka_unit_test(random_headers_stay_in_the_frame),
		cmocka_unit_test(cost_is_printed),
	};

	pool = frames_set_up("segment", 4095);
	state = frames_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
