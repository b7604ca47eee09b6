/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "app/config_load.h"

#define HEAD                                                                                       \
	"[Interface]\nPrivateKey = gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=\n[Peer]\n"         \
	"PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"

static char message[UAPI_MESSAGE_BYTES];
static char directory[] = "/tmp/dpdk-wg-test-XXXXXX", path[64];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/wg0.conf", directory);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void write_file(const char *text, size_t padding, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	for (size_t i = 0; i < padding; i++)
		fputs("# a comment that makes the file long\n", file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

/* Longer than what is read at a time, with a last line that counts. */
static void test_long_file(void **state)
{
	struct uapi_config config;
	FILE *file;

	(void)state;
	write_file(HEAD, 20000, 0600);
	file = fopen(path, "a");
	fputs("PersistentKeepalive = 7", file);
	fclose(file);
	uapi_config_init(&config);
	assert_int_equal(config_load(&config, path, message), 0);
	assert_int_equal(config.peers[0].persistent_keepalive, 7);
	assert_int_equal(config.warning_count, 0);
	uapi_config_clear(&config);
}

static void test_readable_by_all(void **state)
{
	struct uapi_config config;
	char expected[200];

	(void)state;
	write_file(HEAD, 0, 0644);
	uapi_config_init(&config);
	assert_int_equal(config_load(&config, path, message), 0);
	snprintf(expected, sizeof(expected),
		"%s: every user of this host may read the private key: chmod 600", path);
	assert_int_equal(config.warning_count, 1);
	assert_string_equal(config.warnings[0], expected);
	uapi_config_clear(&config);
}

static void test_unreadable(void **state)
{
	struct uapi_config config;

	(void)state;
	uapi_config_init(&config);
	assert_int_equal(config_load(&config, "/no/such/wg0.conf", message), -ENOENT);
	assert_string_equal(
		message, "/no/such/wg0.conf: cannot be read: No such file or directory");
	assert_int_equal(config_load(&config, "/", message), -EISDIR);
	write_file("[Interface]\nMTU = x\n", 0, 0600);
	assert_int_equal(config_load(&config, path, message), -EINVAL);
	assert_non_null(strstr(message, "wg0.conf:2: MTU \"x\""));
}

/* None of them is waited for, or read to an end that never comes. */
static void test_odd_files(void **state)
{
	struct uapi_config config;

	(void)state;
	uapi_config_init(&config);
	assert_int_equal(config_load(&config, "/dev/zero", message), -ENOTSUP);
	assert_string_equal(message, "/dev/zero: cannot be read: not a regular file");
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(config_load(&config, path, message), -ENOTSUP);
	unlink(path);
	write_file(HEAD, 0, 0600);
	assert_int_equal(truncate(path, (off_t)600 << 20), 0); /* sparse */
	assert_int_equal(config_load(&config, path, message), -EFBIG);
	assert_non_null(strstr(message, "wg0.conf: cannot be read: larger than 512 MiB"));
}

/* "localhost" is in the hosts file; names under .invalid never exist (RFC 2606). */
static bool yes(void)
{
	return true;
}

static bool no(void)
{
	return false;
}

static void test_resolve(void **state)
{
	struct uapi_config config;
	char text[ENDPOINT_STRLEN];

	(void)state;
	write_file(HEAD "Endpoint = localhost:51820\n[Peer]\n"
			"PublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n"
			"Endpoint = no-such-host.invalid:1\n",
		0, 0600);
	uapi_config_init(&config);
	assert_int_equal(config_load(&config, path, message), 0);
	assert_int_equal(config_resolve(&config, "wg0.conf", yes), -EINTR);
	assert_non_null(config.peers[0].endpoint_host);
	assert_int_equal(config_resolve(&config, "wg0.conf", no), 0);
	endpoint_format(&config.peers[0].endpoint, text);
	assert_true(strcmp(text, "127.0.0.1:51820") == 0 || strcmp(text, "[::1]:51820") == 0);
	assert_true(config.peers[0].set_endpoint);
	assert_null(config.peers[0].endpoint_host);
	assert_false(config.peers[1].set_endpoint);
	assert_int_equal(config.warning_count, 1);
	assert_non_null(strstr(config.warnings[0],
		"wg0.conf:8: Endpoint no-such-host.invalid cannot be resolved"));
	uapi_config_clear(&config);
}

/* An interface that came after the file was read, and one that did not. */
static void test_resolve_interface(void **state)
{
	struct uapi_config config;
	char *host;

	(void)state;
	write_file(HEAD "Endpoint = [fe80::1%no-such0]:51820\n[Peer]\n"
			"PublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n"
			"Endpoint = [fe80::2%no-such0]:1\n",
		0, 0600);
	uapi_config_init(&config);
	assert_int_equal(config_load(&config, path, message), 0);
	host = config.peers[0].endpoint_host;
	assert_string_equal(host, "[fe80::1%no-such0]");
	strcpy(host, "[fe80::1%lo]");
	assert_int_equal(config_resolve(&config, "wg0.conf", no), 0);
	assert_true(config.peers[0].set_endpoint);
	assert_null(config.peers[0].endpoint_host);
	assert_int_equal(config.peers[0].endpoint.addr.family, IP_V6);
	assert_int_equal(config.peers[0].endpoint.scope_id, if_nametoindex("lo"));
	assert_int_equal(config.peers[0].endpoint.port, 51820);
	assert_false(config.peers[1].set_endpoint);
	assert_int_equal(config.warning_count, 1);
	assert_non_null(strstr(config.warnings[0],
		"wg0.conf:8: Endpoint [fe80::2%no-such0] cannot be resolved (there is no interface "
		"of that name on this host)"));
	uapi_config_clear(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_file),
		cmocka_unit_test(test_readable_by_all),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_odd_files),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_resolve_interface),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
