/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi/conffile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "uapi/field.h"
#include "uapi/keytext.h"
#include "uapi/rttables.h"
#include "uapi/slots.h"

/* A TUN interface takes no less (RFC 791: every host takes 576), packet buffers no more. */
#define MTU_MIN	     576
#define MTU_MIN_IPV6 1280

/* The kernel's own table of the host's addresses. */
#define TABLE_LOCAL 255

enum section {
	SECTION_NONE,
	SECTION_INTERFACE,
	SECTION_PEER,
};

struct file {
	struct uapi_config *config;
	const char *name;
	char *message;
	uint32_t line;
	enum section section;
	uint32_t interface_line; /* where [Interface] stands; 0: not yet */
	uint32_t mtu_line;
	uint32_t seen;	 /* keys of this section, by position in keys[] */
	const char *key; /* the key of this line, as we write it */
	struct span value;
};

struct key {
	const char *name;
	enum section section;
	bool repeats;
	int (*read)(struct file *file);
};

static int read_line(struct file *file, struct span line);
static int read_section(struct file *file, struct span name);
static int read_key(struct file *file, struct span name, struct span value);
static int end_section(struct file *file);
static int check_start(struct file *file, const char *text, size_t len);
static int check_interface(struct file *file);
static int check_peers(struct file *file);
static int check_prefixes(struct file *file);

__attribute__((format(printf, 2, 3))) static int fail(struct file *file, const char *format, ...);

int conffile_parse(struct uapi_config *config, const char *name, const char *text, size_t len,
	char message[UAPI_MESSAGE_BYTES])
{
	struct file file = {.config = config, .name = name, .message = message};
	int rc = check_start(&file, text, len);

	if (rc == 0)
		message[0] = '\0';
	config->set_private_key = true;
	config->set_listen_port = true;
	config->set_fwmark = true;
	config->replace_peers = true;
	for (size_t at = 0; rc == 0 && at < len;) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t n = end ? (size_t)(end - text) - at : len - at;

		file.line++;
		rc = read_line(&file, (struct span){text + at, n});
		at += n + 1;
	}
	if (rc == 0)
		rc = end_section(&file);
	if (rc == 0 && file.interface_line == 0) {
		snprintf(message, UAPI_MESSAGE_BYTES, "%s: no [Interface] section", name);
		rc = -EINVAL;
	}
	if (rc == 0)
		rc = check_interface(&file);
	if (rc == 0)
		rc = check_peers(&file);
	if (rc == 0)
		rc = check_prefixes(&file);
	if (rc != 0)
		uapi_config_clear(config);
	return rc;
}

/* --- Errors --- */

static int fail(struct file *file, const char *format, ...)
{
	va_list args;
	int n = snprintf(file->message, UAPI_MESSAGE_BYTES, "%s:%u: ", file->name, file->line);

	if (n < UAPI_MESSAGE_BYTES) {
		va_start(args, format);
		vsnprintf(file->message + n, (size_t)(UAPI_MESSAGE_BYTES - n), format, args);
		va_end(args);
	}
	return -EINVAL;
}

/* The value of this line is not what its key takes. */
static int fail_value(struct file *file, struct span value, const char *problem)
{
	char shown[FIELD_SHOWN_BYTES];

	return fail(file, "%s %s: %s", file->key, field_shown(value, shown), problem);
}

/* An array of the config could not grow. */
static int fail_growth(struct file *file, const char *what, unsigned limit)
{
	if (errno != E2BIG) {
		fail(file, "out of memory");
		return -ENOMEM;
	}
	fail(file, "too many %s: at most %u in one file", what, limit);
	return -E2BIG;
}

/* --- Keys --- */

/* Never shows the value: it is a secret, or close to one. */
static int read_secret(struct file *file, uint8_t key[WG_KEY_BYTES], const char *command)
{
	if (key_from_base64(key, file->value.at, file->value.len))
		return 0;
	return fail(file, "%s must be 44 characters of base64, as \"%s\" prints them", file->key,
		command);
}

static int read_private_key(struct file *file)
{
	return read_secret(file, file->config->private_key, "wg genkey");
}

static int read_listen_port(struct file *file)
{
	uint64_t port;

	if (!field_number(file->value, UINT16_MAX, &port))
		return fail_value(
			file, file->value, "must be a port, 0 to 65535 (0: any free one)");
	file->config->listen_port = (uint16_t)port;
	file->config->listen_port_line = file->line;
	return 0;
}

