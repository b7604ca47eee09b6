/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writer's side of the prefix table. Thread: control.
 *
 * A change goes into the shadow first and is then carried over to what the readers see
 * (lpm_node.h): where only answers change, by stores in place; where the shape does, by building a
 * word anew from the shadow, storing it, and retiring what hung on the old one.
 */
#include "datapath/lpm.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "datapath/lpm_memory.h"
#include "datapath/lpm_node.h"
#include "datapath/reclaim.h"

/*
 * Buckets take LPM_ALIGN bytes or two, four, eight times that, so that none crosses more cache
 * lines than it must. The largest come from chunks, the others are halves of larger ones.
 */
#define BUCKET_SIZES	 4
#define BUCKET_BYTES_MAX (LPM_ALIGN << (BUCKET_SIZES - 1))
#define CHUNK_MIN	 2048

static_assert(offsetof(union lpm_bucket, v4.entries[LPM_BUCKET_MAX]) == 64, "a cache line");
static_assert(offsetof(union lpm_bucket, v6.entries[LPM_BUCKET_MAX]) == 128, "two of them");
static_assert(BUCKET_BYTES_MAX == 128, "the largest bucket");

/* A node may be so much larger than its content: words for each one that holds something. */
#define WORDS_PER_USED 8
/* And stops growing where only one in so many prefixes still shares its word with others. */
#define SHARED_PART 16

/* Words ahead of the one that is freed, whose buckets are fetched meanwhile. */
#define FREE_AHEAD 8

struct chunk {
	struct chunk *next;
	size_t bytes;
};

struct free_bucket {
	struct free_bucket *next;
};

struct dp_lpm {
	struct lpm_tables tables;
	struct shadow shadow;
	struct dp_reclaim *reclaim;

	struct chunk *chunks;
	uint8_t *chunk_at, *chunk_end; /* of the newest chunk: what was not given out yet */
	struct free_bucket *free[BUCKET_SIZES];
	size_t buckets; /* in use, with what waits to be reclaimed */
	size_t bytes;	/* of nodes and chunks */

	size_t retired; /* words that wait */
	bool destroyed; /* and with the last of them the table goes */
};

static_assert(offsetof(struct dp_lpm, tables) == 0, "the readers' part stands first");

static int carry_over(struct dp_lpm *lpm, struct lpm_table *table, struct lpm_key key, unsigned len,
	bool reshape);

/* ---- the interface ---- */

struct prefix {
	struct lpm_table *table;
	struct lpm_key key;
	unsigned len;
};

static struct prefix read_prefix(struct dp_lpm *lpm, const struct ip_prefix *prefix)
{
	const uint8_t *bytes = prefix->addr.bytes;

	assert(prefix->bits <= ip_family_bits(prefix->addr.family));
	if (prefix->addr.family == IP_V4)
		return (struct prefix){
			&lpm->tables.v4, {(uint64_t)load_be32(bytes) << 32, 0}, prefix->bits};
	return (struct prefix){
		&lpm->tables.v6, {load_be64(bytes), load_be64(bytes + 8)}, prefix->bits};
}

/* Fetches the first word on the way down while the shadow is being changed. */
static void prefetch_word(const struct lpm_table *table, struct lpm_key key)
{
	const struct lpm_node *node = lpm_node_of(table->word);

	if (lpm_tag(table->word) >= LPM_NODE)
		__builtin_prefetch(&node->words[lpm_index(table->word, key)], 1);
}

int dp_lpm_set(struct dp_lpm *lpm, const struct ip_prefix *prefix, uint32_t value)
{
	struct prefix p = read_prefix(lpm, prefix);
	uint32_t before;
	int error;

	assert(value != DP_LPM_NONE);
	/* A prefix that is known takes no memory: its old value must not stay for want of some. */
	if ((shadow_reserve(&lpm->shadow) != 0 ||
		    (lpm->reclaim && dp_reclaim_reserve(lpm->reclaim, 1) != 0)) &&
		shadow_get(&lpm->shadow, *p.table->root, p.key, p.len) == DP_LPM_NONE)
		return -ENOMEM;
	prefetch_word(p.table, p.key);
	before = shadow_set(&lpm->shadow, p.table->root, p.key, p.len, value);
	if (before == value)
		return 0;
	error = carry_over(lpm, p.table, p.key, p.len, before == DP_LPM_NONE);
	if (error && before == DP_LPM_NONE)
		shadow_delete(&lpm->shadow, p.table->root, p.key, p.len);
	return error;
}

