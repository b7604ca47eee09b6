/* SPDX-License-Identifier: BSD-3-Clause */
#include "naive.h"

#include "net/ecn.h"
#include "net/outer.h"

static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

static struct endpoint endpoint(const char *text)
{
	struct endpoint ep;

	assert_true(endpoint_parse(text, &ep));
	return ep;
}

/* A frame from src to dst with a random payload, as the data path builds it. */
static size_t build(
	uint8_t *frame, const char *src, const char *dst, unsigned payload_len, uint8_t ecn)
{
	struct endpoint from = endpoint(src), to = endpoint(dst);
	uint8_t header[OUTER_HEADER_MAX];
	unsigned len = outer_prepare(header, macs, &from, &to, 0x88);

	memcpy(frame, header, len);
	naive_fill(frame + len, payload_len);
	outer_finish(frame, len, payload_len, ecn, 0x1234);
	outer_complete_udp_checksum(frame, len, payload_len);
	return len + payload_len;
}

/* The IPv4 frame's checksums by the oracle; zero is right. */
static void check_sums(const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETHER_HEADER_BYTES;
	bool v4 = ip_version(ip) == 4;
	size_t header = v4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
	size_t udp_len = len - ETHER_HEADER_BYTES - header;
	const uint8_t *addresses = ip + (v4 ? IPV4_SRC : IPV6_SRC);
	uint32_t sum = naive_sum(IP_PROTOCOL_UDP + (uint32_t)udp_len, addresses, v4 ? 8 : 32);

	assert_int_equal(naive_sum(sum, ip + header, udp_len), 0xffff);
	assert_int_not_equal(load_be16(ip + header + UDP_CHECKSUM), 0);
	if (v4)
		assert_int_equal(naive_sum(0, ip, IPV4_HEADER_BYTES), 0xffff);
}

/* First frame of wireguard-ping-tcp.pcap: a kernel's initiation, UDP checksum left to the NIC. */
static void recorded_frame(void **state)
{
	static const uint8_t recorded[] = {0xa2, 0xe6, 0x34, 0x94, 0xb5, 0x83, 0x3a, 0x36, 0xe5,
		0xbf, 0x5a, 0xf8, 0x08, 0x00, 0x45, 0x88, 0x00, 0xb0, 0x02, 0x4b, 0x00, 0x00, 0x40,
		0x11, 0x63, 0x56, 0x0a, 0x09, 0x00, 0x01, 0x0a, 0x09, 0x00, 0x02, 0xa9, 0xc6, 0xca,
		0x6c, 0x00, 0x9c, 0x14, 0xc2};
	struct endpoint src = endpoint("10.9.0.1:43462"), dst = endpoint("10.9.0.2:51820");
	uint8_t header[OUTER_HEADER_MAX];

	(void)state;
	assert_int_equal(outer_prepare(header, recorded, &src, &dst, 0x88), sizeof(recorded));
	outer_finish(header, sizeof(recorded), 148, 0, 0x024b);
	assert_memory_equal(header, recorded, sizeof(recorded));
}

static void round_trip(void **state, const char *src, const char *dst, unsigned header_len)
{
	static uint8_t frame[OUTER_HEADER_MAX + 9300];

	(void)state;
	for (unsigned payload = 0; payload < 9217; payload += payload < 200 ? 1 : 61) {
		uint8_t ecn = payload & ECN_MASK;
		size_t len = build(frame, src, dst, payload, ecn);
		struct endpoint from = endpoint(src), to = endpoint(dst);
		struct outer outer;
		size_t address_bytes = from.addr.family == IP_V4 ? 4 : 16;

		assert_int_equal(len, header_len + payload);
		check_sums(frame, len);
		/* Behind the datagram: Ethernet's padding. */
		assert_int_equal(outer_classify(frame, len + payload % 19, &outer), OUTER_UDP);
		assert_int_equal(outer.family, from.addr.family);
		assert_int_equal(outer.traffic_class, 0x88 | ecn);
		assert_int_equal(outer.payload_offset, header_len);
		assert_int_equal(outer.payload_len, payload);
		assert_int_equal(be16toh(outer.src_port_be), from.port);
		assert_int_equal(be16toh(outer.dst_port_be), to.port);
		assert_memory_equal(outer.src, from.addr.bytes, address_bytes);
		assert_memory_equal(outer.dst, to.addr.bytes, address_bytes);
		assert_memory_equal(frame, macs, 12);
	}
}

