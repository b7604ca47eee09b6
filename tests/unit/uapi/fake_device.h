/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device without a protocol behind it: lib/wg/device.h's configuration and look-up functions over
 * plain arrays, so that a test sees each change that was made. Programs link it instead of
 * lib/wg/device.c.
 */
#ifndef FAKE_DEVICE_H
#define FAKE_DEVICE_H

#include <stdio.h>

#include "wg/device.h"

struct wg_device *fake_device_create(void);
void fake_device_destroy(struct wg_device *device);

/* The changes since the last call, a word each: "+a" peer added, "-a" removed, "a.psk",
 * "a.endpoint", "a.keepalive", "a+10.0.0.0/8", "10.0.0.0/8-", "key". A peer is called by the first
 * byte of its public key as a letter. Valid until the next change. */
const char *fake_device_changes(struct wg_device *device);
/* Makes adding fail with -ENOSPC after so many peers more. */
void fake_device_limit(struct wg_device *device, unsigned peers);
/* Everything that is configured, as text that depends on nothing else. */
void fake_device_dump(struct wg_device *device, FILE *to);
/* The fake's idea of a public key. */
void fake_public_key(uint8_t public_key[WG_KEY_BYTES], const uint8_t private_key[WG_KEY_BYTES]);
void fake_peer_set_state(struct wg_peer *peer, uint64_t handshake_ns, uint64_t tx, uint64_t rx);

#endif
