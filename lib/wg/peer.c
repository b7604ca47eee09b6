/* SPDX-License-Identifier: BSD-3-Clause */
/* A peer: its configuration, its staged packets, what its timers do. */
#include "wg/peer.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "crypto/wipe.h"
#include "wg/ids.h"

static void follow_identity(struct wg_peer *peer);
static void follow_running(struct wg_peer *peer);
static struct timers_view view_of(const struct wg_peer *peer, uint64_t now_ns);
static void give_up(struct wg_peer *peer);
static void tidy_sessions(struct wg_peer *peer, uint64_t now_ns);

struct wg_peer *peer_create(
	struct wg_device *device, const uint8_t public_key[WG_KEY_BYTES], int *error)
{
	static const struct noise_identity nobody;
	uint32_t id = wg_ids_take(device->ids);
	struct wg_peer *peer;

	if (id == WG_ID_NONE) {
		*error = -ENOSPC;
		return NULL;
	}
	peer = device->env->alloc(device->env->arg, sizeof(*peer));
	if (!peer) {
		wg_ids_release(device->ids, id);
		*error = -ENOMEM;
		return NULL;
	}
	peer->device = device;
	peer->id = id;
	peer->serial = ++device->last_peer_serial;
	peer->activity = device->env->activity ? device->env->activity(device->env->arg, id)
					       : &peer->own_activity;
	*peer->activity = (struct wg_activity){0};
	peer->identity_serial = device->identity_serial;
	peer->running_serial = device->running_serial;
	peer->source_serial = device->source_serial;
	/* The Diffie-Hellman with the real identity comes with the first handshake. */
	noise_peer_init(&peer->noise, &nobody, public_key);
	cookie_jar_init(&peer->jar, public_key);
	device->unfreed++;
	return peer;
}

void peer_dismantle(struct wg_peer *peer)
{
	schedule_set(&peer->device->schedule, peer, UINT64_MAX);
	peer_purge_staged(peer);
	handshake_forget(peer);
	sessions_end(peer);
	wg_peer_clear_allowed_ips(peer);
}

void wg_peer_free(struct wg_device *device, struct wg_peer *peer)
{
	assert(peer->stage.count == 0 && peer->schedule_place == 0);
	wg_ids_release(device->ids, peer->id);
	wipe(peer, sizeof(*peer));
	device->env->free(device->env->arg, peer);
	device->unfreed--;
}

void wg_session_free(struct wg_device *device, struct wg_session *session)
{
	wg_index_release(device->indices, session->local_index);
	wipe(session, sizeof(*session));
	device->env->free(device->env->arg, session);
	device->unfreed--;
}

void peer_settle(struct wg_peer *peer)
{
	const struct wg_device *device = peer->device;

	if (peer->identity_serial != device->identity_serial) {
		peer->identity_serial = device->identity_serial;
		follow_identity(peer);
	}
	if (peer->running_serial != device->running_serial) {
		peer->running_serial = device->running_serial;
		follow_running(peer);
	}
	if (peer->source_serial != device->source_serial)
		peer_forget_local(peer);
}

/* The interface's key is another: what was agreed under the old one is forgotten. */
static void follow_identity(struct wg_peer *peer)
{
	handshake_forget(peer);
	sessions_end(peer);
	wipe(peer->noise.static_static, sizeof(peer->noise.static_static));
	peer->noise.reachable = false;
	peer->static_derived = false;
	peer->timers.erase_ns = 0;
	peer->last_handshake_sent_ns = 0;
	/* A handshake that was under way begins again, at once. */
	peer->timers.attempts = 0;
	if (peer->timers.retry_ns != 0 || peer->stage.count > 0)
		peer->timers.retry_ns = peer->device->now_ns;
	peer_reschedule(peer);
}

/*
 * The link went down, or up, or both. What was agreed is forgotten and what was under way came to
 * nothing. Once up all begins at once: what waits, and what is to keep the tunnel alive.
 */
