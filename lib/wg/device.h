/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A WireGuard interface: its identity, its peers, their handshakes, sessions and timers. Sans-IO:
 * time, randomness and memory come in as arguments; what must happen in the world comes out as
 * actions, in order, through wg_device_next_action(). Drain them after every call that may make
 * some (all that take now and all that configure).
 *
 * Thread: control, all functions. Workers touch only struct wg_session and struct wg_activity.
 *
 * Times: now.mono_ns is CLOCK_BOOTTIME and drives every deadline; now.wall_ns is CLOCK_REALTIME
 * and is used for TAI64N labels and "latest handshake" only. Wall time may step either way.
 */
#ifndef WG_DEVICE_H
#define WG_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "wg/activity.h"
#include "wg/constants.h"
#include "wg/index.h"
#include "wg/session.h"
#include "wg/verdict.h"

struct wg_device;
struct wg_peer;
struct wg_work;

struct wg_time {
	uint64_t mono_ns;
	uint64_t wall_ns;
};

/* The world a device may use. alloc returns zeroed, cache-line aligned memory or NULL. */
struct wg_env {
	void (*random)(void *arg, void *buf, size_t len);
	void *(*alloc)(void *arg, size_t size);
	void (*free)(void *arg, void *p);
	void *arg;
	/*
	 * Where workers leave the stamps of the peer with this id, so that they can lie beside what
	 * else workers touch of it; the device zeroes them when the peer begins. NULL: the device
	 * keeps them with the peer.
	 */
	struct wg_activity *(*activity)(void *arg, uint32_t peer_id);
};

/* Where a peer is: its address, and ours that it spoke to (IP_NONE: not known, the host chooses).
 */
struct wg_path {
	struct endpoint remote;
	struct ip_addr local;
};

enum wg_action_kind {
	WG_ACT_NONE,
	/* Send this handshake datagram along path: a peer's with traffic class 0x88, else 0. */
	WG_ACT_SEND,
	/* session can receive from now on: publish it under session->local_index. */
	WG_ACT_SESSION_PUBLISH,
	/*
	 * peer now sends with session (NULL: with none). Unless NULL, flush its staged packets just
	 * before. May name the session that is current already: there is something to flush.
	 */
	WG_ACT_SESSION_CURRENT,
	/* Unpublish session; when no worker can see it any more, call wg_session_free(). */
	WG_ACT_SESSION_RETIRE,
	/* Send an empty data message with peer's current session. */
	WG_ACT_KEEPALIVE,
	/* The handshake was given up, or the peer goes: pop and free all packets staged for peer.
	 */
	WG_ACT_STAGE_PURGE,
	/* wg_peer_path(peer) changed. */
	WG_ACT_ENDPOINT,
	/* peer exists from now on; publish it under its id before anything else of it. */
	WG_ACT_PEER_ADD,
	/*
	 * Unpublish peer; when no worker can see it any more, call wg_peer_free(). Its sessions and
	 * prefixes were reported gone before. No other function may be given the peer any more.
	 */
	WG_ACT_PEER_REMOVE,
	/* prefix is routed to peer (moved there if another had it). */
	WG_ACT_PREFIX_SET,
	/* prefix is routed to no peer. */
	WG_ACT_PREFIX_CLEAR,
	/* Have work done: wg_work_compute(), then wg_device_finish(). Split handshakes only. */
	WG_ACT_COMPUTE,
};

struct wg_action {
	enum wg_action_kind kind;
	struct wg_peer *peer; /* NULL for a reply to a sender that is no peer yet (cookie reply) */
	union {
		struct {
			struct wg_path path;
			uint16_t len;
			uint8_t data[148];
		} send;
		struct wg_session *session;
		struct ip_prefix prefix;
		struct wg_work *work;
	};
};

/* ids: peer ids are unique in the program and below LIMIT_PEERS; see wg_ids_create(). */
struct wg_ids;
struct wg_ids *wg_ids_create(uint32_t limit);
void wg_ids_destroy(struct wg_ids *ids);

