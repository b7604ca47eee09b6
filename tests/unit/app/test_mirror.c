/* SPDX-License-Identifier: BSD-3-Clause */
/* The mirror against the kernel it mirrors: what events tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mirrored.h"

static void step(struct subject *s, const char *command)
{
	run("ip %s", command);
	check(s);
}

/* Each line is one change of the kernel, seen through its event. */
static void test_events(void **state)
{
	static const char *const script[] = {
		/* neighbours of connected subnets */
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev inner0 nud permanent",
		"neigh replace 2001:db8:1::2 lladdr 02:00:00:00:01:06 dev inner0 nud reachable",
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:03 dev inner0 nud stale",
		"neigh replace 10.1.0.2 dev inner0 nud failed",
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:04 dev inner0 nud permanent",
		"neigh del 10.1.0.2 dev inner0",
		"neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev inner0 nud permanent",
		/* a neighbour elsewhere than its route says stands for nothing */
		"neigh replace 10.9.0.1 lladdr 02:00:00:00:01:09 dev outer0 nud permanent",
		/* gateways */
		"route add 10.9.0.0/16 via 10.1.0.2",
		"route add default via 192.0.2.2",
		"neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud reachable",
		"neigh replace 192.0.2.2 lladdr 02:00:00:00:02:03 dev outer0 nud reachable",
		"-6 route add default via 2001:db8:1::2",
		"-6 route add 2001:db8:9::/48 via 2001:db8:1::3",
		"neigh replace 2001:db8:1::3 lladdr 02:00:00:00:01:07 dev inner0 nud stale",
		"neigh del 192.0.2.2 dev outer0",
		"neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent",
		/* through the tunnel */
		"route add 10.9.1.0/24 dev wg0",
		"route add 198.51.100.0/24 via 10.7.0.9 dev wg0",
		"-6 route add 2001:db8:9:1::/64 dev wg0",
		/* metrics, replacement, append */
		"route add 203.0.113.0/24 via 192.0.2.2 metric 50",
		"route add 203.0.113.0/24 dev wg0 metric 20",
		"route add 203.0.113.0/24 via 192.0.2.3 metric 90",
		"route del 203.0.113.0/24 metric 20",
		"route replace 203.0.113.0/24 via 10.1.0.2 metric 50",
		"route append 203.0.113.0/24 dev wg0 metric 50",
		"route prepend 203.0.113.0/24 dev wg0 metric 50 src 10.7.0.1",
		"route del 203.0.113.0/24 dev wg0 metric 50 src 10.7.0.1",
		"route del 203.0.113.0/24 via 10.1.0.2 metric 50",
		"-6 route replace 2001:db8:9:1::/64 via 2001:db8:1::2",
		/* kinds */
		"route add unreachable 172.16.0.0/12",
		"route add 172.16.5.0/24 via 192.0.2.2",
		"route add blackhole 172.16.5.6/32",
		"route replace 172.16.5.0/24 via inet6 2001:db8:1::2 dev inner0",
		"route add local 198.51.100.0/25 dev lo",
		"route del local 198.51.100.0/25 dev lo table local",
		"-6 route add unreachable fd00::/8",
		/* a subnet of a connected one, elsewhere: its neighbours stand no more */
		"neigh replace 10.1.0.77 lladdr 02:00:00:00:01:77 dev inner0 nud permanent",
		"route add 10.1.0.64/26 dev wg0",
		"route del 10.1.0.64/26 dev wg0",
		"route add 10.1.0.77/32 via 192.0.2.2",
		"route del 10.1.0.77/32 via 192.0.2.2",
		/* addresses */
		"addr add 10.1.0.77/32 dev outer0",
		"addr del 10.1.0.77/32 dev outer0",
		"addr add 172.16.5.5/30 dev inner0",
		"route add 8.8.8.8/32 via 192.0.2.2 src 172.16.5.5",
		"addr del 172.16.5.5/30 dev inner0", /* takes the route along, silently */
		"-6 addr add fd00:5::1/64 dev outer0 nodad",
		/* its other end becomes another, without a word that the first went */
		"addr add fd00:6::1 peer fd00:6::9/128 dev outer0 nodad",
		"addr change fd00:6::1 peer fd00:6::a/128 dev outer0",
		"addr del fd00:6::1 peer fd00:6::a/128 dev outer0",
		/* one address twice */
		"addr add 172.16.6.1/25 dev inner0",
		"addr add 172.16.6.1/24 dev inner0",
		"addr del 172.16.6.1/25 dev inner0",
		"addr add 172.16.6.1 peer 172.16.6.9/32 dev inner0",
		"addr del 172.16.6.1/24 dev inner0",
		"addr del 172.16.6.1 peer 172.16.6.9/32 dev inner0",
		/* interfaces */
		"link set outer0 down", /* takes its IPv4 routes along, silently */
		"link set outer0 up",
		"route add default via 192.0.2.2",
		"link add name other0 type bridge",
		"link set other0 up",
		"route add 8.0.0.0/8 dev other0",
		"link del other0",
		"link set wg0 mtu 1300",
		"addr add 10.7.0.9/32 dev wg0",
		"addr del 10.7.0.9/32 dev wg0",
	};
	struct subject s;
	bool mtu_seen;

	(void)state;
	base_addresses();
	begin(&s);
	check(&s);
	for (unsigned i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
		print_message("ip %s\n", script[i]);
		step(&s, script[i]);
	}
	mtu_seen = s.table.link_ifindex == wg0 && s.table.link_mtu == 1300 && s.table.link_up;
	assert_true(mtu_seen);
	assert_int_equal(s.table.address_ifindex, wg0);
	assert_int_equal(s.table.warnings, 0);
	end(&s);
	clear();
}

