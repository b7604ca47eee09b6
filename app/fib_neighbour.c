/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Neighbours of our ports: their link-layer addresses, the prefixes of their own that stand in the
 * forwarding table, and when one is due to be probed. A neighbour is kept in the way that leads to
 * it.
 */
#include "fib_parts.h"

#include <string.h>

#include "base/units.h"

#define PROBE_PERIOD_NS NS_PER_SEC

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

void neighbour_review(struct fib *fib, struct way *way)
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
	struct way *way = way_get(fib, &leg, 1, 0);

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
	neighbour_review(fib, way);
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
void neighbour_forget(struct fib *fib, struct way *way)
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

void neighbours_clean(struct fib *fib, bool sweep)
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

bool fib_neighbour(const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr,
	uint8_t mac[MIRROR_MAC_BYTES])
{
	const struct way *way = way_find_single(fib, ifindex, addr);

	if (!way || !way->resolved)
		return false;
	memcpy(mac, way->mac, MIRROR_MAC_BYTES);
	return true;
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
