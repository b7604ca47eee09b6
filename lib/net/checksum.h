/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The Internet checksum (RFC 1071), its pseudo-headers (RFC 768, RFC 8200 section 8.1) and its
 * incremental update (RFC 1624).
 *
 * A running sum is a uint64_t of 16-bit words in memory order: spans, pseudo-headers and fields
 * stored big-endian are added as they lie in the packet, and checksum_finish() gives the value to
 * store as it lies in the packet (memcpy, never a byte swap). Sums may be added to one another.
 * An odd span counts as padded with a zero byte, so only the last one may be odd.
 *
 * Thread: any; no allocation.
 */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "net/headers.h"

/* The sum of a long span; checksum_add() picks it. */
uint64_t checksum_add_long(uint64_t sum, const void *data, size_t len);

/* Adds a 16-bit value of host order. */
static inline uint64_t checksum_add16(uint64_t sum, uint16_t value)
{
	return sum + htobe16(value);
}

/* Adds len bytes, in up to 64 KiB a call; a sum takes 2^24 such calls without overflow. */
static inline uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t word;
	uint16_t half;

	if (len > 64)
		return checksum_add_long(sum, data, len);
	for (; len >= 4; len -= 4, p += 4) {
		memcpy(&word, p, 4);
		sum += word;
	}
	if (len >= 2) {
		memcpy(&half, p, 2);
		sum += half;
		p += 2;
	}
	if (len & 1)
		sum += htobe16((uint16_t)(p[0] << 8));
	return sum;
}

/* Folds a sum to 16 bits in memory order, not complemented. */
static inline uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The checksum to store; over a packet that contains its right checksum it is 0. */
static inline uint16_t checksum_finish(uint64_t sum)
{
	return (uint16_t)~checksum_fold(sum);
}

/* The sum of the pseudo-header for len bytes of upper layer; src and dst are addresses in place. */
static inline uint64_t checksum_pseudo4(
	const void *src, const void *dst, uint8_t protocol, uint32_t len)
{
	uint32_t a, b;

	memcpy(&a, src, 4);
	memcpy(&b, dst, 4);
	return (uint64_t)a + b + htobe16(protocol) + htobe32(len);
}

static inline uint64_t checksum_pseudo6(
	const void *src, const void *dst, uint8_t protocol, uint32_t len)
{
	uint64_t sum = checksum_add(0, src, 16);

	return checksum_add(sum, dst, 16) + htobe16(protocol) + htobe32(len);
}

/* Stores a checksum (or a folded sum) where it belongs. */
static inline void checksum_store(void *field, uint16_t checksum)
{
	memcpy(field, &checksum, 2);
}

/*
 * Updates the checksum at field for a 16-bit word that changes from old to new; both as read from
 * the packet with load_be16(). RFC 1624 equation 3. Keeps a wrong checksum wrong.
 */
static inline void checksum_update(void *field, uint16_t old_word, uint16_t new_word)
{
	uint32_t sum = (uint16_t)~load_be16(field);

	sum += (uint16_t)~old_word + (uint32_t)new_word;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(field, (uint16_t)~sum);
}

/* True when the checksum of the IPv4 header (its whole length in the span) is right. */
static inline bool checksum_ipv4_valid(const uint8_t *packet)
{
	return checksum_finish(checksum_add(0, packet, (packet[0] & 0xfu) * 4)) == 0;
}

#endif
