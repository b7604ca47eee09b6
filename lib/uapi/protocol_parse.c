/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret_mem.h"
#include "uapi/field.h"
#include "uapi/keytext.h"
#include "uapi/protocol.h"

enum state {
	STATE_FIRST, /* "get=1" or "set=1" comes */
	STATE_GET,   /* the empty line comes */
	STATE_SET,   /* keys come, then the empty line */
	STATE_SKIP,  /* something was wrong: wait for the empty line */
	STATE_COMPLETE,
};

struct uapi_parser {
	struct uapi_config config;
	enum state state;
	enum uapi_request request;
	uint32_t line_number; /* "set=1" is line 1 */
	int error;
	size_t line_len;
	bool line_too_long;
	char line[UAPI_LINE_BYTES];
	char reason[UAPI_MESSAGE_BYTES];
};

static void read_line(struct uapi_parser *parser);
static int read_key(struct uapi_parser *parser, struct span key, struct span value);

struct uapi_parser *uapi_parser_create(void)
{
	struct uapi_parser *parser = secret_alloc(sizeof(*parser));

	if (!parser)
		return NULL;
	uapi_config_init(&parser->config);
	return parser;
}

void uapi_parser_reset(struct uapi_parser *parser)
{
	uapi_config_clear(&parser->config);
	explicit_bzero(parser, sizeof(*parser));
}

void uapi_parser_destroy(struct uapi_parser *parser)
{
	if (!parser)
		return;
	uapi_parser_reset(parser);
	secret_free(parser);
}

size_t uapi_parser_feed(struct uapi_parser *parser, const char *data, size_t len)
{
	size_t used = 0;

	while (used < len && parser->state != STATE_COMPLETE) {
		const char *end = memchr(data + used, '\n', len - used);
		size_t n = end ? (size_t)(end - data) - used : len - used;

		if (n > sizeof(parser->line) - parser->line_len) {
			parser->line_too_long = true;
			parser->line_len = 0;
		} else if (!parser->line_too_long) {
			memcpy(parser->line + parser->line_len, data + used, n);
			parser->line_len += n;
		}
		used += n;
		if (end) {
			used++;
			read_line(parser);
			parser->line_len = 0;
			parser->line_too_long = false;
		} else if (parser->line_too_long && parser->state == STATE_FIRST) {
			read_line(parser); /* not our protocol: do not wait for its end */
		}
	}
	return used;
}

enum uapi_request uapi_parser_request(const struct uapi_parser *parser)
{
	return parser->request;
}

struct uapi_config *uapi_parser_config(struct uapi_parser *parser)
{
	return &parser->config;
}

int uapi_parser_errno(const struct uapi_parser *parser)
{
	return parser->error;
}

const char *uapi_parser_reason(const struct uapi_parser *parser)
{
	return parser->reason;
}

/* --- Lines --- */

/* The first thing that is wrong is what is told; the rest of the request is skipped. */
__attribute__((format(printf, 3, 4))) static int fail(
	struct uapi_parser *parser, int error, const char *format, ...)
{
	va_list args;
	int n = snprintf(parser->reason, sizeof(parser->reason), "line %u: ", parser->line_number);

	va_start(args, format);
	vsnprintf(parser->reason + n, sizeof(parser->reason) - (size_t)n, format, args);
	va_end(args);
	parser->error = error;
	uapi_config_clear(&parser->config);
	return error;
}

static void complete(struct uapi_parser *parser, enum uapi_request request)
{
	parser->request = request;
	parser->state = STATE_COMPLETE;
}

static void read_first(struct uapi_parser *parser, struct span line)
{
	if (line.len == 0 && !parser->line_too_long) {
		parser->line_number = 0; /* empty lines between requests */
	} else if (!parser->line_too_long && span_is(line, "get=1")) {
		parser->state = STATE_GET;
	} else if (!parser->line_too_long && span_is(line, "set=1")) {
		parser->state = STATE_SET;
	} else {
		fail(parser, -EPROTO, "a request must begin with \"get=1\" or \"set=1\"");
		complete(parser, UAPI_REQUEST_BROKEN);
	}
}

