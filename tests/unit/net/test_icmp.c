/* SPDX-License-Identifier: BSD-3-Clause */
#include "naive.h"

#include "net/icmp.h"
#include "net/inner.h"

static const struct ip_addr source4 = {.family = IP_V4, .bytes = {10, 1, 2, 3}};
static const struct ip_addr source6 = {.family = IP_V6, .bytes = {0xfd, 1, [15] = 9}};

/* A packet of len bytes whose upper layer is all of it behind the header. */
static void make4(uint8_t *packet, size_t len, uint8_t protocol)
{
	naive_fill(packet, len);
	packet[IPV4_VERSION_IHL] = 0x45;
	store_be16(packet + IPV4_TOTAL_LENGTH, (uint16_t)len);
	store_be16(packet + IPV4_FRAGMENT, 0);
	packet[IPV4_PROTOCOL] = protocol;
	memcpy(packet + IPV4_SRC, (uint8_t[]){192, 168, 7, 1}, 4);
	memcpy(packet + IPV4_DST, (uint8_t[]){10, 0, 0, 2}, 4);
}

static void make6(uint8_t *packet, size_t len, uint8_t protocol)
{
	naive_fill(packet, len);
	packet[0] = 0x60;
	store_be16(packet + IPV6_PAYLOAD_LENGTH, (uint16_t)(len - IPV6_HEADER_BYTES));
	packet[IPV6_NEXT_HEADER] = protocol;
	packet[IPV6_SRC] = packet[IPV6_DST] = 0xfd;
}

static size_t answer(
	uint8_t *out, enum icmp_error error, uint32_t mtu, const uint8_t *packet, size_t len)
{
	uint8_t *copy = naive_copy(packet, len);
	size_t n = icmp_build_error(
		out, error, mtu, len && copy[0] >> 4 == 4 ? &source4 : &source6, copy, len);

	free(copy);
	return n;
}

static bool answers(enum icmp_error error, const uint8_t *packet, size_t len)
{
	uint8_t out[ICMP_ERROR_MAX];

	return answer(out, error, 1420, packet, len) > 0;
}

static void check4(
	const uint8_t *out, size_t n, uint8_t type, uint8_t code, const uint8_t *packet, size_t len)
{
	struct inner inner;
	size_t quoted = len < 548 ? len : 548;

	assert_int_equal(n, 28 + quoted);
	assert_true(inner_parse(out, n, &inner));
	assert_int_equal(inner.len, n);
	assert_int_equal(naive_sum(0, out, 20), 0xffff);
	assert_int_equal(naive_sum(0, out + 20, n - 20), 0xffff);
	assert_int_equal(out[IPV4_PROTOCOL], IP_PROTOCOL_ICMP);
	assert_memory_equal(inner.src, source4.bytes, 4);
	assert_memory_equal(inner.dst, packet + IPV4_SRC, 4);
	assert_int_equal(out[20], type);
	assert_int_equal(out[21], code);
	assert_memory_equal(out + 28, packet, quoted);
}

static void check6(
	const uint8_t *out, size_t n, uint8_t type, uint8_t code, const uint8_t *packet, size_t len)
{
	struct inner inner;
	size_t quoted = len < 1232 ? len : 1232;
	uint32_t sum;

	assert_int_equal(n, 48 + quoted);
	assert_true(inner_parse(out, n, &inner));
	assert_int_equal(inner.len, n);
	sum = naive_sum(IP_PROTOCOL_ICMPV6 + (uint32_t)n - 40, out + IPV6_SRC, 32);
	assert_int_equal(naive_sum(sum, out + 40, n - 40), 0xffff);
	assert_int_equal(out[IPV6_NEXT_HEADER], IP_PROTOCOL_ICMPV6);
	assert_memory_equal(inner.src, source6.bytes, 16);
	assert_memory_equal(inner.dst, packet + IPV6_SRC, 16);
	assert_int_equal(out[40], type);
	assert_int_equal(out[41], code);
	assert_memory_equal(out + 48, packet, quoted);
}

