/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock of all deadlines, control's and the workers'. It goes on while the machine sleeps, as
 * the monotonic clock does not: a session must not outlive its time by that. Thread: any.
 */
#ifndef APP_CLOCK_H
#define APP_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "base/units.h"

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now); /* the vDSO's: no system call */
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_now_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

#endif