int dp_lpm_delete(struct dp_lpm *lpm, const struct ip_prefix *prefix)
{
	struct prefix p = read_prefix(lpm, prefix);

	if (shadow_get(&lpm->shadow, *p.table->root, p.key, p.len) == DP_LPM_NONE)
		return -ENOENT;
	shadow_delete(&lpm->shadow, p.table->root, p.key, p.len);
	/* Without memory for a smaller shape the old one stays and learns the new answers. */
	if ((lpm->reclaim && dp_reclaim_reserve(lpm->reclaim, 1) != 0) ||
		carry_over(lpm, p.table, p.key, p.len, true) != 0)
		carry_over(lpm, p.table, p.key, p.len, false);
	if (dp_lpm_count(lpm) == 0)
		shadow_reset(&lpm->shadow);
	return 0;
}

uint32_t dp_lpm_get(const struct dp_lpm *lpm, const struct ip_prefix *prefix)
{
	struct prefix p = read_prefix((struct dp_lpm *)lpm, prefix);

	return shadow_get(&lpm->shadow, *p.table->root, p.key, p.len);
}

size_t dp_lpm_count(const struct dp_lpm *lpm)
{
	uint32_t v4 = *lpm->tables.v4.root, v6 = *lpm->tables.v6.root;

	return (v4 ? shadow_at(&lpm->shadow, v4)->count : 0) +
	       (v6 ? shadow_at(&lpm->shadow, v6)->count : 0);
}

size_t dp_lpm_bytes(const struct dp_lpm *lpm)
{
	return sizeof(*lpm) + lpm->bytes + shadow_bytes(&lpm->shadow);
}

/* ---- memory ---- */

static void free_chunks(struct dp_lpm *lpm)
{
	while (lpm->chunks) {
		struct chunk *chunk = lpm->chunks;

		lpm->chunks = chunk->next;
		lpm->bytes -= chunk->bytes;
		free(chunk);
	}
	memset(lpm->free, 0, sizeof(lpm->free));
	lpm->chunk_at = lpm->chunk_end = NULL;
}

/* Each chunk is as large as all before it, up to a huge page. */
static bool add_chunk(struct dp_lpm *lpm)
{
	size_t bytes = lpm->chunks ? 2 * lpm->chunks->bytes : CHUNK_MIN;
	struct chunk *chunk;

	if (bytes > LPM_HUGE_BYTES)
		bytes = LPM_HUGE_BYTES;
	chunk = lpm_allocate(bytes);
	if (!chunk)
		return false;
	chunk->next = lpm->chunks;
	chunk->bytes = bytes;
	lpm->chunks = chunk;
	lpm->bytes += bytes;
	lpm->chunk_at = (uint8_t *)chunk + BUCKET_BYTES_MAX;
	lpm->chunk_end = (uint8_t *)chunk + bytes;
	return true;
}

/* Which of the sizes a bucket of n entries has. */
static unsigned bucket_size(unsigned n, bool v6)
{
	size_t bytes = v6 ? offsetof(union lpm_bucket, v6.entries[n])
			  : offsetof(union lpm_bucket, v4.entries[n]);
	unsigned size = 0;

	while ((size_t)LPM_ALIGN << size < bytes)
		size++;
	return size;
}

static void put_bucket(struct dp_lpm *lpm, unsigned size, void *bucket)
{
	struct free_bucket *freed = bucket;

	freed->next = lpm->free[size];
	lpm->free[size] = freed;
}

static void *take_bucket(struct dp_lpm *lpm, unsigned size)
{
	struct free_bucket *bucket = lpm->free[size];

	if (bucket) {
		lpm->free[size] = bucket->next;
	} else if (size < BUCKET_SIZES - 1) {
		bucket = take_bucket(lpm, size + 1);
		if (bucket)
			put_bucket(lpm, size, (uint8_t *)bucket + ((size_t)LPM_ALIGN << size));
	} else if (lpm->chunk_at < lpm->chunk_end || add_chunk(lpm)) {
		bucket = (struct free_bucket *)lpm->chunk_at;
		lpm->chunk_at += BUCKET_BYTES_MAX;
	}
	return bucket;
}

