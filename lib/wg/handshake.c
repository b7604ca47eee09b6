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
#include "wg/work.h"

static void next_timestamp(struct wg_peer *peer, uint64_t wall_ns);
static uint64_t draw_jitter(const struct wg_device *device);
static void send_message(struct wg_peer *peer, void *msg, size_t len, uint64_t now_ns);
static void begin_work(
	struct wg_work *work, enum work_kind kind, const struct wg_device *device, uint64_t now_ns);
static void take_snapshot(struct wg_work *work, enum work_kind kind, const struct wg_peer *peer);
static enum wg_verdict submit(struct wg_device *device, struct wg_work *work, struct wg_time now);
static enum wg_verdict respond(struct wg_peer *peer, struct wg_work *work, struct wg_time now);
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
	if (peer->timers.retry_ns == 0 && !peer->device->running) {
		/* The link may come up just now: what is staged waits for that so long. */
		peer->timers.attempts = 0;
		peer->timers.retry_ns = now.mono_ns + WG_REKEY_TIMEOUT_NS;
		peer_reschedule(peer);
	} else if (peer->timers.retry_ns == 0) {
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
	struct wg_work work;

	peer->timers.retry_ns = 0;
	if (sent_lately(peer, now.mono_ns)) {
		/* Nobody may ask again when the time has come: remember it. */
		peer->timers.retry_ns = peer->last_handshake_sent_ns + WG_REKEY_TIMEOUT_NS;
		peer_reschedule(peer);
		return;
	}
	if (!peer_may_begin(peer)) {
		peer_purge_staged(peer);
		peer_reschedule(peer);
		return;
	}

	peer->last_handshake_sent_ns = now.mono_ns;
	timers_initiation_sent(&peer->timers, now.mono_ns, draw_jitter(device));
	next_timestamp(peer, now.wall_ns);
	peer->initiation_serial++;
	begin_work(&work, WORK_INITIATE, device, now.mono_ns);
	take_snapshot(&work, WORK_INITIATE, peer);
	memcpy(work.timestamp, peer->sent_timestamp, sizeof(work.timestamp));
	(void)submit(device, &work, now);
	wipe(&work, sizeof(work));
	peer_reschedule(peer);
}

void handshake_forget(struct wg_peer *peer)
{
	if (peer->noise.handshake.local_index != WG_INDEX_NONE)
		wg_index_release(peer->device->indices, peer->noise.handshake.local_index);
	noise_handshake_wipe(&peer->noise.handshake);
	peer->handshake_serial++;
}

enum wg_verdict handshake_receive_initiation(struct wg_device *device,
	const struct wg_msg_initiation *msg, const struct wg_path *path, struct wg_time now)
{
	struct wg_work work;
	enum wg_verdict verdict;

	begin_work(&work, WORK_OPEN, device, now.mono_ns);
	work.path = *path;
	work.in.initiation = *msg;
	verdict = submit(device, &work, now);
	wipe(&work, sizeof(work));
	return verdict;
}

enum wg_verdict handshake_receive_response(struct wg_device *device,
	const struct wg_msg_response *msg, const struct wg_path *path, struct wg_time now)
{
	uint32_t index = le32toh(msg->receiver_le);
	struct wg_peer *peer = device_find_index(device, index);
	struct wg_work work;
	enum wg_verdict verdict;

	if (peer)
		peer_settle(peer);
	/* The index may be that of a session: such a response comes unasked. */
	if (!peer || peer->noise.handshake.local_index != index)
		return WG_UNKNOWN_INDEX;
	begin_work(&work, WORK_CONCLUDE, device, now.mono_ns);
	take_snapshot(&work, WORK_CONCLUDE, peer);
	work.path = *path;
	work.in.response = *msg;
	verdict = submit(device, &work, now);
	wipe(&work, sizeof(work));
	return verdict;
}

/* --- Work: begun, done here or elsewhere, taken up again --- */

static void begin_work(
	struct wg_work *work, enum work_kind kind, const struct wg_device *device, uint64_t now_ns)
{
	memset(work, 0, sizeof(*work));
	work->kind = kind;
	work->identity = device->identity;
	work->identity_serial = device->identity_serial;
	work->now_ns = now_ns;
}

/*
 * A Diffie-Hellman with each peer when it is configured would make a million peers take half a
 * minute: it is put off to the peer's first handshake.
 */