static uint64_t dumps_of(const struct subject *s)
{
	struct mirror_stats stats;

	mirror_get_stats(s->mirror, &stats);
	return stats.dumps;
}

/* Multipath: the first path that is resolved; which one the kernel takes for a flow is its affair.
 */
static void test_multipath(void **state)
{
	struct ip_addr v4 = addr_of("10.50.1.1"), v6 = addr_of("2001:db8:50::1");
	struct subject s;

	(void)state;
	base_addresses();
	begin(&s);
	run("ip route add 10.50.0.0/16 nexthop via 192.0.2.10 nexthop via 192.0.2.11 nexthop dev "
	    "wg0");
	run("ip -6 route add 2001:db8:50::/48 nexthop via 2001:db8:1::10 nexthop via "
	    "2001:db8:1::11");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	run("ip neigh replace 192.0.2.11 lladdr 02:00:00:00:00:11 dev outer0 nud permanent");
	run("ip neigh replace 2001:db8:1::11 lladdr 02:00:00:00:06:11 dev inner0 nud permanent");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).destination[5], 0x11);
	assert_int_equal(table_lookup(&s.table, &v6).destination[4], 0x06);
	run("ip neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev outer0 nud permanent");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).destination[5], 0x10);
	/* IPv6 paths come and go one by one. */
	run("ip -6 route append 2001:db8:50::/48 via 2001:db8:1::12");
	run("ip -6 route del 2001:db8:50::/48 via 2001:db8:1::11");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	check_fresh(&s);
	/* With its interface down a path is dead, without a message about the route. */
	run("ip link set outer0 down");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).kind, MIRROR_WG);
	check_fresh(&s);
	run("ip link set outer0 up; ip -6 route del 2001:db8:50::/48; ip route del 10.50.0.0/16");
	settle(&s);
	check_fresh(&s);
	end(&s);
	clear();
}

/*
 * Routes by the kernel's nexthop objects, as FRR makes them. With an object its IPv4 routes go, and
 * from a group a path, without a message about the routes.
 */
