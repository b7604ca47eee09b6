/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "fake_device.h"
#include "uapi/apply.h"
#include "uapi/protocol.h"

#define HEX_A "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"
#define HEX_B "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33"
#define HEX_C "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52"
#define ZERO  "0000000000000000000000000000000000000000000000000000000000000000"

static const struct uapi_hooks no_hooks;
static const struct wg_time now = {1000, 2000};

/* Feeds text in pieces of step bytes, each an exact copy on the heap; returns the bytes used. */
static size_t feed(struct uapi_parser *parser, const char *text, size_t len, size_t step)
{
	size_t used = 0;

	while (used < len) {
		size_t n = len - used < step ? len - used : step, did;
		char *copy = malloc(n);

		memcpy(copy, text + used, n);
		did = uapi_parser_feed(parser, copy, n);
		free(copy);
		used += did;
		if (uapi_parser_request(parser) != UAPI_REQUEST_NONE)
			break;
		assert_int_equal(did, n);
	}
	return used;
}

static const char everything[] = "set=1\n"
				 "private_key=" HEX_A "\n"
				 "listen_port=12912\n"
				 "fwmark=51966\n"
				 "replace_peers=true\n"
				 "public_key=" HEX_B "\n"
				 "preshared_key=" HEX_C "\n"
				 "protocol_version=1\n"
				 "endpoint=[abcd:23::33%2]:51820\n"
				 "persistent_keepalive_interval=111\n"
				 "replace_allowed_ips=true\n"
				 "allowed_ip=192.168.4.7/24\n"
				 "allowed_ip=-10.0.0.0/8\n"
				 "allowed_ip=+::/0\n"
				 "public_key=" HEX_C "\n"
				 "update_only=true\n"
				 "endpoint=[fe80::1%lo]:9\n"
				 "public_key=" HEX_A "\n"
				 "remove=true\n"
				 "\n";

static void check_everything(const struct uapi_config *config)
{
	const struct uapi_peer *peer = config->peers;
	char text[ENDPOINT_STRLEN];

	assert_true(config->set_private_key && config->set_listen_port && config->set_fwmark &&
		    config->replace_peers);
	assert_int_equal(config->private_key[0], 0xe8);
	assert_int_equal(config->listen_port, 12912);
	assert_int_equal(config->fwmark, 51966);
	assert_int_equal(config->peer_count, 3);
	assert_int_equal(peer->public_key[0], 0xb8);
	assert_true(peer->set_preshared_key && peer->set_endpoint &&
		    peer->set_persistent_keepalive && peer->replace_allowed_ips);
	assert_false(peer->remove || peer->update_only);
	assert_int_equal(peer->preshared_key[0], 0x18);
	assert_string_equal(endpoint_format(&peer->endpoint, text), "[abcd:23::33%2]:51820");
	assert_int_equal(peer->persistent_keepalive, 111);
	assert_int_equal(peer->allowed_ip_count, 3);
	assert_string_equal(
		ip_prefix_format(&config->allowed_ips[0].prefix, text), "192.168.4.0/24");
	assert_false(config->allowed_ips[0].remove);
	assert_true(config->allowed_ips[1].remove);
	assert_false(config->allowed_ips[2].remove);
	peer++;
	assert_true(peer->update_only);
	assert_false(peer->set_preshared_key || peer->set_persistent_keepalive || peer->remove ||
		     peer->replace_allowed_ips);
	assert_null(peer->endpoint_host);
	assert_int_equal(peer->endpoint.scope_id, 1);
	assert_int_equal(peer->endpoint.port, 9);
	peer++;
	assert_true(peer->remove);
}

/* The same result, however the bytes arrive. */
static void test_set_in_pieces(void **state)
{
	struct uapi_parser *parser = uapi_parser_create();

	(void)state;
	for (size_t step = 1; step < 80; step++) {
		assert_int_equal(feed(parser, everything, sizeof(everything) - 1, step),
			sizeof(everything) - 1);
		assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_SET);
		check_everything(uapi_parser_config(parser));
		uapi_parser_reset(parser);
	}
	uapi_parser_destroy(parser);
}

