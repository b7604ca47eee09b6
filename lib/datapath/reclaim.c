/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring of retired objects, each with the grace-period token it waits for. Tokens only grow. */
#include "datapath/reclaim.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <rte_rcu_qsbr.h>

#define INITIAL_ENTRIES 64 /* a power of two */

struct entry {
	uint64_t token;
	dp_reclaim_fn release;
	void *arg;
	void *object;
};

struct dp_reclaim {
	struct rte_rcu_qsbr *qsbr;
	struct entry *entries;
	size_t size; /* a power of two */
	size_t head; /* the oldest; grows for ever, as tail does */
	size_t tail;
};

struct dp_reclaim *dp_reclaim_create(struct rte_rcu_qsbr *qsbr)
{
	struct dp_reclaim *reclaim = calloc(1, sizeof(*reclaim));

	if (!reclaim)
		return NULL;
	reclaim->qsbr = qsbr;
	reclaim->size = INITIAL_ENTRIES;
	reclaim->entries = malloc(reclaim->size * sizeof(*reclaim->entries));
	if (!reclaim->entries) {
		free(reclaim);
		return NULL;
	}
	return reclaim;
}

void dp_reclaim_destroy(struct dp_reclaim *reclaim)
{
	if (!reclaim)
		return;
	assert(dp_reclaim_pending(reclaim) == 0);
	free(reclaim->entries);
	free(reclaim);
}

size_t dp_reclaim_pending(const struct dp_reclaim *reclaim)
{
	return reclaim->tail - reclaim->head;
}

static struct entry *entry_at(const struct dp_reclaim *reclaim, size_t position)
{
	return &reclaim->entries[position & (reclaim->size - 1)];
}

int dp_reclaim_reserve(struct dp_reclaim *reclaim, unsigned n)
{
	size_t pending = dp_reclaim_pending(reclaim);
	size_t size = reclaim->size;
	struct entry *entries;

	if (pending + n <= size)
		return 0;
	while (size < pending + n)
		size *= 2;
	entries = malloc(size * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < pending; i++)
		entries[i] = *entry_at(reclaim, reclaim->head + i);
	free(reclaim->entries);
	reclaim->entries = entries;
	reclaim->size = size;
	reclaim->head = 0;
	reclaim->tail = pending;
	return 0;
}

int dp_reclaim_retire(struct dp_reclaim *reclaim, dp_reclaim_fn release, void *arg, void *object)
{
	if (dp_reclaim_reserve(reclaim, 1))
		return -ENOMEM;
	*entry_at(reclaim, reclaim->tail++) = (struct entry){
		.token = rte_rcu_qsbr_start(reclaim->qsbr),
		.release = release,
		.arg = arg,
		.object = object,
	};
	return 0;
}

static void release_oldest(struct dp_reclaim *reclaim)
{
	/* Taken out first: release may retire more, which may move the ring. */
	struct entry entry = *entry_at(reclaim, reclaim->head++);

	entry.release(entry.arg, entry.object);
}

unsigned dp_reclaim_poll(struct dp_reclaim *reclaim, unsigned max)
{
	unsigned released = 0;

	while (released < max && dp_reclaim_pending(reclaim) > 0 &&
		rte_rcu_qsbr_check(reclaim->qsbr, entry_at(reclaim, reclaim->head)->token, false) ==
			1) {
		release_oldest(reclaim);
		released++;
	}
	return released;
}

void dp_reclaim_drain(struct dp_reclaim *reclaim)
{
	while (dp_reclaim_pending(reclaim) > 0)
		release_oldest(reclaim);
}
