/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/sodium_ready.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

static void init(void)
{
	/* It fails only where the system has no random numbers: nothing can be secure then. */
	if (sodium_init() < 0)
		abort();
}

void sodium_ready(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init);
}
