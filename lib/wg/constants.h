/* SPDX-License-Identifier: BSD-3-Clause */
/* The protocol's numbers (WireGuard whitepaper, sections 5.4, 6.1 to 6.5), in one place. */
#ifndef WG_CONSTANTS_H
#define WG_CONSTANTS_H

#include <stdint.h>

#include "base/units.h"

#define WG_KEY_BYTES	   32
#define WG_TIMESTAMP_BYTES 12
#define WG_MAC_BYTES	   16
#define WG_COOKIE_BYTES	   16
#define WG_TAG_BYTES	   16

#define WG_CONSTRUCTION "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
#define WG_IDENTIFIER	"WireGuard v1 zx2c4 Jason@zx2c4.com"
#define WG_LABEL_MAC1	"mac1----"
#define WG_LABEL_COOKIE "cookie--"

/* Section 6.1 */
#define WG_REKEY_AFTER_MESSAGES	 (1ull << 60)
#define WG_REJECT_AFTER_MESSAGES (UINT64_MAX - (1ull << 13))
#define WG_REKEY_AFTER_TIME_NS	 (120 * NS_PER_SEC)
#define WG_REJECT_AFTER_TIME_NS	 (180 * NS_PER_SEC)
#define WG_REKEY_ATTEMPT_TIME_NS (90 * NS_PER_SEC)
#define WG_REKEY_TIMEOUT_NS	 (5 * NS_PER_SEC)
#define WG_REKEY_JITTER_NS	 (333 * NS_PER_MS)
#define WG_KEEPALIVE_TIMEOUT_NS	 (10 * NS_PER_SEC)

/* Sections 6.2 to 6.4, derived */
#define WG_REKEY_ON_RECEIVE_NS                                                                     \
	(WG_REJECT_AFTER_TIME_NS - WG_KEEPALIVE_TIMEOUT_NS - WG_REKEY_TIMEOUT_NS)
#define WG_NEW_HANDSHAKE_NS (WG_KEEPALIVE_TIMEOUT_NS + WG_REKEY_TIMEOUT_NS)
#define WG_ERASE_AFTER_NS   (3 * WG_REJECT_AFTER_TIME_NS)

/* Section 5.1: at most one initiation accepted per peer in this time (Linux: 50 a second). */
#define WG_INITIATION_INTERVAL_NS (20 * NS_PER_MS)

/* Section 5.3 */
#define WG_COOKIE_SECRET_MAX_AGE_NS (120 * NS_PER_SEC)
/* Kept back by the sender of a cookie for its message to arrive in time (as Linux does). */
#define WG_COOKIE_LATENCY_NS (5 * NS_PER_SEC)
/*
 * Load lasts so long after it was last seen (as in Linux): a flood comes in waves, and a sender
 * that just got a cookie should still find it asked for.
 */
#define WG_UNDER_LOAD_NS NS_PER_SEC

/* Section 5.4.6: counters kept in the replay window; some must lie beyond it to be useful. */
#define WG_REPLAY_WINDOW 8192

/* Packets that wait for a handshake, per peer (Linux: MAX_STAGED_PACKETS). */
#define WG_STAGED_PACKETS 128

/* Source limiter: handshake messages a second and burst, per IPv4 address or IPv6 /64. */
#define WG_RATE_PER_S 20
#define WG_RATE_BURST 5

#endif
