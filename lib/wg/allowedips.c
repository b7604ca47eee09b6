/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hash table of whole prefixes: a set touches one chain. This copy is for configuration, and made
 * for fast changes; who asks for the longest prefix of an address asks the workers' copy.
 */
#include "wg/allowedips.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "wg/peer.h"

#define ALLOWEDIPS_FIRST_CHAINS 64u

struct allowedips_entry {
	struct allowedips_entry *chain_next;
	struct wg_peer *peer;
	struct allowedips_entry *peer_prev,
		*peer_next; /* in the peer's list, in order of setting */
	struct ip_prefix prefix;
};

struct allowedips {
	struct allowedips_entry **chains;
	uint32_t size; /* of chains, a power of two */
	uint32_t count;
};

static struct allowedips_entry **find(
	const struct allowedips *table, const struct ip_prefix *prefix);
static void grow(struct allowedips *table);
static void list_append(struct allowedips_entry *entry, struct wg_peer *peer);
static void list_remove(struct allowedips_entry *entry);

struct allowedips *allowedips_create(void)
{
	struct allowedips *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->size = ALLOWEDIPS_FIRST_CHAINS;
	table->chains = calloc(table->size, sizeof(struct allowedips_entry *));
	if (!table->chains) {
		free(table);
		return NULL;
	}
	return table;
}

void allowedips_destroy(struct allowedips *table)
{
	if (!table)
		return;
	for (uint32_t i = 0; i < table->size; i++) {
		while (table->chains[i]) {
			struct allowedips_entry *entry = table->chains[i];

			table->chains[i] = entry->chain_next;
			free(entry);
		}
	}
	free(table->chains);
	free(table);
}

int allowedips_set(struct allowedips *table, const struct ip_prefix *prefix, struct wg_peer *peer,
	struct wg_peer **old)
{
	struct allowedips_entry **link = find(table, prefix);
	struct allowedips_entry *entry = *link;

	assert(prefix->bits <= ip_family_bits(prefix->addr.family));
	if (entry) {
		*old = entry->peer;
		if (entry->peer != peer) {
			list_remove(entry);
			list_append(entry, peer);
		}
		return 0;
	}

	*old = NULL;
	entry = malloc(sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->prefix = *prefix;
	entry->chain_next = NULL;
	*link = entry;
	list_append(entry, peer);
	if (++table->count > table->size)
		grow(table);
	return 0;
}

bool allowedips_remove(
	struct allowedips *table, const struct ip_prefix *prefix, struct wg_peer *peer)
{
	struct allowedips_entry **link = find(table, prefix);
	struct allowedips_entry *entry = *link;

	if (!entry || entry->peer != peer)
		return false;
	*link = entry->chain_next;
	list_remove(entry);
	table->count--;
	free(entry);
	return true;
}

const struct allowedips_entry *allowedips_next(const struct allowedips *table,
	const struct wg_peer *peer, const struct allowedips_entry *entry)
{
	(void)table;
	return entry ? entry->peer_next : peer->prefixes_first;
}

struct ip_prefix allowedips_prefix(const struct allowedips_entry *entry)
{
	return entry->prefix;
}

/*
 * Mixes all bits into all bits. Not keyed: prefixes come from the configuration, and who writes
 * that needs no collisions to slow us down.
 */
static uint32_t hash(const struct ip_prefix *prefix)
{
	const uint8_t *bytes = prefix->addr.bytes;
	uint64_t h = load_le64(bytes) * 0x9e3779b97f4a7c15ull;

	h = (h ^ (h >> 32) ^ load_le64(bytes + 8)) * 0xd6e8feb86659fd93ull;
	h = (h ^ (h >> 32) ^ ((uint64_t)prefix->addr.family << 8) ^ prefix->bits) *
	    0xd6e8feb86659fd93ull;
	return (uint32_t)(h ^ (h >> 32));
}

/* The link to the entry of prefix, or the link that ends its chain. */
static struct allowedips_entry **find(
	const struct allowedips *table, const struct ip_prefix *prefix)
{
	struct allowedips_entry **link = &table->chains[hash(prefix) & (table->size - 1)];

	while (*link && !ip_prefix_equal(&(*link)->prefix, prefix))
		link = &(*link)->chain_next;
	return link;
}

/* Without memory the chains only become longer. */
static void grow(struct allowedips *table)
{
	uint32_t size = table->size * 2;
	struct allowedips_entry **chains = calloc(size, sizeof(struct allowedips_entry *));

	if (!chains)
		return;
	for (uint32_t i = 0; i < table->size; i++) {
		struct allowedips_entry *entry, *next;

		for (entry = table->chains[i]; entry; entry = next) {
			struct allowedips_entry **head = &chains[hash(&entry->prefix) & (size - 1)];

			next = entry->chain_next;
			entry->chain_next = *head;
			*head = entry;
		}
	}
	free(table->chains);
	table->chains = chains;
	table->size = size;
}

static void list_append(struct allowedips_entry *entry, struct wg_peer *peer)
{
	entry->peer = peer;
	entry->peer_prev = peer->prefixes_last;
	entry->peer_next = NULL;
	if (entry->peer_prev)
		entry->peer_prev->peer_next = entry;
	else
		peer->prefixes_first = entry;
	peer->prefixes_last = entry;
}

static void list_remove(struct allowedips_entry *entry)
{
	struct wg_peer *peer = entry->peer;

	if (entry->peer_prev)
		entry->peer_prev->peer_next = entry->peer_next;
	else
		peer->prefixes_first = entry->peer_next;
	if (entry->peer_next)
		entry->peer_next->peer_prev = entry->peer_prev;
	else
		peer->prefixes_last = entry->peer_prev;
}
