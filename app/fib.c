/* SPDX-License-Identifier: BSD-3-Clause */
/* See fib.h. */
#include "fib.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/rtnetlink.h>

#include "base/limits.h"
#include "base/units.h"
#include "hash.h"

#define INTERFACES	(LIMIT_PORTS + LIMIT_INTERFACES)
#define MAX_BITS	128
#define ID_REST_NS	NS_PER_SEC /* a worker's turn is over long before */
#define PROBE_PERIOD_NS NS_PER_SEC

struct way;

struct leg {
	struct way *way, *group;
	struct leg *next; /* of the same way's parents */
	bool dead;
};

struct way {
	struct hash_link link; /* fib->ways */
	bool group;
	uint32_t id;		    /* MIRROR_NEXTHOP_HOST: none */
	uint32_t users;		    /* routes, and the neighbour's own prefix */
	struct mirror_nexthop told; /* while it has an id */

	/* An interface (addr IP_NONE) or a neighbour on it */
	uint32_t ifindex;
	struct ip_addr addr;
	struct leg *parents; /* groups it is part of */
	bool known;	     /* the kernel has an entry for it */
	bool resolved, stale;
	uint8_t mac[MIRROR_MAC_BYTES];
	uint32_t seen, touched; /* generations of the neighbour dump */
	struct prefix *host;	/* its own prefix, when it stands in the table */
	uint64_t probed_ns;

	/* A group */
	uint8_t leg_count;
	struct leg legs[];
};

struct route {
	struct route *next;
	struct way *way; /* NULL: the host */
	uint32_t table, priority;
	uint64_t rest;
	uint32_t seen, touched; /* generations of its family's dump */
	uint8_t tos, type;
	bool gone; /* deleted by an event; kept while a dump runs, which may still name it */
};

struct prefix {
	struct hash_link link; /* fib->prefixes */
	struct ip_prefix prefix;
	struct route *routes;
	uint32_t live;	  /* routes that are not gone */
	uint32_t onlink;  /* the port's interface when the best route is on-link there, else 0 */
	struct way *host; /* the neighbour with this address */
	bool told;
	uint32_t told_id;
};

struct interface {
	uint32_t ifindex;
	enum mirror_nexthop_kind kind;
	uint8_t id;
	uint8_t mac[MIRROR_MAC_BYTES];
};

struct resting_id {
	uint32_t id;
	uint64_t since_ns;
};

/* Of one family. */
struct family {
	uint32_t route_lengths[MAX_BITS + 1];  /* prefixes with live routes, by length */
	uint32_t onlink_lengths[MAX_BITS + 1]; /* of these, the on-link ones */
	uint32_t own_tables[MIRROR_OWN_TABLES];
	unsigned own_count;
	uint32_t strays;	/* live routes in own tables that are no default routes */
	struct ip_prefix *wide; /* local prefixes of more than one address */
	uint32_t wide_count;
	bool wide_dirty;
};

struct fib {
	const struct mirror_callbacks *callbacks;
	uint64_t now_ns;
	struct interface interfaces[INTERFACES];
	unsigned interface_count;
	struct hash ways, prefixes;
	struct family v4, v6;
	uint32_t generation[FIB_DUMPS];
	bool running[FIB_DUMPS], doubt[FIB_DUMPS];
	bool hosts_dirty;
	bool lost_memory, ids_warned;

	uint32_t limit_ids, next_id; /* ids from next_id on were never used */
	struct way **by_id;
	struct resting_id *resting; /* a ring of limit_ids */
	uint32_t resting_first, resting_count;

	struct mirror_stats stats;
};

static void forget_all(struct fib *fib);
static struct way *way_get(struct fib *fib, const struct fib_leg *legs, unsigned n);
static void way_use(struct fib *fib, struct way *way);
static void way_unuse(struct fib *fib, struct way *way);
static void way_release(struct fib *fib, struct way *way);
static void way_refresh(struct fib *fib, struct way *way);
static struct way *way_find_single(
	const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr);
static struct prefix *prefix_find(const struct fib *fib, const struct ip_prefix *key);
static struct prefix *prefix_get(struct fib *fib, const struct ip_prefix *key);
static void prefix_tell(struct fib *fib, struct prefix *prefix);
static void prefix_release(struct fib *fib, struct prefix *prefix);
static void prefix_routes_changed(struct fib *fib, struct prefix *prefix);
static void neighbour_forget(struct fib *fib, struct way *way);

int fib_create(const struct mirror_callbacks *callbacks, uint32_t limit_nexthops, struct fib **out)
{
	struct fib *fib = calloc(1, sizeof(*fib));

	assert(limit_nexthops > 1);
	if (!fib)
		return -ENOMEM;
	fib->callbacks = callbacks;
	fib->limit_ids = limit_nexthops;
	fib->next_id = 1;
	fib->by_id = calloc(limit_nexthops, sizeof(struct way *));
	fib->resting = calloc(limit_nexthops, sizeof(*fib->resting));
	if (hash_init(&fib->ways) | hash_init(&fib->prefixes) || !fib->by_id || !fib->resting) {
		fib_destroy(fib);
		return -ENOMEM;
	}
	*out = fib;
	return 0;
}

