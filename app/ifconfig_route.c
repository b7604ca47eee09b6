/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Routes to the allowed IPs of an interface: made and removed in batches, each written down.
 */
#include "ifconfig_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rtnl.h"

/* Those in one go: what to do with which. */
struct route_batch {
	const struct interface *interface;
	struct route **routes;
	uint32_t n;
	bool remove;
	int error; /* of the first that failed */
	const struct route *failed;
};

static struct nlmsghdr *make_route(void *arg, struct netlink *nl, uint32_t i, void *buf)
{
	const struct route_batch *batch = arg;
	const struct route *route = batch->routes[i];
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = netlink_request(nl, buf, batch->remove ? RTM_DELROUTE : RTM_NEWROUTE,
		batch->remove ? 0 : NLM_F_CREATE | NLM_F_EXCL, sizeof(*rtm), (void **)&rtm);

	rtm->rtm_family = netlink_family(route->prefix.addr.family);
	rtm->rtm_dst_len = route->prefix.bits;
	rtm->rtm_protocol = RTPROT_BOOT;
	rtm->rtm_scope = batch->remove ? RT_SCOPE_NOWHERE : RT_SCOPE_LINK;
	rtm->rtm_type = RTN_UNICAST;
	rtm->rtm_table = route->table < 256 ? (uint8_t)route->table : RT_TABLE_COMPAT;
	mnl_attr_put_u32(nlh, RTA_TABLE, route->table);
	netlink_put_addr(nlh, RTA_DST, &route->prefix.addr);
	mnl_attr_put_u32(nlh, RTA_OIF, batch->interface->ifindex);
	return nlh;
}

static bool route_failed(void *arg, uint32_t i, int error)
{
	struct route_batch *batch = arg;

	/* What is to go and is gone already (with its interface) is no failure. */
	if (batch->remove)
		return true;
	batch->routes[i]->added = false;
	if (batch->error == 0) {
		batch->error = error;
		batch->failed = batch->routes[i];
	}
	return false;
}

static void run_routes(struct ifconfig *ifconfig, struct route_batch *batch)
{
	struct netlink_batch requests = {
		.n = batch->n, .make = make_route, .failed = route_failed, .arg = batch};
	uint32_t tried;
	int error;

	for (uint32_t i = 0; i < batch->n; i++)
		batch->routes[i]->added = true;
	error = netlink_run_batch(&ifconfig->nl, &requests, &tried);
	for (uint32_t i = tried; i < batch->n; i++)
		batch->routes[i]->added = batch->remove;
	if (error != 0 && batch->error == 0) {
		batch->error = error;
		batch->failed = batch->routes[tried < batch->n ? tried : 0];
	}
}

static uint64_t hash_prefix(const struct interface *interface, const struct ip_prefix *prefix)
{
	uint64_t words[2];

	memcpy(words, prefix->addr.bytes, sizeof(words));
	return hash_mix(hash_mix(hash_mix(interface->routes.seed,
					 (uint64_t)prefix->bits << 8 | prefix->addr.family),
				words[0]),
		words[1]);
}

static struct route *route_find(const struct interface *interface, const struct ip_prefix *prefix)
{
	uint64_t value = hash_prefix(interface, prefix);

	for (struct hash_link *link = hash_first(&interface->routes, value); link;
		link = link->next) {
		struct route *route = hash_entry(link, struct route, link);

		if (link->value == value && ip_prefix_equal(&route->prefix, prefix))
			return route;
	}
	return NULL;
}

static bool all_known(
	const struct interface *interface, const struct ip_prefix *prefixes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct ip_prefix prefix = prefixes[i];

		ip_prefix_mask(&prefix);
		if (!route_find(interface, &prefix))
			return false;
	}
	return true;
}

/* --- What the kernel has --- */

/* Asks for the listing that make() begins, again when the kernel's tables changed under it. */
static int list(struct ifconfig *ifconfig, struct interface *interface,
	struct nlmsghdr *(*make)(struct netlink *nl, const struct interface *interface, void *buf),
	mnl_cb_t on_entry)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	int error = -EINTR;

	for (unsigned i = 0; i < IFCONFIG_LIST_RETRIES && error == -EINTR; i++)
		error = netlink_ask(
			&ifconfig->nl, make(&ifconfig->nl, interface, buf), on_entry, interface);
	return error;
}

