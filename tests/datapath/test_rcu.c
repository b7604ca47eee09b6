/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control changes every table under the traffic of two workers, one a direction. Each key is made
 * from its session's index and is spoilt when the session is released: a packet sealed with what no
 * longer is or not yet is complete does not open, nor does one from a peer that is right. Whose an
 * inner source is changes, too. The sanitizers look on.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_pause.h>
#include <rte_ring.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "datapath/reclaim.h"
#include "datapath/roam.h"

#define CHANGES 2000
#define TURN	16
#define TEXT	64 /* bytes of an inner packet to us */
#define TAG	48 /* where in it its number stands */

static _Atomic bool stop;
static _Atomic unsigned sealed, not_sealed, wrong;
static _Atomic unsigned moved;
static unsigned released, heard, confirmed;

/* The threads' own signals order nothing: they would hide from a sanitizer what the data path does
 * not order. */
static void add(_Atomic unsigned *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static unsigned count_of(const _Atomic unsigned *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Sealing's; opening's is that of the complement. */
static void make_key(uint8_t key[32], uint32_t index)
{
	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)((index >> i % 4 * 8) * 31 + i);
}

/* ---- the outbound worker ---- */

static void check_sealed(struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	unsigned header = frame[14] >> 4 == 4 ? 42 : 62;
	const uint8_t *message = frame + header;
	uint8_t key[32], text[RIG_MAX_BYTES];
	make_key(key, load_le32(message + 4));
	if (aead_open(text, message + 16, m->data_len - header - 16u, NULL, 0,
		    load_le64(message + 8), key))
		add(&sealed);
	else
		add(&wrong);
	rte_pktmbuf_free(m);
}

static void check_turn(void)
{
	void *m;
	for (unsigned i = 0; i < rig.sinks[0].n; i++)
		check_sealed(rig.sinks[0].mbufs[i]);
	rig.sinks[0].n = 0;
	while (rte_ring_dequeue(rig.dp->control_ring, &m) == 0) {
		add(&not_sealed);
		rte_pktmbuf_free(m);
	}
	while (rte_ring_dequeue(tap(1), &m) == 0) {
		add(&not_sealed);
		rte_pktmbuf_free(m);
	}
	for (unsigned interface = 0; interface < 2; interface++)
		while (rte_ring_dequeue(tun(interface), &m) == 0)
			check_sealed(m);
}

/* A peer is found to have moved, now and then. */
static void move(unsigned turn)
{
	static struct packet frames[RIG_PEERS];
	uint32_t id = 1 + turn % 3;
	struct dp_peer *peer = dp_find_peer(rig.dp, id);
	struct packet *frame = &frames[id];
	if (peer == NULL || turn % 4 != 0)
		return;
	if (frame->len == 0)
		far_wrap(&rig.far[id], 0, "", 0, 0, frame);
	unsigned header = rig.far[id].outer_family == 4 ? 42 : 62;
	store_be16(frame->bytes + header - 8, (uint16_t)(1024 + turn % 50000));
	dp_roam(rig.worker, peer, frame->bytes, header, 0);
	add(&moved);
}

static void *work(void *arg)
{
	const struct packet *frames = arg;
	struct rte_mbuf *mbufs[TURN];
	dp_worker_online(rig.worker);
	for (unsigned turn = 0; !stop; turn++) {
		for (unsigned i = 0; i < TURN; i++)
			mbufs[i] = mbuf_from(&frames[(turn + i / 3) % 3]);
		dp_receive(rig.worker, 1, mbufs, TURN);
		dp_worker_flush(rig.worker);
		move(turn);
		check_turn();
		sched_yield(); /* control may share the core */
		dp_worker_quiescent(rig.worker);
	}
	dp_worker_offline(rig.worker);
	return NULL;
}

/* ---- the inbound worker, and the peers whose frames it gets ---- */

/* Whose the source of an inner packet is. */
enum source {
	SOURCE_OWN,
	SOURCE_MOVES, /* peer 1's or peer 2's, as control decides */
	SOURCE_FOREIGN,
	SOURCES
};

/* All made before the thread starts, but for tags and what is sealed. */
static struct packet frames_in[RIG_PEERS];
static struct packet texts[RIG_PEERS][SOURCES][2]; /* of IPv4 and IPv6 */

static struct dp_worker *inbound;
static struct rte_mempool *pool;
static struct sink inbound_sinks[RIG_PORTS];
static _Atomic uint32_t newest[RIG_PEERS]; /* [control w] index of the last session */
static _Atomic unsigned turns;
static unsigned delivered, moved_to[RIG_PEERS]; /* read when the thread has ended */

struct sent {
	uint32_t id;
	enum source source;
	unsigned seen;
	struct packet text;
};

static uint16_t inbound_send(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n)
{
	struct sink *sink = &((struct sink *)arg)[port];
	memcpy(&sink->mbufs[sink->n], mbufs, n * sizeof(mbufs[0]));
	sink->n += n;
	return n;
}

static void make_texts(void)
{
	static const char *const moving[] = {"10.1.0.7", "fd01::7"};
	char own[2][20];
	for (uint32_t id = 1; id < RIG_PEERS; id++) {
		uint8_t nothing[16 + TEXT + 16] = {0};
		far_wrap(&rig.far[id], 0, nothing, sizeof(nothing), 0, &frames_in[id]);
		for (unsigned source = 0; source < SOURCES; source++) {
			unsigned owner = source == SOURCE_FOREIGN ? 1 + id % 3 : id;
			snprintf(own[0], sizeof(own[0]), "10.%u.0.9", owner);
			snprintf(own[1], sizeof(own[1]), "fd%02u::9", owner);
			for (unsigned ipv6 = 0; ipv6 < 2; ipv6++)
				inner_build(&texts[id][source][ipv6], ipv6 ? 6 : 4,
					source == SOURCE_MOVES ? moving[ipv6] : own[ipv6],
					ipv6 ? "fd99::5" : "192.168.0.5", TEXT);
		}
	}
}

/* A frame of a peer's; wrong_key: of another session. */
static struct rte_mbuf *seal_one(struct sent *sent, uint32_t tag, uint32_t index, bool wrong_key)
{
	static uint64_t counter; /* grows in each session, too */
	struct packet *frame = &frames_in[sent->id];
	uint8_t *message = frame->bytes + (rig.far[sent->id].outer_family == 4 ? 42 : 62);
	uint8_t key[32];
	sent->seen = 0;
	sent->text = texts[sent->id][sent->source][tag % 2];
	store_be32(sent->text.bytes + TAG, tag);
	make_key(key, ~(wrong_key ? index + 3 : index));
	store_le32(message, 4);
	store_le32(message + 4, index);
	store_le64(message + 8, counter);
	aead_seal(message + 16, sent->text.bytes, TEXT, NULL, 0, counter, key);
	counter++;
	return mbuf_from_pool(pool, frame);
}

/* One in four is of the session before; all of a turn in four are forged. The last is a replay. */
static void seal_turn(struct sent *sent, unsigned turn, struct rte_mbuf **mbufs)
{
	struct packet again;
	for (unsigned i = 0; i + 1 < TURN; i++) {
		sent[i].id = 1 + (turn + i / 3) % 3;
		sent[i].source = (turn / 3 + i) % SOURCES;
		uint32_t index = atomic_load_explicit(&newest[sent[i].id], memory_order_relaxed);
		mbufs[i] = seal_one(&sent[i], turn * TURN + i,
			i % 4 == 3 && index > 3 ? index - 3 : index, turn % 4 == 3);
		if (i == 0)
			again = frames_in[sent[i].id];
	}
	mbufs[TURN - 1] = mbuf_from_pool(pool, &again);
}

/* Each at most once, as it was sent, and of a source that may be the peer's. */
static bool is_right(struct rte_mbuf *m, struct sent *sent, unsigned turn)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, 14);
	unsigned i = load_be32(ip + TAG) - turn * TURN;
	if (m->data_len != 14 + TEXT || i >= TURN - 1 || turn % 4 == 3 || sent[i].seen++ != 0)
		return false;
	inner_hop(&sent[i].text);
	if (memcmp(ip, sent[i].text.bytes, TEXT) != 0)
		return false;
	if (sent[i].source == SOURCE_MOVES)
		moved_to[sent[i].id]++;
	return sent[i].source == SOURCE_OWN || (sent[i].source == SOURCE_MOVES && sent[i].id != 3);
}