void fib_destroy(struct fib *fib)
{
	if (!fib)
		return;
	if (fib->ways.buckets && fib->prefixes.buckets)
		forget_all(fib);
	hash_free(&fib->ways);
	hash_free(&fib->prefixes);
	free(fib->v4.wide);
	free(fib->v6.wide);
	free(fib->by_id);
	free(fib->resting);
	free(fib);
}

static void forget_all(struct fib *fib)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&fib->prefixes); (link = hash_walk_next(&w));) {
		struct prefix *prefix = hash_entry(link, struct prefix, link);

		for (struct route *route = prefix->routes, *next; route; route = next) {
			next = route->next;
			free(route);
		}
		free(prefix);
	}
	for (struct hash_walk w = hash_walk_begin(&fib->ways); (link = hash_walk_next(&w));)
		free(hash_entry(link, struct way, link));
}

void fib_set_now(struct fib *fib, uint64_t now_ns)
{
	fib->now_ns = now_ns;
}

bool fib_lost_memory(struct fib *fib)
{
	bool lost = fib->lost_memory;

	fib->lost_memory = false;
	return lost;
}

void fib_get_stats(const struct fib *fib, struct mirror_stats *out)
{
	out->prefixes = fib->stats.prefixes;
	out->routes = fib->stats.routes;
	out->neighbours = fib->stats.neighbours;
	out->nexthops = fib->stats.nexthops;
}

static struct family *family_of(struct fib *fib, uint8_t family)
{
	return family == IP_V4 ? &fib->v4 : &fib->v6;
}

static enum fib_dump dump_of(uint8_t family)
{
	return family == IP_V4 ? FIB_DUMP_ROUTES_V4 : FIB_DUMP_ROUTES_V6;
}

/* Our interfaces. */

static const struct interface *interface_find(const struct fib *fib, uint32_t ifindex)
{
	for (unsigned i = 0; i < fib->interface_count; i++) {
		if (fib->interfaces[i].ifindex == ifindex)
			return &fib->interfaces[i];
	}
	return NULL;
}

/* What leads out of the interface leads elsewhere now. */
static void interface_changed(struct fib *fib, uint32_t ifindex)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&fib->ways); (link = hash_walk_next(&w));) {
		struct way *way = hash_entry(link, struct way, link);

		if (!way->group && way->ifindex == ifindex)
			way_refresh(fib, way);
	}
	for (struct hash_walk w = hash_walk_begin(&fib->prefixes); (link = hash_walk_next(&w));)
		prefix_routes_changed(fib, hash_entry(link, struct prefix, link));
	fib->hosts_dirty = true;
	fib_flush(fib);
}

static int interface_add(struct fib *fib, const struct interface *interface)
{
	if (interface_find(fib, interface->ifindex))
		return -EEXIST;
	if (fib->interface_count == INTERFACES)
		return -ENOMEM;
	fib->interfaces[fib->interface_count++] = *interface;
	interface_changed(fib, interface->ifindex);
	return 0;
}

int fib_add_port(
	struct fib *fib, uint32_t ifindex, uint8_t port, const uint8_t mac[MIRROR_MAC_BYTES])
{
	struct interface interface = {.ifindex = ifindex, .kind = MIRROR_PORT, .id = port};

	memcpy(interface.mac, mac, MIRROR_MAC_BYTES);
	return interface_add(fib, &interface);
}

int fib_add_wg(struct fib *fib, uint32_t ifindex, uint8_t interface_id)
{
	struct interface interface = {.ifindex = ifindex, .kind = MIRROR_WG, .id = interface_id};

	return interface_add(fib, &interface);
}

bool fib_remove_interface(struct fib *fib, uint32_t ifindex)
{
	const struct interface *found = interface_find(fib, ifindex);
	struct hash_link *link;

	if (!found)
		return false;
	fib->interfaces[found - fib->interfaces] = fib->interfaces[--fib->interface_count];
	for (struct hash_walk w = hash_walk_begin(&fib->ways); (link = hash_walk_next(&w));) {
		struct way *way = hash_entry(link, struct way, link);

		if (!way->group && way->known && way->ifindex == ifindex) {
			neighbour_forget(fib, way);
			way_release(fib, way);
		}
	}
	interface_changed(fib, ifindex);
	return true;
}

bool fib_has_interface(const struct fib *fib, uint32_t ifindex)
{
	return interface_find(fib, ifindex) != NULL;
}

bool fib_port(const struct fib *fib, uint32_t ifindex, uint8_t *port, uint8_t mac[MIRROR_MAC_BYTES])
{
	const struct interface *interface = interface_find(fib, ifindex);

	if (!interface || interface->kind != MIRROR_PORT)
		return false;
	*port = interface->id;
	memcpy(mac, interface->mac, MIRROR_MAC_BYTES);
	return true;
}

