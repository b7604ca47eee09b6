/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi/field.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The longest host name (RFC 1035 section 2.3.4, as text). */
#define HOST_NAME_CHARS 253

/* persistent_keepalive_interval has 29. */
#define LONGEST_NAME 32

#define DIGITS	   "0123456789"
#define NAME_CHARS DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_"

const char *field_shown(struct span span, char buf[FIELD_SHOWN_BYTES])
{
	size_t room = FIELD_SHOWN_BYTES - sizeof("\"\"...");
	size_t n = span.len < room ? span.len : room;
	char *p = buf;

	*p++ = '"';
	for (size_t i = 0; i < n; i++)
		*p++ = (char)(span.at[i] >= ' ' && span.at[i] <= '~' ? span.at[i] : '?');
	if (n < span.len) {
		memcpy(p, "...", 3);
		p += 3;
	}
	*p++ = '"';
	*p = '\0';
	return buf;
}

const char *field_shown_name(struct span span, char buf[FIELD_SHOWN_BYTES])
{
	return span.len <= LONGEST_NAME ? field_shown(span, buf) : "(not shown: it may be secret)";
}

bool span_is(struct span span, const char *text)
{
	return strlen(text) == span.len && memcmp(span.at, text, span.len) == 0;
}

bool span_is_nocase(struct span span, const char *text)
{
	return strlen(text) == span.len && strncasecmp(span.at, text, span.len) == 0;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct span span_trim(struct span span)
{
	while (span.len && is_space(span.at[0])) {
		span.at++;
		span.len--;
	}
	while (span.len && is_space(span.at[span.len - 1]))
		span.len--;
	return span;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

static bool number(struct span span, unsigned base, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (span.len == 0)
		return false;
	for (size_t i = 0; i < span.len; i++) {
		unsigned digit = (unsigned)digit_value(span.at[i]);

		if (digit >= base)
			return false;
		value = value * base + digit;
		/* max is far below 2^60, so that one more digit never overflows. */
		if (value > max)
			return false;
	}
	*out = value;
	return true;
}

bool field_number(struct span span, uint64_t max, uint64_t *out)
{
	return number(span, 10, max, out);
}

bool field_number_or_hex(struct span span, uint64_t max, uint64_t *out)
{
	if (span.len > 2 && span.at[0] == '0' && (span.at[1] == 'x' || span.at[1] == 'X'))
		return number((struct span){span.at + 2, span.len - 2}, 16, max, out);
	return number(span, 10, max, out);
}

/* Copies a span that must fit; false when it does not or holds a NUL. */
static bool to_string(struct span span, char *buf, size_t size)
{
	if (span.len >= size || memchr(span.at, '\0', span.len))
		return false;
	memcpy(buf, span.at, span.len);
	buf[span.len] = '\0';
	return true;
}

enum field_prefix field_prefix(struct span span, struct ip_prefix *out)
{
	const char *slash = memchr(span.at, '/', span.len);
	struct span address = {span.at, slash ? (size_t)(slash - span.at) : span.len};
	char text[IP_PREFIX_STRLEN];
	struct ip_addr addr;

	if (to_string(span, text, sizeof(text)) && ip_prefix_parse(text, out))
		return FIELD_PREFIX_OK;
	if (!slash || !to_string(address, text, sizeof(text)) || !ip_addr_parse(text, &addr))
		return FIELD_PREFIX_ADDRESS;
	return addr.family == IP_V4 ? FIELD_PREFIX_LENGTH_V4 : FIELD_PREFIX_LENGTH_V6;
}

const char *field_prefix_problem(enum field_prefix what)
{
	switch (what) {
	case FIELD_PREFIX_LENGTH_V4:
		return "prefix length must be 0 to 32";
	case FIELD_PREFIX_LENGTH_V6:
		return "prefix length must be 0 to 128";
	case FIELD_PREFIX_ADDRESS:
	case FIELD_PREFIX_OK:
		break;
	}
	return "must be an address with an optional prefix length, as 192.0.2.0/24 or "
	       "2001:db8::/32";
}

/* "[fe80::1%eth0]" that endpoint_parse() did not take: it knows no eth0, not now. */
static bool is_scoped(const char *host)
{
	const char *percent = strchr(host, '%');
	struct span address = {host + 1, percent ? (size_t)(percent - host - 1) : 0}, scope;
	char text[IP_ADDR_STRLEN], name[IP_ADDR_STRLEN];
	struct ip_addr addr;

	if (host[0] != '[' || !percent || host[strlen(host) - 1] != ']')
		return false;
	scope = (struct span){percent + 1, strlen(percent + 1) - 1};
	return to_string(address, text, sizeof(text)) && ip_addr_parse(text, &addr) &&
	       addr.family == IP_V6 && to_string(scope, name, sizeof(name)) &&
	       uapi_interface_name_valid(name) && strspn(name, DIGITS) != scope.len;
}

/* A name that a resolver may know; digits and dots alone are a mistyped address. */
static bool is_host_name(const char *host)
{
	size_t len = strlen(host);

	return len > 0 && strspn(host, NAME_CHARS) == len && strspn(host, DIGITS ".") != len;
}

const char *field_endpoint(struct span span, bool names, struct uapi_peer *peer)
{
	const char *form =
		names ? "must be HOST:PORT, as 192.0.2.1:51820, [2001:db8::1]:51820 or "
			"vpn.example.com:51820"
		      : "must be ADDRESS:PORT, as 192.0.2.1:51820 or [2001:db8::1]:51820";
	char text[HOST_NAME_CHARS + sizeof("[]:65535")], *colon;
	uint64_t port;

	if (!to_string(span, text, sizeof(text)))
		return form;
	/* What was given before for the same peer is replaced. */
	if (endpoint_parse(text, &peer->endpoint)) {
		free(peer->endpoint_host);
		peer->endpoint_host = NULL;
		return NULL;
	}
	colon = strrchr(text, ':');
	if (!colon)
		return form;
	*colon = '\0';
	if (!field_number((struct span){colon + 1, strlen(colon + 1)}, UINT16_MAX, &port) ||
		port == 0)
		return "the port must be 1 to 65535";
	if (is_scoped(text)) {
		/* A file is read before the interfaces that it may speak of are made. */
		if (!names)
			return "there is no interface of that name on this host";
	} else if (!names || !is_host_name(text)) {
		return form;
	}
	free(peer->endpoint_host);
	peer->endpoint_host = strdup(text);
	memset(&peer->endpoint, 0, sizeof(peer->endpoint));
	peer->endpoint.port = (uint16_t)port;
	return peer->endpoint_host ? NULL : "out of memory";
}
