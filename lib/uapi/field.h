/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values that the config file and the UAPI protocol have in common, from pieces of text that are
 * not NUL-terminated. Internal to lib/uapi. Thread: any; only field_endpoint() allocates.
 */
#ifndef UAPI_FIELD_H
#define UAPI_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uapi/config.h"

/* A piece of text. */
struct span {
	const char *at;
	size_t len;
};

/* What fits into a message: quoted, shortened, unprintable bytes as '?'. */
#define FIELD_SHOWN_BYTES 72
const char *field_shown(struct span span, char buf[FIELD_SHOWN_BYTES]);

/*
 * The same for what should be the name of a key. What is longer than any name is not shown: a line
 * with nothing but "PrivateKey" may stand before it, and then it is one.
 */
const char *field_shown_name(struct span span, char buf[FIELD_SHOWN_BYTES]);

bool span_is(struct span span, const char *text);
bool span_is_nocase(struct span span, const char *text);
/* Without white space at both ends. */
struct span span_trim(struct span span);

/* Decimal digits only, at most max. */
bool field_number(struct span span, uint64_t max, uint64_t *out);
/* The same, or hexadecimal digits after "0x". */
bool field_number_or_hex(struct span span, uint64_t max, uint64_t *out);

enum field_prefix {
	FIELD_PREFIX_OK,
	FIELD_PREFIX_ADDRESS,	/* not an address */
	FIELD_PREFIX_LENGTH_V4, /* the length is wrong */
	FIELD_PREFIX_LENGTH_V6,
};
/* An address with an optional length. Host bits are kept. */
enum field_prefix field_prefix(struct span span, struct ip_prefix *out);

/* What is wrong with a prefix, and what would be right. */
const char *field_prefix_problem(enum field_prefix what);

/*
 * What endpoint_parse() takes and, with names allowed, "name:port", and "[address%name]:port" with
 * an interface that is to come.
 * Fills endpoint, or endpoint_host and the port. NULL, or what is wrong (a constant string).
 */
const char *field_endpoint(struct span span, bool names, struct uapi_peer *peer);

#endif
