/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prefixes of the forwarding table: which of a prefix's routes counts by the kernel's rules, and
 * what the fast path is told of it. Owns the lists of lengths in use and of wide local prefixes.
 */
#include "fib_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Which table answers first: local, own ones in the order of their rules, main; -1: none of them.
 */
int table_rank(const struct family *family, uint32_t table)
{
	if (table == RT_TABLE_LOCAL)
		return 0;
	for (unsigned i = 0; i < family->own_count; i++) {
		if (family->own_tables[i] == table)
			return (int)i + 1;
	}
	return table == RT_TABLE_MAIN ? MIRROR_OWN_TABLES + 1 : -1;
}

bool is_own_rank(int rank)
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

bool in_wide_local(const struct fib *fib, const struct ip_prefix *prefix)
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
void prefix_count(struct fib *fib, struct prefix *prefix, const struct route *route, bool on)
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

struct prefix *prefix_find(const struct fib *fib, const struct ip_prefix *key)
{
	uint64_t value = hash_addr(hash_mix(fib->prefixes.seed, key->bits), &key->addr);

	for (struct hash_link *link = hash_first(&fib->prefixes, value); link; link = link->next) {
		struct prefix *prefix = hash_entry(link, struct prefix, link);

		if (link->value == value && ip_prefix_equal(&prefix->prefix, key))
			return prefix;
	}
	return NULL;
}

struct prefix *prefix_get(struct fib *fib, const struct ip_prefix *key)
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

void prefix_release(struct fib *fib, struct prefix *prefix)
{
	if (prefix->routes || prefix->host)
		return;
	assert(!prefix->told);
	hash_remove(&fib->prefixes, &prefix->link);
	free(prefix);
}

/* Brings the forwarding table in line with what is known of the prefix. */
void prefix_tell(struct fib *fib, struct prefix *prefix)
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

void prefix_routes_changed(struct fib *fib, struct prefix *prefix)
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
const struct prefix *prefix_lookup(struct fib *fib, const struct ip_addr *addr)
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

/* Tables of own default routes. */

void fib_set_own_tables(
	struct fib *fib, enum ip_family family_id, const uint32_t *tables, unsigned n)
{
	struct family *family = family_of(fib, (uint8_t)family_id);
	struct ip_prefix key = {.addr = {.family = (uint8_t)family_id}};
	struct prefix *prefix;

	assert(n <= MIRROR_OWN_TABLES);
	family->own_count = n;
	memcpy(family->own_tables, tables, n * sizeof(*tables));
	routes_clean(fib, (uint8_t)family_id, false);
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
