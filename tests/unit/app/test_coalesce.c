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

#include "app/coalesce.h"
#include "app/segment.h"
#include "base/bytes.h"
#include "frames.h"

static struct rte_mempool *pool;
static uint64_t state;
static uint8_t buffer[70000];

/* All tests are run twice: with IP packets, and with Ethernet frames around them. */
static bool ethernet;
#define LINK_BYTES (ethernet ? 14u : 0u)

/* A packet as bytes. */
struct packet {
	uint32_t len;
	uint8_t bytes[2048];
};

static struct packet packets[COALESCE_BURST], result[COALESCE_BURST];

static void make(struct packet *p, const struct frame_spec *spec)
{
	p->len = frame_make(spec, p->bytes);
}

/* What the receiver of the frames would see: each cut into packets again. Frees them. */
static unsigned expand(struct rte_mbuf **frames, const struct virtio_net_hdr_v1 *vnet, unsigned n,
	struct packet *out)
{
	unsigned made = 0;

	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *mbufs[COALESCE_BURST];
		struct segmenter s;
		uint32_t len = frame_flatten(frames[i], buffer);
		rte_mbuf_sanity_check(frames[i], 1);
		assert_int_equal(len, frames[i]->pkt_len);
		assert_in_range(len, 0, 65535 + LINK_BYTES);
		if (vnet[i].gso_size != 0)
			assert_int_equal(vnet[i].hdr_len + vnet[i].gso_size, frames[i]->data_len);
		assert_true(segment_begin(&s, &vnet[i], buffer, len, ethernet));
		assert_int_equal(s.packets, frames[i]->nb_segs);
		assert_int_equal(rte_pktmbuf_alloc_bulk(pool, mbufs, s.packets), 0);
		segment_next(&s, mbufs, s.packets);
		for (unsigned k = 0; k < s.packets; k++) {
			assert_in_range(made, 0, COALESCE_BURST - 1);
			out[made].len = mbufs[k]->pkt_len;
			memcpy(out[made++].bytes, rte_pktmbuf_mtod(mbufs[k], void *),
				mbufs[k]->pkt_len);
		}
		rte_pktmbuf_free_bulk(mbufs, s.packets);
	}
	rte_pktmbuf_free_bulk(frames, n);
	return made;
}

/* Coalesces packets[0..n-1] and expands the outcome into result[]; returns the number of frames. */
static unsigned through(unsigned n)
{
	struct rte_mbuf *mbufs[COALESCE_BURST];
	struct virtio_net_hdr_v1 vnet[COALESCE_BURST];

	for (unsigned i = 0; i < n; i++)
		mbufs[i] = frame_mbuf(pool, packets[i].bytes, packets[i].len);
	unsigned frames = coalesce(mbufs, n, ethernet, vnet);
	assert_int_equal(expand(mbufs, vnet, frames, result), n);
	return frames;
}

static void assert_unchanged(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(result[i].len, packets[i].len);
		assert_memory_equal(result[i].bytes, packets[i].bytes, packets[i].len);
	}
}

static struct frame_spec plain(bool ipv6, uint32_t payload)
{
	struct frame_spec spec = frame_plain(ipv6, false, payload);

	spec.ethernet = ethernet;
	return spec;
}

static struct frame_spec next_of(const struct frame_spec *spec)
{
	struct frame_spec next = *spec;

	next.seq += spec->payload;
	next.ip_id++;
	next.fill = (uint8_t)(spec->fill + spec->payload);
	return next;
}

/* A run of n packets in sequence, the last with PSH and shorter. */
static void make_run(struct frame_spec spec, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (i + 1 == n) {
			spec.flags |= 0x08;
			spec.payload -= spec.payload / 3;
		}
		make(&packets[i], &spec);
		spec = next_of(&spec);
	}
}

