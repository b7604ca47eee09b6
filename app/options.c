/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "uapi/config.h"

struct reader {
	struct options *options;
	int argc;
	char *const *argv;
	int at;
	const char *name; /* the option at hand, as we write it */
	uint32_t seen;	  /* options of one value, by position in option_table[] */
	char *message;
};

struct option {
	const char *name;
	const char *argument; /* what it takes, for the help; NULL: nothing */
	const char *help;     /* NULL: not told of */
	int (*read)(struct reader *reader, const char *value);
};

static int read_all(struct reader *reader);
static int find_separator(struct reader *reader);
static void read_eal(struct reader *reader);
static int check_whole(struct reader *reader);
static const struct option *find_option(const char *arg, const char **value);

int options_parse(
	struct options *options, int argc, char *const argv[], char message[OPTIONS_MESSAGE_BYTES])
{
	struct reader reader = {.options = options, .argc = argc, .argv = argv, .message = message};
	int rc;

	memset(options, 0, sizeof(*options));
	options->aead = AEAD_BACKEND_AUTO;
	message[0] = '\0';
	rc = find_separator(&reader);
	if (rc == 0)
		read_eal(&reader);
	if (rc == 0)
		rc = read_all(&reader);
	if (rc == 0)
		rc = check_whole(&reader);
	return rc;
}

__attribute__((format(printf, 2, 3))) static int fail(
	struct reader *reader, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reader->message, OPTIONS_MESSAGE_BYTES, format, args);
	va_end(args);
	return -EINVAL;
}

/* --- The options --- */

static int add_device(
	struct reader *reader, const char *list[LIMIT_PORTS], unsigned *count, const char *value)
{
	for (unsigned i = 0; i < *count; i++)
		if (strcmp(list[i], value) == 0)
			return fail(reader, "%s %s is given twice", reader->name, value);
	if (*count == LIMIT_PORTS)
		return fail(reader, "%s %s: at most %d of them", reader->name, value, LIMIT_PORTS);
	list[(*count)++] = value;
	return 0;
}

static int read_outer(struct reader *reader, const char *value)
{
	return add_device(reader, reader->options->outer, &reader->options->outer_count, value);
}

static int read_inner(struct reader *reader, const char *value)
{
	return add_device(reader, reader->options->inner, &reader->options->inner_count, value);
}

/* outer0, inner12 and so on are the ports' own host interfaces; lo is the host's. */
static bool is_reserved(const char *name)
{
	size_t stem = strlen("outer");

	if (strcmp(name, "lo") == 0 || strcmp(name, "all") == 0 || strcmp(name, "default") == 0)
		return true;
	if (strncmp(name, "outer", stem) != 0 && strncmp(name, "inner", stem) != 0)
		return false;
	return name[stem] != '\0' && strspn(name + stem, "0123456789") == strlen(name + stem);
}

static int add_interface(
	struct reader *reader, const char *value, const char *name, size_t len, const char *path)
{
	struct options *options = reader->options;
	struct options_interface *interface;
	char copy[OPTIONS_NAME_BYTES];

	if (len == 0 || len >= sizeof(copy))
		return fail(reader, "%s %s: an interface's name has 1 to 15 characters",
			reader->name, value);
	memcpy(copy, name, len);
	copy[len] = '\0';
	if (!uapi_interface_name_valid(copy))
		return fail(reader, "%s %s: an interface's name is made of a-z A-Z 0-9 _ = + . -",
			reader->name, value);
	if (is_reserved(copy))
		return fail(reader, "%s %s: the name %s is taken: choose another, as wg0",
			reader->name, value, copy);
	for (unsigned i = 0; i < options->interface_count; i++)
		if (strcmp(options->interfaces[i].name, copy) == 0)
			return fail(reader, "%s %s: the interface %s is given twice", reader->name,
				value, copy);
	if (options->interface_count == LIMIT_INTERFACES)
		return fail(reader, "%s %s: at most %d interfaces", reader->name, value,
			LIMIT_INTERFACES);
	interface = &options->interfaces[options->interface_count++];
	memcpy(interface->name, copy, sizeof(copy));
	interface->path = path;
	return 0;
}

