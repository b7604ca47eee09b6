/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/roam.h"

#include <errno.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_malloc.h>
#include <rte_ring_elem.h>

#include "base/bytes.h"
#include "datapath/lookup.h"
#include "datapath/reclaim.h"

/* Data messages: DSCP 0, as in Linux; ECN is the packet's. */
#define DATA_TRAFFIC_CLASS 0

/* ---- the worker's side ---- */

/* A link-local address is that of another host on each link. */
static inline bool is_same_link(
	const struct dp_outer *outer, const uint8_t *src, bool ipv4, uint32_t scope_id)
{
	return ipv4 || likely((load_be16(src) & 0xffc0) != 0xfe80) || outer->scope_id == scope_id;
}

/* True when between the same addresses: then the way is the same, whatever the ports are. */
static inline bool is_same_way(
	const struct dp_outer *outer, const uint8_t *frame, unsigned header_len, uint32_t scope_id)
{
	bool ipv4 = header_len == OUTER_HEADER4_BYTES;
	unsigned addr_len = ipv4 ? 4 : 16;
	unsigned at = header_len - UDP_HEADER_BYTES - 2 * addr_len; /* source, destination */
	if (unlikely(outer == NULL || outer->header_len != header_len))
		return false;
	return ip_bytes_equal(ipv4, frame + at, outer->header + at + addr_len) &&
	       ip_bytes_equal(ipv4, frame + at + addr_len, outer->header + at) &&
	       is_same_link(outer, frame + at, ipv4, scope_id);
}

bool dp_is_on_path(
	const struct dp_outer *outer, const uint8_t *frame, unsigned header_len, uint32_t scope_id)
{
	unsigned udp = header_len - UDP_HEADER_BYTES;
	return is_same_way(outer, frame, header_len, scope_id) &&
	       memcmp(frame + udp + UDP_SRC_PORT, outer->header + udp + UDP_DST_PORT, 2) == 0;
}

/*
 * True for a frame from an address that a peer of the interface owns inside: the host may route it
 * into the tunnel, and what is sealed for there would be sealed again and again.
 */
static bool may_lead_back(
	const struct dp *dp, const struct dp_peer *peer, const uint8_t *frame, unsigned header_len)
{
	const struct dp_lpm *allowed = atomic_load_explicit(
		&dp->interfaces[peer->interface].allowed, memory_order_acquire);
	bool ipv4 = header_len == OUTER_HEADER4_BYTES;
	struct dp_lookup lookup;
	uint32_t owner;
	if (allowed == NULL)
		return false;
	dp_lookup_reset(&lookup);
	dp_lookup_add(&lookup, 0, ipv4 ? IP_V4 : IP_V6,
		frame + ETHER_HEADER_BYTES + (ipv4 ? IPV4_SRC : IPV6_SRC));
	dp_lookup_run(&lookup, allowed, &owner);
	return owner != DP_LPM_NONE;
}

/* The way back along the frame. */
static void learn(struct dp_outer *out, const struct dp_outer *seen, const uint8_t *frame,
	unsigned header_len, uint32_t scope_id, bool in_doubt)
{
	struct endpoint local = {0};
	struct wg_path path;
	uint8_t macs[12] = {0};
	dp_header_path(frame, header_len, scope_id, &path);
	local.addr = path.local;
	local.port = load_be16(frame + header_len - UDP_HEADER_BYTES + UDP_DST_PORT);
	*out = (struct dp_outer){
		.via_kernel = true, .in_doubt = in_doubt, .scope_id = path.remote.scope_id};
	if (is_same_way(seen, frame, header_len, scope_id)) {
		/* But for learned, which is control's. */
		*out = (struct dp_outer){.port = seen->port,
			.mtu = seen->mtu,
			.via_kernel = seen->via_kernel,
			.nowhere = seen->nowhere,
			.in_doubt = seen->in_doubt,
			.scope_id = seen->scope_id};
		memcpy(macs, seen->header, sizeof(macs));
	}
	out->learned = true;
	out->special = dp_outer_is_special(out);
	out->header_len =
		outer_prepare(out->header, macs, &local, &path.remote, DATA_TRAFFIC_CLASS) & 0x7f;
}

