/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A slab is a mapping aligned to its size, so that an object's address tells its slab. It begins
 * with a header; objects follow, all of one size, a multiple of a cache line. A free object is zero
 * but for its first word, which links it to the next free one.
 */
#include "base/secret_mem.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define PLAIN_HEAP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLAIN_HEAP 1
#endif
#endif

#define LINE	   64u
#define SLAB_BYTES (2u << 20) /* a huge page: a million sessions are read at random */
#define SMALL_MOST 4096u      /* larger objects have a mapping each, of whole pages */

#ifdef PLAIN_HEAP

#include <malloc.h>

void *secret_alloc(size_t size)
{
	void *p = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE);

	return p ? memset(p, 0, size) : NULL;
}

void secret_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

int secret_lock_error(void)
{
	return 0;
}

#else

struct slab {
	struct slab *newer, *older; /* in its class's list, while it has room */
	void *free;		    /* the first free object */
	size_t mapped;		    /* bytes of the whole mapping */
	uint32_t object_bytes;	    /* 0: one large object */
	uint32_t live;		    /* objects handed out */
	uint32_t untouched;	    /* offset of what was never handed out */
};

static_assert(sizeof(struct slab) <= LINE, "the first object begins on the second line");

static struct {
	pthread_mutex_t lock;
	struct slab *with_room[SMALL_MOST / LINE + 1]; /* by size in lines */
	char *below;				       /* where a slab would join its neighbours */
	int lock_error;
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *alloc_small(size_t lines);
static void free_small(struct slab *slab, void *p);
static struct slab *map_slab(size_t bytes);

void *secret_alloc(size_t size)
{
	size_t lines = size ? (size + LINE - 1) / LINE : 1;
	struct slab *slab;
	void *p = NULL;

	if (size > SIZE_MAX / 2)
		return NULL;
	pthread_mutex_lock(&heap.lock);
	if (lines <= SMALL_MOST / LINE) {
		p = alloc_small(lines);
	} else {
		slab = map_slab((lines + 1) * LINE);
		p = slab ? (char *)slab + LINE : NULL;
	}
	pthread_mutex_unlock(&heap.lock);
	return p;
}

void secret_free(void *p)
{
	struct slab *slab = (struct slab *)((uintptr_t)p & ~(uintptr_t)(SLAB_BYTES - 1));

	if (!p)
		return;
	if (slab->object_bytes == 0) {
		size_t mapped = slab->mapped;

		explicit_bzero(slab, mapped);
		munmap(slab, mapped);
		return;
	}
	explicit_bzero(p, slab->object_bytes);
	pthread_mutex_lock(&heap.lock);
	free_small(slab, p);
	pthread_mutex_unlock(&heap.lock);
}

int secret_lock_error(void)
{
	int error;

	pthread_mutex_lock(&heap.lock);
	error = heap.lock_error;
	pthread_mutex_unlock(&heap.lock);
	return error;
}

static bool has_room(const struct slab *slab)
{
	return slab->free || slab->untouched + slab->object_bytes <= SLAB_BYTES;
}

static void link_slab(struct slab **list, struct slab *slab)
{
	slab->newer = NULL;
	slab->older = *list;
	if (*list)
		(*list)->newer = slab;
	*list = slab;
}

static void unlink_slab(struct slab **list, struct slab *slab)
{
	if (slab->newer)
		slab->newer->older = slab->older;
	else
		*list = slab->older;
	if (slab->older)
		slab->older->newer = slab->newer;
}

static void *alloc_small(size_t lines)
{
	struct slab **list = &heap.with_room[lines], *slab = *list;
	void *p;

	if (!slab) {
		slab = map_slab(SLAB_BYTES);
		if (!slab)
			return NULL;
		slab->object_bytes = (uint32_t)lines * LINE;
		slab->untouched = LINE;
		link_slab(list, slab);
	}
	p = slab->free;
	if (p) {
		memcpy(&slab->free, p, sizeof(slab->free));
		memset(p, 0, sizeof(slab->free));
	} else {
		p = (char *)slab + slab->untouched;
		slab->untouched += slab->object_bytes;
	}
	slab->live++;
	if (!has_room(slab))
		unlink_slab(list, slab);
	return p;
}

static void free_small(struct slab *slab, void *p)
{
	struct slab **list = &heap.with_room[slab->object_bytes / LINE];

	assert(slab->live > 0);
	if (!has_room(slab))
		link_slab(list, slab);
	memcpy(p, &slab->free, sizeof(slab->free));
	slab->free = p;
	/* The last of its class stays: one object that comes and goes shall not map each time. */
	if (--slab->live == 0 && (slab->newer || slab->older)) {
		unlink_slab(list, slab);
		munmap(slab, SLAB_BYTES);
	}
}

/* Aligned to SLAB_BYTES. Below the one before if that is free: the kernel then makes one of them.
 */
static char *map_aligned(size_t bytes)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uintptr_t below = ((uintptr_t)heap.below - bytes) & ~(uintptr_t)(SLAB_BYTES - 1);
	char *hint = heap.below ? (char *)below : NULL, *p, *aligned;
	size_t spare = SLAB_BYTES;

	p = mmap(hint, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED || ((uintptr_t)p & (SLAB_BYTES - 1)) == 0)
		return p;
	munmap(p, bytes);
	p = mmap(NULL, bytes + spare, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		return p;
	aligned = (char *)(((uintptr_t)p + spare - 1) & ~(uintptr_t)(SLAB_BYTES - 1));
	if (aligned > p)
		munmap(p, (size_t)(aligned - p));
	if (p + spare > aligned)
		munmap(aligned + bytes, (size_t)(p + spare - aligned));
	return aligned;
}

static struct slab *map_slab(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), mapped = (bytes + page - 1) & ~(page - 1);
	char *p = map_aligned(mapped);
	struct slab *slab = (struct slab *)p;

	if (p == MAP_FAILED)
		return NULL;
	heap.below = p;
	if (mapped >= SLAB_BYTES)
		(void)madvise(p, mapped, MADV_HUGEPAGE); /* where the kernel gives any */
	/* Neither can fail on a mapping of ours, but with an old kernel; it is a second fence. */
	(void)madvise(p, mapped, MADV_DONTDUMP);
	(void)madvise(p, mapped, MADV_DONTFORK);
	/* Locked as it is touched: a large table costs what is used of it. */
	if (mlock2(p, mapped, MLOCK_ONFAULT) != 0 && heap.lock_error == 0)
		heap.lock_error = errno;
	slab->mapped = mapped;
	return slab;
}

#endif