static uint64_t all_drops(void)
{
	uint64_t sum = 0;
	for (unsigned reason = 0; reason < DP_DROP_COUNT; reason++)
		sum += inbound->drops.count[reason];
	return sum;
}

static void check_inbound(struct sent *sent, unsigned turn, uint64_t dropped, uint64_t forged)
{
	struct sink *sink = &inbound_sinks[1];
	for (unsigned i = 0; i < sink->n; i++) {
		if (!is_right(sink->mbufs[i], sent, turn))
			add(&wrong);
		rte_pktmbuf_free(sink->mbufs[i]);
	}
	delivered += sink->n;
	/* Nothing is lost without a reason, and no key is another session's or half of one. */
	if (sink->n + dropped != TURN || inbound_sinks[0].n != 0 || (turn % 4 != 3 && forged != 0))
		add(&wrong);
	sink->n = 0;
}

static void *work_inbound(void *arg)
{
	static struct sent sent[TURN];
	struct rte_mbuf *mbufs[TURN];
	(void)arg;
	dp_worker_online(inbound);
	for (unsigned turn = 0; !stop; turn++) {
		uint64_t dropped = all_drops(), forged = inbound->drops.count[DP_DROP_FORGED];
		seal_turn(sent, turn, mbufs);
		if (turn % 2 == 0)
			sched_yield(); /* what they are sealed for may be gone */
		dp_receive(inbound, 0, mbufs, TURN);
		dp_worker_flush(inbound);
		check_inbound(sent, turn, all_drops() - dropped,
			inbound->drops.count[DP_DROP_FORGED] - forged);
		dp_worker_quiescent(inbound);
		add(&turns);
	}
	dp_worker_offline(inbound);
	return NULL;
}

