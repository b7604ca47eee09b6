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

static const struct wg_time now = {1000, 2000};
static const struct uapi_hooks no_hooks;

/*
 * Configs in a few letters, a word each: "a" an entry for peer a; then, for this entry,
 * "=10.0.0.0/8" adds, "!10.0.0.0/8" takes away, "psk:N", "endpoint:N" (a port), "keepalive:N",
 * "replace", "update", "remove". Before the first entry: "all" is replace_peers, "key:C" the
 * private key of letter C.
 */
static void read_word(struct uapi_config *config, const char *word)
{
	struct uapi_peer *peer = config->peer_count ? &config->peers[config->peer_count - 1] : NULL;
	const char *colon = strchr(word, ':');
	unsigned number = colon ? (unsigned)atoi(colon + 1) : 0;

	if (strlen(word) == 1) {
		peer = uapi_config_add_peer(config);
		peer->public_key[0] = (uint8_t)word[0];
	} else if (word[0] == '=' || word[0] == '!') {
		struct uapi_allowed_ip *ip = uapi_config_add_allowed_ip(config);

		assert_true(ip_prefix_parse(word + 1, &ip->prefix));
		ip->remove = word[0] == '!';
	} else if (strcmp(word, "all") == 0) {
		config->replace_peers = true;
	} else if (strncmp(word, "key:", 4) == 0) {
		config->set_private_key = true;
		config->private_key[0] = (uint8_t)word[4];
		if (word[4])
			config->private_key[31] = 0xff; /* its public key is the letter alone */
	} else if (strncmp(word, "psk:", 4) == 0) {
		peer->set_preshared_key = true;
		peer->preshared_key[0] = (uint8_t)number;
	} else if (strncmp(word, "endpoint:", 9) == 0) {
		peer->set_endpoint = true;
		peer->endpoint.addr = (struct ip_addr){IP_V4, {192, 0, 2, 1}};
		peer->endpoint.port = (uint16_t)number;
	} else if (strncmp(word, "keepalive:", 10) == 0) {
		peer->set_persistent_keepalive = true;
		peer->persistent_keepalive = (uint16_t)number;
	} else if (strcmp(word, "replace") == 0) {
		peer->replace_allowed_ips = true;
	} else if (strcmp(word, "update") == 0) {
		peer->update_only = true;
	} else if (strcmp(word, "remove") == 0) {
		peer->remove = true;
	} else {
		fail_msg("%s", word);
	}
}

static void read_words(struct uapi_config *config, const char *text)
{
	char *copy = strdup(text), *save;

	uapi_config_init(config);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		read_word(config, word);
	free(copy);
}

/* Applies in steps of the smallest budget, so that each place to stop at is used. */
static const char *apply_text(
	struct wg_device *device, const char *text, struct uapi_applied *applied)
{
	struct uapi_config config;
	struct uapi_apply *apply;
	int rc;

	read_words(&config, text);
	assert_int_equal(uapi_apply_begin(&apply, device, &config, &no_hooks), 0);
	do
		rc = uapi_apply_step(apply, 1, now);
	while (rc == 1);
	assert_int_equal(rc, 0);
	if (applied)
		*applied = *uapi_apply_result(apply);
	uapi_apply_end(apply);
	uapi_config_clear(&config);
	return fake_device_changes(device);
}

