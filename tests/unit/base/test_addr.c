/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses, prefixes and endpoints: text forms against tables, arithmetic on prefixes against
 * one bit at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <net/if.h>
#include <stdio.h>

#include "base/addr.h"
#include "seed.h"

static const char *const bad_addrs[] = {
	"",
	" ",
	"1",
	"1.2.3",
	"1.2.3.4.5",
	"1.2.3.256",
	"1.2.3.4 ",
	" 1.2.3.4",
	"01.2.3.4",
	"1.2.3.-4",
	"0x1.2.3.4",
	"1.2.3.4/24",
	":",
	":::",
	"1::2::3",
	"12345::",
	"1:2:3:4:5:6:7:8:9",
	"fe80::1%3",
	"[::1]",
	"::1.2.3",
	"localhost",
	"::g",
	"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff",
};

static void test_addr_parse_rejects(void **state)
{
	struct ip_addr addr, before;

	(void)state;
	memset(&before, 0xa5, sizeof(before));
	for (size_t i = 0; i < sizeof(bad_addrs) / sizeof(bad_addrs[0]); i++) {
		addr = before;
		if (ip_addr_parse(bad_addrs[i], &addr))
			fail_msg("accepted \"%s\"", bad_addrs[i]);
		assert_memory_equal(&addr, &before, sizeof(addr));
	}
}

/* Text as read, and as written back: RFC 5952 chooses the one form. */
static void test_addr_text(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"0.0.0.0", "0.0.0.0"},
		{"192.0.2.1", "192.0.2.1"},
		{"255.255.255.255", "255.255.255.255"},
		{"::", "::"},
		{"::1", "::1"},
		{"2001:DB8::1", "2001:db8::1"},
		{"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
		{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
		{"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
		{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"2001:0db8::0001", "2001:db8::1"},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};
	char buf[IP_ADDR_STRLEN];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip_addr addr;

		assert_true(ip_addr_parse(cases[i].in, &addr));
		assert_string_equal(ip_addr_format(&addr, buf), cases[i].out);
	}
}

static void test_addr_bytes(void **state)
{
	static const uint8_t v4[16] = {192, 0, 2, 1};
	static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 0x42};
	struct ip_addr addr;

	(void)state;
	memset(&addr, 0xa5, sizeof(addr));
	assert_true(ip_addr_parse("192.0.2.1", &addr));
	assert_int_equal(addr.family, IP_V4);
	assert_memory_equal(addr.bytes, v4, 16);
	assert_true(ip_addr_parse("2001:db8::42", &addr));
	assert_int_equal(addr.family, IP_V6);
	assert_memory_equal(addr.bytes, v6, 16);
}

static void test_none_formats_empty(void **state)
{
	struct ip_addr none = {0};
	char buf[IP_ADDR_STRLEN] = "x";

	(void)state;
	assert_string_equal(ip_addr_format(&none, buf), "");
	assert_int_equal(ip_family_bits(IP_NONE), 0);
}

static void test_equal(void **state)
{
	struct ip_addr a, b, none = {0}, none2 = {.bytes = {1}};
	struct endpoint e, f;
	struct ip_prefix p, q;

	(void)state;
	assert_true(ip_addr_parse("10.0.0.1", &a));
	assert_true(ip_addr_parse("a00:1::", &b));
	assert_false(ip_addr_equal(&a, &b));
	b = a;
	assert_true(ip_addr_equal(&a, &b));
	b.bytes[3] ^= 1;
	assert_false(ip_addr_equal(&a, &b));
	assert_true(ip_addr_parse("::1", &a));
	assert_true(ip_addr_parse("::2", &b));
	assert_false(ip_addr_equal(&a, &b));
	assert_true(ip_addr_equal(&none, &none2));
	assert_false(ip_addr_equal(&a, &none));

	assert_true(endpoint_parse("[fe80::1%3]:7", &e));
	f = e;
	assert_true(endpoint_equal(&e, &f));
	f.scope_id = 4;
	assert_false(endpoint_equal(&e, &f));
	f = e;
	f.port = 8;
	assert_false(endpoint_equal(&e, &f));
	f = e;
	f.addr.bytes[15] = 2;
	assert_false(endpoint_equal(&e, &f));

	assert_true(ip_prefix_parse("10.0.0.0/8", &p));
	assert_true(ip_prefix_parse("10.0.0.0/9", &q));
	assert_false(ip_prefix_equal(&p, &q));
	assert_true(ip_prefix_equal(&p, &p));
	assert_true(ip_prefix_parse("11.0.0.0/8", &q));
	assert_false(ip_prefix_equal(&p, &q));
}

static void test_prefix_text(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"192.0.2.0/24", "192.0.2.0/24"},
		{"192.0.2.77/24", "192.0.2.77/24"},
		{"192.0.2.1", "192.0.2.1/32"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"192.0.2.1/32", "192.0.2.1/32"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"2001:db8::1", "2001:db8::1/128"},
		{"::/0", "::/0"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128",
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"},
	};
	static const char *const bad[] = {
		"",
		"/",
		"/24",
		"192.0.2.0/",
		"192.0.2.0/33",
		"192.0.2.0/-1",
		"192.0.2.0/ 8",
		"192.0.2.0/8 ",
		"192.0.2.0/+8",
		"192.0.2.0/8/8",
		"::/129",
		"::/0x10",
		"::/",
		"192.0.2.0/4294967304",
		"192.0.2.0/18446744073709551624",
		"fe80::1%3/64",
	};
	char buf[IP_PREFIX_STRLEN];
	struct ip_prefix prefix;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(ip_prefix_parse(cases[i].in, &prefix));
		assert_string_equal(ip_prefix_format(&prefix, buf), cases[i].out);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (ip_prefix_parse(bad[i], &prefix))
			fail_msg("accepted \"%s\"", bad[i]);
	}
}

