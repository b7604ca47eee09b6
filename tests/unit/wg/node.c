/* SPDX-License-Identifier: BSD-3-Clause */
#include "node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/units.h"
#include "crypto/aead.h"
#include "wg/messages.h"

/* A session or peer that workers may still see. */
struct node_grave {
	struct wg_session *session;
	struct wg_peer *peer;
	uint64_t free_at_ns;
	struct node_grave *next;
};

/* Work of a split handshake, on its way. */
struct node_work {
	struct wg_work *work;
	uint64_t due_ns;
	struct node_work *next;
};

static bool split_handshakes;

static void take_work(struct node *node, struct wg_work *work);
static void finish_works(struct node *node);
static void bury(struct node *node, struct wg_session *session, struct wg_peer *peer);
static void free_graves(struct node *node, bool all);
static void act(struct node *node, const struct wg_action *action);
static void send_handshake(struct node *node, const struct wg_action *action);
static void flush(struct node *node, struct wg_peer *peer, struct wg_session *session);
static bool seal(struct node *node, struct wg_peer *peer, struct wg_session *session,
	const struct packet *packet);
static bool open_data(
	struct node *node, const uint8_t *data, size_t len, const struct wg_path *path);
static void raise_hint(struct node *node, struct wg_peer *peer, const struct node_hint *hint);

uint64_t rng_next(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
	return rng_next(rng) % bound;
}

bool rng_chance(struct rng *rng, unsigned percent)
{
	return rng_below(rng, 100) < percent;
}

uint64_t rng_seed(const char *test)
{
	const char *given = getenv("TEST_SEED");
	uint64_t seed;
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	seed = (uint64_t)ts.tv_nsec ^ ((uint64_t)ts.tv_sec << 20) ^ ((uint64_t)getpid() << 40);
	if (given)
		seed = strtoull(given, NULL, 0);
	printf("%s: TEST_SEED=%llu\n", test, (unsigned long long)seed);
	return seed;
}

static void env_random(void *arg, void *buf, size_t len)
{
	struct node *node = arg;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)rng_next(node->rng);
}

static void *env_alloc(void *arg, size_t size)
{
	struct node *node = arg;
	void *p = aligned_alloc(64, (size + 63) / 64 * 64);

	assert_non_null(p);
	memset(p, 0, size);
	node->allocated++;
	return p;
}

static void env_free(void *arg, void *p)
{
	struct node *node = arg;

	assert_true(node->allocated > 0);
	node->allocated--;
	free(p);
}

struct node *node_create(
	uint32_t id, const struct node_hooks *hooks, struct rng *rng, struct wg_time now)
{
	struct node *node = calloc(1, sizeof(*node));

	assert_non_null(node);
	node->id = id;
	node->hooks = *hooks;
	node->rng = rng;
	node->now = now;
	node->env = (struct wg_env){env_random, env_alloc, env_free, node, NULL};
	node->indices = wg_index_table_create(env_random, node);
	node->ids = wg_ids_create(1024);
	assert_non_null(node->indices);
	assert_non_null(node->ids);
	node->device = wg_device_create(&node->env, node->indices, node->ids);
	assert_non_null(node->device);
	wg_device_split_handshakes(node->device, split_handshakes);
	return node;
}

void node_split_handshakes(bool split)
{
	split_handshakes = split;
}

void node_destroy(struct node *node)
{
	while (wg_device_shutdown(node->device, 1))
		node_drain(node);
	node_drain(node);
	assert_null(node->sessions);
	assert_int_equal(wg_device_deadline(node->device), UINT64_MAX);
	free_graves(node, true);
	while (node->works) {
		struct node_work *first = node->works;

		node->works = first->next;
		wg_work_free(node->device, first->work);
		free(first);
	}
	assert_int_equal(wg_index_count(node->indices), 0);
	wg_device_free(node->device);
	assert_int_equal(node->allocated, 0);
	wg_ids_destroy(node->ids);
	wg_index_table_destroy(node->indices);
	free(node);
}