static void read_line(struct uapi_parser *parser)
{
	struct span line = {parser->line, parser->line_len};
	const char *equals = memchr(line.at, '=', line.len);
	size_t n = equals ? (size_t)(equals - line.at) : 0;
	int rc = 0;

	parser->line_number++;
	if (parser->state == STATE_FIRST) {
		read_first(parser, line);
		return;
	}
	if (line.len == 0 && !parser->line_too_long) {
		complete(parser, parser->state == STATE_SKIP  ? UAPI_REQUEST_BAD
				 : parser->state == STATE_GET ? UAPI_REQUEST_GET
							      : UAPI_REQUEST_SET);
		return;
	}
	if (parser->state == STATE_SKIP)
		return;
	if (parser->line_too_long)
		rc = fail(parser, -EINVAL, "longer than %d bytes", UAPI_LINE_BYTES);
	else if (parser->state == STATE_GET)
		rc = fail(parser, -EINVAL, "\"get=1\" takes no keys: an empty line must follow");
	else if (!equals)
		rc = fail(parser, -EPROTO, "must be key=value");
	else
		rc = read_key(parser, (struct span){line.at, n},
			(struct span){equals + 1, line.len - n - 1});
	if (rc != 0)
		parser->state = STATE_SKIP;
}

/* --- Keys --- */

static struct uapi_peer *this_peer(struct uapi_parser *parser)
{
	return &parser->config.peers[parser->config.peer_count - 1];
}

/* Secrets are not shown. */
static int fail_secret(struct uapi_parser *parser, const char *key)
{
	return fail(parser, -EINVAL, "%s must be 64 hexadecimal digits", key);
}

static int fail_value(
	struct uapi_parser *parser, const char *key, struct span value, const char *problem)
{
	char shown[FIELD_SHOWN_BYTES];

	return fail(parser, -EINVAL, "%s %s: %s", key, field_shown(value, shown), problem);
}

static int fail_growth(struct uapi_parser *parser, const char *what, unsigned limit)
{
	if (errno != E2BIG)
		return fail(parser, -ENOMEM, "out of memory");
	return fail(parser, -E2BIG, "too many %s: at most %u in one request", what, limit);
}

static int read_private_key(struct uapi_parser *parser, struct span value)
{
	struct uapi_config *config = &parser->config;

	/* An empty value clears it, as all zeros does. */
	if (value.len == 0)
		memset(config->private_key, 0, WG_KEY_BYTES);
	else if (!key_from_hex(config->private_key, value.at, value.len))
		return fail_secret(parser, "private_key");
	config->set_private_key = true;
	return 0;
}

static int read_listen_port(struct uapi_parser *parser, struct span value)
{
	uint64_t port;

	if (!field_number(value, UINT16_MAX, &port))
		return fail_value(parser, "listen_port", value, "must be 0 to 65535");
	parser->config.listen_port = (uint16_t)port;
	parser->config.set_listen_port = true;
	return 0;
}

static int read_fwmark(struct uapi_parser *parser, struct span value)
{
	uint64_t mark = 0;

	if (value.len > 0 && !field_number(value, UINT32_MAX, &mark))
		return fail_value(parser, "fwmark", value, "must be a number below 2^32");
	parser->config.fwmark = (uint32_t)mark;
	parser->config.set_fwmark = true;
	return 0;
}

static int read_true(struct uapi_parser *parser, struct span value, const char *key, bool *out)
{
	if (!span_is(value, "true"))
		return fail_value(parser, key, value, "must be \"true\"");
	*out = true;
	return 0;
}

static int read_public_key(struct uapi_parser *parser, struct span value)
{
	struct uapi_peer *peer = uapi_config_add_peer(&parser->config);

	if (!peer)
		return fail_growth(parser, "peers", UAPI_MAX_PEERS);
	peer->line = parser->line_number;
	if (!key_from_hex(peer->public_key, value.at, value.len))
		return fail_value(parser, "public_key", value, "must be 64 hexadecimal digits");
	return 0;
}

static int read_preshared_key(struct uapi_parser *parser, struct span value)
{
	struct uapi_peer *peer = this_peer(parser);

	if (!key_from_hex(peer->preshared_key, value.at, value.len))
		return fail_secret(parser, "preshared_key");
	peer->set_preshared_key = true;
	return 0;
}

