/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IP addresses, prefixes and UDP endpoints, as plain values.
 *
 * Thread: any; no allocation. Text forms: RFC 4291 section 2.2, RFC 5952, and for endpoints
 * the forms that wg(8) prints and reads ("192.0.2.1:51820", "[2001:db8::1%3]:51820").
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ip_family {
	IP_NONE = 0,
	IP_V4 = 4,
	IP_V6 = 6,
};

/* An address in network byte order; IPv4 uses bytes[0..3] and leaves the rest zero. */
struct ip_addr {
	uint8_t family; /* enum ip_family */
	uint8_t bytes[16];
};

/* A prefix whose host bits are zero (ip_prefix_mask() makes them so). */
struct ip_prefix {
	struct ip_addr addr;
	uint8_t bits; /* 0..32 or 0..128 */
};

struct endpoint {
	struct ip_addr addr;
	uint16_t port;	   /* host byte order */
	uint32_t scope_id; /* interface index of a link-local IPv6 address, else 0 */
};

#define IP_ADDR_STRLEN	 46
#define IP_PREFIX_STRLEN (IP_ADDR_STRLEN + 4)
#define ENDPOINT_STRLEN	 (IP_ADDR_STRLEN + 20)

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b);

/* 32 or 128; 0 for IP_NONE. */
unsigned ip_family_bits(uint8_t family);

/* Zeroes the bits of prefix->addr beyond prefix->bits. */
void ip_prefix_mask(struct ip_prefix *prefix);
/* True when addr lies in prefix; the families must be the same. */
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *addr);

/* Parse a whole string; false and *out untouched when it is anything else. */
bool ip_addr_parse(const char *text, struct ip_addr *out);
/* "192.0.2.0/24", "2001:db8::/32", or an address alone (full length). Keeps host bits. */
bool ip_prefix_parse(const char *text, struct ip_prefix *out);
/*
 * A numeric endpoint; host names are not resolved here. Port 1..65535. A scope may be the name of
 * an interface of this host, which is how wg(8) writes it.
 */
bool endpoint_parse(const char *text, struct endpoint *out);

/* Write the text form into buf (IP_ADDR_STRLEN, IP_PREFIX_STRLEN, ENDPOINT_STRLEN) and return it.
 */
const char *ip_addr_format(const struct ip_addr *addr, char *buf);
const char *ip_prefix_format(const struct ip_prefix *prefix, char *buf);
const char *endpoint_format(const struct endpoint *ep, char *buf);

#endif
