/* SPDX-License-Identifier: BSD-3-Clause */
/* No step of an apply does more than about its budget, whatever the config asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "fake_device.h"
#include "uapi/apply.h"

enum { PREFIXES = 1000, KEPT = 500, BUDGET = 50 };

static const struct wg_time now = {1000, 2000};
static const struct uapi_hooks no_hooks;

static struct ip_prefix prefix_of(uint32_t i)
{
	struct ip_prefix prefix = {.addr.family = IP_V4, .bits = 32};

	store_be32(prefix.addr.bytes, i);
	return prefix;
}

static unsigned prefixes_left(const struct wg_device *device)
{
	struct ip_prefix prefix;
	unsigned n = 0;

	for (struct wg_peer *peer = wg_device_next_peer(device, NULL); peer;
		peer = wg_device_next_peer(device, peer)) {
		const void *cursor = NULL;

		while (wg_peer_next_allowed_ip(peer, &cursor, &prefix))
			n++;
	}
	return n;
}

/* One peer of many prefixes. */
static int set_up(void **state)
{
	struct wg_device *device = fake_device_create();
	const uint8_t key[WG_KEY_BYTES] = {'a'};
	struct wg_peer *peer;

	assert_int_equal(wg_device_add_peer(device, key, &peer), 0);
	for (uint32_t i = 0; i < PREFIXES; i++) {
		struct ip_prefix prefix = prefix_of(i);

		assert_int_equal(wg_peer_add_allowed_ip(peer, &prefix), 0);
	}
	*state = device;
	return 0;
}

static int tear_down(void **state)
{
	fake_device_destroy(*state);
	return 0;
}

/* Applies config, and sees in each step how many prefixes went. */
static void apply_in_steps(struct wg_device *device, struct uapi_config *config)
{
	unsigned left = prefixes_left(device), steps = 0;
	struct uapi_apply *apply;
	int rc;

	assert_int_equal(uapi_apply_begin(&apply, device, config, &no_hooks), 0);
	do {
		unsigned before = left;

		rc = uapi_apply_step(apply, BUDGET, now);
		left = prefixes_left(device);
		assert_in_range(before - left, 0, BUDGET + 2);
		steps++;
	} while (rc > 0);
	assert_int_equal(rc, 0);
	assert_in_range(steps, (PREFIXES - left) / (BUDGET + 2), 10 * PREFIXES / BUDGET);
	uapi_apply_end(apply);
	uapi_config_clear(config);
}

static struct uapi_peer *entry_of(struct uapi_config *config)
{
	struct uapi_peer *entry;

	uapi_config_init(config);
	entry = uapi_config_add_peer(config);
	entry->public_key[0] = 'a';
	return entry;
}

static void test_removal(void **state)
{
	struct uapi_config config;

	entry_of(&config)->remove = true;
	apply_in_steps(*state, &config);
	assert_int_equal(wg_device_peer_count(*state), 0);
}

static void test_replaced_peers(void **state)
{
	struct uapi_config config;

	uapi_config_init(&config);
	config.replace_peers = true;
	apply_in_steps(*state, &config);
	assert_int_equal(wg_device_peer_count(*state), 0);
}

/* Those that stay are spread among those that go. */
static void test_replaced_prefixes(void **state)
{
	struct uapi_config config;
	struct ip_prefix prefix;
	const void *cursor = NULL;
	unsigned n = 0;

	entry_of(&config)->replace_allowed_ips = true;
	for (uint32_t i = 0; i < KEPT; i++)
		uapi_config_add_allowed_ip(&config)->prefix = prefix_of(2 * i + 1);
	apply_in_steps(*state, &config);
	for (; wg_peer_next_allowed_ip(wg_device_next_peer(*state, NULL), &cursor, &prefix); n++)
		assert_int_equal(load_be32(prefix.addr.bytes) % 2, 1);
	assert_int_equal(n, KEPT);
}

static void test_no_prefix_stays(void **state)
{
	struct uapi_config config;

	entry_of(&config)->replace_allowed_ips = true;
	apply_in_steps(*state, &config);
	assert_int_equal(prefixes_left(*state), 0);
	assert_int_equal(wg_device_peer_count(*state), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_removal),
		TEST(test_replaced_peers),
		TEST(test_replaced_prefixes),
		TEST(test_no_prefix_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