static void test_nexthop_objects(void **state)
{
	struct ip_addr single = addr_of("10.50.1.1"), group = addr_of("10.51.1.1"),
		       v6 = addr_of("2001:db8:50::1");
	struct subject s;
	uint64_t dumps;

	(void)state;
	base_addresses();
	run("ip neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev outer0 nud permanent");
	run("ip neigh replace 192.0.2.11 lladdr 02:00:00:00:00:11 dev outer0 nud permanent");
	run("ip neigh replace 2001:db8:1::10 lladdr 02:00:00:00:06:10 dev inner0 nud permanent");
	begin(&s);
	run("ip nexthop add id 10 via 192.0.2.10 dev outer0; ip nexthop add id 11 via 192.0.2.11 "
	    "dev outer0; ip nexthop add id 12 group 10/11;"
	    "ip nexthop add id 16 via 2001:db8:1::10 dev inner0; ip nexthop add id 17 group 16");
	run("ip route add 10.0.0.0/8 dev wg0; ip route add 10.50.0.0/16 nhid 10;"
	    "ip route add 10.51.0.0/16 nhid 12; ip -6 route add 2001:db8:50::/48 nhid 17");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &single).destination[5], 0x10);
	assert_int_equal(table_lookup(&s.table, &group).destination[5], 0x10);
	assert_int_equal(table_lookup(&s.table, &v6).destination[4], 0x06);
	run("ip nexthop replace id 16 via 2001:db8:1::11 dev inner0");
	run("ip nexthop del id 10");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &single).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&s.table, &group).destination[5], 0x11);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	check_fresh(&s);
	/* Objects that no route has are nobody's affair. */
	dumps = dumps_of(&s);
	run("ip nexthop add id 20 via 192.0.2.20 dev outer0; ip nexthop del id 20");
	settle(&s);
	assert_int_equal(dumps_of(&s), dumps);
	run("ip nexthop flush 2>/dev/null");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &group).kind, MIRROR_WG);
	check_fresh(&s);
	end(&s);
	clear();
}

/* What is to be wrapped on its way (SRv6, MPLS, a tunnel by metadata) is the kernel's to send. */
static void test_encapsulation(void **state)
{
	struct ip_addr v4 = addr_of("10.50.1.1"), v6 = addr_of("2001:db8:50::1");
	struct subject s;

	(void)state;
	base_addresses();
	run("ip neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev outer0 nud permanent");
	run("ip neigh replace 2001:db8:1::10 lladdr 02:00:00:00:06:10 dev inner0 nud permanent");
	run("ip neigh replace 2001:db8:1::11 lladdr 02:00:00:00:06:11 dev inner0 nud permanent");
	begin(&s);
	run("ip route add 10.50.0.0/16 encap seg6 mode encap segs 2001:db8:9::9 via 192.0.2.10 dev "
	    "outer0");
	run("ip -6 route add 2001:db8:50::/48 encap seg6 mode encap segs 2001:db8:9::9 via "
	    "2001:db8:1::10 dev inner0");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).kind, MIRROR_HOST);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	assert_true(resolve(&s, "10.50.1.1", NULL, 0).via_kernel);
	/* A path that joins it without is taken, until it goes. */
	run("ip -6 route append 2001:db8:50::/48 via 2001:db8:1::11 dev inner0");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v6).destination[5], 0x11);
	run("ip -6 route del 2001:db8:50::/48 via 2001:db8:1::11 dev inner0");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	check_fresh(&s);
	run("ip route del 10.50.0.0/16; ip -6 route del 2001:db8:50::/48");
	settle(&s);
	check_fresh(&s);
	end(&s);
	clear();
}

/* A route's own MTU: what is larger is the host's to answer. On-link ones are the host's
 * altogether. */
