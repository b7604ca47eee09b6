/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applies a config to a device, with the meaning that the cross-platform interface gives it
 * (wireguard.com/xplatform) and the behaviour of Linux:
 *
 * - What is the same already is not touched: no session, timer or endpoint is reset, no prefix
 * leaves its peer for a moment. That holds for replace_peers and replace_allowed_ips too: only the
 *   difference is applied. A peer that replace_peers keeps takes the default of each field that the
 *   config does not give; its endpoint and its sessions stay.
 * - Of several operations on one prefix, the last decides.
 * - A peer with the interface's own public key is skipped (as Linux does), and counted.
 *
 * What can be refused is refused before anything changes. Afterwards only memory can fail.
 *
 * Thread: control. In steps, so that the caller can go on with handshakes during a large one.
 * Between steps the device may change in any way, but for another apply: one at a time for each
 * device.
 */
#ifndef UAPI_APPLY_H
#define UAPI_APPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "uapi/config.h"
#include "wg/device.h"

struct uapi_apply;

/* What is not the device's. Either may be NULL. */
struct uapi_hooks {
	/*
	 * config sets the listen port or the mark: move the sockets to it. Called once, before
	 * anything else. 0, or a negative errno: then nothing at all is applied.
	 */
	int (*set_sockets)(void *arg, const struct uapi_config *config);
	/* The device changed a little: drain its actions. Called often, so that few pile up. */
	void (*changed)(void *arg);
	void *arg;
};

struct uapi_applied {
	uint32_t peers_added, peers_removed;
	uint32_t own_key_skipped; /* entries that name the interface's own public key */
};

/*
 * Validates config against the device, prepares all memory and calls set_sockets. 0 and *out; or a
 * negative errno and nothing has changed: -EINVAL an endpoint is not resolved, -ENOSPC too many
 * peers, -ENOMEM, or what set_sockets returned. config, hooks and device must outlive the apply.
 */
int uapi_apply_begin(struct uapi_apply **out, struct wg_device *device,
	const struct uapi_config *config, const struct uapi_hooks *hooks);
/*
 * Does about budget operations (peers, prefixes; at least one). 1: call again; 0: done; -ENOMEM or
 * -ENOSPC: it ended halfway, out of memory or peer ids.
 */
int uapi_apply_step(struct uapi_apply *apply, uint32_t budget, struct wg_time now);
/* What was done so far. */
const struct uapi_applied *uapi_apply_result(const struct uapi_apply *apply);
/* Frees it, at any time; what was applied stays. */
void uapi_apply_end(struct uapi_apply *apply);

/* All of it at once. 0 or a negative errno as above; *applied may be NULL. */
int uapi_apply(struct wg_device *device, const struct uapi_config *config,
	const struct uapi_hooks *hooks, struct wg_time now, struct uapi_applied *applied);

#endif
