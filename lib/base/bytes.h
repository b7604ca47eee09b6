/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loads and stores of fixed-width integers at any alignment.
 * WireGuard's integers are little-endian, those of IP, UDP and TAI64N big-endian.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_ACCESSORS(bits, order)                                                               \
	static inline uint##bits##_t load_##order##bits(const void *p)                             \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return order##bits##toh(v);                                                        \
	}                                                                                          \
	static inline void store_##order##bits(void *p, uint##bits##_t v)                          \
	{                                                                                          \
		v = hto##order##bits(v);                                                           \
		memcpy(p, &v, sizeof(v));                                                          \
	}

BYTES_ACCESSORS(16, le)
BYTES_ACCESSORS(32, le)
BYTES_ACCESSORS(64, le)
BYTES_ACCESSORS(16, be)
BYTES_ACCESSORS(32, be)
BYTES_ACCESSORS(64, be)

#undef BYTES_ACCESSORS

#endif
