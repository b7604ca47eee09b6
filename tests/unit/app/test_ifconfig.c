/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host has after each step is told by ip(8); that nothing is left by comparing all that it
 * lists with what it listed before.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "app/ifconfig.h"
#include "netns.h"
#include "table.h"

#define MANY 20000

static uint32_t wg0, wg1, wan0;
static char before[16384], after[16384];

static void snapshot(char out[16384])
{
	output_of(out, 16384,
		"for d in wg0 wg1 wan0; do ip -o link show $d | grep -o 'mtu [0-9]*\\|UP'; done;"
		"ip -o addr | sed 's/valid_lft.*//'; ip -4 route show table all; ip -6 route show "
		"table all;"
		"ip rule; ip -6 rule; sysctl net.ipv4.conf.all.src_valid_mark");
}

static void assert_nothing_left(void)
{
	snapshot(after);
	assert_string_equal(before, after);
}

/* The output of a command holds each of these. */
static void assert_shows(const char *command, const char *const *expected, unsigned n)
{
	char out[4096];

	output_of(out, sizeof(out), "%s", command);
	for (unsigned i = 0; i < n; i++) {
		if (!strstr(out, expected[i]))
			fail_msg("%s: no \"%s\" in:\n%s", command, expected[i], out);
	}
}

static void assert_prints(const char *command, const char *expected)
{
	char out[4096];

	output_of(out, sizeof(out), "%s", command);
	assert_string_equal(out, expected);
}

/* Prefixes from one string, with blanks between. */
static uint32_t list_of(struct ip_prefix *list, const char *text)
{
	char copy[1024], *save = NULL;
	uint32_t n = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *at = strtok_r(copy, " ", &save); at; at = strtok_r(NULL, " ", &save))
		list[n++] = prefix_of(at);
	return n;
}

static int apply(struct ifconfig *ifconfig, struct ifconfig_request *request, const char *addresses,
	const char *routes, char *message)
{
	struct ip_prefix address_list[32], route_list[32];
	int error;

	request->name = request->ifindex == wg0 ? "wg0" : "wg1";
	request->addresses = address_list;
	request->address_count = list_of(address_list, addresses);
	request->routes = route_list;
	request->route_count = list_of(route_list, routes);
	message[0] = '\0';
	error = ifconfig_apply(ifconfig, request, message);
	if (error != 0)
		print_message("%s\n", message);
	assert_true((error != 0) == (message[0] != '\0'));
	assert_null(strchr(message, '\n'));
	return error;
}

static int setup(void **state)
{
	(void)state;
	run("ip route flush dev wan0; ip -6 route flush dev wan0; ip addr flush dev wan0;"
	    "ip addr add 192.0.2.1/24 dev wan0; ip -6 addr add 2001:db8::1/64 dev wan0 nodad;"
	    "ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2");
	run("ip link set wg0 down; ip link set wg1 down; ip link set wg0 mtu 1420");
	/* The kernel makes the last route of an IPv6 address after `ip addr add` has ended. */
	run("for i in $(seq 1000); do ip -6 route show table local |"
	    "grep -q 'anycast 2001:db8:: dev wan0' && exit 0; sleep 0.01; done; exit 1");
	snapshot(before);
	return 0;
}

static void test_plain(void **state)
{
	static const char *const addresses[] = {"inet 10.0.0.1/24 ", "inet6 fd00::1/64 "};
	static const char *const routes[] = {
		"10.0.0.0/24 proto kernel", "192.168.7.0/24 scope link", "10.20.0.5 scope link"};
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0, .mtu = 1380};
	char message[IFCONFIG_MESSAGE_BYTES];

	(void)state;
	assert_non_null(ifconfig);
	/* Host bits of allowed IPs do not matter; what the address covers has its route already. */
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24 fd00::1/64",
				 "192.168.7.9/24 10.0.0.2/32 10.20.0.5/32 fd00::2/128 fd01::/48 "
				 "192.168.7.0/24",
				 message),
		0);
	assert_shows("ip addr show dev wg0", addresses, 2);
	assert_shows("ip route show dev wg0", routes, 3);
	assert_prints("ip route show dev wg0 | wc -l", "3");
	assert_prints("ip -6 route show dev wg0 | grep -v ^fe80 | cut -d' ' -f1 | sort | xargs",
		"fd00::/64 fd01::/48");
	assert_prints("ip -o link show wg0 | grep -o 'mtu [0-9]*'", "mtu 1380");
	assert_prints("ip -o link show wg0 | grep -o '[<,]UP[,>]' | wc -l", "1");
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 0);
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
}

