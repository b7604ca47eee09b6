/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer's handshakes: initiations out and in, responses, the sessions that come of them and their
 * rotation (whitepaper sections 5.4 and 6.4).
 */
#include <assert.h>
#include <endian.h>
#include <string.h>

#include "crypto/wipe.h"
#include "wg/peer.h"
#include "wg/tai64n.h"

static bool derive_static(struct wg_peer *peer);
static void next_timestamp(struct wg_peer *peer, uint64_t wall_ns);
static uint64_t draw_jitter(const struct wg_device *device);
static void send_message(struct wg_peer *peer, void *msg, size_t len, uint64_t now_ns);
static enum wg_verdict respond(struct wg_peer *peer, struct wg_time now);
static struct wg_session *derive_session(
	struct wg_peer *peer, struct wg_session *session, bool initiator, uint64_t now_ns);
static void begin_initiated(struct wg_peer *peer, struct wg_session *session, struct wg_time now);

static bool sent_lately(const struct wg_peer *peer, uint64_t now_ns)
{
	return peer->last_handshake_sent_ns != 0 &&
	       now_ns - peer->last_handshake_sent_ns < WG_REKEY_TIMEOUT_NS;
}

void handshake_begin(struct wg_peer *peer, struct wg_time now)
{
	if (peer->timers.retry_ns == 0) {
		peer->timers.attempts = 0;
		handshake_retry(peer, now);
	} else if (peer->timers.attempts > 1) {
		/* Its time is the timer's still: packets shall not undo the jitter. */
		peer->timers.attempts = 1;
	}
}

void handshake_retry(struct wg_peer *peer, struct wg_time now)
{
	struct wg_device *device = peer->device;
	struct wg_msg_initiation msg;
	uint8_t ephemeral[WG_KEY_BYTES];
	uint32_t old_index = peer->noise.handshake.local_index, index;

	peer->timers.retry_ns = 0;
	if (sent_lately(peer, now.mono_ns)) {
		/* Nobody may ask again when the time has come: remember it. */
		peer->timers.retry_ns = peer->last_handshake_sent_ns + WG_REKEY_TIMEOUT_NS;
		peer_reschedule(peer);
		return;
	}
	if (peer->path.remote.addr.family == IP_NONE || !derive_static(peer)) {
		peer_reschedule(peer);
		return;
	}

	peer->last_handshake_sent_ns = now.mono_ns;
	timers_initiation_sent(&peer->timers, now.mono_ns, draw_jitter(device));
	index = wg_index_take(device->indices, peer);
	if (index != WG_INDEX_NONE) {
		next_timestamp(peer, now.wall_ns);
		device->env->random(device->env->arg, ephemeral, sizeof(ephemeral));
		if (noise_create_initiation(&peer->noise, &device->identity, index, ephemeral,
			    peer->sent_timestamp, &msg)) {
			if (old_index != WG_INDEX_NONE)
				wg_index_release(device->indices, old_index);
			send_message(peer, &msg, sizeof(msg), now.mono_ns);
		} else {
			wg_index_release(device->indices, index);
		}
		wipe(ephemeral, sizeof(ephemeral));
	}
	peer_reschedule(peer);
}

void handshake_forget(struct wg_peer *peer)
{
	if (peer->noise.handshake.local_index != WG_INDEX_NONE)
		wg_index_release(peer->device->indices, peer->noise.handshake.local_index);
	noise_handshake_wipe(&peer->noise.handshake);
}