static void a_run_becomes_one_frame_and_the_same_packets_again(void **unused)
{
	(void)unused;
	for (unsigned n = 2; n <= 45; n++) {
		for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
			make_run(plain(ipv6, 1 + 30 * n), n);
			assert_int_equal(through(n), 1);
			assert_unchanged(n);
		}
	}
}

static void the_frame_is_what_the_kernel_expects(void **unused)
{
	struct rte_mbuf *mbufs[3];
	struct virtio_net_hdr_v1 vnet[3];
	struct frame_spec spec = plain(false, 1000);

	(void)unused;
	for (unsigned i = 0; i < 3; i++) {
		make(&packets[0], &spec);
		mbufs[i] = frame_mbuf(pool, packets[0].bytes, packets[0].len);
		spec = next_of(&spec);
	}
	assert_int_equal(coalesce(mbufs, 3, ethernet, vnet), 1);
	assert_int_equal(vnet[0].flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(vnet[0].gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(vnet[0].gso_size, 1000);
	assert_int_equal(vnet[0].hdr_len, LINK_BYTES + 52);
	assert_int_equal(vnet[0].csum_start, LINK_BYTES + 20);
	assert_int_equal(vnet[0].csum_offset, 16);
	uint32_t len = frame_flatten(mbufs[0], buffer);
	assert_int_equal(len, LINK_BYTES + 3052);
	/* The kernel's completion of the checksum is right. */
	struct frame_spec whole = plain(false, 3000);
	uint8_t open[4096];
	struct virtio_net_hdr_v1 expected;
	frame_make_large(&whole, 1000, open, &expected);
	assert_memory_equal(buffer, open, LINK_BYTES + 52);
	assert_memory_equal(&vnet[0], &expected, sizeof(expected));
	rte_pktmbuf_free(mbufs[0]);
}

static void a_frame_stays_below_64_kib(void **unused)
{
	struct frame_spec spec = plain(false, 1448);

	(void)unused;
	make_run(spec, COALESCE_BURST);
	assert_int_equal(through(COALESCE_BURST), 3); /* 45 packets, 45, 38 */
	assert_unchanged(COALESCE_BURST);
}

/* What makes the second of two packets in sequence (or the first) unfit to be joined. */
static void change_headers(unsigned what, struct frame_spec *a, struct frame_spec *b)
{
	switch (what) {
	case 0:
		b->seq++;
		break;
	case 1:
		b->seq = a->seq;
		break; /* retransmission */
	case 2:
		b->ack++;
		break;
	case 3:
		b->window++;
		break;
	case 4:
		b->flags |= 0x01;
		break; /* FIN */
	case 5:
		b->flags |= 0x02;
		break; /* SYN */
	case 6:
		b->flags |= 0x04;
		break; /* RST */
	case 7:
		b->flags |= 0x20;
		break; /* URG */
	case 8:
		b->flags |= 0x40;
		break; /* ECE of one only */
	case 9:
		b->flags |= 0x80;
		break; /* CWR */
	case 10:
		b->flags = 0;
		break; /* no ACK */
	case 11:
		b->ttl--;
		break;
	case 12:
		b->traffic_class ^= 1;
		break; /* CE */
	case 13:
		b->tcp_options++;
		break;
	case 14:
		b->payload++;
		break; /* longer than the first */
	case 15:
		b->payload = 0;
		break;
	case 16:
		a->flags |= 0x08;
		break; /* PSH ends a run */
	case 17:
		a->payload--;
		b->seq--;
		break;
	case 18:
		b->src_port ^= 1;
		break;
	case 19:
		b->udp = true;
		break;
	case 20:
		a->flags |= 0x01;
		b->flags |= 0x01;
		break;
	case 21:
		a->flags |= 0x80;
		b->flags |= 0x80;
		break;
	/* IPv4 only */
	case 22:
		b->df = false;
		break;
	case 23:
		b->ip_id++;
		break;
	case 24:
		a->df = b->df = false;
		b->ip_id = a->ip_id;
		break;
	case 25:
		b->ip_options = 1;
		break;
	case 26:
		a->ip_options = b->ip_options = 1;
		break;
	}
}
#define CHANGES	     27
#define CHANGES_IPV6 22

static void unlike_packets_stay_alone(void **unused)
{
	(void)unused;
	for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
		for (unsigned what = 0; what < (ipv6 ? CHANGES_IPV6 : CHANGES); what++) {
			struct frame_spec a = plain(ipv6, 500), b = next_of(&a);
			change_headers(what, &a, &b);
			make(&packets[0], &a);
			make(&packets[1], &b);
			if (through(2) != 2)
				fail_msg("change %u (IPv%c) was joined", what, ipv6 ? '6' : '4');
			assert_unchanged(2);
		}
	}
}

/* Every single byte of either packet, changed without mending the checksum: what no checksum covers
 * (IPv6 label, hop limit) differs from the neighbour. */
static void damaged_packets_stay_alone(void **unused)
{
	(void)unused;
	for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
		struct frame_spec a = plain(ipv6, 100), b = next_of(&a);
		for (unsigned which = 0; which < 2; which++) {
			for (uint32_t at = 0; at < 100 + frame_headers(&a); at++) {
				make(&packets[0], &a);
				make(&packets[1], &b);
				packets[which].bytes[at] ^=
					(uint8_t)(1 + frames_random_below(&state, 255));
				unsigned frames = through(2);
				if (frames != 2)
					fail_msg("IPv%c packet %u, byte %u was joined",
						ipv6 ? '6' : '4', which, at);
				assert_unchanged(2);
			}
		}
	}
}