static struct nlmsghdr *ask_addresses(
	struct netlink *nl, const struct interface *interface, void *buf)
{
	struct ifaddrmsg *ifa;
	struct nlmsghdr *nlh =
		netlink_request(nl, buf, RTM_GETADDR, NLM_F_DUMP, sizeof(*ifa), (void **)&ifa);

	ifa->ifa_index = interface->ifindex;
	return nlh;
}

/* IPv4 counts from the other end of a point-to-point link. False: nothing came with the address. */
static bool network_of(const struct rtnl_addr *addr, struct ip_prefix *network)
{
	network->addr = addr->addr.family == IP_V4 ? addr->far : addr->addr;
	network->bits = addr->bits;
	if (addr->bare || (addr->addr.family == IP_V4 && addr->bits == 32 &&
				  ip_addr_equal(&addr->far, &addr->addr)))
		return false;
	ip_prefix_mask(network);
	return true;
}

static int on_address(const struct nlmsghdr *nlh, void *arg)
{
	struct interface *interface = arg;
	struct ip_prefix network;
	struct rtnl_addr addr;

	if (nlh->nlmsg_type != RTM_NEWADDR || !rtnl_parse_addr(nlh, &addr) ||
		addr.ifindex != interface->ifindex || !network_of(&addr, &network))
		return MNL_CB_OK;
	if (interface->network_count == interface->network_room) {
		uint32_t room = interface->network_room * 2 + 8;
		struct ip_prefix *grown = reallocarray(interface->networks, room, sizeof(*grown));

		/* One that is left out: a route that is not needed. */
		if (!grown)
			return MNL_CB_OK;
		interface->networks = grown;
		interface->network_room = room;
	}
	interface->networks[interface->network_count++] = network;
	return MNL_CB_OK;
}

/* By whatever addresses it has now: the operator changes them with ip(8). */
static int list_networks(struct ifconfig *ifconfig, struct interface *interface)
{
	interface->network_count = 0;
	return list(ifconfig, interface, ask_addresses, on_address);
}

/* The kernel made a route for the network of an address with the address. */
static bool covered_by_address(const struct interface *interface, const struct ip_prefix *prefix)
{
	for (uint32_t i = 0; i < interface->network_count; i++) {
		const struct ip_prefix *network = &interface->networks[i];

		if (network->addr.family == prefix->addr.family && network->bits <= prefix->bits &&
			ip_prefix_contains(network, &prefix->addr))
			return true;
	}
	return false;
}

static struct nlmsghdr *ask_routes(struct netlink *nl, const struct interface *interface, void *buf)
{
	struct rtmsg *rtm;
	struct nlmsghdr *nlh =
		netlink_request(nl, buf, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm), (void **)&rtm);

	mnl_attr_put_u32(nlh, RTA_OIF, interface->ifindex);
	return nlh;
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	const struct interface *interface = arg;
	struct fib_route found;
	struct route *route;

	if (nlh->nlmsg_type != RTM_NEWROUTE || !rtnl_parse_route(nlh, &found) ||
		found.leg_count != 1 || found.legs[0].ifindex != interface->ifindex)
		return MNL_CB_OK;
	route = route_find(interface, &found.prefix);
	if (route && route->table == found.table)
		route->seen = true;
	return MNL_CB_OK;
}

/* Tells of each route that is written down whether there is one out of the interface. */
static int see_routes(struct ifconfig *ifconfig, struct interface *interface)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&interface->routes); (link = hash_walk_next(&w));)
		hash_entry(link, struct route, link)->seen = false;
	return list(ifconfig, interface, ask_routes, on_route);
}

/* --- Adding and removing --- */

static uint32_t route_table(const struct interface *interface, const struct ip_prefix *prefix)
{
	if (interface->table == IFCONFIG_TABLE_NUMBER)
		return interface->table_number;
	return is_own_default(interface, prefix) ? interface->default_table : RT_TABLE_MAIN;
}

