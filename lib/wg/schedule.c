/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/schedule.h"

#include <assert.h>
#include <string.h>

#include "wg/peer.h"

#define SCHEDULE_FIRST_ROOM 64u

static void sift_up(struct schedule *schedule, uint32_t i);
static void sift_down(struct schedule *schedule, uint32_t i);

bool schedule_reserve(struct schedule *schedule, const struct wg_env *env, uint32_t peers)
{
	uint32_t room = schedule->room ? schedule->room : SCHEDULE_FIRST_ROOM;
	struct wg_peer **heap;

	if (peers <= schedule->room)
		return true;
	while (room < peers)
		room *= 2;
	heap = env->alloc(env->arg, room * sizeof(struct wg_peer *));
	if (!heap)
		return false;
	if (schedule->heap) {
		memcpy(heap, schedule->heap, schedule->count * sizeof(struct wg_peer *));
		env->free(env->arg, schedule->heap);
	}
	schedule->heap = heap;
	schedule->room = room;
	return true;
}

void schedule_free(struct schedule *schedule, const struct wg_env *env)
{
	if (schedule->heap)
		env->free(env->arg, schedule->heap);
	*schedule = (struct schedule){0};
}

static void place(struct schedule *schedule, uint32_t i, struct wg_peer *peer)
{
	schedule->heap[i] = peer;
	peer->schedule_place = i + 1;
}

void schedule_set(struct schedule *schedule, struct wg_peer *peer, uint64_t deadline_ns)
{
	uint32_t i = peer->schedule_place;

	if (i == 0) {
		if (deadline_ns == UINT64_MAX)
			return;
		assert(schedule->count < schedule->room);
		peer->deadline_ns = deadline_ns;
		place(schedule, schedule->count++, peer);
		sift_up(schedule, schedule->count - 1);
		return;
	}
	i--;
	if (deadline_ns == UINT64_MAX) {
		struct wg_peer *last = schedule->heap[--schedule->count];

		peer->schedule_place = 0;
		if (last == peer)
			return;
		place(schedule, i, last);
	} else {
		peer->deadline_ns = deadline_ns;
	}
	sift_up(schedule, i);
	sift_down(schedule, i);
}

uint64_t schedule_earliest(const struct schedule *schedule)
{
	return schedule->count ? schedule->heap[0]->deadline_ns : UINT64_MAX;
}

struct wg_peer *schedule_first(const struct schedule *schedule)
{
	return schedule->count ? schedule->heap[0] : NULL;
}

static void sift_up(struct schedule *schedule, uint32_t i)
{
	struct wg_peer *peer = schedule->heap[i];

	while (i > 0 && peer->deadline_ns < schedule->heap[(i - 1) / 2]->deadline_ns) {
		place(schedule, i, schedule->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(schedule, i, peer);
}

static void sift_down(struct schedule *schedule, uint32_t i)
{
	struct wg_peer *peer = schedule->heap[i];

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child + 1 < schedule->count &&
			schedule->heap[child + 1]->deadline_ns < schedule->heap[child]->deadline_ns)
			child++;
		if (child >= schedule->count ||
			schedule->heap[child]->deadline_ns >= peer->deadline_ns)
			break;
		place(schedule, i, schedule->heap[child]);
		i = child;
	}
	place(schedule, i, peer);
}