static void odd_lengths_stay_alone(void **unused)
{
	struct frame_spec a = plain(false, 100), b = next_of(&a);

	(void)unused;
	for (int by = -60; by <= 60; by++) {
		if (by == 0)
			continue;
		make(&packets[0], &a);
		make(&packets[1], &b);
		packets[1].len = (uint32_t)((int)packets[1].len + by);
		assert_int_equal(through(2), 2);
		assert_unchanged(2);
	}
	/* Hardly a packet at all. */
	for (uint32_t len = 0; len < LINK_BYTES + 60; len++) {
		make(&packets[0], &a);
		make(&packets[1], &b);
		packets[0].len = packets[1].len = len;
		struct rte_mbuf *mbufs[2];
		struct virtio_net_hdr_v1 vnet[2];
		mbufs[0] = frame_mbuf(pool, packets[0].bytes, len);
		mbufs[1] = frame_mbuf(pool, packets[1].bytes, len);
		assert_int_equal(coalesce(mbufs, 2, ethernet, vnet), 2);
		rte_pktmbuf_free_bulk(mbufs, 2);
	}
}

/* What cannot be told to be of another flow is not overtaken by packets that would join. */
static void unusual_packets_stay_alone_and_in_place(void **unused)
{
	(void)unused;
	for (unsigned options = 0; options < 2; options++) {
		struct frame_spec a = plain(false, 100), b = next_of(&a);
		struct frame_spec between = b;
		between.ip_options = options;
		make(&packets[0], &a);
		make(&packets[1], &between);
		make(&packets[2], &b);
		if (!options)
			packets[1].bytes[LINK_BYTES + 6] |= 0x20; /* more fragments follow */
		assert_int_equal(through(3), 3);
		assert_unchanged(3);
	}
}

/* A standing identification under DF joins too (some senders always write 0). */
static void standing_identification_joins_under_df(void **unused)
{
	struct frame_spec a = plain(false, 100), b = next_of(&a);

	(void)unused;
	a.ip_id = b.ip_id = 0;
	make(&packets[0], &a);
	make(&packets[1], &b);
	assert_int_equal(through(2), 1);
}

