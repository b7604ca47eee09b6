/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a fuzz input, taken piece by piece; beyond its end there are zeros. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "must.h"

struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t input_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static inline uint16_t input_u16(struct input *input)
{
	unsigned low = input_byte(input);

	return (uint16_t)(low | (unsigned)input_byte(input) << 8);
}

/* Copies up to n bytes that there are to out; returns how many. */
static inline unsigned input_bytes(struct input *input, void *out, unsigned n)
{
	if (n > input->left)
		n = (unsigned)input->left;
	if (n > 0)
		memcpy(out, input->at, n);
	input->at += n;
	input->left -= n;
	return n;
}

#endif
