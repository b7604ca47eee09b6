/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device asks of its program, by the plainest means: real randomness, and the heap. */
#ifndef TESTS_HEAP_ENV_H
#define TESTS_HEAP_ENV_H

#include <stdlib.h>
#include <string.h>

#include "crypto/random.h"
#include "wg/device.h"

static inline void heap_env_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	random_fill(buf, len);
}

static inline void *heap_env_alloc(void *arg, size_t size)
{
	void *p = aligned_alloc(64, (size + 63) / 64 * 64);

	(void)arg;
	return p ? memset(p, 0, size) : NULL;
}

static inline void heap_env_free(void *arg, void *p)
{
	(void)arg;
	free(p);
}

static const struct wg_env heap_env = {heap_env_random, heap_env_alloc, heap_env_free, NULL, NULL};

#endif