static int read_config(struct reader *reader, const char *value)
{
	const char *slash = strrchr(value, '/');
	const char *name = slash ? slash + 1 : value;
	size_t len = strlen(name), suffix = strlen(".conf");

	if (len <= suffix || strcmp(name + len - suffix, ".conf") != 0)
		return fail(reader, "%s %s: the file must be called NAME.conf, as wg0.conf",
			reader->name, value);
	return add_interface(reader, value, name, len - suffix, value);
}

static int read_interface(struct reader *reader, const char *value)
{
	return add_interface(reader, value, value, strlen(value), NULL);
}

/* Whether this CPU, and this build, have it. */
static bool has_aead(enum aead_backend backend)
{
	struct aead_batch *batch = aead_batch_create(backend);

	if (!batch)
		return errno != ENOTSUP;
	aead_batch_destroy(batch);
	return true;
}

static int read_aead(struct reader *reader, const char *value)
{
	int backend = aead_backend_from_name(value);
	char names[128] = "";

	if (backend >= 0 && has_aead((enum aead_backend)backend)) {
		reader->options->aead = (enum aead_backend)backend;
		return 0;
	}
	for (int i = 0; i < AEAD_BACKEND_COUNT; i++) {
		size_t len = strlen(names);

		/* Of a known one, those that it can be changed for. */
		if (backend < 0 || has_aead((enum aead_backend)i))
			snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "",
				aead_backend_name((enum aead_backend)i));
	}
	if (backend < 0)
		return fail(reader, "%s %s: must be one of %s", reader->name, value, names);
	return fail(reader, "%s %s: this CPU lacks what it needs; it has %s", reader->name, value,
		names);
}

static int add_handshake_lcore(struct reader *reader, unsigned lcore)
{
	struct options *options = reader->options;
	unsigned *list = options->handshake_lcores, at = options->handshake_lcore_count;

	for (; at > 0 && list[at - 1] >= lcore; at--) {
		if (list[at - 1] == lcore)
			return fail(reader, "%s: lcore %u is given twice", reader->name, lcore);
	}
	if (options->handshake_lcore_count == LIMIT_HANDSHAKE_LCORES)
		return fail(reader, "%s: at most %d lcores", reader->name, LIMIT_HANDSHAKE_LCORES);
	memmove(list + at + 1, list + at, (options->handshake_lcore_count - at) * sizeof(list[0]));
	list[at] = lcore;
	options->handshake_lcore_count++;
	return 0;
}

/* A number of up to four digits at *text, which moves behind it; -1: there is none. */
static int read_number(const char **text)
{
	size_t digits = strspn(*text, "0123456789");
	int number = 0;

	if (digits == 0 || digits > 4)
		return -1;
	for (; digits > 0; digits--)
		number = number * 10 + (*(*text)++ - '0');
	return number;
}

/* As EAL's: 2,4-6. That they exist is checked when EAL is up. */
static int read_handshake_lcores(struct reader *reader, const char *value)
{
	const char *at = value;

	for (;;) {
		int first = read_number(&at), last = first, rc = 0;

		if (*at == '-') {
			at++;
			last = read_number(&at);
		}
		if (first < 0 || last < first || (*at != '\0' && *at != ','))
			return fail(reader, "%s %s: must be a list of lcores, as 2,4-6",
				reader->name, value);
		for (int lcore = first; lcore <= last && rc == 0; lcore++)
			rc = add_handshake_lcore(reader, (unsigned)lcore);
		if (rc != 0 || *at == '\0')
			return rc;
		at++;
	}
}

static int read_poll(struct reader *reader, const char *value)
{
	(void)value;
	reader->options->poll = true;
	return 0;
}

