/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi/keytext.h"

#include <string.h>

/* All ones when lo <= v <= hi, else 0; for small non-negative numbers. */
static inline int within(int v, int lo, int hi)
{
	/* The sign bit of either difference: set when v is outside. */
	return (int)(((uint32_t)((v - lo) | (hi - v)) >> 31) - 1u);
}

static int base64_digit(int v)
{
	return (within(v, 0, 25) & (v + 'A')) | (within(v, 26, 51) & (v - 26 + 'a')) |
	       (within(v, 52, 61) & (v - 52 + '0')) | (within(v, 62, 62) & '+') |
	       (within(v, 63, 63) & '/');
}

/* The value of a base64 digit, or -1. */
static int base64_value(int c)
{
	return ((within(c, 'A', 'Z') & (c - 'A' + 1)) | (within(c, 'a', 'z') & (c - 'a' + 27)) |
		       (within(c, '0', '9') & (c - '0' + 53)) | (within(c, '+', '+') & 63) |
		       (within(c, '/', '/') & 64)) -
	       1;
}

static int hex_digit(int v)
{
	return (within(v, 0, 9) & (v + '0')) | (within(v, 10, 15) & (v - 10 + 'a'));
}

static int hex_value(int c)
{
	return ((within(c, '0', '9') & (c - '0' + 1)) | (within(c, 'a', 'f') & (c - 'a' + 11)) |
		       (within(c, 'A', 'F') & (c - 'A' + 11))) -
	       1;
}

/* Copies, unless bad is negative; the steps are the same. */
static void take(uint8_t key[WG_KEY_BYTES], const uint8_t out[WG_KEY_BYTES], int bad)
{
	uint8_t keep = (uint8_t) - ((uint32_t)bad >> 31);

	for (int i = 0; i < WG_KEY_BYTES; i++)
		key[i] = (uint8_t)((key[i] & keep) | (out[i] & ~keep));
}

/*
 * 32 bytes are 43 digits and one '='. They are taken as 11 groups of four digits, the last of which
 * ends in two bits that must be zero and eight that do not exist.
 */
bool key_from_base64(uint8_t key[WG_KEY_BYTES], const char *text, size_t len)
{
	uint8_t out[WG_KEY_BYTES + 1];
	int bad = 0;

	if (len != KEYTEXT_BASE64_CHARS || text[KEYTEXT_BASE64_CHARS - 1] != '=')
		return false;
	for (int group = 0; group < 11; group++) {
		int v[4];

		for (int i = 0; i < 4; i++)
			v[i] = base64_value((unsigned char)text[4 * group + i]);
		if (group == 10)
			v[3] = 0;
		bad |= v[0] | v[1] | v[2] | v[3]; /* negative if one of them is */
		out[3 * group] = (uint8_t)((unsigned)v[0] << 2 | (unsigned)v[1] >> 4);
		out[3 * group + 1] = (uint8_t)((unsigned)v[1] << 4 | (unsigned)v[2] >> 2);
		out[3 * group + 2] = (uint8_t)((unsigned)v[2] << 6 | (unsigned)v[3]);
	}
	bad |= -(int)out[WG_KEY_BYTES];
	take(key, out, bad);
	explicit_bzero(out, sizeof(out));
	return bad >= 0;
}

void key_to_base64(char text[KEYTEXT_BASE64_CHARS + 1], const uint8_t key[WG_KEY_BYTES])
{
	for (int group = 0; group < 11; group++) {
		const uint8_t *in = key + 3 * group;
		int third = group == 10 ? 0 : in[2];

		text[4 * group] = (char)base64_digit(in[0] >> 2);
		text[4 * group + 1] = (char)base64_digit((in[0] & 3) << 4 | in[1] >> 4);
		text[4 * group + 2] = (char)base64_digit((in[1] & 15) << 2 | third >> 6);
		text[4 * group + 3] = (char)base64_digit(third & 63);
	}
	text[KEYTEXT_BASE64_CHARS - 1] = '=';
	text[KEYTEXT_BASE64_CHARS] = '\0';
}

bool key_from_hex(uint8_t key[WG_KEY_BYTES], const char *text, size_t len)
{
	uint8_t out[WG_KEY_BYTES];
	int bad = 0;

	if (len != KEYTEXT_HEX_CHARS)
		return false;
	for (int i = 0; i < WG_KEY_BYTES; i++) {
		int high = hex_value((unsigned char)text[2 * i]);
		int low = hex_value((unsigned char)text[2 * i + 1]);

		bad |= high | low;
		out[i] = (uint8_t)((unsigned)high << 4 | ((unsigned)low & 15));
	}
	take(key, out, bad);
	explicit_bzero(out, sizeof(out));
	return bad >= 0;
}

void key_to_hex(char text[KEYTEXT_HEX_CHARS + 1], const uint8_t key[WG_KEY_BYTES])
{
	for (int i = 0; i < WG_KEY_BYTES; i++) {
		text[2 * i] = (char)hex_digit(key[i] >> 4);
		text[2 * i + 1] = (char)hex_digit(key[i] & 15);
	}
	text[KEYTEXT_HEX_CHARS] = '\0';
}
