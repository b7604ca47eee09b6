/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What dumps say of routes, against what events said meanwhile. A dump of neighbours begins and
 * ends here too.
 */
#include "fib_parts.h"

#include <assert.h>

void fib_begin_dump(struct fib *fib, enum fib_dump dump)
{
	if (fib->running[dump])
		fib_end_dump(fib, dump, false);
	fib->generation[dump]++;
	fib->running[dump] = true;
	fib->doubt[dump] = false;
}

/* True when an event of this dump's time told of the same key. */
static bool key_touched(
	const struct prefix *prefix, const struct fib_route *from, uint32_t generation)
{
	for (const struct route *route = prefix->routes; route; route = route->next) {
		if (route_same_key(route, from) && route->touched == generation)
			return true;
	}
	return false;
}

/*
 * A dump names routes of the same key in the kernel's order: each goes behind those named before.
 * What that changes is told when all are in place, at the end of the dump.
 */
static void route_confirm(
	struct fib *fib, struct prefix *prefix, struct route *route, const struct fib_route *from)
{
	enum fib_dump dump = dump_of(prefix->prefix.addr.family);
	struct route **at = &prefix->routes;
	unsigned like = 0;

	route->seen = fib->generation[dump];
	for (const struct route *other = prefix->routes; other; other = other->next)
		like += route_same_key(other, from) && !other->gone;
	if (like < 2)
		return;
	/* Where an event put one among them is not known then. */
	fib->doubt[dump] |= key_touched(prefix, from, fib->generation[dump]);
	while (*at != route)
		at = &(*at)->next;
	*at = route->next;
	while (*at)
		at = &(*at)->next;
	route->next = NULL;
	*at = route;
}

bool fib_dump_route(struct fib *fib, const struct fib_route *from)
{
	enum fib_dump dump = dump_of(from->prefix.addr.family);
	struct prefix *prefix;
	struct route *route;
	struct way *way;
	bool changed = false;

	prefix = route_open(fib, from, &way);
	if (!prefix)
		return false;
	route = route_find(prefix, from, way);
	if (route && !route->gone) {
		route_confirm(fib, prefix, route, from);
	} else if (key_touched(prefix, from, fib->generation[dump])) {
		/* Either this is older than the event, or one more route of that key. */
		fib->doubt[dump] = true;
	} else {
		assert(!route);
		route = route_insert(fib, prefix, from, way, FIB_LAST);
		if (route)
			route->seen = fib->generation[dump];
		prefix_routes_changed(fib, prefix);
		changed = true;
	}
	if (way)
		way_release(fib, way);
	prefix_release(fib, prefix);
	return changed;
}

bool fib_doubts(struct fib *fib, enum fib_dump dump)
{
	bool doubt = fib->doubt[dump] && !fib->running[dump];

	if (doubt)
		fib->doubt[dump] = false;
	return doubt;
}

bool fib_end_dump(struct fib *fib, enum fib_dump dump, bool complete)
{
	bool sweep = complete && !fib->doubt[dump];

	fib->running[dump] = false;
	fib->doubt[dump] = false;
	if (dump == FIB_DUMP_NEIGHBOURS)
		neighbours_clean(fib, sweep);
	else
		routes_clean(fib, dump == FIB_DUMP_ROUTES_V4 ? IP_V4 : IP_V6, sweep);
	return sweep;
}