static void follow_running(struct wg_peer *peer)
{
	bool running = peer->device->running;

	handshake_forget(peer);
	sessions_end(peer);
	wg_activity_forget_unanswered(peer->activity);
	wg_activity_forget_owed(peer->activity);
	peer->timers.erase_ns = 0;
	peer->last_handshake_sent_ns = 0;
	peer->timers.attempts = 0;
	peer->timers.retry_ns = running && peer->stage.count > 0 ? peer->device->now_ns : 0;
	peer->timers.persistent_last_ns = 0;
	if (!running)
		peer_purge_staged(peer);
	peer_reschedule(peer);
}

/* --- Configuration --- */

void wg_peer_set_preshared_key(struct wg_peer *peer, const uint8_t key[WG_KEY_BYTES])
{
	static const uint8_t none[WG_KEY_BYTES];

	memcpy(peer->noise.preshared_key, key ? key : none, WG_KEY_BYTES);
}

void wg_peer_set_endpoint(struct wg_peer *peer, const struct endpoint *remote)
{
	struct wg_path path = {.remote = *remote};

	if (!endpoint_equal(&peer->path.remote, remote))
		peer_set_path(peer, &path);
}

void wg_peer_set_persistent_keepalive(struct wg_peer *peer, uint16_t seconds, struct wg_time now)
{
	uint64_t interval_ns = seconds * NS_PER_SEC;
	bool was_off = peer->timers.persistent_interval_ns == 0;

	device_note_time(peer->device, now);
	peer_settle(peer);
	if (interval_ns == peer->timers.persistent_interval_ns)
		return;
	peer->timers.persistent_interval_ns = interval_ns;
	if (was_off) {
		/* Else it is sent as soon as it may be. */
		peer->timers.persistent_last_ns = 0;
		if (peer_may_begin(peer)) {
			peer->timers.persistent_last_ns = now.mono_ns;
			peer_send_keepalive(peer, now);
		}
	}
	peer_reschedule(peer);
}

int wg_peer_add_allowed_ip(struct wg_peer *peer, const struct ip_prefix *prefix)
{
	struct ip_prefix masked = *prefix;
	struct wg_peer *old;
	int error;

	ip_prefix_mask(&masked);
	error = allowedips_set(peer->device->allowedips, &masked, peer, &old);
	if (error == 0 && old != peer)
		actions_push_prefix(&peer->device->actions, WG_ACT_PREFIX_SET, peer, &masked);
	return error;
}

void wg_peer_remove_allowed_ip(struct wg_peer *peer, const struct ip_prefix *prefix)
{
	struct ip_prefix masked = *prefix;

	ip_prefix_mask(&masked);
	if (allowedips_remove(peer->device->allowedips, &masked, peer))
		actions_push_prefix(&peer->device->actions, WG_ACT_PREFIX_CLEAR, peer, &masked);
}

void wg_peer_clear_allowed_ips(struct wg_peer *peer)
{
	(void)peer_clear_allowed_ips(peer, UINT_MAX);
}

unsigned peer_clear_allowed_ips(struct wg_peer *peer, unsigned most)
{
	const struct allowedips_entry *entry;
	unsigned n = 0;

	while (n < most && (entry = allowedips_next(peer->device->allowedips, peer, NULL))) {
		struct ip_prefix prefix = allowedips_prefix(entry);

		wg_peer_remove_allowed_ip(peer, &prefix);
		n++;
	}
	return n;
}

/* --- Packets and hints --- */

void *wg_peer_stage(struct wg_peer *peer, void *packet, struct wg_time now)
{
	void *dropped;

	device_note_time(peer->device, now);
	peer_settle(peer);
	if (!peer_has_hope(peer) && !peer_can_send(peer, now.mono_ns))
		return packet;
	dropped = stage_push(&peer->stage, packet);
	if (peer_can_send(peer, now.mono_ns)) {
		/* A session came while the packet was on its way to us: have it flushed again. */
		actions_push_session(&peer->device->actions, WG_ACT_SESSION_CURRENT, peer,
			peer->keypairs.current);
	} else {
		handshake_begin(peer, now);
	}
	return dropped;
}

void *wg_peer_unstage(struct wg_peer *peer)
{
	return stage_pop(&peer->stage);
}

