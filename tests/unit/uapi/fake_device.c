/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_device.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct wg_peer {
	struct wg_device *device;
	struct wg_peer *next;
	uint8_t public_key[WG_KEY_BYTES], preshared_key[WG_KEY_BYTES];
	struct wg_path path;
	uint16_t keepalive;
	uint64_t handshake_ns;
	struct wg_activity activity;
};

struct owned {
	struct ip_prefix prefix;
	struct wg_peer *peer;
	struct owned *next;
};

struct wg_device {
	bool has_key;
	uint8_t private_key[WG_KEY_BYTES], public_key[WG_KEY_BYTES];
	struct wg_peer *peers;
	struct owned *prefixes;
	unsigned peers_left;
	char changes[65536];
	size_t changes_len;
	bool read; /* changes were looked at: start over */
};

struct wg_device *fake_device_create(void)
{
	struct wg_device *device = calloc(1, sizeof(*device));

	assert(device);
	device->peers_left = 1u << 30;
	return device;
}

void fake_device_destroy(struct wg_device *device)
{
	while (device->peers)
		wg_device_remove_peer(device, device->peers);
	assert(!device->prefixes);
	free(device);
}

void fake_device_limit(struct wg_device *device, unsigned peers)
{
	device->peers_left = peers;
}

__attribute__((format(printf, 2, 3))) static void note(
	struct wg_device *device, const char *format, ...)
{
	size_t room;
	va_list args;

	if (device->read)
		device->changes_len = 0;
	device->read = false;
	room = sizeof(device->changes) - device->changes_len;
	if (room < 128)
		return;
	va_start(args, format);
	device->changes_len +=
		(size_t)vsnprintf(device->changes + device->changes_len, room, format, args);
	va_end(args);
}

const char *fake_device_changes(struct wg_device *device)
{
	if (device->read)
		device->changes_len = 0;
	device->read = true;
	device->changes[device->changes_len] = '\0';
	if (device->changes_len)
		device->changes[device->changes_len - 1] = '\0'; /* the last space */
	return device->changes;
}

static char letter(const struct wg_peer *peer)
{
	return (char)peer->public_key[0];
}

void fake_public_key(uint8_t public_key[WG_KEY_BYTES], const uint8_t private_key[WG_KEY_BYTES])
{
	memcpy(public_key, private_key, WG_KEY_BYTES);
	public_key[31] ^= 0xff;
}

void wg_device_set_private_key(
	struct wg_device *device, const uint8_t key[WG_KEY_BYTES], struct wg_time now)
{
	static const uint8_t zero[WG_KEY_BYTES];
	struct wg_peer *self;

	(void)now;
	if (!key)
		key = zero;
	if (memcmp(device->private_key, key, WG_KEY_BYTES) == 0)
		return;
	note(device, "key ");
	memcpy(device->private_key, key, WG_KEY_BYTES);
	device->has_key = memcmp(key, zero, WG_KEY_BYTES) != 0;
	fake_public_key(device->public_key, key);
	self = device->has_key ? wg_device_find_peer(device, device->public_key) : NULL;
	if (self)
		wg_device_remove_peer(device, self);
}

bool wg_device_settle(struct wg_device *device)
{
	(void)device;
	return true;
}

const uint8_t *wg_device_private_key(const struct wg_device *device)
{
	return device->has_key ? device->private_key : NULL;
}

const uint8_t *wg_device_public_key(const struct wg_device *device)
{
	return device->has_key ? device->public_key : NULL;
}

struct wg_peer *wg_device_find_peer(
	const struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES])
{
	struct wg_peer *peer = device->peers;

	while (peer && memcmp(peer->public_key, public_key, WG_KEY_BYTES) != 0)
		peer = peer->next;
	return peer;
}

int wg_device_add_peer(
	struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES], struct wg_peer **out)
{
	struct wg_peer **end, *peer = wg_device_find_peer(device, public_key);

	*out = peer;
	if (peer)
		return -EEXIST;
	if (device->has_key && memcmp(device->public_key, public_key, WG_KEY_BYTES) == 0)
		return -EINVAL;
	if (device->peers_left == 0)
		return -ENOSPC;
	device->peers_left--;
	peer = calloc(1, sizeof(*peer));
	assert(peer);
	peer->device = device;
	memcpy(peer->public_key, public_key, WG_KEY_BYTES);
	for (end = &device->peers; *end; end = &(*end)->next)
		;
	*end = peer;
	*out = peer;
	note(device, "+%c ", letter(peer));
	return 0;
}

void wg_device_remove_peer(struct wg_device *device, struct wg_peer *peer)
{
	struct wg_peer **p;

	wg_peer_clear_allowed_ips(peer);
	for (p = &device->peers; *p != peer; p = &(*p)->next)
		;
	*p = peer->next;
	note(device, "-%c ", letter(peer));
	free(peer);
}

void wg_peer_set_preshared_key(struct wg_peer *peer, const uint8_t key[WG_KEY_BYTES])
{
	if (memcmp(peer->preshared_key, key, WG_KEY_BYTES) == 0)
		return;
	memcpy(peer->preshared_key, key, WG_KEY_BYTES);
	note(peer->device, "%c.psk ", letter(peer));
}

