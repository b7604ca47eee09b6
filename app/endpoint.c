/* SPDX-License-Identifier: BSD-3-Clause */
#include "endpoint.h"

#include <string.h>

#include <rte_ring_elem.h>

#include "base/units.h"
#include "gateway.h"
#include "interface.h"
#include "log.h"
#include "mirror.h"
#include "neighbours.h"
#include "net/outer.h"

/* Data messages: DSCP 0, as in Linux; ECN is the packet's. */
#define DATA_TRAFFIC_CLASS 0

/* Work of one turn: a look is a cache miss or two, a resolution some microseconds of the kernel. */
#define LOOKS_A_TURN	1024
#define RESOLVES_A_TURN 64

/* Rounds that a stranger can have made: for each id they look at so much time lies between two,
 * some fifty times what the look takes. */
#define TOO_BIG_ROUND_NS NS_PER_SEC
#define TOO_BIG_ID_NS	 (5 * NS_PER_US)

/* --- One endpoint --- */

static bool same_outer(const struct dp_outer *a, const struct dp_outer *b)
{
	return a && b && a->header_len == b->header_len && a->port == b->port && a->mtu == b->mtu &&
	       a->via_kernel == b->via_kernel && a->nowhere == b->nowhere &&
	       a->in_doubt == b->in_doubt && a->scope_id == b->scope_id &&
	       memcmp(a->header, b->header, a->header_len) == 0;
}

static void publish(struct interface *interface, struct wg_peer *peer, const struct dp_outer *outer)
{
	struct dp *dp = interface->gateway->dp;
	uint32_t id = wg_peer_id(peer);
	struct dp_peer *published = dp_find_peer(dp, id);

	if (!published || same_outer(outer, atomic_load(&published->outer)))
		return;
	if (dp_peer_set_outer(dp, id, outer) != 0)
		log_error("%s: out of memory: a peer keeps its old endpoint", interface->name);
}

static void prepare(struct interface *interface, const struct wg_path *path,
	const struct mirror_path *way, struct dp_outer *outer)
{
	struct endpoint local = {.addr = way->local, .port = interface->socket.port};
	const struct dp_port *port = &interface->gateway->dp->ports[way->port];
	uint8_t macs[2 * MIRROR_MAC_BYTES];

	*outer = (struct dp_outer){
		.port = way->port,
		.mtu = way->mtu < port->mtu ? (uint16_t)way->mtu : 0,
		.via_kernel = way->via_kernel,
		.scope_id = path->remote.scope_id,
	};
	memcpy(macs, way->destination, MIRROR_MAC_BYTES);
	memcpy(macs + MIRROR_MAC_BYTES, way->source_mac, MIRROR_MAC_BYTES);
	outer->header_len =
		outer_prepare(outer->header, macs, &local, &path->remote, DATA_TRAFFIC_CLASS) &
		0x7f;
}

/* How the kernel would send there; by its own socket as long as nothing else is known. */
static void find_way(
	struct interface *interface, const struct wg_path *path, struct mirror_path *way)
{
	struct mirror *mirror = interface->gateway->mirror;
	const struct mirror_query query = {
		.remote = path->remote,
		.local = path->local,
		.mark = interface->fwmark,
		.local_port = interface->socket.port,
	};

	/* When the mirror is complete it says that all has changed. */
	if (mirror_ready(mirror))
		(void)mirror_resolve(mirror, &query, way);
	else
		*way = (struct mirror_path){.via_kernel = true};
	if (way->local.family == IP_NONE) {
		/* No way at all now: the kernel's socket says so to nobody, and counts. */
		way->via_kernel = true;
		way->local.family = path->remote.addr.family;
	}
}

/*
 * A way through the peer's own tunnel has no end: what is sealed would be sealed again, a little
 * longer each time and soon in fragments. It is no way. Told once, as peers may roam.
 */
static bool leads_back(
	struct interface *interface, const struct wg_path *path, const struct mirror_path *way)
{
	char text[ENDPOINT_STRLEN];

	if (way->ifindex == 0 || way->ifindex != interface->tun.ifindex)
		return false;
	if (!interface->told_of_loop)
		log_warning("%s: a peer's endpoint %s is routed into %s itself: nothing is sent "
			    "there (allowed IPs, or a route, cover it)",
			interface->name, endpoint_format(&path->remote, text), interface->name);
	interface->told_of_loop = true;
	return true;
}

const struct dp_outer *endpoint_published(const struct gateway *gateway, const struct wg_peer *peer)
{
	const struct dp_peer *published = dp_find_peer(gateway->dp, wg_peer_id(peer));

	return atomic_load_explicit(&published->outer, memory_order_acquire);
}

void endpoint_resolve(struct interface *interface, struct wg_peer *peer)
{
	const struct wg_path *path = wg_peer_path(peer);
	struct mirror_path way;
	struct dp_outer outer;

	if (path->remote.addr.family == IP_NONE || !interface->socket_open) {
		neighbours_set_peer(
			interface->gateway->neighbours, wg_peer_id(peer), 0, &path->remote.addr);
		publish(interface, peer, NULL);
		return;
	}
	find_way(interface, path, &way);
	neighbours_set_peer(
		interface->gateway->neighbours, wg_peer_id(peer), way.ifindex, &way.neighbour);
	prepare(interface, path, &way, &outer);
	/* Published all the same: workers would take the peer's next packet for a move. */
	outer.nowhere = leads_back(interface, path, &way);
	publish(interface, peer, &outer);
}