void wg_peer_hint_rekey(struct wg_peer *peer, struct wg_time now)
{
	struct wg_session *session;

	device_note_time(peer->device, now);
	peer_settle(peer);
	session = peer->keypairs.current;
	if (!session || peer->timers.retry_ns != 0)
		return;
	if ((session->initiator &&
		    wg_session_age_ns(session, now.mono_ns) >= WG_REKEY_AFTER_TIME_NS) ||
		atomic_load_explicit(&session->send_counter, memory_order_relaxed) >=
			WG_REKEY_AFTER_MESSAGES)
		handshake_begin(peer, now);
	else /* asked for an older session, or by a clock a little ahead: it may ask again */
		atomic_store_explicit(&session->rekey_asked, false, memory_order_relaxed);
}

void wg_peer_hint_roam(struct wg_peer *peer, const struct wg_path *path)
{
	if (path->remote.addr.family != IP_NONE)
		peer_set_path(peer, path);
}

void peer_set_path(struct wg_peer *peer, const struct wg_path *path)
{
	peer->source_serial = peer->device->source_serial;
	if (endpoint_equal(&peer->path.remote, &path->remote) &&
		ip_addr_equal(&peer->path.local, &path->local))
		return;
	peer->path = *path;
	actions_push(&peer->device->actions, WG_ACT_ENDPOINT, peer);
	peer_reschedule(peer);
}

void peer_forget_local(struct wg_peer *peer)
{
	struct wg_path path = {.remote = peer->path.remote};

	peer_set_path(peer, &path);
}

bool peer_has_hope(const struct wg_peer *peer)
{
	return peer->device->identity.set && peer->path.remote.addr.family != IP_NONE &&
	       (peer->noise.reachable || !peer->static_derived);
}

bool peer_may_begin(const struct wg_peer *peer)
{
	return peer->device->running && peer_has_hope(peer);
}

void peer_purge_staged(struct wg_peer *peer)
{
	if (peer->stage.count > 0)
		actions_push(&peer->device->actions, WG_ACT_STAGE_PURGE, peer);
}

bool peer_can_send(const struct wg_peer *peer, uint64_t now_ns)
{
	const struct wg_session *session = peer->keypairs.current;

	/* A worker that cannot reserve a burst gives its packets to be staged: believe it. */
	return session && wg_session_alive(session, now_ns) &&
	       atomic_load_explicit(&session->send_counter, memory_order_relaxed) <
		       WG_REJECT_AFTER_MESSAGES - LIMIT_BURST;
}

void peer_send_keepalive(struct wg_peer *peer, struct wg_time now)
{
	if (!peer->device->running)
		return;
	if (!peer_can_send(peer, now.mono_ns))
		handshake_begin(peer, now);
	else if (peer->stage.count > 0)
		actions_push_session(&peer->device->actions, WG_ACT_SESSION_CURRENT, peer,
			peer->keypairs.current);
	else
		actions_push(&peer->device->actions, WG_ACT_KEEPALIVE, peer);
}

/* --- Timers --- */

void peer_service(struct wg_peer *peer, struct wg_time now)
{
	struct timers_view view;
	unsigned due;

	peer_settle(peer);
	view = view_of(peer, now.mono_ns);
	due = timers_due(&peer->timers, &view, now.mono_ns);
	if (due & TIMERS_ERASE) {
		peer->timers.erase_ns = 0;
		handshake_forget(peer);
		sessions_end(peer);
	}
	tidy_sessions(peer, now.mono_ns);
	if (due & TIMERS_GIVE_UP)
		give_up(peer);
	if (due & TIMERS_RETRY) {
		/* Without an attempt yet it is only a beginning that had to wait. */
		if (peer->timers.attempts > 0)
			peer_forget_local(peer);
		handshake_retry(peer, now);
	}
	if (due & TIMERS_NEW_HANDSHAKE) {
		wg_activity_forget_unanswered(peer->activity);
		peer_forget_local(peer);
		handshake_begin(peer, now);
	}
	if (due & TIMERS_KEEPALIVE)
		wg_activity_forget_owed(peer->activity);
	if (due & TIMERS_PERSISTENT)
		peer->timers.persistent_last_ns = now.mono_ns;
	if (due & (TIMERS_KEEPALIVE | TIMERS_PERSISTENT))
		peer_send_keepalive(peer, now);
	peer_reschedule(peer);
}