/* ---- control ---- */

static void release_session(void *arg, void *object)
{
	(void)arg;
	memset(object, 0xee, sizeof(struct wg_session));
	free(object);
	released++;
}

static void release_peer(void *arg, void *object)
{
	(void)arg;
	(void)object;
	released++;
}

/* Of what the rig owns. */
static void keep(void *arg, void *object)
{
	(void)arg;
	(void)object;
}

static struct wg_session *current[RIG_PEERS];

static void renew_session(uint32_t id, uint32_t index)
{
	struct wg_session *session = aligned_alloc(64, sizeof(*session));
	assert_non_null(session);
	memset(session, 0, sizeof(*session));
	make_key(session->send_key, index);
	make_key(session->receive_key, ~index);
	atomic_store(&session->confirmed, index % 2 == 0);
	replay_init(&session->replay);
	session->local_index = session->remote_index = index;
	session->peer_id = id;
	wg_session_set_born(session, RIG_NOW_NS);
	dp_publish_session(rig.dp, session);
	dp_peer_set_session(rig.dp, id, session);
	atomic_store_explicit(&newest[id], index, memory_order_relaxed);
	if (current[id] != NULL)
		assert_int_equal(dp_retire_session(rig.dp, current[id], release_session, NULL), 0);
	current[id] = session;
}

static void end_session(uint32_t id)
{
	dp_peer_set_session(rig.dp, id, NULL);
	if (current[id] != NULL)
		assert_int_equal(dp_retire_session(rig.dp, current[id], release_session, NULL), 0);
	current[id] = NULL;
}

static void wait_for_grace(void)
{
	while (dp_reclaim_pending(rig.dp->reclaim) > 0)
		if (dp_reclaim_poll(rig.dp->reclaim, 100) == 0)
			rte_pause();
}

static void renew_peer(uint32_t id, const struct dp_outer *outer)
{
	end_session(id);
	assert_int_equal(dp_remove_peer(rig.dp, id, release_peer, NULL), 0);
	wait_for_grace(); /* before its id serves again */
	dp_publish_peer(rig.dp, id, rig.far[id].interface);
	assert_int_equal(dp_peer_set_outer(rig.dp, id, outer), 0);
}

static void change_prefixes(unsigned i)
{
	static const char *const moving[] = {"10.1.0.7/32", "fd01::7/128"};
	struct ip_prefix prefix;
	for (unsigned family = 0; family < 2; family++) {
		assert_true(ip_prefix_parse(moving[family], &prefix));
		if (i % 2 != 0)
			assert_int_equal(dp_set_allowed_ip(rig.dp, &prefix, 2), 0);
		else
			(void)dp_clear_allowed_ip(rig.dp, 0, &prefix);
	}
}

/* The rig's own sessions and stamps are static: they go before the heap's come. */
static void replace_the_rigs_peers(struct dp_outer outers[RIG_PEERS])
{
	for (uint32_t id = 1; id < RIG_PEERS; id++) {
		outers[id] = *atomic_load(&dp_find_peer(rig.dp, id)->outer);
		assert_int_equal(dp_remove_peer(rig.dp, id, keep, NULL), 0);
		assert_int_equal(dp_retire_session(rig.dp, &rig.far[id].session, keep, NULL), 0);
		wait_for_grace();
		dp_publish_peer(rig.dp, id, rig.far[id].interface);
		assert_int_equal(dp_peer_set_outer(rig.dp, id, &outers[id]), 0);
	}
}