void node_tick(struct node *node, struct wg_time now)
{
	assert_true(now.mono_ns >= node->now.mono_ns);
	node->now = now;
	free_graves(node, false);
	finish_works(node);
	while (wg_device_deadline(node->device) <= now.mono_ns) {
		wg_device_tick(node->device, now);
		node->ticks++;
		node_drain(node);
	}
}

uint64_t node_deadline(const struct node *node)
{
	uint64_t deadline = wg_device_deadline(node->device);

	for (struct node_grave *grave = node->graves; grave; grave = grave->next)
		if (grave->free_at_ns < deadline)
			deadline = grave->free_at_ns;
	for (struct node_work *work = node->works; work; work = work->next)
		if (work->due_ns < deadline)
			deadline = work->due_ns;
	return deadline;
}

void nodes_step(struct node *const nodes[2], struct wg_time *now, uint64_t end_ns)
{
	uint64_t next_ns = end_ns;

	for (unsigned i = 0; i < 2; i++)
		if (node_deadline(nodes[i]) < next_ns)
			next_ns = node_deadline(nodes[i]);
	if (next_ns > now->mono_ns) {
		now->wall_ns += next_ns - now->mono_ns;
		now->mono_ns = next_ns;
	}
	for (unsigned i = 0; i < 2; i++)
		node_tick(nodes[i], *now);
}

static void bury(struct node *node, struct wg_session *session, struct wg_peer *peer)
{
	struct node_grave *grave = calloc(1, sizeof(*grave));
	uint64_t grace_ns =
		node->hooks.grace_ns ? node->hooks.grace_ns(node->hooks.arg, node) : NS_PER_MS;

	assert_non_null(grave);
	*grave = (struct node_grave){session, peer, node->now.mono_ns + grace_ns, node->graves};
	node->graves = grave;
}

static void free_graves(struct node *node, bool all)
{
	struct node_grave **link = &node->graves;

	while (*link) {
		struct node_grave *grave = *link;

		if (!all && grave->free_at_ns > node->now.mono_ns) {
			link = &grave->next;
			continue;
		}
		*link = grave->next;
		if (grave->session)
			wg_session_free(node->device, grave->session);
		if (grave->peer)
			wg_peer_free(node->device, grave->peer);
		free(grave);
	}
}

/* --- Split handshakes --- */

/* In any order: a new piece stands anywhere in the list. */
static void take_work(struct node *node, struct wg_work *work)
{
	uint64_t work_ns = node->hooks.work_ns ? node->hooks.work_ns(node->hooks.arg, node) : 0;
	struct node_work **link = &node->works, *taken = calloc(1, sizeof(*taken));

	assert_non_null(taken);
	wg_work_compute(work);
	if (work_ns == 0) {
		free(taken);
		wg_device_finish(node->device, work, node->now);
		return;
	}
	while (*link && rng_chance(node->rng, 50))
		link = &(*link)->next;
	*taken = (struct node_work){work, node->now.mono_ns + work_ns, *link};
	*link = taken;
}

static void finish_works(struct node *node)
{
	struct node_work **link = &node->works;

	while (*link) {
		struct node_work *due = *link;

		if (due->due_ns > node->now.mono_ns) {
			link = &due->next;
			continue;
		}
		*link = due->next;
		wg_device_finish(node->device, due->work, node->now);
		free(due);
		node_drain(node);
		link = &node->works; /* there may be new ones */
	}
}

enum wg_verdict node_judge(struct wg_device *device, const void *data, size_t len,
	const struct wg_path *path, bool under_load, struct wg_time now)
{
	enum wg_verdict verdict;

	wg_device_split_handshakes(device, false);
	verdict = wg_device_receive(device, data, len, path, under_load, now);
	wg_device_split_handshakes(device, split_handshakes);
	return verdict;
}

/* --- Control's part --- */