static bool is_port(const struct fib *fib, uint32_t ifindex)
{
	const struct interface *interface = interface_find(fib, ifindex);

	return interface && interface->kind == MIRROR_PORT;
}

bool fib_uses_interface(const struct fib *fib, uint32_t ifindex)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&fib->ways); (link = hash_walk_next(&w));) {
		const struct way *way = hash_entry(link, struct way, link);

		if (!way->group && way->ifindex == ifindex && (way->users || way->parents))
			return true;
	}
	return false;
}

/* Routes. */

/* Which table answers first: local, own ones in the order of their rules, main; -1: none of them.
 */
static int table_rank(const struct family *family, uint32_t table)
{
	if (table == RT_TABLE_LOCAL)
		return 0;
	for (unsigned i = 0; i < family->own_count; i++) {
		if (family->own_tables[i] == table)
			return (int)i + 1;
	}
	return table == RT_TABLE_MAIN ? MIRROR_OWN_TABLES + 1 : -1;
}

static bool is_own_rank(int rank)
{
	return rank > 0 && rank <= MIRROR_OWN_TABLES;
}

/* A local prefix under which routes of other tables never count. Loopback is nobody's to forward.
 */
static bool is_wide_local(const struct prefix *prefix, const struct route *route)
{
	const struct ip_addr *addr = &prefix->prefix.addr;

	return route->table == RT_TABLE_LOCAL && route->type == RTN_LOCAL &&
	       prefix->prefix.bits < ip_family_bits(addr->family) &&
	       !(addr->family == IP_V4 && addr->bytes[0] == 127);
}

static bool in_wide_local(const struct fib *fib, const struct ip_prefix *prefix)
{
	const struct family *family = prefix->addr.family == IP_V4 ? &fib->v4 : &fib->v6;

	for (uint32_t i = 0; i < family->wide_count; i++) {
		if (family->wide[i].bits < prefix->bits &&
			ip_prefix_contains(&family->wide[i], &prefix->addr))
			return true;
	}
	return false;
}

static void wide_add(struct fib *fib, struct family *family, const struct ip_prefix *prefix)
{
	struct ip_prefix *wide =
		realloc(family->wide, (family->wide_count + 1) * sizeof(*family->wide));

	if (!wide) {
		fib->lost_memory = true;
		return;
	}
	family->wide = wide;
	family->wide[family->wide_count++] = *prefix;
	family->wide_dirty = true;
}

static void wide_remove(struct family *family, const struct ip_prefix *prefix)
{
	for (uint32_t i = 0; i < family->wide_count; i++) {
		if (!ip_prefix_equal(&family->wide[i], prefix))
			continue;
		family->wide[i] = family->wide[--family->wide_count];
		family->wide_dirty = true;
		return;
	}
}

/* A route begins to count, or ceases to. */
static void route_count(struct fib *fib, struct prefix *prefix, const struct route *route, bool on)
{
	struct family *family = family_of(fib, prefix->prefix.addr.family);
	uint32_t one = on ? 1u : (uint32_t)-1;

	if (on ? prefix->live == 0 : prefix->live == 1)
		family->route_lengths[prefix->prefix.bits] += one;
	prefix->live += one;
	fib->stats.routes += one;
	if (is_own_rank(table_rank(family, route->table)) && prefix->prefix.bits > 0)
		family->strays += one;
	if (is_wide_local(prefix, route)) {
		if (on)
			wide_add(fib, family, &prefix->prefix);
		else
			wide_remove(family, &prefix->prefix);
	}
}

static void route_unlink(struct fib *fib, struct prefix *prefix, struct route *route)
{
	struct route **at = &prefix->routes;

	while (*at != route)
		at = &(*at)->next;
	*at = route->next;
	if (!route->gone)
		route_count(fib, prefix, route, false);
}

static void route_free(struct fib *fib, struct route *route)
{
	if (route->way)
		way_unuse(fib, route->way);
	free(route);
}

/* What the routes of a prefix say: the best one, or NULL for the host. */
static const struct route *best_route(const struct fib *fib, const struct prefix *prefix)
{
	uint8_t family_id = prefix->prefix.addr.family;
	const struct family *family = family_id == IP_V4 ? &fib->v4 : &fib->v6;
	const struct route *best = NULL;
	int best_rank = 0;
	bool tie = false, tos = false;

	for (const struct route *route = prefix->routes; route; route = route->next) {
		int rank = table_rank(family, route->table);

		if (route->gone || rank < 0 || (is_own_rank(rank) && prefix->prefix.bits > 0))
			continue;
		tos |= route->tos != 0;
		if (!best || rank < best_rank ||
			(rank == best_rank && route->priority < best->priority)) {
			best = route;
			best_rank = rank;
			tie = false;
		} else if (rank == best_rank && route->priority == best->priority) {
			tie = true;
		}
	}
	if (!best || best_rank == 0)
		return best;
	/* Of IPv6 routes with the same metric the kernel takes one by its own lights. */
	if (tos || (tie && family_id == IP_V6) || in_wide_local(fib, &prefix->prefix))
		return NULL;
	return best;
}

