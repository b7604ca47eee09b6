/* SPDX-License-Identifier: BSD-3-Clause */
/* TAI64N labels (whitepaper section 5.1). Pure functions. */
#ifndef WG_TAI64N_H
#define WG_TAI64N_H

#include <stdint.h>

#include "wg/constants.h"

/*
 * The label of a wall-clock time (nanoseconds since 1970 UTC). As in Linux the nanoseconds are
 * rounded down to steps of about 16.8 ms (2^24 ns), so that a peer learns little of our clock.
 */
void tai64n_from_wall(uint8_t out[WG_TIMESTAMP_BYTES], uint64_t wall_ns);

/* The smallest representable label (at that granularity) after *label. */
void tai64n_after(uint8_t out[WG_TIMESTAMP_BYTES], const uint8_t label[WG_TIMESTAMP_BYTES]);

#endif