/* --- When the kernel's tables change --- */

static void begin_round(struct gateway *gateway)
{
	gateway->endpoints.ids = gateway->endpoints.ids_left = gateway->peer_ids;
}

/* Else those that came would take the place of as many others at the other end of the round. */
static void count_new_ids(struct gateway *gateway)
{
	struct endpoints *endpoints = &gateway->endpoints;

	if (endpoints->ids_left > 0)
		endpoints->ids_left += gateway->peer_ids - endpoints->ids;
	endpoints->ids = gateway->peer_ids;
}

void endpoints_changed(struct gateway *gateway)
{
	gateway->endpoints.all_changed = true;
	begin_round(gateway);
}

void endpoints_changed_in(struct gateway *gateway, const struct ip_prefix *prefixes, unsigned n)
{
	struct endpoints *endpoints = &gateway->endpoints;

	if (n == 0 || n > ENDPOINT_CHANGES - endpoints->change_count) {
		endpoints_changed(gateway);
		return;
	}
	memcpy(endpoints->changes + endpoints->change_count, prefixes, n * sizeof(*prefixes));
	endpoints->change_count += n;
	begin_round(gateway);
}

void endpoints_changed_behind(
	struct gateway *gateway, uint32_t ifindex, const struct ip_addr *neighbour)
{
	struct endpoints *endpoints = &gateway->endpoints;

	begin_round(gateway);
	for (unsigned i = 0; i < endpoints->neighbour_count; i++) {
		if (endpoints->neighbours[i].ifindex == ifindex &&
			ip_addr_equal(&endpoints->neighbours[i].addr, neighbour))
			return;
	}
	if (endpoints->neighbour_count == ENDPOINT_CHANGES) {
		endpoints->all_changed = true;
		return;
	}
	endpoints->neighbours[endpoints->neighbour_count++] =
		(struct endpoint_neighbour){.ifindex = ifindex, .addr = *neighbour};
}

void endpoints_hear_too_big(struct gateway *gateway, uint64_t now_ns)
{
	struct endpoints *endpoints = &gateway->endpoints;
	struct ip_prefix prefixes[ENDPOINT_TOO_BIGS];
	struct dp_too_big too_big;
	unsigned n = 0;

	/* Without room it has to wait: nobody outside shall have all of them resolved. */
	if (now_ns < endpoints->too_big_due_ns ||
		endpoints->change_count > ENDPOINT_CHANGES - ENDPOINT_TOO_BIGS)
		return;
	while (n < ENDPOINT_TOO_BIGS &&
		rte_ring_sc_dequeue_elem(gateway->dp->too_big_ring, &too_big, sizeof(too_big)) == 0)
		prefixes[n++] = (struct ip_prefix){.addr = too_big.destination,
			.bits = (uint8_t)ip_family_bits(too_big.destination.family)};
	if (n == 0)
		return;
	endpoints_changed_in(gateway, prefixes, n);
	endpoints->too_big_due_ns = now_ns + TOO_BIG_ROUND_NS + gateway->peer_ids * TOO_BIG_ID_NS;
}

static bool has_changed(const struct gateway *gateway, uint32_t id)
{
	const struct endpoints *endpoints = &gateway->endpoints;
	const struct ip_addr *remote = &wg_peer_path(gateway->peers[id])->remote.addr;

	if (endpoints->all_changed)
		return true;
	for (unsigned i = 0; i < endpoints->neighbour_count; i++) {
		if (neighbours_is_behind(gateway->neighbours, id, endpoints->neighbours[i].ifindex,
			    &endpoints->neighbours[i].addr))
			return true;
	}
	for (unsigned i = 0; i < endpoints->change_count; i++) {
		if (ip_prefix_contains(&endpoints->changes[i], remote))
			return true;
	}
	return false;
}

static void end_round(struct endpoints *endpoints)
{
	endpoints->all_changed = false;
	endpoints->change_count = endpoints->neighbour_count = 0;
}

unsigned endpoints_step(struct gateway *gateway)
{
	struct endpoints *endpoints = &gateway->endpoints;
	unsigned looks = 0, resolved = 0;

	count_new_ids(gateway);
	while (endpoints->ids_left > 0 && looks < LOOKS_A_TURN && resolved < RESOLVES_A_TURN) {
		uint32_t id = endpoints->next_id < gateway->peer_ids ? endpoints->next_id : 0;
		struct wg_peer *peer = gateway->peers[id];

		endpoints->next_id = id + 1;
		endpoints->ids_left--;
		looks++;
		if (!peer || !has_changed(gateway, id))
			continue;
		endpoint_resolve(wg_peer_user(peer), peer);
		resolved++;
	}
	if (looks > 0 && endpoints->ids_left == 0)
		end_round(endpoints);
	return looks;
}