static struct route *route_insert(struct fib *fib, struct prefix *prefix,
	const struct fib_route *from, struct way *way, enum fib_order order)
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
	route_count(fib, prefix, route, true);
	return route;
}

static bool same_key(const struct route *route, const struct fib_route *from)
{
	return route->table == from->table && route->priority == from->priority &&
	       route->tos == from->tos;
}

static struct route *route_find(
	const struct prefix *prefix, const struct fib_route *from, const struct way *way)
{
	for (struct route *route = prefix->routes; route; route = route->next) {
		if (same_key(route, from) && route->type == from->type &&
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
		if (!same_key(route, from) || route->gone)
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
	*way = way_get(fib, from->legs, from->leg_count);
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
	route_count(fib, prefix, route, true);
	prefix_routes_changed(fib, prefix);
}

static void route_change(struct fib *fib, struct prefix *prefix, struct route *route,
	const struct fib_route *from, struct way *way)
{
	struct way *old = route->way;

	route_count(fib, prefix, route, false);
	route->type = from->type;
	route->rest = from->rest;
	route->way = way;
	route_count(fib, prefix, route, true);
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
		others += same_key(route, from) && !route->gone && route != same;
	if (others > 1 || (others == 1 && same && !same->gone))
		fib->doubt[dump_of(prefix->prefix.addr.family)] = true;
}

/*
 * The prefix and the way of a route that the kernel told of, made where they are new. NULL: the
 * route is in no table that counts, or memory is out.
 */
static struct prefix *open_route(struct fib *fib, const struct fib_route *from, struct way **way)
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

	prefix = open_route(fib, from, &way);
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

/* The kernel does not tell in the same way each time which paths are dead. */
static bool leg_of_way(const struct way *way, unsigned i, const struct fib_leg *leg)
{
	const struct way *single = way->group ? way->legs[i].way : way;

	return single->ifindex == leg->ifindex && ip_addr_equal(&single->addr, &leg->gateway);
}

static bool has_leg(const struct way *way, unsigned n, const struct fib_leg *leg)
{
	for (unsigned i = 0; i < n; i++) {
		if (leg_of_way(way, i, leg))
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
			      : !leg_of_way(way, i, &from->legs[i]))
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

		if (!same_key(route, from) || route->gone || !route->way || !route->way->group)
			continue;
		for (unsigned i = 0; i < route->way->leg_count; i++) {
			const struct leg *leg = &route->way->legs[i];

			if (!leg_of_way(route->way, i, &from->legs[0]))
				legs[n++] = (struct fib_leg){
					leg->way->ifindex, leg->way->addr, leg->dead};
		}
		if (n == route->way->leg_count || n == 0)
			continue;
		way = way_get(fib, legs, n);
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
		if (same_key(route, from) && !route->gone && route->type == from->type &&
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
		route_count(fib, prefix, route, false);
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
		route_count(fib, prefix, route, false);
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
		if (same_key(route, from) && route->touched == generation)
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
		like += same_key(other, from) && !other->gone;
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

	prefix = open_route(fib, from, &way);
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

static void clean_routes(struct fib *fib, uint8_t family, bool sweep)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&fib->prefixes); (link = hash_walk_next(&w));) {
		struct prefix *prefix = hash_entry(link, struct prefix, link);

		if (prefix->prefix.addr.family == family)
			clean_prefix(fib, prefix, sweep);
	}
}

static void clean_neighbours(struct fib *fib, bool sweep)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&fib->ways); (link = hash_walk_next(&w));) {
		struct way *way = hash_entry(link, struct way, link);

		if (way->group)
			continue;
		if (sweep && way->known && way->seen != fib->generation[FIB_DUMP_NEIGHBOURS])
			fib_delete_neighbour(fib, way->ifindex, &way->addr);
		else
			way_release(fib, way);
	}
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
		clean_neighbours(fib, sweep);
	else
		clean_routes(fib, dump == FIB_DUMP_ROUTES_V4 ? IP_V4 : IP_V6, sweep);
	return sweep;
}

void fib_set_own_tables(
	struct fib *fib, enum ip_family family_id, const uint32_t *tables, unsigned n)
{
	struct family *family = family_of(fib, (uint8_t)family_id);
	struct ip_prefix key = {.addr = {.family = (uint8_t)family_id}};
	struct prefix *prefix;

	assert(n <= MIRROR_OWN_TABLES);
	family->own_count = n;
	memcpy(family->own_tables, tables, n * sizeof(*tables));
	clean_routes(fib, (uint8_t)family_id, false);
	/* These are counted by table: count anew with the new ones. */
	family->strays = 0;
	for (struct hash_walk w = hash_walk_begin(&fib->prefixes);;) {
		struct hash_link *link = hash_walk_next(&w);

		if (!link)
			break;
		prefix = hash_entry(link, struct prefix, link);
		if (prefix->prefix.addr.family != family_id || prefix->prefix.bits == 0)
			continue;
		for (const struct route *route = prefix->routes; route; route = route->next)
			family->strays +=
				!route->gone && is_own_rank(table_rank(family, route->table));
	}
	prefix = prefix_find(fib, &key);
	if (prefix)
		prefix_routes_changed(fib, prefix);
}

