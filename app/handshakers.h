/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake lcores: they do the cryptography of handshakes that control hands out
 * (WG_ACT_COMPUTE of wg/device.h), so that control can go on. They have no state but what is in a
 * piece of work, sleep while there is none, and wake control when one is done.
 *
 * Thread: control, all functions but handshakers_run().
 */
#ifndef APP_HANDSHAKERS_H
#define APP_HANDSHAKERS_H

#include <stdbool.h>
#include <stdint.h>

struct handshaker;
struct handshakers;
struct wg_work;

/* EAL must be up; count: of lcores, at most LIMIT_HANDSHAKE_LCORES. 0 or a negative errno. One at a
 * time in a process. */
int handshakers_create(unsigned count, struct handshakers **out);
/* None runs any more, and nothing is left to take. NULL: nothing. */
void handshakers_destroy(struct handshakers *handshakers);

/* The one at i (below the count), EAL's lcore_id: for handshakers_run(), once. */
struct handshaker *handshakers_lcore(
	struct handshakers *handshakers, unsigned i, unsigned lcore_id);
/* A handshake lcore's main function, for rte_eal_remote_launch(); returns 0 after the end. */
int handshakers_run(void *handshaker);
/* They return, as soon as what they are at is done. */
void handshakers_end(struct handshakers *handshakers);

/* False when LIMIT_HANDSHAKE_WORKS of them are under way, or there is no place in the ring to the
 * lcores: then it stays the caller's. */
bool handshakers_submit(struct handshakers *handshakers, struct wg_work *work, void *owner);
/* The next piece that was done; false when there is none. */
bool handshakers_take(struct handshakers *handshakers, struct wg_work **work, void **owner);
/* After the end: also those that were not. */
bool handshakers_take_undone(struct handshakers *handshakers, struct wg_work **work, void **owner);

/* How many were submitted and not taken. */
unsigned handshakers_pending(const struct handshakers *handshakers);
/* Those of them that received messages ask for. */
unsigned handshakers_asked_for(const struct handshakers *handshakers);
unsigned handshakers_count(const struct handshakers *handshakers);
/* How many pieces the lcore at i has done, and EAL's number of it. */
uint64_t handshakers_computed(
	const struct handshakers *handshakers, unsigned i, unsigned *lcore_id);
/* Readable when something was done since handshakers_hear(), which is called before taking. */
int handshakers_fd(const struct handshakers *handshakers);
void handshakers_hear(struct handshakers *handshakers);

#endif
