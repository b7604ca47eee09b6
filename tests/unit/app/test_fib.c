/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The forwarding table against a kernel in the plainest form, which changes at random. Its changes
 * are told by events that arrive late or, now and then, not at all, and by dumps that are read in
 * pieces while it goes on changing; what is read first, event or dump, is random too. In the end
 * the table must lead every address where the kernel leads it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <linux/rtnetlink.h>

#include "app/fib.h"
#include "table.h"

#define ROUNDS	   300
#define ROUTES	   64
#define NEIGHBOURS 8
#define QUEUE	   4096
#define OWN_TABLE  51820

enum { PORT_A = 11, PORT_B = 12, WG = 13, FOREIGN = 14 };

static const uint8_t port_mac[2][6] = {{2, 0, 0, 0, 0, 0xa}, {2, 0, 0, 0, 0, 0xb}};

static const char *const prefixes[] = {"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24",
	"10.1.1.4/32", "10.1.1.4/30", "10.2.0.0/16", "::/0", "2001:db8::/32", "2001:db8:1::/48",
	"2001:db8:1::4/128"};
static const char *const addresses[] = {"10.1.1.4", "10.1.1.5", "10.1.1.9", "10.1.2.1", "10.2.0.1",
	"2001:db8:1::4", "2001:db8:1::5", "2001:db8:2::1"};
static const char *const elsewhere[] = {"10.9.9.9", "8.8.8.8", "2600::1", "10.1.1.6"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct neighbour {
	uint32_t ifindex;
	struct ip_addr addr;
	bool resolved;
	uint8_t mac[6];
};

struct event {
	enum { ADD, DELETE, SET_NEIGHBOUR, DELETE_NEIGHBOUR } what;
	struct fib_route route;
	enum fib_order order;
	struct neighbour neighbour;
};

/* The kernel: its routes in order, its neighbours, and what it has to say. */
struct kernel {
	struct fib_route routes[ROUTES];
	unsigned route_count;
	struct neighbour neighbours[NEIGHBOURS];
	unsigned neighbour_count;
	struct event events[QUEUE];
	unsigned event_first, event_count;
	bool lost;
	/* What was copied for the dump under way and not read yet */
	struct event dumped[256];
	unsigned dumped_first, dumped_count;
	unsigned dump_at; /* next prefix, or neighbour, to copy */
	int dump;	  /* enum fib_dump; -1: none */
	unsigned wanted;  /* bit mask of dumps */
	bool own_table;
};

static uint64_t seed, random_state;

static unsigned below(unsigned n)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)((random_state >> 33) % n);
}

static bool legs_same(const struct fib_route *a, const struct fib_route *b)
{
	if (a->leg_count != b->leg_count || a->mtu != b->mtu)
		return false;
	for (unsigned i = 0; i < a->leg_count; i++) {
		if (a->legs[i].ifindex != b->legs[i].ifindex ||
			!ip_addr_equal(&a->legs[i].gateway, &b->legs[i].gateway))
			return false;
	}
	return true;
}

static bool same_key(const struct fib_route *a, const struct fib_route *b)
{
	return ip_prefix_equal(&a->prefix, &b->prefix) && a->table == b->table &&
	       a->priority == b->priority;
}

static void tell(struct kernel *kernel, const struct event *event)
{
	assert_true(kernel->event_first + kernel->event_count < QUEUE);
	kernel->events[kernel->event_first + kernel->event_count++] = *event;
}

static struct fib_leg random_leg(uint8_t family)
{
	static const uint32_t interfaces[] = {PORT_A, PORT_A, PORT_B, WG, FOREIGN};
	struct fib_leg leg = {.ifindex = interfaces[below(5)]};

	while (below(3) != 0 && leg.gateway.family != family)
		leg.gateway = addr_of(addresses[below(COUNT(addresses))]);
	if (leg.gateway.family != family)
		leg.gateway = (struct ip_addr){0};
	return leg;
}