/*
 * Writes down the routes that are to be made, *planned of them. False: out of memory, some may be
 * left out.
 */
static bool plan_routes(struct interface *interface, const struct ip_prefix *prefixes, uint32_t n,
	struct route **routes, uint32_t *planned)
{
	*planned = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct ip_prefix prefix = prefixes[i];
		struct route *route;

		ip_prefix_mask(&prefix);
		if (route_find(interface, &prefix) ||
			(interface->table == IFCONFIG_TABLE_AUTO && prefix.bits > 0 &&
				covered_by_address(interface, &prefix)))
			continue;
		route = calloc(1, sizeof(*route));
		if (!route)
			return false;
		route->prefix = prefix;
		route->table = route_table(interface, &prefix);
		hash_insert(&interface->routes, &route->link, hash_prefix(interface, &prefix));
		routes[(*planned)++] = route;
	}
	return true;
}

/* Of these, removes those from the kernel that were added; the order of the others is lost. */
static void take_back(
	struct ifconfig *ifconfig, struct interface *interface, struct route **routes, uint32_t n)
{
	struct route_batch batch = {.interface = interface, .routes = routes, .remove = true};

	/* Those that were added first, the others behind them. */
	batch.n = n;
	for (uint32_t i = 0; i < batch.n;) {
		struct route *route = routes[i];

		if (route->added) {
			i++;
		} else {
			routes[i] = routes[--batch.n];
			routes[batch.n] = route;
		}
	}
	run_routes(ifconfig, &batch);
	for (uint32_t i = 0; i < n; i++)
		routes[i]->added = false;
}

static void remove_planned(
	struct ifconfig *ifconfig, struct interface *interface, struct route **routes, uint32_t n)
{
	take_back(ifconfig, interface, routes, n);
	for (uint32_t i = 0; i < n; i++) {
		hash_remove(&interface->routes, &routes[i]->link);
		free(routes[i]);
	}
}

/*
 * Somebody made some of the planned routes already, out of the same interface: nothing is wrong,
 * and they are not ours. False: there are none of these; or the routes are planned still, and none
 * of them is there.
 */
static bool leave_out_existing(
	struct ifconfig *ifconfig, struct interface *interface, struct route_batch *batch)
{
	uint32_t n = batch->n;

	take_back(ifconfig, interface, batch->routes, n);
	if (see_routes(ifconfig, interface) != 0)
		return false;
	for (uint32_t i = 0; i < batch->n;) {
		struct route *route = batch->routes[i];

		/* A default route in a table of its own that others use is another matter. */
		if (!route->seen || is_own_default(interface, &route->prefix)) {
			i++;
			continue;
		}
		batch->routes[i] = batch->routes[--batch->n];
		hash_remove(&interface->routes, &route->link);
		free(route);
	}
	if (batch->n == n)
		return false;
	batch->error = 0;
	return true;
}

/* The interface is there: what it lacks is IPv6. */
static bool ipv6_is_off(const struct route_batch *batch)
{
	return batch->failed->prefix.addr.family == IP_V6 &&
	       (batch->error == -ENODEV || batch->error == -EACCES || batch->error == -EOPNOTSUPP ||
		       batch->error == -EAFNOSUPPORT);
}

static void explain_route(
	const struct interface *interface, const struct route_batch *batch, char *message)
{
	const struct route *route = batch->failed;
	const char *option = route->prefix.addr.family == IP_V6 ? " -6" : "";
	char text[IP_PREFIX_STRLEN];

	ip_prefix_format(&route->prefix, text);
	if (batch->error == -EEXIST)
		snprintf(message, IFCONFIG_MESSAGE_BYTES,
			"%s: route to %s: table %u has one already: remove it (ip%s route del %s "
			"table "
			"%u), or set Table = off",
			interface->name, text, route->table, option, text, route->table);
	else if (ipv6_is_off(batch))
		snprintf(message, IFCONFIG_MESSAGE_BYTES,
			"%s: route to %s: IPv6 is off on %s (an MTU below 1280, or disable_ipv6): "
			"leave out IPv6 allowed IPs, or set Table = off",
			interface->name, text, interface->name);
	else
		snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: route to %s: %s", interface->name,
			text, ifconfig_explain(batch->error, NULL));
}

