/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "uapi/config.h"

static void test_interface_names(void **state)
{
	static const char *const good[] = {
		"wg0", "a", "0", "A-b_c=d+e.f", "123456789012345", "..."};
	static const char *const bad[] = {"", ".", "..", "1234567890123456", "wg 0", "wg/0", "wg:0",
		"w\xc3\xa4", "wg0\n", "a%b"};

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(uapi_interface_name_valid(good[i]));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(uapi_interface_name_valid(bad[i]));
}

static void test_allowed_ips_stand_with_their_peer(void **state)
{
	struct uapi_config config;

	(void)state;
	uapi_config_init(&config);
	for (unsigned i = 0; i < 100; i++) {
		struct uapi_peer *peer = uapi_config_add_peer(&config);

		assert_non_null(peer);
		peer->public_key[0] = (uint8_t)i;
		for (unsigned j = 0; j < i % 4; j++) {
			struct uapi_allowed_ip *ip = uapi_config_add_allowed_ip(&config);

			assert_non_null(ip);
			ip->prefix.addr.bytes[0] = (uint8_t)i;
			ip->prefix.addr.bytes[1] = (uint8_t)j;
		}
	}
	for (unsigned i = 0; i < 100; i++) {
		const struct uapi_peer *peer = &config.peers[i];

		assert_int_equal(peer->public_key[0], i);
		assert_int_equal(peer->allowed_ip_count, i % 4);
		for (unsigned j = 0; j < i % 4; j++) {
			const struct ip_prefix *prefix =
				&uapi_peer_allowed_ips(&config, peer)[j].prefix;

			assert_int_equal(prefix->addr.bytes[0], i);
			assert_int_equal(prefix->addr.bytes[1], j);
		}
	}
	uapi_config_clear(&config);
	assert_null(config.peers);
	assert_int_equal(config.peer_count, 0);
}

static void test_limits(void **state)
{
	struct uapi_config config;

	(void)state;
	uapi_config_init(&config);
	for (unsigned i = 0; i < UAPI_MAX_ADDRESSES; i++)
		assert_non_null(uapi_config_add_address(&config));
	assert_null(uapi_config_add_address(&config));
	assert_int_equal(errno, E2BIG);
	for (unsigned i = 0; i < UAPI_MAX_WARNINGS + 5; i++)
		uapi_config_warn(&config, "warning %u", i);
	assert_int_equal(config.warning_count, UAPI_MAX_WARNINGS);
	assert_int_equal(config.warnings_left_out, 5);
	assert_string_equal(config.warnings[3], "warning 3");
	uapi_config_clear(&config);
}

static void test_resolve_keeps_the_port(void **state)
{
	struct ip_addr addr = {.family = IP_V4, .bytes = {192, 0, 2, 1}};
	struct uapi_config config;
	struct uapi_peer *peer;

	(void)state;
	uapi_config_init(&config);
	peer = uapi_config_add_peer(&config);
	peer->endpoint_host = strdup("vpn.example");
	peer->endpoint.port = 51820;
	uapi_peer_resolve(peer, &addr, 7);
	assert_null(peer->endpoint_host);
	assert_true(ip_addr_equal(&peer->endpoint.addr, &addr));
	assert_int_equal(peer->endpoint.port, 51820);
	assert_int_equal(peer->endpoint.scope_id, 7);
	uapi_config_clear(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interface_names),
		cmocka_unit_test(test_allowed_ips_stand_with_their_peer),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_resolve_keeps_the_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
