/* SPDX-License-Identifier: BSD-3-Clause */
#include "interface.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "actions.h"
#include "base/units.h"
#include "config_load.h"
#include "configs.h"
#include "control.h"
#include "datapath/lpm.h"
#include "datapath/reclaim.h"
#include "endpoint.h"
#include "gateway.h"
#include "host_exchange.h"
#include "ifconfig.h"
#include "log.h"
#include "mirror.h"
#include "net/headers.h"
#include "uapi/apply.h"
#include "uapi_server.h"

/* 1,500 less the outer IPv6 and UDP headers, the data header and the tag. */
#define DEFAULT_MTU 1420

/* Loading says how far it is after so many operations and so much time. */
#define APPLY_BUDGET	  4096
#define SHUTDOWN_PIECE	  1024 /* peers */
#define PROGRESS_EVERY_NS (2 * NS_PER_SEC)

static int failed(const struct interface *interface, const char *what, int err)
{
	log_error("%s: %s: %s", interface->name, what, strerror(-err));
	return err;
}

/* --- UDP sockets --- */

static int failed_socket(const struct interface *interface, uint16_t port, int err)
{
	log_error("%s: UDP port %u: %s%s", interface->name, port, strerror(-err),
		err == -EACCES ? ": below 1,024 it needs CAP_NET_BIND_SERVICE" : "");
	return err;
}

/*
 * The new sockets receive before the old ones close: a port that is taken changes nothing, and
 * nothing that arrives falls between the two.
 */
static int open_socket(struct interface *interface, uint16_t port, uint32_t fwmark)
{
	struct gateway *gateway = interface->gateway;
	struct udp_socket old = interface->socket, socket;
	int err = udp_socket_open(&socket, port, fwmark);

	if (err)
		return failed_socket(interface, port, err);
	interface->socket = socket;
	host_exchange_attach_socket(gateway->exchange, interface->id, &interface->socket);
	dp_interface_set_listen_port(gateway->dp, interface->id, socket.port);
	if (interface->socket_open)
		udp_socket_close(&old);
	interface->socket_open = true;
	interface->fwmark = fwmark;
	/* The prepared headers hold the port. */
	endpoints_changed(gateway);
	return 0;
}

static void close_socket(struct interface *interface)
{
	if (!interface->socket_open)
		return;
	dp_interface_set_listen_port(interface->gateway->dp, interface->id, 0);
	host_exchange_detach_socket(interface->gateway->exchange, interface->id);
	udp_socket_close(&interface->socket);
	interface->socket_open = false;
}

void interface_set_down(struct interface *interface, bool down)
{
	if (interface->down != down) {
		interface->down = down;
		interface->routes_in_doubt = true;
		/* Where that fails it says so, and `wg set listen-port` tries again. */
		if (down)
			close_socket(interface);
		else
			(void)open_socket(interface, interface->socket.port, interface->fwmark);
	}
	wg_device_set_running(interface->device, !down, gateway_now());
	actions_drain(interface);
}

static void forget_sources(struct interface *interface)
{
	wg_device_forget_sources(interface->device);
	actions_drain(interface);
}

static int set_mark(struct interface *interface, uint32_t fwmark)
{
	if (fwmark == interface->fwmark)
		return 0;
	int err = interface->socket_open ? udp_socket_set_mark(&interface->socket, fwmark) : 0;
	if (err)
		return err;
	interface->fwmark = fwmark;
	/* The kernel's rules may send what is marked another way, and from another address. */
	forget_sources(interface);
	endpoints_changed(interface->gateway);
	return 0;
}

/* uapi_hooks.set_sockets */
static int set_sockets(void *arg, const struct uapi_config *config)
{
	struct interface *interface = arg;
	uint32_t fwmark = config->set_fwmark ? config->fwmark : interface->fwmark;

	/* No mark is asked for (wg setconf does when the file has none): but what its default route
	 * needs, it needs. */
	if (fwmark == 0)
		fwmark = ifconfig_fwmark(interface->gateway->ifconfig, interface->tun.ifindex);
	if (config->set_fwmark && fwmark != config->fwmark)
		log_info("%s: its sockets have the mark 0x%x while there is its default route, "
			 "which would take what they send",
			interface->name, fwmark);
	/* Port 0 asks for any that is free: the one it has is as good as another. */
	uint16_t port = config->set_listen_port && config->listen_port != 0
				? config->listen_port
				: interface->socket.port;
	bool moved = port != interface->socket.port;
	int err = 0;

	if (!interface->down && (moved || !interface->socket_open)) {
		err = open_socket(interface, port, fwmark);
	} else {
		interface->socket.port = port;
		err = set_mark(interface, fwmark);
	}
	if (err)
		return err;
	if (config->set_fwmark)
		interface->fwmark_is_own = config->fwmark == 0;
	/* As in Linux: who asks for another port may have moved. */
	if (moved)
		forget_sources(interface);
	return 0;
}

