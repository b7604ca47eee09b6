/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writer's copy of a prefix table: a path-compressed binary trie, from which any part of what
 * the readers see can be built anew. Both families in the same form: an address is a 128-bit key,
 * IPv4 in its upper 32 bits.
 *
 * Thread: the table's writer. Nodes lie in one growing array and are named by their place in it;
 * 0 is none. shadow_reserve() gives them other places.
 */
#ifndef DATAPATH_LPM_SHADOW_H
#define DATAPATH_LPM_SHADOW_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lpm_key {
	uint64_t hi, lo;
};

struct shadow_node {
	struct lpm_key key;  /* the first len bits; zero behind */
	uint32_t child[2];   /* by the bit behind them; 0: none */
	uint32_t value;	     /* DP_LPM_NONE: no prefix, a branch only */
	uint32_t count : 24; /* prefixes in this subtree, itself too */
	uint32_t len : 8;
};

#define SHADOW_ROOTS 2 /* one trie for each family */

/* Half a cache line; and no more of them than a count can tell. */
static_assert(sizeof(struct shadow_node) == 32, "two nodes in a cache line");
#define SHADOW_NODES_MAX (1u << 24)

struct shadow {
	struct shadow_node *nodes; /* [0] is not used */
	uint32_t size;		   /* nodes allocated */
	uint32_t used;		   /* places given out so far, with 0 */
	uint32_t free;		   /* given back ones, linked by child[0] */
	uint32_t roots[SHADOW_ROOTS];
};

static inline unsigned lpm_key_bit(struct lpm_key key, unsigned at)
{
	return (unsigned)((at < 64 ? key.hi >> (63 - at) : key.lo >> (127 - at)) & 1);
}

/* Ones in the first len bits. */
static inline struct lpm_key lpm_key_mask(unsigned len)
{
	return (struct lpm_key){
		.hi = len == 0	  ? 0
		      : len >= 64 ? UINT64_MAX
				  : ~(UINT64_MAX >> len),
		.lo = len <= 64	   ? 0
		      : len == 128 ? UINT64_MAX
				   : ~(UINT64_MAX >> (len - 64)),
	};
}

/* True when the first len bits are the same. */
static inline bool lpm_key_match(struct lpm_key a, struct lpm_key b, unsigned len)
{
	struct lpm_key mask = lpm_key_mask(len);

	return (((a.hi ^ b.hi) & mask.hi) | ((a.lo ^ b.lo) & mask.lo)) == 0;
}

static inline const struct shadow_node *shadow_at(const struct shadow *shadow, uint32_t at)
{
	return &shadow->nodes[at];
}

/* 0 or -ENOMEM: then shadow_destroy() is not needed. */
int shadow_init(struct shadow *shadow);
void shadow_destroy(struct shadow *shadow);

/* Makes sure that the next shadow_set() finds room. 0 or -ENOMEM, also where it
 * holds SHADOW_NODES_MAX. */
int shadow_reserve(struct shadow *shadow);
size_t shadow_bytes(const struct shadow *shadow);
/* Sets the value of a prefix below *root, one of shadow's; returns the one before, or DP_LPM_NONE:
 * it is new. */
uint32_t shadow_set(
	struct shadow *shadow, uint32_t *root, struct lpm_key key, unsigned len, uint32_t value);
/* Removes a prefix that is there. */
void shadow_delete(struct shadow *shadow, uint32_t *root, struct lpm_key key, unsigned len);
/* Gives back the memory of a shadow that holds nothing any more. */
void shadow_reset(struct shadow *shadow);
/* The value of exactly this prefix, or DP_LPM_NONE. */
uint32_t shadow_get(const struct shadow *shadow, uint32_t root, struct lpm_key key, unsigned len);

/*
 * Goes on from the subtree *at towards key, to the subtree of all prefixes whose first len bits are
 * key's (0: there are none). *value becomes that of the longest prefix of up to len bits passed.
 */
void shadow_descend(const struct shadow *shadow, uint32_t *at, uint32_t *value, struct lpm_key key,
	unsigned len);

#endif