static void errors4(void **state)
{
	uint8_t packet[1500], out[ICMP_ERROR_MAX];

	(void)state;
	for (size_t len = 20; len <= 1500; len += len < 40 || (len > 540 && len < 560) ? 1 : 13) {
		size_t n;

		make4(packet, len, IP_PROTOCOL_UDP);
		n = answer(out, ICMP_ERROR_UNREACHABLE, 0, packet, len);
		check4(out, n, 3, 1, packet, len);
		assert_int_equal(load_be32(out + 24), 0);
		n = answer(out, ICMP_ERROR_TIME_EXCEEDED, 0, packet, len);
		check4(out, n, 11, 0, packet, len);
		n = answer(out, ICMP_ERROR_TOO_BIG, 1420, packet, len);
		check4(out, n, 3, 4, packet, len);
		assert_int_equal(load_be32(out + 24), 1420);
	}
	assert_true(answer(out, ICMP_ERROR_TOO_BIG, 70000, packet, 1500) > 0);
	assert_int_equal(load_be32(out + 24), 0xffff);
	/* Padding behind the packet is not quoted. */
	store_be16(packet + IPV4_TOTAL_LENGTH, 100);
	check4(out, answer(out, ICMP_ERROR_UNREACHABLE, 0, packet, 1500), 3, 1, packet, 100);
}

static void errors6(void **state)
{
	uint8_t packet[1500], out[ICMP_ERROR_MAX];

	(void)state;
	for (size_t len = 40; len <= 1500; len += len < 60 || (len > 1225 && len < 1240) ? 1 : 13) {
		size_t n;

		make6(packet, len, IP_PROTOCOL_TCP);
		n = answer(out, ICMP_ERROR_UNREACHABLE, 0, packet, len);
		check6(out, n, 1, 3, packet, len);
		assert_int_equal(load_be32(out + 44), 0);
		n = answer(out, ICMP_ERROR_TIME_EXCEEDED, 0, packet, len);
		check6(out, n, 3, 0, packet, len);
		n = answer(out, ICMP_ERROR_TOO_BIG, 1280, packet, len);
		check6(out, n, 2, 0, packet, len);
		assert_int_equal(load_be32(out + 44), 1280);
	}
}

static void silent4(void **state)
{
	uint8_t packet[64];

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		bool error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;

		make4(packet, 64, IP_PROTOCOL_ICMP);
		packet[20] = (uint8_t)type;
		assert_int_equal(answers(ICMP_ERROR_UNREACHABLE, packet, 64), !error);
		/* Behind options the type stands elsewhere. */
		packet[0] = 0x46;
		packet[20] = 1;
		packet[24] = (uint8_t)type;
		assert_int_equal(answers(ICMP_ERROR_UNREACHABLE, packet, 64), !error);
	}
	make4(packet, 20, IP_PROTOCOL_ICMP);
	assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 20));

	make4(packet, 64, IP_PROTOCOL_UDP);
	store_be16(packet + IPV4_FRAGMENT, IPV4_MORE_FRAGMENTS);
	assert_true(answers(ICMP_ERROR_UNREACHABLE, packet, 64));
	store_be16(packet + IPV4_FRAGMENT, 1);
	assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 64));

	static const uint8_t not_hosts[][4] = {
		{0, 0, 0, 0}, {127, 0, 0, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}};
	for (unsigned i = 0; i < 4; i++) {
		make4(packet, 64, IP_PROTOCOL_UDP);
		memcpy(packet + IPV4_SRC, not_hosts[i], 4);
		assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 64));
		make4(packet, 64, IP_PROTOCOL_UDP);
		memcpy(packet + IPV4_DST, not_hosts[i], 4);
		assert_int_equal(answers(ICMP_ERROR_UNREACHABLE, packet, 64), i < 2);
	}
	make4(packet, 64, IP_PROTOCOL_UDP);
	for (size_t len = 0; len < 64; len++)
		assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, len));
}

static void silent6(void **state)
{
	uint8_t packet[96];

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		bool error = type < 128 || type == 137;

		make6(packet, 96, IP_PROTOCOL_ICMPV6);
		packet[40] = (uint8_t)type;
		assert_int_equal(answers(ICMP_ERROR_UNREACHABLE, packet, 96), !error);
		/* Behind extension headers: destination options of 16 bytes, a first fragment. */
		make6(packet, 96, IP_PROTOCOL_DESTINATION_OPTIONS);
		packet[40] = IP_PROTOCOL_FRAGMENT;
		packet[41] = 1;
		packet[56] = IP_PROTOCOL_ICMPV6;
		store_be16(packet + 58, 1); /* offset 0, more */
		packet[64] = (uint8_t)type;
		assert_int_equal(answers(ICMP_ERROR_UNREACHABLE, packet, 96), !error);
		store_be16(packet + 58, 8);
		assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 96));
	}
	make6(packet, 40, IP_PROTOCOL_ICMPV6);
	assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 40));
	/* A chain that leaves the packet. */
	make6(packet, 96, IP_PROTOCOL_ROUTING);
	packet[40] = IP_PROTOCOL_UDP;
	packet[41] = 7;
	assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 96));
	packet[41] = 6;
	assert_true(answers(ICMP_ERROR_UNREACHABLE, packet, 96));

	make6(packet, 96, IP_PROTOCOL_UDP);
	packet[IPV6_DST] = 0xff;
	assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 96));
	assert_true(answers(ICMP_ERROR_TOO_BIG, packet, 96));
	packet[IPV6_DST] = 0xfd;
	packet[IPV6_SRC] = 0xff;
	assert_false(answers(ICMP_ERROR_TOO_BIG, packet, 96));
	memset(packet + IPV6_SRC, 0, 16);
	assert_false(answers(ICMP_ERROR_UNREACHABLE, packet, 96));
}

