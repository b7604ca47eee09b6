/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret_mem.h"
#include "base/units.h"
#include "uapi/keytext.h"
#include "uapi/protocol.h"

/* A piece ends with the first peer that takes it beyond this. */
#define PIECE_BYTES 32768
/* More than the longest line. */
#define LINE_ROOM 160

enum stage {
	STAGE_INTERFACE,
	STAGE_PEERS,
	STAGE_DONE,
};

struct uapi_printer {
	struct wg_device *device;
	uint16_t listen_port;
	uint32_t fwmark;
	enum stage stage;
	uint8_t (*keys)[WG_KEY_BYTES]; /* the peers at the beginning */
	uint32_t key_count, next_key;
	char *text;
	size_t len, room;
};

static int print_interface(struct uapi_printer *printer);
static int print_peer(struct uapi_printer *printer, struct wg_peer *peer);
static int print_line(struct uapi_printer *printer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

struct uapi_printer *uapi_printer_create(
	struct wg_device *device, uint16_t listen_port, uint32_t fwmark)
{
	struct uapi_printer *printer = calloc(1, sizeof(*printer));
	uint32_t n = wg_device_peer_count(device);

	if (!printer)
		return NULL;
	printer->device = device;
	printer->listen_port = listen_port;
	printer->fwmark = fwmark;
	printer->keys = malloc((n ? n : 1) * sizeof(*printer->keys));
	if (!printer->keys) {
		free(printer);
		return NULL;
	}
	for (struct wg_peer *peer = wg_device_next_peer(device, NULL);
		peer && printer->key_count < n; peer = wg_device_next_peer(device, peer))
		memcpy(printer->keys[printer->key_count++], wg_peer_public_key(peer), WG_KEY_BYTES);
	return printer;
}

void uapi_printer_destroy(struct uapi_printer *printer)
{
	if (!printer)
		return;
	secret_free(printer->text);
	free(printer->keys);
	free(printer);
}

int uapi_printer_next(struct uapi_printer *printer, const char **text, size_t *len)
{
	int rc = 0;

	if (printer->stage == STAGE_DONE)
		return 0;
	if (printer->text)
		explicit_bzero(printer->text, printer->len);
	printer->len = 0;
	if (printer->stage == STAGE_INTERFACE) {
		rc = print_interface(printer);
		printer->stage = STAGE_PEERS;
	}
	while (rc == 0 && printer->next_key < printer->key_count && printer->len < PIECE_BYTES) {
		struct wg_peer *peer =
			wg_device_find_peer(printer->device, printer->keys[printer->next_key++]);

		if (peer)
			rc = print_peer(printer, peer);
	}
	if (rc == 0 && printer->next_key == printer->key_count) {
		rc = print_line(printer, "errno=0\n\n");
		printer->stage = STAGE_DONE;
	}
	if (rc != 0)
		return rc;
	*text = printer->text;
	*len = printer->len;
	return 1;
}

size_t uapi_print_errno(char text[UAPI_ERRNO_BYTES], int error)
{
	return (size_t)snprintf(text, UAPI_ERRNO_BYTES, "errno=%d\n\n", error);
}

/* Makes room for one more line; wipes what it leaves. */
static int make_room(struct uapi_printer *printer)
{
	size_t room = printer->room ? 2 * printer->room : PIECE_BYTES + LINE_ROOM;
	char *text;

	if (printer->room - printer->len >= LINE_ROOM)
		return 0;
	text = secret_alloc(room);
	if (!text)
		return -ENOMEM;
	if (printer->text)
		memcpy(text, printer->text, printer->len);
	secret_free(printer->text);
	printer->text = text;
	printer->room = room;
	return 0;
}

static int print_line(struct uapi_printer *printer, const char *format, ...)
{
	int rc = make_room(printer);
	va_list args;

	if (rc != 0)
		return rc;
	va_start(args, format);
	printer->len += (size_t)vsnprintf(printer->text + printer->len, LINE_ROOM, format, args);
	va_end(args);
	return 0;
}

static int print_key(
	struct uapi_printer *printer, const char *name, const uint8_t key[WG_KEY_BYTES])
{
	char hex[KEYTEXT_HEX_CHARS + 1];
	int rc;

	key_to_hex(hex, key);
	rc = print_line(printer, "%s=%s\n", name, hex);
	explicit_bzero(hex, sizeof(hex));
	return rc;
}

static int print_interface(struct uapi_printer *printer)
{
	const uint8_t *key = wg_device_private_key(printer->device);
	int rc = 0;

	if (key)
		rc = print_key(printer, "private_key", key);
	if (rc == 0 && printer->listen_port)
		rc = print_line(printer, "listen_port=%u\n", printer->listen_port);
	if (rc == 0 && printer->fwmark)
		rc = print_line(printer, "fwmark=%u\n", printer->fwmark);
	return rc;
}

static bool is_zero(const uint8_t key[WG_KEY_BYTES])
{
	uint8_t any = 0;

	for (int i = 0; i < WG_KEY_BYTES; i++)
		any |= key[i];
	return any == 0;
}

static int print_state(struct uapi_printer *printer, struct wg_peer *peer)
{
	uint64_t handshake_ns = wg_peer_latest_handshake_ns(peer);
	struct wg_activity *activity = wg_peer_activity(peer);
	uint16_t keepalive = wg_peer_persistent_keepalive(peer);

	uint64_t tx = atomic_load_explicit(&activity->tx_bytes, memory_order_relaxed);
	uint64_t rx = atomic_load_explicit(&activity->rx_bytes, memory_order_relaxed);
	int rc;

	rc = print_line(printer, "last_handshake_time_sec=%llu\nlast_handshake_time_nsec=%llu\n",
		handshake_ns / NS_PER_SEC, handshake_ns % NS_PER_SEC);
	if (rc == 0)
		rc = print_line(printer, "tx_bytes=%" PRIu64 "\nrx_bytes=%" PRIu64 "\n", tx, rx);
	if (rc == 0)
		rc = print_line(printer, "persistent_keepalive_interval=%u\n", keepalive);
	return rc;
}

static int print_peer(struct uapi_printer *printer, struct wg_peer *peer)
{
	const struct wg_path *path = wg_peer_path(peer);
	const uint8_t *preshared_key = wg_peer_preshared_key(peer);
	char text[ENDPOINT_STRLEN];
	const void *cursor = NULL;
	struct ip_prefix prefix;
	int rc;

	rc = print_key(printer, "public_key", wg_peer_public_key(peer));
	if (rc == 0 && preshared_key && !is_zero(preshared_key))
		rc = print_key(printer, "preshared_key", preshared_key);
	if (rc == 0)
		rc = print_line(printer, "protocol_version=1\n");
	if (rc == 0 && path->remote.addr.family != IP_NONE)
		rc = print_line(printer, "endpoint=%s\n", endpoint_format(&path->remote, text));
	if (rc == 0)
		rc = print_state(printer, peer);
	while (rc == 0 && wg_peer_next_allowed_ip(peer, &cursor, &prefix))
		rc = print_line(printer, "allowed_ip=%s\n", ip_prefix_format(&prefix, text));
	return rc;
}
