/* SPDX-License-Identifier: BSD-3-Clause */
/* Interfaces that come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <net/if.h>

#include <cmocka.h>

#include "mirrored.h"

static void test_interface_gone(void **state)
{
	struct subject s;
	struct ip_addr far = addr_of("10.90.1.1");
	uint32_t ifindex;

	(void)state;
	base_addresses();
	run("ip link add br9 address 02:00:00:00:00:c0 type bridge; ip link set br9 up;"
	    "ip addr add 10.91.0.1/24 dev br9; ip route add 10.90.0.0/16 via 10.91.0.2;"
	    "ip neigh replace 10.91.0.2 lladdr 02:00:00:00:09:02 dev br9 nud permanent");
	begin(&s);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_HOST);
	ifindex = resolve(&s, "10.90.1.1", NULL, 0).ifindex;
	/* A port that comes while running. */
	assert_int_equal(mirror_add_port(s.mirror, ifindex, 9, outer_mac, false), 0);
	assert_int_equal(s.table.link_ifindex, ifindex);
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_PORT);
	assert_int_equal(table_lookup(&s.table, &far).port, 9);
	mirror_remove(s.mirror, ifindex);
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &far).kind, MIRROR_HOST);
	assert_int_equal(mirror_add_wg(s.mirror, ifindex, 5), 0);
	settle(&s);
	assert_int_equal(table_lookup(&s.table, &far).interface, 5);
	run("ip link del br9");
	check(&s);
	assert_int_equal(s.table.gone_ifindex, ifindex);
	end(&s);
	clear();
}

/* Deleted before the first dump, it is in none: the event alone tells. */
static void test_interface_gone_at_the_start(void **state)
{
	struct mirror_callbacks callbacks;
	struct subject s;
	uint32_t ifindex;

	(void)state;
	run("ip link add br8 type bridge");
	ifindex = if_nametoindex("br8");
	table_init(&s.table, &callbacks);
	assert_int_equal(mirror_create(&callbacks, TABLE_NEXTHOPS, &s.mirror), 0);
	assert_int_equal(mirror_add_port(s.mirror, ifindex, 8, outer_mac, false), 0);
	assert_int_equal(mirror_start(s.mirror), 0);
	run("ip link del br8");
	settle(&s);
	assert_int_equal(s.table.gone_ifindex, ifindex);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interface_gone),
		cmocka_unit_test(test_interface_gone_at_the_start),
	};

	if (!mirrored_setup())
		return NETNS_SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
