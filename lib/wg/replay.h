/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replay window of a receiving session (whitepaper section 5.4.6; RFC 6479's shifting blocks).
 * A counter is accepted once, and only while it is less than WG_REPLAY_WINDOW behind the greatest.
 * Not locked here: wg/session.h has the lock.
 *
 * Packets mostly come in order. Those of the newest 32 counters are remembered beside the greatest
 * one, which shares a cache line with the session's key: of a peer whose packets keep order the
 * blocks are touched once in 32 packets.
 */
#ifndef WG_REPLAY_H
#define WG_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "wg/constants.h"

/* A power of two above the window: the block number is a mask, not a division. */
#define REPLAY_BLOCKS ((WG_REPLAY_WINDOW / 64) * 2)

/* Packed, so that nothing of a session's first cache line is lost: next is aligned there. */
struct replay_window {
	uint32_t newest; /* the greatest counter and those of the same multiple of 32 */
	uint64_t next;	 /* greatest counter accepted, plus one; 0: none yet */
	uint64_t blocks[REPLAY_BLOCKS]; /* all before */
} __attribute__((packed, aligned(4)));

void replay_init(struct replay_window *window);

/* True, and remembered, when the counter is new; false for replayed, too old or >= REJECT_AFTER. */
__attribute__((warn_unused_result)) bool replay_accept(
	struct replay_window *window, uint64_t counter);

#endif
