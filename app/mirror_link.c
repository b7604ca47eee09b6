/* SPDX-License-Identifier: BSD-3-Clause */
/* Links of the host, and which of them are our ports and WireGuard interfaces. */
#include "mirror_parts.h"

#include <stdlib.h>

struct link *link_find(const struct mirror *mirror, uint32_t ifindex)
{
	uint64_t value = hash_mix(mirror->links.seed, ifindex);

	for (struct hash_link *at = hash_first(&mirror->links, value); at; at = at->next) {
		struct link *link = hash_entry(at, struct link, link);

		if (link->state.ifindex == ifindex)
			return link;
	}
	return NULL;
}

static void link_tell(struct mirror *mirror, const struct rtnl_link *state)
{
	if (fib_has_interface(mirror->fib, state->ifindex))
		mirror->callbacks.link_changed(
			mirror->callbacks.arg, state->ifindex, state->mtu, state->up);
}

void link_set(struct mirror *mirror, const struct rtnl_link *state)
{
	struct link *link = link_find(mirror, state->ifindex);
	bool fresh = !link, flipped;

	if (!link) {
		link = calloc(1, sizeof(*link));
		if (!link)
			return;
		link->state = *state;
		hash_insert(
			&mirror->links, &link->link, hash_mix(mirror->links.seed, state->ifindex));
	}
	link->seen = mirror->link_generation;
	flipped = link->state.up != state->up || link->state.running != state->running;
	if (!fresh && !flipped && link->state.mtu == state->mtu)
		return;
	link->state = *state;
	mirror->changed_all = true;
	if (flipped && fib_uses_interface(mirror->fib, state->ifindex))
		dump_want_routes(mirror);
	link_tell(mirror, state);
}

void link_gone(struct mirror *mirror, uint32_t ifindex)
{
	entrance_remove(mirror, ifindex);
	if (fib_remove_interface(mirror->fib, ifindex))
		mirror->callbacks.link_gone(mirror->callbacks.arg, ifindex);
}

void link_delete(struct mirror *mirror, struct link *link)
{
	uint32_t ifindex = link->state.ifindex;

	hash_remove(&mirror->links, &link->link);
	free(link);
	mirror->changed_all = true;
	if (fib_uses_interface(mirror->fib, ifindex))
		dump_want_routes(mirror);
	link_gone(mirror, ifindex);
}

void links_end(struct mirror *mirror, bool sweep)
{
	struct hash_link *at;

	if (!sweep)
		return;
	for (struct hash_walk w = hash_walk_begin(&mirror->links); (at = hash_walk_next(&w));) {
		struct link *link = hash_entry(at, struct link, link);

		if (link->seen != mirror->link_generation)
			link_delete(mirror, link);
	}
}

static int add_interface(struct mirror *mirror, uint32_t ifindex, bool entrance, int error)
{
	const struct link *link = link_find(mirror, ifindex);

	if (error != 0)
		return error;
	if (entrance)
		entrance_add(mirror, ifindex);
	if (mirror->started)
		dump_want(mirror, 1u << STAGE_LINKS | 1u << STAGE_NEIGHBOURS);
	if (link)
		link_tell(mirror, &link->state);
	mirror->changed_all = true;
	return 0;
}

int mirror_add_port(struct mirror *mirror, uint32_t ifindex, uint8_t port,
	const uint8_t mac[MIRROR_MAC_BYTES], bool inner)
{
	return add_interface(mirror, ifindex, inner, fib_add_port(mirror->fib, ifindex, port, mac));
}

int mirror_add_wg(struct mirror *mirror, uint32_t ifindex, uint8_t interface)
{
	return add_interface(mirror, ifindex, true, fib_add_wg(mirror->fib, ifindex, interface));
}

void mirror_remove(struct mirror *mirror, uint32_t ifindex)
{
	entrance_remove(mirror, ifindex);
	fib_remove_interface(mirror->fib, ifindex);
	mirror->changed_all = true;
}
