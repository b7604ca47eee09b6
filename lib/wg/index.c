/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hash table by slot with linear probing. Slots are drawn at random, so a slot's low bits are as
 * good as a hash of it. The table is at most half full until it has an entry for every slot; from
 * then on each slot has an entry of its own.
 */
#include "wg/index.h"

#include <assert.h>
#include <stdlib.h>

#define INDEX_SLOTS	    (1u << LIMIT_INDEX_BITS)
#define INDEX_FIRST_ENTRIES 64u
/* With 31 of 32 slots taken one draw in 3,000 fails: the handshake is then tried again later. */
#define INDEX_DRAWS 256

struct entry {
	struct wg_peer *peer; /* NULL: an orphan */
	uint32_t index;	      /* WG_INDEX_NONE: the entry is free */
};

struct wg_index_table {
	void (*random)(void *arg, void *buf, size_t len);
	void *arg;
	struct entry *entries;
	uint32_t size; /* of entries, a power of two */
	uint32_t count;
};

static struct entry *probe(const struct wg_index_table *table, uint32_t slot);
static bool grow(struct wg_index_table *table);
static void close_gap(struct wg_index_table *table, uint32_t gap);

struct wg_index_table *wg_index_table_create(
	void (*random)(void *arg, void *buf, size_t len), void *arg)
{
	struct wg_index_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->random = random;
	table->arg = arg;
	table->size = INDEX_FIRST_ENTRIES;
	table->entries = calloc(table->size, sizeof(*table->entries));
	if (!table->entries) {
		free(table);
		return NULL;
	}
	return table;
}

void wg_index_table_destroy(struct wg_index_table *table)
{
	if (!table)
		return;
	free(table->entries);
	free(table);
}

uint32_t wg_index_take(struct wg_index_table *table, struct wg_peer *peer)
{
	if (table->size < INDEX_SLOTS && table->count >= table->size / 2 && !grow(table))
		return WG_INDEX_NONE;
	for (unsigned draw = 0; draw < INDEX_DRAWS; draw++) {
		uint32_t index;
		struct entry *entry;

		table->random(table->arg, &index, sizeof(index));
		if (index == WG_INDEX_NONE)
			continue;
		entry = probe(table, wg_index_slot(index));
		if (entry->index != WG_INDEX_NONE)
			continue;
		entry->index = index;
		entry->peer = peer;
		table->count++;
		return index;
	}
	return WG_INDEX_NONE;
}

struct wg_peer *wg_index_find(const struct wg_index_table *table, uint32_t index)
{
	const struct entry *entry;

	if (index == WG_INDEX_NONE)
		return NULL;
	entry = probe(table, wg_index_slot(index));
	return entry->index == index ? entry->peer : NULL;
}

void wg_index_orphan(struct wg_index_table *table, uint32_t index)
{
	struct entry *entry = probe(table, wg_index_slot(index));

	assert(index != WG_INDEX_NONE && entry->index == index);
	entry->peer = NULL;
}

void wg_index_release(struct wg_index_table *table, uint32_t index)
{
	struct entry *entry = probe(table, wg_index_slot(index));

	assert(index != WG_INDEX_NONE && entry->index == index);
	close_gap(table, (uint32_t)(entry - table->entries));
	table->count--;
}

uint32_t wg_index_count(const struct wg_index_table *table)
{
	return table->count;
}

/*
 * The entry of slot, or the free entry where it belongs. Ends: there is a free entry, or the table
 * has one for every slot and the first is the right one.
 */
static struct entry *probe(const struct wg_index_table *table, uint32_t slot)
{
	uint32_t mask = table->size - 1;
	uint32_t i = slot & mask;

	while (table->entries[i].index != WG_INDEX_NONE &&
		wg_index_slot(table->entries[i].index) != slot)
		i = (i + 1) & mask;
	return &table->entries[i];
}

static bool grow(struct wg_index_table *table)
{
	struct wg_index_table bigger = *table;

	bigger.size = table->size * 2;
	bigger.entries = calloc(bigger.size, sizeof(*bigger.entries));
	if (!bigger.entries)
		return table->count < table->size - 1; /* fuller and slower, but it works */
	for (uint32_t i = 0; i < table->size; i++) {
		const struct entry *entry = &table->entries[i];

		if (entry->index != WG_INDEX_NONE)
			*probe(&bigger, wg_index_slot(entry->index)) = *entry;
	}
	free(table->entries);
	*table = bigger;
	return true;
}

/* Moves entries up so that no probe meets the gap before its entry. */
static void close_gap(struct wg_index_table *table, uint32_t gap)
{
	uint32_t mask = table->size - 1;
	uint32_t i = (gap + 1) & mask;

	/* With an entry for every slot all are at home. */
	if (table->size == INDEX_SLOTS)
		i = gap;
	for (; i != gap && table->entries[i].index != WG_INDEX_NONE; i = (i + 1) & mask) {
		uint32_t home = wg_index_slot(table->entries[i].index) & mask;

		/* It may move when its home is not in (gap, i], in the ring's order. */
		if (((i - home) & mask) >= ((i - gap) & mask)) {
			table->entries[gap] = table->entries[i];
			gap = i;
		}
	}
	table->entries[gap] = (struct entry){.index = WG_INDEX_NONE};
}