static void test_requests_one_after_the_other(void **state)
{
	static const char text[] = "get=1\n\n\nset=1\nlisten_port=1\n\nget=1\n\nset=1\n\n";
	static const enum uapi_request expected[] = {
		UAPI_REQUEST_GET, UAPI_REQUEST_SET, UAPI_REQUEST_GET, UAPI_REQUEST_SET};
	struct uapi_parser *parser = uapi_parser_create();
	size_t at = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		at += feed(parser, text + at, strlen(text) - at, 1000);
		assert_int_equal(uapi_parser_request(parser), expected[i]);
		if (i == 1)
			assert_int_equal(uapi_parser_config(parser)->listen_port, 1);
		if (i == 3) /* nothing is left over from the one before */
			assert_false(uapi_parser_config(parser)->set_listen_port);
		uapi_parser_reset(parser);
	}
	assert_int_equal(at, strlen(text));
	uapi_parser_destroy(parser);
}

/* --- What is wrong --- */

#define INTERFACE_KEYS                                                                             \
	"before the first public_key, private_key, listen_port, fwmark and replace_peers are "     \
	"known"
#define PEER_KEYS                                                                                  \
	"after a public_key, preshared_key, endpoint, persistent_keepalive_interval, allowed_ip, " \
	"replace_allowed_ips, update_only, remove and protocol_version are known"

static const struct {
	const char *keys, *reason;
} bad[] = {
	{"foo=1\n", "line 2: unknown key \"foo\": " INTERFACE_KEYS},
	{"allowed_ip=10.0.0.0/8\n", "line 2: unknown key \"allowed_ip\": " INTERFACE_KEYS},
	{"public_key=" HEX_A "\nfoo=1\n", "line 3: unknown key \"foo\": " PEER_KEYS},
	{"public_key=" HEX_A "\nlisten_port=1\n",
		"line 3: unknown key \"listen_port\": " PEER_KEYS},
	{HEX_A "=\n", "line 2: unknown key (not shown: it may be secret): " INTERFACE_KEYS},
	{"private_key=1234\n", "line 2: private_key must be 64 hexadecimal digits"},
	{"listen_port=65536\n", "line 2: listen_port \"65536\": must be 0 to 65535"},
	{"listen_port=\n", "line 2: listen_port \"\": must be 0 to 65535"},
	{"fwmark=4294967296\n", "line 2: fwmark \"4294967296\": must be a number below 2^32"},
	{"fwmark=0x1\n", "line 2: fwmark \"0x1\": must be a number below 2^32"},
	{"replace_peers=false\n", "line 2: replace_peers \"false\": must be \"true\""},
	{"public_key=zz\n", "line 2: public_key \"zz\": must be 64 hexadecimal digits"},
	{"public_key=" HEX_A "\npreshared_key=\n",
		"line 3: preshared_key must be 64 hexadecimal digits"},
	{"public_key=" HEX_A "\nendpoint=vpn.example.com:1\n",
		"line 3: endpoint \"vpn.example.com:1\": must be ADDRESS:PORT, as "
		"192.0.2.1:51820 or [2001:db8::1]:51820"},
	{"public_key=" HEX_A "\nendpoint=192.0.2.1:65536\n",
		"line 3: endpoint \"192.0.2.1:65536\": the port must be 1 to 65535"},
	{"public_key=" HEX_A "\nallowed_ip=10.0.0.0/33\n",
		"line 3: allowed_ip \"10.0.0.0/33\": prefix length must be 0 to 32"},
	{"public_key=" HEX_A "\nallowed_ip=--10.0.0.0/8\n",
		"line 3: allowed_ip \"--10.0.0.0/8\": must be an address with an optional "
		"prefix length, as 192.0.2.0/24 or 2001:db8::/32"},
	{"public_key=" HEX_A "\nallowed_ip=\n",
		"line 3: allowed_ip \"\": must be an address with an optional prefix "
		"length, as 192.0.2.0/24 or 2001:db8::/32"},
	{"public_key=" HEX_A "\npersistent_keepalive_interval=off\n",
		"line 3: persistent_keepalive_interval \"off\": must be 0 to 65535 seconds"},
	{"public_key=" HEX_A "\nprotocol_version=2\n", "line 3: protocol_version \"2\": must be 1"},
	{"public_key=" HEX_A "\nremove=1\n", "line 3: remove \"1\": must be \"true\""},
};