static int read_fwmark(struct file *file)
{
	uint64_t mark = 0;

	if (!span_is_nocase(file->value, "off") &&
		!field_number_or_hex(file->value, UINT32_MAX, &mark))
		return fail_value(file, file->value,
			"must be a number below 2^32, as 51820 or 0xca6c, or \"off\"");
	file->config->fwmark = (uint32_t)mark;
	return 0;
}

static int read_mtu(struct file *file)
{
	char problem[64];
	uint64_t mtu;

	if (!field_number(file->value, LIMIT_INNER_BYTES, &mtu) || mtu < MTU_MIN) {
		snprintf(problem, sizeof(problem), "must be %d to %d bytes", MTU_MIN,
			LIMIT_INNER_BYTES);
		return fail_value(file, file->value, problem);
	}
	file->config->mtu = (uint16_t)mtu;
	file->mtu_line = file->line;
	return 0;
}

static int read_table(struct file *file)
{
	struct uapi_config *config = file->config;
	uint64_t number = 0;
	uint32_t named;

	if (span_is_nocase(file->value, "auto")) {
		config->table = UAPI_TABLE_AUTO;
	} else if (span_is_nocase(file->value, "off")) {
		config->table = UAPI_TABLE_OFF;
	} else {
		if (rttables_number(file->value, &named))
			number = named;
		else if (!field_number(file->value, UINT32_MAX, &number) || number == 0)
			return fail_value(file, file->value,
				"must be \"auto\", \"off\" or a routing table: its number, or its "
				"name in /etc/iproute2/rt_tables");
		if (number == TABLE_LOCAL)
			return fail_value(file, file->value,
				"is the kernel's table of the host's own addresses: take another");
		config->table = UAPI_TABLE_NUMBER;
		config->table_number = (uint32_t)number;
	}
	return 0;
}

/*
 * Calls each(file, item) for every item of a list with commas. An empty value is an empty list; an
 * empty item is a slip.
 */
static int read_list(struct file *file, int (*each)(struct file *file, struct span item))
{
	struct span rest = file->value;
	int rc = 0;

	if (rest.len == 0)
		return 0;
	for (;;) {
		const char *comma = memchr(rest.at, ',', rest.len);
		size_t n = comma ? (size_t)(comma - rest.at) : rest.len;
		struct span item = span_trim((struct span){rest.at, n});

		if (item.len == 0)
			return fail(file, "%s: nothing stands before or after a comma", file->key);
		rc = each(file, item);
		if (rc != 0 || !comma)
			return rc;
		rest = (struct span){comma + 1, rest.len - n - 1};
	}
}

/* Of one that was not understood. */
static int fail_prefix(struct file *file, struct span item, enum field_prefix what)
{
	for (size_t i = 0; i < item.len; i++)
		if (item.at[i] == ' ' || item.at[i] == '\t')
			return fail_value(file, item, "separate them with commas");
	return fail_value(file, item, field_prefix_problem(what));
}

static bool is_unspecified(const struct ip_addr *addr)
{
	static const uint8_t zero[sizeof(addr->bytes)];

	return memcmp(addr->bytes, zero, ip_family_bits(addr->family) / 8) == 0;
}

static bool is_multicast(const struct ip_addr *addr)
{
	return addr->family == IP_V4 ? (addr->bytes[0] & 0xf0) == 0xe0 : addr->bytes[0] == 0xff;
}

static int add_address(struct file *file, struct span item)
{
	struct uapi_config *config = file->config;
	struct ip_prefix prefix = {0}, *address;
	enum field_prefix what = field_prefix(item, &prefix);

	if (what != FIELD_PREFIX_OK)
		return fail_prefix(file, item, what);
	if (is_unspecified(&prefix.addr) || is_multicast(&prefix.addr))
		return fail_value(file, item, "is not an address that an interface can have");
	for (uint32_t i = 0; i < config->address_count; i++)
		if (ip_addr_equal(&config->addresses[i].addr, &prefix.addr))
			return fail_value(file, item, "is given twice");
	address = uapi_config_add_address(config);
	if (!address)
		return fail_growth(file, "addresses", UAPI_MAX_ADDRESSES);
	*address = prefix;
	return 0;
}

static int read_address(struct file *file)
{
	return read_list(file, add_address);
}