static void get_sockets(void *arg, uint16_t *listen_port, uint32_t *fwmark)
{
	const struct interface *interface = arg;

	*listen_port = interface->socket.port;
	*fwmark = interface->fwmark;
}

static void changed(void *arg)
{
	actions_drain(arg);
}

struct wg_peer *interface_route(const struct interface *interface, const uint8_t *ip)
{
	const struct gateway *gateway = interface->gateway;
	const struct dp_lpm *allowed = gateway->dp->interfaces[interface->id].allowed;
	uint32_t id = ip_version(ip) == 4 ? dp_lpm_lookup4(allowed, ip + IPV4_DST)
					  : dp_lpm_lookup6(allowed, ip + IPV6_DST);

	return id == DP_LPM_NONE ? NULL : gateway->peers[id];
}

void interface_send(struct interface *interface, const struct wg_path *path, uint8_t traffic_class,
	const void *data, uint16_t len)
{
	if (!interface->socket_open ||
		udp_socket_send(&interface->socket, path, traffic_class, data, len) != 0)
		dp_drop_count(&interface->gateway->drops, 1, DP_DROP_HOST_SEND);
}

/* --- Routes of the host --- */

static void remember(struct interface *interface, struct interface_routes *routes,
	const struct ip_prefix *prefix)
{
	if (routes->count == routes->room) {
		uint32_t room = routes->room ? routes->room * 2 : 16;
		struct ip_prefix *grown = reallocarray(routes->prefixes, room, sizeof(*grown));
		char text[IP_PREFIX_STRLEN];
		if (!grown) {
			log_error("%s: out of memory: the route for %s is out of date",
				interface->name, ip_prefix_format(prefix, text));
			return;
		}
		routes->prefixes = grown;
		routes->room = room;
	}
	routes->prefixes[routes->count++] = *prefix;
}

void interface_prefix_changed(struct interface *interface, const struct ip_prefix *prefix)
{
	if (interface->follow_routes)
		remember(interface, &interface->changed, prefix);
}

/* The mark and the table of a default route are ifconfig's to choose, unless the operator did. */
static void follow_default_route(struct interface *interface)
{
	struct gateway *gateway = interface->gateway;
	uint32_t tables[MIRROR_OWN_TABLES];
	unsigned n = ifconfig_own_tables(gateway->ifconfig, tables, MIRROR_OWN_TABLES);

	mirror_set_own_tables(gateway->mirror, tables, n);
	if (interface->fwmark != 0 && !interface->fwmark_is_own)
		return;
	int err = set_mark(interface, ifconfig_fwmark(gateway->ifconfig, interface->tun.ifindex));
	if (err)
		failed(interface, "marking its sockets for the default route failed", err);
	interface->fwmark_is_own = interface->fwmark != 0;
}

/* All or none. */
static int try_routes(
	const struct interface *interface, const struct ip_prefix *prefixes, uint32_t n)
{
	char message[IFCONFIG_MESSAGE_BYTES];
	int err = ifconfig_add_routes(
		interface->gateway->ifconfig, interface->tun.ifindex, prefixes, n, message);

	/* The link went down and the mirror has not said so yet: they come when it is up. */
	if (err == -ENETDOWN)
		return 0;
	/* Of several another try will tell which. */
	if (message[0] != '\0' && (err == 0 || n == 1))
		log_warning("%s", message);
	return err;
}

/* Not this route alone is refused, but any of its family. */
static bool holds_for_all(int err)
{
	return err == -ENODEV || err == -EACCES || err == -EOPNOTSUPP || err == -EPERM;
}

/* All at once; where one is refused, one by one, so that it holds up no other. */
static void add_routes(
	const struct interface *interface, const struct ip_prefix *prefixes, uint32_t n)
{
	if (n == 0 || try_routes(interface, prefixes, n) == 0 || n == 1)
		return;
	bool refused[2] = {false, false};
	for (uint32_t i = 0; i < n; i++) {
		bool *whole = &refused[prefixes[i].addr.family == IP_V6];
		if (!*whole)
			*whole = holds_for_all(try_routes(interface, &prefixes[i], 1));
	}
}

/* Moves those that have an owner to the front; returns how many. */
static uint32_t part_owned(const struct interface *interface, struct interface_routes *routes)
{
	const struct dp_lpm *allowed = interface->gateway->dp->interfaces[interface->id].allowed;
	uint32_t owned = 0;

	for (uint32_t i = 0; i < routes->count; i++) {
		struct ip_prefix prefix = routes->prefixes[i];
		if (dp_lpm_get(allowed, &prefix) == DP_LPM_NONE)
			continue;
		routes->prefixes[i] = routes->prefixes[owned];
		routes->prefixes[owned++] = prefix;
	}
	return owned;
}

