/* SPDX-License-Identifier: BSD-3-Clause */
/* Prefetches of what is likely in no cache: tables by peer, of many peers. */
#ifndef BASE_PREFETCH_H
#define BASE_PREFETCH_H

/*
 * To the second level only. The first level has few places for lines under way, and AMD's cores
 * drop prefetches that find none: of 96 lines of 32 peers, asked for in a row, a quarter never came
 * (Zen 4). The second level has more; from there a line is a dozen cycles away.
 */
static inline void prefetch_far(const void *p)
{
	__builtin_prefetch(p, 0, 1);
}

#endif
