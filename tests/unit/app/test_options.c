/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "app/options.h"

static char message[OPTIONS_MESSAGE_BYTES];
static char *words[256];
static int word_count;
static char line[4096];

/* Splits a command line at its spaces; the options point into it until the next call. */
static int parse(struct options *options, const char *text)
{
	char *save;

	snprintf(line, sizeof(line), "%s", text);
	word_count = 0;
	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[word_count++] = word;
	words[word_count] = NULL;
	return options_parse(options, word_count, words, message);
}

static void test_everything(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(
		parse(&options, "dpdk-wg --lcores 0-2 -a 0000:17:00.0 -- --outer 0000:17:00.0 "
				"--outer=1 --inner 0000:17:00.0 --config "
				"/etc/wireguard/wg0.conf --interface wg1 --poll --aead sodium "
				"--mtu 9000 --clamp-mss --capture"),
		0);
	assert_int_equal(options.mode, OPTIONS_RUN);
	assert_int_equal(options.eal_argc, 5);
	assert_string_equal(words[options.eal_argc], "--");
	assert_int_equal(options.outer_count, 2);
	assert_string_equal(options.outer[0], "0000:17:00.0");
	assert_string_equal(options.outer[1], "1");
	assert_int_equal(options.inner_count, 1);
	assert_int_equal(options.interface_count, 2);
	assert_string_equal(options.interfaces[0].name, "wg0");
	assert_string_equal(options.interfaces[0].path, "/etc/wireguard/wg0.conf");
	assert_string_equal(options.interfaces[1].name, "wg1");
	assert_null(options.interfaces[1].path);
	assert_true(options.poll);
	assert_int_equal(options.aead, AEAD_BACKEND_SODIUM);
	assert_int_equal(options.mtu, 9000);
	assert_true(options.clamp_mss);
	assert_true(options.capture);
}

static void test_defaults(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(parse(&options, "dpdk-wg -- --outer 0 --config wg0.conf"), 0);
	assert_int_equal(options.eal_argc, 1);
	assert_int_equal(options.inner_count, 0);
	assert_false(options.poll);
	assert_int_equal(options.aead, AEAD_BACKEND_AUTO);
	assert_int_equal(options.mtu, 0);
	assert_false(options.clamp_mss);
	assert_false(options.capture);
}

/* Without EAL, and wherever somebody may look for it. */
static void test_modes(void **state)
{
	static const struct {
		const char *text;
		enum options_mode mode;
	} cases[] = {
		{"dpdk-wg --help", OPTIONS_HELP},
		{"dpdk-wg -l 0 -- --help", OPTIONS_HELP},
		{"dpdk-wg -l 0 --help", OPTIONS_HELP},
		{"dpdk-wg --outer x --nonsense --help", OPTIONS_HELP},
		{"dpdk-wg --version", OPTIONS_VERSION},
		{"dpdk-wg -- --version", OPTIONS_VERSION},
		{"dpdk-wg --check --config wg0.conf", OPTIONS_CHECK},
		{"dpdk-wg --config wg0.conf --check", OPTIONS_CHECK},
		{"dpdk-wg -l 0 -- --outer 0 --check --config a/wg0.conf", OPTIONS_CHECK},
		{"dpdk-wg --check -l 0 -- --outer 0 --config a/wg0.conf", OPTIONS_CHECK},
		{"dpdk-wg -l 0 --check -- --outer 0 --config a/wg0.conf", OPTIONS_CHECK},
	};
	struct options options;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (parse(&options, cases[i].text) != 0)
			fail_msg("%s: %s", cases[i].text, message);
		assert_int_equal(options.mode, cases[i].mode);
	}
}

/* EAL prints its own help when it gets that far. */
static void test_help_of_eal(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(parse(&options, "dpdk-wg -h"), 0);
	assert_int_equal(options.mode, OPTIONS_RUN);
	assert_int_equal(options.eal_argc, 2);
	assert_true(options.eal_prints);
	assert_int_equal(parse(&options, "dpdk-wg --log-level help"), 0);
	assert_true(options.eal_prints);
	assert_int_equal(parse(&options, "dpdk-wg --log-level 5 -- --outer 0 --interface a"), 0);
	assert_true(options.eal_log_level && !options.eal_prints && !options.eal_syslog);
	assert_int_equal(parse(&options, "dpdk-wg --syslog user -- --outer 0 --interface a"), 0);
	assert_true(options.eal_syslog);
	assert_int_equal(parse(&options, "dpdk-wg -l 0 -- --outer 0 -h"), 0);
	assert_int_equal(options.mode, OPTIONS_HELP);
}

