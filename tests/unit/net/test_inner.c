/* SPDX-License-Identifier: BSD-3-Clause */
#include "naive.h"

#include "net/inner.h"

static void make4(uint8_t *packet, size_t len)
{
	memset(packet, 0, len);
	packet[IPV4_VERSION_IHL] = 0x45;
	packet[IPV4_TOS] = 0xb9;
	store_be16(packet + IPV4_TOTAL_LENGTH, (uint16_t)len);
	packet[IPV4_TTL] = 64;
	packet[IPV4_PROTOCOL] = IP_PROTOCOL_UDP;
	memcpy(packet + IPV4_SRC, (uint8_t[]){10, 0, 0, 1}, 4);
	memcpy(packet + IPV4_DST, (uint8_t[]){10, 0, 0, 2}, 4);
	checksum_store(packet + IPV4_CHECKSUM,
		checksum_finish(checksum_add(0, packet, IPV4_HEADER_BYTES)));
}

static void make6(uint8_t *packet, size_t len)
{
	memset(packet, 0, len);
	store_be32(packet, 0x6b912345);
	store_be16(packet + IPV6_PAYLOAD_LENGTH, (uint16_t)(len - IPV6_HEADER_BYTES));
	packet[IPV6_NEXT_HEADER] = IP_PROTOCOL_UDP;
	packet[IPV6_HOP_LIMIT] = 33;
	packet[IPV6_SRC] = packet[IPV6_DST] = 0xfd;
	packet[IPV6_DST + 15] = 2;
}

static void valid4(void **state)
{
	uint8_t packet[100];
	struct inner inner;

	(void)state;
	make4(packet, 84);
	for (size_t len = 0; len <= sizeof(packet); len++) {
		uint8_t *copy = naive_copy(packet, len);

		assert_int_equal(inner_parse(copy, len, &inner), len >= 84);
		free(copy);
	}
	assert_true(inner_parse(packet, sizeof(packet), &inner));
	assert_int_equal(inner.family, IP_V4);
	assert_int_equal(inner.len, 84);
	assert_int_equal(inner.traffic_class, 0xb9);
	assert_int_equal(inner.ttl, 64);
	assert_int_equal(inner.unusual, 0);
	assert_ptr_equal(inner.src, packet + 12);
	assert_ptr_equal(inner.dst, packet + 16);
}

static void valid6(void **state)
{
	uint8_t packet[120];
	struct inner inner;

	(void)state;
	make6(packet, 104);
	for (size_t len = 0; len <= sizeof(packet); len++) {
		uint8_t *copy = naive_copy(packet, len);

		assert_int_equal(inner_parse(copy, len, &inner), len >= 104);
		free(copy);
	}
	assert_true(inner_parse(packet, sizeof(packet), &inner));
	assert_int_equal(inner.family, IP_V6);
	assert_int_equal(inner.len, 104);
	assert_int_equal(inner.traffic_class, 0xb9);
	assert_int_equal(inner.ttl, 33);
	assert_int_equal(inner.unusual, 0);
	assert_ptr_equal(inner.src, packet + 8);
	assert_ptr_equal(inner.dst, packet + 24);
}

static void malformed(void **state)
{
	uint8_t packet[120];
	struct inner inner;

	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		bool v4 = first >> 4 == 4;

		make4(packet, 84);
		if (first >> 4 == 6)
			make6(packet, 104);
		packet[0] = (uint8_t)first;
		assert_int_equal(inner_parse(packet, sizeof(packet), &inner),
			first >> 4 == 6 || (v4 && (first & 0xf) >= 5));
		if (v4 && (first & 0xf) >= 5)
			assert_int_equal(inner.unusual, first == 0x45 ? 0 : INNER_OPTIONS);
	}
	/* Total length below the header's, and of a header that is longer. */
	make4(packet, 84);
	store_be16(packet + IPV4_TOTAL_LENGTH, 19);
	assert_false(inner_parse(packet, sizeof(packet), &inner));
	store_be16(packet + IPV4_TOTAL_LENGTH, 20);
	assert_true(inner_parse(packet, sizeof(packet), &inner));
	packet[0] = 0x46;
	assert_false(inner_parse(packet, sizeof(packet), &inner));
	store_be16(packet + IPV4_TOTAL_LENGTH, 0);
	assert_false(inner_parse(packet, sizeof(packet), &inner));
	/* Payload lengths whose sum with the header wraps 16 bits. */
	make6(packet, 104);
	for (unsigned payload = 65500; payload < 65536; payload++) {
		static uint8_t large[70000];

		memcpy(large, packet, 104);
		store_be16(large + IPV6_PAYLOAD_LENGTH, (uint16_t)payload);
		assert_false(inner_parse(large, 104, &inner));
		assert_false(inner_parse(large, sizeof(large), &inner));
	}
}