static struct fib_route random_route(const struct kernel *kernel)
{
	struct fib_route route = {.prefix = prefix_of(prefixes[below(COUNT(prefixes))]),
		.table = RT_TABLE_MAIN,
		.priority = 10 * below(2),
		.type = RTN_UNICAST,
		.leg_count = 1};
	uint8_t family = route.prefix.addr.family;

	if (below(12) == 0) {
		route.table = RT_TABLE_LOCAL;
		route.type = RTN_LOCAL;
		route.leg_count = 0;
		route.priority = 0;
		if (route.prefix.bits < 16)
			route.prefix = prefix_of("10.1.1.4/32");
	} else if (kernel->own_table && below(4) == 0) {
		route.prefix = prefix_of(below(2) ? "0.0.0.0/0" : "::/0");
		route.table = OWN_TABLE;
		family = route.prefix.addr.family;
	} else if (below(10) == 0) {
		route.type = RTN_UNREACHABLE;
		route.leg_count = 0;
	} else if (family == IP_V4 && below(4) == 0) {
		route.leg_count = 2;
	}
	for (unsigned i = 0; i < route.leg_count; i++)
		route.legs[i] = random_leg(family);
	if (route.leg_count > 0 && below(4) == 0)
		route.mtu = (uint16_t)(1280 + below(2));
	if (family == IP_V4)
		route.rest = route.mtu;
	return route;
}

/* The place of the first route of this key, or behind the last; -1: there is none. */
static int key_place(const struct kernel *kernel, const struct fib_route *route, bool behind)
{
	int place = -1;

	for (unsigned i = 0; i < kernel->route_count; i++) {
		if (!same_key(&kernel->routes[i], route))
			continue;
		if (!behind)
			return (int)i;
		place = (int)i + 1;
	}
	return place;
}

static void change_route(struct kernel *kernel)
{
	struct event event = {.what = ADD, .route = random_route(kernel)};
	int first = key_place(kernel, &event.route, false), place;

	for (unsigned i = 0; i < kernel->route_count; i++) {
		if (same_key(&kernel->routes[i], &event.route) &&
			kernel->routes[i].type == event.route.type &&
			legs_same(&kernel->routes[i], &event.route))
			return;
	}
	/* What is replaced is known to the reader only where there is one route. */
	event.order = (enum fib_order)below(
		first >= 0 && first + 1 == key_place(kernel, &event.route, true) ? 3 : 2);
	/* IPv6 has no several routes of a key but those that it joins into one. */
	if (event.route.prefix.addr.family == IP_V6 && first >= 0)
		event.order = FIB_REPLACE;
	else if (event.route.prefix.addr.family == IP_V6)
		event.order = FIB_LAST;
	if (first >= 0 && event.order == FIB_REPLACE) {
		kernel->routes[first] = event.route;
		tell(kernel, &event);
		return;
	}
	if (kernel->route_count == ROUTES)
		return;
	if (first < 0 && event.order == FIB_REPLACE)
		event.order = FIB_FIRST;
	place = first < 0 ? (int)kernel->route_count
			  : key_place(kernel, &event.route, event.order == FIB_LAST);
	memmove(&kernel->routes[place + 1], &kernel->routes[place],
		(kernel->route_count - (unsigned)place) * sizeof(kernel->routes[0]));
	kernel->routes[place] = event.route;
	kernel->route_count++;
	tell(kernel, &event);
}

static void delete_route(struct kernel *kernel)
{
	struct event event = {.what = DELETE};
	unsigned at;

	if (kernel->route_count == 0)
		return;
	at = below(kernel->route_count);
	event.route = kernel->routes[at];
	kernel->route_count--;
	memmove(&kernel->routes[at], &kernel->routes[at + 1],
		(kernel->route_count - at) * sizeof(kernel->routes[0]));
	tell(kernel, &event);
}

static struct neighbour *neighbour_at(
	struct kernel *kernel, uint32_t ifindex, const struct ip_addr *addr)
{
	for (unsigned i = 0; i < kernel->neighbour_count; i++) {
		if (kernel->neighbours[i].ifindex == ifindex &&
			ip_addr_equal(&kernel->neighbours[i].addr, addr))
			return &kernel->neighbours[i];
	}
	return NULL;
}

