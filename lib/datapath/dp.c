/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/dp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_branch_prediction.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring_elem.h>

#include "base/bytes.h"
#include "datapath/locals.h"
#include "datapath/lpm.h"
#include "datapath/reclaim.h"
#include "datapath/roam.h"

#define HUGE_PAGE_BYTES ((uintptr_t)2 << 20)
#define SESSION_SLOTS	(1ul << LIMIT_INDEX_BITS)

static int create_tables(struct dp *dp);
static int create_rings(struct dp *dp);
static int create_rcu(struct dp *dp);

int dp_create(unsigned workers, struct dp **out)
{
	if (workers == 0 || workers > LIMIT_WORKERS)
		return -EINVAL;
	struct dp *dp = rte_zmalloc("wg_dp", sizeof(*dp), 64);
	if (dp == NULL)
		return -ENOMEM;
	dp->workers = workers;
	atomic_init(&dp->forward_ipv4, true);
	atomic_init(&dp->forward_ipv6, true);
	if (create_rcu(dp) != 0 || create_tables(dp) != 0 || create_rings(dp) != 0 ||
		dp_roam_init(dp) != 0) {
		dp_destroy(dp);
		return -ENOMEM;
	}
	*out = dp;
	return 0;
}

/*
 * Zeroed address space that costs memory as it is written, in huge pages where the kernel gives
 * any. bytes: whole huge pages, else page by page.
 */
static void *reserve(size_t bytes)
{
	uint8_t *p = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	uint8_t *at = (uint8_t *)(((uintptr_t)p + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1));
	if (at > p)
		munmap(p, (size_t)(at - p));
	munmap(at + bytes, HUGE_PAGE_BYTES - (size_t)(at - p));
	madvise(at, bytes, MADV_HUGEPAGE); /* refused: the same, but slower */
	return at;
}

static void unreserve(void *p, size_t bytes)
{
	if (p != NULL)
		munmap(p, bytes);
}

static int create_tables(struct dp *dp)
{
	dp->sessions = reserve(SESSION_SLOTS * sizeof(*dp->sessions));
	dp->peers = reserve(LIMIT_PEERS * sizeof(*dp->peers));
	dp->nexthops = reserve(LIMIT_NEXTHOPS * sizeof(*dp->nexthops));
	dp->routes = dp_lpm_create(dp->reclaim);
	if (dp->sessions == NULL || dp->peers == NULL || dp->nexthops == NULL || dp->routes == NULL)
		return -ENOMEM;
	return 0;
}

/*
 * Producers may be threads that share a core with others (control, host exchange): the relaxed mode
 * does not make a worker wait for one that was put aside in the middle of an enqueue, up to the
 * distance that others may be ahead of it; likewise of a dequeue, where consumers are many. DPDK's
 * own distance is an eighth of the ring.
 */
static struct rte_ring *relax(struct rte_ring *ring)
{
	if (ring != NULL) {
		rte_ring_set_prod_htd_max(ring, rte_ring_get_capacity(ring));
		rte_ring_set_cons_htd_max(ring, rte_ring_get_capacity(ring)); /* if it is so, too */
	}
	return ring;
}

static struct rte_ring *create_ring(
	const char *name, unsigned id, unsigned elem_bytes, unsigned count)
{
	char full[RTE_RING_NAMESIZE];
	snprintf(full, sizeof(full), "wg_%s_%u", name, id);
	return relax(rte_ring_create_elem(full, elem_bytes, count, SOCKET_ID_ANY,
		RING_F_MP_RTS_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ));
}