static bool says_too_big(
	const uint8_t *packet, size_t len, struct ip_addr *destination, uint16_t *source_port)
{
	uint8_t *copy = naive_copy(packet, len);
	bool says = icmp6_says_too_big(copy, len, destination, source_port);

	free(copy);
	return says;
}

/* By position in the error: what makes it another message, or one about something else. */
static void not_too_big(uint8_t *error, size_t len, const unsigned *positions, unsigned n)
{
	struct ip_addr destination;
	uint16_t port;

	for (unsigned i = 0; i < n; i++) {
		error[positions[i]] ^= 0x11;
		assert_false(says_too_big(error, len, &destination, &port));
		error[positions[i]] ^= 0x11;
	}
	assert_true(says_too_big(error, len, &destination, &port));
}

static void too_big_is_understood(void **state)
{
	/* Version, next header, type, code; of the quoted: version, next header. */
	static const unsigned positions[] = {0, 6, 40, 41, 48, 48 + 6};
	uint8_t packet[1500], error[ICMP_ERROR_MAX];
	struct ip_addr destination;
	uint16_t port;
	size_t n;

	(void)state;
	make6(packet, 1500, IP_PROTOCOL_UDP);
	store_be16(packet + 40, 51821);
	n = answer(error, ICMP_ERROR_TOO_BIG, 1400, packet, 1500);
	assert_true(says_too_big(error, n, &destination, &port));
	assert_int_equal(destination.family, IP_V6);
	assert_memory_equal(destination.bytes, packet + IPV6_DST, 16);
	assert_int_equal(port, 51821);
	not_too_big(error, n, positions, 6);
	for (size_t len = 0; len < n; len++)
		assert_int_equal(says_too_big(error, len, &destination, &port), len >= 48 + 48);
	n = answer(error, ICMP_ERROR_UNREACHABLE, 0, packet, 1500);
	assert_false(says_too_big(error, n, &destination, &port));
	assert_false(says_too_big(packet, 1500, &destination, &port));
	make6(packet, 1500, IP_PROTOCOL_TCP);
	n = answer(error, ICMP_ERROR_TOO_BIG, 1400, packet, 1500);
	assert_false(says_too_big(error, n, &destination, &port));
	/* IPv4's is no matter. */
	make4(packet, 1500, IP_PROTOCOL_UDP);
	n = answer(error, ICMP_ERROR_TOO_BIG, 1400, packet, 1500);
	assert_false(says_too_big(error, n, &destination, &port));
}

/* Random extension headers: nothing is read outside the packet. */
static void random_packets(void **state)
{
	static const uint8_t protocols[] = {IP_PROTOCOL_HOP_BY_HOP, IP_PROTOCOL_ROUTING,
		IP_PROTOCOL_FRAGMENT, IP_PROTOCOL_DESTINATION_OPTIONS, IP_PROTOCOL_ICMPV6};
	uint8_t packet[160];

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		size_t len = 40 + naive_random() % 120;

		make6(packet, len, protocols[naive_random() % 5]);
		for (size_t at = 40; at < len; at += 8) {
			packet[at] = protocols[naive_random() % 5];
			if (at + 1 < len)
				packet[at + 1] = naive_random() % 4;
		}
		answers((enum icmp_error)(i % 3), packet, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors4),
		cmocka_unit_test(errors6),
		cmocka_unit_test(silent4),
		cmocka_unit_test(silent6),
		cmocka_unit_test(too_big_is_understood),
		cmocka_unit_test(random_packets),
	};

	naive_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