void peer_reschedule(struct wg_peer *peer)
{
	struct timers_view view = view_of(peer, peer->device->now_ns);

	schedule_set(&peer->device->schedule, peer,
		timers_next(&peer->timers, &view, peer->device->now_ns));
}

static uint64_t stamp(const _Atomic uint64_t *stamp_ns)
{
	return atomic_load_explicit(stamp_ns, memory_order_relaxed);
}

static bool alive(const struct wg_session *session, uint64_t now_ns)
{
	return session && wg_session_alive(session, now_ns);
}

/* Once more after its end: a worker's last stamp may become visible just after a look. */
static bool watched(const struct wg_session *session, uint64_t now_ns)
{
	return session && wg_session_age_ns(session, now_ns) <
				  WG_REJECT_AFTER_TIME_NS + WG_KEEPALIVE_TIMEOUT_NS;
}

static struct timers_view view_of(const struct wg_peer *peer, uint64_t now_ns)
{
	return (struct timers_view){
		.last_sent_ns = stamp(&peer->activity->last_sent_ns),
		.last_received_ns = stamp(&peer->activity->last_received_ns),
		.unanswered_since_ns = wg_activity_unanswered_since_ns(peer->activity),
		.owed_since_ns = wg_activity_owed_since_ns(peer->activity),
		.live = watched(peer->keypairs.previous, now_ns) ||
			watched(peer->keypairs.current, now_ns) ||
			watched(peer->keypairs.next, now_ns),
		.may_send = peer_may_begin(peer),
	};
}

static void give_up(struct wg_peer *peer)
{
	timers_gave_up(&peer->timers);
	/* The ephemeral secret of the last attempt is a key, too. */
	handshake_forget(peer);
	/* What is owed to a peer that does not answer would only begin it all again. */
	wg_activity_forget_owed(peer->activity);
	peer_purge_staged(peer);
}

static void tidy_sessions(struct wg_peer *peer, uint64_t now_ns)
{
	struct wg_session *previous = peer->keypairs.previous;

	/* A session too old to open with is of no use in this slot; its memory is. */
	if (previous && !alive(previous, now_ns)) {
		struct keypairs_dropped dropped = {.sessions = {previous}, .count = 1};

		peer->keypairs.previous = NULL;
		sessions_retire(peer, &dropped);
	}
	/* A hint that was lost, or asked for a handshake that failed: let it be raised again. */
	if (peer->keypairs.current && peer->timers.retry_ns == 0)
		atomic_store_explicit(
			&peer->keypairs.current->rekey_asked, false, memory_order_relaxed);
}

/* --- To look at --- */

uint32_t wg_peer_id(const struct wg_peer *peer)
{
	return peer->id;
}

const uint8_t *wg_peer_public_key(const struct wg_peer *peer)
{
	return peer->noise.public_key;
}

const uint8_t *wg_peer_preshared_key(const struct wg_peer *peer)
{
	return peer->noise.preshared_key;
}

const struct wg_path *wg_peer_path(const struct wg_peer *peer)
{
	return &peer->path;
}

uint16_t wg_peer_persistent_keepalive(const struct wg_peer *peer)
{
	return (uint16_t)(peer->timers.persistent_interval_ns / NS_PER_SEC);
}

uint64_t wg_peer_latest_handshake_ns(const struct wg_peer *peer)
{
	return peer->latest_handshake_wall_ns;
}

struct wg_activity *wg_peer_activity(struct wg_peer *peer)
{
	return peer->activity;
}

struct wg_session *wg_peer_current_session(const struct wg_peer *peer)
{
	return peer->keypairs.current;
}

bool wg_peer_next_allowed_ip(const struct wg_peer *peer, const void **cursor, struct ip_prefix *out)
{
	const struct allowedips_entry *entry =
		allowedips_next(peer->device->allowedips, peer, *cursor);

	if (!entry)
		return false;
	*cursor = entry;
	*out = allowedips_prefix(entry);
	return true;
}

void wg_peer_set_user(struct wg_peer *peer, void *user)
{
	peer->user = user;
}

void *wg_peer_user(const struct wg_peer *peer)
{
	return peer->user;
}
