/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a device and of a peer, shared by the files that make up the device: device.c,
 * peer.c, handshake.c, allowedips.c, schedule.c. Everybody else uses device.h.
 *
 * Thread: control. Memory comes from the device's env.
 */
#ifndef WG_PEER_H
#define WG_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "wg/actions.h"
#include "wg/allowedips.h"
#include "wg/cookie.h"
#include "wg/device.h"
#include "wg/keypairs.h"
#include "wg/noise.h"
#include "wg/ratelimiter.h"
#include "wg/schedule.h"
#include "wg/stage.h"
#include "wg/timers.h"

struct wg_peer {
	struct wg_device *device;
	struct wg_activity *activity; /* [const] env's, or own_activity */
	struct wg_activity own_activity;
	struct wg_peer *older, *newer; /* in the device's list */
	struct wg_peer *bucket_next;   /* in the device's hash table */
	uint32_t key_hash;	       /* of its public key, under the device's bucket_key */
	uint32_t id;
	uint64_t serial;	    /* unlike an id never another peer's */
	uint64_t handshake_serial;  /* of noise.handshake: grows when that becomes another */
	uint64_t initiation_serial; /* of the initiation begun last */
	/* Of the device's identity, running and sources, as far as it followed them. */
	uint64_t identity_serial, running_serial, source_serial;
	void *user;

	uint64_t deadline_ns;
	uint32_t schedule_place; /* one more than the place in the heap; 0: no deadline */
	bool static_derived;	 /* noise.static_static stands for the identity of today */
	struct timers timers;
	uint64_t last_handshake_sent_ns; /* initiation or response; 0: never */
	uint64_t latest_handshake_wall_ns;

	struct noise_peer noise;
	uint8_t sent_timestamp[WG_TIMESTAMP_BYTES]; /* of the last initiation sent */
	struct cookie_jar jar;
	struct keypairs keypairs;
	struct wg_path path;
	struct stage stage;
	struct allowedips_entry *prefixes_first, *prefixes_last;
};

struct wg_device {
	const struct wg_env *env;
	struct wg_index_table *indices;
	struct wg_ids *ids;

	struct noise_identity identity;
	uint64_t identity_serial; /* grows when that becomes another */
	uint64_t last_peer_serial;
	bool running; /* else nothing is begun */
	uint64_t running_serial;
	uint64_t source_serial; /* grows when our addresses are to be chosen anew */
	bool split;		/* handshakes */
	struct cookie_checker checker;
	struct ratelimiter *limiter;

	struct wg_peer *oldest, *newest;
	struct wg_peer *unsettled; /* it and the newer ones are to be settled; NULL: none */
	struct wg_peer **buckets;  /* of bucket_count, a power of two */
	uint32_t bucket_count;
	uint32_t peer_count;
	uint8_t bucket_key[16];

	struct allowedips *allowedips;
	struct schedule schedule;
	struct actions actions;
	uint64_t now_ns;  /* the latest monotonic time seen */
	uint64_t unfreed; /* peers and sessions made and not freed yet */
	uint64_t verdicts[WG_VERDICT_COUNT];
};

/* --- peer.c --- */

/* NULL without memory or id (*error says which). Not yet in any table of the device. */
struct wg_peer *peer_create(
	struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES], int *error);
/* Reports gone whatever the peer has: staged packets, sessions, prefixes, deadline. */
void peer_dismantle(struct wg_peer *peer);
/* Has it follow what changed of its device; before any use of its handshake and sessions. */
void peer_settle(struct wg_peer *peer);
/* Does what is due. */
void peer_service(struct wg_peer *peer, struct wg_time now);
/* Sets the deadline anew; after anything that timers depend on. */
void peer_reschedule(struct wg_peer *peer);

/* Removes so many of its prefixes at most; returns how many. */
unsigned peer_clear_allowed_ips(struct wg_peer *peer, unsigned most);

/* Takes the path that an authenticated packet came along. */
void peer_set_path(struct wg_peer *peer, const struct wg_path *path);
/* The host shall choose our address anew: the one we used may be gone. */
void peer_forget_local(struct wg_peer *peer);
/* Whether a handshake can come to anything: there are a key of ours, an endpoint, and no peer's key
 * that allows no secret. */
bool peer_has_hope(const struct wg_peer *peer);
/* And the link runs. */
bool peer_may_begin(const struct wg_peer *peer);
/* Has all of its staged packets dropped. */
void peer_purge_staged(struct wg_peer *peer);
/* Its current session, if packets may be sent with it. */
bool peer_can_send(const struct wg_peer *peer, uint64_t now_ns);
/* Staged packets if there are any, else a keepalive; without a session, a handshake. */
void peer_send_keepalive(struct wg_peer *peer, struct wg_time now);

/* --- handshake.c --- */

/*
 * Begins a handshake, or lets the one under way have all its attempts again. An initiation goes out
 * now, or as soon as REKEY_TIMEOUT has passed since the last handshake message.
 */
void handshake_begin(struct wg_peer *peer, struct wg_time now);
/* Sends the initiation of another attempt. */
void handshake_retry(struct wg_peer *peer, struct wg_time now);
/* Takes up again work that was computed: wg_device_finish(). Frees nothing. */
enum wg_verdict handshake_finish(
	struct wg_device *device, struct wg_work *work, struct wg_time now);
/* Wipes the handshake in progress and gives its index back. */
void handshake_forget(struct wg_peer *peer);

/* A message of these types, right in length, mac1 and cookie. */
enum wg_verdict handshake_receive_initiation(struct wg_device *device,
	const struct wg_msg_initiation *msg, const struct wg_path *path, struct wg_time now);
enum wg_verdict handshake_receive_response(struct wg_device *device,
	const struct wg_msg_response *msg, const struct wg_path *path, struct wg_time now);
/* The first packet of a session that we responded with was authenticated. */
void handshake_confirm(struct wg_peer *peer, uint32_t local_index, struct wg_time now);

/* Reports sessions dropped from their slots gone. */
void sessions_retire(struct wg_peer *peer, const struct keypairs_dropped *dropped);
/* Ends all sessions. */
void sessions_end(struct wg_peer *peer);

/* --- device.c --- */

/* Deadlines are set anew from the latest time seen: first in all functions that take the time. */
void device_note_time(struct wg_device *device, struct wg_time now);
/* The peer of a receiver index of this device. */
struct wg_peer *device_find_index(const struct wg_device *device, uint32_t index);

#endif
