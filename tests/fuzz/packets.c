/* SPDX-License-Identifier: BSD-3-Clause */
#include "packets.h"

#include <rte_mempool.h>
#include <rte_ring.h>

#define POOL_MBUFS_MAX 2048 /* more than there are */

static struct rte_mempool *pool;

static void stop(void)
{
	dp_worker_destroy(rig.worker);
	dp_destroy(rig.dp);
	rig_eal_stop(NULL);
}

static void start(void)
{
	setenv("DPDK_WG_SEED", "1", 1);
	MUST(rig_eal_start(NULL) == 0);
	atexit(stop);
	MUST(rig_setup(NULL) == 0);
	dp_set_clamp_mss(rig.dp, true); /* the way with more to read */
	pool = rte_mempool_lookup("pool");
	MUST(pool && pool->size <= POOL_MBUFS_MAX);
}

static void renew(struct far *far)
{
	replay_init(&far->session.replay);
	wg_session_set_born(&far->session, RIG_NOW_NS - 10 * NS_PER_SEC);
	far->session.initiator = false;
	atomic_store(&far->session.confirmed, true);
	atomic_store(&far->session.proven, false);
	atomic_store(&far->session.rekey_asked, false);
	atomic_store(&far->session.send_counter, 0);
	far->counter = 0;
	*far->activity = (struct wg_activity){0};
}

void packets_begin(void)
{
	if (!pool)
		start();
	for (unsigned id = 1; id < RIG_PEERS; id++)
		renew(&rig.far[id]);
	rig.worker->now_ns = RIG_NOW_NS;
	rig.worker->ip_id = 0;
	for (unsigned port = 0; port < RIG_PORTS; port++)
		rig.sinks[port].room = RIG_SINK_MAX;
}

static void look_at(const struct rte_mbuf *m)
{
	unsigned segments = 0, bytes = 0;

	for (const struct rte_mbuf *s = m; s; s = s->next) {
		MUST((unsigned)s->data_off + s->data_len <= s->buf_len);
		segments++;
		bytes += s->data_len;
	}
	MUST(segments == m->nb_segs && bytes == m->pkt_len);
}

static void empty(struct rte_ring *ring)
{
	void *m;

	while (rte_ring_dequeue(ring, &m) == 0) {
		look_at(m);
		rte_pktmbuf_free(m);
	}
}

/* All mbufs are back, each only once. */
static void check_pool(void)
{
	static struct rte_mbuf *mbufs[POOL_MBUFS_MAX];
	static uint32_t mark;

	mark++;
	MUST(rte_mempool_get_bulk(pool, (void **)mbufs, pool->size) == 0);
	for (unsigned i = 0; i < pool->size; i++) {
		MUST(mbufs[i]->hash.usr != mark);
		mbufs[i]->hash.usr = mark;
	}
	rte_mempool_put_bulk(pool, (void **)mbufs, pool->size);
}

void packets_end(void (*on_frame)(unsigned port, const struct packet *frame))
{
	static struct packet frame;
	struct dp_hint hint;
	struct wg_path path;
	uint32_t roamed;

	dp_worker_flush(rig.worker);
	for (unsigned port = 0; port < RIG_PORTS; port++) {
		struct sink *sink = &rig.sinks[port];

		for (unsigned i = 0; i < sink->n; i++) {
			look_at(sink->mbufs[i]);
			packet_from(&frame, sink->mbufs[i]);
			on_frame(port, &frame);
		}
		sink->n = 0;
	}
	for (unsigned i = 0; i < DP_NETDEVS; i++)
		empty(rig.dp->host_ring[i]);
	empty(rig.dp->handshake_ring);
	empty(rig.dp->control_ring);
	while (hint_take(&hint))
		MUST(hint.kind <= DP_HINT_CONFIRM);
	while (dp_take_roam(rig.dp, &roamed, &path))
		MUST(roamed < RIG_PEERS && path.remote.addr.family == path.local.family);
	dp_reclaim_poll(rig.dp->reclaim, UINT_MAX);
	check_pool();
}

void packets_take(struct input *input, struct packet *p, unsigned bytes_max)
{
	unsigned len = input_u16(input);

	p->len = input_bytes(input, p->bytes, len < bytes_max ? len : bytes_max);
}

void packets_alter(struct input *input, struct packet *p)
{
	for (unsigned n = input_byte(input) % 16; n > 0; n--) {
		unsigned offset = input_u16(input);
		uint8_t value = input_byte(input);

		if (offset < p->len)
			p->bytes[offset] ^= value;
	}
}