enum wg_verdict handshake_receive_initiation(struct wg_device *device,
	const struct wg_msg_initiation *msg, const struct wg_path *path, struct wg_time now)
{
	struct noise_opened_initiation opened;
	enum wg_verdict verdict = noise_open_initiation(&opened, &device->identity, msg);
	struct wg_peer *peer = NULL;
	uint32_t old_index;

	if (verdict == WG_ACCEPTED) {
		peer = wg_device_find_peer(device, opened.remote_static);
		if (!peer)
			verdict = WG_UNKNOWN_PEER;
	}
	if (verdict != WG_ACCEPTED || !derive_static(peer)) {
		wipe(&opened, sizeof(opened));
		return verdict == WG_ACCEPTED ? WG_BAD_STATIC : verdict;
	}

	old_index = peer->noise.handshake.local_index;
	verdict = noise_accept_initiation(&peer->noise, &opened, msg, now.mono_ns);
	if (verdict != WG_ACCEPTED)
		return verdict;
	/* Our own initiation, if one was under way, is void: its response will find nothing. */
	if (old_index != WG_INDEX_NONE)
		wg_index_release(device->indices, old_index);
	peer_set_path(peer, path);
	wg_activity_received(&peer->activity, now.mono_ns, sizeof(*msg), 0);
	verdict = respond(peer, now);
	peer_reschedule(peer);
	return verdict;
}

static enum wg_verdict respond(struct wg_peer *peer, struct wg_time now)
{
	struct wg_device *device = peer->device;
	struct wg_session *session = device->env->alloc(device->env->arg, sizeof(*session));
	uint32_t index = session ? wg_index_take(device->indices, peer) : WG_INDEX_NONE;
	struct keypairs_dropped dropped;
	struct wg_msg_response msg;
	uint8_t ephemeral[WG_KEY_BYTES];
	bool made = false;

	peer->last_handshake_sent_ns = now.mono_ns;
	if (index != WG_INDEX_NONE) {
		device->env->random(device->env->arg, ephemeral, sizeof(ephemeral));
		made = noise_create_response(&peer->noise, index, ephemeral, &msg);
		wipe(ephemeral, sizeof(ephemeral));
	}
	if (!made) {
		if (index != WG_INDEX_NONE)
			wg_index_release(device->indices, index);
		noise_handshake_wipe(&peer->noise.handshake);
		if (!session)
			return WG_NO_MEMORY;
		device->env->free(device->env->arg, session);
		return index != WG_INDEX_NONE ? WG_BAD_STATIC : WG_NO_INDEX;
	}

	derive_session(peer, session, false, now.mono_ns);
	keypairs_add_responded(&peer->keypairs, session, &dropped);
	/* First to receive, then the response: the initiator may use the session at once. */
	actions_push_session(&device->actions, WG_ACT_SESSION_PUBLISH, peer, session);
	send_message(peer, &msg, sizeof(msg), now.mono_ns);
	sessions_retire(peer, &dropped);
	return WG_ACCEPTED;
}

enum wg_verdict handshake_receive_response(struct wg_device *device,
	const struct wg_msg_response *msg, const struct wg_path *path, struct wg_time now)
{
	uint32_t index = le32toh(msg->receiver_le);
	struct wg_peer *peer = device_find_index(device, index);
	struct wg_session *session;
	enum wg_verdict verdict;

	/* The index may be that of a session: such a response comes unasked. */
	if (!peer || peer->noise.handshake.local_index != index)
		return WG_UNKNOWN_INDEX;
	verdict = noise_accept_response(&peer->noise, &device->identity, msg);
	if (verdict != WG_ACCEPTED)
		return verdict;
	peer_set_path(peer, path);
	wg_activity_received(&peer->activity, now.mono_ns, sizeof(*msg), 0);
	session = device->env->alloc(device->env->arg, sizeof(*session));
	if (session)
		begin_initiated(peer, derive_session(peer, session, true, now.mono_ns), now);
	else
		handshake_forget(peer);
	peer_reschedule(peer);
	return session ? WG_ACCEPTED : WG_NO_MEMORY;
}

static void begin_initiated(struct wg_peer *peer, struct wg_session *session, struct wg_time now)
{
	struct wg_device *device = peer->device;
	struct keypairs_dropped dropped;

	keypairs_add_initiated(&peer->keypairs, session, &dropped);
	timers_handshake_complete(&peer->timers);
	peer->latest_handshake_wall_ns = now.wall_ns;
	actions_push_session(&device->actions, WG_ACT_SESSION_PUBLISH, peer, session);
	actions_push_session(&device->actions, WG_ACT_SESSION_CURRENT, peer, session);
	/* The responder may not send before it has a packet of ours: give it one. */
	if (peer->stage.count == 0)
		actions_push(&device->actions, WG_ACT_KEEPALIVE, peer);
	sessions_retire(peer, &dropped);
}