static void free_bucket(struct dp_lpm *lpm, uint64_t word)
{
	unsigned size = bucket_size(lpm_bucket_entries(word), word & LPM_BUCKET_V6);

	put_bucket(lpm, size, lpm_bucket_of(word));
	if (--lpm->buckets == 0)
		free_chunks(lpm);
}

static size_t node_bytes(unsigned bits)
{
	return lpm_round_up(sizeof(struct lpm_node) + (sizeof(uint64_t) << bits));
}

/* Frees what hangs on a word that no reader can reach. */
static void free_word(struct dp_lpm *lpm, uint64_t word)
{
	if (lpm_tag(word) == LPM_BUCKET) {
		free_bucket(lpm, word);
	} else if (lpm_tag(word) >= LPM_NODE) {
		struct lpm_node *node = lpm_node_of(word);
		size_t n = (size_t)1 << node->bits;

		for (size_t i = 0; i < n; i++) {
			__builtin_prefetch(lpm_bucket_of(node->words[(i + FREE_AHEAD) % n]), 1);
			free_word(lpm, node->words[i]);
		}
		lpm->bytes -= node_bytes(node->bits);
		free(node);
	}
}

static void free_table(struct dp_lpm *lpm)
{
	free_chunks(lpm);
	shadow_destroy(&lpm->shadow);
	free(lpm);
}

static void release_word(void *arg, void *object)
{
	struct dp_lpm *lpm = arg;

	free_word(lpm, (uintptr_t)object);
	if (--lpm->retired == 0 && lpm->destroyed)
		free_table(lpm);
}

/* Stores a new word; what hung on the old one goes when the readers have left it. */
static void replace_word(struct dp_lpm *lpm, uint64_t *at, uint64_t word)
{
	uint64_t old = *at;

	__atomic_store_n(at, word, __ATOMIC_RELEASE);
	if (lpm_tag(old) == LPM_VALUE)
		return;
	if (!lpm->reclaim) {
		free_word(lpm, old);
		return;
	}
	int error = dp_reclaim_retire(lpm->reclaim, release_word, lpm, (void *)(uintptr_t)old);
	assert(error == 0); /* room was reserved */
	(void)error;
	lpm->retired++;
}

struct dp_lpm *dp_lpm_create(struct dp_reclaim *reclaim)
{
	struct dp_lpm *lpm = calloc(1, sizeof(*lpm));

	if (!lpm)
		return NULL;
	lpm->reclaim = reclaim;
	lpm->tables.v4 =
		(struct lpm_table){lpm_word_of_value(DP_LPM_NONE), &lpm->shadow.roots[0], 32};
	lpm->tables.v6 =
		(struct lpm_table){lpm_word_of_value(DP_LPM_NONE), &lpm->shadow.roots[1], 128};
	if (shadow_init(&lpm->shadow) != 0) {
		free(lpm);
		return NULL;
	}
	return lpm;
}

void dp_lpm_destroy(struct dp_lpm *lpm)
{
	if (!lpm)
		return;
	free_word(lpm, lpm->tables.v4.word);
	free_word(lpm, lpm->tables.v6.word);
	lpm->destroyed = true;
	if (lpm->retired == 0)
		free_table(lpm);
}

/* ---- building from the shadow ---- */

static int build_word(struct dp_lpm *lpm, const struct lpm_table *table, unsigned len, uint32_t at,
	uint32_t miss, uint64_t *word);

/* Prefixes in the subtree that are longer than len; the subtree's root is at least that long. */
static uint32_t count_inside(const struct shadow *shadow, uint32_t at, unsigned len)
{
	const struct shadow_node *node = shadow_at(shadow, at);

	if (!at)
		return 0;
	return node->count - (node->len == len && node->value != DP_LPM_NONE);
}

static void write_entry(uint64_t word, unsigned i, const struct shadow_node *node)
{
	union lpm_bucket *bucket = lpm_bucket_of(word);

	if (word & LPM_BUCKET_V6)
		bucket->v6.entries[i] = (struct lpm_entry6){node->key, node->value, node->len};
	else
		bucket->v4.entries[i] = (struct lpm_entry4){
			(uint32_t)(node->key.hi >> 32),
			(uint32_t)(lpm_key_mask(node->len).hi >> 32),
			node->value,
		};
}

