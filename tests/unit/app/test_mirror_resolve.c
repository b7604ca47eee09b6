/* SPDX-License-Identifier: BSD-3-Clause */
/* The way to an endpoint as the kernel has it, and neighbours kept by probes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mirrored.h"

static void test_resolve(void **state)
{
	static const uint8_t gateway_mac[6] = {2, 0, 0, 0, 2, 2};
	struct mirror_path path;
	struct ip_addr expected;
	struct subject s;
	char text[512], word[64];

	(void)state;
	base_addresses();
	run("ip addr add 192.0.2.50/24 dev outer0; ip link set outer0 mtu 1500");
	run("ip route add 198.51.100.0/24 via 192.0.2.2; ip route add 203.0.113.0/24 via 192.0.2.2 "
	    "mtu "
	    "1400 src 192.0.2.50; ip route add 100.64.0.0/10 via 10.1.0.2 table 99; ip -6 route "
	    "add "
	    "2001:db8:9::/48 via 2001:db8:1::2; ip route add unreachable 172.16.0.0/12");
	begin(&s);
	path = resolve(&s, "198.51.100.7", NULL, 0);
	assert_true(path.via_kernel);
	assert_int_equal(path.ifindex, outer0);
	expected = addr_of("192.0.2.2");
	assert_true(ip_addr_equal(&path.neighbour, &expected));
	/* The neighbour is found: those that go through it are told, nobody else. */
	s.table.neighbour_changes = s.table.routing_changes = 0;
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud reachable");
	settle(&s);
	assert_int_equal(s.table.neighbour_changes, 1);
	assert_int_equal(s.table.routing_changes, 0);
	assert_true(ip_addr_equal(&s.table.last_neighbour, &expected));
	path = resolve(&s, "198.51.100.7", NULL, 0);
	assert_false(path.via_kernel);
	assert_int_equal(path.port, 3);
	assert_int_equal(path.mtu, 1500);
	assert_memory_equal(path.destination, gateway_mac, 6);
	assert_memory_equal(path.source_mac, outer_mac, 6);
	output_of(text, sizeof(text), "ip route get 198.51.100.7");
	expected = addr_of(word_after(text, "src", word, sizeof(word)));
	assert_true(ip_addr_equal(&path.local, &expected));
	/* Our address that the peer knows, while it is ours. */
	path = resolve(&s, "198.51.100.7", "192.0.2.50", 0);
	expected = addr_of("192.0.2.50");
	assert_true(ip_addr_equal(&path.local, &expected));
	path = resolve(&s, "198.51.100.7", "192.0.2.51", 0);
	expected = addr_of("192.0.2.1");
	assert_true(ip_addr_equal(&path.local, &expected));
	/* A route's own MTU and source. */
	path = resolve(&s, "203.0.113.9", NULL, 0);
	expected = addr_of("192.0.2.50");
	assert_true(ip_addr_equal(&path.local, &expected));
	assert_int_equal(path.mtu, 1400);
	/* On-link, IPv6. */
	run("ip neigh replace 2001:db8:1::2 lladdr 02:00:00:00:01:06 dev inner0 nud permanent");
	settle(&s);
	path = resolve(&s, "2001:db8:1::2", NULL, 0);
	assert_false(path.via_kernel);
	assert_int_equal(path.port, 4);
	path = resolve(&s, "2001:db8:9::9", "2001:db8:1::1", 0);
	assert_false(path.via_kernel);
	expected = addr_of("2001:db8:1::1");
	assert_true(ip_addr_equal(&path.local, &expected));
	/* Rules: with the mark another way, which has no neighbour yet. */
	path = resolve(&s, "100.64.0.1", NULL, 0);
	assert_int_equal(path.ifindex, 0);
	run("ip rule add fwmark 77 lookup 99");
	settle(&s);
	path = resolve(&s, "100.64.0.1", NULL, 0);
	assert_int_equal(path.ifindex, 0);
	path = resolve(&s, "100.64.0.1", NULL, 77);
	assert_int_equal(path.ifindex, inner0);
	assert_true(path.via_kernel);
	run("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev inner0 nud permanent");
	settle(&s);
	assert_false(resolve(&s, "100.64.0.1", NULL, 77).via_kernel);
	run("ip rule del fwmark 77 lookup 99; ip route flush table 99");
	settle(&s);
	/* No way, ourselves, the tunnel. */
	assert_int_equal(resolve(&s, "172.16.1.1", NULL, 0).ifindex, 0);
	assert_true(resolve(&s, "172.16.1.1", NULL, 0).via_kernel);
	assert_true(resolve(&s, "192.0.2.1", NULL, 0).via_kernel);
	path = resolve(&s, "10.7.0.5", NULL, 0);
	assert_true(path.via_kernel);
	assert_int_equal(path.ifindex, wg0);
	/* The neighbour fails. */
	run("ip neigh replace 192.0.2.2 dev outer0 nud failed");
	settle(&s);
	assert_true(resolve(&s, "198.51.100.7", NULL, 0).via_kernel);
	/* A change of the route names its prefix. */
	run("ip route replace 198.51.100.0/24 via 192.0.2.3");
	settle(&s);
	assert_int_equal(s.table.last_change.bits, 24);
	expected = addr_of("198.51.100.0");
	assert_true(ip_addr_equal(&s.table.last_change.addr, &expected));
	end(&s);
	run("ip addr del 192.0.2.50/24 dev outer0");
	clear();
}

static void wait_state(struct subject *s, const char *state)
{
	char text[256];

	for (unsigned i = 0; i < 200; i++) {
		output_of(text, sizeof(text), "ip neigh show 192.0.2.2 dev outer0 nud all");
		if (strstr(text, state)) {
			settle(s);
			return;
		}
		usleep(10000);
	}
	fail_msg("the neighbour is %s", text);
}

/* What is in use and stale is probed, once a second at most; what is not stale is left alone. */
static void test_probe(void **state)
{
	struct ip_addr gateway = addr_of("192.0.2.2");
	struct ip_prefix prefix = prefix_of("198.51.100.0/24");
	const struct table_entry *entry;
	struct mirror_stats stats;
	struct subject s;

	(void)state;
	base_addresses();
	run("ip route add 198.51.100.0/24 via 192.0.2.2");
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	begin(&s);
	entry = table_find(&s.table, &prefix);
	assert_non_null(entry);
	mirror_mark_nexthop(s.mirror, entry->nexthop);
	mirror_mark_nexthop(s.mirror, MIRROR_NEXTHOP_HOST);
	mirror_mark_nexthop(s.mirror, TABLE_NEXTHOPS + 5);
	mirror_mark_neighbour(s.mirror, outer0, &gateway);
	mirror_get_stats(s.mirror, &stats);
	assert_int_equal(stats.probes, 0);
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud stale");
	settle(&s);
	mirror_mark_nexthop(s.mirror, entry->nexthop);
	mirror_mark_neighbour(s.mirror, outer0, &gateway);
	mirror_get_stats(s.mirror, &stats);
	assert_int_equal(stats.probes, 1);
	wait_state(&s, "DELAY");
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud stale");
	now_ns += 1001 * MS;
	settle(&s);
	mirror_mark_neighbour(s.mirror, outer0, &gateway);
	mirror_get_stats(s.mirror, &stats);
	assert_int_equal(stats.probes, 2);
	end(&s);
	clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_probe),
	};

	if (!mirrored_setup())
		return NETNS_SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
