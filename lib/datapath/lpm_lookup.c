/* SPDX-License-Identifier: BSD-3-Clause */
/* The readers' side of the prefix table. Thread: any worker; see lpm_node.h. */
#include "datapath/lpm.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "datapath/lpm_node.h"

#define INLINE static inline __attribute__((always_inline))

INLINE struct lpm_key load_key(const uint8_t *addr, bool v6)
{
	if (v6)
		return (struct lpm_key){load_be64(addr), load_be64(addr + 8)};
	return (struct lpm_key){(uint64_t)load_be32(addr) << 32, 0};
}

/* The answer of a bucket. An entry's length is at least 1. */
INLINE uint32_t search_bucket(const struct lpm_bucket *bucket, struct lpm_key addr, bool v6)
{
	for (uint32_t i = 0; i < bucket->n; i++) {
		const struct lpm_entry *entry = &bucket->entries[i];
		unsigned __int128 differ = addr.hi ^ entry->key.hi;

		if (v6)
			differ = (differ << 64 | (addr.lo ^ entry->key.lo)) >> (128 - entry->len);
		else
			differ = (uint64_t)differ >> (64 - entry->len);
		if (differ == 0)
			return lpm_load_value(&entry->value);
	}
	return lpm_load_value(&bucket->miss);
}

/* Whether the bits that a node skips are addr's, too. */
INLINE bool skips(const struct lpm_node *node, struct lpm_key addr, bool v6)
{
	uint64_t differ = (addr.hi ^ node->key.hi) & node->mask.hi;

	if (v6)
		differ |= (addr.lo ^ node->key.lo) & node->mask.lo;
	return differ == 0;
}

INLINE uint32_t lookup(const struct lpm_table *table, const uint8_t *addr, bool v6)
{
	struct lpm_key key = load_key(addr, v6);
	uint64_t word = lpm_load(&table->word);

	while (lpm_tag(word) >= LPM_NODE) {
		const struct lpm_node *node = lpm_node_of(word);

		if (lpm_tag(word) == LPM_NODE_SKIP && !skips(node, key, v6))
			return lpm_load_value(&node->miss);
		word = lpm_load(&node->words[lpm_index(word, key)]);
	}
	if (lpm_tag(word) == LPM_BUCKET)
		return search_bucket(lpm_bucket_of(word), key, v6);
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
	uint64_t words[LIMIT_BURST];	     /* what each has reached */
	const uint64_t *places[LIMIT_BURST]; /* where its next word lies */
	struct lpm_key keys[LIMIT_BURST];
	uint8_t active[LIMIT_BURST]; /* those that have no answer yet */
	unsigned n;
};

/* Reads the next words. Answers where one is a value, and prefetches what the others lead to. */
INLINE void read_words(struct walk *walk, uint32_t *values)
{
	unsigned left = 0;

	for (unsigned k = 0; k < walk->n; k++) {
		unsigned i = walk->active[k];
		uint64_t word = lpm_load(walk->places[i]);
		enum lpm_tag tag = lpm_tag(word);
		const struct lpm_node *node = lpm_node_of(word);

		values[i] = lpm_value_of(word);
		walk->words[i] = word;
		walk->active[left] = (uint8_t)i;
		left += tag != LPM_VALUE;
		/* Of a node without skip only the word is read, of the others the first line. */
		if (tag == LPM_NODE)
			__builtin_prefetch(&node->words[lpm_index(word, walk->keys[i])]);
		else
			__builtin_prefetch(node);
	}
	walk->n = left;
}

/* Searches buckets; where a node was reached, finds its word's place. */
INLINE void follow_words(struct walk *walk, uint32_t *values, bool v6)
{
	unsigned left = 0;

	for (unsigned k = 0; k < walk->n; k++) {
		unsigned i = walk->active[k];
		uint64_t word = walk->words[i];
		const struct lpm_node *node = lpm_node_of(word);

		if (lpm_tag(word) == LPM_BUCKET) {
			values[i] = search_bucket(lpm_bucket_of(word), walk->keys[i], v6);
			continue;
		}
		if (lpm_tag(word) == LPM_NODE_SKIP && !skips(node, walk->keys[i], v6)) {
			values[i] = lpm_load_value(&node->miss);
			continue;
		}
		walk->places[i] = &node->words[lpm_index(word, walk->keys[i])];
		__builtin_prefetch(walk->places[i]);
		walk->active[left++] = (uint8_t)i;
	}
	walk->n = left;
}

INLINE void lookup_burst(
	uint64_t word, const uint8_t *const *addrs, uint32_t *values, unsigned n, bool v6)
{
	struct walk walk;

	for (unsigned i = 0; i < n; i++) {
		walk.keys[i] = load_key(addrs[i], v6);
		walk.words[i] = word;
		walk.active[i] = (uint8_t)i;
	}
	walk.n = n;
	for (;;) {
		follow_words(&walk, values, v6);
		if (walk.n == 0)
			break;
		read_words(&walk, values);
	}
}

INLINE void lookup_bulk(const struct lpm_table *table, const uint8_t *const *addrs,
	uint32_t *values, unsigned n, bool v6)
{
	uint64_t word = lpm_load(&table->word);

	if (lpm_tag(word) == LPM_VALUE) {
		for (unsigned i = 0; i < n; i++)
			values[i] = lpm_value_of(word);
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
