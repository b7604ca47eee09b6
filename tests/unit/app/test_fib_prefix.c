/* SPDX-License-Identifier: BSD-3-Clause */
/* What counts of a prefix's routes where the kernel has rules of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <linux/rtnetlink.h>

#include "app/fib.h"
#include "table.h"

enum { PORT_A = 11, WG = 13 };

static const uint8_t port_mac[2][6] = {{2, 0, 0, 0, 0, 0xa}, {2, 0, 0, 0, 0, 0xb}};

/* A local prefix of many addresses answers before any route in it. */
static void test_wide_local(void **state)
{
	static struct table table;
	struct fib_route local = {
		.prefix = prefix_of("10.0.0.0/16"), .table = RT_TABLE_LOCAL, .type = RTN_LOCAL};
	struct fib_route route = {.prefix = prefix_of("10.0.1.0/24"),
		.table = RT_TABLE_MAIN,
		.type = RTN_UNICAST,
		.leg_count = 1,
		.legs[0].ifindex = WG};
	struct fib_route onlink = {.prefix = prefix_of("10.0.2.0/24"),
		.table = RT_TABLE_MAIN,
		.type = RTN_UNICAST,
		.leg_count = 1,
		.legs[0].ifindex = PORT_A};
	struct ip_addr addr = addr_of("10.0.1.1"), neighbour = addr_of("10.0.2.2");
	struct mirror_callbacks callbacks;
	struct fib *fib;

	(void)state;
	table_init(&table, &callbacks);
	assert_int_equal(fib_create(&callbacks, 16, &fib), 0);
	assert_int_equal(fib_add_wg(fib, WG, 1), 0);
	assert_int_equal(fib_add_port(fib, PORT_A, 0, port_mac[0]), 0);
	fib_add_route(fib, &route, FIB_LAST);
	fib_add_route(fib, &onlink, FIB_LAST);
	fib_set_neighbour(fib, PORT_A, &neighbour, port_mac[1], false);
	fib_flush(fib);
	assert_int_equal(table_lookup(&table, &addr).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&table, &neighbour).kind, MIRROR_PORT);
	fib_add_route(fib, &local, FIB_LAST);
	fib_flush(fib);
	assert_int_equal(table_lookup(&table, &addr).kind, MIRROR_HOST);
	assert_int_equal(table_lookup(&table, &neighbour).kind, MIRROR_HOST);
	fib_delete_route(fib, &local);
	fib_flush(fib);
	assert_int_equal(table_lookup(&table, &addr).kind, MIRROR_WG);
	assert_int_equal(table_lookup(&table, &neighbour).kind, MIRROR_PORT);
	/* A route for one TOS leaves the choice to the kernel. */
	route.tos = 8;
	fib_add_route(fib, &route, FIB_LAST);
	assert_int_equal(table_lookup(&table, &addr).kind, MIRROR_HOST);
	fib_delete_route(fib, &route);
	assert_int_equal(table_lookup(&table, &addr).kind, MIRROR_WG);
	fib_destroy(fib);
	table_free(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wide_local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