static void change_neighbour(struct kernel *kernel)
{
	struct event event = {.what = SET_NEIGHBOUR};
	struct neighbour *known;

	event.neighbour.ifindex = below(2) ? PORT_A : PORT_B;
	event.neighbour.addr = addr_of(addresses[below(COUNT(addresses))]);
	event.neighbour.resolved = below(3) != 0;
	event.neighbour.mac[5] = (uint8_t)(1 + below(3));
	known = neighbour_at(kernel, event.neighbour.ifindex, &event.neighbour.addr);
	if (known && below(3) == 0) {
		event.what = DELETE_NEIGHBOUR;
		*known = kernel->neighbours[--kernel->neighbour_count];
	} else if (known) {
		*known = event.neighbour;
	} else if (kernel->neighbour_count < NEIGHBOURS) {
		kernel->neighbours[kernel->neighbour_count++] = event.neighbour;
	} else {
		return;
	}
	tell(kernel, &event);
}

/* The dump copies the routes of one prefix, or one place among the neighbours. */
static bool copy_piece(struct kernel *kernel)
{
	unsigned at = kernel->dump_at++;

	if (kernel->dump == FIB_DUMP_NEIGHBOURS) {
		/* By address, since the order in the kernel is not that of time. */
		for (unsigned i = 0; at < COUNT(addresses) && i < kernel->neighbour_count; i++) {
			struct ip_addr addr = addr_of(addresses[at]);

			if (ip_addr_equal(&kernel->neighbours[i].addr, &addr))
				kernel->dumped[kernel->dumped_count++] = (struct event){
					.what = SET_NEIGHBOUR, .neighbour = kernel->neighbours[i]};
		}
		return at < COUNT(addresses);
	}
	for (unsigned i = 0; at < COUNT(prefixes) && i < kernel->route_count; i++) {
		struct ip_prefix prefix = prefix_of(prefixes[at]);

		if (ip_prefix_equal(&kernel->routes[i].prefix, &prefix) &&
			prefix.addr.family == (kernel->dump == FIB_DUMP_ROUTES_V4 ? IP_V4 : IP_V6))
			kernel->dumped[kernel->dumped_count++] =
				(struct event){.what = ADD, .route = kernel->routes[i]};
	}
	return at < COUNT(prefixes);
}

static void read_event(struct kernel *kernel, struct fib *fib)
{
	const struct event *event = &kernel->events[kernel->event_first++];
	const struct neighbour *neighbour = &event->neighbour;

	kernel->event_count--;
	switch (event->what) {
	case ADD:
		fib_add_route(fib, &event->route, event->order);
		for (unsigned dump = 0; dump < FIB_DUMPS; dump++) {
			if (fib_doubts(fib, (enum fib_dump)dump))
				kernel->wanted |= 1u << dump;
		}
		break;
	case DELETE:
		fib_delete_route(fib, &event->route);
		break;
	case SET_NEIGHBOUR:
		fib_set_neighbour(fib, neighbour->ifindex, &neighbour->addr,
			neighbour->resolved ? neighbour->mac : NULL, false);
		break;
	case DELETE_NEIGHBOUR:
		fib_delete_neighbour(fib, neighbour->ifindex, &neighbour->addr);
		break;
	}
}

static void read_dumped(struct kernel *kernel, struct fib *fib)
{
	const struct event *event = &kernel->dumped[kernel->dumped_first++];
	const struct neighbour *neighbour = &event->neighbour;

	if (event->what == ADD)
		fib_dump_route(fib, &event->route);
	else
		fib_dump_neighbour(fib, neighbour->ifindex, &neighbour->addr,
			neighbour->resolved ? neighbour->mac : NULL, false);
}