static int read_mtu(struct reader *reader, const char *value)
{
	unsigned long mtu = strtoul(value, NULL, 10);

	if (value[strspn(value, "0123456789")] != '\0' || mtu < LIMIT_PORT_MTU_LEAST ||
		mtu > LIMIT_PORT_MTU)
		return fail(reader, "%s %s: must be %d to %d", reader->name, value,
			LIMIT_PORT_MTU_LEAST, LIMIT_PORT_MTU);
	reader->options->mtu = (uint16_t)mtu;
	return 0;
}

static int read_dumpable(struct reader *reader, const char *value)
{
	(void)value;
	reader->options->dumpable = true;
	return 0;
}

static int read_no_seccomp(struct reader *reader, const char *value)
{
	(void)value;
	reader->options->no_seccomp = true;
	return 0;
}

static int read_clamp_mss(struct reader *reader, const char *value)
{
	(void)value;
	reader->options->clamp_mss = true;
	return 0;
}

static int read_capture(struct reader *reader, const char *value)
{
	(void)value;
	reader->options->capture = true;
	return 0;
}

static int read_mode(struct reader *reader, enum options_mode mode)
{
	reader->options->mode = mode;
	return 0;
}

static int read_check(struct reader *reader, const char *value)
{
	(void)value;
	return read_mode(reader, OPTIONS_CHECK);
}

static int read_version(struct reader *reader, const char *value)
{
	(void)value;
	return read_mode(reader, OPTIONS_VERSION);
}

static int read_help(struct reader *reader, const char *value)
{
	(void)value;
	return read_mode(reader, OPTIONS_HELP);
}

/* Behind "--", ours; before it EAL's, which prints its own as well. */
static int read_short_help(struct reader *reader, const char *value)
{
	return read_help(reader, value);
}

static const struct option option_table[] = {
	{"--outer", "DEV",
		"a port that carries encrypted traffic: a DPDK device name or port number; "
		"repeatable",
		read_outer},
	{"--inner", "DEV",
		"a port that carries plain traffic, may be the same DEV; repeatable; "
		"without it plain traffic is the host's own",
		read_inner},
	{"--config", "FILE",
		"a WireGuard interface from a wg-quick style file: wg0.conf makes wg0; "
		"repeatable",
		read_config},
	{"--interface", "NAME",
		"a WireGuard interface without a file, to be configured with wg(8); "
		"repeatable",
		read_interface},
	{"--aead", "NAME",
		"ChaCha20-Poly1305 from auto (default), avx512, avx2, ipsec-mb or sodium",
		read_aead},
	{"--mtu", "BYTES", "MTU of all ports, for jumbo frames; 1500 unless given", read_mtu},
	{"--clamp-mss", NULL,
		"lower the MSS of TCP connections through a tunnel to what its MTU carries",
		read_clamp_mss},
	{"--capture", NULL,
		"an interface capture0: while it is up, tcpdump sees there what ports receive and "
		"send",
		read_capture},
	{"--handshake-lcores", "LIST",
		"EAL's lcores (as 2,4-6) that do the handshakes' cryptography and carry no "
		"traffic; without it control does it",
		read_handshake_lcores},
	{"--poll", NULL, "workers never sleep: lowest latency, all of their cores' time",
		read_poll},
	{"--dumpable", NULL, "allow core dumps (without keys) and debuggers of the same user",
		read_dumpable},
	{"--no-seccomp", NULL,
		"do not filter system calls: for sanitizers, or drivers that start others",
		read_no_seccomp},
	{"--check", NULL, "check the options and config files, start nothing", read_check},
	{"--help", NULL, "print this", read_help},
	{"-h", NULL, NULL, read_short_help},
	{"--version", NULL, "print the version", read_version},
};
#define OPTION_COUNT (sizeof(option_table) / sizeof(option_table[0]))

/* --- Reading --- */