/* Where another lcore is the main one, 0 is like any other. */
static void test_main_lcore(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(parse(&options, "dpdk-wg --lcores 0-3 --main-lcore 1 -- --outer 0 "
					 "--interface wg0 --handshake-lcores 0"),
		0);
	assert_int_equal(
		parse(&options, "dpdk-wg --check --interface wg0 --handshake-lcores 0"), 0);
}

/* What a machine lacks is told with what it has. */
static void test_aead_of_this_cpu(void **state)
{
	struct options options;
	struct aead_batch *batch = aead_batch_create(AEAD_BACKEND_AVX512);

	(void)state;
	if (batch) {
		aead_batch_destroy(batch);
		skip();
	}
	assert_int_equal(parse(&options, "dpdk-wg -- --aead avx512"), -EINVAL);
	assert_non_null(strstr(message, "--aead avx512: this CPU lacks what it needs; it has "));
	assert_non_null(strstr(message, "sodium"));
	assert_null(strstr(strstr(message, "it has"), "avx512"));
}

static const struct {
	const char *text, *message;
} bad[] = {
	{"dpdk-wg", "no WireGuard interface: give --config FILE or --interface NAME"},
	{"dpdk-wg -l 0 --", "no WireGuard interface: give --config FILE or --interface NAME"},
	{"dpdk-wg -- --interface wg0", "no port for encrypted traffic: give --outer DEV"},
	{"dpdk-wg -- --outre 0",
		"unknown argument --outre: --outer is meant? \"dpdk-wg --help\" lists the options"},
	{"dpdk-wg --chek --config wg0.conf",
		"unknown argument --chek: --check is meant? \"dpdk-wg --help\" lists the options"},
	{"dpdk-wg --lcores 0-1 --config wg0.conf",
		"\"--\" is missing before --config: dpdk-wg [EAL options] -- [options]"},
	{"dpdk-wg --no-pci --check --config wg0.conf",
		"\"--\" is missing before --check: dpdk-wg [EAL options] -- [options]"},
	{"dpdk-wg --in-memory --no-huge -m 256 -- --outer 0 --interface wg0",
		"--in-memory and --no-huge exclude each other: without hugepages leave out "
		"--in-memory"},
	{"dpdk-wg --lcores 0-3 -- --outer 0 --interface wg0 --handshake-lcores 0",
		"--handshake-lcores: lcore 0 is the main one, which is control's"},
	{"dpdk-wg -- --mtu 1500 --mtu 9000", "--mtu is given twice"},
	{"dpdk-wg -- --aead sodium --aead=auto", "--aead is given twice"},
	{"dpdk-wg -- wg0.conf", "unknown argument wg0.conf: \"dpdk-wg --help\" lists the options"},
	{"dpdk-wg --outer 0 --interface wg0",
		"\"--\" is missing before --outer: dpdk-wg [EAL options] -- [options]"},
	{"dpdk-wg -l 0 --outer 0 --interface wg0",
		"\"--\" is missing before --outer: dpdk-wg [EAL options] -- [options]"},
	{"dpdk-wg --outer 0 -- --interface wg0",
		"--outer stands before \"--\": dpdk-wg [EAL options] -- [options]"},
	{"dpdk-wg -- --outer", "--outer needs a value: --outer DEV"},
	{"dpdk-wg -- --outer=", "--outer needs a value: --outer DEV"},
	{"dpdk-wg -- --outer --poll", "--outer needs a value: --outer DEV"},
	{"dpdk-wg -- --handshake-lcores 2,x",
		"--handshake-lcores 2,x: must be a list of lcores, as 2,4-6"},
	{"dpdk-wg -- --handshake-lcores 5-3",
		"--handshake-lcores 5-3: must be a list of lcores, as 2,4-6"},
	{"dpdk-wg -- --handshake-lcores 2,,3",
		"--handshake-lcores 2,,3: must be a list of lcores, as 2,4-6"},
	{"dpdk-wg -- --handshake-lcores 2-",
		"--handshake-lcores 2-: must be a list of lcores, as 2,4-6"},
	{"dpdk-wg -- --handshake-lcores 12345",
		"--handshake-lcores 12345: must be a list of lcores, as 2,4-6"},
	{"dpdk-wg -- --handshake-lcores 2-4,3", "--handshake-lcores: lcore 3 is given twice"},
	{"dpdk-wg -- --handshake-lcores 0-64", "--handshake-lcores: at most 64 lcores"},
	{"dpdk-wg -- --poll=yes", "--poll takes no value"},
	{"dpdk-wg -- --outer 0 --outer 0", "--outer 0 is given twice"},
	{"dpdk-wg -- --interface wg0 --interface wg0",
		"--interface wg0: the interface wg0 is given twice"},
	{"dpdk-wg -- --interface wg0 --config /x/wg0.conf",
		"--config /x/wg0.conf: the interface wg0 is given twice"},
	{"dpdk-wg -- --interface outer0",
		"--interface outer0: the name outer0 is taken: choose another, as wg0"},
	{"dpdk-wg -- --config inner12.conf",
		"--config inner12.conf: the name inner12 is taken: choose another, as wg0"},
	{"dpdk-wg -- --outer 0 --interface capture0 --capture",
		"--capture: the name capture0 is a WireGuard interface's: choose another for that"},
	{"dpdk-wg -- --interface lo",
		"--interface lo: the name lo is taken: choose another, as wg0"},
	{"dpdk-wg -- --interface wg/0",
		"--interface wg/0: an interface's name is made of a-z A-Z 0-9 _ = + . -"},
	{"dpdk-wg -- --interface ..",
		"--interface ..: an interface's name is made of a-z A-Z 0-9 _ = + . -"},
	{"dpdk-wg -- --interface abcdefghijklmnop",
		"--interface abcdefghijklmnop: an interface's name has 1 to 15 characters"},
	{"dpdk-wg -- --config /etc/wireguard/wg0",
		"--config /etc/wireguard/wg0: the file must be called NAME.conf, as "
		"wg0.conf"},
	{"dpdk-wg -- --config /etc/wireguard/.conf",
		"--config /etc/wireguard/.conf: the file must be called NAME.conf, as "
		"wg0.conf"},
	{"dpdk-wg -- --aead openssl",
		"--aead openssl: must be one of auto, sodium, ipsec-mb, avx2, avx512"},
	{"dpdk-wg -- --mtu 1279", "--mtu 1279: must be 1280 to 9216"},
	{"dpdk-wg -- --mtu 9217", "--mtu 9217: must be 1280 to 9216"},
	{"dpdk-wg -- --mtu 9000k", "--mtu 9000k: must be 1280 to 9216"},
	{"dpdk-wg -- --mtu 18446744073709560616",
		"--mtu 18446744073709560616: must be 1280 to 9216"},
};