void node_drain(struct node *node)
{
	struct wg_action action;

	while (wg_device_next_action(node->device, &action))
		act(node, &action);
}

static struct node_session **find_session(struct node *node, uint32_t local_index)
{
	struct node_session **link = &node->sessions;

	while (*link && (*link)->session->local_index != local_index)
		link = &(*link)->next;
	return link;
}

static void publish(struct node *node, struct wg_session *session)
{
	struct node_session *entry = calloc(1, sizeof(*entry));

	assert_non_null(entry);
	assert_int_not_equal(session->local_index, WG_INDEX_NONE);
	/* No index is used again while a session that had it may be seen. */
	assert_null(*find_session(node, session->local_index));
	for (struct node_grave *grave = node->graves; grave; grave = grave->next)
		assert_true(!grave->session || wg_index_slot(grave->session->local_index) !=
						       wg_index_slot(session->local_index));
	entry->session = session;
	entry->next = node->sessions;
	node->sessions = entry;
}

static void unpublish(struct node *node, struct wg_session *session)
{
	struct node_session **link = find_session(node, session->local_index);
	struct node_session *entry = *link;

	assert_non_null(entry);
	assert_ptr_equal(entry->session, session);
	*link = entry->next;
	free(entry);
}

static void act(struct node *node, const struct wg_action *action)
{
	struct node_peer *peer = action->peer ? wg_peer_user(action->peer) : NULL;
	struct node_counts *counts = &node->counts;
	void *packet;

	switch (action->kind) {
	case WG_ACT_SEND:
		send_handshake(node, action);
		break;
	case WG_ACT_PEER_ADD:
		counts->peers_added++;
		assert_null(peer);
		peer = calloc(1, sizeof(*peer));
		assert_non_null(peer);
		wg_peer_set_user(action->peer, peer);
		break;
	case WG_ACT_PEER_REMOVE:
		counts->peers_removed++;
		assert_null(peer->current);
		for (struct node_session *s = node->sessions; s; s = s->next)
			assert_int_not_equal(s->session->peer_id, wg_peer_id(action->peer));
		wg_peer_set_user(action->peer, NULL);
		free(peer);
		bury(node, NULL, action->peer);
		break;
	case WG_ACT_SESSION_PUBLISH:
		counts->published++;
		publish(node, action->session);
		break;
	case WG_ACT_SESSION_CURRENT:
		counts->currents++;
		if (action->session) {
			assert_non_null(*find_session(node, action->session->local_index));
			flush(node, action->peer, action->session);
		}
		peer->current = action->session;
		break;
	case WG_ACT_SESSION_RETIRE:
		counts->retired++;
		assert_ptr_not_equal(peer->current, action->session);
		unpublish(node, action->session);
		bury(node, action->session, NULL);
		break;
	case WG_ACT_KEEPALIVE:
		counts->keepalives++;
		assert_non_null(peer->current);
		seal(node, action->peer, peer->current, NULL);
		break;
	case WG_ACT_STAGE_PURGE:
		while ((packet = wg_peer_unstage(action->peer))) {
			counts->purged++;
			free(packet);
		}
		break;
	case WG_ACT_ENDPOINT:
		counts->endpoints++;
		peer->path = *wg_peer_path(action->peer);
		break;
	case WG_ACT_PREFIX_SET:
		counts->prefixes_set++;
		break;
	case WG_ACT_PREFIX_CLEAR:
		counts->prefixes_cleared++;
		break;
	case WG_ACT_COMPUTE:
		assert_true(split_handshakes);
		take_work(node, action->work);
		break;
	default:
		fail();
	}
}

