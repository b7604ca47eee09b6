/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys as text: base64 in config files (RFC 4648 section 4), hexadecimal in the UAPI protocol. Done
 * with arithmetic only, no table look-ups or branches on key bits. Thread: any; no allocation.
 */
#ifndef UAPI_KEYTEXT_H
#define UAPI_KEYTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wg/constants.h"

#define KEYTEXT_BASE64_CHARS 44
#define KEYTEXT_HEX_CHARS    64

/* text has len characters; false, and key untouched, unless they are exactly one key. */
bool key_from_base64(uint8_t key[WG_KEY_BYTES], const char *text, size_t len);
bool key_from_hex(uint8_t key[WG_KEY_BYTES], const char *text, size_t len);

/* Write the characters and a NUL. */
void key_to_base64(char text[KEYTEXT_BASE64_CHARS + 1], const uint8_t key[WG_KEY_BYTES]);
void key_to_hex(char text[KEYTEXT_HEX_CHARS + 1], const uint8_t key[WG_KEY_BYTES]);

#endif
