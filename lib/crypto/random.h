/* SPDX-License-Identifier: BSD-3-Clause */
/* The system's random numbers (getrandom). Thread: any. Never fails: the program ends rather. */
#ifndef CRYPTO_RANDOM_H
#define CRYPTO_RANDOM_H

#include <stddef.h>

void random_fill(void *buf, size_t len);

#endif
