/* SPDX-License-Identifier: BSD-3-Clause */
#include "endpoint.h"

#include <string.h>

#include "gateway.h"
#include "interface.h"
#include "log.h"
#include "mirror.h"
#include "neighbours.h"
#include "net/outer.h"

/* Data messages: DSCP 0, as in Linux; ECN is the packet's. */
#define DATA_TRAFFIC_CLASS 0

static void publish(struct interface *interface, struct wg_peer *peer, const struct dp_outer *outer)
{
	if (dp_peer_set_outer(interface->gateway->dp, wg_peer_id(peer), outer) != 0)
		log_error("%s: out of memory: a peer keeps its old endpoint", interface->name);
}

static void prepare(struct interface *interface, const struct wg_path *path,
	const struct mirror_path *way, struct dp_outer *outer)
{
	struct endpoint local = {.addr = way->local, .port = interface->socket.port};
	const struct dp_port *port = &interface->gateway->dp->ports[way->port];
	uint8_t macs[2 * MIRROR_MAC_BYTES];

	/* On a link-local address the kernel's socket needs the interface, which frames lack. */
	*outer = (struct dp_outer){
		.port = way->port,
		.mtu = way->mtu < port->mtu ? (uint16_t)way->mtu : 0,
		.via_kernel = way->via_kernel,
	};
	memcpy(macs, way->destination, MIRROR_MAC_BYTES);
	memcpy(macs + MIRROR_MAC_BYTES, way->source_mac, MIRROR_MAC_BYTES);
	outer->header_len = (uint8_t)outer_prepare(
		outer->header, macs, &local, &path->remote, DATA_TRAFFIC_CLASS);
}

void endpoint_resolve(struct interface *interface, struct wg_peer *peer)
{
	const struct wg_path *path = wg_peer_path(peer);
	struct dp_outer outer;

	if (path->remote.addr.family == IP_NONE || !interface->socket_open) {
		neighbours_set_peer(
			interface->gateway->neighbours, wg_peer_id(peer), 0, &path->remote.addr);
		publish(interface, peer, NULL);
		return;
	}
	const struct mirror_query query = {
		.remote = path->remote,
		.local = path->local,
		.mark = interface->fwmark,
		.local_port = interface->socket.port,
	};
	struct mirror_path way;
	(void)mirror_resolve(interface->gateway->mirror, &query, &way);
	if (way.local.family == IP_NONE) {
		/* No way at all now: the kernel's socket says so to nobody, and counts. */
		way.via_kernel = true;
		way.local.family = path->remote.addr.family;
	}
	prepare(interface, path, &way, &outer);
	neighbours_set_peer(interface->gateway->neighbours, wg_peer_id(peer),
		way.via_kernel ? 0 : way.ifindex, &way.neighbour);
	publish(interface, peer, &outer);
}

void endpoint_resolve_all(struct gateway *gateway)
{
	gateway->resolve_next = 0;
}

unsigned endpoint_resolve_some(struct gateway *gateway, unsigned n)
{
	unsigned done = 0;

	while (gateway->resolve_next < gateway->peer_ids && done < n) {
		struct wg_peer *peer = gateway->peers[gateway->resolve_next++];
		if (!peer)
			continue;
		endpoint_resolve(wg_peer_user(peer), peer);
		done++;
	}
	return done;
}