static void test_mtu(void **state)
{
	struct ip_addr v4 = addr_of("10.50.1.1"), v6 = addr_of("2001:db8:50::1"),
		       tunnel = addr_of("10.52.1.1"), several = addr_of("10.53.1.1"),
		       onlink = addr_of("10.1.0.77");
	struct subject s;

	(void)state;
	base_addresses();
	run("ip neigh replace 192.0.2.10 lladdr 02:00:00:00:00:10 dev outer0 nud permanent");
	run("ip neigh replace 2001:db8:1::10 lladdr 02:00:00:00:06:10 dev inner0 nud permanent");
	run("ip neigh replace 10.1.0.77 lladdr 02:00:00:00:01:77 dev inner0 nud permanent");
	begin(&s);
	run("ip route add 10.50.0.0/16 via 192.0.2.10 mtu 1300; ip route add 10.52.0.0/16 dev wg0 "
	    "mtu "
	    "1200; ip -6 route add 2001:db8:50::/48 via 2001:db8:1::10 dev inner0 mtu 1380");
	run("ip route add 10.53.0.0/16 mtu lock 1400 nexthop via 192.0.2.10 nexthop dev wg0");
	run("ip route add 10.54.0.0/16 via 192.0.2.10");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).destination[5], 0x10);
	assert_int_equal(table_lookup(&s.table, &v4).mtu, 1300);
	assert_int_equal(table_lookup(&s.table, &v6).destination[5], 0x10);
	assert_int_equal(table_lookup(&s.table, &v6).mtu, 1380);
	assert_int_equal(table_lookup(&s.table, &tunnel).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&s.table, &tunnel).mtu, 1200);
	assert_int_equal(table_lookup(&s.table, &several).kind, MIRROR_PORT);
	assert_int_equal(table_lookup(&s.table, &several).mtu, 1400);
	check_fresh(&s);
	run("ip route change 10.50.0.0/16 via 192.0.2.10; ip -6 route change 2001:db8:50::/48 via "
	    "2001:db8:1::10 dev inner0 mtu 1290");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &v4).kind, MIRROR_PORT);
	assert_int_equal(table_lookup(&s.table, &v4).mtu, 0);
	assert_int_equal(table_lookup(&s.table, &v6).mtu, 1290);
	check_fresh(&s);
	assert_int_equal(table_lookup(&s.table, &onlink).kind, MIRROR_PORT);
	run("ip route add 10.1.0.64/26 dev inner0 mtu 1300");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &onlink).kind, MIRROR_HOST);
	check_fresh(&s);
	run("ip route del 10.1.0.64/26 dev inner0; ip -6 route del 2001:db8:50::/48");
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &onlink).kind, MIRROR_PORT);
	assert_int_equal(table_lookup(&s.table, &v6).kind, MIRROR_HOST);
	check_fresh(&s);
	end(&s);
	clear();
}

/* One gateway of many routes flaps: one next hop changes, no prefix. */
static void test_flap(void **state)
{
	struct subject s;
	unsigned sets, nexthops;

	(void)state;
	base_addresses();
	begin(&s);
	run("for i in $(seq 0 199); do echo route add 10.60.$i.0/24 via 192.0.2.2; done | ip "
	    "-batch -");
	settle(&s);
	sets = s.table.sets;
	nexthops = s.table.nexthop_sets;
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	settle(&s);
	assert_int_equal(s.table.nexthop_sets, nexthops + 1);
	assert_int_equal(s.table.sets, sets + 1); /* the neighbour's own address */
	for (unsigned i = 0; i < 5; i++) {
		run("ip neigh replace 192.0.2.2 dev outer0 nud failed");
		settle(&s);
		run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:%02x dev outer0 nud "
		    "permanent",
			i);
		settle(&s);
	}
	assert_int_equal(s.table.nexthop_sets, nexthops + 11);
	assert_int_equal(s.table.sets, sets + 1);
	assert_int_equal(s.table.deletes, 0);
	end(&s);
	clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_multipath),
		cmocka_unit_test(test_nexthop_objects),
		cmocka_unit_test(test_encapsulation),
		cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_flap),
	};

	if (!mirrored_setup())
		return NETNS_SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
