/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Source limiter for handshake messages under load (whitepaper section 5.3): a token bucket per
 * IPv4 address or IPv6 /64, 20 a second with a burst of 5, in a table of fixed size. A full table
 * refuses new sources rather than grow. The hash is keyed. Thread: the owner's.
 */
#ifndef WG_RATELIMITER_H
#define WG_RATELIMITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

struct ratelimiter;

/* capacity: sources remembered at once; secret: 16 random bytes. NULL: out of memory. */
struct ratelimiter *ratelimiter_create(uint32_t capacity, const uint8_t secret[16]);
void ratelimiter_destroy(struct ratelimiter *limiter);

/* True: this message may pass. Entries idle for a second or more are forgotten as needed. */
__attribute__((warn_unused_result)) bool ratelimiter_allow(
	struct ratelimiter *limiter, const struct ip_addr *source, uint64_t now_ns);

#endif
