/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers by their next deadline: a binary heap in which each peer knows its place, so that a
 * deadline is changed or taken out in O(log n). A peer without a deadline is not in it and costs
 * nothing. Thread: control. Room is made when a peer is created, so that setting cannot fail.
 */
#ifndef WG_SCHEDULE_H
#define WG_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct wg_env;
struct wg_peer;

struct schedule {
	struct wg_peer **heap;
	uint32_t count, room;
};

/* Makes room for so many peers; false without memory. */
bool schedule_reserve(struct schedule *schedule, const struct wg_env *env, uint32_t peers);
void schedule_free(struct schedule *schedule, const struct wg_env *env);

/* Sets peer's deadline; UINT64_MAX takes it out. */
void schedule_set(struct schedule *schedule, struct wg_peer *peer, uint64_t deadline_ns);
/* The earliest deadline and its peer; UINT64_MAX and NULL when there is none. */
uint64_t schedule_earliest(const struct schedule *schedule);
struct wg_peer *schedule_first(const struct schedule *schedule);

#endif