bool fib_own_tables_stray(const struct fib *fib, enum ip_family family)
{
	return (family == IP_V4 ? &fib->v4 : &fib->v6)->strays > 0;
}

/* Prefixes. */

static uint64_t hash_addr(uint64_t value, const struct ip_addr *addr)
{
	uint64_t words[2];

	memcpy(words, addr->bytes, sizeof(words));
	return hash_mix(hash_mix(value, words[0] ^ addr->family), words[1]);
}

static struct prefix *prefix_find(const struct fib *fib, const struct ip_prefix *key)
{
	uint64_t value = hash_addr(hash_mix(fib->prefixes.seed, key->bits), &key->addr);

	for (struct hash_link *link = hash_first(&fib->prefixes, value); link; link = link->next) {
		struct prefix *prefix = hash_entry(link, struct prefix, link);

		if (link->value == value && ip_prefix_equal(&prefix->prefix, key))
			return prefix;
	}
	return NULL;
}

static struct prefix *prefix_get(struct fib *fib, const struct ip_prefix *key)
{
	uint64_t value = hash_addr(hash_mix(fib->prefixes.seed, key->bits), &key->addr);
	struct prefix *prefix = prefix_find(fib, key);

	if (prefix)
		return prefix;
	prefix = calloc(1, sizeof(*prefix));
	if (!prefix) {
		fib->lost_memory = true;
		return NULL;
	}
	prefix->prefix = *key;
	hash_insert(&fib->prefixes, &prefix->link, value);
	return prefix;
}

static void prefix_release(struct fib *fib, struct prefix *prefix)
{
	if (prefix->routes || prefix->host)
		return;
	assert(!prefix->told);
	hash_remove(&fib->prefixes, &prefix->link);
	free(prefix);
}

/* Brings the forwarding table in line with what is known of the prefix. */
static void prefix_tell(struct fib *fib, struct prefix *prefix)
{
	const struct mirror_callbacks *callbacks = fib->callbacks;
	const struct route *best = best_route(fib, prefix);
	uint32_t id = MIRROR_NEXTHOP_HOST;

	if (prefix->live == 0 && !prefix->host) {
		if (prefix->told) {
			callbacks->delete_prefix(callbacks->arg, &prefix->prefix);
			fib->stats.prefixes--;
		}
		prefix->told = false;
		return;
	}
	if (prefix->host)
		id = prefix->host->id;
	else if (best && best->way)
		id = best->way->id;
	if (prefix->told && prefix->told_id == id)
		return;
	callbacks->set_prefix(callbacks->arg, &prefix->prefix, id);
	fib->stats.prefixes += !prefix->told;
	prefix->told = true;
	prefix->told_id = id;
}

/* Whether a shorter prefix that is on-link at a port covers this one. */
static bool covered_onlink(struct fib *fib, const struct prefix *prefix)
{
	const struct family *family = family_of(fib, prefix->prefix.addr.family);

	for (unsigned bits = 0; bits < prefix->prefix.bits; bits++) {
		struct ip_prefix key = {.addr = prefix->prefix.addr, .bits = (uint8_t)bits};
		const struct prefix *found;

		if (family->onlink_lengths[bits] == 0)
			continue;
		ip_prefix_mask(&key);
		found = prefix_find(fib, &key);
		if (found && found->onlink)
			return true;
	}
	return false;
}

static void prefix_routes_changed(struct fib *fib, struct prefix *prefix)
{
	struct family *family = family_of(fib, prefix->prefix.addr.family);
	const struct route *best = best_route(fib, prefix);
	uint32_t onlink = 0;

	if (best && best->way && !best->way->group && best->way->addr.family == IP_NONE &&
		is_port(fib, best->way->ifindex))
		onlink = best->way->ifindex;
	if (onlink != prefix->onlink || covered_onlink(fib, prefix))
		fib->hosts_dirty = true;
	family->onlink_lengths[prefix->prefix.bits] += (onlink != 0) - (prefix->onlink != 0);
	prefix->onlink = onlink;
	prefix_tell(fib, prefix);
}

/* The longest prefix with routes. */
static const struct prefix *prefix_lookup(struct fib *fib, const struct ip_addr *addr)
{
	const struct family *family = family_of(fib, addr->family);

	for (int bits = (int)ip_family_bits(addr->family); bits >= 0; bits--) {
		struct ip_prefix key = {.addr = *addr, .bits = (uint8_t)bits};
		const struct prefix *found;

		if (family->route_lengths[bits] == 0)
			continue;
		ip_prefix_mask(&key);
		found = prefix_find(fib, &key);
		if (found && found->live)
			return found;
	}
	return NULL;
}

/* Neighbours. */

static bool is_multicast(const struct ip_addr *addr)
{
	return addr->family == IP_V4 ? (addr->bytes[0] & 0xf0) == 0xe0 : addr->bytes[0] == 0xff;
}