static void take_snapshot(struct wg_work *work, enum work_kind kind, const struct wg_peer *peer)
{
	const struct wg_env *env = peer->device->env;

	work->kind = kind;
	work->noise = peer->noise;
	work->derive_static = !peer->static_derived;
	work->peer_serial = peer->serial;
	work->handshake_serial = peer->handshake_serial;
	work->initiation_serial = peer->initiation_serial;
	if (kind != WORK_CONCLUDE)
		env->random(env->arg, work->ephemeral, sizeof(work->ephemeral));
}

/* The caller's copy stays the caller's; without memory for another the work is done here. */
static enum wg_verdict submit(struct wg_device *device, struct wg_work *work, struct wg_time now)
{
	struct wg_work *copy = NULL;

	if (device->split)
		copy = device->env->alloc(device->env->arg, sizeof(*copy));
	if (!copy) {
		wg_work_compute(work);
		return handshake_finish(device, work, now);
	}
	*copy = *work;
	device->unfreed++;
	actions_push_work(&device->actions, copy);
	return WG_PENDING;
}

/*
 * The peer that the work is about, if it is there still; an id may be another's by now. It follows
 * what changed meanwhile: else that would end what comes of the work.
 */
static struct wg_peer *peer_of(const struct wg_device *device, const struct wg_work *work)
{
	struct wg_peer *peer = wg_device_find_peer(device, work->noise.public_key);

	if (!peer || peer->serial != work->peer_serial)
		return NULL;
	peer_settle(peer);
	return peer;
}

static void take_static(struct wg_peer *peer, const struct wg_work *work)
{
	if (peer->static_derived || !work->derive_static)
		return;
	memcpy(peer->noise.static_static, work->noise.static_static, WG_KEY_BYTES);
	peer->noise.reachable = work->noise.reachable;
	peer->static_derived = true;
}

/* The handshake that the work came to takes the place of the one in progress. */
static void take_handshake(struct wg_peer *peer, const struct wg_work *work, uint32_t index)
{
	handshake_forget(peer);
	peer->noise.handshake = work->noise.handshake;
	peer->noise.handshake.local_index = index;
}

static bool same_preshared_key(const struct wg_peer *peer, const struct wg_work *work)
{
	return equal_ct(
		peer->noise.preshared_key, work->noise.preshared_key, sizeof(work->ephemeral));
}

static enum wg_verdict finish_open(
	struct wg_device *device, struct wg_work *work, struct wg_time now)
{
	struct wg_peer *peer;

	if (work->verdict != WG_ACCEPTED)
		return work->verdict;
	peer = wg_device_find_peer(device, work->opened.remote_static);
	if (!peer)
		return WG_UNKNOWN_PEER;
	peer_settle(peer);
	if (peer->static_derived && !peer->noise.reachable)
		return WG_BAD_STATIC;
	take_snapshot(work, WORK_RESPOND, peer);
	return submit(device, work, now);
}

static enum wg_verdict finish_respond(
	struct wg_device *device, struct wg_work *work, struct wg_time now)
{
	struct wg_peer *peer = peer_of(device, work);
	enum wg_verdict verdict = work->verdict;

	if (!peer)
		return WG_UNKNOWN_PEER;
	take_static(peer, work);
	if (verdict == WG_ACCEPTED && !same_preshared_key(peer, work)) {
		work->kind = WORK_OPEN; /* once more, with the new one */
		return submit(device, work, now);
	}
	/* Another initiation may have been accepted since. */
	if (verdict == WG_ACCEPTED)
		verdict = noise_judge_timestamp(
			&peer->noise, work->noise.latest_timestamp, now.mono_ns);
	if (verdict != WG_ACCEPTED)
		return verdict;
	memcpy(peer->noise.latest_timestamp, work->noise.latest_timestamp, WG_TIMESTAMP_BYTES);
	peer->noise.latest_initiation_ns = now.mono_ns ? now.mono_ns : 1; /* 0 means never */
	/* Our own initiation, if one was under way, is void: its response will find nothing. */
	handshake_forget(peer);
	peer_set_path(peer, &work->path);
	wg_activity_received(peer->activity, now.mono_ns, sizeof(work->in.initiation), 0);
	verdict = respond(peer, work, now);
	peer_reschedule(peer);
	return verdict;
}

static enum wg_verdict respond(struct wg_peer *peer, struct wg_work *work, struct wg_time now)
{
	struct wg_device *device = peer->device;
	struct wg_session *session = device->env->alloc(device->env->arg, sizeof(*session));
	uint32_t index = session ? wg_index_take(device->indices, peer) : WG_INDEX_NONE;
	struct keypairs_dropped dropped;