static void scope(void **state)
{
	static const struct {
		const char *addr;
		bool forwarded;
	} cases[] = {
		{"1.0.0.1", true},
		{"223.255.255.255", true},
		{"169.254.1.1", true},
		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"127.0.0.1", false},
		{"224.0.0.5", false},
		{"239.255.255.255", false},
		{"255.255.255.255", false},
		{"2001:db8::1", true},
		{"64:ff9b::1.2.3.4", true},
		{"fec0::1", true},
		{"fd00::", true},
		{"::", false},
		{"::1", false},
		{"::ffff:1.2.3.4", false},
		{"fe80::1", false},
		{"febf::1", false},
		{"ff02::1", false},
	};
	uint8_t packet[104];
	struct inner inner;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ip_addr addr;
		size_t bytes, at[2];

		assert_true(ip_addr_parse(cases[i].addr, &addr));
		bytes = addr.family == IP_V4 ? 4 : 16;
		at[0] = addr.family == IP_V4 ? IPV4_DST : IPV6_DST;
		at[1] = at[0] - bytes;
		for (unsigned is_src = 0; is_src < 2; is_src++) {
			if (addr.family == IP_V4)
				make4(packet, 84);
			else
				make6(packet, 104);
			memcpy(packet + at[is_src], addr.bytes, bytes);
			assert_true(inner_parse(packet, sizeof(packet), &inner));
			assert_int_equal(inner.unusual, cases[i].forwarded ? 0 : INNER_SCOPE);
		}
	}
	make6(packet, 104);
	packet[IPV6_NEXT_HEADER] = IP_PROTOCOL_HOP_BY_HOP;
	assert_true(inner_parse(packet, sizeof(packet), &inner));
	assert_int_equal(inner.unusual, INNER_OPTIONS);
	packet[IPV6_NEXT_HEADER] = IP_PROTOCOL_FRAGMENT; /* none of a router's business */
	assert_true(inner_parse(packet, sizeof(packet), &inner));
	assert_int_equal(inner.unusual, 0);
}

static void ttl(void **state)
{
	uint8_t packet[104], before[104];

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		make4(packet, 84);
		naive_fill(packet + IPV4_ID, 2);
		naive_fill(packet + IPV4_SRC, 8);
		packet[IPV4_PROTOCOL] = (uint8_t)naive_random();
		packet[IPV4_TTL] = (uint8_t)(1 + naive_random() % 255);
		store_be16(packet + IPV4_CHECKSUM, 0);
		checksum_store(packet + IPV4_CHECKSUM,
			checksum_finish(checksum_add(0, packet, IPV4_HEADER_BYTES)));
		memcpy(before, packet, sizeof(packet));
		inner_decrement_ttl(packet);
		assert_int_equal(packet[IPV4_TTL], before[IPV4_TTL] - 1);
		assert_int_equal(naive_sum(0, packet, IPV4_HEADER_BYTES), 0xffff);
		memcpy(packet + IPV4_TTL, before + IPV4_TTL, 4);
		assert_memory_equal(packet, before, sizeof(packet));
	}
	make6(packet, 104);
	make6(before, 104);
	inner_decrement_ttl(packet);
	before[IPV6_HOP_LIMIT] = 32;
	assert_memory_equal(packet, before, sizeof(packet));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid4),
		cmocka_unit_test(valid6),
		cmocka_unit_test(malformed),
		cmocka_unit_test(scope),
		cmocka_unit_test(ttl),
	};

	naive_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
