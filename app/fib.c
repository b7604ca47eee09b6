/* SPDX-License-Identifier: BSD-3-Clause */
/* See fib.h. The table as a whole, and our interfaces. */
#include "fib_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void forget_all(struct fib *fib);

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

/* Our interfaces. */

const struct interface *interface_find(const struct fib *fib, uint32_t ifindex)
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
	if (fib->interface_count == FIB_INTERFACES)
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

bool is_port(const struct fib *fib, uint32_t ifindex)
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
			neighbour_review(fib, way);
	}
}