/* Frames of a VLAN or of another protocol, and those that Ethernet made longer. */
static void other_frames_stay_alone(void **unused)
{
	struct frame_spec a = plain(false, 100), b;

	(void)unused;
	if (!ethernet)
		return;
	for (a.vlan_tags = 1; a.vlan_tags <= 2; a.vlan_tags++) {
		b = next_of(&a);
		make(&packets[0], &a);
		make(&packets[1], &b);
		assert_int_equal(through(2), 2);
		assert_unchanged(2);
	}
	/* What looks like TCP, but is not said to be IP of that version. */
	a.vlan_tags = 0;
	b = next_of(&a);
	for (unsigned type = 0; type < 2; type++) {
		make(&packets[0], &a);
		make(&packets[1], &b);
		for (unsigned i = 0; i < 2; i++)
			store_be16(packets[i].bytes + 12, type ? 0x86dd : 0x88b5);
		assert_int_equal(through(2), 2);
		assert_unchanged(2);
	}
	a = plain(false, 1);
	a.tcp_options = 0;
	b = next_of(&a);
	make(&packets[0], &a);
	make(&packets[1], &b);
	packets[0].len = packets[1].len = 60;
	assert_int_equal(through(2), 2);
	assert_unchanged(2);
}

/* A padded acknowledgement ends its own flow's run, and no other. */
static void padded_frames_end_their_own_run_only(void **unused)
{
	struct frame_spec a = plain(false, 100), b = next_of(&a), other = plain(false, 0);

	(void)unused;
	if (!ethernet)
		return;
	other.tcp_options = 0;
	for (unsigned own = 0; own < 2; own++) {
		other.src_port = own ? a.src_port : 7;
		make(&packets[0], &a);
		make(&packets[1], &other);
		make(&packets[2], &b);
		packets[1].len = 60;
		assert_int_equal(through(3), own ? 3 : 2);
	}
}

/* --- Many flows at random --- */

#define FLOWS 12

static void random_step(struct frame_spec *spec, const struct frame_spec *ordinary)
{
	*spec = next_of(spec);
	/* What was odd before is mostly forgotten: else soon all would be odd. */
	if (frames_random_below(&state, 2) == 0) {
		spec->flags = ordinary->flags;
		spec->payload = ordinary->payload;
		spec->udp = false;
	}
	switch (frames_random_below(&state, 24)) {
	case 0:
		spec->seq += 100;
		break;
	case 1:
		spec->ack++;
		break;
	case 2:
		spec->payload = 1 + frames_random_below(&state, 1400);
		break;
	case 3:
		spec->flags ^= 0x08;
		break;
	case 4:
		spec->flags = (uint8_t)frames_random(&state);
		break;
	case 5:
		spec->traffic_class = (uint8_t)frames_random_below(&state, 4);
		break;
	case 6:
		spec->payload = 0;
		break;
	case 7:
		spec->udp = true;
		break;
	}
}

static void random_damage(struct packet *p)
{
	if (frames_random_below(&state, 16) == 0)
		p->bytes[frames_random_below(&state, p->len)] ^=
			(uint8_t)(1 + frames_random_below(&state, 255));
	if (frames_random_below(&state, 40) == 0)
		p->len = 1 + frames_random_below(&state, p->len);
}

static bool is_tcp(const struct packet *p)
{
	const uint8_t *ip = p->bytes + LINK_BYTES;
	bool ipv6 = ip[0] >> 4 == 6;

	if (ethernet && load_be16(ip - 2) != (ipv6 ? 0x86dd : 0x0800))
		return false;
	return p->len >= LINK_BYTES + (ipv6 ? 60 : 40) && ip[ipv6 ? 6 : 9] == 6;
}

/* By what a receiver goes; damaged packets may have changed sides. */
static bool same_flow(const struct packet *a, const struct packet *b)
{
	const uint8_t *a_ip = a->bytes + LINK_BYTES, *b_ip = b->bytes + LINK_BYTES;

	if (!is_tcp(a) || !is_tcp(b) || a_ip[0] != b_ip[0])
		return false;
	if (a_ip[0] >> 4 == 6)
		return memcmp(a_ip + 8, b_ip + 8, 36) == 0;
	return memcmp(a_ip + 12, b_ip + 12, 12) == 0;
}