static bool is_link_local(const struct ip_addr *addr)
{
	if (addr->family == IP_V4)
		return addr->bytes[0] == 169 && addr->bytes[1] == 254;
	return addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

/*
 * Whether the neighbour's address may stand in the table as a prefix of its own. It comes when the
 * neighbour is resolved, and stays while it is known: a neighbour that comes and goes only changes
 * its next hop.
 */
static bool host_wanted(struct fib *fib, const struct way *way)
{
	struct ip_prefix all = {
		.addr = way->addr, .bits = (uint8_t)ip_family_bits(way->addr.family)};
	const struct prefix *covering;

	if (!way->known || !(way->resolved || way->host) || !is_port(fib, way->ifindex) ||
		is_multicast(&way->addr) || is_link_local(&way->addr))
		return false;
	covering = prefix_lookup(fib, &way->addr);
	return covering && covering->onlink == way->ifindex && !in_wide_local(fib, &all);
}

static void host_remove(struct fib *fib, struct way *way)
{
	struct prefix *prefix = way->host;

	way->host = NULL;
	prefix->host = NULL;
	prefix_tell(fib, prefix);
	prefix_release(fib, prefix);
	way_unuse(fib, way);
}

static void host_add(struct fib *fib, struct way *way)
{
	struct ip_prefix key = {
		.addr = way->addr, .bits = (uint8_t)ip_family_bits(way->addr.family)};
	struct prefix *prefix = prefix_get(fib, &key);

	if (!prefix)
		return;
	if (prefix->host)
		host_remove(fib, prefix->host);
	/* That may have been all that kept it. */
	prefix = prefix_get(fib, &key);
	if (!prefix)
		return;
	way_use(fib, way);
	way->host = prefix;
	prefix->host = way;
	prefix_tell(fib, prefix);
}

static void host_review(struct fib *fib, struct way *way)
{
	bool wanted = host_wanted(fib, way);

	if (wanted && !way->host)
		host_add(fib, way);
	else if (!wanted && way->host)
		host_remove(fib, way);
}

static void neighbour_tell(struct fib *fib, struct way *way)
{
	way_refresh(fib, way);
	if (is_port(fib, way->ifindex))
		fib->callbacks->neighbour_changed(fib->callbacks->arg, way->ifindex, &way->addr);
}

static struct way *neighbour_get(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr)
{
	struct fib_leg leg = {.ifindex = ifindex, .gateway = *addr};
	struct way *way = way_get(fib, &leg, 1);

	if (!way)
		fib->lost_memory = true;
	return way;
}

static void neighbour_update(
	struct fib *fib, struct way *way, const uint8_t mac[MIRROR_MAC_BYTES], bool stale)
{
	bool changed = way->resolved != (mac != NULL) ||
		       (mac && memcmp(way->mac, mac, MIRROR_MAC_BYTES) != 0);

	fib->stats.neighbours += !way->known;
	way->known = true;
	way->stale = stale;
	way->seen = fib->generation[FIB_DUMP_NEIGHBOURS];
	if (!changed)
		return;
	way->resolved = mac != NULL;
	if (mac)
		memcpy(way->mac, mac, MIRROR_MAC_BYTES);
	neighbour_tell(fib, way);
	host_review(fib, way);
}

static void neighbour_touch(struct fib *fib, struct way *way)
{
	if (fib->running[FIB_DUMP_NEIGHBOURS])
		way->touched = fib->generation[FIB_DUMP_NEIGHBOURS];
}

/* Neighbours of other interfaces matter to nobody. */
static bool neighbour_wanted(const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr)
{
	return addr->family != IP_NONE && is_port(fib, ifindex);
}

void fib_set_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr,
	const uint8_t mac[MIRROR_MAC_BYTES], bool stale)
{
	struct way *way;

	if (!neighbour_wanted(fib, ifindex, addr))
		return;
	way = neighbour_get(fib, ifindex, addr);
	if (!way)
		return;
	neighbour_touch(fib, way);
	neighbour_update(fib, way, mac, stale);
}

void fib_dump_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr,
	const uint8_t mac[MIRROR_MAC_BYTES], bool stale)
{
	struct way *way;

	if (!neighbour_wanted(fib, ifindex, addr))
		return;
	way = neighbour_get(fib, ifindex, addr);
	if (way && way->touched != fib->generation[FIB_DUMP_NEIGHBOURS])
		neighbour_update(fib, way, mac, stale);
}

/* While it still counts as known, letting go of its prefix does not free it. */
static void neighbour_forget(struct fib *fib, struct way *way)
{
	bool was_resolved = way->resolved;

	way->resolved = way->stale = false;
	if (was_resolved)
		neighbour_tell(fib, way);
	if (way->host)
		host_remove(fib, way);
	way->known = false;
	fib->stats.neighbours--;
}

