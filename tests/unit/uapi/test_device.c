/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configs on a real device: what actions come of them, and how long large ones take (printed, not
 * asserted; without a private key, so that it is the tables that are measured).
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <sodium.h>

#include "heap_env.h"
#include "uapi/apply.h"
#include "uapi/protocol.h"

#define PEERS	    100000
#define ALLOWED_IPS 130560

struct world {
	struct wg_index_table *indices;
	struct wg_ids *ids;
	struct wg_device *device;
	unsigned actions[WG_ACT_PREFIX_CLEAR + 1];
	unsigned total, most_at_once;
};

static const struct wg_time now = {1000000000, 1700000000000000000ull};

static void drain(void *arg)
{
	struct world *world = arg;
	struct wg_action action;
	unsigned n = 0;

	for (; wg_device_next_action(world->device, &action); n++) {
		world->actions[action.kind]++;
		if (action.kind == WG_ACT_PEER_REMOVE)
			wg_peer_free(world->device, action.peer);
	}
	world->total += n;
	if (n > world->most_at_once)
		world->most_at_once = n;
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	world->indices = wg_index_table_create(heap_env_random, NULL);
	world->ids = wg_ids_create(LIMIT_PEERS);
	world->device = wg_device_create(&heap_env, world->indices, world->ids);
	*state = world;
	return world->indices && world->ids && world->device ? 0 : -1;
}

static int tear_down(void **state)
{
	struct world *world = *state;

	wg_device_shutdown(world->device, UINT_MAX);
	drain(world);
	wg_device_free(world->device);
	wg_ids_destroy(world->ids);
	wg_index_table_destroy(world->indices);
	free(world);
	return 0;
}

static double seconds_since(const struct timespec *start)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	return (double)(end.tv_sec - start->tv_sec) + (double)(end.tv_nsec - start->tv_nsec) / 1e9;
}

/* Applies and returns the number of actions that came of it. */
static unsigned apply(struct world *world, const struct uapi_config *config, const char *what)
{
	struct uapi_hooks hooks = {.changed = drain, .arg = world};
	struct timespec start;

	memset(world->actions, 0, sizeof(world->actions));
	world->total = 0;
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(uapi_apply(world->device, config, &hooks, now, NULL), 0);
	if (what)
		print_message(
			"%s: %.3f s, %u actions\n", what, seconds_since(&start), world->total);
	drain(world);
	return world->total;
}

static void add_peer(struct uapi_config *config, uint8_t first, unsigned number)
{
	struct uapi_peer *peer = uapi_config_add_peer(config);

	memset(peer->public_key, 0, WG_KEY_BYTES);
	peer->public_key[0] = first;
	memcpy(peer->public_key + 8, &number, sizeof(number));
	peer->replace_allowed_ips = true;
	peer->set_endpoint = true;
	peer->endpoint.addr = (struct ip_addr){IP_V4, {192, 0, 2, 1}};
	peer->endpoint.port = 51820;
}

static void add_prefix(struct uapi_config *config, uint8_t first, unsigned number)
{
	struct uapi_allowed_ip *ip = uapi_config_add_allowed_ip(config);

	ip->prefix.addr = (struct ip_addr){
		IP_V4, {first, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}};
	ip->prefix.bits = 32;
}

static void test_the_same_again(void **state)
{
	struct world *world = *state;
	struct uapi_config config;

	uapi_config_init(&config);
	config.replace_peers = true;
	config.set_private_key = true;
	memset(config.private_key, 0x48, WG_KEY_BYTES);
	for (unsigned i = 0; i < 10; i++) {
		add_peer(&config, 9, i);
		config.peers[i].set_preshared_key = true;
		config.peers[i].preshared_key[0] = (uint8_t)i;
		for (unsigned j = 0; j < i; j++)
			add_prefix(&config, 10, i * 100 + j);
	}
	apply(world, &config, NULL);
	assert_int_equal(wg_device_peer_count(world->device), 10);
	assert_int_equal(world->actions[WG_ACT_PEER_ADD], 10);
	assert_int_equal(world->actions[WG_ACT_PREFIX_SET], 45);
	assert_int_equal(apply(world, &config, NULL), 0);
	config.replace_peers = false;
	assert_int_equal(apply(world, &config, NULL), 0);
	uapi_config_clear(&config);
}

static void test_own_key(void **state)
{
	struct world *world = *state;
	uint8_t own[WG_KEY_BYTES];
	struct uapi_config config;

	uapi_config_init(&config);
	config.set_private_key = true;
	memset(config.private_key, 0x48, WG_KEY_BYTES);
	crypto_scalarmult_base(own, config.private_key);
	add_peer(&config, 0, 0);
	memcpy(config.peers[0].public_key, own, WG_KEY_BYTES);
	add_prefix(&config, 10, 1);
	add_peer(&config, 9, 1);
	apply(world, &config, NULL);
	assert_int_equal(wg_device_peer_count(world->device), 1);
	assert_null(wg_device_find_peer(world->device, own));
	assert_int_equal(world->actions[WG_ACT_PREFIX_SET], 0);
	uapi_config_clear(&config);
}

static void print_all(struct world *world)
{
	struct uapi_printer *printer = uapi_printer_create(world->device, 1, 2);
	size_t len, total = 0, most = 0;
	struct timespec start;
	const char *text;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (uapi_printer_next(printer, &text, &len) == 1) {
		total += len;
		most = len > most ? len : most;
	}
	print_message("get: %.3f s, %zu bytes in pieces of up to %zu\n", seconds_since(&start),
		total, most);
	uapi_printer_destroy(printer);
}

static void test_many_peers(void **state)
{
	struct world *world = *state;
	struct uapi_config config;

	uapi_config_init(&config);
	config.replace_peers = true;
	for (unsigned i = 0; i < PEERS; i++) {
		add_peer(&config, 9, i);
		add_prefix(&config, 10, i);
	}
	apply(world, &config, "100,000 peers");
	assert_int_equal(wg_device_peer_count(world->device), PEERS);
	assert_int_equal(apply(world, &config, "the same again"), 0);
	print_all(world);
	config.peer_count = 1;
	apply(world, &config, "all but one removed");
	assert_int_equal(wg_device_peer_count(world->device), 1);
	/* Few actions wait at a time: a peer's removal makes a handful, 64 go between two drains.
	 */
	assert_true(world->most_at_once < 1000);
	config.peer_count = PEERS;
	uapi_config_clear(&config);
}

static void test_many_allowed_ips(void **state)
{
	struct world *world = *state;
	struct uapi_config config;

	uapi_config_init(&config);
	add_peer(&config, 9, 0);
	for (unsigned i = 0; i < ALLOWED_IPS; i++)
		add_prefix(&config, 10, i);
	assert_true(apply(world, &config, "130,560 allowed IPs") >= ALLOWED_IPS);
	assert_int_equal(apply(world, &config, "the same again"), 0);
	print_all(world);
	config.peers[0].allowed_ip_count = 0;
	assert_int_equal(apply(world, &config, "all removed"), ALLOWED_IPS);
	uapi_config_clear(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_same_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_own_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_peers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_allowed_ips, set_up, tear_down),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