/* A bad request is read to its end, answered, and the next one works. */
static void test_bad(void **state)
{
	struct uapi_parser *parser = uapi_parser_create();
	char text[1024];

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t len = (size_t)snprintf(
			text, sizeof(text), "set=1\n%sgarbage\nfoo=2\n\nget=1\n\n", bad[i].keys);
		size_t used = feed(parser, text, len, 7);

		assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_BAD);
		assert_int_equal(uapi_parser_errno(parser), -EINVAL);
		assert_string_equal(uapi_parser_reason(parser), bad[i].reason);
		assert_int_equal(uapi_parser_config(parser)->peer_count, 0);
		uapi_parser_reset(parser);
		feed(parser, text + used, len - used, 1000);
		assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_GET);
		uapi_parser_reset(parser);
	}
	uapi_parser_destroy(parser);
}

/* Not even a key: wireguard-go's answer, too. */
static void test_no_key(void **state)
{
	static const char text[] = "set=1\nlisten_port=1\nlisten_port\nfoo=1\n\n";
	struct uapi_parser *parser = uapi_parser_create();

	(void)state;
	feed(parser, text, strlen(text), 1000);
	assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_BAD);
	assert_int_equal(uapi_parser_errno(parser), -EPROTO);
	assert_string_equal(uapi_parser_reason(parser), "line 3: must be key=value");
	uapi_parser_destroy(parser);
}

static void test_long_line(void **state)
{
	struct uapi_parser *parser = uapi_parser_create();
	char text[3000];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "set=1\n", 6);
	memcpy(text + sizeof(text) - 2, "\n\n", 2);
	for (size_t step = 1; step <= sizeof(text); step += 499) {
		feed(parser, text, sizeof(text), step);
		assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_BAD);
		assert_string_equal(uapi_parser_reason(parser), "line 2: longer than 256 bytes");
		uapi_parser_reset(parser);
	}
	uapi_parser_destroy(parser);
}

/* The end of what is not this protocol cannot be known: do not wait for it. */
static void test_not_the_protocol(void **state)
{
	static const char *const texts[] = {"get=2\n", "hello\n", "GET / HTTP/1.1\r\n", "set=1 \n"};
	struct uapi_parser *parser = uapi_parser_create();
	char text[1000];

	(void)state;
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		feed(parser, texts[i], strlen(texts[i]), 3);
		assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_BROKEN);
		assert_int_equal(uapi_parser_errno(parser), -EPROTO);
		uapi_parser_reset(parser);
	}
	memset(text, 'x', sizeof(text)); /* and no newline ever */
	feed(parser, text, sizeof(text), 100);
	assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_BROKEN);
	uapi_parser_destroy(parser);
}

static void test_clearing_values(void **state)
{
	static const char *const texts[] = {"set=1\nprivate_key=\nfwmark=\nlisten_port=0\n\n",
		"set=1\nprivate_key=" ZERO "\nfwmark=0\nlisten_port=0\n\n"};
	static const uint8_t zero[WG_KEY_BYTES];
	struct uapi_parser *parser = uapi_parser_create();

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct uapi_config *config = uapi_parser_config(parser);

		feed(parser, texts[i], strlen(texts[i]), 1000);
		assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_SET);
		assert_true(
			config->set_private_key && config->set_fwmark && config->set_listen_port);
		assert_memory_equal(config->private_key, zero, sizeof(zero));
		assert_int_equal(config->fwmark, 0);
		uapi_parser_reset(parser);
	}
	uapi_parser_destroy(parser);
}

static void test_mutated(void **state)
{
	struct uapi_parser *parser = uapi_parser_create();
	unsigned seed = (unsigned)time(NULL);
	char text[sizeof(everything)];

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 10000; i++) {
		size_t len = (size_t)random() % sizeof(text);

		memcpy(text, everything, sizeof(text));
		for (long n = random() % 4; n > 0; n--)
			text[(size_t)random() % sizeof(text)] =
				random() % 2 ? (char)random() : "\n[]=:/.%-0"[random() % 10];
		feed(parser, text, len, 1 + (size_t)random() % 100);
		uapi_parser_reset(parser);
	}
	uapi_parser_destroy(parser);
}

/* --- Answers --- */

