/* SPDX-License-Identifier: BSD-3-Clause */
/* Policy rules and the switch for forwarding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "app/mirror_parts.h"
#include "mirrored.h"

static void test_rules(void **state)
{
	struct ip_addr far = addr_of("8.8.8.8"), near = addr_of("10.9.0.1");
	struct subject s;

	(void)state;
	base_addresses();
	run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	run("ip route add default via 192.0.2.2; ip route add 10.9.0.0/16 via 192.0.2.2");
	begin(&s);
	assert_true(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_null(mirror_forwarding_hint(s.mirror, IP_V4));
	run("ip rule add from 10.0.0.0/8 lookup 99");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_non_null(strstr(mirror_forwarding_hint(s.mirror, IP_V4), "policy rules"));
	/* As the documentation says to leave all to the host. */
	run("ip rule del from 10.0.0.0/8 lookup 99; ip rule add fwmark 0xfffffff0 lookup main");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	run("ip rule del fwmark 0xfffffff0 lookup main; ip -6 rule add fwmark 5 lookup 99");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_false(s.table.forwarding_v6);
	run("ip -6 rule del fwmark 5 lookup 99");
	/* wg-quick's rules: strange until their table is known as our own. */
	run("ip route add default dev wg0 table 51820; ip rule add not fwmark 51820 lookup 51820;"
	    "ip rule add lookup main suppress_prefixlength 0");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	own_count = 1;
	mirror_set_own_tables(s.mirror, own_tables, own_count);
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&s.table, &near).kind, MIRROR_PORT);
	check(&s);
	run("ip route add 10.10.0.0/16 dev wg0 table 51820");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	assert_non_null(strstr(mirror_forwarding_hint(s.mirror, IP_V4), "more routes"));
	run("ip route del 10.10.0.0/16 dev wg0 table 51820");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	/* Without the rule the table does not count. */
	run("ip rule del not fwmark 51820 lookup 51820");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_PORT);
	run("ip rule del lookup main suppress_prefixlength 0; ip route flush table 51820");
	run("sysctl -qw net.ipv4.ip_forward=0");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_non_null(strstr(mirror_forwarding_hint(s.mirror, IP_V4), "net.ipv4.ip_forward=1"));
	run("sysctl -qw net.ipv4.ip_forward=1");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	own_count = 0;
	end(&s);
	clear();
}

/* The kernel does not forward IPv4 that comes in by such an interface; where it goes out is no
 * matter, and IPv6 knows one switch only. */
static void test_interface_that_does_not_forward(void **state)
{
	struct subject s;

	(void)state;
	base_addresses();
	run("sysctl -qw net.ipv4.conf.inner0.forwarding=0");
	begin(&s);
	assert_false(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_non_null(strstr(
		mirror_forwarding_hint(s.mirror, IP_V4), "net.ipv4.conf.inner0.forwarding=1"));
	run("sysctl -qw net.ipv4.conf.inner0.forwarding=1 net.ipv4.conf.wg0.forwarding=0 "
	    "net.ipv6.conf.wg0.forwarding=0");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	assert_true(s.table.forwarding_v6);
	assert_non_null(
		strstr(mirror_forwarding_hint(s.mirror, IP_V4), "net.ipv4.conf.wg0.forwarding=1"));
	/* outer0 takes in nothing plain. */
	run("sysctl -qw net.ipv4.conf.wg0.forwarding=1 net.ipv4.conf.outer0.forwarding=0");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_null(mirror_forwarding_hint(s.mirror, IP_V4));
	/* What is ours no more is nobody's affair; what comes to be is asked for. */
	run("sysctl -qw net.ipv4.conf.wg0.forwarding=0");
	settle(&s);
	assert_false(s.table.forwarding_v4);
	mirror_remove(s.mirror, wg0);
	settle(&s);
	assert_true(s.table.forwarding_v4);
	assert_int_equal(mirror_add_wg(s.mirror, wg0, 7), 0);
	settle(&s);
	assert_false(s.table.forwarding_v4);
	run("sysctl -qw net.ipv4.ip_forward=0; sysctl -qw net.ipv4.ip_forward=1");
	settle(&s);
	assert_true(s.table.forwarding_v4);
	end(&s);
	clear();
}

/*
 * A table becomes our own while a dump is under way that has passed its routes: until the next one
 * has named them the host forwards, since what is to go into the tunnel would leave in the plain.
 */
static void test_own_table_in_the_middle_of_a_dump(void **state)
{
	struct ip_addr far = addr_of("8.8.8.8");
	struct subject s;

	(void)state;
	base_addresses();
	run("sysctl -qw net.ipv4.ip_forward=1");
	run("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:02:02 dev outer0 nud permanent");
	run("ip route add default via 192.0.2.2; ip route add default dev wg0 table 51820;"
	    "ip rule add not fwmark 51820 lookup 51820;"
	    "ip rule add lookup main suppress_prefixlength 0");
	run("for i in $(seq 0 19999); do echo route add 10.$((64 + i / 250)).$((i %% 250)).0/24 "
	    "via 192.0.2.2; done | ip -batch -");
	begin(&s);
	assert_false(s.table.forwarding_v4);
	run("ip addr add 192.0.2.99/24 dev outer0; ip addr del 192.0.2.99/24 dev outer0");
	while (s.mirror->stage != STAGE_ROUTES_V4) {
		mirror_process(s.mirror, now_ns);
		now_ns += MS;
	}
	mirror_process(s.mirror, now_ns);
	assert_int_equal(s.mirror->stage, STAGE_ROUTES_V4);
	own_count = 1;
	mirror_set_own_tables(s.mirror, own_tables, own_count);
	assert_false(s.table.forwarding_v4);
	while (!s.table.forwarding_v4) {
		mirror_process(s.mirror, now_ns);
		now_ns += MS;
	}
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_WG);
	settle(&s);
	check_fresh(&s);
	end(&s);
	own_count = 0;
	run("ip rule del lookup 51820; ip rule del suppress_prefixlength 0 lookup main;"
	    "ip route flush table 51820");
	clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_interface_that_does_not_forward),
		cmocka_unit_test(test_own_table_in_the_middle_of_a_dump),
	};

	if (!mirrored_setup())
		return NETNS_SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