static void test_tables(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {
		.ifindex = wg0, .table = IFCONFIG_TABLE_NUMBER, .table_number = 1234, .fwmark = 9};
	char message[IFCONFIG_MESSAGE_BYTES];
	uint32_t tables[4];

	(void)state;
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24", "0.0.0.0/0 10.0.0.2/32 fd01::/48",
				 message),
		0);
	assert_prints("ip route show table 1234 | cut -d' ' -f1-3 | xargs",
		"default dev wg0 10.0.0.2 dev wg0");
	assert_prints("ip -6 route show table 1234 | cut -d' ' -f1-3", "fd01::/48 dev wg0");
	assert_prints("ip rule | wc -l", "3");
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 0);
	assert_int_equal(ifconfig_own_tables(ifconfig, tables, 4), 0);
	ifconfig_undo(ifconfig, wg0);
	assert_nothing_left();
	request.table = IFCONFIG_TABLE_OFF;
	assert_int_equal(
		apply(ifconfig, &request, "10.0.0.1/32", "0.0.0.0/0 10.9.0.0/16", message), 0);
	assert_prints("ip route show dev wg0 table all type unicast", "");
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
}

static void test_default_route(void **state)
{
	static const char *const rules[] = {"not from all fwmark 0xca6c lookup 51820",
		"from all lookup main suppress_prefixlength 0"};
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0}, second = {.ifindex = wg1};
	char message[IFCONFIG_MESSAGE_BYTES];
	uint32_t tables[4];

	(void)state;
	assert_int_equal(
		apply(ifconfig, &request, "10.0.0.2/32 fd00::2/128", "0.0.0.0/0 ::/0", message), 0);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 51820);
	assert_int_equal(ifconfig_own_tables(ifconfig, tables, 4), 1);
	assert_int_equal(tables[0], 51820);
	assert_shows("ip rule", rules, 2);
	assert_shows("ip -6 rule", rules, 2);
	assert_prints("ip route get 8.8.8.8 | grep -o 'dev [a-z0-9]*'", "dev wg0");
	assert_prints("ip route get 8.8.8.8 mark 51820 | grep -o 'dev [a-z0-9]*'", "dev wan0");
	assert_prints("ip route get 192.0.2.9 | grep -o 'dev [a-z0-9]*'", "dev wan0");
	assert_prints("ip -6 route get 2600::1 | grep -o 'dev [a-z0-9]*'", "dev wg0");
	assert_prints("ip -6 route get 2600::1 mark 51820 | grep -o 'dev [a-z0-9]*'", "dev wan0");
	assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "1");
	/* A second one finds another table, comes first, and leaves connected networks alone. */
	assert_int_equal(apply(ifconfig, &second, "10.0.1.2/32", "0.0.0.0/0", message), 0);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg1), 51821);
	assert_int_equal(ifconfig_own_tables(ifconfig, tables, 4), 2);
	assert_prints("ip route get 8.8.8.8 | grep -o 'dev [a-z0-9]*'", "dev wg1");
	assert_prints("ip route get 8.8.8.8 mark 51821 | grep -o 'dev [a-z0-9]*'", "dev wg0");
	assert_prints("ip route get 192.0.2.9 | grep -o 'dev [a-z0-9]*'", "dev wan0");
	/* The first goes: the setting that it made is still needed. */
	ifconfig_undo(ifconfig, wg0);
	assert_prints("ip route get 8.8.8.8 | grep -o 'dev [a-z0-9]*'", "dev wg1");
	assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "1");
	/* It comes again, and ends before the one that the setting passed to. */
	assert_int_equal(apply(ifconfig, &request, "10.0.0.2/32", "0.0.0.0/0", message), 0);
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
}