/* Written without a letter, with one too many or another: a slip of it is meant. */
static bool is_slip_of(const char *arg, const char *name)
{
	size_t same = 0, tail = 0, len = strcspn(arg, "="), name_len = strlen(name);

	while (same < len && same < name_len && arg[same] == name[same])
		same++;
	while (tail < len - same && tail < name_len - same &&
		arg[len - 1 - tail] == name[name_len - 1 - tail])
		tail++;
	/* What is left between the two ends differs. */
	return same + tail > 4 && len - same - tail <= 2 && name_len - same - tail <= 2;
}

/* What arg may be meant to be; NULL: nothing of ours. */
static const char *find_similar(const char *arg)
{
	for (unsigned i = 0; i < OPTION_COUNT; i++)
		if (is_slip_of(arg, option_table[i].name))
			return option_table[i].name;
	return NULL;
}

static int fail_unknown(struct reader *reader, const char *arg)
{
	const char *similar = find_similar(arg);

	return fail(reader, "unknown argument %s: %s%s\"dpdk-wg --help\" lists the options", arg,
		similar ? similar : "", similar ? " is meant? " : "");
}

static int fail_no_separator(struct reader *reader, int before)
{
	/* With "--" it would be EAL's; without it is the better guess that it is a slip. */
	if (before > 1 && find_similar(reader->argv[1]))
		return fail_unknown(reader, reader->argv[1]);
	return fail(reader, "\"--\" is missing before %s: dpdk-wg [EAL options] -- [options]",
		reader->argv[before]);
}

/*
 * Ours is what stands behind "--", but for --check, which may stand before it too: it is the same
 * command line then. Without "--", everything is ours if the first argument is: then --check works
 * alone; to run, the "--" is demanded (check_whole()). Who asks for help gets it, wherever he asks.
 */
static int find_separator(struct reader *reader)
{
	const char *value;
	int mistaken = 0, ours = 0;

	for (int i = 1; i < reader->argc; i++) {
		const struct option *option = find_option(reader->argv[i], &value);

		if (option && (option->read == read_help || option->read == read_version)) {
			reader->at = reader->argc;
			return option->read(reader, NULL);
		}
		if (strcmp(reader->argv[i], "--") == 0) {
			reader->options->eal_argc = i;
			reader->at = i + 1;
			if (mistaken)
				return fail(reader,
					"%s stands before \"--\": dpdk-wg [EAL options] -- "
					"[options]",
					reader->argv[mistaken]);
			return ours ? read_check(reader, NULL) : 0;
		}
		if (option && option->read == read_short_help)
			continue;
		if (!ours && option)
			ours = i;
		if (!mistaken && option && option->read != read_check)
			mistaken = i;
	}
	reader->options->eal_argc = ours == 1 ? 1 : reader->argc;
	reader->at = reader->options->eal_argc;
	return ours > 1 ? fail_no_separator(reader, ours) : 0;
}

static bool eal_has(const struct reader *reader, const char *name)
{
	size_t len = strlen(name);

	for (int i = 1; i < reader->options->eal_argc; i++) {
		const char *arg = reader->argv[i];

		if (strncmp(arg, name, len) == 0 && (arg[len] == '\0' || arg[len] == '='))
			return true;
	}
	return false;
}

/* What concerns us of EAL's part. */
static void read_eal(struct reader *reader)
{
	struct options *options = reader->options;

	options->eal_log_level = eal_has(reader, "--log-level");
	options->eal_syslog = eal_has(reader, "--syslog");
	options->eal_prints = eal_has(reader, "-h") || eal_has(reader, "--log-level=help");
	for (int i = 2; i < options->eal_argc; i++)
		options->eal_prints |= strcmp(reader->argv[i - 1], "--log-level") == 0 &&
				       strcmp(reader->argv[i], "help") == 0;
}

/* The option that arg is; *value is what stands behind its '=', or NULL. */
static const struct option *find_option(const char *arg, const char **value)
{
	size_t len = strcspn(arg, "=");

	*value = arg[len] == '=' ? arg + len + 1 : NULL;
	for (unsigned i = 0; i < OPTION_COUNT; i++)
		if (strlen(option_table[i].name) == len &&
			memcmp(option_table[i].name, arg, len) == 0)
			return &option_table[i];
	return NULL;
}