/* Each packet of packets[] is in result[] once, and behind those of its flow that came before. */
static void assert_same_in_order(unsigned n)
{
	unsigned place[COALESCE_BURST];
	bool used[COALESCE_BURST] = {false};

	for (unsigned i = 0; i < n; i++) {
		unsigned at = 0;
		while (at < n &&
			(used[at] || result[at].len != packets[i].len ||
				memcmp(result[at].bytes, packets[i].bytes, packets[i].len) != 0))
			at++;
		assert_in_range(at, 0, n - 1);
		used[at] = true;
		place[i] = at;
		for (unsigned k = 0; k < i; k++)
			if (same_flow(&packets[k], &packets[i]))
				assert_in_range(place[k], 0, at);
	}
}

static void random_packets_come_out_the_same(void **unused)
{
	struct frame_spec specs[FLOWS], ordinary[FLOWS];
	unsigned frames = 0, total = 0;

	(void)unused;
	for (unsigned round = 0; round < 1000; round++) {
		unsigned flows = 1 + frames_random_below(&state, FLOWS);
		unsigned n = 1 + frames_random_below(&state, COALESCE_BURST);
		for (unsigned f = 0; f < flows; f++) {
			specs[f] = plain(f & 1, 1 + frames_random_below(&state, 1400));
			specs[f].src_port = (uint16_t)(1000 + f);
			specs[f].fill = (uint8_t)frames_random(&state);
			ordinary[f] = specs[f];
		}
		for (unsigned i = 0; i < n; i++) {
			unsigned f = frames_random_below(&state, flows);
			make(&packets[i], &specs[f]);
			random_damage(&packets[i]);
			random_step(&specs[f], &ordinary[f]);
		}
		frames += through(n);
		total += n;
		assert_same_in_order(n);
	}
	/* The test would be worth nothing if nothing were joined. */
	assert_true(frames < total * 4 / 5);
	print_message("%u packets in %u frames\n", total, frames);
}

static void cost_is_printed(void **unused)
{
	struct rte_mbuf *mbufs[45];
	struct virtio_net_hdr_v1 vnet[45];
	uint64_t best = UINT64_MAX;

	(void)unused;
	make_run(plain(false, 1368), 45);
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 45; i++)
			mbufs[i] = frame_mbuf(pool, packets[i].bytes, packets[i].len);
		uint64_t start = rte_rdtsc();
		assert_int_equal(coalesce(mbufs, 45, ethernet, vnet), 1);
		best = RTE_MIN(best, rte_rdtsc() - start);
		rte_pktmbuf_free(mbufs[0]);
	}
	print_message(
		"joining 45 packets: %.0f cycles a packet of 1420 bytes\n", (double)best / 45);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_becomes_one_frame_and_the_same_packets_again),
		cmocka_unit_test(the_frame_is_what_the_kernel_expects),
		cmocka_unit_test(a_frame_stays_below_64_kib),
		cmocka_unit_test(unlike_packets_stay_alone),
		cmocka_unit_test(damaged_packets_stay_alone),
		cmocka_unit_test(odd_lengths_stay_alone),
		cmocka_unit_test(unusual_packets_stay_alone_and_in_place),
		cmocka_unit_test(standing_identification_joins_under_df),
		cmocka_unit_test(other_frames_stay_alone),
		cmocka_unit_test(padded_frames_end_their_own_run_only),
		cmocka_unit_test(random_packets_come_out_the_same),
		cmocka_unit_test(cost_is_printed),
	};

	pool = frames_set_up("coalesce", 4095);
	state = frames_seed();
	int failed = cmocka_run_group_tests_name("IP packets", tests, NULL, NULL);
	ethernet = true;
	return failed + cmocka_run_group_tests_name("Ethernet frames", tests, NULL, NULL);
}
