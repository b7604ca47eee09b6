/* SPDX-License-Identifier: BSD-3-Clause */
/* Next hop ids of the forwarding table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <linux/rtnetlink.h>

#include "app/fib.h"
#include "table.h"

enum { PORT_A = 11 };

/* An id rests a second before it stands for another next hop; when none is left, the host. */
static void test_ids(void **state)
{
	static struct table table;
	struct fib_route route = {.table = RT_TABLE_MAIN, .type = RTN_UNICAST, .leg_count = 1};
	struct mirror_callbacks callbacks;
	uint32_t first, second;
	struct fib *fib;

	(void)state;
	table_init(&table, &callbacks);
	assert_int_equal(fib_create(&callbacks, 4, &fib), 0);
	route.legs[0].ifindex = PORT_A;
	fib_set_now(fib, 1000);
	for (unsigned i = 0; i < 4; i++) {
		route.prefix = prefix_of("10.0.0.0/16");
		route.prefix.addr.bytes[1] = (uint8_t)i;
		route.legs[0].gateway = addr_of("192.0.2.1");
		route.legs[0].gateway.bytes[3] = (uint8_t)i;
		fib_add_route(fib, &route, FIB_LAST);
	}
	assert_int_equal(table.warnings, 1);
	assert_int_equal(table.entries[3].nexthop, MIRROR_NEXTHOP_HOST);
	first = table.entries[0].nexthop;
	second = table.entries[1].nexthop;
	route.prefix.addr.bytes[1] = 0;
	route.legs[0].gateway.bytes[3] = 0;
	fib_delete_route(fib, &route);
	route.legs[0].gateway.bytes[3] = 9;
	fib_set_now(fib, 1000 + 999999999);
	fib_add_route(fib, &route, FIB_LAST);
	assert_int_equal(table_find(&table, &route.prefix)->nexthop, MIRROR_NEXTHOP_HOST);
	fib_delete_route(fib, &route);
	fib_set_now(fib, 1000 + 1000000000);
	fib_add_route(fib, &route, FIB_LAST);
	assert_int_equal(table_find(&table, &route.prefix)->nexthop, first);
	assert_int_not_equal(first, second);
	fib_destroy(fib);
	table_free(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