/* One step of the reader's dumps. */
static void step_dump(struct kernel *kernel, struct fib *fib)
{
	if (kernel->dump < 0) {
		if (kernel->wanted == 0)
			return;
		kernel->dump = __builtin_ctz(kernel->wanted);
		kernel->wanted &= kernel->wanted - 1;
		kernel->dump_at = kernel->dumped_first = kernel->dumped_count = 0;
		fib_begin_dump(fib, (enum fib_dump)kernel->dump);
	} else if (kernel->dumped_first < kernel->dumped_count && below(4) == 0) {
		read_dumped(kernel, fib);
	} else if (!copy_piece(kernel)) {
		while (kernel->dumped_first < kernel->dumped_count)
			read_dumped(kernel, fib);
		if (!fib_end_dump(fib, (enum fib_dump)kernel->dump, !kernel->lost))
			kernel->wanted |= 1u << kernel->dump;
		kernel->dump = -1;
	}
}

/* As in mirror.c: what is left goes, and all is dumped anew once the dump under way has ended. */
static void lose_events(struct kernel *kernel)
{
	kernel->event_first = kernel->event_count = 0;
	kernel->lost = kernel->dump >= 0;
	kernel->wanted = (1u << FIB_DUMPS) - 1;
}

static void work(struct kernel *kernel, struct fib *fib)
{
	/* Events are read faster than they come, so that many are read while a dump is copied. */
	switch (below(12)) {
	case 0:
	case 1:
		change_route(kernel);
		break;
	case 2:
		delete_route(kernel);
		break;
	case 3:
		change_neighbour(kernel);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
	case 8:
		if (kernel->event_count > 0)
			read_event(kernel, fib);
		break;
	default:
		step_dump(kernel, fib);
		break;
	}
	if (kernel->dump < 0)
		kernel->lost = false;
	if (below(60) == 0)
		fib_flush(fib);
	if (below(150) == 0)
		lose_events(kernel);
	if (kernel->event_count == 0)
		kernel->event_first = 0;
}

static void finish(struct kernel *kernel, struct fib *fib)
{
	while (kernel->event_count > 0 || kernel->dump >= 0 || kernel->wanted != 0) {
		if (kernel->dump < 0)
			kernel->lost = false;
		step_dump(kernel, fib);
		if (kernel->event_count > 0)
			read_event(kernel, fib);
	}
	kernel->event_first = 0;
	fib_flush(fib);
}

/* Where the kernel leads an address: the tables by their rules, in each the longest prefix. */
static const struct fib_route *kernel_route(
	const struct kernel *kernel, const struct ip_addr *addr, uint32_t table, bool not_default)
{
	const struct fib_route *best = NULL;

	for (unsigned i = 0; i < kernel->route_count; i++) {
		const struct fib_route *route = &kernel->routes[i];

		if (route->table != table || route->prefix.addr.family != addr->family ||
			!ip_prefix_contains(&route->prefix, addr) ||
			(not_default && route->prefix.bits == 0))
			continue;
		if (!best || route->prefix.bits > best->prefix.bits ||
			(route->prefix.bits == best->prefix.bits &&
				route->priority < best->priority))
			best = route;
	}
	return best;
}

static struct mirror_nexthop leg_nexthop(
	struct kernel *kernel, const struct fib_leg *leg, const struct ip_addr *addr)
{
	const struct ip_addr *at = leg->gateway.family == IP_NONE ? addr : &leg->gateway;
	const struct neighbour *neighbour = at ? neighbour_at(kernel, leg->ifindex, at) : NULL;
	struct mirror_nexthop nexthop = {.kind = MIRROR_HOST};

	if (leg->ifindex == WG) {
		nexthop.kind = MIRROR_WG;
		nexthop.interface = 1;
	} else if (neighbour && neighbour->resolved) {
		nexthop.kind = MIRROR_PORT;
		nexthop.port = leg->ifindex == PORT_A ? 0 : 1;
		memcpy(nexthop.source, port_mac[nexthop.port], 6);
		memcpy(nexthop.destination, neighbour->mac, 6);
	}
	return nexthop;
}

static struct mirror_nexthop kernel_nexthop(struct kernel *kernel, const struct ip_addr *addr)
{
	struct mirror_nexthop nexthop = {.kind = MIRROR_HOST};
	const struct fib_route *route;

