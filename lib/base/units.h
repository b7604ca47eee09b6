/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Units of time. All times in the program are nanoseconds in a uint64_t, named with _ns. (DPDK has
 * a NS_PER_S of its own, an int: hence the name here.)
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

#define NS_PER_US  1000ull
#define NS_PER_MS  1000000ull
#define NS_PER_SEC 1000000000ull

#endif