/* The table that would be used is another's: the next. With FwMark its number is the table. */
static void test_default_table(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	char message[IFCONFIG_MESSAGE_BYTES];

	(void)state;
	run("ip -6 route add 2001:db8:5::/48 dev wan0 table 51820;"
	    "ip route add 198.51.100.0/24 dev wan0 table 51821");
	assert_int_equal(apply(ifconfig, &request, "10.0.0.2/32", "0.0.0.0/0", message), 0);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 51822);
	ifconfig_undo(ifconfig, wg0);
	request.fwmark = 777;
	assert_int_equal(apply(ifconfig, &request, "10.0.0.2/32", "0.0.0.0/0", message), 0);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 777);
	assert_prints("ip route show table 777 | cut -d' ' -f1-3", "default dev wg0");
	ifconfig_destroy(ifconfig);
	run("ip -6 route flush table 51820; ip route flush table 51821");
	assert_nothing_left();
}

/* The same when the mark comes later: it counts for the default route behind it. */
static void test_mark_that_comes_later(void **state)
{
	static const char *const marked[] = {"not from all fwmark 0x309 lookup 777"};
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	struct ip_prefix list[2];
	char message[IFCONFIG_MESSAGE_BYTES];
	uint32_t tables[4];

	(void)state;
	ifconfig_set_fwmark(ifconfig, wg0, 777); /* was not set up here */
	list_of(list, "0.0.0.0/0 ::/0");
	assert_int_equal(apply(ifconfig, &request, "10.0.0.2/32", "0.0.0.0/0", message), 0);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 51820);
	ifconfig_set_fwmark(ifconfig, wg0, 777);
	/* One table for both families, while either is there. */
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list + 1, 1, message), 0);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 51820);
	ifconfig_remove_routes(ifconfig, wg0, list, 1);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 51820);
	ifconfig_remove_routes(ifconfig, wg0, list, 2);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 0);
	/* That of the table that was found is nobody's choice. */
	ifconfig_set_fwmark(ifconfig, wg0, 51820);
	assert_int_equal(ifconfig_own_tables(ifconfig, tables, 4), 1);
	ifconfig_set_fwmark(ifconfig, wg0, 777);
	assert_int_equal(ifconfig_own_tables(ifconfig, tables, 4), 0);
	ifconfig_set_fwmark(ifconfig, wg0, 0);
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, 1, message), 0);
	assert_int_equal(ifconfig_fwmark(ifconfig, wg0), 777);
	assert_shows("ip rule", marked, 1);
	assert_prints("ip route get 8.8.8.8 mark 777 | grep -o 'dev [a-z0-9]*'", "dev wan0");
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
}

/* A step fails: the line says which and what would be right, and the steps before it are undone. */
/* The first one ends without a word: what it left goes, and nothing of anybody else's. */
static void test_leftovers(void **state)
{
	struct ifconfig *crashed = ifconfig_create(), *next = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	char message[IFCONFIG_MESSAGE_BYTES];

	(void)state;
	run("ip rule add not fwmark 7 table 7 priority 100");
	snapshot(before);
	assert_int_equal(ifconfig_remove_leftovers(next), 0);
	assert_int_equal(
		apply(crashed, &request, "10.0.0.1/24 fd00::1/64", "0.0.0.0/0 ::/0", message), 0);
	assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "1");
	assert_prints("ip -N rule | grep -c 'proto 8[78]'", "2");
	assert_int_equal(ifconfig_remove_leftovers(next), 4);
	assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "0");
	assert_int_equal(ifconfig_remove_leftovers(next), 0);
	ifconfig_destroy(next);
	ifconfig_destroy(crashed);
	assert_nothing_left();

	/* Whatever became of the default routes before the crash. */
	for (unsigned i = 0; i < 3; i++) {
		struct ifconfig_request second = {.ifindex = wg1};
		struct ip_prefix all = prefix_of("0.0.0.0/0");

		crashed = ifconfig_create();
		next = ifconfig_create();
		if (i == 2)
			run("sysctl -qw net.ipv4.conf.all.src_valid_mark=1");
		assert_int_equal(apply(crashed, &request, "10.0.0.1/24", "0.0.0.0/0", message), 0);
		if (i == 0) {
			ifconfig_remove_routes(crashed, wg0, &all, 1);
			assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "0");
			assert_int_equal(ifconfig_add_routes(crashed, wg0, &all, 1, message), 0);
		} else {
			/* The one that set it ends, and the other was there first, or not. */
			if (i == 2)
				run("sysctl -qw net.ipv4.conf.all.src_valid_mark=0");
			assert_int_equal(
				apply(crashed, &second, "10.0.1.1/24", "0.0.0.0/0", message), 0);
			ifconfig_undo(crashed, i == 1 ? wg0 : wg1);
			assert_prints("ip rule | grep -c 'not from all fwmark 0xca6'", "1");
		}
		assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "1");
		assert_int_equal(ifconfig_remove_leftovers(next), 2);
		assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "0");
		ifconfig_destroy(next);
		ifconfig_destroy(crashed);
		assert_nothing_left();
	}

	/* A setting that was there before stays. */
	run("sysctl -qw net.ipv4.conf.all.src_valid_mark=1");
	crashed = ifconfig_create();
	assert_int_equal(apply(crashed, &request, "10.0.0.1/24", "0.0.0.0/0", message), 0);
	next = ifconfig_create();
	assert_int_equal(ifconfig_remove_leftovers(next), 2);
	assert_prints("sysctl -n net.ipv4.conf.all.src_valid_mark", "1");
	ifconfig_destroy(next);
	ifconfig_destroy(crashed);
	run("sysctl -qw net.ipv4.conf.all.src_valid_mark=0; ip rule del priority 100");
}