void wg_peer_set_endpoint(struct wg_peer *peer, const struct endpoint *remote)
{
	if (endpoint_equal(&peer->path.remote, remote))
		return;
	peer->path.remote = *remote;
	note(peer->device, "%c.endpoint ", letter(peer));
}

void wg_peer_set_persistent_keepalive(struct wg_peer *peer, uint16_t seconds, struct wg_time now)
{
	(void)now;
	if (peer->keepalive == seconds)
		return;
	peer->keepalive = seconds;
	note(peer->device, "%c.keepalive ", letter(peer));
}

static struct owned **find_owned(struct wg_device *device, const struct ip_prefix *prefix)
{
	struct owned **p = &device->prefixes;

	while (*p && !ip_prefix_equal(&(*p)->prefix, prefix))
		p = &(*p)->next;
	return p;
}

int wg_peer_add_allowed_ip(struct wg_peer *peer, const struct ip_prefix *prefix)
{
	struct owned **p = find_owned(peer->device, prefix);
	char text[IP_PREFIX_STRLEN];

	if (!*p) {
		*p = calloc(1, sizeof(**p));
		assert(*p);
		(*p)->prefix = *prefix;
	}
	if ((*p)->peer == peer)
		return 0;
	(*p)->peer = peer;
	note(peer->device, "%c+%s ", letter(peer), ip_prefix_format(prefix, text));
	return 0;
}

void wg_peer_remove_allowed_ip(struct wg_peer *peer, const struct ip_prefix *prefix)
{
	struct owned **p = find_owned(peer->device, prefix), *gone = *p;
	char text[IP_PREFIX_STRLEN];

	if (!gone || gone->peer != peer)
		return;
	note(peer->device, "%s- ", ip_prefix_format(prefix, text));
	*p = gone->next;
	free(gone);
}

void wg_peer_clear_allowed_ips(struct wg_peer *peer)
{
	const void *cursor = NULL;
	struct ip_prefix prefix;

	while (wg_peer_next_allowed_ip(peer, &cursor, &prefix)) {
		wg_peer_remove_allowed_ip(peer, &prefix);
		cursor = NULL;
	}
}

struct wg_peer *wg_device_next_peer(const struct wg_device *device, const struct wg_peer *peer)
{
	return peer ? peer->next : device->peers;
}

uint32_t wg_device_peer_count(const struct wg_device *device)
{
	uint32_t n = 0;

	for (const struct wg_peer *peer = device->peers; peer; peer = peer->next)
		n++;
	return n;
}

const uint8_t *wg_peer_public_key(const struct wg_peer *peer)
{
	return peer->public_key;
}

const uint8_t *wg_peer_preshared_key(const struct wg_peer *peer)
{
	return peer->preshared_key;
}

const struct wg_path *wg_peer_path(const struct wg_peer *peer)
{
	return &peer->path;
}

uint16_t wg_peer_persistent_keepalive(const struct wg_peer *peer)
{
	return peer->keepalive;
}

uint64_t wg_peer_latest_handshake_ns(const struct wg_peer *peer)
{
	return peer->handshake_ns;
}

struct wg_activity *wg_peer_activity(struct wg_peer *peer)
{
	return &peer->activity;
}

bool wg_peer_next_allowed_ip(const struct wg_peer *peer, const void **cursor, struct ip_prefix *out)
{
	const struct owned *owned = *cursor;

	owned = owned ? owned->next : peer->device->prefixes;
	while (owned && owned->peer != peer)
		owned = owned->next;
	if (!owned)
		return false;
	*cursor = owned;
	*out = owned->prefix;
	return true;
}

void fake_peer_set_state(struct wg_peer *peer, uint64_t handshake_ns, uint64_t tx, uint64_t rx)
{
	peer->handshake_ns = handshake_ns;
	peer->activity.tx_bytes = tx;
	peer->activity.rx_bytes = rx;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(a, b);
}

void fake_device_dump(struct wg_device *device, FILE *to)
{
	char lines[512][160];
	unsigned n = 0;

	for (struct wg_peer *peer = device->peers; peer && n < 512; peer = peer->next) {
		char endpoint[ENDPOINT_STRLEN] = "none";

		if (peer->path.remote.addr.family != IP_NONE)
			endpoint_format(&peer->path.remote, endpoint);
		snprintf(lines[n++], sizeof(lines[0]), "peer %c psk %02x endpoint %s keepalive %u",
			letter(peer), peer->preshared_key[0], endpoint, peer->keepalive);
	}
	for (struct owned *owned = device->prefixes; owned && n < 512; owned = owned->next) {
		char text[IP_PREFIX_STRLEN];

		snprintf(lines[n++], sizeof(lines[0]), "prefix %s %c",
			ip_prefix_format(&owned->prefix, text), letter(owned->peer));
	}
	qsort(lines, n, sizeof(lines[0]), compare_lines);
	fprintf(to, "key %02x\n", device->private_key[0]);
	for (unsigned i = 0; i < n; i++)
		fprintf(to, "%s\n", lines[i]);
}
