/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/random.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

void random_fill(void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		/* No kernel of today refuses; a key that is not random must not be. */
		if (n < 0)
			abort();
		at += n;
		len -= (size_t)n;
	}
}
