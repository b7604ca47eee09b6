/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the readers of a prefix table walk through: words of 64 bits, each of which says what is
 * known of a range of addresses.
 *
 *   value   one answer for the whole range
 *   bucket  up to LPM_BUCKET_MAX prefixes inside it, and the answer for the rest; the word says how
 *           many
 *   node    an array of 2^bits words, one for each value of bits address bits from pos on; if pos
 *           lies behind the range's own length, the bits between are compared first (skip) and
 *           node->miss is the answer where they differ
 *
 * Answers of covering prefixes are pushed down to where a lookup ends, so nothing is searched
 * backwards. A node is as wide as its content fills (level compression): 100,000 random host
 * addresses lie in buckets under one node, two dependent accesses for a lookup.
 *
 * Words, misses and values change in place by single stores; everything else is immutable once a
 * word that leads to it is stored. [control w, workers r]
 */
#ifndef DATAPATH_LPM_NODE_H
#define DATAPATH_LPM_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "datapath/lpm_shadow.h"

#define LPM_BUCKET_MAX 5 /* fills a cache line of IPv4's, two of IPv6's */
#define LPM_BITS_MAX   24
#define LPM_ALIGN      16

struct lpm_entry4 {
	uint32_t key, mask;
	uint32_t value;
};

struct lpm_entry6 {
	struct lpm_key key;
	uint32_t value;
	uint32_t len;
};

/* A prefix inside another one stands before it. Has room for as many entries as its word says. */
union lpm_bucket {
	uint32_t miss;
	struct {
		uint32_t miss;
		struct lpm_entry4 entries[LPM_BUCKET_MAX];
	} v4;
	struct {
		uint32_t miss;
		struct lpm_entry6 entries[LPM_BUCKET_MAX];
	} v6;
};

struct lpm_node {
	struct lpm_key key, mask; /* the first pos bits of all inside */
	uint64_t miss;		  /* a word, and always a value */
	uint32_t built;		  /* prefixes inside when it was built [control] */
	uint8_t pos, bits;
	uint64_t words[] __attribute__((aligned(64)));
};

/*
 * A word's lowest two bits are its tag. A value stands in the upper half. A pointer takes bits 4 to
 * 51 (addresses of user space have fewer), a node's pos and bits the twelve above, or what there is
 * to know of a bucket before it comes from memory.
 */
enum lpm_tag {
	LPM_VALUE = 0,
	LPM_BUCKET = 1,
	LPM_NODE = 2,
	LPM_NODE_SKIP = 3,
};

#define LPM_POINTER 0x000ffffffffffff0ull

#define LPM_BUCKET_STALE (1ull << 62) /* an entry is no prefix any more [control] */
#define LPM_BUCKET_V6	 (1ull << 63) /* [control] */

static inline enum lpm_tag lpm_tag(uint64_t word)
{
	return (enum lpm_tag)(word & 3);
}

static inline uint64_t lpm_word_of_value(uint32_t value)
{
	return (uint64_t)value << 32;
}

static inline uint32_t lpm_value_of(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

static inline union lpm_bucket *lpm_bucket_of(uint64_t word)
{
	return (union lpm_bucket *)(word & LPM_POINTER);
}

static inline unsigned lpm_bucket_entries(uint64_t word)
{
	return (unsigned)(word >> 52 & 7);
}

static inline struct lpm_node *lpm_node_of(uint64_t word)
{
	return (struct lpm_node *)(word & LPM_POINTER);
}

static inline uint64_t lpm_word_of_bucket(const union lpm_bucket *bucket, unsigned n, bool v6)
{
	return (uintptr_t)bucket | LPM_BUCKET | (uint64_t)n << 52 | (v6 ? LPM_BUCKET_V6 : 0);
}

static inline uint64_t lpm_word_of_node(const struct lpm_node *node, bool skip)
{
	return (uintptr_t)node | (skip ? LPM_NODE_SKIP : LPM_NODE) | (uint64_t)node->pos << 57 |
	       (uint64_t)node->bits << 52;
}

/* The place of an address in the node that word leads to; pos and bits lie in one half of it. */
static inline uint64_t lpm_index(uint64_t word, struct lpm_key addr)
{
	uint64_t half = word >> 63 ? addr.lo : addr.hi;

	return half << (word >> 57 & 63) >> (64 - (word >> 52 & 31));
}

static inline uint64_t lpm_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint32_t lpm_load_value(const uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* A table of one family. */
struct lpm_table {
	uint64_t word;	       /* of all addresses [control w, workers r] */
	uint32_t *root;	       /* one of the shadow's [control] */
	uint32_t address_bits; /* 32 or 128 [const] */
};

/* The two tables stand first in struct dp_lpm, so that the readers know no more of it. */
struct lpm_tables {
	struct lpm_table v4, v6;
};

#endif
