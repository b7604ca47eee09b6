/* SPDX-License-Identifier: BSD-3-Clause */
/* Prefetches that compilers and DPDK have no name for. Any address. Thread: any. */
#ifndef BASE_PREFETCH_H
#define BASE_PREFETCH_H

/*
 * Fetches the cache line of what is likely in no cache (tables by peer, of many peers) to the
 * second level only. The first level has few places for lines under way, and AMD's cores drop
 * prefetches that find none: of 96 lines of 32 peers, asked for in a row, a quarter never came
 * (Zen 4). The second level has more; from there a line is a dozen cycles away.
 */
static inline void prefetch_far(const void *p)
{
	__builtin_prefetch(p, 0, 1);
}

/*
 * Fetches the cache line of p to be written: one that another core holds comes in one step, instead
 * of once to be read and once more to be owned. CPUs without it take it for nothing.
 */
static inline void prefetch_for_writing(const void *p)
{
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
}

#endif