static int read_endpoint(struct uapi_parser *parser, struct span value)
{
	struct uapi_peer *peer = this_peer(parser);
	const char *problem = field_endpoint(value, false, peer);

	if (problem)
		return fail_value(parser, "endpoint", value, problem);
	peer->set_endpoint = true;
	peer->endpoint_line = parser->line_number;
	return 0;
}

static int read_persistent_keepalive(struct uapi_parser *parser, struct span value)
{
	struct uapi_peer *peer = this_peer(parser);
	uint64_t seconds = 0;

	if (!field_number(value, UINT16_MAX, &seconds))
		return fail_value(parser, "persistent_keepalive_interval", value,
			"must be 0 to 65535 seconds");
	peer->persistent_keepalive = (uint16_t)seconds;
	peer->set_persistent_keepalive = true;
	return 0;
}

/* "-PREFIX" takes it away, "+PREFIX" or "PREFIX" gives it. */
static int read_allowed_ip(struct uapi_parser *parser, struct span value)
{
	struct ip_prefix prefix = {0};
	struct uapi_allowed_ip *ip;
	struct span text = value;
	enum field_prefix what;

	if (text.len && (text.at[0] == '-' || text.at[0] == '+')) {
		text.at++;
		text.len--;
	}
	what = field_prefix(text, &prefix);
	if (what != FIELD_PREFIX_OK)
		return fail_value(parser, "allowed_ip", value, field_prefix_problem(what));
	ip_prefix_mask(&prefix);
	ip = uapi_config_add_allowed_ip(&parser->config);
	if (!ip)
		return fail_growth(parser, "allowed IPs", UAPI_MAX_ALLOWED_IPS);
	ip->prefix = prefix;
	ip->remove = value.at[0] == '-';
	return 0;
}

static int read_protocol_version(struct uapi_parser *parser, struct span value)
{
	if (!span_is(value, "1"))
		return fail_value(parser, "protocol_version", value, "must be 1");
	return 0;
}

static int read_interface_key(struct uapi_parser *parser, struct span key, struct span value)
{
	char shown[FIELD_SHOWN_BYTES];

	if (span_is(key, "private_key"))
		return read_private_key(parser, value);
	if (span_is(key, "listen_port"))
		return read_listen_port(parser, value);
	if (span_is(key, "fwmark"))
		return read_fwmark(parser, value);
	if (span_is(key, "replace_peers"))
		return read_true(parser, value, "replace_peers", &parser->config.replace_peers);
	return fail(parser, -EINVAL,
		"unknown key %s: before the first public_key, private_key, listen_port, "
		"fwmark and replace_peers are known",
		field_shown_name(key, shown));
}

static int read_peer_key(struct uapi_parser *parser, struct span key, struct span value)
{
	struct uapi_peer *peer = this_peer(parser);
	char shown[FIELD_SHOWN_BYTES];

	if (span_is(key, "allowed_ip"))
		return read_allowed_ip(parser, value);
	if (span_is(key, "preshared_key"))
		return read_preshared_key(parser, value);
	if (span_is(key, "endpoint"))
		return read_endpoint(parser, value);
	if (span_is(key, "persistent_keepalive_interval"))
		return read_persistent_keepalive(parser, value);
	if (span_is(key, "replace_allowed_ips"))
		return read_true(parser, value, "replace_allowed_ips", &peer->replace_allowed_ips);
	if (span_is(key, "update_only"))
		return read_true(parser, value, "update_only", &peer->update_only);
	if (span_is(key, "remove"))
		return read_true(parser, value, "remove", &peer->remove);
	if (span_is(key, "protocol_version"))
		return read_protocol_version(parser, value);
	return fail(parser, -EINVAL,
		"unknown key %s: after a public_key, preshared_key, endpoint, "
		"persistent_keepalive_interval, allowed_ip, replace_allowed_ips, "
		"update_only, remove and protocol_version are known",
		field_shown_name(key, shown));
}

static int read_key(struct uapi_parser *parser, struct span key, struct span value)
{
	if (span_is(key, "public_key"))
		return read_public_key(parser, value);
	if (parser->config.peer_count == 0)
		return read_interface_key(parser, key, value);
	return read_peer_key(parser, key, value);
}
