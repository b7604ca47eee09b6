/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ids never used are counted up from 0; those given back wait in a ring, the oldest first. The ring
 * grows when ids are handed out, so that giving back cannot fail.
 */
#include "wg/ids.h"

#include <assert.h>
#include <stdlib.h>

#include "wg/device.h"

/*
 * Ids that wait before one is used again: a packet still on its way in some ring must not find
 * another peer under its id.
 */
#define IDS_RESTING    256
#define IDS_FIRST_RING 512

struct wg_ids {
	uint32_t limit;
	uint32_t fresh; /* the smallest id never used */
	uint32_t *ring; /* of ring_size, a power of two that is at least fresh */
	uint32_t ring_size;
	uint32_t oldest, resting;
};

static bool grow(struct wg_ids *ids);

struct wg_ids *wg_ids_create(uint32_t limit)
{
	struct wg_ids *ids = calloc(1, sizeof(*ids));

	assert(limit > 0 && limit <= 1u << 31);
	if (!ids)
		return NULL;
	ids->limit = limit;
	return ids;
}

void wg_ids_destroy(struct wg_ids *ids)
{
	if (!ids)
		return;
	free(ids->ring);
	free(ids);
}

uint32_t wg_ids_take(struct wg_ids *ids)
{
	bool fresh = ids->fresh < ids->limit && ids->resting < IDS_RESTING;
	uint32_t id;

	if (fresh && (ids->fresh < ids->ring_size || grow(ids)))
		return ids->fresh++;
	if (ids->resting == 0)
		return WG_ID_NONE;
	id = ids->ring[ids->oldest];
	ids->oldest = (ids->oldest + 1) & (ids->ring_size - 1);
	ids->resting--;
	return id;
}

void wg_ids_release(struct wg_ids *ids, uint32_t id)
{
	assert(id < ids->fresh && ids->resting < ids->fresh);
	ids->ring[(ids->oldest + ids->resting) & (ids->ring_size - 1)] = id;
	ids->resting++;
}

static bool grow(struct wg_ids *ids)
{
	uint32_t size = ids->ring_size ? ids->ring_size * 2 : IDS_FIRST_RING;
	uint32_t *ring = malloc(size * sizeof(*ring));

	if (!ring)
		return false;
	for (uint32_t i = 0; i < ids->resting; i++)
		ring[i] = ids->ring[(ids->oldest + i) & (ids->ring_size - 1)];
	free(ids->ring);
	ids->ring = ring;
	ids->ring_size = size;
	ids->oldest = 0;
	return true;
}