void handshake_confirm(struct wg_peer *peer, uint32_t local_index, struct wg_time now)
{
	struct keypairs_dropped dropped;
	struct wg_session *session;

	if (!keypairs_confirm(&peer->keypairs, local_index, &dropped))
		return;
	session = peer->keypairs.current;
	atomic_store_explicit(&session->confirmed, true, memory_order_relaxed);
	timers_handshake_complete(&peer->timers);
	peer->latest_handshake_wall_ns = now.wall_ns;
	actions_push_session(&peer->device->actions, WG_ACT_SESSION_CURRENT, peer, session);
	sessions_retire(peer, &dropped);
	peer_reschedule(peer);
}

void sessions_retire(struct wg_peer *peer, const struct keypairs_dropped *dropped)
{
	struct wg_device *device = peer->device;

	for (unsigned i = 0; i < dropped->count; i++) {
		/* Workers may still have it: the index is given back with the session. */
		wg_index_orphan(device->indices, dropped->sessions[i]->local_index);
		actions_push_session(
			&device->actions, WG_ACT_SESSION_RETIRE, peer, dropped->sessions[i]);
	}
}

void sessions_end(struct wg_peer *peer)
{
	struct keypairs_dropped dropped;

	if (peer->keypairs.current)
		actions_push_session(&peer->device->actions, WG_ACT_SESSION_CURRENT, peer, NULL);
	keypairs_clear(&peer->keypairs, &dropped);
	sessions_retire(peer, &dropped);
}

/*
 * A Diffie-Hellman with each peer when it is configured would make a million peers take half a
 * minute: it is put off to the peer's first handshake. False when there can be none.
 */
static bool derive_static(struct wg_peer *peer)
{
	if (!peer->static_derived) {
		handshake_forget(peer);
		noise_peer_rekey_static(&peer->noise, &peer->device->identity);
		peer->static_derived = true;
	}
	return peer->noise.reachable;
}

/* Labels must increase for a peer even when the wall clock stepped back. */
static void next_timestamp(struct wg_peer *peer, uint64_t wall_ns)
{
	uint8_t timestamp[WG_TIMESTAMP_BYTES];

	tai64n_from_wall(timestamp, wall_ns);
	if (memcmp(timestamp, peer->sent_timestamp, sizeof(timestamp)) <= 0)
		tai64n_after(timestamp, peer->sent_timestamp);
	memcpy(peer->sent_timestamp, timestamp, sizeof(timestamp));
}

static uint64_t draw_jitter(const struct wg_device *device)
{
	uint32_t random;

	device->env->random(device->env->arg, &random, sizeof(random));
	return ((WG_REKEY_JITTER_NS + 1) * random) >> 32;
}

static void send_message(struct wg_peer *peer, void *msg, size_t len, uint64_t now_ns)
{
	cookie_add_macs(&peer->jar, msg, len, now_ns);
	wg_activity_sent(&peer->activity, now_ns, len, 0);
	actions_push_send(&peer->device->actions, peer, &peer->path, msg, len);
}

/* Fills session from the finished handshake, whose index becomes the session's. */
static struct wg_session *derive_session(
	struct wg_peer *peer, struct wg_session *session, bool initiator, uint64_t now_ns)
{
	struct noise_handshake *handshake = &peer->noise.handshake;

	session->local_index = handshake->local_index;
	session->remote_index = handshake->remote_index;
	session->peer_id = peer->id;
	session->born_ns = now_ns;
	session->initiator = initiator;
	atomic_init(&session->confirmed, initiator);
	atomic_init(&session->proven, initiator);
	atomic_flag_clear(&session->replay_lock);
	replay_init(&session->replay);
	noise_derive_keys(handshake, session->send_key, session->receive_key);
	timers_session_derived(&peer->timers, now_ns);
	peer->timers.jitter_ns = draw_jitter(peer->device);
	peer->device->unfreed++;
	return session;
}