/* Adds the prefixes longer than len to the word's bucket of n entries so far, inner ones first. */
static unsigned collect(
	const struct shadow *shadow, uint32_t at, unsigned len, uint64_t word, unsigned n)
{
	const struct shadow_node *node = shadow_at(shadow, at);

	if (!at)
		return n;
	n = collect(shadow, node->child[0], len, word, n);
	n = collect(shadow, node->child[1], len, word, n);
	if (node->value != DP_LPM_NONE && node->len > len)
		write_entry(word, n++, node);
	return n;
}

static int build_bucket(struct dp_lpm *lpm, const struct lpm_table *table, unsigned len,
	uint32_t at, uint32_t miss, uint64_t *word)
{
	bool v6 = table->address_bits == 128;
	unsigned n = count_inside(&lpm->shadow, at, len);
	union lpm_bucket *bucket = take_bucket(lpm, bucket_size(n, v6));

	if (!bucket)
		return -ENOMEM;
	lpm->buckets++;
	bucket->miss = miss;
	*word = lpm_word_of_bucket(bucket, n, v6);
	collect(&lpm->shadow, at, len, *word, 0);
	return 0;
}

/* What a node at pos would hold, by its number of bits. */
struct census {
	uint32_t branches[LPM_BITS_MAX + 1]; /* that lie at so many bits behind pos */
	uint32_t ends[LPM_BITS_MAX + 1];     /* prefixes that end there */
};

static void take_census(
	const struct shadow *shadow, uint32_t at, unsigned pos, unsigned max, struct census *census)
{
	const struct shadow_node *node = shadow_at(shadow, at);

	if (!at || node->len > pos + max)
		return;
	census->branches[node->len - pos] += node->child[0] && node->child[1];
	census->ends[node->len - pos] += node->value != DP_LPM_NONE;
	take_census(shadow, node->child[0], pos, max, census);
	take_census(shadow, node->child[1], pos, max, census);
}

/*
 * How many bits a node for the subtree takes: the fewest with which nearly every prefix has a word
 * of its own, among those that its content fills well enough; else the most of these.
 */
static unsigned choose_bits(const struct shadow *shadow, const struct lpm_table *table, uint32_t at)
{
	const struct shadow_node *top = shadow_at(shadow, at);
	unsigned max = table->address_bits - top->len;
	uint32_t used = 1, ended = 0;
	struct census census = {0};
	unsigned best = 1;

	if (max > LPM_BITS_MAX)
		max = LPM_BITS_MAX;
	if (max > 64u - (top->len & 63))
		max = 64u - (top->len & 63);
	take_census(shadow, at, top->len, max, &census);
	ended = census.ends[0];
	for (unsigned bits = 1; bits <= max; bits++) {
		used += census.branches[bits - 1];
		ended += census.ends[bits];
		if ((uint64_t)1 << bits > (uint64_t)WORDS_PER_USED * used)
			continue;
		best = bits;
		if (top->count - ended <= used + top->count / SHARED_PART)
			break;
	}
	return best;
}

/*
 * Fills n words from the first on, which stand for the range of the first len bits; at is the
 * shadow's subtree there and miss the answer outside its prefixes.
 */
static int fill_words(struct dp_lpm *lpm, const struct lpm_table *table, uint64_t *words,
	unsigned n_bits, unsigned len, uint32_t at, uint32_t miss)
{
	const struct shadow_node *node = shadow_at(&lpm->shadow, at);
	uint32_t half[2] = {0, 0};
	int error;

	if (!at) {
		for (size_t i = 0; i < (size_t)1 << n_bits; i++)
			words[i] = lpm_word_of_value(miss);
		return 0;
	}
	if (n_bits == 0)
		return build_word(lpm, table, len, at, miss, words);
	if (node->len > len) {
		half[lpm_key_bit(node->key, len)] = at;
	} else {
		half[0] = node->child[0];
		half[1] = node->child[1];
		if (node->value != DP_LPM_NONE)
			miss = node->value;
	}
	n_bits--;
	error = fill_words(lpm, table, words, n_bits, len + 1, half[0], miss);
	if (error)
		return error;
	return fill_words(
		lpm, table, words + ((size_t)1 << n_bits), n_bits, len + 1, half[1], miss);
}