/* How often and in what order a prefix changed does not matter: its owner now decides. */
void interface_flush_routes(struct interface *interface)
{
	struct interface_routes *changed = &interface->changed;

	if (changed->count == 0)
		return;
	uint32_t owned = part_owned(interface, changed);
	struct ifconfig *ifconfig = interface->gateway->ifconfig;
	ifconfig_remove_routes(ifconfig, interface->tun.ifindex, changed->prefixes + owned,
		changed->count - owned);
	ifconfig_set_fwmark(ifconfig, interface->tun.ifindex, interface->fwmark);
	/* The kernel takes none while the link is down; afterwards all are made. */
	if (!interface->down)
		add_routes(interface, changed->prefixes, owned);
	changed->count = 0;
	follow_default_route(interface);
}

/* The allowed IPs that its peers own, for the host's first routes. */
static void list_routes(struct interface *interface, struct interface_routes *routes)
{
	struct ip_prefix prefix;

	for (struct wg_peer *peer = wg_device_next_peer(interface->device, NULL); peer;
		peer = wg_device_next_peer(interface->device, peer)) {
		const void *cursor = NULL;
		while (wg_peer_next_allowed_ip(peer, &cursor, &prefix))
			remember(interface, routes, &prefix);
	}
}

void interface_restore_routes(struct gateway *gateway)
{
	for (unsigned i = 0; i < gateway->interface_count; i++) {
		struct interface *interface = gateway->interfaces[i];
		if (!interface->routes_in_doubt || interface->down)
			continue;
		interface->routes_in_doubt = false;
		if (!interface->follow_routes)
			continue;
		if (ifconfig_forget_lost_routes(gateway->ifconfig, interface->tun.ifindex) != 0) {
			interface->routes_in_doubt = true; /* the kernel is busy: again */
			continue;
		}
		list_routes(interface, &interface->changed);
		interface_flush_routes(interface);
	}
}

static const enum ifconfig_table tables[] = {
	[UAPI_TABLE_AUTO] = IFCONFIG_TABLE_AUTO,
	[UAPI_TABLE_OFF] = IFCONFIG_TABLE_OFF,
	[UAPI_TABLE_NUMBER] = IFCONFIG_TABLE_NUMBER,
};

/* Addresses, routes, link up: as wg-quick(8) would. */
static int configure_host(
	struct interface *interface, const struct uapi_config *config, uint16_t mtu)
{
	struct interface_routes routes = {0};
	char message[IFCONFIG_MESSAGE_BYTES];

	if (config->table != UAPI_TABLE_OFF)
		list_routes(interface, &routes);
	struct ifconfig_request request = {
		.name = interface->name,
		.ifindex = interface->tun.ifindex,
		.addresses = config->addresses,
		.address_count = config->address_count,
		.mtu = mtu,
		.table = tables[config->table],
		.table_number = config->table_number,
		.fwmark = config->fwmark,
		.routes = routes.prefixes,
		.route_count = routes.count,
	};
	int err = ifconfig_apply(interface->gateway->ifconfig, &request, message);
	free(routes.prefixes);
	if (err) {
		log_error("%s", message);
		return err;
	}
	if (message[0] != '\0')
		log_warning("%s", message);
	follow_default_route(interface);
	return 0;
}

/* --- Creation --- */

static int make_tun(struct interface *interface, uint16_t mtu)
{
	struct gateway *gateway = interface->gateway;
	int err = hostif_create(&interface->tun, HOSTIF_TUN, interface->name, NULL, mtu);

	if (err == -EEXIST)
		log_error("%s: an interface of this name exists already", interface->name);
	else if (err == -EPERM)
		log_error(
			"%s: making a TUN interface needs root or CAP_NET_ADMIN", interface->name);
	else if (err)
		failed(interface, "making its TUN interface failed (is /dev/net/tun there?)", err);
	if (err)
		return err;
	host_exchange_attach_netdev(
		gateway->exchange, dp_netdev_of_interface(interface->id), &interface->tun);
	err = mirror_add_wg(gateway->mirror, interface->tun.ifindex, (uint8_t)interface->id);
	return err ? failed(interface, "mirroring its TUN interface failed", err) : 0;
}

static int serve(struct interface *interface)
{
	const struct uapi_server_hooks hooks = {
		.set_sockets = set_sockets,
		.changed = changed,
		.get_sockets = get_sockets,
		.arg = interface,
	};

	return uapi_server_add(
		interface->gateway->uapi, interface->name, interface->device, &hooks);
}

