/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A piece of a handshake's cryptography (whitepaper section 5.4), with all that it needs copied
 * into it, so that any thread may work it out while control goes on. The state stays control's:
 * what was worked out counts only if the peer, its handshake and the keys are still those that it
 * was begun with (handshake.c).
 *
 * Thread: one at a time. Allocation: the device's env, for those that are handed out; they hold
 * secrets and are wiped when freed.
 */
#ifndef WG_WORK_H
#define WG_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "wg/device.h"
#include "wg/messages.h"
#include "wg/noise.h"

enum work_kind {
	WORK_OPEN,     /* whose initiation is it? */
	WORK_RESPOND,  /* is it new? Then the response to it. */
	WORK_CONCLUDE, /* is it the response to our initiation? */
	WORK_INITIATE, /* an initiation of ours */
};

struct wg_work {
	enum work_kind kind;
	bool derive_static; /* noise.static_static is to be derived first */
	bool made;	    /* out is there to be sent */
	enum wg_verdict verdict;

	uint64_t identity_serial, peer_serial, handshake_serial, initiation_serial;
	uint64_t now_ns;
	struct wg_path path;
	struct noise_identity identity;
	struct noise_peer noise; /* of the peer when the work began; then as it would be */
	struct noise_opened_initiation opened;
	uint8_t ephemeral[WG_KEY_BYTES];
	uint8_t timestamp[WG_TIMESTAMP_BYTES];
	union {
		struct wg_msg_initiation initiation;
		struct wg_msg_response response;
	} in, out;
};

#endif