static void test_failures(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	char message[IFCONFIG_MESSAGE_BYTES];

	(void)state;
	assert_int_equal(
		apply(ifconfig, &request, "10.0.0.1/24 10.0.0.1/24", "10.5.0.0/16", message),
		-EEXIST);
	assert_non_null(strstr(message, "address 10.0.0.1/24"));
	assert_nothing_left();
	request.mtu = 20;
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24", "10.5.0.0/16", message), -EINVAL);
	assert_non_null(strstr(message, "MTU 20"));
	assert_nothing_left();
	request.mtu = 1300;
	run("ip route add 10.6.0.0/16 dev wan0");
	snapshot(before);
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24",
				 "0.0.0.0/0 10.5.0.0/16 10.6.0.0/16 10.7.0.0/16", message),
		-EEXIST);
	assert_non_null(strstr(message, "ip route del 10.6.0.0/16"));
	assert_nothing_left();
	run("ip -6 route add fd05::/48 dev wan0");
	snapshot(before);
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24", "fd05::/48", message), -EEXIST);
	assert_non_null(strstr(message, "ip -6 route del fd05::/48"));
	assert_nothing_left();
	/* No priority is free before the first rule. */
	run("ip rule add from 9.9.9.9 lookup main priority 1");
	snapshot(before);
	assert_int_equal(
		apply(ifconfig, &request, "10.0.0.1/24", "10.5.0.0/16 ::/0 0.0.0.0/0", message),
		-ERANGE);
	assert_nothing_left();
	run("ip rule del priority 1");
	request.ifindex = 9999;
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24", "", message), -ENODEV);
	assert_int_equal(apply(ifconfig, &request, "", "10.5.0.0/16", message), -ENODEV);
	ifconfig_destroy(ifconfig);
}

/* By its MTU or by the operator: what the kernel says then reads as another fault. */
static void test_without_ipv6(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0, .mtu = 1200};
	char message[IFCONFIG_MESSAGE_BYTES];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(
			apply(ifconfig, &request, "10.0.0.1/24", "10.5.0.0/16 ::/0", message),
			i == 0 ? -ENODEV : -EACCES);
		assert_non_null(strstr(message, "route to ::/0: IPv6 is off on wg0"));
		request.mtu = 1280;
		run("sysctl -qw net.ipv6.conf.wg0.disable_ipv6=1");
	}
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24", "0.0.0.0/0", message), 0);
	ifconfig_destroy(ifconfig);
	run("sysctl -qw net.ipv6.conf.wg0.disable_ipv6=0");
	assert_nothing_left();
}