static int create_rings(struct dp *dp)
{
	dp->handshake_ring = create_ring("handshake", 0, sizeof(void *), LIMIT_HANDSHAKE_RING);
	dp->control_ring = create_ring("control", 0, sizeof(void *), LIMIT_CONTROL_RING);
	dp->hint_ring = create_ring("hint", 0, sizeof(struct dp_hint), LIMIT_HINT_RING);
	/* A job waits for each helper, at most. */
	dp->job_ring = relax(rte_ring_create(
		"wg_job", 2 * LIMIT_WORKERS, SOCKET_ID_ANY, RING_F_MP_RTS_ENQ | RING_F_MC_RTS_DEQ));
	dp->roam_ring = create_ring("roam", 0, sizeof(struct dp_roam), LIMIT_ROAMS);
	dp->spare_ring = relax(rte_ring_create("wg_spare", LIMIT_ROAMS, SOCKET_ID_ANY,
		RING_F_MP_RTS_ENQ | RING_F_MC_RTS_DEQ | RING_F_EXACT_SZ));
	dp->too_big_ring = create_ring("too_big", 0, sizeof(struct dp_too_big), LIMIT_TOO_BIG_RING);
	if (dp->too_big_ring == NULL || dp->handshake_ring == NULL || dp->control_ring == NULL ||
		dp->hint_ring == NULL || dp->job_ring == NULL || dp->roam_ring == NULL ||
		dp->spare_ring == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < dp->workers; i++) {
		dp->in_ring[i] = create_ring("in", i, sizeof(void *), LIMIT_IN_RING);
		dp->relay_ring[i] = create_ring("relay", i, sizeof(void *), LIMIT_RELAY_RING);
		if (dp->in_ring[i] == NULL || dp->relay_ring[i] == NULL)
			return -ENOMEM;
	}
	for (unsigned i = 0; i < DP_NETDEVS; i++) {
		dp->host_ring[i] = create_ring("host", i, sizeof(void *), LIMIT_HOST_RING);
		if (dp->host_ring[i] == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int create_rcu(struct dp *dp)
{
	dp->qsbr = rte_zmalloc("wg_qsbr", rte_rcu_qsbr_get_memsize(dp->workers), 64);
	if (dp->qsbr == NULL)
		return -ENOMEM;
	rte_rcu_qsbr_init(dp->qsbr, dp->workers);
	dp->reclaim = dp_reclaim_create(dp->qsbr);
	return dp->reclaim == NULL ? -ENOMEM : 0;
}

static void destroy_rings(struct dp *dp)
{
	rte_ring_free(dp->handshake_ring);
	rte_ring_free(dp->control_ring);
	rte_ring_free(dp->hint_ring);
	rte_ring_free(dp->job_ring);
	rte_ring_free(dp->roam_ring);
	rte_ring_free(dp->spare_ring);
	rte_ring_free(dp->too_big_ring);
	for (unsigned i = 0; i < dp->workers; i++) {
		rte_ring_free(dp->in_ring[i]);
		rte_ring_free(dp->relay_ring[i]);
	}
	for (unsigned i = 0; i < DP_NETDEVS; i++)
		rte_ring_free(dp->host_ring[i]);
}

static void release_memory(void *arg, void *object)
{
	(void)arg;
	rte_free(object);
}

/* The endpoint of a peer that no worker can be at any more: until then one may give it another. */
static void release_outer_of(void *arg, void *object)
{
	struct dp_peer *peer = object;
	dp_release_outer(arg, (void *)(uintptr_t)atomic_exchange_explicit(
				      &peer->outer, NULL, memory_order_relaxed));
}

static void destroy_peers(struct dp *dp)
{
	for (uint32_t id = 0; id < dp->peers_end; id++)
		release_outer_of(dp, &dp->peers[id]);
}

static void destroy_nexthops(struct dp *dp)
{
	for (uint32_t id = 0; id < dp->nexthops_end; id++)
		rte_free((void *)(uintptr_t)atomic_load_explicit(
			&dp->nexthops[id], memory_order_relaxed));
}

void dp_destroy(struct dp *dp)
{
	if (dp == NULL)
		return;
	destroy_peers(dp);
	destroy_nexthops(dp);
	for (unsigned i = 0; i < LIMIT_INTERFACES; i++)
		dp_lpm_destroy(
			atomic_load_explicit(&dp->interfaces[i].allowed, memory_order_relaxed));
	dp_lpm_destroy(dp->routes);
	rte_free((void *)(uintptr_t)atomic_load_explicit(&dp->locals, memory_order_relaxed));
	if (dp->reclaim != NULL) {
		dp_reclaim_drain(dp->reclaim);
		dp_reclaim_destroy(dp->reclaim);
	}
	rte_free(dp->qsbr);
	dp_roam_fini(dp);
	destroy_rings(dp);
	unreserve(dp->sessions, SESSION_SLOTS * sizeof(*dp->sessions));
	unreserve(dp->peers, LIMIT_PEERS * sizeof(*dp->peers));
	unreserve(dp->nexthops, LIMIT_NEXTHOPS * sizeof(*dp->nexthops));
	rte_free(dp);
}

/*
 * Retires an object of ours that was just replaced; NULL is none. The caller reserved the place in
 * the queue before it unlinked the object, so that this cannot fail half-way.
 */
static void retire(struct dp *dp, dp_reclaim_fn release, void *arg, const void *object)
{
	if (object == NULL)
		return;
	int error = dp_reclaim_retire(dp->reclaim, release, arg, (void *)(uintptr_t)object);
	assert(error == 0);
	(void)error;
}

void dp_set_port(struct dp *dp, unsigned port, const struct dp_port *config)
{
	assert(port < LIMIT_PORTS);
	dp->ports[port] = *config;
}

void dp_set_port_mtu(struct dp *dp, unsigned port, uint16_t mtu)
{
	assert(port < LIMIT_PORTS);
	atomic_store_explicit(&dp->ports[port].mtu, mtu, memory_order_relaxed);
}

void dp_set_port_down(struct dp *dp, unsigned port, bool down)
{
	assert(port < LIMIT_PORTS);
	atomic_store_explicit(&dp->ports[port].down, down, memory_order_relaxed);
}

int dp_add_interface(struct dp *dp, unsigned id, uint16_t mtu)
{
	assert(id < LIMIT_INTERFACES);
	struct dp_lpm *allowed = dp_lpm_create(dp->reclaim);
	if (allowed == NULL)
		return -ENOMEM;
	dp_interface_set_mtu(dp, id, mtu);
	atomic_store_explicit(&dp->interfaces[id].allowed, allowed, memory_order_release);
	return 0;
}

void dp_interface_set_listen_port(struct dp *dp, unsigned id, uint16_t port)
{
	assert(id < LIMIT_INTERFACES);
	atomic_store_explicit(
		&dp->interfaces[id].listen_port_be, htobe16(port), memory_order_relaxed);
}

void dp_interface_set_mtu(struct dp *dp, unsigned id, uint16_t mtu)
{
	assert(id < LIMIT_INTERFACES);
	atomic_store_explicit(&dp->interfaces[id].mtu, mtu, memory_order_relaxed);
}

void dp_publish_session(struct dp *dp, struct wg_session *session)
{
	atomic_store_explicit(
		&dp->sessions[wg_index_slot(session->local_index)], session, memory_order_release);
}

int dp_retire_session(struct dp *dp, struct wg_session *session, dp_reclaim_fn released, void *arg)
{
	_Atomic(struct wg_session *) *slot = &dp->sessions[wg_index_slot(session->local_index)];
	/* Not if it was never published, or its slot serves another by now. */
	if (atomic_load_explicit(slot, memory_order_relaxed) == session)
		atomic_store_explicit(slot, NULL, memory_order_release);
	struct dp_peer *peer = dp_find_peer(dp, session->peer_id);
	if (peer != NULL && atomic_load_explicit(&peer->next, memory_order_relaxed) == session)
		atomic_store_explicit(&peer->next, NULL, memory_order_release);
	if (dp_reclaim_reserve(dp->reclaim, 1) != 0)
		return -ENOMEM;
	retire(dp, released, arg, session);
	return 0;
}

void dp_publish_peer(struct dp *dp, uint32_t id, unsigned interface)
{
	assert(id < LIMIT_PEERS && interface < LIMIT_INTERFACES && dp_find_peer(dp, id) == NULL);
	struct dp_peer *peer = &dp->peers[id];
	if (dp->peers_end <= id)
		dp->peers_end = id + 1;
	/* Once: a worker may look at a place that serves again, by a prefix it still has. */
	if (peer->id != id)
		peer->id = id;
	peer->interface = (uint8_t)interface;
	atomic_store_explicit(&peer->host4, 0, memory_order_relaxed);
	atomic_store_explicit(&peer->host6_state, DP_HOST6_NONE, memory_order_relaxed);
	atomic_store_explicit(&peer->current, NULL, memory_order_relaxed);
	atomic_store_explicit(&peer->next, NULL, memory_order_relaxed);
	atomic_store_explicit(&peer->outer, NULL, memory_order_relaxed);
	atomic_store_explicit(&peer->live, true, memory_order_release);
}

struct dp_peer *dp_find_peer(const struct dp *dp, uint32_t id)
{
	assert(id < LIMIT_PEERS);
	struct dp_peer *peer = &dp->peers[id];
	return atomic_load_explicit(&peer->live, memory_order_acquire) ? peer : NULL;
}

struct wg_activity *dp_peer_activity(struct dp *dp, uint32_t id)
{
	assert(id < LIMIT_PEERS);
	return &dp->peers[id].activity;
}

void dp_peer_set_session(struct dp *dp, uint32_t id, struct wg_session *session)
{
	struct dp_peer *peer = dp_find_peer(dp, id);
	assert(peer != NULL);
	if (atomic_exchange_explicit(&peer->current, session, memory_order_acq_rel) != session)
		atomic_store_explicit(&peer->next, NULL, memory_order_release);
}

void dp_peer_set_next_session(struct dp *dp, uint32_t id, struct wg_session *session)
{
	struct dp_peer *peer = dp_find_peer(dp, id);
	assert(peer != NULL);
	atomic_store_explicit(&peer->next, session, memory_order_release);
}

/* Room for an endpoint of the peer's: beside it, or elsewhere while a worker may be at that one. */
static struct dp_outer *take_outer(struct dp_peer *peer)
{
	if (peer->own_outer_used)
		return rte_malloc("wg_outer", sizeof(struct dp_outer), WG_CACHE_LINE);
	peer->own_outer_used = true;
	return &peer->own_outer;
}

void dp_release_outer(void *arg, void *object)
{
	struct dp *dp = arg;
	const char *p = object, *peers = (const char *)dp->peers;
	if (p < peers || p >= (const char *)(dp->peers + LIMIT_PEERS))
		rte_free(object);
	else
		dp->peers[(size_t)(p - peers) / sizeof(struct dp_peer)].own_outer_used = false;
}

int dp_peer_set_outer(struct dp *dp, uint32_t id, const struct dp_outer *outer)
{
	struct dp_peer *peer = dp_find_peer(dp, id);
	struct dp_outer *copy = NULL;
	assert(peer != NULL);
	if (dp_reclaim_reserve(dp->reclaim, 1) != 0)
		return -ENOMEM;
	if (outer != NULL) {
		copy = take_outer(peer);
		if (copy == NULL)
			return -ENOMEM;
		*copy = *outer;
		copy->special = dp_outer_is_special(outer);
	}
	const struct dp_outer *old = atomic_load_explicit(&peer->outer, memory_order_acquire);
	do {
		if (old != NULL && old->learned) {
			dp_release_outer(dp, copy);
			return 0;
		}
	} while (!atomic_compare_exchange_strong_explicit(
		&peer->outer, &old, copy, memory_order_acq_rel, memory_order_acquire));
	retire(dp, dp_release_outer, dp, old);
	return 0;
}

int dp_remove_peer(struct dp *dp, uint32_t id, dp_reclaim_fn released, void *arg)
{
	struct dp_peer *peer = dp_find_peer(dp, id);
	assert(peer != NULL);
	atomic_store_explicit(&peer->live, false, memory_order_release);
	/* Outbound does not look at live. */
	atomic_store_explicit(&peer->current, NULL, memory_order_relaxed);
	if (dp_reclaim_reserve(dp->reclaim, 2) != 0)
		return -ENOMEM;
	retire(dp, release_outer_of, dp, peer);
	retire(dp, released, arg, peer);
	return 0;
}

/* ---- cryptokey routing: the table, and the hosts that stand with their peers ---- */

/* The peer does not own this host any more, if it is one and stands with it. */
static void leave_host(struct dp *dp, const struct ip_prefix *prefix, uint32_t id)
{
	struct dp_peer *peer = id == DP_LPM_NONE ? NULL : dp_find_peer(dp, id);
	if (peer == NULL)
		return;
	if (prefix->addr.family == IP_V4 && prefix->bits == 32) {
		if (atomic_load_explicit(&peer->host4, memory_order_relaxed) ==
			load_be32(prefix->addr.bytes))
			atomic_store_explicit(&peer->host4, 0, memory_order_release);
	} else if (prefix->addr.family == IP_V6 && prefix->bits == 128) {
		if (atomic_load_explicit(&peer->host6_state, memory_order_relaxed) ==
				DP_HOST6_VALID &&
			memcmp(peer->host6, prefix->addr.bytes, sizeof(peer->host6)) == 0)
			atomic_store_explicit(
				&peer->host6_state, DP_HOST6_LEFT, memory_order_release);
	}
}

/* The peer owns the prefix: if it is a host, and the first of its family, it stands with the peer.
 */
static void join_host(struct dp_peer *peer, const struct ip_prefix *prefix)
{
	if (prefix->addr.family == IP_V4 && prefix->bits == 32) {
		if (atomic_load_explicit(&peer->host4, memory_order_relaxed) == 0)
			atomic_store_explicit(
				&peer->host4, load_be32(prefix->addr.bytes), memory_order_release);
	} else if (prefix->addr.family == IP_V6 && prefix->bits == 128) {
		if (atomic_load_explicit(&peer->host6_state, memory_order_relaxed) != DP_HOST6_NONE)
			return;
		memcpy(peer->host6, prefix->addr.bytes, sizeof(peer->host6));
		atomic_store_explicit(&peer->host6_state, DP_HOST6_VALID, memory_order_release);
	}
}

int dp_set_allowed_ip(struct dp *dp, const struct ip_prefix *prefix, uint32_t id)
{
	struct dp_peer *peer = dp_find_peer(dp, id);
	assert(peer != NULL);
	struct dp_lpm *allowed = dp->interfaces[peer->interface].allowed;
	uint32_t owner = dp_lpm_get(allowed, prefix);
	if (owner != id)
		leave_host(dp, prefix, owner);
	int error = dp_lpm_set(allowed, prefix, id);
	if (error == 0)
		join_host(peer, prefix);
	return error;
}

int dp_clear_allowed_ip(struct dp *dp, unsigned interface, const struct ip_prefix *prefix)
{
	struct dp_lpm *allowed = dp->interfaces[interface].allowed;
	leave_host(dp, prefix, dp_lpm_get(allowed, prefix));
	return dp_lpm_delete(allowed, prefix);
}

int dp_set_nexthop(struct dp *dp, uint32_t id, const struct dp_nexthop *nexthop)
{
	struct dp_nexthop *copy = NULL, *old;
	assert(id < LIMIT_NEXTHOPS);
	int error = dp_reclaim_reserve(dp->reclaim, 1);
	if (error == 0 && nexthop != NULL) {
		copy = rte_malloc("wg_nexthop", sizeof(*copy), 0);
		if (copy == NULL)
			error = -ENOMEM;
		else
			*copy = *nexthop;
	}
	if (dp->nexthops_end <= id)
		dp->nexthops_end = id + 1;
	old = atomic_exchange_explicit(&dp->nexthops[id], copy, memory_order_acq_rel);
	if (old != NULL)
		(void)dp_reclaim_retire(dp->reclaim, release_memory, NULL, old);
	return error;
}

bool dp_nexthop_was_used(struct dp *dp, uint32_t id)
{
	assert(id < LIMIT_NEXTHOPS);
	struct dp_nexthop *nexthop = atomic_load_explicit(&dp->nexthops[id], memory_order_relaxed);
	if (nexthop == NULL || !atomic_load_explicit(&nexthop->used, memory_order_relaxed))
		return false;
	atomic_store_explicit(&nexthop->used, false, memory_order_relaxed);
	return true;
}

void dp_set_forwarding(struct dp *dp, enum ip_family family, bool on)
{
	assert(family == IP_V4 || family == IP_V6);
	atomic_store_explicit(
		family == IP_V4 ? &dp->forward_ipv4 : &dp->forward_ipv6, on, memory_order_relaxed);
}

void dp_set_clamp_mss(struct dp *dp, bool on)
{
	dp->clamp_mss = on;
}

void dp_measure_stages(struct dp *dp, bool on)
{
	atomic_store_explicit(&dp->measure_stages, on, memory_order_relaxed);
}

void dp_set_capture(struct dp *dp, bool on)
{
	atomic_store_explicit(&dp->capture, on, memory_order_relaxed);
}

int dp_set_locals(struct dp *dp, const struct ip_addr *addrs, unsigned n)
{
	if (dp_reclaim_reserve(dp->reclaim, 1) != 0)
		return -ENOMEM;
	struct dp_locals *locals = dp_locals_create(addrs, n);
	if (locals == NULL)
		return -ENOMEM;
	retire(dp, release_memory, NULL,
		atomic_exchange_explicit(&dp->locals, locals, memory_order_acq_rel));
	return 0;
}

void dp_pass(struct rte_ring *ring, struct rte_mbuf *const *mbufs, unsigned n,
	struct dp_drops *drops, enum dp_drop_reason reason)
{
	unsigned passed = rte_ring_enqueue_burst(ring, (void *const *)mbufs, n, NULL);
	if (unlikely(passed < n))
		dp_drop(drops, mbufs + passed, n - passed, reason);
}

void dp_frame_path(struct rte_mbuf *m, struct wg_path *path)
{
	const struct dp_mbuf *info = dp_mbuf(m);
	dp_header_path(
		rte_pktmbuf_mtod(m, const uint8_t *), info->header_len, info->scope_id, path);
}

void dp_header_path(
	const uint8_t *frame, unsigned header_len, uint32_t scope_id, struct wg_path *path)
{
	const uint8_t *ip = frame + ETHER_HEADER_BYTES;
	bool ipv4 = header_len == OUTER_HEADER4_BYTES;
	memset(path, 0, sizeof(*path));
	path->remote.addr.family = path->local.family = ipv4 ? IP_V4 : IP_V6;
	path->remote.port = load_be16(frame + header_len - UDP_HEADER_BYTES + UDP_SRC_PORT);
	if (ipv4) {
		memcpy(path->remote.addr.bytes, ip + IPV4_SRC, 4);
		memcpy(path->local.bytes, ip + IPV4_DST, 4);
		return;
	}
	memcpy(path->remote.addr.bytes, ip + IPV6_SRC, 16);
	memcpy(path->local.bytes, ip + IPV6_DST, 16);
	if ((load_be16(ip + IPV6_SRC) & 0xffc0) == 0xfe80)
		path->remote.scope_id = scope_id;
}
