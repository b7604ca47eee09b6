/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A forwarding table in the plainest form: takes the mirror's callbacks, checks that they keep
 * their promises, and answers lookups by looking at every prefix.
 */
#ifndef TESTS_APP_TABLE_H
#define TESTS_APP_TABLE_H

#include "app/mirror.h"

#define TABLE_NEXTHOPS 4096

struct table_entry {
	struct ip_prefix prefix;
	uint32_t nexthop;
};

struct table {
	struct table_entry *entries;
	unsigned n, room;
	struct mirror_nexthop nexthops[TABLE_NEXTHOPS];
	bool known[TABLE_NEXTHOPS];
	bool count_only; /* for many prefixes: keep nothing */
	unsigned sets, deletes, nexthop_sets;
	struct ip_addr locals[256];
	unsigned local_count, locals_sets;
	bool forwarding_v4, forwarding_v6;
	unsigned forwarding_sets;
	uint32_t link_ifindex, link_mtu, gone_ifindex, address_ifindex;
	bool link_up;
	unsigned routing_changes, routing_changes_all;
	struct ip_prefix last_change;
	unsigned neighbour_changes, warnings;
	struct ip_addr last_neighbour;
};

void table_init(struct table *table, struct mirror_callbacks *callbacks);
void table_free(struct table *table);

const struct table_entry *table_find(const struct table *table, const struct ip_prefix *prefix);
struct mirror_nexthop table_lookup(const struct table *table, const struct ip_addr *addr);
bool nexthop_same(const struct mirror_nexthop *a, const struct mirror_nexthop *b);
/* The same prefixes with the same next hops (the ids may differ). */
bool table_same(const struct table *a, const struct table *b);

struct ip_addr addr_of(const char *text);
struct ip_prefix prefix_of(const char *text);

#endif