static int read_all(struct reader *reader)
{
	while (reader->at < reader->argc) {
		const char *arg = reader->argv[reader->at++], *value;
		const struct option *option = find_option(arg, &value);
		int rc;

		if (!option)
			return fail_unknown(reader, arg);
		reader->name = option->name;
		if ((option->read == read_aead || option->read == read_mtu) &&
			(reader->seen >> (option - option_table) & 1))
			return fail(reader, "%s is given twice", option->name);
		reader->seen |= 1u << (option - option_table);
		if (!option->argument && value)
			return fail(reader, "%s takes no value", option->name);
		if (option->argument && !value && reader->at < reader->argc)
			value = reader->argv[reader->at++];
		if (option->argument && (!value || value[0] == '\0' || value[0] == '-'))
			return fail(reader, "%s needs a value: %s %s", option->name, option->name,
				option->argument);
		rc = option->read(reader, value);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int check_whole(struct reader *reader)
{
	const struct options *options = reader->options;

	if (options->mode == OPTIONS_HELP || options->mode == OPTIONS_VERSION ||
		options->eal_prints)
		return 0;
	if (options->mode == OPTIONS_RUN && reader->argc > 1 && options->eal_argc == 1 &&
		strcmp(reader->argv[1], "--") != 0)
		return fail_no_separator(reader, 1);
	/* EAL's own line on it speaks of an option that nobody gave. */
	if (eal_has(reader, "--in-memory") && eal_has(reader, "--no-huge"))
		return fail(reader, "--in-memory and --no-huge exclude each other: without "
				    "hugepages leave out --in-memory");
	if (options->handshake_lcore_count > 0 && options->handshake_lcores[0] == 0 &&
		options->eal_argc < reader->argc &&
		strcmp(reader->argv[options->eal_argc], "--") == 0 &&
		!eal_has(reader, "--main-lcore"))
		return fail(reader, "--handshake-lcores: lcore 0 is the main one, which is "
				    "control's");
	if (options->interface_count == 0)
		return fail(
			reader, "no WireGuard interface: give --config FILE or --interface NAME");
	for (unsigned i = 0; options->capture && i < options->interface_count; i++)
		if (strcmp(options->interfaces[i].name, OPTIONS_CAPTURE_NAME) == 0)
			return fail(reader, "--capture: the name " OPTIONS_CAPTURE_NAME
					    " is a WireGuard interface's: choose another for that");
	/* A check is of what is given; a config file may be checked alone. */
	if (options->mode == OPTIONS_RUN && options->outer_count == 0)
		return fail(reader, "no port for encrypted traffic: give --outer DEV");
	return 0;
}

/* --- Output --- */

void options_print_help(FILE *to)
{
	fputs("dpdk-wg: a WireGuard gateway on DPDK\n\n"
	      "  dpdk-wg [EAL options] -- [options]\n\n",
		to);
	for (unsigned i = 0; i < OPTION_COUNT; i++) {
		const struct option *option = &option_table[i];

		if (!option->help)
			continue;
		fprintf(to, "  %s%s%s\n        %s\n", option->name, option->argument ? " " : "",
			option->argument ? option->argument : "", option->help);
	}
	fputs("\nEAL's options (cores, memory, devices) stand before the \"--\"; \"dpdk-wg -h\" "
	      "lists "
	      "them.\nRun it with a port for each side:\n"
	      "  dpdk-wg --lcores 0-2 -a 0000:17:00.0 -a 0000:17:00.1 -- \\\n"
	      "          --outer 0000:17:00.0 --inner 0000:17:00.1 --config "
	      "/etc/wireguard/wg0.conf\n"
	      "Exit status: 0 after a clean end, 1 when something failed, 2 for a wrong command "
	      "line.\n",
		to);
}

void options_print_version(FILE *to)
{
	fputs("dpdk-wg " DPDK_WG_VERSION "\n", to);
}
