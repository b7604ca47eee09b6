/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/lpm_shadow.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/lpm.h"
#include "datapath/lpm_memory.h"

#define INITIAL_NODES 16

/*
 * A subtree of up to NEAR_PREFIXES mostly lies in the NEAR_LINES cache lines behind its top (see
 * resize()): who goes down there fetches them all at once, instead of one after the other.
 */
#define NEAR_PREFIXES 32
#define NEAR_LINES    10

/* Appends a copy of a subtree: each node, then all below its first child, then the rest. */
static uint32_t copy_subtree(
	const struct shadow_node *from, struct shadow_node *to, uint32_t *used, uint32_t at)
{
	uint32_t copy = *used;

	if (!at)
		return 0;
	__builtin_prefetch(&from[from[at].child[1]]);
	(*used)++;
	to[copy] = from[at];
	to[copy].child[0] = copy_subtree(from, to, used, from[at].child[0]);
	to[copy].child[1] = copy_subtree(from, to, used, from[at].child[1]);
	return copy;
}

/*
 * Gives the array another size, at least of what is used, and an order: what hangs together lies
 * together, so that the way down to a prefix takes few cache misses.
 */
static int resize(struct shadow *shadow, uint32_t size)
{
	struct shadow_node *nodes = lpm_allocate(size * sizeof(*nodes));
	uint32_t used = 1;

	if (!nodes)
		return -ENOMEM;
	nodes[0] = shadow->nodes[0];
	for (unsigned i = 0; i < SHADOW_ROOTS; i++)
		shadow->roots[i] = copy_subtree(shadow->nodes, nodes, &used, shadow->roots[i]);
	free(shadow->nodes);
	shadow->nodes = nodes;
	shadow->size = size;
	shadow->used = used;
	shadow->free = 0;
	return 0;
}

int shadow_init(struct shadow *shadow)
{
	*shadow = (struct shadow){
		.nodes = lpm_allocate(INITIAL_NODES * sizeof(*shadow->nodes)),
		.size = INITIAL_NODES,
		.used = 1,
	};
	if (!shadow->nodes)
		return -ENOMEM;
	shadow->nodes[0] = (struct shadow_node){.value = DP_LPM_NONE};
	return 0;
}

void shadow_destroy(struct shadow *shadow)
{
	free(shadow->nodes);
}

void shadow_reset(struct shadow *shadow)
{
	shadow->used = 1;
	shadow->free = 0;
	resize(shadow, INITIAL_NODES); /* or it stays as large as it is */
}

int shadow_reserve(struct shadow *shadow)
{
	uint32_t size = shadow->size + shadow->size / 4 + INITIAL_NODES;

	/* A new prefix takes two nodes, itself and a branch; the free list may have but one. */
	if (shadow->size - shadow->used >= 2)
		return 0;
	return size <= SHADOW_NODES_MAX ? resize(shadow, size) : -ENOMEM;
}

size_t shadow_bytes(const struct shadow *shadow)
{
	return lpm_round_up(shadow->size * sizeof(*shadow->nodes));
}

static uint32_t take_node(struct shadow *shadow, struct lpm_key key, unsigned len)
{
	struct lpm_key mask = lpm_key_mask(len);
	uint32_t at = shadow->free;

	if (at) {
		shadow->free = shadow->nodes[at].child[0];
	} else {
		assert(shadow->used < shadow->size);
		at = shadow->used++;
	}
	shadow->nodes[at] = (struct shadow_node){
		.key = {key.hi & mask.hi, key.lo & mask.lo},
		.value = DP_LPM_NONE,
		.len = len & 0xff,
	};
	return at;
}

static void give_node(struct shadow *shadow, uint32_t at)
{
	shadow->nodes[at].child[0] = shadow->free;
	shadow->free = at;
}

static unsigned common_bits(struct lpm_key a, struct lpm_key b)
{
	if (a.hi != b.hi)
		return (unsigned)__builtin_clzll(a.hi ^ b.hi);
	return a.lo == b.lo ? 128 : 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
}

static uint32_t find(const struct shadow *shadow, uint32_t root, struct lpm_key key, unsigned len)
{
	while (root) {
		const struct shadow_node *node = shadow_at(shadow, root);

		if (node->len > len || !lpm_key_match(node->key, key, node->len))
			return 0;
		if (node->len == len)
			return root;
		root = node->child[lpm_key_bit(key, node->len)];
	}
	return 0;
}