/* From a state (a config applied to nothing), a config makes exactly these changes. */
static const struct {
	const char *before, *config, *changes;
} cases[] = {
	/* Plain additions and changes. */
	{"", "key:k a psk:1 endpoint:5 keepalive:9 =10.0.0.0/8",
		"key +a a.psk a.endpoint a.keepalive a+10.0.0.0/8"},
	{"a", "a psk:1", "a.psk"},
	{"a psk:1", "a psk:0", "a.psk"},
	{"a =10.0.0.0/8", "a =10.1.0.0/16", "a+10.1.0.0/16"},
	{"a =10.0.0.0/8", "a !10.0.0.0/8", "10.0.0.0/8-"},
	{"a =10.0.0.0/8 b", "b !10.0.0.0/8", ""},
	/* The same again changes nothing, in each form. */
	{"key:k a psk:1 endpoint:5 keepalive:9 =10.0.0.0/8",
		"key:k a psk:1 endpoint:5 keepalive:9 =10.0.0.0/8", ""},
	{"key:k a psk:1 endpoint:5 keepalive:9 =10.0.0.0/8 =::/0",
		"key:k all a replace psk:1 endpoint:5 keepalive:9 =::/0 =10.0.0.0/8", ""},
	{"a =10.0.0.0/8 b", "all a replace =10.0.0.0/8 b replace", ""},
	/* An allowed IP named for two peers is the later's, without a detour. */
	{"a b =10.0.0.0/8", "all a replace =10.0.0.0/8 b replace =10.0.0.0/8", ""},
	{"a b =10.0.0.0/8", "a =10.0.0.0/8 b =10.0.0.0/8", ""},
	{"a =10.0.0.0/8 b", "a =10.0.0.0/8 b =10.0.0.0/8", "b+10.0.0.0/8"},
	{"a =10.0.0.0/8", "a !10.0.0.0/8 =10.0.0.0/8", ""},
	{"a =10.0.0.0/8", "a =10.0.0.0/8 !10.0.0.0/8", "10.0.0.0/8-"},
	/* replace_allowed_ips: the difference, additions first. */
	{"a =10.0.0.0/8", "a replace", "10.0.0.0/8-"},
	{"a =10.0.0.0/8 =11.0.0.0/8", "a replace =11.0.0.0/8", "10.0.0.0/8-"},
	{"a =10.0.0.0/8", "a replace =10.0.0.0/9 =10.128.0.0/9",
		"a+10.0.0.0/9 a+10.128.0.0/9 10.0.0.0/8-"},
	{"a =10.0.0.0/8 b", "a replace b =10.0.0.0/8", "b+10.0.0.0/8"},
	{"a =10.0.0.0/8", "a =11.0.0.0/8 a replace", "a+11.0.0.0/8 10.0.0.0/8- 11.0.0.0/8-"},
	/* remove and update_only */
	{"a =10.0.0.0/8", "a remove", "10.0.0.0/8- -a"},
	{"", "a remove", ""},
	{"", "a update psk:1 =10.0.0.0/8", ""},
	{"a", "a update psk:1", "a.psk"},
	{"b =10.0.0.0/8", "b =10.0.0.0/8 a update =10.0.0.0/8", ""},
	{"a psk:1", "a remove a", "-a +a"},
	{"a psk:1", "a remove a update psk:2", "-a"},
	{"", "a a remove", "+a -a"},
	/* replace_peers */
	{"a b c", "all b", "-a -c"},
	{"a", "all", "-a"},
	{"a psk:1 endpoint:5 keepalive:9 =10.0.0.0/8", "all a", "a.psk a.keepalive 10.0.0.0/8-"},
	{"a psk:1", "all a update psk:1", "-a"},
	{"a psk:1 =10.0.0.0/8", "all a =11.0.0.0/8 a =12.0.0.0/8 psk:1",
		"a.psk a+11.0.0.0/8 10.0.0.0/8- a.psk a+12.0.0.0/8"},
	{"a psk:1", "all a remove a psk:1", "-a +a a.psk"},
	{"a =10.0.0.0/8", "all b =10.0.0.0/8", "10.0.0.0/8- -a +b b+10.0.0.0/8"},
	/* The interface's own key */
	{"key:k", "k psk:1 =10.0.0.0/8", ""},
	{"key:k a =10.0.0.0/8", "a =10.0.0.0/8 k =10.0.0.0/8", ""},
	{"k =10.0.0.0/8", "key:k", "key 10.0.0.0/8- -k"},
	{"", "key:k k a", "key +a"},
	{"key:k", "key:m k", "key +k"},
	{"key:k", "key:", "key"},
};

static void test_changes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wg_device *device = fake_device_create();
		const char *changes;

		apply_text(device, cases[i].before, NULL);
		changes = apply_text(device, cases[i].config, NULL);
		if (strcmp(changes, cases[i].changes) != 0)
			fail_msg("(%s) then (%s): (%s), expected (%s)", cases[i].before,
				cases[i].config, changes, cases[i].changes);
		fake_device_destroy(device);
	}
}

