/* SPDX-License-Identifier: BSD-3-Clause */
/* Vectors are written as in their documents: hexadecimal text. */
#ifndef TESTS_CRYPTO_HEX_H
#define TESTS_CRYPTO_HEX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint8_t hex_digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* Returns the number of bytes; out must hold them. */
static inline size_t hex(uint8_t *out, const char *text)
{
	size_t n = strlen(text) / 2;

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	return n;
}

/* The recurring input of digests over many cases: byte i is 7 i + start. */
static inline void hex_sequence(uint8_t *out, size_t n, uint8_t start)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(i * 7 + start);
}

#endif
