/* SPDX-License-Identifier: BSD-3-Clause */
#include "host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "datapath/lpm.h"
#include "endpoint.h"
#include "forwarding.h"
#include "gateway.h"
#include "host_exchange.h"
#include "ifconfig.h"
#include "interface.h"
#include "log.h"
#include "mirror.h"
#include "options.h"

/* How long a change of a port's link may take to be seen. */
#define LINKS_EVERY_NS (250 * NS_PER_MS)

/* --- The mirror's callbacks: from the kernel's tables to the data path's --- */

static void set_nexthop(void *arg, uint32_t id, const struct mirror_nexthop *from)
{
	struct gateway *gateway = arg;
	struct dp_nexthop nexthop = {.kind = DP_NEXTHOP_HOST, .mtu = from->mtu};

	switch (from->kind) {
	case MIRROR_PORT:
		nexthop.kind = DP_NEXTHOP_PORT;
		nexthop.port = from->port;
		memcpy(nexthop.ether, from->destination, MIRROR_MAC_BYTES);
		memcpy(nexthop.ether + MIRROR_MAC_BYTES, from->source, MIRROR_MAC_BYTES);
		break;
	case MIRROR_WG:
		nexthop.kind = DP_NEXTHOP_WG;
		nexthop.interface = from->interface;
		break;
	case MIRROR_HOST:
		break;
	}
	if (dp_set_nexthop(gateway->dp, id, &nexthop) != 0)
		log_error("out of memory: packets for a next hop are left to the host");
}

static void delete_prefix(void *arg, const struct ip_prefix *prefix)
{
	struct gateway *gateway = arg;

	(void)dp_lpm_delete(gateway->dp->routes, prefix);
}

static void set_prefix(void *arg, const struct ip_prefix *prefix, uint32_t nexthop)
{
	struct gateway *gateway = arg;
	char text[IP_PREFIX_STRLEN];

	if (dp_lpm_set(gateway->dp->routes, prefix, nexthop) != 0)
		log_error("out of memory: the route to %s is out of date",
			ip_prefix_format(prefix, text));
}

static void set_locals(void *arg, const struct ip_addr *addrs, unsigned n)
{
	struct gateway *gateway = arg;

	if (dp_set_locals(gateway->dp, addrs, n) != 0)
		log_error("out of memory: the list of own addresses is out of date");
}

static void set_forwarding(void *arg, enum ip_family family, bool on)
{
	struct gateway *gateway = arg;

	dp_set_forwarding(gateway->dp, family, on);
}

/* A TAP takes any MTU; what is more than its port's is undone. */
static void port_mtu_changed(struct gateway *gateway, unsigned index, uint32_t mtu)
{
	const struct hostif *tap = &gateway->taps[index];
	uint16_t most = gateway->ports[index].mtu;

	dp_set_port_mtu(gateway->dp, index, (uint16_t)RTE_MIN(mtu, (uint32_t)most));
	if (mtu <= most)
		return;
	log_warning("%s: its MTU is set back to %u, the port's: for %u start with --mtu %u",
		tap->name, most, mtu, mtu);
	int err = hostif_set_mtu(tap, most);
	if (err)
		log_error("%s: setting its MTU failed: %s", tap->name, strerror(-err));
}

/* A TUN takes any MTU, packet buffers do not: what is larger would be lost without a word. */
static void interface_mtu_changed(struct gateway *gateway, unsigned index, uint32_t mtu)
{
	const struct hostif *tun = &gateway->interfaces[index]->tun;
	uint32_t most =
		rte_pktmbuf_data_room_size(gateway->pool) - RTE_PKTMBUF_HEADROOM - DP_SEAL_TAILROOM;

	most = RTE_MIN(most, (uint32_t)LIMIT_INNER_BYTES);
	dp_interface_set_mtu(gateway->dp, index, (uint16_t)RTE_MIN(mtu, most));
	if (mtu <= most)
		return;
	uint32_t wanted = RTE_MIN(mtu, (uint32_t)LIMIT_INNER_BYTES);
	log_warning("%s: its MTU is set back to %u, what packet buffers hold: for %u start with "
		    "MTU = %u in its file, or --mtu %u",
		tun->name, most, wanted, wanted, wanted);
	int err = hostif_set_mtu(tun, (uint16_t)most);
	if (err)
		log_error("%s: setting its MTU failed: %s", tun->name, strerror(-err));
}

static void link_changed(void *arg, uint32_t ifindex, uint32_t mtu, bool up)
{
	struct gateway *gateway = arg;

	for (unsigned i = 0; i < gateway->interface_count; i++) {
		if (gateway->interfaces[i]->tun.ifindex != ifindex)
			continue;
		interface_mtu_changed(gateway, i, mtu);
		interface_set_down(gateway->interfaces[i], !up);
	}
	for (unsigned i = 0; i < gateway->port_count; i++) {
		if (gateway->taps[i].ifindex != ifindex)
			continue;
		port_mtu_changed(gateway, i, mtu);
		dp_set_port_down(gateway->dp, i, !up);
	}
}