	if (kernel_route(kernel, addr, RT_TABLE_LOCAL, false))
		return nexthop;
	route = kernel_route(kernel, addr, RT_TABLE_MAIN, true);
	if (!route && kernel->own_table)
		route = kernel_route(kernel, addr, OWN_TABLE, false);
	if (!route)
		route = kernel_route(kernel, addr, RT_TABLE_MAIN, false);
	/* What is on-link by a route with an MTU of its own is the host's, as that by several is.
	 */
	for (unsigned i = 0; route && i < route->leg_count && nexthop.kind == MIRROR_HOST; i++)
		nexthop = leg_nexthop(kernel, &route->legs[i],
			route->leg_count > 1 || route->mtu != 0 ? NULL : addr);
	if (nexthop.kind != MIRROR_HOST)
		nexthop.mtu = route->mtu;
	return nexthop;
}

static void compare(struct kernel *kernel, const struct table *table, const char *text)
{
	struct ip_addr addr = addr_of(text);
	struct mirror_nexthop here = table_lookup(table, &addr);
	struct mirror_nexthop there = kernel_nexthop(kernel, &addr);

	if (!nexthop_same(&here, &there))
		fail_msg("seed %llu: %s: kind %d port %u mac %u, the kernel: %d %u %u",
			(unsigned long long)seed, text, here.kind, here.port, here.destination[5],
			there.kind, there.port, there.destination[5]);
}

static void round_of(uint64_t round_seed)
{
	static struct kernel kernel;
	static struct table table;
	static const uint32_t own = OWN_TABLE;
	struct mirror_callbacks callbacks;
	struct mirror_stats stats;
	struct fib *fib;

	seed = random_state = round_seed;
	memset(&kernel, 0, sizeof(kernel));
	kernel.dump = -1;
	kernel.own_table = below(2);
	table_init(&table, &callbacks);
	assert_int_equal(fib_create(&callbacks, TABLE_NEXTHOPS, &fib), 0);
	assert_int_equal(fib_add_port(fib, PORT_A, 0, port_mac[0]), 0);
	assert_int_equal(fib_add_wg(fib, WG, 1), 0);
	assert_int_equal(fib_add_port(fib, PORT_B, 1, port_mac[1]), 0);
	if (kernel.own_table) {
		fib_set_own_tables(fib, IP_V4, &own, 1);
		fib_set_own_tables(fib, IP_V6, &own, 1);
	}
	for (unsigned part = 0; part < 4; part++) {
		for (unsigned i = 0; i < 400; i++)
			work(&kernel, fib);
		finish(&kernel, fib);
		for (unsigned i = 0; i < COUNT(addresses); i++)
			compare(&kernel, &table, addresses[i]);
		for (unsigned i = 0; i < COUNT(elsewhere); i++)
			compare(&kernel, &table, elsewhere[i]);
		fib_get_stats(fib, &stats);
		assert_int_equal(stats.routes, kernel.route_count);
		assert_int_equal(stats.neighbours, kernel.neighbour_count);
		assert_int_equal(stats.prefixes, table.n);
		assert_false(fib_own_tables_stray(fib, IP_V4));
		assert_false(fib_lost_memory(fib));
	}
	/* All goes, and nothing is left. */
	while (kernel.route_count > 0)
		delete_route(&kernel);
	kernel.neighbour_count = 0;
	kernel.event_first = kernel.event_count = 0;
	kernel.wanted = (1u << FIB_DUMPS) - 1;
	finish(&kernel, fib);
	fib_get_stats(fib, &stats);
	assert_int_equal(stats.routes + stats.prefixes + stats.nexthops + stats.neighbours, 0);
	assert_int_equal(table.n, 0);
	fib_destroy(fib);
	table_free(&table);
}

static void test_random(void **state)
{
	const char *given = getenv("FIB_SEED");
	uint64_t first = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 100000;

	(void)state;
	print_message("FIB_SEED=%llu and the %d behind it\n", (unsigned long long)first, ROUNDS);
	for (unsigned i = 0; i < ROUNDS; i++)
		round_of(first + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
