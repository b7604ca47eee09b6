/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ways: where routes lead. Each has one next hop id while a prefix uses it; an id rests a second
 * before it is given to another, since a worker may still hold it.
 */
#include "fib_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define ID_REST_NS NS_PER_SEC /* a worker's turn is over long before */

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
struct way *way_in_use(const struct fib *fib, struct way *way)
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
	       a->mtu == b->mtu && memcmp(a->destination, b->destination, MIRROR_MAC_BYTES) == 0 &&
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
	if (nexthop.kind != MIRROR_HOST)
		nexthop.mtu = way->mtu;
	if (!always && nexthop_equal(&nexthop, &way->told))
		return;
	way->told = nexthop;
	fib->callbacks->set_nexthop(fib->callbacks->arg, way->id, &nexthop);
}

void way_refresh(struct fib *fib, struct way *way)
{
	way_tell(fib, way, false);
	for (const struct leg *leg = way->parents; leg; leg = leg->next)
		way_tell(fib, leg->group, false);
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

void way_use(struct fib *fib, struct way *way)
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

void way_unuse(struct fib *fib, struct way *way)
{
	assert(way->users > 0);
	if (--way->users > 0)
		return;
	way_retire_id(fib, way);
	way_release(fib, way);
}

static uint64_t hash_legs(
	const struct fib *fib, const struct fib_leg *legs, unsigned n, uint16_t mtu)
{
	uint64_t value = hash_mix(fib->ways.seed, (uint64_t)mtu << 32 | n);

	for (unsigned i = 0; i < n; i++)
		value = hash_addr(hash_mix(value, (uint64_t)legs[i].ifindex << 1 | legs[i].dead),
			&legs[i].gateway);
	return value;
}

/* The kernel does not tell in the same way each time which paths are dead. */
bool way_has_leg(const struct way *way, unsigned i, const struct fib_leg *leg)
{
	const struct way *single = way->group ? way->legs[i].way : way;

	return single->ifindex == leg->ifindex && ip_addr_equal(&single->addr, &leg->gateway);
}

static bool is_group(const struct fib_leg *legs, unsigned n, uint16_t mtu)
{
	return n > 1 || legs[0].dead || mtu != 0;
}

static bool way_matches(const struct way *way, const struct fib_leg *legs, unsigned n, uint16_t mtu)
{
	if (way->group != is_group(legs, n, mtu))
		return false;
	if (!way->group)
		return way_has_leg(way, 0, &legs[0]);
	if (way->leg_count != n || way->mtu != mtu)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (way->legs[i].dead != legs[i].dead || !way_has_leg(way, i, &legs[i]))
			return false;
	}
	return true;
}

static struct way *way_find(
	const struct fib *fib, const struct fib_leg *legs, unsigned n, uint16_t mtu, uint64_t value)
{
	for (struct hash_link *link = hash_first(&fib->ways, value); link; link = link->next) {
		struct way *way = hash_entry(link, struct way, link);

		if (link->value == value && way_matches(way, legs, n, mtu))
			return way;
	}
	return NULL;
}

struct way *way_find_single(const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr)
{
	struct fib_leg leg = {.ifindex = ifindex, .gateway = *addr};

	return way_find(fib, &leg, 1, 0, hash_legs(fib, &leg, 1, 0));
}

/* Makes the ways that a group consists of, and links them to it. */
static bool group_fill(struct fib *fib, struct way *group, const struct fib_leg *legs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct fib_leg single = {.ifindex = legs[i].ifindex, .gateway = legs[i].gateway};
		struct leg *leg = &group->legs[i];

		leg->way = way_get(fib, &single, 1, 0);
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

/* The way of these legs and this MTU, made if there is none. Who does not use it must release it.
 */
struct way *way_get(struct fib *fib, const struct fib_leg *legs, unsigned n, uint16_t mtu)
{
	bool group = is_group(legs, n, mtu);
	uint64_t value = hash_legs(fib, legs, n, mtu);
	struct way *way = way_find(fib, legs, n, mtu, value);

	if (way)
		return way;
	way = calloc(1, sizeof(*way) + (group ? n * sizeof(struct leg) : 0));
	if (!way)
		return NULL;
	way->group = group;
	way->mtu = mtu;
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
void way_release(struct fib *fib, struct way *way)
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
