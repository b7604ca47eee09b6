/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The recordings in tests/vectors: handshakes and data between two Linux kernels, and all their
 * private keys (keys.json says where they come from). What cannot be read fails the test.
 */
#ifndef TESTS_VECTORS_H
#define TESTS_VECTORS_H

#include <stddef.h>
#include <stdint.h>

#include "wg/constants.h"

#define VECTOR_DATAGRAMS_MAX  64
#define VECTOR_HANDSHAKES_MAX 16

/* One UDP payload of a recording. */
struct vector_datagram {
	const uint8_t *data;
	size_t len;
};

/* A recording (Ethernet, IPv4, UDP); payloads point into file. */
struct vector_capture {
	uint8_t *file;
	size_t count;
	struct vector_datagram datagrams[VECTOR_DATAGRAMS_MAX];
};

/* Which of the two hosts began a handshake is not said: mac1 of its initiation tells. */
struct vector_handshake {
	char capture[64];
	size_t n; /* the how manieth of its capture, from 0 */
	uint8_t initiator_ephemeral[WG_KEY_BYTES];
	uint8_t responder_ephemeral[WG_KEY_BYTES];
	uint8_t preshared_key[WG_KEY_BYTES]; /* zero: none */
};

struct vector_keys {
	uint8_t static_private[2][WG_KEY_BYTES];
	uint8_t static_public[2][WG_KEY_BYTES];
	size_t count;
	struct vector_handshake handshakes[VECTOR_HANDSHAKES_MAX];
};

void vector_keys_load(struct vector_keys *keys);
void vector_capture_load(struct vector_capture *capture, const char *name);
void vector_capture_free(struct vector_capture *capture);

#endif
