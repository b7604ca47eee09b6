/* SPDX-License-Identifier: BSD-3-Clause */
/* The readers' side of the prefix table. Thread: any worker; see lpm_node.h. */
#include "datapath/lpm.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/prefetch.h"
#include "datapath/lpm_node.h"

#define INLINE static inline __attribute__((always_inline))

INLINE struct lpm_key load_key(const uint8_t *addr, bool v6)
{
	if (v6)
		return (struct lpm_key){load_be64(addr), load_be64(addr + 8)};
	return (struct lpm_key){(uint64_t)load_be32(addr) << 32, 0};
}

/* The answer of the bucket that word leads to, by address family. It has at least one entry. */
INLINE uint32_t search_bucket4(uint64_t word, struct lpm_key addr)
{
	const union lpm_bucket *bucket = lpm_bucket_of(word);
	const struct lpm_entry4 *entry = bucket->v4.entries;
	const struct lpm_entry4 *end = entry + lpm_bucket_entries(word);
	uint32_t key = (uint32_t)(addr.hi >> 32);

	do {
		if (((key ^ entry->key) & entry->mask) == 0)
			return lpm_load_value(&entry->value);
	} while (++entry < end);
	return lpm_load_value(&bucket->miss);
}

/* An entry's length is at least 1. */
INLINE uint32_t search_bucket6(uint64_t word, struct lpm_key addr)
{
	const union lpm_bucket *bucket = lpm_bucket_of(word);
	const struct lpm_entry6 *entry = bucket->v6.entries;
	const struct lpm_entry6 *end = entry + lpm_bucket_entries(word);

	do {
		unsigned __int128 differ = addr.hi ^ entry->key.hi;

		differ = (differ << 64 | (addr.lo ^ entry->key.lo)) >> (128 - entry->len);
		if (differ == 0)
			return lpm_load_value(&entry->value);
	} while (++entry < end);
	return lpm_load_value(&bucket->miss);
}

INLINE uint32_t search_bucket(uint64_t word, struct lpm_key addr, bool v6)
{
	return v6 ? search_bucket6(word, addr) : search_bucket4(word, addr);
}

/* Where the word for addr lies in the node that word leads to, without a branch. */
INLINE const uint64_t *find_place(uint64_t word, struct lpm_key addr, bool v6)
{
	const struct lpm_node *node = lpm_node_of(word);
	const uint64_t *place = &node->words[lpm_index(word, addr)];
	uint64_t differ;

	if (lpm_tag(word) == LPM_NODE)
		return place;
	differ = (addr.hi ^ node->key.hi) & node->mask.hi;
	if (v6)
		differ |= (addr.lo ^ node->key.lo) & node->mask.lo;
	return differ ? &node->miss : place;
}

INLINE uint32_t lookup(const struct lpm_table *table, const uint8_t *addr, bool v6)
{
	struct lpm_key key = load_key(addr, v6);
	uint64_t word = lpm_load(&table->word);

	while (lpm_tag(word) >= LPM_NODE)
		word = lpm_load(find_place(word, key, v6));
	if (lpm_tag(word) == LPM_BUCKET)
		return search_bucket(word, key, v6);
	return lpm_value_of(word);
}

uint32_t dp_lpm_lookup4(const struct dp_lpm *lpm, const uint8_t *addr)
{
	return lookup(&((const struct lpm_tables *)lpm)->v4, addr, false);
}

uint32_t dp_lpm_lookup6(const struct dp_lpm *lpm, const uint8_t *addr)
{
	return lookup(&((const struct lpm_tables *)lpm)->v6, addr, true);
}

/* A burst on its way down: all lookups take a step, then all the next one. */
struct walk {
	struct lpm_key keys[LIMIT_BURST];
	const uint64_t *places[LIMIT_BURST]; /* where each one's next word lies */
	/* Those that have no answer yet, and the word they have reached. */
	uint8_t active[LIMIT_BURST];
	uint64_t words[LIMIT_BURST];
	unsigned n;
};

/* The first step, from the node that stands for all addresses. */
INLINE void start(
	struct walk *walk, uint64_t word, const uint8_t *const *addrs, unsigned n, bool v6)
{
	for (unsigned i = 0; i < n; i++) {
		walk->keys[i] = load_key(addrs[i], v6);
		walk->places[i] = find_place(word, walk->keys[i], v6);
		prefetch_far(walk->places[i]);
	}
}

/*
 * Reads the n words at the places of the active, or of all. Answers where one is a value, and
 * prefetches what the others lead to.
 */
INLINE void read_words(struct walk *walk, uint32_t *values, unsigned n, bool all)
{
	unsigned left = 0;

	for (unsigned k = 0; k < n; k++) {
		unsigned i = all ? k : walk->active[k];
		uint64_t word = lpm_load(walk->places[i]);

		values[i] = lpm_value_of(word);
		walk->words[left] = word;
		walk->active[left] = (uint8_t)i;
		left += lpm_tag(word) != LPM_VALUE;
		prefetch_far(lpm_bucket_of(word));
	}
	walk->n = left;
}

/* Searches the buckets that were reached; finds the next place in a node. */
INLINE void follow_words(struct walk *walk, uint32_t *values, bool v6)
{
	unsigned left = 0;

	for (unsigned k = 0; k < walk->n; k++) {
		unsigned i = walk->active[k];
		uint64_t word = walk->words[k];

		if (lpm_tag(word) == LPM_BUCKET) {
			values[i] = search_bucket(word, walk->keys[i], v6);
			continue;
		}
		walk->places[i] = find_place(word, walk->keys[i], v6);
		prefetch_far(walk->places[i]);
		walk->active[left++] = (uint8_t)i;
	}
	walk->n = left;
}

INLINE void lookup_burst(
	uint64_t word, const uint8_t *const *addrs, uint32_t *values, unsigned n, bool v6)
{
	struct walk walk;

	start(&walk, word, addrs, n, v6);
	read_words(&walk, values, n, true);
	for (;;) {
		follow_words(&walk, values, v6);
		if (walk.n == 0)
			return;
		read_words(&walk, values, walk.n, false);
	}
}

INLINE void lookup_bulk(const struct lpm_table *table, const uint8_t *const *addrs,
	uint32_t *values, unsigned n, bool v6)
{
	uint64_t word = lpm_load(&table->word);

	if (lpm_tag(word) < LPM_NODE) {
		for (unsigned i = 0; i < n; i++)
			values[i] = lpm_tag(word) == LPM_VALUE
					    ? lpm_value_of(word)
					    : search_bucket(word, load_key(addrs[i], v6), v6);
		return;
	}
	for (; n > LIMIT_BURST; n -= LIMIT_BURST, addrs += LIMIT_BURST, values += LIMIT_BURST)
		lookup_burst(word, addrs, values, LIMIT_BURST, v6);
	lookup_burst(word, addrs, values, n, v6);
}

void dp_lpm_lookup4_bulk(
	const struct dp_lpm *lpm, const uint8_t *const *addrs, uint32_t *values, unsigned n)
{
	lookup_bulk(&((const struct lpm_tables *)lpm)->v4, addrs, values, n, false);
}

void dp_lpm_lookup6_bulk(
	const struct dp_lpm *lpm, const uint8_t *const *addrs, uint32_t *values, unsigned n)
{
	lookup_bulk(&((const struct lpm_tables *)lpm)->v6, addrs, values, n, true);
}