/* env and the tables must outlive the device. NULL: out of memory. */
struct wg_device *wg_device_create(
	const struct wg_env *env, struct wg_index_table *indices, struct wg_ids *ids);
/*
 * Removes peers and their prefixes, so many at most; true: there are more. Drain the actions each
 * time, which take memory. False: all are gone, and the private key too; wg_device_free() in the
 * end.
 */
bool wg_device_shutdown(struct wg_device *device, unsigned most);
/* All its peers and sessions were freed before: they need the device for that. */
void wg_device_free(struct wg_device *device);

/* The next thing to do; false when there is none. The action is the caller's copy. */
__attribute__((warn_unused_result)) bool wg_device_next_action(
	struct wg_device *device, struct wg_action *out);

/* --- Configuration. Each change that is none (same value) does nothing at all. --- */

/*
 * NULL or zero: none. Ends sessions and handshakes, and removes a peer that has the new public key
 * (as Linux does). Each peer's static-static is derived at its next handshake. Peers follow
 * LIMIT_SETTLE_PEERS at a time: the first now, others by wg_device_settle() or wg_device_tick(),
 * and each before its next handshake.
 */
void wg_device_set_private_key(
	struct wg_device *device, const uint8_t key[WG_KEY_BYTES], struct wg_time now);
/*
 * Whether the interface's link is up (at first: yes). When it goes down, sessions end and
 * packets staged are dropped; while it is down nothing is begun, and messages are refused
 * (WG_LINK_DOWN). When it comes up, persistent keepalives go out at once, by new handshakes. All as
 * in Linux. Peers follow as above.
 */
void wg_device_set_running(struct wg_device *device, bool running, struct wg_time now);
/* The sockets send another way: our address is chosen anew for each peer. Peers follow as above. */
void wg_device_forget_sources(struct wg_device *device);
/* Has the next peers follow what was set. True: all do; else drain the actions, and call again. */
bool wg_device_settle(struct wg_device *device);
/* Own keys, or NULL when none is set. */
const uint8_t *wg_device_private_key(const struct wg_device *device);
const uint8_t *wg_device_public_key(const struct wg_device *device);

struct wg_peer *wg_device_find_peer(
	const struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES]);
/*
 * Adds a peer. 0 and *out; -EEXIST with *out; -EINVAL: it is the interface's own key; -ENOSPC: no
 * id is free; -ENOMEM.
 */
int wg_device_add_peer(
	struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES], struct wg_peer **out);
void wg_device_remove_peer(struct wg_device *device, struct wg_peer *peer);
/* Frees a peer or a session that was reported gone, once no worker can see it. Wipes it. */
void wg_peer_free(struct wg_device *device, struct wg_peer *peer);
void wg_session_free(struct wg_device *device, struct wg_session *session);

/* A new preshared key is used from the next handshake on; sessions stay (as in Linux). */
void wg_peer_set_preshared_key(struct wg_peer *peer, const uint8_t key[WG_KEY_BYTES]);
/* Configured endpoint; the local address is forgotten. */
void wg_peer_set_endpoint(struct wg_peer *peer, const struct endpoint *remote);
/* Seconds, 0 off. From 0 to more: a keepalive goes out at once (as in Linux). */
void wg_peer_set_persistent_keepalive(struct wg_peer *peer, uint16_t seconds, struct wg_time now);
/* 0 or -ENOMEM. Host bits are masked off. */
int wg_peer_add_allowed_ip(struct wg_peer *peer, const struct ip_prefix *prefix);
/* Removes it if this peer owns it. */
void wg_peer_remove_allowed_ip(struct wg_peer *peer, const struct ip_prefix *prefix);
void wg_peer_clear_allowed_ips(struct wg_peer *peer);

/* --- What happens --- */

/*
 * A datagram of type 1, 2 or 3 arrived (whole UDP payload) along path. under_load: the handshake
 * queue is long; then mac2 is demanded and sources are limited. WG_PENDING: split handshakes, and
 * wg_device_finish() will tell.
 */
enum wg_verdict wg_device_receive(struct wg_device *device, const void *msg, size_t len,
	const struct wg_path *path, bool under_load, struct wg_time now);

