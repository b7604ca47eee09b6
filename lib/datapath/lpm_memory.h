/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of the prefix table: the C heap, in huge pages where it is large and the kernel agrees. */
#ifndef DATAPATH_LPM_MEMORY_H
#define DATAPATH_LPM_MEMORY_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LPM_HUGE_BYTES ((size_t)2 << 20)

/* The size that lpm_allocate() takes for bytes: whole cache lines, or whole huge pages. */
static inline size_t lpm_round_up(size_t bytes)
{
	size_t align = bytes < LPM_HUGE_BYTES ? 64 : LPM_HUGE_BYTES;

	return (bytes + align - 1) & ~(align - 1);
}

/* At least 64 bytes aligned, to be freed with free(); NULL: out of memory. */
static inline void *lpm_allocate(size_t bytes)
{
	void *p;

	bytes = lpm_round_up(bytes);
	if (bytes < LPM_HUGE_BYTES)
		return aligned_alloc(64, bytes);
	p = aligned_alloc(LPM_HUGE_BYTES, bytes);
	if (p)
		madvise(p, bytes, MADV_HUGEPAGE); /* refused: the same, but slower */
	return p;
}

#endif