static int build_node(struct dp_lpm *lpm, const struct lpm_table *table, unsigned len, uint32_t at,
	uint32_t miss, uint64_t *word)
{
	const struct shadow_node *top = shadow_at(&lpm->shadow, at);
	unsigned bits = choose_bits(&lpm->shadow, table, at);
	struct lpm_node *node = lpm_allocate(node_bytes(bits));
	uint64_t built;
	int error;

	if (!node)
		return -ENOMEM;
	lpm->bytes += node_bytes(bits);
	node->key = top->key;
	node->mask = lpm_key_mask(top->len);
	node->miss = lpm_word_of_value(miss);
	node->built = top->count;
	node->pos = top->len;
	node->bits = (uint8_t)bits;
	/* Words of value 0 hang on nothing: what was built can be freed at any time. */
	memset(node->words, 0, sizeof(uint64_t) << bits);
	built = lpm_word_of_node(node, top->len > len);
	error = fill_words(lpm, table, node->words, bits, top->len, at, miss);
	if (error)
		free_word(lpm, built);
	else
		*word = built;
	return error;
}

/*
 * Builds the word for the range of the first len bits: at is the shadow's subtree there, miss the
 * answer outside its prefixes. 0 or -ENOMEM.
 */
static int build_word(struct dp_lpm *lpm, const struct lpm_table *table, unsigned len, uint32_t at,
	uint32_t miss, uint64_t *word)
{
	const struct shadow_node *node = shadow_at(&lpm->shadow, at);
	uint32_t inside = count_inside(&lpm->shadow, at, len);

	if (at && node->len == len && node->value != DP_LPM_NONE) {
		miss = node->value;
		/* A prefix that is the range itself ends here; go on below it, unless it forks. */
		if (!node->child[0] || !node->child[1])
			at = node->child[0] ? node->child[0] : node->child[1];
	}
	if (inside == 0) {
		*word = lpm_word_of_value(miss);
		return 0;
	}
	if (inside <= LPM_BUCKET_MAX)
		return build_bucket(lpm, table, len, at, miss, word);
	return build_node(lpm, table, len, at, miss, word);
}

/* ---- new answers in the old shape ---- */

static void refresh_word(struct dp_lpm *lpm, uint64_t *word, uint32_t at, uint32_t miss);

static void store_value(uint32_t *place, uint32_t value)
{
	if (*place != value)
		__atomic_store_n(place, value, __ATOMIC_RELAXED);
}

static void store_word(uint64_t *place, uint64_t word)
{
	if (*place != word)
		__atomic_store_n(place, word, __ATOMIC_RELEASE);
}

/* Whether the range of the first len bits is a prefix of its own. */
static bool is_prefix(const struct shadow *shadow, uint32_t at, unsigned len)
{
	const struct shadow_node *node = shadow_at(shadow, at);

	return at && node->len == len && node->value != DP_LPM_NONE;
}

/*
 * Brings n words up to date, from the first on, which stand for the range of the first len bits: at
 * is the shadow's subtree there, miss the answer outside its prefixes.
 */
static void refresh_words(struct dp_lpm *lpm, uint64_t *words, unsigned n_bits, unsigned len,
	uint32_t at, uint32_t miss)
{
	const struct shadow_node *node = shadow_at(&lpm->shadow, at);
	uint32_t half[2] = {0, 0};

	if (!at || n_bits == 0) {
		for (size_t i = 0; i < (size_t)1 << n_bits; i++)
			refresh_word(lpm, &words[i], at, miss);
		return;
	}
	if (node->len > len) {
		half[lpm_key_bit(node->key, len)] = at;
	} else {
		half[0] = node->child[0];
		half[1] = node->child[1];
	}
	n_bits--;
	len++;
	/* A prefix in between keeps its answers. */
	if (!is_prefix(&lpm->shadow, half[0], len))
		refresh_words(lpm, words, n_bits, len, half[0], miss);
	if (!is_prefix(&lpm->shadow, half[1], len))
		refresh_words(lpm, words + ((size_t)1 << n_bits), n_bits, len, half[1], miss);
}

struct entry {
	struct lpm_key key;
	unsigned len;
	uint32_t *value;
};

static struct entry read_entry(uint64_t word, unsigned i)
{
	union lpm_bucket *bucket = lpm_bucket_of(word);
	struct lpm_entry4 *v4 = &bucket->v4.entries[i];
	struct lpm_entry6 *v6 = &bucket->v6.entries[i];

	if (word & LPM_BUCKET_V6)
		return (struct entry){v6->key, v6->len, &v6->value};
	return (struct entry){
		{(uint64_t)v4->key << 32, 0}, (unsigned)__builtin_popcount(v4->mask), &v4->value};
}