static void round_trip4(void **state)
{
	round_trip(state, "192.0.2.1:51820", "198.51.100.200:1", OUTER_HEADER4_BYTES);
}

static void round_trip6(void **state)
{
	round_trip(state, "[2001:db8::1]:65535", "[2001:db8:ffff::2]:51820", OUTER_HEADER6_BYTES);
}

/* A sum that comes out as zero is sent as all ones: zero would mean none. */
static void zero_checksum_is_sent_as_ones(void **state)
{
	uint8_t frame[OUTER_HEADER_MAX + 2];
	size_t len = build(frame, "[2001:db8::1]:7", "[2001:db8::2]:9", 2, 0);
	uint8_t *udp = frame + len - 2 - UDP_HEADER_BYTES;
	uint16_t without;

	(void)state;
	store_be16(udp + UDP_HEADER_BYTES, 0);
	outer_prepare(frame, macs, &(struct endpoint){.addr = {.family = IP_V6}, .port = 1},
		&(struct endpoint){.addr = {.family = IP_V6}, .port = 2}, 0);
	outer_finish(frame, OUTER_HEADER6_BYTES, 2, 0, 0);
	without = checksum_fold(checksum_add(0, udp, UDP_HEADER_BYTES + 2));
	checksum_store(udp + UDP_HEADER_BYTES, (uint16_t)~without);
	outer_complete_udp_checksum(frame, OUTER_HEADER6_BYTES, 2);
	assert_int_equal(load_be16(udp + UDP_CHECKSUM), 0xffff);
	check_sums(frame, len);
}

/* Every truncation of a frame, on a heap block of its own length: no datagram, and no overread. */
static void truncated(void **state)
{
	const char *ends[][2] = {
		{"192.0.2.1:1", "192.0.2.2:2"}, {"[2001:db8::1]:1", "[2001:db8::2]:2"}};
	uint8_t frame[OUTER_HEADER_MAX + 100];
	struct outer outer;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		size_t len = build(frame, ends[i][0], ends[i][1], 100, 0);

		for (size_t cut = 0; cut < len; cut++) {
			uint8_t *copy = naive_copy(frame, cut);

			assert_int_not_equal(outer_classify(copy, cut, &outer), OUTER_UDP);
			free(copy);
		}
		assert_int_equal(outer_classify(frame, len, &outer), OUTER_UDP);
	}
}

struct change {
	unsigned at;
	uint16_t word;
	enum outer_verdict verdict;
};

static void check_changes(
	const char *src, const char *dst, const struct change *changes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t frame[OUTER_HEADER_MAX + 60];
		size_t len = build(frame, src, dst, 60, 0);
		struct outer outer;

		store_be16(frame + changes[i].at, changes[i].word);
		assert_int_equal(outer_classify(frame, len, &outer), changes[i].verdict);
	}
}

static void changed_headers4(void **state)
{
	enum { IP = ETHER_HEADER_BYTES, UDP = IP + IPV4_HEADER_BYTES };
	static const struct change changes[] = {
		{ETHER_TYPE, 0x0806, OUTER_NOT_IP}, /* ARP */
		{ETHER_TYPE, 0x8100, OUTER_NOT_IP}, /* VLAN tag */
		{ETHER_TYPE, 0x86dd, OUTER_MALFORMED},
		{IP, 0x4600, OUTER_OPTIONS},
		{IP, 0x4f00, OUTER_OPTIONS},
		{IP, 0x4400, OUTER_MALFORMED},
		{IP, 0x6500, OUTER_MALFORMED},
		{IP + IPV4_TOTAL_LENGTH, 88, OUTER_UDP},
		{IP + IPV4_TOTAL_LENGTH, 89, OUTER_MALFORMED}, /* beyond the frame */
		{IP + IPV4_TOTAL_LENGTH, 87, OUTER_MALFORMED}, /* cuts the datagram */
		{IP + IPV4_TOTAL_LENGTH, 27, OUTER_MALFORMED}, /* cuts the UDP header */
		{IP + IPV4_TOTAL_LENGTH, 19, OUTER_MALFORMED},
		{IP + IPV4_TOTAL_LENGTH, 0, OUTER_MALFORMED},
		{IP + IPV4_FRAGMENT, 0x4000, OUTER_UDP}, /* DF */
		{IP + IPV4_FRAGMENT, 0x2000, OUTER_FRAGMENT},
		{IP + IPV4_FRAGMENT, 0x0001, OUTER_FRAGMENT},
		{IP + IPV4_TTL, 0x4006, OUTER_NOT_UDP},
		{IP + IPV4_TTL, 0x4001, OUTER_NOT_UDP},
		{UDP + UDP_LENGTH, 68, OUTER_UDP},
		{UDP + UDP_LENGTH, 69, OUTER_MALFORMED},
		{UDP + UDP_LENGTH, 0xffff, OUTER_MALFORMED},
		{UDP + UDP_LENGTH, 67, OUTER_UDP}, /* the kernel trims, too */
		{UDP + UDP_LENGTH, 8, OUTER_UDP},
		{UDP + UDP_LENGTH, 7, OUTER_MALFORMED},
		{UDP + UDP_LENGTH, 0, OUTER_MALFORMED},
	};

	(void)state;
	check_changes("192.0.2.1:1", "192.0.2.2:2", changes, sizeof(changes) / sizeof(*changes));
}