static void test_result(void **state)
{
	struct wg_device *device = fake_device_create();
	struct uapi_applied applied;

	(void)state;
	apply_text(device, "key:k a b k", &applied);
	assert_int_equal(applied.peers_added, 2);
	assert_int_equal(applied.own_key_skipped, 1);
	apply_text(device, "all c", &applied);
	assert_int_equal(applied.peers_added, 1);
	assert_int_equal(applied.peers_removed, 2);
	fake_device_destroy(device);
}

/* --- Random configs against the plain meaning: one operation after the other --- */

/* What the words of the interface say, done literally: replace is remove and add again. */
static void apply_plainly(struct wg_device *device, const struct uapi_config *config)
{
	static const struct endpoint none;
	struct {
		bool there;
		struct endpoint endpoint;
	} before[128] = {0};
	struct wg_peer *peer, *next;

	for (peer = config->replace_peers ? wg_device_next_peer(device, NULL) : NULL; peer;
		peer = next) {
		unsigned letter = wg_peer_public_key(peer)[0];

		next = wg_device_next_peer(device, peer);
		before[letter].there = true;
		before[letter].endpoint = wg_peer_path(peer)->remote;
		wg_device_remove_peer(device, peer);
	}
	if (config->set_private_key)
		wg_device_set_private_key(device, config->private_key, now);
	for (uint32_t i = 0; i < config->peer_count; i++) {
		const struct uapi_peer *entry = &config->peers[i];
		unsigned letter = entry->public_key[0];

		peer = wg_device_find_peer(device, entry->public_key);
		if (entry->remove) {
			if (peer)
				wg_device_remove_peer(device, peer);
			before[letter].there = false;
			continue;
		}
		if (!peer && (entry->update_only ||
				     wg_device_add_peer(device, entry->public_key, &peer) != 0))
			continue;
		/* What replace_peers keeps has its endpoint still. */
		if (before[letter].there && !endpoint_equal(&before[letter].endpoint, &none))
			wg_peer_set_endpoint(peer, &before[letter].endpoint);
		before[letter].there = false;
		if (entry->set_preshared_key)
			wg_peer_set_preshared_key(peer, entry->preshared_key);
		if (entry->set_endpoint)
			wg_peer_set_endpoint(peer, &entry->endpoint);
		if (entry->set_persistent_keepalive)
			wg_peer_set_persistent_keepalive(peer, entry->persistent_keepalive, now);
		if (entry->replace_allowed_ips)
			wg_peer_clear_allowed_ips(peer);
		for (uint32_t j = 0; j < entry->allowed_ip_count; j++) {
			const struct uapi_allowed_ip *ip = &uapi_peer_allowed_ips(config, entry)[j];

			if (ip->remove)
				wg_peer_remove_allowed_ip(peer, &ip->prefix);
			else
				wg_peer_add_allowed_ip(peer, &ip->prefix);
		}
	}
}

static void random_config(char *text, size_t size)
{
	static const char *const prefixes[] = {
		"10.0.0.0/8", "10.0.0.0/9", "11.0.0.0/8", "::/0", "::/1", "0.0.0.0/0"};
	size_t len = 0;

	len += (size_t)snprintf(text, size, "%s%s", random() % 4 ? "" : "all ",
		random() % 4   ? ""
		: random() % 2 ? "key:a "
			       : "key:b ");
	for (long n = random() % 8; n > 0; n--) {
		len += (size_t)snprintf(text + len, size - len, "%c ", (char)('a' + random() % 5));
		if (random() % 6 == 0)
			len += (size_t)snprintf(text + len, size - len, "remove ");
		if (random() % 4 == 0)
			len += (size_t)snprintf(text + len, size - len, "update ");
		if (random() % 3 == 0)
			len += (size_t)snprintf(text + len, size - len, "replace ");
		if (random() % 3 == 0)
			len += (size_t)snprintf(text + len, size - len, "psk:%ld keepalive:%ld ",
				random() % 3, random() % 3);
		if (random() % 3 == 0)
			len += (size_t)snprintf(
				text + len, size - len, "endpoint:%ld ", 1 + random() % 3);
		for (long m = random() % 4; m > 0; m--)
			len += (size_t)snprintf(text + len, size - len, "%c%s ",
				random() % 4 ? '=' : '!', prefixes[random() % 6]);
	}
}