static void test_following(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	char message[IFCONFIG_MESSAGE_BYTES];
	struct ip_prefix list[16];
	uint32_t n;

	(void)state;
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, 0, message), -ENODEV);
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24", "10.5.0.0/16", message), 0);
	n = list_of(list, "10.5.0.0/16 10.6.0.0/16 0.0.0.0/0 10.0.0.7/32");
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, n, message), 0);
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, n, message), 0);
	assert_prints("ip route show dev wg0 | cut -d' ' -f1 | xargs",
		"10.0.0.0/24 10.5.0.0/16 10.6.0.0/16");
	assert_prints("ip route get 8.8.8.8 | grep -o 'dev [a-z0-9]*'", "dev wg0");
	n = list_of(list, "0.0.0.0/0 10.5.0.0/16 10.5.0.0/16 10.0.0.7/32 10.99.0.0/16 10.0.0.0/24");
	ifconfig_remove_routes(ifconfig, wg0, list, n);
	assert_prints("ip route show dev wg0 | cut -d' ' -f1 | xargs", "10.0.0.0/24 10.6.0.0/16");
	assert_prints("ip route get 8.8.8.8 | grep -o 'dev [a-z0-9]*'", "dev wan0");
	/* One of the new ones cannot be made: none is. */
	run("ip route add 10.8.0.0/16 dev wan0");
	n = list_of(list, "10.7.0.0/16 10.8.0.0/16 10.9.0.0/16");
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, n, message), -EEXIST);
	assert_prints("ip route show dev wg0 | cut -d' ' -f1 | xargs", "10.0.0.0/24 10.6.0.0/16");
	assert_prints("ip route show dev wan0 10.8.0.0/16 | wc -l", "1");
	run("ip route del 10.8.0.0/16 dev wan0");
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, n, message), 0);
	/* Somebody takes one away before we do. */
	run("ip route del 10.9.0.0/16 dev wg0");
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
}

/* What its addresses cover is judged by those that it has, not by those of the file. */
static void test_addresses_by_hand(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	char message[IFCONFIG_MESSAGE_BYTES];
	struct ip_prefix list[16];

	(void)state;
	assert_int_equal(
		apply(ifconfig, &request, "10.8.0.1/16 fd00::1/64", "10.8.5.1/32", message), 0);
	run("ip addr add 10.8.0.1/24 dev wg0; ip addr del 10.8.0.1/16 dev wg0;"
	    "ip addr del fd00::1/64 dev wg0");
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list,
				 list_of(list, "10.8.5.2/32 10.8.0.2/32 fd00::2/128"), message),
		0);
	assert_prints("ip route show dev wg0 | cut -d' ' -f1 | xargs", "10.8.0.0/24 10.8.5.2");
	assert_prints("ip -6 route show dev wg0 | grep -v ^fe80 | cut -d' ' -f1", "fd00::2");
	/* The other way round: a network that came with an address, or by hand, has its route. */
	run("ip addr add 10.60.0.1/24 dev wg0; ip addr add 10.61.0.1/24 dev wg0 noprefixroute;"
	    "ip addr add 10.64.0.1 peer 10.65.0.1/24 dev wg0; ip addr add 10.66.0.1/32 dev wg0;"
	    "ip route add 10.62.0.0/24 dev wg0");
	assert_int_equal(
		ifconfig_add_routes(ifconfig, wg0, list,
			list_of(list, "10.60.0.0/24 10.60.0.3/32 10.61.0.0/24 10.62.0.0/24 "
				      "10.63.0.0/24 10.64.0.0/24 10.65.0.2/32 10.66.0.1/32"),
			message),
		0);
	assert_string_equal(message, "");
	assert_prints("ip route show dev wg0 proto boot | cut -d' ' -f1 | xargs",
		"10.8.5.2 10.61.0.0/24 10.62.0.0/24 10.63.0.0/24 10.64.0.0/24 10.66.0.1");
	assert_int_equal(list_of(list, "10.62.0.0/24 10.63.0.0/24"), 2);
	ifconfig_remove_routes(ifconfig, wg0, list, 2);
	assert_prints("ip route show dev wg0 10.62.0.0/24 | wc -l", "1");
	assert_prints("ip route show dev wg0 10.63.0.0/24 | wc -l", "0");
	run("ip addr flush dev wg0");
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
}

