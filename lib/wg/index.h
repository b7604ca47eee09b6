/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiver indices: 32 bits, of which the low LIMIT_INDEX_BITS name a slot and the rest are random.
 * The slot itself is drawn at random among the free ones, so nothing of an index can be guessed
 * from outside. The workers find a session by its slot and compare the whole index.
 *
 * One table for the whole program, owned by control. Each entry carries an owner pointer: the
 * handshake or session it stands for is looked up by control through it.
 */
#ifndef WG_INDEX_H
#define WG_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

#define WG_INDEX_NONE 0u /* never handed out */

struct wg_peer;
struct wg_index_table;

static inline uint32_t wg_index_slot(uint32_t index)
{
	return index & ((1u << LIMIT_INDEX_BITS) - 1);
}

/* Memory grows with use. random(arg, buf, len) fills buf. NULL: out of memory. */
struct wg_index_table *wg_index_table_create(
	void (*random)(void *arg, void *buf, size_t len), void *arg);
void wg_index_table_destroy(struct wg_index_table *table);

/*
 * A fresh index for this peer, or WG_INDEX_NONE: no memory, or no free slot found in a bounded
 * number of draws, which happens only when nearly all are taken.
 */
uint32_t wg_index_take(struct wg_index_table *table, struct wg_peer *peer);
/* The peer of an index that is taken (all 32 bits must match), else NULL. */
struct wg_peer *wg_index_find(const struct wg_index_table *table, uint32_t index);
/* The index stays taken but stands for no peer any more: workers may still know its session. */
void wg_index_orphan(struct wg_index_table *table, uint32_t index);
/* The index, which was taken, may be drawn again. */
void wg_index_release(struct wg_index_table *table, uint32_t index);
/* Indices taken now. */
uint32_t wg_index_count(const struct wg_index_table *table);

#endif
