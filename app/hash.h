/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A chained hash table of structures that embed their link. Grows to keep chains short, never
 * shrinks. Hash values are keyed with a random seed, since neighbours and routes come from outside.
 *
 * Thread: the owner's. Allocates the bucket array only; when it cannot grow, chains get longer.
 */
#ifndef APP_HASH_H
#define APP_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct hash_link {
	struct hash_link *next;
	uint64_t value;
};

struct hash {
	struct hash_link **buckets;
	uint32_t mask;
	uint32_t count;
	uint64_t seed;
};

#define HASH_FIRST_BUCKETS 64u

#define hash_entry(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* 0, or -1: out of memory. */
static inline int hash_init(struct hash *hash)
{
	memset(hash, 0, sizeof(*hash));
	hash->buckets = calloc(HASH_FIRST_BUCKETS, sizeof(*hash->buckets));
	hash->mask = HASH_FIRST_BUCKETS - 1;
	if (getrandom(&hash->seed, sizeof(hash->seed), GRND_NONBLOCK) < 0)
		hash->seed = (uintptr_t)hash->buckets;
	return hash->buckets ? 0 : -1;
}

static inline void hash_free(struct hash *hash)
{
	free(hash->buckets);
	hash->buckets = NULL;
}

/* Mixes a word into a hash value that began with the seed: multiply and fold. */
static inline uint64_t hash_mix(uint64_t value, uint64_t word)
{
	unsigned __int128 product =
		(unsigned __int128)(value ^ word) * (0x9e3779b97f4a7c15ull ^ (value << 1));

	return (uint64_t)product ^ (uint64_t)(product >> 64) ^ (value >> 7);
}

/* The chain that holds a value. */
static inline struct hash_link *hash_first(const struct hash *hash, uint64_t value)
{
	return hash->buckets[value & hash->mask];
}

static inline void hash_grow(struct hash *hash)
{
	uint32_t mask = hash->mask * 2 + 1;
	struct hash_link **buckets = calloc((size_t)mask + 1, sizeof(struct hash_link *));

	if (!buckets)
		return;
	for (uint32_t i = 0; i <= hash->mask; i++) {
		for (struct hash_link *link = hash->buckets[i], *next; link; link = next) {
			next = link->next;
			link->next = buckets[link->value & mask];
			buckets[link->value & mask] = link;
		}
	}
	free(hash->buckets);
	hash->buckets = buckets;
	hash->mask = mask;
}

static inline void hash_insert(struct hash *hash, struct hash_link *link, uint64_t value)
{
	if (hash->count > hash->mask && hash->mask < UINT32_MAX / 2)
		hash_grow(hash);
	link->value = value;
	link->next = hash->buckets[value & hash->mask];
	hash->buckets[value & hash->mask] = link;
	hash->count++;
}

static inline void hash_remove(struct hash *hash, struct hash_link *link)
{
	struct hash_link **at = &hash->buckets[link->value & hash->mask];

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	hash->count--;
}

/*
 * Walks all entries. The current one may be removed and freed, nothing else changed:
 *	for (struct hash_walk w = hash_walk_begin(&hash); (link = hash_walk_next(&w));)
 */
struct hash_walk {
	const struct hash *hash;
	uint32_t bucket;
	struct hash_link *next;
};

static inline struct hash_walk hash_walk_begin(const struct hash *hash)
{
	return (struct hash_walk){.hash = hash, .bucket = 0, .next = hash->buckets[0]};
}

static inline struct hash_link *hash_walk_next(struct hash_walk *walk)
{
	struct hash_link *link;

	while (!walk->next) {
		if (walk->bucket == walk->hash->mask)
			return NULL;
		walk->next = walk->hash->buckets[++walk->bucket];
	}
	link = walk->next;
	walk->next = link->next;
	return link;
}

#endif