int routes_add(struct ifconfig *ifconfig, struct interface *interface,
	const struct ip_prefix *prefixes, uint32_t n, char *message)
{
	struct route_batch batch = {.interface = interface};
	int error = 0;

	if (interface->table == IFCONFIG_TABLE_OFF || n == 0)
		return 0;
	for (uint32_t i = 0; i < n && error == 0 && interface->default_table == 0; i++) {
		if (is_own_default(interface, &prefixes[i]))
			error = default_find_table(ifconfig, interface, message);
	}
	if (error != 0)
		return error;
	/* Not for those that are known: they may be tried one by one. */
	if (interface->table == IFCONFIG_TABLE_AUTO && !all_known(interface, prefixes, n)) {
		error = list_networks(ifconfig, interface);
		if (error != 0) {
			snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: listing its addresses: %s",
				interface->name, ifconfig_explain(error, NULL));
			return error;
		}
	}
	batch.routes = calloc((size_t)n + 1, sizeof(struct route *));
	if (!batch.routes || !plan_routes(interface, prefixes, n, batch.routes, &batch.n)) {
		snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: out of memory", interface->name);
		error = -ENOMEM;
	} else {
		run_routes(ifconfig, &batch);
		if (batch.error == -EEXIST && leave_out_existing(ifconfig, interface, &batch))
			run_routes(ifconfig, &batch);
		error = batch.error;
		if (error != 0)
			explain_route(interface, &batch, message);
		else
			error = default_add_rules(
				ifconfig, interface, batch.routes, batch.n, message);
	}
	if (error != 0)
		remove_planned(ifconfig, interface, batch.routes, batch.n);
	free(batch.routes);
	return error;
}

void ifconfig_remove_routes(
	struct ifconfig *ifconfig, uint32_t ifindex, const struct ip_prefix *prefixes, uint32_t n)
{
	struct interface *interface = ifconfig_find(ifconfig, ifindex);
	struct route **routes = interface ? calloc((size_t)n + 1, sizeof(struct route *)) : NULL;
	uint32_t found = 0;

	if (!routes)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct ip_prefix prefix = prefixes[i];
		struct route *route;

		ip_prefix_mask(&prefix);
		/* They are there longer than their route, when the kernel took that. */
		if (is_own_default(interface, &prefix))
			default_remove_rules(ifconfig, interface, prefix.addr.family);
		route = route_find(interface, &prefix);
		if (!route || !route->added)
			continue;
		/* Named twice, it is found once. */
		route->added = false;
		routes[found++] = route;
	}
	for (uint32_t i = 0; i < found; i++)
		routes[i]->added = true;
	remove_planned(ifconfig, interface, routes, found);
	free(routes);
}

int ifconfig_forget_lost_routes(struct ifconfig *ifconfig, uint32_t ifindex)
{
	struct interface *interface = ifconfig_find(ifconfig, ifindex);
	struct hash_link *link;
	int error = interface ? see_routes(ifconfig, interface) : -ENODEV;

	if (error != 0)
		return error;
	for (struct hash_walk w = hash_walk_begin(&interface->routes);
		(link = hash_walk_next(&w));) {
		struct route *route = hash_entry(link, struct route, link);

		if (route->seen)
			continue;
		hash_remove(&interface->routes, link);
		free(route);
	}
	return 0;
}

void routes_remove(struct ifconfig *ifconfig, struct interface *interface)
{
	uint32_t n = interface->routes.count, i = 0;
	struct route **routes = calloc((size_t)n + 1, sizeof(struct route *));
	struct hash_link *link;

	/* Without memory they go with the interface. */
	if (!routes)
		return;
	for (struct hash_walk w = hash_walk_begin(&interface->routes); (link = hash_walk_next(&w));)
		routes[i++] = hash_entry(link, struct route, link);
	remove_planned(ifconfig, interface, routes, n);
	free(routes);
}
