/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Routes of the forwarding table, as the kernel's events bring and take them. The order of routes
 * with the same table, priority and TOS is the kernel's.
 */
#include "fib_parts.h"

#include <stdlib.h>

static void route_unlink(struct fib *fib, struct prefix *prefix, struct route *route)
{
	struct route **at = &prefix->routes;

	while (*at != route)
		at = &(*at)->next;
	*at = route->next;
	if (!route->gone)
		prefix_count(fib, prefix, route, false);
}

static void route_free(struct fib *fib, struct route *route)
{
	if (route->way)
		way_unuse(fib, route->way);
	free(route);
}

struct route *route_insert(struct fib *fib, struct prefix *prefix, const struct fib_route *from,
	struct way *way, enum fib_order order)
{
	struct route *route = calloc(1, sizeof(*route));
	struct route **at = &prefix->routes;

	if (!route) {
		fib->lost_memory = true;
		return NULL;
	}
	while (order == FIB_LAST && *at)
		at = &(*at)->next;
	route->next = *at;
	*at = route;
	route->table = from->table;
	route->priority = from->priority;
	route->tos = from->tos;
	route->type = from->type;
	route->rest = from->rest;
	route->way = way;
	if (way)
		way_use(fib, way);
	prefix_count(fib, prefix, route, true);
	return route;
}

bool route_same_key(const struct route *route, const struct fib_route *from)
{
	return route->table == from->table && route->priority == from->priority &&
	       route->tos == from->tos;
}

struct route *route_find(
	const struct prefix *prefix, const struct fib_route *from, const struct way *way)
{
	for (struct route *route = prefix->routes; route; route = route->next) {
		if (route_same_key(route, from) && route->type == from->type &&
			route->rest == from->rest && route->way == way)
			return route;
	}
	return NULL;
}

static bool way_has_gateway(const struct way *way)
{
	if (!way)
		return false;
	return way->group ? way->legs[0].way->addr.family != IP_NONE : way->addr.family != IP_NONE;
}

/* The route whose place a new one takes. */
static struct route *route_replaced(const struct prefix *prefix, const struct fib_route *from,
	const struct way *way, enum fib_order order)
{
	/* An IPv6 path that joins others is told with all of them: the whole is the new route. */
	bool joins = prefix->prefix.addr.family == IP_V6 && way_has_gateway(way);

	for (struct route *route = prefix->routes; route; route = route->next) {
		if (!route_same_key(route, from) || route->gone)
			continue;
		if (order == FIB_REPLACE || (joins && way_has_gateway(route->way)))
			return route;
	}
	return NULL;
}

static void route_stamp(struct fib *fib, const struct prefix *prefix, struct route *route)
{
	enum fib_dump dump = dump_of(prefix->prefix.addr.family);

	route->seen = fib->generation[dump];
	if (fib->running[dump])
		route->touched = fib->generation[dump];
}

/* Where a route of the kernel leads; false: out of memory. */
static bool route_way(struct fib *fib, const struct fib_route *from, struct way **way)
{
	*way = NULL;
	if (from->type != RTN_UNICAST || from->leg_count == 0)
		return true;
	*way = way_get(fib, from->legs, from->leg_count, from->mtu);
	if (!*way)
		fib->lost_memory = true;
	return *way != NULL;
}

/* Deleted and made again while a dump runs: in the place that it has now. */
static void route_revive(
	struct fib *fib, struct prefix *prefix, struct route *route, enum fib_order order)
{
	struct route **at = &prefix->routes;

	while (*at != route)
		at = &(*at)->next;
	*at = route->next;
	at = &prefix->routes;
	while (order == FIB_LAST && *at)
		at = &(*at)->next;
	route->next = *at;
	*at = route;
	route->gone = false;
	prefix_count(fib, prefix, route, true);
	prefix_routes_changed(fib, prefix);
}

