/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/replay.h"

#include <assert.h>
#include <string.h>

#define BLOCK_BITS  64
#define NEWEST_BITS 32

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

static inline unsigned block_of(uint64_t counter)
{
	return (counter / BLOCK_BITS) & (REPLAY_BLOCKS - 1);
}

/* Where the newest 32 begin. */
static inline uint64_t newest_from(const struct replay_window *window)
{
	return window->next == 0 ? 0 : (window->next - 1) & ~(uint64_t)(NEWEST_BITS - 1);
}

bool replay_accept(struct replay_window *window, uint64_t counter)
{
	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	if (counter + WG_REPLAY_WINDOW < window->next)
		return false;
	if (counter >= window->next)
		advance(window, counter);
	if (counter >= newest_from(window)) {
		uint32_t bit = 1u << (counter % NEWEST_BITS);
		if (window->newest & bit)
			return false;
		window->newest |= bit;
		return true;
	}
	uint64_t bit = 1ull << (counter % BLOCK_BITS);
	if (window->blocks[block_of(counter)] & bit)
		return false;
	window->blocks[block_of(counter)] |= bit;
	return true;
}

/* Empties the blocks behind that of last, up to that of counter. */
static void empty_blocks(struct replay_window *window, uint64_t last, uint64_t counter)
{
	uint64_t moved = counter / BLOCK_BITS - last / BLOCK_BITS;

	if (moved >= REPLAY_BLOCKS) {
		memset(window->blocks, 0, sizeof(window->blocks));
		return;
	}
	for (uint64_t i = 1; i <= moved; i++)
		window->blocks[block_of(last + i * BLOCK_BITS)] = 0;
}

/* Makes counter the greatest. */
static void advance(struct replay_window *window, uint64_t counter)
{
	uint64_t from = newest_from(window);

	if (counter >= from + NEWEST_BITS) {
		window->blocks[block_of(from)] |= (uint64_t)window->newest << (from % BLOCK_BITS);
		window->newest = 0;
		empty_blocks(window, from, counter);
	}
	window->next = counter + 1;
}