/* One that another interface has is told, with those before it that are there already left out. */
static void test_two_that_are_there(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	char message[IFCONFIG_MESSAGE_BYTES];
	struct ip_prefix list[4];
	uint32_t n = list_of(list, "10.7.0.0/16 10.8.0.0/16 10.9.0.0/16");

	(void)state;
	run("ip route add 10.9.0.0/16 dev wan0");
	snapshot(before);
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24", "", message), 0);
	run("ip route add 10.8.0.0/16 dev wg0");
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, n, message), -EEXIST);
	assert_non_null(strstr(message, "ip route del 10.9.0.0/16"));
	assert_prints("ip route show dev wg0 proto boot | cut -d' ' -f1 | xargs", "10.8.0.0/16");
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
	run("ip route del 10.9.0.0/16 dev wan0");
}

/* The kernel takes the routes of a link that goes down, and of IPv4 with the last address. */
static void test_lost_routes(void **state)
{
	static const char *const all = "0.0.0.0/0 10.5.0.0/16 10.6.0.0/16 fd05::/48 ::/0";
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0};
	char message[IFCONFIG_MESSAGE_BYTES], with_all[16384];
	struct ip_prefix list[8];
	uint32_t n = list_of(list, all);

	(void)state;
	assert_int_equal(apply(ifconfig, &request, "10.0.0.1/24 fd00::1/64", all, message), 0);
	snapshot(with_all);
	for (unsigned i = 0; i < 2; i++) {
		run(i == 0 ? "ip link set wg0 down; ip link set wg0 up"
			   : "ip addr del 10.0.0.1/24 dev wg0; ip addr add 10.0.0.1/24 dev wg0");
		ifconfig_forget_lost_routes(ifconfig, wg0);
		assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, n, message), 0);
		snapshot(after);
		assert_string_equal(with_all, after);
	}
	/* Down, none can be added; what goes meanwhile takes its rules along. */
	run("ip link set wg0 down");
	ifconfig_forget_lost_routes(ifconfig, wg0);
	assert_int_equal(ifconfig_add_routes(ifconfig, wg0, list, n, message), -ENETDOWN);
	ifconfig_remove_routes(ifconfig, wg0, list, n);
	assert_prints("(ip -N rule; ip -N -6 rule) | grep -c 'proto 8[78]'", "0");
	ifconfig_destroy(ifconfig);
	assert_nothing_left();
}

