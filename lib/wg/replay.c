/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/replay.h"

#include <assert.h>
#include <string.h>

#define BLOCK_BITS 64

/* The block being filled and all blocks of the window must be different ones. */
static_assert((REPLAY_BLOCKS & (REPLAY_BLOCKS - 1)) == 0, "block number is a mask");
static_assert(REPLAY_BLOCKS * BLOCK_BITS >= WG_REPLAY_WINDOW + BLOCK_BITS, "window fits");
/* What lets counter + WG_REPLAY_WINDOW below be written without fear of wrapping. */
static_assert(WG_REJECT_AFTER_MESSAGES <= UINT64_MAX - WG_REPLAY_WINDOW, "counters do not wrap");

static void advance(struct replay_window *window, uint64_t counter);

void replay_init(struct replay_window *window)
{
	memset(window, 0, sizeof(*window));
}

bool replay_accept(struct replay_window *window, uint64_t counter)
{
	uint64_t *block = &window->blocks[(counter / BLOCK_BITS) & (REPLAY_BLOCKS - 1)];
	uint64_t bit = 1ull << (counter % BLOCK_BITS);

	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	if (counter + WG_REPLAY_WINDOW < window->next)
		return false;
	if (counter >= window->next)
		advance(window, counter);
	if (*block & bit)
		return false;
	*block |= bit;
	return true;
}

/* Makes counter the greatest, and empties the blocks that the window moves into. */
static void advance(struct replay_window *window, uint64_t counter)
{
	uint64_t last = window->next ? (window->next - 1) / BLOCK_BITS : 0;
	uint64_t moved = counter / BLOCK_BITS - last;

	if (moved >= REPLAY_BLOCKS)
		memset(window->blocks, 0, sizeof(window->blocks));
	else
		for (uint64_t i = 1; i <= moved; i++)
			window->blocks[(last + i) & (REPLAY_BLOCKS - 1)] = 0;
	window->next = counter + 1;
}