/* What does it instead. */
static const char *instead(const char *key)
{
	static const struct {
		const char *key, *text;
	} list[] = {
		{"DNS", "set the host's resolver yourself"},
		{"SaveConfig", "\"wg showconf\" prints the configuration for you to keep"},
		{"PreUp", "run the command yourself (ExecStartPre= in a systemd unit)"},
		{"PostUp", "run the command yourself (ExecStartPost= in a systemd unit)"},
		{"PreDown", "run the command yourself (ExecStop= in a systemd unit)"},
		{"PostDown", "run the command yourself (ExecStopPost= in a systemd unit)"},
	};
	unsigned i = 0;

	while (strcmp(list[i].key, key) != 0)
		i++;
	return list[i].text;
}

/* Left to wg-quick: it would run a command, or change what is not ours. */
static int read_left_out(struct file *file)
{
	if (strcmp(file->key, "SaveConfig") == 0 && span_is_nocase(file->value, "false"))
		return 0;
	uapi_config_warn(file->config, "%s:%u: %s is not carried out: %s", file->name, file->line,
		file->key, instead(file->key));
	return 0;
}

static struct uapi_peer *this_peer(struct file *file)
{
	return &file->config->peers[file->config->peer_count - 1];
}

static int read_public_key(struct file *file)
{
	if (key_from_base64(this_peer(file)->public_key, file->value.at, file->value.len))
		return 0;
	return fail_value(
		file, file->value, "must be 44 characters of base64, as \"wg pubkey\" prints them");
}

static int read_preshared_key(struct file *file)
{
	return read_secret(file, this_peer(file)->preshared_key, "wg genpsk");
}

static int add_allowed_ip(struct file *file, struct span item)
{
	struct ip_prefix prefix = {0};
	struct uapi_allowed_ip *ip;
	enum field_prefix what;

	if (item.at[0] == '+' || item.at[0] == '-')
		return fail_value(file, item,
			"'+' and '-' are for \"wg set\"; a file lists what shall be allowed");
	what = field_prefix(item, &prefix);
	if (what != FIELD_PREFIX_OK)
		return fail_prefix(file, item, what);
	ip_prefix_mask(&prefix);
	ip = uapi_config_add_allowed_ip(file->config);
	if (!ip)
		return fail_growth(file, "allowed IPs", UAPI_MAX_ALLOWED_IPS);
	ip->prefix = prefix;
	return 0;
}

static int read_allowed_ips(struct file *file)
{
	return read_list(file, add_allowed_ip);
}

/* Nothing can be sent there, but the peer may speak first from elsewhere: a warning is enough. */
static void check_endpoint(struct file *file, const struct endpoint *endpoint)
{
	const struct ip_addr *addr = &endpoint->addr;
	char shown[FIELD_SHOWN_BYTES];
	const char *problem = NULL;

	if (addr->family == IP_NONE)
		return;
	if (is_unspecified(addr) || is_multicast(addr))
		problem = "is not an address of a single host";
	else if (addr->family == IP_V6 && addr->bytes[0] == 0xfe &&
		 (addr->bytes[1] & 0xc0) == 0x80 && endpoint->scope_id == 0)
		problem = "is link-local and needs its interface, as [fe80::1%outer0]:51820";
	if (problem)
		uapi_config_warn(file->config, "%s:%u: Endpoint %s %s: nothing can be sent there",
			file->name, file->line, field_shown(file->value, shown), problem);
}

static int read_endpoint(struct file *file)
{
	struct uapi_peer *peer = this_peer(file);
	const char *problem = field_endpoint(file->value, true, peer);

	if (problem)
		return fail_value(file, file->value, problem);
	peer->set_endpoint = true;
	check_endpoint(file, &peer->endpoint);
	peer->endpoint_line = file->line;
	return 0;
}

static int read_persistent_keepalive(struct file *file)
{
	uint64_t seconds = 0;

	if (!span_is_nocase(file->value, "off") && !field_number(file->value, UINT16_MAX, &seconds))
		return fail_value(file, file->value, "must be 0 to 65535 seconds, or \"off\"");
	this_peer(file)->persistent_keepalive = (uint16_t)seconds;
	return 0;
}

