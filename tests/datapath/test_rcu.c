/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control changes every table under a worker's traffic. Each key is made from its session's remote
 * index and is spoilt when the session is released: a packet sealed with what no longer is or not
 * yet is complete does not open. The sanitizers look on.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <rte_pause.h>
#include <rte_ring.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "datapath/lpm.h"
#include "datapath/reclaim.h"
#include "datapath/roam.h"

#define CHANGES 2000
#define TURN	16

static _Atomic bool stop;
static _Atomic unsigned sealed, not_sealed, wrong;
static _Atomic unsigned moved;
static unsigned released, heard;

static void make_key(uint8_t key[32], uint32_t index)
{
	for (unsigned i = 0; i < 32; i++)
		key[i] = (uint8_t)(index * 31 + i);
}

/* ---- the worker ---- */

static void check_sealed(struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	unsigned header = frame[14] >> 4 == 4 ? 42 : 62;
	const uint8_t *message = frame + header;
	uint8_t key[32], text[RIG_MAX_BYTES];
	make_key(key, load_le32(message + 4));
	if (aead_open(text, message + 16, m->data_len - header - 16u, NULL, 0,
		    load_le64(message + 8), key))
		sealed++;
	else
		wrong++;
	rte_pktmbuf_free(m);
}

static void check_turn(void)
{
	void *m;
	for (unsigned i = 0; i < rig.sinks[0].n; i++)
		check_sealed(rig.sinks[0].mbufs[i]);
	rig.sinks[0].n = 0;
	while (rte_ring_dequeue(rig.dp->control_ring, &m) == 0) {
		not_sealed++;
		rte_pktmbuf_free(m);
	}
	while (rte_ring_dequeue(tap(1), &m) == 0) {
		not_sealed++;
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
	moved++;
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
	session->local_index = session->remote_index = index;
	session->peer_id = id;
	wg_session_set_born(session, RIG_NOW_NS);
	dp_publish_session(rig.dp, session);
	dp_peer_set_session(rig.dp, id, session);
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
	struct ip_prefix prefix;
	assert_true(ip_prefix_parse("10.1.0.7/32", &prefix));
	if (i % 2 != 0)
		assert_int_equal(dp_lpm_set(rig.dp->interfaces[0].allowed, &prefix, 2), 0);
	else
		dp_lpm_delete(rig.dp->interfaces[0].allowed, &prefix);
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
static void hear_of_moves(void)
{
	struct wg_path path;
	uint32_t id;
	while (dp_take_roam(rig.dp, &id, &path)) {
		assert_int_equal(path.remote.addr.family, rig.far[id].outer_family);
		assert_memory_equal(path.remote.addr.bytes, rig.far[id].addr, 16);
		assert_memory_equal(path.local.bytes, rig.far[id].our_addr, 16);
		heard++;
	}
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
			hear_of_moves();
		if (i % 11 == 0)
			change_prefixes(i);
		if (i % 13 == 0)
			assert_int_equal(
				dp_set_nexthop(rig.dp, 10, i % 2 != 0 ? &nexthop : NULL), 0);
		dp_reclaim_poll(rig.dp->reclaim, 10);
		/* As many turns as changes, nearly: so that they meet. */
		for (unsigned seen = sealed + not_sealed;
			i % 8 == 0 && seen == sealed + not_sealed;)
			sched_yield();
	}
}

static void tables_change_under_traffic(void **state)
{
	struct dp_outer outers[RIG_PEERS];
	static struct packet frames[3];
	pthread_t thread;
	(void)state;
	stop = false;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const to[] = {"10.1.0.7", "10.2.0.7", "10.3.0.7"};
		inner_build(&frames[i], 4, "192.168.0.5", to[i], 100);
		ether_wrap(&frames[i], 1);
	}
	replace_the_rigs_peers(outers);
	assert_int_equal(pthread_create(&thread, NULL, work, frames), 0);
	change_everything(outers);
	stop = true;
	pthread_join(thread, NULL);
	hear_of_moves();
	for (uint32_t id = 1; id < RIG_PEERS; id++) {
		end_session(id);
		assert_int_equal(dp_remove_peer(rig.dp, id, release_peer, NULL), 0);
	}
	dp_reclaim_drain(rig.dp->reclaim);
	print_message(
		"%u sealed, %u not, %u moves, %u heard of\n", sealed, not_sealed, moved, heard);
	assert_true(heard > 0);
	assert_int_equal(wrong, 0);
	assert_true(sealed > 0);
	assert_int_equal(released, CHANGES + CHANGES / 50 + 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			tables_change_under_traffic, rig_setup, rig_teardown),
	};
	return cmocka_run_group_tests(tests, rig_eal_start, rig_eal_stop);
}