static void route_change(struct fib *fib, struct prefix *prefix, struct route *route,
	const struct fib_route *from, struct way *way)
{
	struct way *old = route->way;

	prefix_count(fib, prefix, route, false);
	route->type = from->type;
	route->rest = from->rest;
	route->way = way;
	prefix_count(fib, prefix, route, true);
	if (way)
		way_use(fib, way);
	prefix_routes_changed(fib, prefix);
	if (old)
		way_unuse(fib, old);
}

/* Puts a new route into its place; NULL: out of memory. */
static struct route *route_place(struct fib *fib, struct prefix *prefix,
	const struct fib_route *from, struct way *way, enum fib_order order)
{
	struct route *gone = route_find(prefix, from, way);
	struct route *route = route_replaced(prefix, from, way, order);

	if (route) {
		route_change(fib, prefix, route, from, way);
		if (gone) {
			route_unlink(fib, prefix, gone);
			route_free(fib, gone);
		}
		return route;
	}
	if (gone) {
		route_revive(fib, prefix, gone, order);
		return gone;
	}
	route = route_insert(fib, prefix, from, way, order);
	prefix_routes_changed(fib, prefix);
	return route;
}

/*
 * A replacement does not name what it replaces. With several routes of the key, or with the new one
 * there already (a dump was ahead of the event), that cannot be known.
 */
static void doubt_replacement(struct fib *fib, const struct prefix *prefix,
	const struct fib_route *from, const struct route *same)
{
	unsigned others = 0;

	for (const struct route *route = prefix->routes; route; route = route->next)
		others += route_same_key(route, from) && !route->gone && route != same;
	if (others > 1 || (others == 1 && same && !same->gone))
		fib->doubt[dump_of(prefix->prefix.addr.family)] = true;
}

/*
 * The prefix and the way of a route that the kernel told of, made where they are new. NULL: the
 * route is in no table that counts, or memory is out.
 */
struct prefix *route_open(struct fib *fib, const struct fib_route *from, struct way **way)
{
	struct prefix *prefix;

	if (table_rank(family_of(fib, from->prefix.addr.family), from->table) < 0)
		return NULL;
	prefix = prefix_get(fib, &from->prefix);
	if (prefix && !route_way(fib, from, way)) {
		prefix_release(fib, prefix);
		return NULL;
	}
	return prefix;
}

bool fib_add_route(struct fib *fib, const struct fib_route *from, enum fib_order order)
{
	struct prefix *prefix;
	struct route *route;
	struct way *way;
	bool changed;

	prefix = route_open(fib, from, &way);
	if (!prefix)
		return false;
	route = route_find(prefix, from, way);
	changed = !route || route->gone;
	if (order == FIB_REPLACE)
		doubt_replacement(fib, prefix, from, route);
	if (changed)
		route = route_place(fib, prefix, from, way, order);
	if (route)
		route_stamp(fib, prefix, route);
	if (way)
		way_release(fib, way);
	prefix_release(fib, prefix);
	return changed;
}

static bool has_leg(const struct way *way, unsigned n, const struct fib_leg *leg)
{
	for (unsigned i = 0; i < n; i++) {
		if (way_has_leg(way, i, leg))
			return true;
	}
	return false;
}

/* Nor does it keep their order with IPv6: then any order will do. */
static bool legs_equal(const struct way *way, const struct fib_route *from, bool any_order)
{
	unsigned n = !way ? 0 : way->group ? way->leg_count : 1;
	unsigned expected = from->type == RTN_UNICAST ? from->leg_count : 0;

	if (n != expected)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (any_order ? !has_leg(way, n, &from->legs[i])
			      : !way_has_leg(way, i, &from->legs[i]))
			return false;
	}
	return true;
}

/* Takes one path from an IPv6 multipath route, which the kernel tells as a deletion of that path.
 */