static const struct key keys[] = {
	{"PrivateKey", SECTION_INTERFACE, false, read_private_key},
	{"ListenPort", SECTION_INTERFACE, false, read_listen_port},
	{"FwMark", SECTION_INTERFACE, false, read_fwmark},
	{"Address", SECTION_INTERFACE, true, read_address},
	{"MTU", SECTION_INTERFACE, false, read_mtu},
	{"Table", SECTION_INTERFACE, false, read_table},
	{"DNS", SECTION_INTERFACE, true, read_left_out},
	{"PreUp", SECTION_INTERFACE, true, read_left_out},
	{"PostUp", SECTION_INTERFACE, true, read_left_out},
	{"PreDown", SECTION_INTERFACE, true, read_left_out},
	{"PostDown", SECTION_INTERFACE, true, read_left_out},
	{"SaveConfig", SECTION_INTERFACE, false, read_left_out},
	{"PublicKey", SECTION_PEER, false, read_public_key},
	{"PresharedKey", SECTION_PEER, false, read_preshared_key},
	{"AllowedIPs", SECTION_PEER, true, read_allowed_ips},
	{"Endpoint", SECTION_PEER, false, read_endpoint},
	{"PersistentKeepalive", SECTION_PEER, false, read_persistent_keepalive},
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

#define INTERFACE_KEYS "PrivateKey, ListenPort, FwMark, Address, MTU and Table"
#define PEER_KEYS      "PublicKey, PresharedKey, AllowedIPs, Endpoint and PersistentKeepalive"

/* --- Lines --- */

static int read_line(struct file *file, struct span line)
{
	const char *hash = memchr(line.at, '#', line.len), *equals;
	struct span name, value;

	if (memchr(line.at, '\0', line.len))
		return fail(file, "holds a NUL byte: this is not a text file");
	if (hash)
		line.len = (size_t)(hash - line.at);
	line = span_trim(line);
	if (line.len == 0)
		return 0;
	if (line.at[0] == '[')
		return read_section(file, line);
	equals = memchr(line.at, '=', line.len);
	if (!equals)
		return fail(file, "must be \"Key = value\", a [Section] or a comment");
	name = span_trim((struct span){line.at, (size_t)(equals - line.at)});
	value = span_trim((struct span){equals + 1, line.len - (size_t)(equals - line.at) - 1});
	return read_key(file, name, value);
}

static int read_section(struct file *file, struct span name)
{
	struct uapi_peer *peer;
	char shown[FIELD_SHOWN_BYTES];
	int rc = end_section(file);

	if (rc != 0)
		return rc;
	file->seen = 0;
	if (span_is_nocase(name, "[Interface]")) {
		if (file->interface_line)
			return fail(file, "[Interface] stands at line %u already: merge the two",
				file->interface_line);
		file->section = SECTION_INTERFACE;
		file->interface_line = file->line;
		return 0;
	}
	if (!span_is_nocase(name, "[Peer]"))
		return fail(file, "unknown section %s: must be [Interface] or [Peer]",
			field_shown_name(name, shown));
	file->section = SECTION_PEER;
	peer = uapi_config_add_peer(file->config);
	if (!peer)
		return fail_growth(file, "peers", UAPI_MAX_PEERS);
	peer->line = file->line;
	peer->replace_allowed_ips = true;
	peer->set_preshared_key = true;
	peer->set_persistent_keepalive = true;
	return 0;
}

static int read_key(struct file *file, struct span name, struct span value)
{
	const struct key *key = keys;
	char shown[FIELD_SHOWN_BYTES];

	if (file->section == SECTION_NONE)
		return fail(file, "%s stands before any section: begin with [Interface]",
			field_shown_name(name, shown));
	while (key < keys + KEY_COUNT && !span_is_nocase(name, key->name))
		key++;
	if (key == keys + KEY_COUNT)
		return fail(file, "unknown key %s: %s", field_shown_name(name, shown),
			file->section == SECTION_INTERFACE ? "[Interface] takes " INTERFACE_KEYS
							   : "[Peer] takes " PEER_KEYS);
	if (key->section != file->section)
		return fail(file, "%s belongs in %s", key->name,
			key->section == SECTION_INTERFACE ? "[Interface], not in [Peer]"
							  : "[Peer], not in [Interface]");
	if (!key->repeats && (file->seen >> (key - keys) & 1))
		return fail(file, "%s is given twice in this section", key->name);
	file->seen |= 1u << (key - keys);
	file->key = key->name;
	file->value = value;
	if (value.len == 0 && key->read != read_allowed_ips && key->read != read_left_out)
		return fail(file, "%s has no value", key->name);
	return key->read(file);
}

static bool seen(const struct file *file, int (*read)(struct file *file))
{
	for (unsigned i = 0; i < KEY_COUNT; i++)
		if (keys[i].read == read)
			return file->seen >> i & 1;
	return false;
}

/* What a section must have. */
static int end_section(struct file *file)
{
	if (file->section == SECTION_PEER && !seen(file, read_public_key)) {
		file->line = this_peer(file)->line;
		return fail(file, "this [Peer] has no PublicKey");
	}
	return 0;
}

/* --- The file as a whole --- */

/* Some editors mark a file's encoding, and take care not to show it. */
static int check_start(struct file *file, const char *text, size_t len)
{
	file->line = 1;
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		return fail(file, "begins with a byte order mark: save it as UTF-8 without one");
	if (len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
		return fail(file, "is UTF-16: save it as UTF-8");
	file->line = 0;
	return 0;
}

/* What the kernel would refuse: below that MTU an interface has no IPv6. */
static int check_interface(struct file *file)
{
	const struct uapi_config *config = file->config;

	if (file->mtu_line == 0 || config->mtu >= MTU_MIN_IPV6)
		return 0;
	for (uint32_t i = 0; i < config->address_count; i++) {
		if (config->addresses[i].addr.family != IP_V6)
			continue;
		file->line = file->mtu_line;
		return fail(file, "MTU %u: with an IPv6 Address it must be %d at least",
			config->mtu, MTU_MIN_IPV6);
	}
	for (uint32_t i = 0; i < config->allowed_ip_count && config->table != UAPI_TABLE_OFF; i++) {
		if (config->allowed_ips[i].prefix.addr.family != IP_V6)
			continue;
		file->line = file->mtu_line;
		return fail(file,
			"MTU %u: with IPv6 AllowedIPs it must be %d at least, or Table = off",
			config->mtu, MTU_MIN_IPV6);
	}
	return 0;
}

/* Two sections for one peer: only one of them would count. */
static int check_peers(struct file *file)
{
	struct uapi_config *config = file->config;
	struct slots slots;
	uint32_t *p;
	int rc = 0;

	if (!slots_init(&slots, config->peer_count)) {
		fail(file, "out of memory");
		return -ENOMEM;
	}
	for (uint32_t i = 0; rc == 0 && i < config->peer_count; i++) {
		const struct uapi_peer *peer = &config->peers[i], *other;

		SLOTS_FOR_EACH(&slots, slots_hash_key(&slots, peer->public_key), p)
		{
			other = &config->peers[*p - 1];
			if (memcmp(other->public_key, peer->public_key, WG_KEY_BYTES) != 0)
				continue;
			file->line = peer->line;
			rc = fail(file,
				"this [Peer] has the PublicKey of the one at line %u: merge "
				"the two",
				other->line);
			break;
		}
		if (rc == 0)
			*p = i + 1;
	}
	slots_free(&slots);
	return rc;
}

/* The peer that has allowed IP number i: a binary search, for messages only. */
static const struct uapi_peer *peer_of(const struct uapi_config *config, uint32_t i)
{
	uint32_t low = 0, high = config->peer_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		/* Peers without any begin where the next one does: the last of them has it. */
		if (config->peers[middle].first_allowed_ip <= i)
			low = middle;
		else
			high = middle;
	}
	return &config->peers[low];
}

/* One prefix for two peers is allowed, and the later takes it; but it is seldom meant. */
static int check_prefixes(struct file *file)
{
	struct uapi_config *config = file->config;
	char text[IP_PREFIX_STRLEN];
	struct slots slots;
	uint32_t *p;

	if (!slots_init(&slots, config->allowed_ip_count)) {
		fail(file, "out of memory");
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < config->allowed_ip_count; i++) {
		const struct ip_prefix *prefix = &config->allowed_ips[i].prefix;
		const struct uapi_peer *peer, *other;

		SLOTS_FOR_EACH(&slots, slots_hash_prefix(prefix), p)
		{
			if (!ip_prefix_equal(&config->allowed_ips[*p - 1].prefix, prefix))
				continue;
			peer = peer_of(config, i);
			other = peer_of(config, *p - 1);
			if (peer != other)
				uapi_config_warn(config,
					"%s:%u: %s is allowed for the [Peer] at line %u "
					"too: this one, the later, takes it",
					file->name, peer->line, ip_prefix_format(prefix, text),
					other->line);
			break;
		}
		*p = i + 1;
	}
	slots_free(&slots);
	return 0;
}