static void test_bad(void **state)
{
	struct options options;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(&options, bad[i].text) != -EINVAL)
			fail_msg("%s was accepted", bad[i].text);
		assert_string_equal(message, bad[i].message);
	}
}

static void test_names_that_are_free(void **state)
{
	struct options options;

	(void)state;
	assert_int_equal(
		parse(&options, "dpdk-wg -- --outer 0 --interface outer --interface outer0a "
				"--interface inner-1 --interface abcdefghijklmno"),
		0);
	assert_int_equal(options.interface_count, 4);
}

static void test_limits(void **state)
{
	struct options options;
	char text[4000];
	size_t len;

	(void)state;
	len = (size_t)snprintf(text, sizeof(text), "dpdk-wg -- --outer 0");
	for (int i = 0; i <= LIMIT_INTERFACES; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " --interface wg%d", i);
	assert_int_equal(parse(&options, text), -EINVAL);
	assert_string_equal(message, "--interface wg16: at most 16 interfaces");
	len = (size_t)snprintf(text, sizeof(text), "dpdk-wg -- --interface wg0");
	for (int i = 0; i <= LIMIT_PORTS; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " --inner %d", i);
	assert_int_equal(parse(&options, text), -EINVAL);
	assert_string_equal(message, "--inner 16: at most 16 of them");
}

/* The help names every option. */
static void test_help(void **state)
{
	static const char *const names[] = {"--outer DEV", "--inner DEV", "--config FILE",
		"--interface NAME", "--aead NAME", "--mtu BYTES", "--clamp-mss", "--capture",
		"--handshake-lcores LIST", "--poll", "--check", "--help", "--version"};
	char *text;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	(void)state;
	options_print_help(to);
	fflush(to);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(text, names[i]));
	fclose(to);
	free(text);
	to = open_memstream(&text, &len);
	options_print_version(to);
	fclose(to);
	assert_int_equal(strncmp(text, "dpdk-wg 0.", 10), 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_help_of_eal),
		cmocka_unit_test(test_main_lcore),
		cmocka_unit_test(test_aead_of_this_cpu),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_names_that_are_free),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