static void random_addr(struct seeded *seeded, struct ip_addr *addr)
{
	memset(addr, 0, sizeof(*addr));
	addr->family = seeded_below(seeded, 2) ? IP_V4 : IP_V6;
	for (unsigned i = 0; i < ip_family_bits(addr->family) / 8; i++)
		addr->bytes[i] = (uint8_t)seeded_next(seeded);
}

static bool bit(const struct ip_addr *addr, unsigned i)
{
	return (addr->bytes[i / 8] >> (7 - i % 8)) & 1;
}

static void flip(struct ip_addr *addr, unsigned i)
{
	addr->bytes[i / 8] ^= (uint8_t)(0x80 >> i % 8);
}

/* Masking keeps the first bits and clears the rest. */
static void test_prefix_mask(void **state)
{
	struct seeded seeded = seeded_start("prefix_mask");

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct ip_prefix before, after;
		unsigned bits;

		random_addr(&seeded, &before.addr);
		bits = ip_family_bits(before.addr.family);
		before.bits = (uint8_t)seeded_below(&seeded, bits + 1);
		after = before;
		ip_prefix_mask(&after);
		assert_int_equal(after.bits, before.bits);
		for (unsigned i = 0; i < 128; i++)
			assert_int_equal(
				bit(&after.addr, i), i < before.bits && bit(&before.addr, i));
	}
}

/* The first bit that differs decides, host bits of the prefix do not. */
static void test_prefix_contains(void **state)
{
	struct seeded seeded = seeded_start("prefix_contains");

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct ip_prefix prefix;
		struct ip_addr addr;
		unsigned bits, differ;

		random_addr(&seeded, &prefix.addr);
		bits = ip_family_bits(prefix.addr.family);
		prefix.bits = (uint8_t)seeded_below(&seeded, bits + 1);
		addr = prefix.addr;
		differ = (unsigned)seeded_below(&seeded, bits);
		flip(&addr, differ);
		assert_int_equal(ip_prefix_contains(&prefix, &addr), differ >= prefix.bits);
		assert_true(ip_prefix_contains(&prefix, &prefix.addr));
		addr = prefix.addr;
		addr.family = addr.family == IP_V4 ? IP_V6 : IP_V4;
		assert_false(ip_prefix_contains(&prefix, &addr));
	}
}

static void test_endpoint_text(void **state)
{
	static const char *const good[] = {
		"192.0.2.1:51820",
		"1.2.3.4:1",
		"1.2.3.4:65535",
		"[2001:db8::1]:51820",
		"[::]:1",
		"[2001:db8::1%3]:51820",
		"[fe80::1%4294967295]:65535",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
	};
	static const char *const bad[] = {
		"",
		":",
		":1",
		"1.2.3.4",
		"1.2.3.4:",
		"1.2.3.4:0",
		"1.2.3.4:65536",
		"1.2.3.4:-1",
		"1.2.3.4: 1",
		"1.2.3.4:1 ",
		"1.2.3.4:1:2",
		"[1.2.3.4]:1",
		"::1:1",
		"2001:db8::1",
		"[::1]",
		"[::1]:",
		"[::1]:0",
		"[::1]1:1",
		"[::1:1",
		"::1]:1",
		"[]:1",
		"[%3]:1",
		"[::1%]:1",
		"[::1%0]:1",
		"[::1%4294967296]:1",
		"[::1%no/such/if]:1",
		"[::1%3%4]:1",
		"[1.2.3.4%3]:1",
		"[:1",
		"[",
		"]:1",
		"example.org:1",
		"1.2.3.4%3:1",
		"[::1%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]:1",
	};
	struct endpoint ep, before;
	char buf[ENDPOINT_STRLEN];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(endpoint_parse(good[i], &ep));
		assert_string_equal(endpoint_format(&ep, buf), good[i]);
	}
	memset(&before, 0xa5, sizeof(before));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ep = before;
		if (endpoint_parse(bad[i], &ep))
			fail_msg("accepted \"%s\"", bad[i]);
		assert_memory_equal(&ep, &before, sizeof(ep));
	}
}

/* wg(8) hands over link-local endpoints with the name of their interface. */
static void test_endpoint_scope_name(void **state)
{
	struct endpoint ep;

	(void)state;
	if (if_nametoindex("lo") == 0)
		skip();
	assert_true(endpoint_parse("[fe80::1%lo]:51820", &ep));
	assert_int_equal(ep.scope_id, if_nametoindex("lo"));
	assert_int_equal(ep.port, 51820);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addr_parse_rejects),
		cmocka_unit_test(test_addr_text),
		cmocka_unit_test(test_addr_bytes),
		cmocka_unit_test(test_none_formats_empty),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_prefix_text),
		cmocka_unit_test(test_prefix_mask),
		cmocka_unit_test(test_prefix_contains),
		cmocka_unit_test(test_endpoint_text),
		cmocka_unit_test(test_endpoint_scope_name),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