/* Brings a bucket up to date, in which a prefix has changed. */
static void refresh_bucket(struct dp_lpm *lpm, uint64_t *word, uint32_t at, uint32_t miss)
{
	uint64_t stale = 0;

	store_value(&lpm_bucket_of(*word)->miss, miss);
	for (unsigned i = 0; i < lpm_bucket_entries(*word); i++) {
		struct entry entry = read_entry(*word, i);
		uint32_t below = at, value = miss;

		shadow_descend(&lpm->shadow, &below, &value, entry.key, entry.len);
		store_value(entry.value, value);
		/* One that is no prefix any more answers as its surroundings do. */
		if (!is_prefix(&lpm->shadow, below, entry.len))
			stale = LPM_BUCKET_STALE;
	}
	store_word(word, (*word & ~LPM_BUCKET_STALE) | stale);
}

/*
 * Brings the answers below a word up to date, where the answer around its prefixes has become miss:
 * at is the shadow's subtree of its range.
 */
static void refresh_word(struct dp_lpm *lpm, uint64_t *word, uint32_t at, uint32_t miss)
{
	if (lpm_tag(*word) == LPM_VALUE) {
		store_word(word, lpm_word_of_value(miss));
	} else if (lpm_tag(*word) == LPM_BUCKET) {
		store_value(&lpm_bucket_of(*word)->miss, miss);
		if (*word & LPM_BUCKET_STALE)
			refresh_bucket(lpm, word, at, miss);
	} else {
		struct lpm_node *node = lpm_node_of(*word);

		store_word(&node->miss, lpm_word_of_value(miss));
		shadow_descend(&lpm->shadow, &at, &miss, node->key, node->pos);
		refresh_words(lpm, node->words, node->bits, node->pos, at, miss);
	}
}

/* ---- carrying a change over ---- */

/* A node is built anew when its content has doubled, or has nearly gone. */
static bool outgrown(const struct lpm_node *node, uint32_t inside)
{
	return inside > 2 * node->built + LPM_BUCKET_MAX || inside < node->built / 8 ||
	       inside < LPM_BUCKET_MAX / 2;
}

static int rebuild(struct dp_lpm *lpm, const struct lpm_table *table, uint64_t *word, unsigned len,
	uint32_t at, uint32_t miss)
{
	uint64_t built;
	int error = build_word(lpm, table, len, at, miss, &built);

	if (error == 0)
		replace_word(lpm, word, built);
	return error;
}

/*
 * Brings what the readers see in line with the shadow, in which the prefix has changed. Descends
 * to the word that stands for the smallest range around the prefix. reshape: the prefix came or
 * went; otherwise nothing is allocated. 0 or -ENOMEM: then nothing has changed.
 */
static int carry_over(
	struct dp_lpm *lpm, struct lpm_table *table, struct lpm_key key, unsigned len, bool reshape)
{
	uint64_t *word = &table->word;
	uint32_t miss = DP_LPM_NONE;
	uint32_t at = *table->root;
	unsigned range = 0; /* length of the word's */

	for (;;) {
		struct lpm_node *node = lpm_node_of(*word);
		bool is_node = lpm_tag(*word) >= LPM_NODE;

		__builtin_prefetch(lpm_bucket_of(*word), 1);
		shadow_descend(&lpm->shadow, &at, &miss, key, range);
		if (len == range) { /* of the root only */
			refresh_word(lpm, word, at, miss);
			return 0;
		}
		if (reshape) {
			bool beside = is_node && (len < node->pos ||
							 !lpm_key_match(key, node->key, node->pos));
			bool must = !is_node || beside;

			if (must || outgrown(node, count_inside(&lpm->shadow, at, range))) {
				int error = rebuild(lpm, table, word, range, at, miss);

				if (must || error == 0)
					return error;
			}
		}
		if (!is_node) {
			assert(lpm_tag(*word) == LPM_BUCKET);
			refresh_bucket(lpm, word, at, miss);
			return 0;
		}
		assert(len >= node->pos && lpm_key_match(key, node->key, node->pos));
		range = node->pos + node->bits;
		if (len <= range) {
			size_t first = lpm_index(*word, key);

			shadow_descend(&lpm->shadow, &at, &miss, key, len);
			refresh_words(lpm, &node->words[first], range - len, len, at, miss);
			return 0;
		}
		word = &node->words[lpm_index(*word, key)];
	}
}