static void tell(struct dp *dp, uint32_t peer_id, const struct dp_outer *replaced)
{
	struct dp_roam roam = {.peer_id = peer_id, .replaced = replaced};
	/* There are no more spare endpoints than the ring holds. */
	int error = rte_ring_enqueue_elem(dp->roam_ring, &roam, sizeof(roam));
	assert(error == 0);
	(void)error;
}

void dp_roam(struct dp_worker *worker, struct dp_peer *peer, const uint8_t *frame,
	unsigned header_len, uint32_t scope_id)
{
	struct dp *dp = worker->dp;
	const struct dp_outer *seen = atomic_load_explicit(&peer->outer, memory_order_acquire);
	bool in_doubt = may_lead_back(dp, peer, frame, header_len);
	void *spare = NULL;
	while (!dp_is_on_path(seen, frame, header_len, scope_id)) {
		if (spare == NULL && rte_ring_dequeue(dp->spare_ring, &spare) != 0)
			return;
		learn(spare, seen, frame, header_len, scope_id, in_doubt);
		if (atomic_compare_exchange_strong_explicit(&peer->outer, &seen, spare,
			    memory_order_acq_rel, memory_order_acquire)) {
			tell(dp, peer->id, seen);
			return;
		}
	}
	/* By way of control: spare_ring may have no place, while a worker is put aside in it. */
	if (spare != NULL)
		tell(dp, peer->id, spare);
}

/* ---- control's side ---- */

/* As many spare endpoints as there is memory for, and place: see relax() in dp.c. */
static void top_up(struct dp *dp)
{
	while (dp->roam_spares < LIMIT_ROAMS) {
		struct dp_outer *spare = rte_malloc("wg_outer", sizeof(*spare), WG_CACHE_LINE);
		if (spare == NULL || rte_ring_enqueue(dp->spare_ring, spare) != 0) {
			rte_free(spare);
			return;
		}
		dp->roam_spares++;
	}
}

/* True, and the path, when the peer's endpoint is one that control does not know of. */
static bool hear(struct dp *dp, uint32_t peer_id, struct wg_path *path)
{
	struct dp_peer *peer = dp_find_peer(dp, peer_id);
	struct dp_outer *outer = peer == NULL ? NULL
					      : (struct dp_outer *)(uintptr_t)atomic_load_explicit(
							&peer->outer, memory_order_acquire);
	struct wg_path back;
	if (outer == NULL || !outer->learned)
		return false;
	outer->learned = false;
	/* Its header leads the other way. */
	dp_header_path(outer->header, outer->header_len, 0, &back);
	*path = (struct wg_path){.remote = {.addr = back.local}, .local = back.remote.addr};
	path->remote.port =
		load_be16(outer->header + outer->header_len - UDP_HEADER_BYTES + UDP_DST_PORT);
	path->remote.scope_id = outer->scope_id;
	return true;
}

bool dp_take_roam(struct dp *dp, uint32_t *peer_id, struct wg_path *path)
{
	struct dp_roam roam;
	/* What could not be made before: without a spare no peer moves, and nobody would ask. */
	top_up(dp);
	while (dp_reclaim_reserve(dp->reclaim, 1) == 0 &&
		rte_ring_dequeue_elem(dp->roam_ring, &roam, sizeof(roam)) == 0) {
		if (roam.replaced != NULL)
			(void)dp_reclaim_retire(dp->reclaim, dp_release_outer, dp,
				(void *)(uintptr_t)roam.replaced);
		dp->roam_spares--;
		top_up(dp);
		*peer_id = roam.peer_id;
		if (hear(dp, roam.peer_id, path))
			return true;
	}
	return false;
}

int dp_roam_init(struct dp *dp)
{
	top_up(dp);
	return dp->roam_spares == LIMIT_ROAMS ? 0 : -ENOMEM;
}

void dp_roam_fini(struct dp *dp)
{
	struct dp_roam roam;
	void *spare;
	while (dp->roam_ring != NULL &&
		rte_ring_dequeue_elem(dp->roam_ring, &roam, sizeof(roam)) == 0)
		dp_release_outer(dp, (void *)(uintptr_t)roam.replaced);
	while (dp->spare_ring != NULL && rte_ring_dequeue(dp->spare_ring, &spare) == 0)
		rte_free(spare);
}