/* Not in every turn, so that workers run out of spare endpoints, too. */
static void hear(void)
{
	struct wg_path path;
	struct dp_hint hint;
	uint32_t id;
	while (hint_take(&hint)) {
		assert_int_equal(hint.kind, DP_HINT_CONFIRM);
		assert_int_equal(hint.local_index % 2, 1);
		confirmed++;
	}
	while (dp_take_roam(rig.dp, &id, &path)) {
		assert_int_equal(path.remote.addr.family, rig.far[id].outer_family);
		assert_memory_equal(path.remote.addr.bytes, rig.far[id].addr, 16);
		assert_memory_equal(path.local.bytes, rig.far[id].our_addr, 16);
		heard++;
	}
}

static unsigned outbound_seen(void)
{
	return count_of(&sealed) + count_of(&not_sealed);
}

static void change_everything(const struct dp_outer outers[RIG_PEERS])
{
	struct dp_nexthop nexthop = {.kind = DP_NEXTHOP_WG, .interface = 0};
	for (unsigned i = 0; i < CHANGES; i++) {
		uint32_t id = 1 + i % 3;
		if (i % 50 == 49)
			renew_peer(id, &outers[id]);
		renew_session(id, i + 1);
		if (i % 7 == 0)
			assert_int_equal(
				dp_peer_set_outer(rig.dp, id, i % 14 == 0 ? NULL : &outers[id]), 0);
		if (i % 5 == 0)
			hear();
		if (i % 11 == 0)
			change_prefixes(i);
		if (i % 13 == 0)
			assert_int_equal(
				dp_set_nexthop(rig.dp, 10, i % 2 != 0 ? &nexthop : NULL), 0);
		dp_reclaim_poll(rig.dp->reclaim, 10);
		/* As many turns as changes, nearly: so that they meet. */
		for (unsigned seen = outbound_seen(), turn = count_of(&turns);
			i % 8 == 0 && (seen == outbound_seen() || turn == count_of(&turns));)
			sched_yield();
	}
}

static void tables_change_under_traffic(void **state)
{
	struct dp_outer outers[RIG_PEERS];
	static struct packet frames[3];
	pthread_t threads[2];
	(void)state;
	stop = false;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const to[] = {"10.1.0.7", "10.2.0.7", "10.3.0.7"};
		inner_build(&frames[i], 4, "192.168.0.5", to[i], 100);
		ether_wrap(&frames[i], 1);
	}
	make_texts();
	replace_the_rigs_peers(outers);
	assert_int_equal(pthread_create(&threads[0], NULL, work, frames), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, work_inbound, NULL), 0);
	change_everything(outers);
	stop = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	hear();
	for (uint32_t id = 1; id < RIG_PEERS; id++) {
		end_session(id);
		assert_int_equal(dp_remove_peer(rig.dp, id, release_peer, NULL), 0);
	}
	dp_reclaim_drain(rig.dp->reclaim);
	print_message(
		"%u sealed, %u not, %u moves, %u heard of\n", sealed, not_sealed, moved, heard);
	print_message("%u opened, %u confirmed, moved source of peer 1 %u times, of peer 2 %u\n",
		delivered, confirmed, moved_to[1], moved_to[2]);
	assert_int_equal(wrong, 0);
	assert_true(heard > 0);
	assert_true(sealed > 0);
	assert_true(confirmed > 0);
	assert_true(moved_to[1] > 0 && moved_to[2] > 0);
	assert_int_equal(moved_to[3], 0);
	assert_true(inbound->drops.count[DP_DROP_INNER_SOURCE] > 0);
	assert_true(inbound->drops.count[DP_DROP_UNKNOWN_INDEX] > 0);
	assert_true(inbound->drops.count[DP_DROP_FORGED] > 0);
	assert_true(inbound->drops.count[DP_DROP_REPLAYED] > 0);
	assert_int_equal(released, CHANGES + CHANGES / 50 + 3);
}

static int setup(void **state)
{
	struct dp_worker_config config = {.id = 1, .send = inbound_send, .send_arg = inbound_sinks};
	if (rig_setup(state) != 0 || dp_worker_create(rig.dp, &config, &inbound) != 0)
		return -1;
	inbound->now_ns = RIG_NOW_NS;
	pool = rig_make_pool("inbound", 4 * TURN);
	return pool == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	dp_worker_destroy(inbound);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	rte_mempool_free(pool);
	return rig_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tables_change_under_traffic, setup, teardown),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