static void send_handshake(struct node *node, const struct wg_action *action)
{
	struct node_peer *user;

	switch (wg_message_type_of(action->send.data, action->send.len)) {
	case WG_MSG_INITIATION:
		node->counts.initiations++;
		user = wg_peer_user(action->peer);
		assert_true(node->new_identity || user->last_initiation_ns == 0 ||
			    node->now.mono_ns - user->last_initiation_ns >= WG_REKEY_TIMEOUT_NS);
		user->last_initiation_ns = node->now.mono_ns;
		break;
	case WG_MSG_RESPONSE:
		node->counts.responses++;
		break;
	case WG_MSG_COOKIE_REPLY:
		node->counts.cookies++;
		break;
	default:
		fail();
	}
	assert_int_not_equal(action->send.path.remote.addr.family, IP_NONE);
	node->hooks.send(
		node->hooks.arg, node, &action->send.path, action->send.data, action->send.len);
}

static void flush(struct node *node, struct wg_peer *peer, struct wg_session *session)
{
	struct node_peer *user = wg_peer_user(peer);
	struct packet *packet;

	while ((packet = wg_peer_unstage(peer))) {
		/* In the order in which they came. */
		assert_true(packet->serial > user->unstaged_serial);
		user->unstaged_serial = packet->serial;
		if (!seal(node, peer, session, packet))
			node->counts.dropped++;
		free(packet);
	}
}

void node_stage(struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct packet *copy = malloc(sizeof(*copy));

	assert_non_null(copy);
	*copy = *packet;
	node->counts.staged++;
	copy = wg_peer_stage(peer, copy, node->now);
	node->counts.dropped += copy != NULL;
	free(copy);
	node_drain(node);
}

void node_hint(struct node *node, const struct node_hint *hint)
{
	struct wg_peer *peer = wg_device_find_peer(node->device, hint->public_key);

	if (!peer)
		return;
	switch (hint->kind) {
	case NODE_HINT_REKEY:
		wg_peer_hint_rekey(peer, node->now);
		break;
	case NODE_HINT_CONFIRM:
		wg_device_hint_confirm(node->device, hint->local_index, node->now);
		break;
	case NODE_HINT_ROAM:
		wg_peer_hint_roam(peer, &hint->path);
		break;
	}
	node_drain(node);
}

/* --- The worker's part --- */

static void raise_hint(struct node *node, struct wg_peer *peer, const struct node_hint *hint)
{
	struct node_hint raised = *hint;

	memcpy(raised.public_key, wg_peer_public_key(peer), WG_KEY_BYTES);
	if (!node->hooks.hint || !node->hooks.hint(node->hooks.arg, node, &raised))
		node_hint(node, &raised);
}

static void ask_rekey(
	struct node *node, struct wg_peer *peer, struct wg_session *session, uint64_t age_ns)
{
	uint64_t sent = atomic_load(&session->send_counter);

	if ((!session->initiator || wg_session_age_ns(session, node->now.mono_ns) < age_ns) &&
		sent <= WG_REKEY_AFTER_MESSAGES)
		return;
	if (atomic_exchange(&session->rekey_asked, true))
		return;
	raise_hint(node, peer, &(struct node_hint){.kind = NODE_HINT_REKEY});
}

void node_send(struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct node_peer *user = wg_peer_user(peer);
	struct wg_session *session = user->current;

	if (session && wg_session_alive(session, node->now.mono_ns) &&
		seal(node, peer, session, packet))
		ask_rekey(node, peer, session, WG_REKEY_AFTER_TIME_NS);
	else if (!node->hooks.stage || !node->hooks.stage(node->hooks.arg, node, peer, packet))
		node_stage(node, peer, packet);
}

