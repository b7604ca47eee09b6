/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

static_assert(IP_ADDR_STRLEN >= INET6_ADDRSTRLEN, "an IPv6 address must fit");

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family &&
	       memcmp(a->bytes, b->bytes, ip_family_bits(a->family) / 8) == 0;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && a->scope_id == b->scope_id &&
	       ip_addr_equal(&a->addr, &b->addr);
}

bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->bits == b->bits && ip_addr_equal(&a->addr, &b->addr);
}

unsigned ip_family_bits(uint8_t family)
{
	switch (family) {
	case IP_V4:
		return 32;
	case IP_V6:
		return 128;
	default:
		return 0;
	}
}

void ip_prefix_mask(struct ip_prefix *prefix)
{
	unsigned whole = prefix->bits / 8;
	unsigned rest = prefix->bits % 8;

	if (rest != 0) {
		prefix->addr.bytes[whole] &= (uint8_t)(0xff00u >> rest);
		whole++;
	}
	if (whole < sizeof(prefix->addr.bytes))
		memset(prefix->addr.bytes + whole, 0, sizeof(prefix->addr.bytes) - whole);
}

bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *addr)
{
	unsigned whole = prefix->bits / 8;
	unsigned rest = prefix->bits % 8;

	if (prefix->addr.family != addr->family)
		return false;
	if (memcmp(prefix->addr.bytes, addr->bytes, whole) != 0)
		return false;
	if (rest == 0)
		return true;
	return ((prefix->addr.bytes[whole] ^ addr->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

bool ip_addr_parse(const char *text, struct ip_addr *out)
{
	struct ip_addr addr = {0};

	if (inet_pton(AF_INET, text, addr.bytes) == 1)
		addr.family = IP_V4;
	else if (inet_pton(AF_INET6, text, addr.bytes) == 1)
		addr.family = IP_V6;
	else
		return false;
	*out = addr;
	return true;
}

/* A decimal number of digits only, at most max. strtoul() would take signs and spaces as well. */
static bool parse_decimal(const char *text, uint32_t max, uint32_t *out)
{
	uint64_t value = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > max)
			return false;
	}
	*out = (uint32_t)value;
	return true;
}

/* Copies len characters as a string; false when they do not fit. */
static bool cut(char *buf, size_t size, const char *text, size_t len)
{
	if (len >= size)
		return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	return true;
}

bool ip_prefix_parse(const char *text, struct ip_prefix *out)
{
	const char *slash = strchr(text, '/');
	char addr_text[IP_ADDR_STRLEN];
	struct ip_prefix prefix;
	uint32_t bits;

	if (!cut(addr_text, sizeof(addr_text), text, slash ? (size_t)(slash - text) : strlen(text)))
		return false;
	if (!ip_addr_parse(addr_text, &prefix.addr))
		return false;
	bits = ip_family_bits(prefix.addr.family);
	if (slash != NULL && !parse_decimal(slash + 1, bits, &bits))
		return false;
	prefix.bits = (uint8_t)bits;
	*out = prefix;
	return true;
}

/* An interface index, or the name of an interface of this host: wg(8) writes names. */
static bool parse_scope(const char *text, uint32_t *out)
{
	if (parse_decimal(text, UINT32_MAX, out))
		return *out != 0;
	*out = if_nametoindex(text);
	return *out != 0;
}

/* The inside of the brackets: an IPv6 address, perhaps with a scope. */
static bool parse_scoped_v6(char *text, struct endpoint *ep)
{
	char *percent = strchr(text, '%');

	ep->scope_id = 0;
	if (percent != NULL) {
		*percent = '\0';
		if (!parse_scope(percent + 1, &ep->scope_id))
			return false;
	}
	return ip_addr_parse(text, &ep->addr) && ep->addr.family == IP_V6;
}

bool endpoint_parse(const char *text, struct endpoint *out)
{
	const char *colon = strrchr(text, ':');
	char host[IP_ADDR_STRLEN + IF_NAMESIZE + 2];
	struct endpoint ep = {0};
	uint32_t port;
	size_t len;

	if (colon == NULL || !cut(host, sizeof(host), text, (size_t)(colon - text)))
		return false;
	len = (size_t)(colon - text);
	if (host[0] == '[') {
		if (host[len - 1] != ']')
			return false;
		host[len - 1] = '\0';
		if (!parse_scoped_v6(host + 1, &ep))
			return false;
	} else if (!ip_addr_parse(host, &ep.addr) || ep.addr.family != IP_V4) {
		return false;
	}
	if (!parse_decimal(colon + 1, UINT16_MAX, &port) || port == 0)
		return false;
	ep.port = (uint16_t)port;
	*out = ep;
	return true;
}

const char *ip_addr_format(const struct ip_addr *addr, char *buf)
{
	buf[0] = '\0';
	if (addr->family != IP_NONE)
		inet_ntop(addr->family == IP_V4 ? AF_INET : AF_INET6, addr->bytes, buf,
			IP_ADDR_STRLEN);
	return buf;
}

const char *ip_prefix_format(const struct ip_prefix *prefix, char *buf)
{
	ip_addr_format(&prefix->addr, buf);
	snprintf(buf + strlen(buf), sizeof("/128"), "/%u", prefix->bits);
	return buf;
}

const char *endpoint_format(const struct endpoint *ep, char *buf)
{
	char addr[IP_ADDR_STRLEN];

	ip_addr_format(&ep->addr, addr);
	if (ep->addr.family != IP_V6)
		snprintf(buf, ENDPOINT_STRLEN, "%s:%u", addr, ep->port);
	else if (ep->scope_id == 0)
		snprintf(buf, ENDPOINT_STRLEN, "[%s]:%u", addr, ep->port);
	else
		snprintf(
			buf, ENDPOINT_STRLEN, "[%s%%%" PRIu32 "]:%u", addr, ep->scope_id, ep->port);
	return buf;
}
