/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/wipe.h"

#include <sodium.h>

void wipe(void *p, size_t len)
{
	sodium_memzero(p, len);
}

bool equal_ct(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

bool is_zero_ct(const void *p, size_t len)
{
	return sodium_is_zero(p, len) == 1;
}