static bool seal(struct node *node, struct wg_peer *peer, struct wg_session *session,
	const struct packet *packet)
{
	struct node_peer *user = wg_peer_user(peer);
	uint8_t datagram[sizeof(struct wg_msg_data) + sizeof(*packet) + WG_TAG_BYTES];
	struct wg_msg_data *header = (struct wg_msg_data *)datagram;
	size_t len = packet ? sizeof(*packet) : 0;
	uint64_t counter = wg_session_reserve(session, 1);
	const struct node_session *entry = *find_session(node, session->local_index);

	/* A responder is silent until the initiator has proven its keys. */
	assert_non_null(entry);
	assert_true(session->initiator || (entry->used && atomic_load(&session->confirmed)));
	if (counter == UINT64_MAX || !wg_session_alive(session, node->now.mono_ns))
		return false;
	if (node->hooks.sealed)
		node->hooks.sealed(node->hooks.arg, node, session, counter);
	header->type_le = htole32(WG_MSG_DATA);
	header->receiver_le = htole32(session->remote_index);
	header->counter_le = htole64(counter);
	aead_seal(datagram + sizeof(*header), packet, len, NULL, 0, counter, session->send_key);
	len += sizeof(*header) + WG_TAG_BYTES;
	node->counts.data += packet != NULL;
	wg_activity_sent(wg_peer_activity(peer), node->now.mono_ns, len, packet != NULL);
	node->hooks.send(node->hooks.arg, node, &user->path, datagram, len);
	return true;
}

bool node_receive(struct node *node, const void *data, size_t len, const struct wg_path *path)
{
	uint64_t accepted = wg_device_verdicts(node->device)[WG_ACCEPTED];

	if (wg_message_type_of(data, len) == WG_MSG_DATA)
		return open_data(node, data, len, path);
	wg_device_receive(node->device, data, len, path, node->under_load, node->now);
	node_drain(node);
	return wg_device_verdicts(node->device)[WG_ACCEPTED] > accepted;
}

static struct wg_peer *peer_of_id(const struct node *node, uint32_t id)
{
	struct wg_peer *peer = NULL;

	while ((peer = wg_device_next_peer(node->device, peer)))
		if (wg_peer_id(peer) == id)
			return peer;
	return NULL;
}

static bool open_data(
	struct node *node, const uint8_t *data, size_t len, const struct wg_path *path)
{
	const struct wg_msg_data *header = (const struct wg_msg_data *)data;
	struct node_session *entry = *find_session(node, le32toh(header->receiver_le));
	size_t sealed_len = len - sizeof(*header);
	struct wg_session *session;
	struct node_peer *user;
	struct wg_peer *peer;
	struct packet packet;

	if (!entry || !wg_session_alive(entry->session, node->now.mono_ns)) {
		node->counts.unknown++;
		return false;
	}
	session = entry->session;
	if (sealed_len > sizeof(packet) + WG_TAG_BYTES ||
		!aead_open(&packet, data + sizeof(*header), sealed_len, NULL, 0,
			le64toh(header->counter_le), session->receive_key))
		return false;
	if (!replay_accept(&session->replay, le64toh(header->counter_le))) {
		node->counts.replayed++;
		return false;
	}
	node->counts.opened++;
	entry->used = true;
	peer = peer_of_id(node, session->peer_id);
	assert_non_null(peer);
	user = wg_peer_user(peer);
	wg_activity_received(
		wg_peer_activity(peer), node->now.mono_ns, len, sealed_len > WG_TAG_BYTES);
	if (!endpoint_equal(&user->path.remote, &path->remote) ||
		!ip_addr_equal(&user->path.local, &path->local))
		raise_hint(node, peer, &(struct node_hint){.kind = NODE_HINT_ROAM, .path = *path});
	if (sealed_len > WG_TAG_BYTES) {
		assert_int_equal(sealed_len, sizeof(packet) + WG_TAG_BYTES);
		assert_int_equal(packet.to, node->id);
		node->hooks.deliver(node->hooks.arg, node, peer, &packet);
	}
	if (session == user->current)
		ask_rekey(node, peer, session, WG_REKEY_ON_RECEIVE_NS);
	/* Last: it may retire sessions. */
	if (!atomic_load(&session->confirmed)) {
		atomic_store(&session->proven, true);
		raise_hint(node, peer,
			&(struct node_hint){
				.kind = NODE_HINT_CONFIRM, .local_index = session->local_index});
	}
	return true;
}