static char *dump(struct wg_device *device)
{
	char *text;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	fake_device_dump(device, to);
	fclose(to);
	return text;
}

static void test_against_plain_meaning(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct wg_device *ours = fake_device_create(), *plain = fake_device_create();
	struct uapi_config config;
	char text[2048];

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 20000; i++) {
		char *one, *two;

		random_config(text, sizeof(text));
		one = dump(ours);
		apply_text(ours, text, NULL);
		read_words(&config, text);
		apply_plainly(plain, &config);
		uapi_config_clear(&config);
		two = dump(ours);
		free(one);
		one = dump(plain);
		if (strcmp(one, two) != 0)
			fail_msg("round %d, after (%s):\n%s--- expected\n%s", i, text, two, one);
		free(one);
		free(two);
	}
	fake_device_destroy(ours);
	fake_device_destroy(plain);
}

/* --- Refusals --- */

struct world {
	int sockets_rc;
	unsigned sockets_called, changed_called;
};

static int set_sockets(void *arg, const struct uapi_config *config)
{
	struct world *world = arg;

	assert_true(config->set_listen_port);
	world->sockets_called++;
	return world->sockets_rc;
}

static void changed(void *arg)
{
	((struct world *)arg)->changed_called++;
}

static void test_port_that_is_taken(void **state)
{
	struct world world = {.sockets_rc = -EADDRINUSE};
	struct uapi_hooks hooks = {set_sockets, changed, &world};
	struct wg_device *device = fake_device_create();
	struct uapi_config config;

	(void)state;
	read_words(&config, "key:k a");
	config.set_listen_port = true;
	assert_int_equal(uapi_apply(device, &config, &hooks, now, NULL), -EADDRINUSE);
	assert_string_equal(fake_device_changes(device), "");
	world.sockets_rc = 0;
	assert_int_equal(uapi_apply(device, &config, &hooks, now, NULL), 0);
	assert_int_equal(world.sockets_called, 2);
	assert_true(world.changed_called > 0);
	assert_string_equal(fake_device_changes(device), "key +a");
	uapi_config_clear(&config);
	fake_device_destroy(device);
}

static void test_unresolved_endpoint(void **state)
{
	struct wg_device *device = fake_device_create();
	struct uapi_config config;

	(void)state;
	read_words(&config, "key:k a endpoint:1");
	config.peers[0].endpoint_host = strdup("vpn.example");
	assert_int_equal(uapi_apply(device, &config, &no_hooks, now, NULL), -EINVAL);
	assert_string_equal(fake_device_changes(device), "");
	uapi_config_clear(&config);
	fake_device_destroy(device);
}

static void test_out_of_ids(void **state)
{
	struct wg_device *device = fake_device_create();
	struct uapi_applied applied = {0};
	struct uapi_config config;

	(void)state;
	fake_device_limit(device, 2);
	read_words(&config, "a b c d");
	assert_int_equal(uapi_apply(device, &config, &no_hooks, now, &applied), -ENOSPC);
	assert_int_equal(applied.peers_added, 2);
	uapi_config_clear(&config);
	fake_device_destroy(device);
}

/* Few actions pile up: the device is drained at least every so many operations. */
static void test_changed_is_called_often(void **state)
{
	struct world world = {0};
	struct uapi_hooks hooks = {set_sockets, changed, &world};
	struct wg_device *device = fake_device_create();
	struct uapi_config config;

	(void)state;
	read_words(&config, "a");
	for (unsigned i = 0; i < 1000; i++) {
		struct uapi_allowed_ip *ip = uapi_config_add_allowed_ip(&config);

		ip->prefix.addr = (struct ip_addr){IP_V4, {10, 0, (uint8_t)(i >> 8), (uint8_t)i}};
		ip->prefix.bits = 32;
	}
	assert_int_equal(uapi_apply(device, &config, &hooks, now, NULL), 0);
	assert_true(world.changed_called >= 1000 / 64);
	uapi_config_clear(&config);
	fake_device_destroy(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_against_plain_meaning),
		cmocka_unit_test(test_port_that_is_taken),
		cmocka_unit_test(test_unresolved_endpoint),
		cmocka_unit_test(test_out_of_ids),
		cmocka_unit_test(test_changed_is_called_often),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