static void test_many(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ip_prefix *list = calloc(MANY, sizeof(*list));
	struct ifconfig_request request = {.ifindex = wg0, .name = "wg0", .routes = list};
	char message[IFCONFIG_MESSAGE_BYTES];
	struct timespec t0, t1, t2;

	(void)state;
	assert_non_null(list);
	for (unsigned i = 0; i < MANY; i++) {
		list[i] = prefix_of("10.64.0.0/32");
		list[i].addr.bytes[1] = (uint8_t)(64 + i / 65536);
		list[i].addr.bytes[2] = (uint8_t)(i / 256);
		list[i].addr.bytes[3] = (uint8_t)i;
	}
	request.route_count = MANY;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	assert_int_equal(ifconfig_apply(ifconfig, &request, message), 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	assert_prints("ip route show dev wg0 | wc -l", "20000");
	ifconfig_undo(ifconfig, wg0);
	clock_gettime(CLOCK_MONOTONIC, &t2);
	print_message("%u routes: %ld ms to add, %ld ms to list and remove\n", MANY,
		(t1.tv_sec - t0.tv_sec) * 1000 + (t1.tv_nsec - t0.tv_nsec) / 1000000,
		(t2.tv_sec - t1.tv_sec) * 1000 + (t2.tv_nsec - t1.tv_nsec) / 1000000);
	assert_nothing_left();
	/* The one before the last is taken: all 19,998 before it go again, and it stays. */
	run("ip route add 10.64.78.30/32 dev wan0");
	snapshot(before);
	assert_int_equal(ifconfig_apply(ifconfig, &request, message), -EEXIST);
	assert_non_null(strstr(message, "10.64.78.30/32"));
	assert_nothing_left();
	run("ip route del 10.64.78.30/32 dev wan0");
	ifconfig_destroy(ifconfig);
	free(list);
}

static void settle(struct mirror *mirror, uint64_t *now_ns)
{
	struct pollfd fd = {.fd = mirror_fd(mirror), .events = POLLIN};

	for (unsigned turns = 0; turns < 1000; turns++) {
		uint64_t deadline;

		mirror_process(mirror, *now_ns);
		deadline = mirror_deadline_ns(mirror);
		if (poll(&fd, 1, 0) > 0)
			continue;
		if (deadline == UINT64_MAX)
			return;
		*now_ns = deadline > *now_ns ? deadline : *now_ns;
	}
	fail_msg("the mirror does not settle");
}

/* The mirror knows what is made here. */
static void test_mirrored(void **state)
{
	struct ifconfig *ifconfig = ifconfig_create();
	struct ifconfig_request request = {.ifindex = wg0}, second = {.ifindex = wg1};
	struct ip_addr far = addr_of("8.8.8.8");
	char message[IFCONFIG_MESSAGE_BYTES];
	struct mirror_callbacks callbacks;
	uint32_t tables[MIRROR_OWN_TABLES];
	struct mirror *mirror;
	struct table table;
	uint64_t now_ns = 1;

	(void)state;
	table_init(&table, &callbacks);
	assert_int_equal(mirror_create(&callbacks, TABLE_NEXTHOPS, &mirror), 0);
	assert_int_equal(mirror_add_wg(mirror, wg0, 0), 0);
	assert_int_equal(mirror_add_wg(mirror, wg1, 1), 0);
	assert_int_equal(mirror_start(mirror), 0);
	settle(mirror, &now_ns);
	assert_true(table.forwarding_v4 && table.forwarding_v6);
	assert_int_equal(apply(ifconfig, &request, "10.0.0.2/32", "0.0.0.0/0 ::/0", message), 0);
	assert_int_equal(apply(ifconfig, &second, "10.0.1.2/32", "0.0.0.0/0", message), 0);
	settle(mirror, &now_ns);
	assert_false(table.forwarding_v4 || table.forwarding_v6);
	mirror_set_own_tables(
		mirror, tables, ifconfig_own_tables(ifconfig, tables, MIRROR_OWN_TABLES));
	/* Nothing is forwarded by a table that is not read yet. */
	assert_false(table.forwarding_v4 || table.forwarding_v6);
	settle(mirror, &now_ns);
	assert_true(table.forwarding_v4 && table.forwarding_v6);
	assert_int_equal(table_lookup(&table, &far).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&table, &far).interface, 1);
	ifconfig_undo(ifconfig, wg1);
	settle(mirror, &now_ns);
	assert_true(table.forwarding_v4);
	assert_int_equal(table_lookup(&table, &far).interface, 0);
	ifconfig_destroy(ifconfig);
	settle(mirror, &now_ns);
	assert_true(table.forwarding_v4 && table.forwarding_v6);
	assert_int_equal(table_lookup(&table, &far).kind, MIRROR_HOST);
	mirror_destroy(mirror);
	table_free(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_plain, setup),
		cmocka_unit_test_setup(test_tables, setup),
		cmocka_unit_test_setup(test_default_route, setup),
		cmocka_unit_test_setup(test_default_table, setup),
		cmocka_unit_test_setup(test_mark_that_comes_later, setup),
		cmocka_unit_test_setup(test_leftovers, setup),
		cmocka_unit_test_setup(test_failures, setup),
		cmocka_unit_test_setup(test_without_ipv6, setup),
		cmocka_unit_test_setup(test_following, setup),
		cmocka_unit_test_setup(test_addresses_by_hand, setup),
		cmocka_unit_test_setup(test_two_that_are_there, setup),
		cmocka_unit_test_setup(test_lost_routes, setup),
		cmocka_unit_test_setup(test_many, setup),
		cmocka_unit_test_setup(test_mirrored, setup),
	};

	if (!netns_enter())
		return NETNS_SKIP;
	wg0 = netns_make("wg0", false, NULL);
	wg1 = netns_make("wg1", false, NULL);
	wan0 = netns_make("wan0", true, "02:00:00:00:00:a0");
	run("ip link set wg0 addrgenmode none; ip link set wg1 addrgenmode none;"
	    "ip link set wan0 addrgenmode none");
	run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 "
	    "net.ipv6.conf.all.keep_addr_on_down=1");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