static void link_gone(void *arg, uint32_t ifindex)
{
	const struct gateway *gateway = arg;

	for (unsigned i = 0; i < gateway->interface_count; i++) {
		if (gateway->interfaces[i]->tun.ifindex == ifindex) {
			/* It ends in the control loop: not while the mirror is at work. */
			gateway->interfaces[i]->gone = true;
			gateway->interfaces[i]->follow_routes = false;
		}
	}
	for (unsigned i = 0; i < gateway->port_count; i++) {
		if (gateway->taps[i].ifindex != ifindex)
			continue;
		dp_set_port_down(gateway->dp, i, true);
		log_warning("%s was removed from the host: its port receives nothing any more, "
			    "until a restart",
			gateway->taps[i].name);
	}
}

/* Not while the mirror is at work either. */
static void address_gone(void *arg, uint32_t ifindex)
{
	const struct gateway *gateway = arg;

	for (unsigned i = 0; i < gateway->interface_count; i++) {
		if (gateway->interfaces[i]->tun.ifindex == ifindex)
			gateway->interfaces[i]->routes_in_doubt = true;
	}
}

static void routing_changed(void *arg, const struct ip_prefix *prefixes, unsigned n)
{
	endpoints_changed_in(arg, prefixes, n);
}

static void neighbour_changed(void *arg, uint32_t ifindex, const struct ip_addr *addr)
{
	endpoints_changed_behind(arg, ifindex, addr);
}

static void warn(void *arg, const char *line)
{
	(void)arg;
	log_warning("%s", line);
}

static int make_mirror(struct gateway *gateway)
{
	const struct mirror_callbacks callbacks = {
		.set_nexthop = set_nexthop,
		.set_prefix = set_prefix,
		.delete_prefix = delete_prefix,
		.set_locals = set_locals,
		.set_forwarding = set_forwarding,
		.link_changed = link_changed,
		.link_gone = link_gone,
		.address_gone = address_gone,
		.routing_changed = routing_changed,
		.neighbour_changed = neighbour_changed,
		.warn = warn,
		.arg = gateway,
	};
	int err = mirror_create(&callbacks, LIMIT_NEXTHOPS, &gateway->mirror);

	if (err)
		log_error("netlink: %s", strerror(-err));
	return err;
}

/* --- The ports' TAPs --- */

static void publish_port(struct gateway *gateway, unsigned index)
{
	const struct port *port = &gateway->ports[index];
	struct dp_port config = {
		.outer = port->outer,
		.inner = port->inner,
		.offload_udp = port->checksum_offload,
		.scope_id = gateway->taps[index].ifindex,
		.mtu = port->mtu,
		.down = true, /* until somebody sets its TAP up */
	};

	memcpy(config.mac, &port->mac, sizeof(config.mac));
	dp_set_port(gateway->dp, index, &config);
}

/* quiet: a link that is up goes without saying. */
static void set_carrier(struct gateway *gateway, unsigned index, bool quiet)
{
	const struct hostif *tap = &gateway->taps[index];
	bool up = gateway->ports[index].link_up;
	int err = hostif_set_carrier(tap, up);

	if (err)
		log_error("%s: setting its carrier failed: %s", tap->name, strerror(-err));
	else if (!up || !quiet)
		log_info("%s: link %s", tap->name, up ? "up" : "down");
}

/* mac: NULL for what has any. */
static int make_hostif(struct hostif *hostif, enum hostif_kind kind, const char *name,
	const uint8_t *mac, uint16_t mtu)
{
	int err = hostif_create(hostif, kind, name, mac, mtu);

	if (err) {
		hostif->fd = -1;
		log_error("host interface %s: %s%s", name, strerror(-err),
			err == -EPERM	 ? "; run as root or with CAP_NET_ADMIN"
			: err == -EEXIST ? "; is another dpdk-wg running here?"
			: err == -ENODEV ? "; /dev/net/tun is missing, load the tun module"
					 : "");
	}
	return err;
}

static int make_tap(struct gateway *gateway, unsigned index, const char *kind, unsigned number)
{
	const struct port *port = &gateway->ports[index];
	struct hostif *tap = &gateway->taps[index];
	char name[HOSTIF_NAME_BYTES];

	snprintf(name, sizeof(name), "%s%u", kind, number);
	int err = make_hostif(tap, HOSTIF_TAP, name, port->mac.addr_bytes, port->mtu);
	if (err)
		return err;
	publish_port(gateway, index);
	set_carrier(gateway, index, true);
	host_exchange_attach_netdev(gateway->exchange, dp_netdev_of_port(index), tap);
	err = mirror_add_port(
		gateway->mirror, tap->ifindex, (uint8_t)index, port->mac.addr_bytes, port->inner);
	if (err)
		log_error("host interface %s: mirroring it failed: %s", name, strerror(-err));
	return err;
}