/* Applies a whole config, saying from time to time how far it is. */
static int apply_config(struct interface *interface, const struct uapi_config *config)
{
	const struct uapi_hooks hooks = {
		.set_sockets = set_sockets,
		.changed = changed,
		.arg = interface,
	};
	struct uapi_apply *apply;
	int err = uapi_apply_begin(&apply, interface->device, config, &hooks);

	if (err)
		return failed(interface, "applying its configuration failed", err);
	uint64_t said_ns = gateway_now().mono_ns;
	do {
		struct wg_time now = gateway_now();
		err = uapi_apply_step(apply, APPLY_BUDGET, now);
		actions_drain(interface);
		dp_reclaim_poll(interface->gateway->dp->reclaim, UINT_MAX);
		if (now.mono_ns - said_ns > PROGRESS_EVERY_NS) {
			log_info("%s: %u of %u peers loaded", interface->name,
				uapi_apply_result(apply)->peers_added, config->peer_count);
			said_ns = now.mono_ns;
		}
	} while (err > 0 && !control_end_asked());
	uapi_apply_end(apply);
	if (err > 0)
		return -EINTR;
	return err ? failed(interface, "applying its configuration failed", err) : 0;
}

static int resolve(struct uapi_config *config, const char *path)
{
	int err = config_resolve(config, path, control_end_asked);

	configs_tell_warnings(config, path);
	return err;
}

/* Without a file the host's side is left bare and down, as a new interface of the kernel's is. */
static int bring_up(struct interface *interface, const struct uapi_config *config, bool from_file)
{
	struct gateway *gateway = interface->gateway;
	uint16_t mtu = config->mtu ? config->mtu : DEFAULT_MTU;
	int err = dp_add_interface(gateway->dp, interface->id, mtu);

	if (err)
		return failed(interface, "making its tables failed", err);
	err = make_tun(interface, mtu);
	if (!err)
		err = open_socket(interface, config->listen_port, config->fwmark);
	if (!err)
		err = apply_config(interface, config);
	if (!err && from_file)
		err = configure_host(interface, config, mtu);
	return err ? err : serve(interface);
}

static struct interface *add_interface(struct gateway *gateway, const char *name)
{
	struct interface *interface = calloc(1, sizeof(*interface));

	if (!interface)
		return NULL;
	interface->device = wg_device_create(&gateway->env, gateway->indices, gateway->ids);
	if (!interface->device) {
		free(interface);
		return NULL;
	}
	wg_device_split_handshakes(interface->device, gateway->handshakers != NULL);
	/* Its link comes up later: the mirror tells. */
	wg_device_set_running(interface->device, false, gateway_now());
	interface->gateway = gateway;
	interface->id = gateway->interface_count;
	interface->tun.fd = -1;
	strcpy(interface->name, name);
	gateway->interfaces[gateway->interface_count++] = interface;
	return interface;
}

int interface_create(
	struct gateway *gateway, const char *name, const char *path, struct uapi_config *config)
{
	struct interface *interface = add_interface(gateway, name);
	int err = 0;

	if (!interface) {
		log_error("%s: out of memory", name);
		return -ENOMEM;
	}
	if (path)
		err = resolve(config, path);
	if (!err)
		err = bring_up(interface, config, path != NULL);
	interface->follow_routes = !err && path && config->table != UAPI_TABLE_OFF;
	return err;
}

/* --- The end --- */

/* In pieces: what a million peers leave to be done would take gigabytes at once. */
static void remove_peers(struct interface *interface)
{
	bool more;

	do {
		more = wg_device_shutdown(interface->device, SHUTDOWN_PIECE);
		actions_drain(interface);
		dp_reclaim_poll(interface->gateway->dp->reclaim, UINT_MAX);
	} while (more);
}

void interface_shutdown(struct interface *interface)
{
	struct gateway *gateway = interface->gateway;

	interface->follow_routes = false;
	ifconfig_undo(gateway->ifconfig, interface->tun.ifindex);
	remove_peers(interface);
	close_socket(interface);
	if (interface->tun.fd >= 0) {
		mirror_remove(gateway->mirror, interface->tun.ifindex);
		host_exchange_detach_netdev(
			gateway->exchange, dp_netdev_of_interface(interface->id));
		hostif_destroy(&interface->tun);
		interface->tun.ifindex = 0;
	}
}

/* As with the kernel's own WireGuard: who deletes the link deletes the interface. */
static void end(struct interface *interface)
{
	log_info("%s was removed from the host: it ends", interface->name);
	uapi_server_remove(interface->gateway->uapi, interface->name);
	interface_shutdown(interface);
	interface->gone = false;
}

bool interface_end_gone(struct gateway *gateway)
{
	bool left = gateway->interface_count == 0;

	for (unsigned i = 0; i < gateway->interface_count; i++) {
		if (gateway->interfaces[i]->gone)
			end(gateway->interfaces[i]);
		left |= gateway->interfaces[i]->tun.fd >= 0;
	}
	return left;
}

void interface_free(struct interface *interface)
{
	wg_device_free(interface->device);
	free(interface->changed.prefixes);
	free(interface);
}