/*
 * Split handshakes: their Diffie-Hellmans are handed out as WG_ACT_COMPUTE, to be done by other
 * threads while control goes on. At first they are not split: control does all at once.
 */
void wg_device_split_handshakes(struct wg_device *device, bool split);
/* Whether a message received asks for it; else it is for an initiation of ours. */
bool wg_work_was_asked_for(const struct wg_work *work);
/* Works it out. Thread: any, one at a time; touches nothing else. */
void wg_work_compute(struct wg_work *work);
/*
 * Takes up again, and frees, work that was computed. In any order and however late: what does not
 * fit what has happened since (peer removed, key changed, a newer handshake) has no effect. The
 * verdict on the message received, WG_PENDING if there is more work or it was no such message.
 */
enum wg_verdict wg_device_finish(
	struct wg_device *device, struct wg_work *work, struct wg_time now);
/* Gives up work that was handed out. */
void wg_work_free(struct wg_device *device, struct wg_work *work);

/*
 * A packet for a peer without a usable session: staged, and a handshake begun unless one is under
 * way; if a session has come in the meantime, it is reported current again, to flush. Returns a
 * packet that had to be given up, for the caller to free, or NULL: the oldest of too many, or this
 * one when the peer has no session and cannot get one: no endpoint, no key of ours, a key of its
 * own that allows no secret.
 */
void *wg_peer_stage(struct wg_peer *peer, void *packet, struct wg_time now);
/* The next staged packet in order of arrival, now the caller's; NULL when there is none. */
void *wg_peer_unstage(struct wg_peer *peer);

/* Hints of the workers; each may come often, late or not at all, and for things already done. */
/* A session in sending use is old or nearly used up: begin a handshake unless one is under way. */
void wg_peer_hint_rekey(struct wg_peer *peer, struct wg_time now);
/* The first packet on this receiver index was authenticated: it may be used for sending. */
void wg_device_hint_confirm(struct wg_device *device, uint32_t local_index, struct wg_time now);
/* An authenticated packet came along this path. */
void wg_peer_hint_roam(struct wg_peer *peer, const struct wg_path *path);

/* When wg_device_tick() is next due (monotonic ns), UINT64_MAX for never. */
uint64_t wg_device_deadline(const struct wg_device *device);
/* Does what is due, for LIMIT_TICK_PEERS peers at most: then the deadline lies in the past still.
 */
void wg_device_tick(struct wg_device *device, struct wg_time now);

/* --- To look at --- */

/* Peers in order of creation: first with NULL; NULL at the end. */
struct wg_peer *wg_device_next_peer(const struct wg_device *device, const struct wg_peer *peer);
uint32_t wg_device_peer_count(const struct wg_device *device);

uint32_t wg_peer_id(const struct wg_peer *peer);
const uint8_t *wg_peer_public_key(const struct wg_peer *peer);
const uint8_t *wg_peer_preshared_key(const struct wg_peer *peer); /* zero: none */
const struct wg_path *wg_peer_path(const struct wg_peer *peer);	  /* remote IP_NONE: none */
uint16_t wg_peer_persistent_keepalive(const struct wg_peer *peer);
/* Wall clock of the last finished handshake, ns since 1970; 0: never. */
uint64_t wg_peer_latest_handshake_ns(const struct wg_peer *peer);
/* Shared with the workers: env's, valid as long as the peer. */
struct wg_activity *wg_peer_activity(struct wg_peer *peer);
/* The session it sends with, or NULL. */
struct wg_session *wg_peer_current_session(const struct wg_peer *peer);
/* Prefix after prefix: *cursor NULL first; false at the end. */
bool wg_peer_next_allowed_ip(
	const struct wg_peer *peer, const void **cursor, struct ip_prefix *out);
/* A value for the caller's own use (the published peer), kept with the peer. */
void wg_peer_set_user(struct wg_peer *peer, void *user);
void *wg_peer_user(const struct wg_peer *peer);
/* How often each verdict was given. */
const uint64_t *wg_device_verdicts(const struct wg_device *device);

#endif