static void changed_headers6(void **state)
{
	enum { IP = ETHER_HEADER_BYTES, UDP = IP + IPV6_HEADER_BYTES };
	static const struct change changes[] = {
		{ETHER_TYPE, 0x0800, OUTER_MALFORMED}, {IP, 0x4000, OUTER_MALFORMED},
		{IP, 0x6fff, OUTER_UDP}, {IP + IPV6_PAYLOAD_LENGTH, 68, OUTER_UDP},
		{IP + IPV6_PAYLOAD_LENGTH, 69, OUTER_MALFORMED},
		{IP + IPV6_PAYLOAD_LENGTH, 0xffff, OUTER_MALFORMED},
		{IP + IPV6_PAYLOAD_LENGTH, 67, OUTER_MALFORMED},
		{IP + IPV6_PAYLOAD_LENGTH, 7, OUTER_MALFORMED},
		{IP + IPV6_PAYLOAD_LENGTH, 0, OUTER_MALFORMED},
		{IP + IPV6_NEXT_HEADER, 0x0040, OUTER_NOT_UDP}, /* hop-by-hop options */
		{IP + IPV6_NEXT_HEADER, 0x2c40, OUTER_NOT_UDP}, /* fragment */
		{IP + IPV6_NEXT_HEADER, 0x3a40, OUTER_NOT_UDP},
		{UDP + UDP_LENGTH, 69, OUTER_MALFORMED}, {UDP + UDP_LENGTH, 8, OUTER_UDP},
		{UDP + UDP_LENGTH, 7, OUTER_MALFORMED},
		{UDP + UDP_LENGTH, 0, OUTER_MALFORMED}, /* no jumbograms */
	};

	(void)state;
	check_changes(
		"[2001:db8::1]:1", "[2001:db8::2]:2", changes, sizeof(changes) / sizeof(*changes));
}

/* Random headers: whatever is called a datagram lies within the frame. */
static void random_frames(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint8_t frame[128];
		size_t len = naive_random() % sizeof(frame);
		struct outer outer;
		uint8_t *copy;

		naive_fill(frame, sizeof(frame));
		store_be16(frame + ETHER_TYPE, i & 1 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6);
		frame[ETHER_HEADER_BYTES] = i & 1 ? 0x45 : 0x60;
		frame[ETHER_HEADER_BYTES + (i & 1 ? IPV4_PROTOCOL : IPV6_NEXT_HEADER)] =
			IP_PROTOCOL_UDP;
		store_be16(frame + ETHER_HEADER_BYTES + (i & 1 ? 2 : 4), naive_random() % 128);
		if (i & 1)
			store_be16(frame + ETHER_HEADER_BYTES + IPV4_FRAGMENT, 0);
		store_be16(frame + (i & 1 ? 38 : 58), naive_random() % 128);
		copy = naive_copy(frame, len);
		if (outer_classify(copy, len, &outer) == OUTER_UDP)
			assert_true(outer.payload_offset + (size_t)outer.payload_len <= len);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded_frame),
		cmocka_unit_test(round_trip4),
		cmocka_unit_test(round_trip6),
		cmocka_unit_test(zero_checksum_is_sent_as_ones),
		cmocka_unit_test(truncated),
		cmocka_unit_test(changed_headers4),
		cmocka_unit_test(changed_headers6),
		cmocka_unit_test(random_frames),
	};

	naive_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
