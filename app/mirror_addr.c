/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's own addresses: those of all links, and the list of usable ones as it was told. */
#include "mirror_parts.h"

#include <stdlib.h>
#include <string.h>

static struct rtnl_addr *addr_find(const struct addrs *addrs, const struct rtnl_addr *addr)
{
	for (unsigned i = 0; i < addrs->n; i++) {
		struct rtnl_addr *at = &addrs->list[i];

		if (at->ifindex != addr->ifindex || !ip_addr_equal(&at->addr, &addr->addr))
			continue;
		/* Of IPv6 it is there once, and the rest may change. */
		if (addr->addr.family == IP_V6 ||
			(at->bits == addr->bits && ip_addr_equal(&at->far, &addr->far)))
			return at;
	}
	return NULL;
}

bool addr_append(struct addrs *addrs, const struct rtnl_addr *addr)
{
	if (addrs->n == addrs->room) {
		unsigned room = addrs->room * 2 + 16;
		struct rtnl_addr *list = realloc(addrs->list, room * sizeof(*list));

		if (!list)
			return false;
		addrs->list = list;
		addrs->room = room;
	}
	addrs->list[addrs->n++] = *addr;
	return true;
}

void addr_set(struct mirror *mirror, const struct rtnl_addr *addr)
{
	struct rtnl_addr *known = addr_find(&mirror->addrs, addr);

	if (known && known->usable == addr->usable)
		return;
	if (known)
		*known = *addr;
	else
		addr_append(&mirror->addrs, addr);
	mirror->addrs_changed = true;
}

void addr_delete(struct mirror *mirror, const struct rtnl_addr *addr)
{
	struct rtnl_addr *known = addr_find(&mirror->addrs, addr);

	if (addr->addr.family == IP_V4)
		dump_want(mirror, 1u << STAGE_ROUTES_V4);
	if (fib_has_interface(mirror->fib, addr->ifindex))
		mirror->callbacks.address_gone(mirror->callbacks.arg, addr->ifindex);
	if (!known)
		return;
	*known = mirror->addrs.list[--mirror->addrs.n];
	mirror->addrs_changed = true;
}

void addrs_end(struct mirror *mirror, bool sweep)
{
	struct addrs old = mirror->addrs;

	if (!sweep)
		return;
	mirror->addrs = mirror->new_addrs;
	/* What went meanwhile may have come back: nobody heard of either. */
	for (unsigned i = 0; i < old.n; i++) {
		if (fib_has_interface(mirror->fib, old.list[i].ifindex))
			mirror->callbacks.address_gone(mirror->callbacks.arg, old.list[i].ifindex);
	}
	mirror->new_addrs = old;
	mirror->new_addrs.n = 0;
	mirror->addrs_changed = true;
}

bool addr_is_local(const struct mirror *mirror, const struct ip_addr *addr)
{
	for (unsigned i = 0; i < mirror->local_count; i++) {
		if (ip_addr_equal(&mirror->locals[i], addr))
			return true;
	}
	return false;
}

static int compare_addrs(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

void addrs_tell(struct mirror *mirror)
{
	struct ip_addr *locals = calloc(mirror->addrs.n + 1, sizeof(*locals));
	unsigned n = 0, unique = 0;

	mirror->addrs_changed = false;
	if (!locals)
		return;
	for (unsigned i = 0; i < mirror->addrs.n; i++) {
		if (mirror->addrs.list[i].usable)
			locals[n++] = mirror->addrs.list[i].addr;
	}
	qsort(locals, n, sizeof(*locals), compare_addrs);
	for (unsigned i = 0; i < n; i++) {
		if (unique == 0 || !ip_addr_equal(&locals[unique - 1], &locals[i]))
			locals[unique++] = locals[i];
	}
	if (mirror->locals && unique == mirror->local_count &&
		memcmp(locals, mirror->locals, unique * sizeof(*locals)) == 0) {
		free(locals);
		return;
	}
	free(mirror->locals);
	mirror->locals = locals;
	mirror->local_count = unique;
	mirror->changed_all = true;
	mirror->callbacks.set_locals(mirror->callbacks.arg, locals, unique);
}