static char *print_all(struct wg_device *device, uint16_t listen_port, uint32_t fwmark)
{
	struct uapi_printer *printer = uapi_printer_create(device, listen_port, fwmark);
	char *all = calloc(1, 1);
	size_t len = 0, n;
	const char *piece;

	while (uapi_printer_next(printer, &piece, &n) == 1) {
		char *longer = realloc(all, len + n + 1);
		assert_non_null(longer);
		all = longer;
		memcpy(all + len, piece, n);
		len += n;
		all[len] = '\0';
	}
	uapi_printer_destroy(printer);
	return all;
}

static void apply_text(struct wg_device *device, const char *text)
{
	struct uapi_parser *parser = uapi_parser_create();

	assert_int_equal(feed(parser, text, strlen(text), 4096), strlen(text));
	if (uapi_parser_request(parser) != UAPI_REQUEST_SET)
		fail_msg("%s", uapi_parser_reason(parser));
	assert_int_equal(uapi_apply(device, uapi_parser_config(parser), &no_hooks, now, NULL), 0);
	uapi_parser_destroy(parser);
}

static void test_print_nothing(void **state)
{
	struct wg_device *device = fake_device_create();
	char *text = print_all(device, 0, 0);

	(void)state;
	assert_string_equal(text, "errno=0\n\n");
	free(text);
	fake_device_destroy(device);
}

static void test_print(void **state)
{
	static const char expected[] = "private_key=" HEX_A "\n"
				       "listen_port=12912\n"
				       "fwmark=7\n"
				       "public_key=" HEX_B "\n"
				       "preshared_key=" HEX_C "\n"
				       "protocol_version=1\n"
				       "endpoint=[abcd:23::33%2]:51820\n"
				       "last_handshake_time_sec=1700000000\n"
				       "last_handshake_time_nsec=123456789\n"
				       "tx_bytes=38333\n"
				       "rx_bytes=18446744073709551615\n"
				       "persistent_keepalive_interval=111\n"
				       "allowed_ip=192.168.4.0/24\n"
				       "allowed_ip=::/0\n"
				       "public_key=" HEX_C "\n"
				       "protocol_version=1\n"
				       "last_handshake_time_sec=0\n"
				       "last_handshake_time_nsec=0\n"
				       "tx_bytes=0\n"
				       "rx_bytes=0\n"
				       "persistent_keepalive_interval=0\n"
				       "errno=0\n"
				       "\n";
	struct wg_device *device = fake_device_create();
	char *text;

	(void)state;
	apply_text(device,
		"set=1\nprivate_key=" HEX_A "\npublic_key=" HEX_B "\npreshared_key=" HEX_C
		"\nendpoint=[abcd:23::33%2]:51820\npersistent_keepalive_interval=111\n"
		"allowed_ip=192.168.4.0/24\nallowed_ip=::/0\npublic_key=" HEX_C "\n\n");
	fake_peer_set_state(
		wg_device_next_peer(device, NULL), 1700000000123456789ull, 38333, UINT64_MAX);
	text = print_all(device, 12912, 7);
	assert_string_equal(text, expected);
	free(text);
	fake_device_destroy(device);
}