	peer->last_handshake_sent_ns = now.mono_ns;
	if (index == WG_INDEX_NONE || !work->made) {
		if (index != WG_INDEX_NONE)
			wg_index_release(device->indices, index);
		if (!session)
			return WG_NO_MEMORY;
		device->env->free(device->env->arg, session);
		return index != WG_INDEX_NONE ? WG_BAD_STATIC : WG_NO_INDEX;
	}

	take_handshake(peer, work, index);
	work->out.response.sender_le = htole32(index);
	derive_session(peer, session, false, now.mono_ns);
	keypairs_add_responded(&peer->keypairs, session, &dropped);
	/* First to receive, then the response: the initiator may use the session at once. */
	actions_push_session(&device->actions, WG_ACT_SESSION_PUBLISH, peer, session);
	send_message(peer, &work->out.response, sizeof(work->out.response), now.mono_ns);
	sessions_retire(peer, &dropped);
	return WG_ACCEPTED;
}

static enum wg_verdict finish_conclude(
	struct wg_device *device, struct wg_work *work, struct wg_time now)
{
	struct wg_peer *peer = peer_of(device, work);
	struct wg_session *session;

	if (!peer || peer->handshake_serial != work->handshake_serial)
		return WG_UNKNOWN_INDEX;
	if (!same_preshared_key(peer, work)) {
		take_snapshot(work, WORK_CONCLUDE, peer);
		return submit(device, work, now);
	}
	if (work->verdict != WG_ACCEPTED)
		return work->verdict;
	peer->noise.handshake = work->noise.handshake;
	peer_set_path(peer, &work->path);
	wg_activity_received(peer->activity, now.mono_ns, sizeof(work->in.response), 0);
	session = device->env->alloc(device->env->arg, sizeof(*session));
	if (session)
		begin_initiated(peer, derive_session(peer, session, true, now.mono_ns), now);
	else
		handshake_forget(peer);
	peer_reschedule(peer);
	return session ? WG_ACCEPTED : WG_NO_MEMORY;
}

static void finish_initiate(struct wg_device *device, struct wg_work *work, struct wg_time now)
{
	struct wg_peer *peer = peer_of(device, work);
	uint32_t index;

	if (!peer)
		return;
	take_static(peer, work);
	if (!peer->noise.reachable) {
		peer->timers.retry_ns = 0;
		peer_purge_staged(peer);
		peer_reschedule(peer);
		return;
	}
	/* A newer one, or a handshake that the peer began, has made this one void. */
	if (!work->made || peer->initiation_serial != work->initiation_serial ||
		peer->handshake_serial != work->handshake_serial ||
		peer->path.remote.addr.family == IP_NONE)
		return;
	index = wg_index_take(device->indices, peer);
	if (index == WG_INDEX_NONE)
		return;
	take_handshake(peer, work, index);
	work->out.initiation.sender_le = htole32(index);
	peer->last_handshake_sent_ns = now.mono_ns;
	send_message(peer, &work->out.initiation, sizeof(work->out.initiation), now.mono_ns);
}

enum wg_verdict handshake_finish(struct wg_device *device, struct wg_work *work, struct wg_time now)
{
	/* For what was meant for another key, mac1 would be wrong today. */
	if (work->identity_serial != device->identity_serial)
		return work->kind == WORK_INITIATE ? WG_PENDING : WG_BAD_MAC1;
	if (!device->running)
		return work->kind == WORK_INITIATE ? WG_PENDING : WG_LINK_DOWN;
	switch (work->kind) {
	case WORK_OPEN:
		return finish_open(device, work, now);
	case WORK_RESPOND:
		return finish_respond(device, work, now);
	case WORK_CONCLUDE:
		return finish_conclude(device, work, now);
	case WORK_INITIATE:
		finish_initiate(device, work, now);
		break;
	}
	return WG_PENDING;
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

	peer_settle(peer);
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
	wg_activity_sent(peer->activity, now_ns, len, 0);
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
	wg_session_set_born(session, now_ns);
	session->initiator = initiator;
	atomic_init(&session->confirmed, initiator);
	atomic_init(&session->proven, initiator);
	atomic_flag_clear(&session->replay_lock);
	replay_init(&session->replay);
	noise_derive_keys(handshake, session->send_key, session->receive_key);
	peer->handshake_serial++;
	timers_session_derived(&peer->timers, now_ns);
	peer->timers.jitter_ns = draw_jitter(peer->device);
	peer->device->unfreed++;
	return session;
}
