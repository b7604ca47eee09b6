/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peer ids: small numbers, unique in the program, that stand for peers in rings and tables. Created
 * and destroyed through device.h. Thread: control. Memory grows with the ids that wait for reuse.
 */
#ifndef WG_IDS_H
#define WG_IDS_H

#include <stdint.h>

struct wg_ids;

#define WG_ID_NONE UINT32_MAX

/* A free id below the limit, or WG_ID_NONE. One given back lately is not given out again soon. */
uint32_t wg_ids_take(struct wg_ids *ids);
/* Gives back an id that was taken. Never fails. */
void wg_ids_release(struct wg_ids *ids, uint32_t id);

#endif
