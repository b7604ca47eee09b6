/* SPDX-License-Identifier: BSD-3-Clause */
#include "table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void on_set_nexthop(void *arg, uint32_t id, const struct mirror_nexthop *nexthop)
{
	struct table *table = arg;

	assert_in_range(id, 1, TABLE_NEXTHOPS - 1);
	table->nexthop_sets++;
	table->nexthops[id] = *nexthop;
	table->known[id] = true;
}

const struct table_entry *table_find(const struct table *table, const struct ip_prefix *prefix)
{
	for (unsigned i = 0; i < table->n; i++) {
		if (ip_prefix_equal(&table->entries[i].prefix, prefix))
			return &table->entries[i];
	}
	return NULL;
}

static void on_set_prefix(void *arg, const struct ip_prefix *prefix, uint32_t nexthop)
{
	struct table *table = arg;
	struct table_entry *entry;

	table->sets++;
	assert_true(nexthop == MIRROR_NEXTHOP_HOST || table->known[nexthop]);
	if (table->count_only)
		return;
	entry = (struct table_entry *)table_find(table, prefix);
	if (entry) {
		/* Nothing is told twice. */
		assert_int_not_equal(entry->nexthop, nexthop);
		entry->nexthop = nexthop;
		return;
	}
	if (table->n == table->room) {
		table->room = table->room * 2 + 64;
		table->entries = realloc(table->entries, table->room * sizeof(*table->entries));
		assert_non_null(table->entries);
	}
	table->entries[table->n++] = (struct table_entry){*prefix, nexthop};
}

static void on_delete_prefix(void *arg, const struct ip_prefix *prefix)
{
	struct table *table = arg;
	struct table_entry *entry;

	table->deletes++;
	if (table->count_only)
		return;
	entry = (struct table_entry *)table_find(table, prefix);
	assert_non_null(entry);
	*entry = table->entries[--table->n];
}

static void on_set_locals(void *arg, const struct ip_addr *addrs, unsigned n)
{
	struct table *table = arg;

	assert_in_range(n, 0, 256);
	table->locals_sets++;
	table->local_count = n;
	memcpy(table->locals, addrs, n * sizeof(*addrs));
}

static void on_set_forwarding(void *arg, enum ip_family family, bool on)
{
	struct table *table = arg;

	table->forwarding_sets++;
	*(family == IP_V4 ? &table->forwarding_v4 : &table->forwarding_v6) = on;
}

static void on_link_changed(void *arg, uint32_t ifindex, uint32_t mtu, bool up)
{
	struct table *table = arg;

	table->link_ifindex = ifindex;
	table->link_mtu = mtu;
	table->link_up = up;
}

static void on_link_gone(void *arg, uint32_t ifindex)
{
	((struct table *)arg)->gone_ifindex = ifindex;
}

static void on_address_gone(void *arg, uint32_t ifindex)
{
	((struct table *)arg)->address_ifindex = ifindex;
}

static void on_routing_changed(void *arg, const struct ip_prefix *prefixes, unsigned n)
{
	struct table *table = arg;

	table->routing_changes++;
	table->routing_changes_all += n == 0;
	if (n > 0)
		table->last_change = prefixes[n - 1];
}

static void on_neighbour_changed(void *arg, uint32_t ifindex, const struct ip_addr *addr)
{
	struct table *table = arg;

	(void)ifindex;
	table->neighbour_changes++;
	table->last_neighbour = *addr;
}

static void on_warn(void *arg, const char *line)
{
	((struct table *)arg)->warnings++;
	print_message("warning: %s\n", line);
}

void table_init(struct table *table, struct mirror_callbacks *callbacks)
{
	memset(table, 0, sizeof(*table));
	*callbacks = (struct mirror_callbacks){
		.set_nexthop = on_set_nexthop,
		.set_prefix = on_set_prefix,
		.delete_prefix = on_delete_prefix,
		.set_locals = on_set_locals,
		.set_forwarding = on_set_forwarding,
		.link_changed = on_link_changed,
		.link_gone = on_link_gone,
		.address_gone = on_address_gone,
		.routing_changed = on_routing_changed,
		.neighbour_changed = on_neighbour_changed,
		.warn = on_warn,
		.arg = table,
	};
}

void table_free(struct table *table)
{
	free(table->entries);
	table->entries = NULL;
}

static struct mirror_nexthop entry_nexthop(
	const struct table *table, const struct table_entry *entry)
{
	static const struct mirror_nexthop host = {.kind = MIRROR_HOST};

	return !entry || entry->nexthop == MIRROR_NEXTHOP_HOST ? host
							       : table->nexthops[entry->nexthop];
}

struct mirror_nexthop table_lookup(const struct table *table, const struct ip_addr *addr)
{
	const struct table_entry *best = NULL;

	for (unsigned i = 0; i < table->n; i++) {
		const struct table_entry *entry = &table->entries[i];

		if (entry->prefix.addr.family == addr->family &&
			ip_prefix_contains(&entry->prefix, addr) &&
			(!best || entry->prefix.bits > best->prefix.bits))
			best = entry;
	}
	return entry_nexthop(table, best);
}

bool nexthop_same(const struct mirror_nexthop *a, const struct mirror_nexthop *b)
{
	return a->kind == b->kind && a->port == b->port && a->interface == b->interface &&
	       a->mtu == b->mtu && memcmp(a->destination, b->destination, MIRROR_MAC_BYTES) == 0 &&
	       memcmp(a->source, b->source, MIRROR_MAC_BYTES) == 0;
}

/* Every prefix of a: what b makes of it. */
static bool table_within(const struct table *a, const struct table *b)
{
	bool same = true;

	for (unsigned i = 0; i < a->n; i++) {
		const struct ip_prefix *prefix = &a->entries[i].prefix;
		const struct table_entry *other = table_find(b, prefix);
		struct mirror_nexthop x = entry_nexthop(a, &a->entries[i]);
		struct mirror_nexthop y = entry_nexthop(b, other);
		char text[IP_PREFIX_STRLEN];

		/* An address that led to a neighbour may stay when it is not resolved any more. */
		if (!other && prefix->bits == ip_family_bits(prefix->addr.family))
			y = table_lookup(b, &prefix->addr);
		else if (!other)
			same = false;
		if (nexthop_same(&x, &y) && same)
			continue;
		print_error("%s: %d, and %d in the other\n", ip_prefix_format(prefix, text), x.kind,
			other ? (int)y.kind : -1);
		same = false;
	}
	return same;
}

bool table_same(const struct table *a, const struct table *b)
{
	/* Both: each prints what differs. */
	bool within = table_within(a, b);

	return table_within(b, a) && within;
}

struct ip_addr addr_of(const char *text)
{
	struct ip_addr addr = {0};

	if (!ip_addr_parse(text, &addr))
		fail_msg("%s is no address", text);
	return addr;
}

struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix = {0};

	if (!ip_prefix_parse(text, &prefix))
		fail_msg("%s is no prefix", text);
	return prefix;
}