/* An answer, less what is only shown, is a request that makes the same device. */
static char *as_request(char *answer)
{
	static const char *const only_shown[] = {"last_handshake", "tx_bytes", "rx_bytes", "errno"};
	char *request = malloc(strlen(answer) + 32), *save;

	strcpy(request, "set=1\n");
	for (char *line = strtok_r(answer, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool shown = false;

		for (unsigned i = 0; i < 4; i++)
			shown |= strncmp(line, only_shown[i], strlen(only_shown[i])) == 0;
		if (!shown)
			sprintf(request + strlen(request), "%s\n", line);
	}
	strcat(request, "\n");
	return request;
}

static void test_round_trip(void **state)
{
	struct wg_device *one = fake_device_create(), *two = fake_device_create();
	char *text = NULL, *dump[2], *answer, *request;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	(void)state;
	fprintf(to, "set=1\nprivate_key=" HEX_A "\n");
	for (unsigned i = 0; i < 300; i++) {
		fprintf(to, "public_key=%02x%062x\nendpoint=192.0.2.1:%u\n", 'a' + i % 26, i,
			i + 1);
		if (i % 3 == 0)
			fprintf(to, "preshared_key=%02x%062x\n", i & 255, i);
		if (i % 5 == 0)
			fprintf(to, "persistent_keepalive_interval=%u\n", i);
		for (unsigned j = 0; j < i % 4; j++)
			fprintf(to, "allowed_ip=10.%u.%u.0/24\nallowed_ip=2001:db8:%x:%x::/64\n",
				i & 255, j + 4 * (i >> 8), i, j);
	}
	fprintf(to, "\n");
	fclose(to);
	apply_text(one, text);
	answer = print_all(one, 1, 2);
	request = as_request(answer);
	apply_text(two, request);
	for (int i = 0; i < 2; i++) {
		to = open_memstream(&dump[i], &len);
		fake_device_dump(i ? two : one, to);
		fclose(to);
	}
	assert_string_equal(dump[0], dump[1]);
	assert_true(strlen(dump[0]) > 1000);
	for (int i = 0; i < 2; i++)
		free(dump[i]);
	free(text);
	free(answer);
	free(request);
	fake_device_destroy(one);
	fake_device_destroy(two);
}

/* Peers that go between two pieces are left out, the others are all there, once. */
static void test_peers_go_while_printing(void **state)
{
	struct wg_device *device = fake_device_create();
	struct uapi_printer *printer;
	unsigned pieces = 0, shown = 0;
	const char *piece;
	size_t len;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t key[WG_KEY_BYTES] = {'a', (uint8_t)i, (uint8_t)(i >> 8)};
		struct wg_peer *peer;

		assert_int_equal(wg_device_add_peer(device, key, &peer), 0);
	}
	printer = uapi_printer_create(device, 1, 0);
	while (uapi_printer_next(printer, &piece, &len) == 1) {
		char *copy = strndup(piece, len);

		for (char *p = copy; (p = strstr(p, "public_key=")); p++)
			shown++;
		free(copy);
		if (pieces++ == 0)
			while (wg_device_peer_count(device) > shown + 10)
				wg_device_remove_peer(device, wg_device_next_peer(device, NULL));
	}
	assert_true(pieces > 1);
	assert_true(shown < 1000);
	uapi_printer_destroy(printer);
	fake_device_destroy(device);
}

static void test_errno(void **state)
{
	char text[UAPI_ERRNO_BYTES];

	(void)state;
	assert_int_equal(uapi_print_errno(text, 0), strlen("errno=0\n\n"));
	assert_string_equal(text, "errno=0\n\n");
	uapi_print_errno(text, -EINVAL);
	assert_string_equal(text, "errno=-22\n\n");
}

static void test_large_set(void **state)
{
	const unsigned peers = 100000, ips = 130560;
	struct uapi_parser *parser = uapi_parser_create();
	char *text = malloc(32u << 20);
	struct timespec start, end;
	size_t len = 0;

	(void)state;
	len += (size_t)sprintf(text, "set=1\npublic_key=" HEX_A "\n");
	for (unsigned i = 0; i < ips; i++)
		len += (size_t)sprintf(
			text + len, "allowed_ip=10.%u.%u.%u/32\n", i >> 16, i >> 8 & 255, i & 255);
	for (unsigned i = 0; i < peers; i++)
		len += (size_t)sprintf(text + len, "public_key=%064x\nallowed_ip=11.%u.%u.%u/32\n",
			i, i >> 16, i >> 8 & 255, i & 255);
	len += (size_t)sprintf(text + len, "\n");
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(feed(parser, text, len, 16384), len);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_int_equal(uapi_parser_request(parser), UAPI_REQUEST_SET);
	assert_int_equal(uapi_parser_config(parser)->peer_count, peers + 1);
	assert_int_equal(uapi_parser_config(parser)->allowed_ip_count, ips + peers);
	print_message("%u peers and %u allowed IPs in %.3f s\n", peers + 1, ips + peers,
		(double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	uapi_parser_destroy(parser);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_in_pieces),
		cmocka_unit_test(test_requests_one_after_the_other),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_no_key),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_not_the_protocol),
		cmocka_unit_test(test_clearing_values),
		cmocka_unit_test(test_mutated),
		cmocka_unit_test(test_print_nothing),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_peers_go_while_printing),
		cmocka_unit_test(test_errno),
		cmocka_unit_test(test_large_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
