/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of array positions, found by what stands there: open addressing over uint32_t, sized once
 * for at most half load, no deletion. What equality means is the caller's, through SLOTS_FOR_EACH.
 */
#ifndef UAPI_SLOTS_H
#define UAPI_SLOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/addr.h"
#include "base/bytes.h"
#include "crypto/blake2s.h"
#include "crypto/random.h"
#include "wg/constants.h"

struct slots {
	uint32_t *slot; /* position + 1; 0: free */
	uint64_t mask;
	uint8_t key[16]; /* of slots_hash_key() */
};

static inline bool slots_init(struct slots *slots, uint32_t most)
{
	uint64_t size = 16;

	while (size < 2 * (uint64_t)most)
		size *= 2;
	slots->mask = size - 1;
	random_fill(slots->key, sizeof(slots->key));
	slots->slot = calloc(size, sizeof(*slots->slot));
	return slots->slot != NULL;
}

static inline void slots_free(struct slots *slots)
{
	free(slots->slot);
	slots->slot = NULL;
}

/* Runs p through the slots where an element of this hash may be, up to the first free one. */
#define SLOTS_FOR_EACH(slots, hash, p)                                                             \
	for (uint64_t slots_at_ = (hash) & (slots)->mask;                                          \
		(p = &(slots)->slot[slots_at_], *p != 0);                                          \
		slots_at_ = (slots_at_ + 1) & (slots)->mask)

static inline uint64_t slots_mix(uint64_t a, uint64_t b)
{
	a = (a ^ 0x9e3779b97f4a7c15ull) * 0xd6e8feb86659fd93ull;
	a ^= a >> 32;
	a = (a ^ b) * 0xd6e8feb86659fd93ull;
	return a ^ a >> 29;
}

/* Keyed: peers are often added on behalf of strangers, who choose their keys. */
static inline uint64_t slots_hash_key(const struct slots *slots, const uint8_t key[WG_KEY_BYTES])
{
	uint64_t hash;

	blake2s_mac(&hash, sizeof(hash), slots->key, sizeof(slots->key), key, WG_KEY_BYTES);
	return hash;
}

/* Not keyed: prefixes are the operator's. */
static inline uint64_t slots_hash_prefix(const struct ip_prefix *prefix)
{
	uint64_t low = load_le64(prefix->addr.bytes), high = load_le64(prefix->addr.bytes + 8);

	return slots_mix(slots_mix(low, high), (uint64_t)prefix->bits << 8 | prefix->addr.family);
}

#endif