uint32_t shadow_get(const struct shadow *shadow, uint32_t root, struct lpm_key key, unsigned len)
{
	uint32_t at = find(shadow, root, key, len);

	return at ? shadow_at(shadow, at)->value : DP_LPM_NONE;
}

/* One prefix less on the way to the node of exactly this prefix, which is there. */
static void uncount(struct shadow *shadow, uint32_t at, struct lpm_key key, unsigned len)
{
	struct shadow_node *node;

	for (;; at = node->child[lpm_key_bit(key, node->len)]) {
		node = &shadow->nodes[at];
		assert(at && node->len <= len);
		node->count--;
		if (node->len == len)
			return;
	}
}

/* Puts a new leaf where link leads now: alone, above or beside what is there. */
static void insert(
	struct shadow *shadow, uint32_t *link, struct lpm_key key, unsigned len, uint32_t value)
{
	uint32_t old = *link;
	uint32_t leaf = take_node(shadow, key, len);
	struct shadow_node *nodes = shadow->nodes;
	unsigned common;

	nodes[leaf].value = value;
	nodes[leaf].count = 1;
	if (!old) {
		*link = leaf;
		return;
	}
	common = common_bits(nodes[old].key, key);
	if (common >= len) {
		nodes[leaf].child[lpm_key_bit(nodes[old].key, len)] = old;
		nodes[leaf].count += nodes[old].count;
		*link = leaf;
		return;
	}
	*link = take_node(shadow, key, common);
	nodes[*link].child[lpm_key_bit(key, common)] = leaf;
	nodes[*link].child[!lpm_key_bit(key, common)] = old;
	nodes[*link].count = 1 + nodes[old].count;
}

static void prefetch_near(const struct shadow_node *node)
{
	const uint8_t *line = (const uint8_t *)node;

	for (unsigned i = 1; i <= NEAR_LINES; i++)
		__builtin_prefetch(line + 64ul * i);
}

uint32_t shadow_set(
	struct shadow *shadow, uint32_t *root, struct lpm_key key, unsigned len, uint32_t value)
{
	uint32_t *link = root;
	uint32_t before;
	bool near = false;

	/* Counted on the way as if it were new, which it mostly is. */
	while (*link) {
		struct shadow_node *node = &shadow->nodes[*link];

		if (node->len >= len || !lpm_key_match(node->key, key, node->len))
			break;
		node->count++;
		if (!near && node->count <= NEAR_PREFIXES) {
			near = true;
			prefetch_near(node);
		}
		link = &node->child[lpm_key_bit(key, node->len)];
	}
	if (!*link || shadow->nodes[*link].len != len ||
		!lpm_key_match(shadow->nodes[*link].key, key, len)) {
		insert(shadow, link, key, len, value);
		return DP_LPM_NONE;
	}
	before = shadow->nodes[*link].value;
	shadow->nodes[*link].value = value;
	shadow->nodes[*link].count++;
	if (before != DP_LPM_NONE)
		uncount(shadow, *root, key, len);
	return before;
}

/* Removes a node that is neither a prefix nor a branch any more. */
static void prune(struct shadow *shadow, uint32_t *link)
{
	struct shadow_node *node = &shadow->nodes[*link];
	uint32_t at = *link;

	if (node->value != DP_LPM_NONE || (node->child[0] && node->child[1]))
		return;
	*link = node->child[0] ? node->child[0] : node->child[1];
	give_node(shadow, at);
}

void shadow_delete(struct shadow *shadow, uint32_t *root, struct lpm_key key, unsigned len)
{
	uint32_t *parent = NULL;
	uint32_t *link = root;

	uncount(shadow, *root, key, len);
	while (shadow->nodes[*link].len != len) {
		struct shadow_node *node = &shadow->nodes[*link];

		parent = link;
		link = &node->child[lpm_key_bit(key, node->len)];
	}
	shadow->nodes[*link].value = DP_LPM_NONE;
	prune(shadow, link);
	if (parent && !*link)
		prune(shadow, parent);
}

void shadow_descend(const struct shadow *shadow, uint32_t *at, uint32_t *value, struct lpm_key key,
	unsigned len)
{
	while (*at) {
		const struct shadow_node *node = shadow_at(shadow, *at);

		if (!lpm_key_match(node->key, key, node->len < len ? node->len : len)) {
			*at = 0;
			return;
		}
		if (node->len <= len && node->value != DP_LPM_NONE)
			*value = node->value;
		if (node->len >= len)
			return;
		*at = node->child[lpm_key_bit(key, node->len)];
	}
}