static bool delete_leg(struct fib *fib, struct prefix *prefix, const struct fib_route *from)
{
	for (struct route *route = prefix->routes; route; route = route->next) {
		struct fib_leg legs[FIB_LEGS];
		struct way *way;
		unsigned n = 0;

		if (!route_same_key(route, from) || route->gone || !route->way ||
			!route->way->group)
			continue;
		for (unsigned i = 0; i < route->way->leg_count; i++) {
			const struct leg *leg = &route->way->legs[i];

			if (!way_has_leg(route->way, i, &from->legs[0]))
				legs[n++] = (struct fib_leg){
					leg->way->ifindex, leg->way->addr, leg->dead};
		}
		if (n == route->way->leg_count || n == 0)
			continue;
		way = way_get(fib, legs, n, route->way->mtu);
		if (!way) {
			fib->lost_memory = true;
			return false;
		}
		route_change(fib, prefix, route, from, way);
		route_stamp(fib, prefix, route);
		return true;
	}
	return false;
}

static struct route *route_to_delete(
	const struct prefix *prefix, const struct fib_route *from, bool any_order)
{
	for (struct route *route = prefix->routes; route; route = route->next) {
		if (route_same_key(route, from) && !route->gone && route->type == from->type &&
			route->rest == from->rest && legs_equal(route->way, from, any_order))
			return route;
	}
	return NULL;
}

/* A running dump may have copied it before the event: remember that it is gone. */
static void leave_tombstone(struct fib *fib, struct prefix *prefix, const struct fib_route *from)
{
	struct route *route;
	struct way *way;

	if (!route_way(fib, from, &way))
		return;
	route = route_insert(fib, prefix, from, way, FIB_LAST);
	if (route) {
		prefix_count(fib, prefix, route, false);
		route->gone = true;
		route_stamp(fib, prefix, route);
	} else if (way) {
		way_release(fib, way);
	}
}

bool fib_delete_route(struct fib *fib, const struct fib_route *from)
{
	bool dumping = fib->running[dump_of(from->prefix.addr.family)];
	struct prefix *prefix;
	struct route *route;
	bool changed = true;

	if (table_rank(family_of(fib, from->prefix.addr.family), from->table) < 0)
		return false;
	prefix = dumping ? prefix_get(fib, &from->prefix) : prefix_find(fib, &from->prefix);
	if (!prefix)
		return false;
	route = route_to_delete(prefix, from, false);
	if (!route && from->prefix.addr.family == IP_V6)
		route = route_to_delete(prefix, from, true);
	if (route && dumping) {
		route->gone = true;
		prefix_count(fib, prefix, route, false);
		route_stamp(fib, prefix, route);
		prefix_routes_changed(fib, prefix);
	} else if (route) {
		route_unlink(fib, prefix, route);
		prefix_routes_changed(fib, prefix);
		route_free(fib, route);
	} else if (from->leg_count != 1 || from->prefix.addr.family != IP_V6 ||
		   !delete_leg(fib, prefix, from)) {
		if (dumping)
			leave_tombstone(fib, prefix, from);
		changed = false;
	}
	prefix_release(fib, prefix);
	return changed;
}

/* Deletes the tombstones and, if sweep, what the dump did not name; or what unwanted tables left.
 */
static void clean_prefix(struct fib *fib, struct prefix *prefix, bool sweep)
{
	const struct family *family = family_of(fib, prefix->prefix.addr.family);
	enum fib_dump dump = dump_of(prefix->prefix.addr.family);
	struct route *old = NULL;
	bool several = prefix->routes && prefix->routes->next;

	for (struct route *route = prefix->routes, *next; route; route = next) {
		bool dead = route->gone || table_rank(family, route->table) < 0;

		next = route->next;
		if (!dead && !(sweep && route->seen != fib->generation[dump]))
			continue;
		route_unlink(fib, prefix, route);
		route->next = old;
		old = route;
	}
	/* Of several the order may have changed. */
	if (old || several)
		prefix_routes_changed(fib, prefix);
	for (struct route *next; old; old = next) {
		next = old->next;
		route_free(fib, old);
	}
	prefix_release(fib, prefix);
}

void routes_clean(struct fib *fib, uint8_t family, bool sweep)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&fib->prefixes); (link = hash_walk_next(&w));) {
		struct prefix *prefix = hash_entry(link, struct prefix, link);

		if (prefix->prefix.addr.family == family)
			clean_prefix(fib, prefix, sweep);
	}
}
