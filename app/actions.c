/* SPDX-License-Identifier: BSD-3-Clause */
#include "actions.h"

#include <rte_mbuf.h>

#include "datapath/lpm.h"
#include "endpoint.h"
#include "gateway.h"
#include "handshakers.h"
#include "interface.h"
#include "log.h"
#include "neighbours.h"

/* As in Linux: initiations and responses carry DSCP AF41, cookie replies none. */
#define HANDSHAKE_TRAFFIC_CLASS 0x88
#define COOKIE_TRAFFIC_CLASS	0

static void act(struct interface *interface, const struct wg_action *action);

void actions_drain(struct interface *interface)
{
	struct wg_action action;

	while (wg_device_next_action(interface->device, &action))
		act(interface, &action);
	interface_flush_routes(interface);
}

/* Sends a packet (empty: a keepalive) to the worker that seals for this peer. */
static void seal(struct interface *interface, struct wg_peer *peer,
	const struct wg_session *session, struct rte_mbuf *packet)
{
	struct gateway *gateway = interface->gateway;
	struct dp_mbuf *meta = dp_mbuf(packet);
	uint32_t id = wg_peer_id(peer);

	meta->kind = DP_PEER;
	meta->interface = (uint8_t)interface->id;
	meta->peer_id = id;
	meta->local_index = session->local_index;
	dp_pass(gateway_ring_of_peer(gateway, id), &packet, 1, &gateway->drops,
		DP_DROP_WORKER_FULL);
}

static void send_keepalive(struct interface *interface, struct wg_peer *peer)
{
	const struct wg_session *session = wg_peer_current_session(peer);

	if (!session)
		return;
	struct rte_mbuf *packet = rte_pktmbuf_alloc(interface->gateway->pool);
	if (!packet) {
		dp_drop_count(&interface->gateway->drops, 1, DP_DROP_NO_MBUF);
		return;
	}
	seal(interface, peer, session, packet);
}

struct rte_mbuf *actions_unstage(struct interface *interface, struct wg_peer *peer)
{
	struct rte_mbuf *packet = wg_peer_unstage(peer);

	if (packet)
		interface->gateway->staged_packets--;
	return packet;
}

/*
 * The staged packets go ahead of the session, under its index, so that no later packet overtakes
 * them on the worker that seals them.
 */
static void set_current_session(
	struct interface *interface, struct wg_peer *peer, struct wg_session *session)
{
	struct rte_mbuf *packet;

	if (session) {
		while ((packet = actions_unstage(interface, peer)) != NULL)
			seal(interface, peer, session, packet);
	}
	dp_peer_set_session(interface->gateway->dp, wg_peer_id(peer), session);
}

static void purge_staged(struct interface *interface, struct wg_peer *peer)
{
	struct rte_mbuf *packet;

	while ((packet = actions_unstage(interface, peer)) != NULL)
		dp_drop(&interface->gateway->drops, &packet, 1, DP_DROP_STAGE_PURGED);
}

static void session_released(void *arg, void *session)
{
	struct interface *interface = arg;

	wg_session_free(interface->device, session);
}

static void retire_session(struct interface *interface, struct wg_session *session)
{
	if (dp_retire_session(interface->gateway->dp, session, session_released, interface) != 0)
		log_error(
			"%s: out of memory: a session that ended stays allocated", interface->name);
}

static void add_peer(struct interface *interface, struct wg_peer *peer)
{
	struct gateway *gateway = interface->gateway;
	uint32_t id = wg_peer_id(peer);

	wg_peer_set_user(peer, interface);
	gateway->peers[id] = peer;
	if (id >= gateway->peer_ids)
		gateway->peer_ids = id + 1;
	dp_publish_peer(gateway->dp, id, interface->id);
}

static void peer_released(void *arg, void *published)
{
	struct wg_peer *peer = arg;
	struct interface *interface = wg_peer_user(peer);

	(void)published;
	wg_peer_free(interface->device, peer);
}

static void remove_peer(struct interface *interface, struct wg_peer *peer)
{
	struct gateway *gateway = interface->gateway;
	uint32_t id = wg_peer_id(peer);

	gateway->peers[id] = NULL;
	neighbours_set_peer(gateway->neighbours, id, 0, &wg_peer_path(peer)->remote.addr);
	if (dp_remove_peer(gateway->dp, id, peer_released, peer) != 0)
		log_error("%s: out of memory: a peer that was removed stays allocated",
			interface->name);
}

static void set_prefix(
	struct interface *interface, const struct ip_prefix *prefix, struct wg_peer *peer)
{
	struct dp *dp = interface->gateway->dp;
	char text[IP_PREFIX_STRLEN];

	if (peer) {
		if (dp_set_allowed_ip(dp, prefix, wg_peer_id(peer)) != 0)
			log_error("%s: out of memory: allowed IP %s will carry no traffic",
				interface->name, ip_prefix_format(prefix, text));
	} else {
		(void)dp_clear_allowed_ip(dp, interface->id, prefix); /* that failed to be set */
	}
	interface_prefix_changed(interface, prefix);
}

/* By a handshake lcore; when they are all behind, here. */
static void compute(struct interface *interface, struct wg_work *work)
{
	if (handshakers_submit(interface->gateway->handshakers, work, interface))
		return;
	wg_work_compute(work);
	interface->gateway->computed_here++;
	(void)wg_device_finish(interface->device, work, gateway_now());
}

static const struct wg_session *published_session(const struct dp *dp, const struct wg_peer *peer)
{
	return atomic_load_explicit(
		&dp_find_peer(dp, wg_peer_id(peer))->current, memory_order_relaxed);
}

static void act(struct interface *interface, const struct wg_action *action)
{
	struct dp *dp = interface->gateway->dp;
	struct wg_peer *peer = action->peer;

	switch (action->kind) {
	case WG_ACT_SEND:
		interface_send(interface, &action->send.path,
			peer ? HANDSHAKE_TRAFFIC_CLASS : COOKIE_TRAFFIC_CLASS, action->send.data,
			action->send.len);
		break;
	case WG_ACT_SESSION_PUBLISH:
		dp_publish_session(dp, action->session);
		if (!action->session->initiator)
			dp_peer_set_next_session(dp, wg_peer_id(peer), action->session);
		break;
	case WG_ACT_SESSION_CURRENT:
		/* What the kernel does not tell of, as a path MTU, is asked for once a session. */
		if (action->session && action->session != published_session(dp, peer))
			endpoint_resolve(interface, peer);
		set_current_session(interface, peer, action->session);
		break;
	case WG_ACT_SESSION_RETIRE:
		retire_session(interface, action->session);
		break;
	case WG_ACT_KEEPALIVE:
		send_keepalive(interface, peer);
		break;
	case WG_ACT_STAGE_PURGE:
		purge_staged(interface, peer);
		break;
	case WG_ACT_ENDPOINT:
		endpoint_resolve(interface, peer);
		break;
	case WG_ACT_PEER_ADD:
		add_peer(interface, peer);
		break;
	case WG_ACT_PEER_REMOVE:
		remove_peer(interface, peer);
		break;
	case WG_ACT_PREFIX_SET:
		set_prefix(interface, &action->prefix, peer);
		break;
	case WG_ACT_PREFIX_CLEAR:
		set_prefix(interface, &action->prefix, NULL);
		break;
	case WG_ACT_COMPUTE:
		compute(interface, action->work);
		break;
	case WG_ACT_NONE:
		break;
	}
}
