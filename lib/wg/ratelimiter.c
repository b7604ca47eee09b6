/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entries lie in one array, in a chain for each hash and in one list ordered by last use. A new
 * source takes an unused entry or else the one used longest ago, if that is idle: forgetting needs
 * no sweep, and a call does the same little work whatever the table holds.
 */
#include "wg/ratelimiter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/blake2s.h"
#include "crypto/wipe.h"
#include "wg/constants.h"

#define SECRET_BYTES 16
#define NO_ENTRY     UINT32_MAX

/* A bucket holds time: a message costs the time in which one more would have been earned. */
#define COST_NS (NS_PER_SEC / WG_RATE_PER_S)
#define FULL_NS (COST_NS * WG_RATE_BURST)
/* By then a bucket is full again, so that nothing is lost with the entry. */
#define IDLE_NS NS_PER_SEC
static_assert(IDLE_NS >= FULL_NS, "forgetting a source must not give it anything");

struct entry {
	uint64_t network; /* IPv4 address or first half of the IPv6 address */
	uint64_t used_ns;
	uint32_t tokens_ns;
	uint32_t chain_next;
	uint32_t newer, older;
	uint8_t family;
};

struct ratelimiter {
	uint8_t secret[SECRET_BYTES];
	uint32_t capacity, used;
	uint32_t newest, oldest;
	uint32_t chain_mask;
	uint32_t *chains;
	struct entry entries[];
};

static uint64_t network_of(const struct ip_addr *source);
static uint32_t *chain_of(struct ratelimiter *limiter, uint8_t family, uint64_t network);
static uint32_t find_entry(
	const struct ratelimiter *limiter, uint32_t head, uint8_t family, uint64_t network);
static uint32_t take_entry(struct ratelimiter *limiter, uint64_t now_ns);
static void list_remove(struct ratelimiter *limiter, uint32_t index);
static void list_push_newest(struct ratelimiter *limiter, uint32_t index);
static bool spend(struct entry *entry, uint64_t now_ns);

struct ratelimiter *ratelimiter_create(uint32_t capacity, const uint8_t secret[SECRET_BYTES])
{
	uint32_t chains = 1;
	struct ratelimiter *limiter;

	assert(capacity > 0 && capacity <= UINT32_MAX / 2);
	while (chains < capacity)
		chains *= 2;
	limiter = calloc(1, sizeof(*limiter) + capacity * sizeof(limiter->entries[0]));
	if (!limiter)
		return NULL;
	limiter->chains = malloc(chains * sizeof(limiter->chains[0]));
	if (!limiter->chains) {
		free(limiter);
		return NULL;
	}
	memcpy(limiter->secret, secret, SECRET_BYTES);
	memset(limiter->chains, 0xff, chains * sizeof(limiter->chains[0])); /* NO_ENTRY */
	limiter->capacity = capacity;
	limiter->chain_mask = chains - 1;
	limiter->newest = limiter->oldest = NO_ENTRY;
	return limiter;
}

void ratelimiter_destroy(struct ratelimiter *limiter)
{
	if (!limiter)
		return;
	wipe(limiter->secret, SECRET_BYTES);
	free(limiter->chains);
	free(limiter);
}

bool ratelimiter_allow(struct ratelimiter *limiter, const struct ip_addr *source, uint64_t now_ns)
{
	uint64_t network = network_of(source);
	uint32_t *head = chain_of(limiter, source->family, network);
	uint32_t index = find_entry(limiter, *head, source->family, network);

	if (index != NO_ENTRY) {
		list_remove(limiter, index);
	} else {
		index = take_entry(limiter, now_ns);
		if (index == NO_ENTRY)
			return false;
		limiter->entries[index] = (struct entry){.network = network,
			.used_ns = now_ns,
			.tokens_ns = FULL_NS,
			.chain_next = *head,
			.family = source->family};
		*head = index;
	}
	list_push_newest(limiter, index);
	return spend(&limiter->entries[index], now_ns);
}

/* A single host commonly has a whole IPv6 /64 to send from. */
static uint64_t network_of(const struct ip_addr *source)
{
	return source->family == IP_V4 ? load_be32(source->bytes) : load_be64(source->bytes);
}

static uint32_t *chain_of(struct ratelimiter *limiter, uint8_t family, uint64_t network)
{
	uint8_t in[9] = {family}, out[4];

	store_be64(in + 1, network);
	blake2s_mac(out, sizeof(out), limiter->secret, SECRET_BYTES, in, sizeof(in));
	return &limiter->chains[load_le32(out) & limiter->chain_mask];
}

static uint32_t find_entry(
	const struct ratelimiter *limiter, uint32_t head, uint8_t family, uint64_t network)
{
	uint32_t index = head;

	while (index != NO_ENTRY && (limiter->entries[index].network != network ||
					    limiter->entries[index].family != family))
		index = limiter->entries[index].chain_next;
	return index;
}

/* An entry in no chain and not in the list; NO_ENTRY when all are in use by somebody else. */
static uint32_t take_entry(struct ratelimiter *limiter, uint64_t now_ns)
{
	uint32_t index = limiter->oldest;
	struct entry *entry;
	uint32_t *link;

	if (limiter->used < limiter->capacity)
		return limiter->used++;
	entry = &limiter->entries[index];
	/* After a step backwards of the clock every entry is idle by this: none is kept too long.
	 */
	if (now_ns - entry->used_ns < IDLE_NS)
		return NO_ENTRY;
	link = chain_of(limiter, entry->family, entry->network);
	while (*link != index)
		link = &limiter->entries[*link].chain_next;
	*link = entry->chain_next;
	list_remove(limiter, index);
	return index;
}

static void list_remove(struct ratelimiter *limiter, uint32_t index)
{
	const struct entry *entry = &limiter->entries[index];

	if (entry->newer == NO_ENTRY)
		limiter->newest = entry->older;
	else
		limiter->entries[entry->newer].older = entry->older;
	if (entry->older == NO_ENTRY)
		limiter->oldest = entry->newer;
	else
		limiter->entries[entry->older].newer = entry->newer;
}

static void list_push_newest(struct ratelimiter *limiter, uint32_t index)
{
	struct entry *entry = &limiter->entries[index];

	entry->newer = NO_ENTRY;
	entry->older = limiter->newest;
	if (limiter->newest == NO_ENTRY)
		limiter->oldest = index;
	else
		limiter->entries[limiter->newest].newer = index;
	limiter->newest = index;
}

static bool spend(struct entry *entry, uint64_t now_ns)
{
	/* No time has passed on a clock that went backwards; from here on it counts anew. */
	uint64_t earned = now_ns > entry->used_ns ? now_ns - entry->used_ns : 0;

	if (earned >= FULL_NS - entry->tokens_ns)
		entry->tokens_ns = (uint32_t)FULL_NS;
	else
		entry->tokens_ns += (uint32_t)earned;
	entry->used_ns = now_ns;
	if (entry->tokens_ns < COST_NS)
		return false;
	entry->tokens_ns -= (uint32_t)COST_NS;
	return true;
}