void fib_delete_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr)
{
	struct way *way = way_find_single(fib, ifindex, addr);

	if (!way && fib->running[FIB_DUMP_NEIGHBOURS] && neighbour_wanted(fib, ifindex, addr))
		way = neighbour_get(fib, ifindex, addr);
	if (!way)
		return;
	neighbour_touch(fib, way);
	if (way->known)
		neighbour_forget(fib, way);
	way_release(fib, way);
}

bool fib_neighbour(const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr,
	uint8_t mac[MIRROR_MAC_BYTES])
{
	const struct way *way = way_find_single(fib, ifindex, addr);

	if (!way || !way->resolved)
		return false;
	memcpy(mac, way->mac, MIRROR_MAC_BYTES);
	return true;
}

void fib_flush(struct fib *fib)
{
	struct family *families[] = {&fib->v4, &fib->v6};
	struct hash_link *link;

	for (unsigned i = 0; i < 2; i++) {
		if (!families[i]->wide_dirty)
			continue;
		families[i]->wide_dirty = false;
		fib->hosts_dirty = true;
		for (struct hash_walk w = hash_walk_begin(&fib->prefixes);
			(link = hash_walk_next(&w));)
			prefix_routes_changed(fib, hash_entry(link, struct prefix, link));
	}
	if (!fib->hosts_dirty)
		return;
	fib->hosts_dirty = false;
	for (struct hash_walk w = hash_walk_begin(&fib->ways); (link = hash_walk_next(&w));) {
		struct way *way = hash_entry(link, struct way, link);

		if (!way->group && (way->known || way->host))
			host_review(fib, way);
	}
}

static bool probe_due(struct fib *fib, struct way *way)
{
	if (!way || !way->known || !way->stale || !is_port(fib, way->ifindex) ||
		(way->probed_ns != 0 && fib->now_ns - way->probed_ns < PROBE_PERIOD_NS))
		return false;
	way->probed_ns = fib->now_ns;
	return true;
}

bool fib_want_probe_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr)
{
	return probe_due(fib, way_find_single(fib, ifindex, addr));
}

/* Ways. */

static struct mirror_nexthop way_nexthop(const struct fib *fib, const struct way *way)
{
	struct mirror_nexthop nexthop = {.kind = MIRROR_HOST};
	const struct interface *interface = interface_find(fib, way->ifindex);

	if (!interface)
		return nexthop;
	if (interface->kind == MIRROR_WG) {
		nexthop.kind = MIRROR_WG;
		nexthop.interface = interface->id;
	} else if (way->resolved) {
		nexthop.kind = MIRROR_PORT;
		nexthop.port = interface->id;
		memcpy(nexthop.destination, way->mac, MIRROR_MAC_BYTES);
		memcpy(nexthop.source, interface->mac, MIRROR_MAC_BYTES);
	}
	return nexthop;
}

/* The path that a multipath route takes here: the first that leads past the host. */
static struct way *way_in_use(const struct fib *fib, struct way *way)
{
	if (!way->group)
		return way;
	for (unsigned i = 0; i < way->leg_count; i++) {
		if (!way->legs[i].dead && way_nexthop(fib, way->legs[i].way).kind != MIRROR_HOST)
			return way->legs[i].way;
	}
	return NULL;
}

static bool nexthop_equal(const struct mirror_nexthop *a, const struct mirror_nexthop *b)
{
	return a->kind == b->kind && a->port == b->port && a->interface == b->interface &&
	       memcmp(a->destination, b->destination, MIRROR_MAC_BYTES) == 0 &&
	       memcmp(a->source, b->source, MIRROR_MAC_BYTES) == 0;
}

static void way_tell(struct fib *fib, struct way *way, bool always)
{
	struct way *used = way_in_use(fib, way);
	struct mirror_nexthop nexthop = {.kind = MIRROR_HOST};

	if (way->id == MIRROR_NEXTHOP_HOST)
		return;
	if (used)
		nexthop = way_nexthop(fib, used);
	if (!always && nexthop_equal(&nexthop, &way->told))
		return;
	way->told = nexthop;
	fib->callbacks->set_nexthop(fib->callbacks->arg, way->id, &nexthop);
}

static void way_refresh(struct fib *fib, struct way *way)
{
	way_tell(fib, way, false);
	for (const struct leg *leg = way->parents; leg; leg = leg->next)
		way_tell(fib, leg->group, false);
}

bool fib_want_probe_nexthop(
	struct fib *fib, uint32_t nexthop, uint32_t *ifindex, struct ip_addr *addr)
{
	struct way *way = nexthop < fib->limit_ids ? fib->by_id[nexthop] : NULL;

	way = way ? way_in_use(fib, way) : NULL;
	if (!probe_due(fib, way))
		return false;
	*ifindex = way->ifindex;
	*addr = way->addr;
	return true;
}