static int make_taps(struct gateway *gateway)
{
	unsigned outers = 0, inners = 0;
	int err = 0;

	for (unsigned i = 0; i < gateway->port_count; i++)
		gateway->taps[i].fd = -1;
	for (unsigned i = 0; i < gateway->port_count && !err; i++) {
		/* A one-armed port goes by its outer name. */
		if (gateway->ports[i].outer)
			err = make_tap(gateway, i, "outer", outers++);
		else
			err = make_tap(gateway, i, "inner", inners++);
	}
	return err;
}

static int make_capture(struct gateway *gateway)
{
	uint16_t mtu = 0;

	for (unsigned i = 0; i < gateway->port_count; i++)
		if (gateway->ports[i].mtu > mtu)
			mtu = gateway->ports[i].mtu;
	int err = make_hostif(&gateway->capture, HOSTIF_CAPTURE, OPTIONS_CAPTURE_NAME, NULL, mtu);
	if (!err)
		host_exchange_attach_netdev(
			gateway->exchange, DP_NETDEV_CAPTURE, &gateway->capture);
	return err;
}

int host_create(struct gateway *gateway, bool capture)
{
	gateway->capture.fd = -1;
	int err = host_exchange_start(gateway->dp, gateway->pool, &gateway->exchange);

	if (err) {
		log_error("the host exchange did not start: %s", strerror(-err));
		return err;
	}
	gateway->ifconfig = ifconfig_create();
	if (!gateway->ifconfig) {
		err = -errno;
		log_error("netlink: %s", strerror(-err));
		return err;
	}
	err = make_mirror(gateway);
	if (!err)
		err = make_taps(gateway);
	if (!err && capture)
		err = make_capture(gateway);
	/* Who has the TAPs is the only one here: any rules of ours are of one that crashed. */
	unsigned left = err ? 0 : ifconfig_remove_leftovers(gateway->ifconfig);
	if (left > 0)
		log_info("%u policy rule%s of a run that did not come to its end removed", left,
			left == 1 ? "" : "s");
	if (!err) {
		err = mirror_start(gateway->mirror);
		if (err)
			log_error("netlink: %s", strerror(-err));
	}
	return err;
}

void host_destroy(struct gateway *gateway)
{
	if (gateway->ifconfig)
		ifconfig_destroy(gateway->ifconfig);
	if (gateway->exchange)
		host_exchange_stop(gateway->exchange);
	if (gateway->mirror) {
		for (unsigned i = 0; i < gateway->port_count; i++) {
			if (gateway->taps[i].fd >= 0)
				hostif_destroy(&gateway->taps[i]);
		}
		if (gateway->capture.fd >= 0)
			hostif_destroy(&gateway->capture);
		mirror_destroy(gateway->mirror);
	}
}

/* The port's is in the prepared headers of all workers: a TAP's other one would only mislead. */
static void keep_mac(const struct gateway *gateway, unsigned index)
{
	const struct hostif *tap = &gateway->taps[index];
	const struct port *port = &gateway->ports[index];

	if (hostif_keep_mac(tap, port->mac.addr_bytes) != 1)
		return;
	log_warning("%s: its MAC address is set back to " RTE_ETHER_ADDR_PRT_FMT ", the port's",
		tap->name, RTE_ETHER_ADDR_BYTES(&port->mac));
}

/* While somebody has it up, who then looks at it. */
static void follow_capture(struct gateway *gateway)
{
	bool up = gateway->capture.fd >= 0 && hostif_is_up(&gateway->capture);

	if (up == gateway->dp->capture)
		return;
	dp_set_capture(gateway->dp, up);
	log_info("%s: %s", gateway->capture.name,
		up ? "frames of all ports are copied to it" : "no more frames are copied to it");
}

void host_follow_links(struct gateway *gateway, uint64_t now_ns)
{
	if (now_ns < gateway->links_due_ns)
		return;
	gateway->links_due_ns = now_ns + LINKS_EVERY_NS;
	for (unsigned i = 0; i < gateway->port_count; i++) {
		if (port_link_changed(&gateway->ports[i]))
			set_carrier(gateway, i, false);
		keep_mac(gateway, i);
	}
	follow_capture(gateway);
	forwarding_follow(gateway);
}

int host_find_netdev(const struct gateway *gateway, const char *name)
{
	for (unsigned i = 0; i < gateway->port_count; i++) {
		if (strcmp(gateway->taps[i].name, name) == 0)
			return (int)dp_netdev_of_port(i);
	}
	for (unsigned i = 0; i < gateway->interface_count; i++) {
		if (strcmp(gateway->interfaces[i]->name, name) == 0)
			return (int)dp_netdev_of_interface(i);
	}
	if (gateway->capture.fd >= 0 && strcmp(gateway->capture.name, name) == 0)
		return DP_NETDEV_CAPTURE;
	return -ENOENT;
}
