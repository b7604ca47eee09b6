/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/random.h"

#include <bsd/stdlib.h>

void random_fill(void *buf, size_t len)
{
	arc4random_buf(buf, len);
}