static uint32_t id_take(struct fib *fib)
{
	const struct resting_id *oldest = &fib->resting[fib->resting_first];

	if (fib->resting_count > 0 && fib->now_ns - oldest->since_ns >= ID_REST_NS) {
		fib->resting_first = (fib->resting_first + 1) % fib->limit_ids;
		fib->resting_count--;
		return oldest->id;
	}
	if (fib->next_id < fib->limit_ids)
		return fib->next_id++;
	if (!fib->ids_warned)
		fib->callbacks->warn(fib->callbacks->arg,
			"more next hops than the forwarding table holds: the host forwards what "
			"leads "
			"to the others");
	fib->ids_warned = true;
	return MIRROR_NEXTHOP_HOST;
}

static void id_give_back(struct fib *fib, uint32_t id)
{
	uint32_t at = (fib->resting_first + fib->resting_count) % fib->limit_ids;

	fib->resting[at] = (struct resting_id){id, fib->now_ns};
	fib->resting_count++;
}

static void way_use(struct fib *fib, struct way *way)
{
	if (way->users++ > 0)
		return;
	way->id = id_take(fib);
	if (way->id == MIRROR_NEXTHOP_HOST)
		return;
	fib->by_id[way->id] = way;
	fib->stats.nexthops++;
	way_tell(fib, way, true);
}

static void way_retire_id(struct fib *fib, struct way *way)
{
	if (way->id == MIRROR_NEXTHOP_HOST)
		return;
	fib->by_id[way->id] = NULL;
	fib->stats.nexthops--;
	id_give_back(fib, way->id);
	way->id = MIRROR_NEXTHOP_HOST;
}

static void way_unuse(struct fib *fib, struct way *way)
{
	assert(way->users > 0);
	if (--way->users > 0)
		return;
	way_retire_id(fib, way);
	way_release(fib, way);
}

static uint64_t hash_legs(const struct fib *fib, const struct fib_leg *legs, unsigned n)
{
	uint64_t value = hash_mix(fib->ways.seed, n);

	for (unsigned i = 0; i < n; i++)
		value = hash_addr(hash_mix(value, (uint64_t)legs[i].ifindex << 1 | legs[i].dead),
			&legs[i].gateway);
	return value;
}

static bool way_matches(const struct way *way, const struct fib_leg *legs, unsigned n)
{
	if (!way->group)
		return n == 1 && !legs[0].dead && leg_of_way(way, 0, &legs[0]);
	if (way->leg_count != n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (way->legs[i].dead != legs[i].dead || !leg_of_way(way, i, &legs[i]))
			return false;
	}
	return true;
}

static struct way *way_find(
	const struct fib *fib, const struct fib_leg *legs, unsigned n, uint64_t value)
{
	for (struct hash_link *link = hash_first(&fib->ways, value); link; link = link->next) {
		struct way *way = hash_entry(link, struct way, link);

		if (link->value == value && way_matches(way, legs, n))
			return way;
	}
	return NULL;
}

static struct way *way_find_single(
	const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr)
{
	struct fib_leg leg = {.ifindex = ifindex, .gateway = *addr};

	return way_find(fib, &leg, 1, hash_legs(fib, &leg, 1));
}

/* Makes the ways that a group consists of, and links them to it. */
static bool group_fill(struct fib *fib, struct way *group, const struct fib_leg *legs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct fib_leg single = {.ifindex = legs[i].ifindex, .gateway = legs[i].gateway};
		struct leg *leg = &group->legs[i];

		leg->way = way_get(fib, &single, 1);
		if (!leg->way)
			return false;
		leg->group = group;
		leg->dead = legs[i].dead;
		leg->next = leg->way->parents;
		leg->way->parents = leg;
		group->leg_count++;
	}
	return true;
}

/* The way of these legs, made if there is none. Who does not use it must release it. */
static struct way *way_get(struct fib *fib, const struct fib_leg *legs, unsigned n)
{
	bool group = n > 1 || legs[0].dead;
	uint64_t value = hash_legs(fib, legs, n);
	struct way *way = way_find(fib, legs, n, value);

	if (way)
		return way;
	way = calloc(1, sizeof(*way) + (group ? n * sizeof(struct leg) : 0));
	if (!way)
		return NULL;
	way->group = group;
	hash_insert(&fib->ways, &way->link, value);
	if (!group) {
		way->ifindex = legs[0].ifindex;
		way->addr = legs[0].gateway;
	} else if (!group_fill(fib, way, legs, n)) {
		way_release(fib, way);
		return NULL;
	}
	return way;
}

static void leg_unlink(struct leg *leg)
{
	struct leg **at = &leg->way->parents;

	while (*at != leg)
		at = &(*at)->next;
	*at = leg->next;
}

/* Frees a way that nothing needs: no route, no group, no entry of the kernel, no running dump. */
static void way_release(struct fib *fib, struct way *way)
{
	bool touched = fib->running[FIB_DUMP_NEIGHBOURS] && !way->group &&
		       way->touched == fib->generation[FIB_DUMP_NEIGHBOURS];

	if (way->users || way->parents || way->known || touched)
		return;
	hash_remove(&fib->ways, &way->link);
	for (unsigned i = 0; i < way->leg_count; i++) {
		leg_unlink(&way->legs[i]);
		way_release(fib, way->legs[i].way);
	}
	free(way);
}
