/* SPDX-License-Identifier: BSD-3-Clause */
/* Secrets: wiping that the compiler keeps, comparison in constant time. Thread: any. */
#ifndef CRYPTO_WIPE_H
#define CRYPTO_WIPE_H

#include <stdbool.h>
#include <stddef.h>

void wipe(void *p, size_t len);

/* True when the len bytes are equal; the time taken depends on len only. */
__attribute__((warn_unused_result)) bool equal_ct(const void *a, const void *b, size_t len);
__attribute__((warn_unused_result)) bool is_zero_ct(const void *p, size_t len);

#endif
