/* SPDX-License-Identifier: BSD-3-Clause */
#include "vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>
#include <jansson.h>
#include <sodium.h>

#include "base/bytes.h"

#define PCAP_MAGIC	  0xa1b2c3d4u
#define PCAP_HEADER_BYTES 24
#define PCAP_RECORD_BYTES 16
#define PCAP_ETHERNET	  1
#define ETHERNET_BYTES	  14
#define IPV4_BYTES	  20
#define UDP_BYTES	  8
#define IPPROTO_UDP_VALUE 17

static void vector_path(char *out, size_t size, const char *name)
{
	const char *dir = getenv("DPDK_WG_VECTORS");

	if (!dir)
		fail_msg("DPDK_WG_VECTORS is not set");
	assert_in_range(snprintf(out, size, "%s/%s", dir, name), 1, size - 1);
}

static void load_key(uint8_t out[WG_KEY_BYTES], const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	size_t len = 0;

	assert_non_null(text);
	assert_int_equal(sodium_base642bin(out, WG_KEY_BYTES, text, strlen(text), NULL, &len, NULL,
				 sodium_base64_VARIANT_ORIGINAL),
		0);
	assert_int_equal(len, WG_KEY_BYTES);
}

static void load_handshake(struct vector_handshake *out, const json_t *object)
{
	const char *capture = json_string_value(json_object_get(object, "capture"));

	assert_non_null(capture);
	assert_true(strlen(capture) < sizeof(out->capture));
	memset(out, 0, sizeof(*out));
	memcpy(out->capture, capture, strlen(capture));
	out->n = (size_t)json_integer_value(json_object_get(object, "n"));
	load_key(out->initiator_ephemeral, object, "initiator_ephemeral_private");
	load_key(out->responder_ephemeral, object, "responder_ephemeral_private");
	if (!json_is_null(json_object_get(object, "preshared_key")))
		load_key(out->preshared_key, object, "preshared_key");
}

void vector_keys_load(struct vector_keys *keys)
{
	char path[4096];
	json_error_t error;
	json_t *root;
	const json_t *statics, *handshakes;

	vector_path(path, sizeof(path), "keys.json");
	root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		fail_msg("%s:%d: %s", path, error.line, error.text);
	statics = json_object_get(root, "static");
	load_key(keys->static_private[0], statics, "initiator_private");
	load_key(keys->static_public[0], statics, "initiator_public");
	load_key(keys->static_private[1], statics, "responder_private");
	load_key(keys->static_public[1], statics, "responder_public");

	handshakes = json_object_get(root, "handshakes");
	keys->count = json_array_size(handshakes);
	assert_in_range(keys->count, 1, VECTOR_HANDSHAKES_MAX);
	for (size_t i = 0; i < keys->count; i++)
		load_handshake(&keys->handshakes[i], json_array_get(handshakes, i));
	json_decref(root);
}

static uint8_t *read_file(const char *path, size_t *len)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	long size;

	if (!file)
		fail_msg("cannot open %s", path);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	size = ftell(file);
	assert_true(size > 0);
	rewind(file);
	*len = (size_t)size;
	data = malloc(*len);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, *len, file), *len);
	fclose(file);
	return data;
}

static struct vector_datagram udp_payload(const uint8_t *frame, size_t len)
{
	struct vector_datagram datagram;
	size_t udp_len;

	assert_true(len >= ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES);
	assert_int_equal(load_be16(frame + 12), 0x0800);
	assert_int_equal(frame[ETHERNET_BYTES], 0x45);
	assert_int_equal(frame[ETHERNET_BYTES + 9], IPPROTO_UDP_VALUE);
	udp_len = load_be16(frame + ETHERNET_BYTES + IPV4_BYTES + 4);
	assert_in_range(udp_len, UDP_BYTES, len - ETHERNET_BYTES - IPV4_BYTES);
	datagram.data = frame + ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES;
	datagram.len = udp_len - UDP_BYTES;
	return datagram;
}

void vector_capture_load(struct vector_capture *capture, const char *name)
{
	char path[4096];
	size_t len, at = PCAP_HEADER_BYTES;

	memset(capture, 0, sizeof(*capture));
	vector_path(path, sizeof(path), name);
	capture->file = read_file(path, &len);
	assert_true(len >= PCAP_HEADER_BYTES);
	assert_int_equal(load_le32(capture->file), PCAP_MAGIC);
	assert_int_equal(load_le32(capture->file + 20), PCAP_ETHERNET);
	while (at < len) {
		size_t frame_len;

		assert_true(len - at >= PCAP_RECORD_BYTES);
		frame_len = load_le32(capture->file + at + 8);
		at += PCAP_RECORD_BYTES;
		assert_in_range(frame_len, 1, len - at);
		assert_true(capture->count < VECTOR_DATAGRAMS_MAX);
		capture->datagrams[capture->count++] = udp_payload(capture->file + at, frame_len);
		at += frame_len;
	}
	assert_true(capture->count > 0);
}

void vector_capture_free(struct vector_capture *capture)
{
	free(capture->file);
	capture->file = NULL;
}
