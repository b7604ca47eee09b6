/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for what holds keys: locked (never written to swap), left out of core dumps, not inherited
 * by a child process, zeroed when allocated and wiped when freed.
 *
 * Small objects share slabs, one size to a slab; large ones have a mapping of their own. Locking is
 * bounded by RLIMIT_MEMLOCK for a process without CAP_IPC_LOCK: memory beyond it is handed out
 * unlocked, and secret_lock_error() says so. Thread: any; a lock is taken, so no worker's data path
 * allocates. With AddressSanitizer it is plain heap memory, whose bounds that can check.
 */
#ifndef BASE_SECRET_MEM_H
#define BASE_SECRET_MEM_H

#include <stddef.h>

/* Zeroed memory, aligned to a cache line; NULL: out of memory. */
__attribute__((malloc, warn_unused_result)) void *secret_alloc(size_t size);
/* Wipes and frees what secret_alloc() gave; NULL is allowed. */
void secret_free(void *p);
/* 0, or the errno of the first piece of memory that could not be locked. */
int secret_lock_error(void);

#endif
