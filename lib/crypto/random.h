/* SPDX-License-Identifier: BSD-3-Clause */
/* The system's random numbers (arc4random of libbsd). Thread: any. Never fails. */
#ifndef CRYPTO_RANDOM_H
#define CRYPTO_RANDOM_H

#include <stddef.h>

void random_fill(void *buf, size_t len);

#endif
