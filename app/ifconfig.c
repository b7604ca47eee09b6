/* SPDX-License-Identifier: BSD-3-Clause */
/* See ifconfig.h. */
#include "ifconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>

#include "hash.h"
#include "netlink.h"
#include "policy.h"
#include "rtnl.h"

#define SRC_VALID_MARK "/proc/sys/net/ipv4/conf/all/src_valid_mark"
/* Tables that are looked at to find an empty one. */
#define TABLES_TRIED 256
/* A listing that the kernel's tables changed under is made again. */
#define LIST_RETRIES 10

struct route {
	struct hash_link link;
	struct ip_prefix prefix;
	uint32_t table;
	bool added;
};

/* The policy rules of a default route of one family. */
struct default_rules {
	bool marked, narrow_main; /* which of the two are there */
	uint32_t marked_priority, narrow_main_priority;
};

/* What was done for one interface; undone from the bottom up. */
struct interface {
	struct interface *earlier;
	char name[IFCONFIG_NAME_BYTES];
	uint32_t ifindex;
	enum ifconfig_table table;
	uint32_t table_number;
	uint32_t fwmark;
	struct ip_prefix *addresses; /* the first address_count were added */
	uint32_t address_count;
	uint32_t old_mtu; /* 0: not changed */
	bool set_up;
	struct hash routes;
	uint32_t default_table; /* 0: none */
	bool set_src_valid_mark;
	struct default_rules rules_v4, rules_v6;
};

struct ifconfig {
	struct netlink nl;
	struct interface *last;
};

static int set_addresses(struct ifconfig *ifconfig, struct interface *interface,
	const struct ifconfig_request *request, char *message);
static int set_link(
	struct ifconfig *ifconfig, struct interface *interface, uint16_t mtu, char *message);
static int add_routes(struct ifconfig *ifconfig, struct interface *interface,
	const struct ip_prefix *prefixes, uint32_t n, char *message);
static void undo(struct ifconfig *ifconfig, struct interface *interface);
static int find_default_table(
	struct ifconfig *ifconfig, struct interface *interface, char *message);

struct ifconfig *ifconfig_create(void)
{
	struct ifconfig *ifconfig = calloc(1, sizeof(*ifconfig));
	int error;

	if (!ifconfig)
		return NULL;
	error = netlink_open(&ifconfig->nl);
	if (error == 0)
		return ifconfig;
	free(ifconfig);
	errno = -error;
	return NULL;
}

static void interface_free(struct interface *interface)
{
	struct hash_link *link;

	for (struct hash_walk w = hash_walk_begin(&interface->routes); (link = hash_walk_next(&w));)
		free(hash_entry(link, struct route, link));
	hash_free(&interface->routes);
	free(interface->addresses);
	free(interface);
}

void ifconfig_destroy(struct ifconfig *ifconfig)
{
	if (!ifconfig)
		return;
	for (struct interface *interface = ifconfig->last, *earlier; interface;
		interface = earlier) {
		earlier = interface->earlier;
		undo(ifconfig, interface);
		interface_free(interface);
	}
	netlink_close(&ifconfig->nl);
	free(ifconfig);
}

static struct interface *interface_find(const struct ifconfig *ifconfig, uint32_t ifindex)
{
	struct interface *interface = ifconfig->last;

	while (interface && interface->ifindex != ifindex)
		interface = interface->earlier;
	return interface;
}

static struct interface *interface_create(const struct ifconfig_request *request)
{
	struct interface *interface = calloc(1, sizeof(*interface));

	if (!interface)
		return NULL;
	interface->addresses = calloc(request->address_count + 1, sizeof(*interface->addresses));
	if (hash_init(&interface->routes) || !interface->addresses) {
		hash_free(&interface->routes);
		free(interface->addresses);
		free(interface);
		return NULL;
	}
	snprintf(interface->name, sizeof(interface->name), "%s", request->name);
	interface->ifindex = request->ifindex;
	interface->table = request->table;
	interface->table_number = request->table_number;
	interface->fwmark = request->fwmark;
	return interface;
}

int ifconfig_apply(struct ifconfig *ifconfig, const struct ifconfig_request *request,
	char message[IFCONFIG_MESSAGE_BYTES])
{
	struct interface *interface = interface_create(request);
	int error;

	if (!interface) {
		snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: out of memory", request->name);
		return -ENOMEM;
	}
	error = set_addresses(ifconfig, interface, request, message);
	if (error == 0)
		error = set_link(ifconfig, interface, request->mtu, message);
	if (error == 0)
		error = add_routes(
			ifconfig, interface, request->routes, request->route_count, message);
	if (error != 0) {
		undo(ifconfig, interface);
		interface_free(interface);
		return error;
	}
	interface->earlier = ifconfig->last;
	ifconfig->last = interface;
	return 0;
}

void ifconfig_undo(struct ifconfig *ifconfig, uint32_t ifindex)
{
	struct interface **at = &ifconfig->last, *interface;

	while (*at && (*at)->ifindex != ifindex)
		at = &(*at)->earlier;
	interface = *at;
	if (!interface)
		return;
	*at = interface->earlier;
	undo(ifconfig, interface);
	interface_free(interface);
}

int ifconfig_add_routes(struct ifconfig *ifconfig, uint32_t ifindex,
	const struct ip_prefix *prefixes, uint32_t n, char message[IFCONFIG_MESSAGE_BYTES])
{
	struct interface *interface = interface_find(ifconfig, ifindex);

	if (interface)
		return add_routes(ifconfig, interface, prefixes, n, message);
	snprintf(message, IFCONFIG_MESSAGE_BYTES, "interface %u was not set up here", ifindex);
	return -ENODEV;
}

uint32_t ifconfig_fwmark(const struct ifconfig *ifconfig, uint32_t ifindex)
{
	const struct interface *interface = interface_find(ifconfig, ifindex);

	return interface ? interface->default_table : 0;
}

unsigned ifconfig_own_tables(const struct ifconfig *ifconfig, uint32_t *tables, unsigned limit)
{
	unsigned n = 0;

	for (const struct interface *at = ifconfig->last; at && n < limit; at = at->earlier) {
		if (at->default_table != 0)
			tables[n++] = at->default_table;
	}
	return n;
}

/* What an errno of the kernel means here, and what would be right. */
static const char *explain(int error, const char *otherwise)
{
	switch (-error) {
	case EPERM:
		return "not permitted: run as root or with CAP_NET_ADMIN";
	case ENODEV:
		return "there is no such interface any more";
	case ENOMEM:
	case ENOBUFS:
		return "the kernel is out of memory";
	default:
		return otherwise ? otherwise : strerror(-error);
	}
}

/* Addresses. */

static struct nlmsghdr *make_address(struct ifconfig *ifconfig, const struct interface *interface,
	const struct ip_prefix *address, uint16_t type, uint16_t flags, void *buf)
{
	struct ifaddrmsg *ifa;
	struct nlmsghdr *nlh = netlink_request(&ifconfig->nl, buf, type,
		(uint16_t)(flags | NLM_F_ACK), sizeof(*ifa), (void **)&ifa);

	ifa->ifa_family = netlink_family(address->addr.family);
	ifa->ifa_prefixlen = address->bits;
	ifa->ifa_index = interface->ifindex;
	netlink_put_addr(nlh, IFA_LOCAL, &address->addr);
	netlink_put_addr(nlh, IFA_ADDRESS, &address->addr);
	return nlh;
}

static const char *explain_address(int error, uint8_t family)
{
	if (error == -EEXIST)
		return "it is there already: list each address once";
	if (family == IP_V6 && (error == -EACCES || error == -EOPNOTSUPP || error == -EAFNOSUPPORT))
		return "the kernel has IPv6 disabled: enable it "
		       "(sysctl net.ipv6.conf.all.disable_ipv6=0) or leave out the address";
	if (family == IP_V6 && error == -EINVAL)
		return "not a usable address, or the interface's MTU is below 1280";
	return NULL;
}

static int set_addresses(struct ifconfig *ifconfig, struct interface *interface,
	const struct ifconfig_request *request, char *message)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];

	for (uint32_t i = 0; i < request->address_count; i++) {
		const struct ip_prefix *address = &request->addresses[i];
		char text[IP_PREFIX_STRLEN];
		int error = netlink_ask(&ifconfig->nl,
			make_address(ifconfig, interface, address, RTM_NEWADDR,
				NLM_F_CREATE | NLM_F_EXCL, buf),
			NULL, NULL);

		if (error != 0) {
			snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: address %s: %s",
				interface->name, ip_prefix_format(address, text),
				explain(error, explain_address(error, address->addr.family)));
			return error;
		}
		interface->addresses[interface->address_count++] = *address;
	}
	return 0;
}

static void remove_addresses(struct ifconfig *ifconfig, struct interface *interface)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];

	while (interface->address_count > 0) {
		interface->address_count--;
		netlink_ask(&ifconfig->nl,
			make_address(ifconfig, interface,
				&interface->addresses[interface->address_count], RTM_DELADDR, 0,
				buf),
			NULL, NULL);
	}
}

/* MTU and link up. */

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
	if (nlh->nlmsg_type == RTM_NEWLINK)
		rtnl_parse_link(nlh, arg);
	return MNL_CB_OK;
}

static int get_link(
	struct ifconfig *ifconfig, const struct interface *interface, struct rtnl_link *link)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh =
		netlink_request(&ifconfig->nl, buf, RTM_GETLINK, 0, sizeof(*ifi), (void **)&ifi);

	memset(link, 0, sizeof(*link));
	ifi->ifi_index = (int)interface->ifindex;
	return netlink_ask(&ifconfig->nl, nlh, on_link, link);
}

static int change_mtu(struct ifconfig *ifconfig, const struct interface *interface, uint32_t mtu)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = netlink_request(
		&ifconfig->nl, buf, RTM_NEWLINK, NLM_F_ACK, sizeof(*ifi), (void **)&ifi);

	ifi->ifi_index = (int)interface->ifindex;
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	return netlink_ask(&ifconfig->nl, nlh, NULL, NULL);
}

static int change_up(struct ifconfig *ifconfig, const struct interface *interface, bool up)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = netlink_request(
		&ifconfig->nl, buf, RTM_NEWLINK, NLM_F_ACK, sizeof(*ifi), (void **)&ifi);

	ifi->ifi_index = (int)interface->ifindex;
	ifi->ifi_change = IFF_UP;
	ifi->ifi_flags = up ? IFF_UP : 0;
	return netlink_ask(&ifconfig->nl, nlh, NULL, NULL);
}

static int set_link(
	struct ifconfig *ifconfig, struct interface *interface, uint16_t mtu, char *message)
{
	struct rtnl_link link;
	int error = get_link(ifconfig, interface, &link);

	if (error == 0 && mtu != 0 && mtu != link.mtu) {
		error = change_mtu(ifconfig, interface, mtu);
		if (error != 0) {
			snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: MTU %u: %s", interface->name,
				mtu,
				explain(error,
					error == -EINVAL ? "out of the kernel's range" : NULL));
			return error;
		}
		interface->old_mtu = link.mtu;
	}
	if (error == 0 && !link.up) {
		error = change_up(ifconfig, interface, true);
		interface->set_up = error == 0;
	}
	if (error != 0)
		snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: setting the link up: %s",
			interface->name, explain(error, NULL));
	return error;
}

/* Routes. */

/* Those in one go: what to do with which. */
struct route_batch {
	const struct interface *interface;
	struct route **routes;
	uint32_t n;
	bool remove;
	int error; /* of the first that failed */
	uint32_t failed;
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
		batch->failed = i;
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
		batch->failed = tried < batch->n ? tried : 0;
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

/* The kernel made a route for the network of an address with the address. */
static bool covered_by_address(const struct interface *interface, const struct ip_prefix *prefix)
{
	for (uint32_t i = 0; i < interface->address_count; i++) {
		struct ip_prefix network = interface->addresses[i];

		if (network.addr.family != prefix->addr.family || network.bits > prefix->bits ||
			(network.addr.family == IP_V4 && network.bits == 32))
			continue;
		ip_prefix_mask(&network);
		if (ip_prefix_contains(&network, &prefix->addr))
			return true;
	}
	return false;
}

static bool is_own_default(const struct interface *interface, const struct ip_prefix *prefix)
{
	return interface->table == IFCONFIG_TABLE_AUTO && prefix->bits == 0;
}

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

static void remove_planned(
	struct ifconfig *ifconfig, struct interface *interface, struct route **routes, uint32_t n)
{
	struct route_batch batch = {.interface = interface, .routes = routes, .remove = true};
	uint32_t kept = n;

	/* Those that were added first, the others behind them. */
	for (uint32_t i = 0; i < kept;) {
		struct route *route = routes[i];

		if (route->added) {
			i++;
		} else {
			routes[i] = routes[--kept];
			routes[kept] = route;
		}
	}
	batch.n = kept;
	run_routes(ifconfig, &batch);
	for (uint32_t i = 0; i < n; i++) {
		hash_remove(&interface->routes, &routes[i]->link);
		free(routes[i]);
	}
}

static void explain_route(
	const struct interface *interface, const struct route_batch *batch, char *message)
{
	const struct route *route = batch->routes[batch->failed];
	const char *option = route->prefix.addr.family == IP_V6 ? " -6" : "";
	char text[IP_PREFIX_STRLEN];

	ip_prefix_format(&route->prefix, text);
	if (batch->error == -EEXIST)
		snprintf(message, IFCONFIG_MESSAGE_BYTES,
			"%s: route to %s: table %u has one already: remove it (ip%s route del %s "
			"table "
			"%u), or set Table = off",
			interface->name, text, route->table, option, text, route->table);
	else
		snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: route to %s: %s", interface->name,
			text, explain(batch->error, NULL));
}

static int add_default_rules(struct ifconfig *ifconfig, struct interface *interface,
	struct route *const *routes, uint32_t n, char *message);
static void remove_default_rules(
	struct ifconfig *ifconfig, struct interface *interface, uint8_t family);

static int add_routes(struct ifconfig *ifconfig, struct interface *interface,
	const struct ip_prefix *prefixes, uint32_t n, char *message)
{
	struct route_batch batch = {.interface = interface};
	int error = 0;

	if (interface->table == IFCONFIG_TABLE_OFF || n == 0)
		return 0;
	for (uint32_t i = 0; i < n && error == 0 && interface->default_table == 0; i++) {
		if (is_own_default(interface, &prefixes[i]))
			error = find_default_table(ifconfig, interface, message);
	}
	if (error != 0)
		return error;
	batch.routes = calloc((size_t)n + 1, sizeof(struct route *));
	if (!batch.routes || !plan_routes(interface, prefixes, n, batch.routes, &batch.n)) {
		snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: out of memory", interface->name);
		error = -ENOMEM;
	} else {
		run_routes(ifconfig, &batch);
		error = batch.error;
		if (error != 0)
			explain_route(interface, &batch, message);
		else
			error = add_default_rules(
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
	struct interface *interface = interface_find(ifconfig, ifindex);
	struct route **routes = interface ? calloc((size_t)n + 1, sizeof(struct route *)) : NULL;
	uint32_t found = 0;

	if (!routes)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct ip_prefix prefix = prefixes[i];
		struct route *route;

		ip_prefix_mask(&prefix);
		route = route_find(interface, &prefix);
		if (!route || !route->added)
			continue;
		/* Named twice, it is found once. */
		route->added = false;
		routes[found++] = route;
		if (is_own_default(interface, &prefix))
			remove_default_rules(ifconfig, interface, prefix.addr.family);
	}
	for (uint32_t i = 0; i < found; i++)
		routes[i]->added = true;
	remove_planned(ifconfig, interface, routes, found);
	free(routes);
}

/* A default route: its table and rules. */

struct table_use {
	uint32_t table;
	bool used;
};

static int on_table_route(const struct nlmsghdr *nlh, void *arg)
{
	struct table_use *use = arg;
	struct fib_route route;

	if (nlh->nlmsg_type == RTM_NEWROUTE && rtnl_parse_route(nlh, &route) &&
		route.table == use->table)
		use->used = true;
	return MNL_CB_OK;
}

static int table_used(struct ifconfig *ifconfig, uint8_t family, uint32_t table, bool *used)
{
	struct table_use use = {.table = table};
	uint8_t buf[NETLINK_REQUEST_BYTES];
	int error = -EINTR;

	for (unsigned i = 0; i < LIST_RETRIES && error == -EINTR; i++) {
		struct rtmsg *rtm;
		struct nlmsghdr *nlh = netlink_request(
			&ifconfig->nl, buf, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm), (void **)&rtm);

		rtm->rtm_family = netlink_family(family);
		mnl_attr_put_u32(nlh, RTA_TABLE, table);
		error = netlink_ask(&ifconfig->nl, nlh, on_table_route, &use);
	}
	*used |= use.used;
	/* A table without routes may not exist at all, nor may the family. */
	return error == -ENOENT || error == -EAFNOSUPPORT || error == -EOPNOTSUPP ? 0 : error;
}

static bool is_default_table(const struct ifconfig *ifconfig, uint32_t table)
{
	for (const struct interface *at = ifconfig->last; at; at = at->earlier) {
		if (at->default_table == table)
			return true;
	}
	return false;
}

static int find_default_table(struct ifconfig *ifconfig, struct interface *interface, char *message)
{
	uint32_t table = IFCONFIG_FIRST_TABLE;

	/* Who sets the mark chooses the table. */
	if (interface->fwmark != 0) {
		interface->default_table = interface->fwmark;
		return 0;
	}
	for (; table < IFCONFIG_FIRST_TABLE + TABLES_TRIED; table++) {
		bool used = is_default_table(ifconfig, table);
		int error = table_used(ifconfig, IP_V4, table, &used);

		if (error == 0)
			error = table_used(ifconfig, IP_V6, table, &used);
		if (error != 0) {
			snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: listing routes: %s",
				interface->name, explain(error, NULL));
			return error;
		}
		if (!used) {
			interface->default_table = table;
			return 0;
		}
	}
	snprintf(message, IFCONFIG_MESSAGE_BYTES,
		"%s: no empty routing table between %u and %u for the default route: set FwMark to "
		"the number of one, or Table",
		interface->name, IFCONFIG_FIRST_TABLE, table - 1);
	return -EEXIST;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	uint32_t *first = arg;
	struct policy_rule rule;

	if (nlh->nlmsg_type == RTM_NEWRULE && rtnl_parse_rule(nlh, &rule) && rule.priority != 0 &&
		rule.priority < *first)
		*first = rule.priority;
	return MNL_CB_OK;
}

/* The priority of the first rule behind the local table. */
static int first_priority(struct ifconfig *ifconfig, uint8_t family, uint32_t *first)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	int error = -EINTR;

	for (unsigned i = 0; i < LIST_RETRIES && error == -EINTR; i++) {
		struct fib_rule_hdr *frh;
		struct nlmsghdr *nlh = netlink_request(
			&ifconfig->nl, buf, RTM_GETRULE, NLM_F_DUMP, sizeof(*frh), (void **)&frh);

		frh->family = netlink_family(family);
		*first = 32766;
		error = netlink_ask(&ifconfig->nl, nlh, on_rule, first);
	}
	return error;
}

static int change_rule(struct ifconfig *ifconfig, uint8_t family, uint32_t priority, uint32_t table,
	bool marked, bool remove)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct fib_rule_hdr *frh;
	uint16_t flags = remove ? NLM_F_ACK : NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
	struct nlmsghdr *nlh = netlink_request(&ifconfig->nl, buf,
		remove ? RTM_DELRULE : RTM_NEWRULE, flags, sizeof(*frh), (void **)&frh);

	frh->family = netlink_family(family);
	frh->action = FR_ACT_TO_TBL;
	frh->table = table < 256 ? (uint8_t)table : RT_TABLE_UNSPEC;
	mnl_attr_put_u32(nlh, FRA_TABLE, table);
	mnl_attr_put_u32(nlh, FRA_PRIORITY, priority);
	if (marked) {
		frh->flags = FIB_RULE_INVERT;
		mnl_attr_put_u32(nlh, FRA_FWMARK, table);
	} else {
		mnl_attr_put_u32(nlh, FRA_SUPPRESS_PREFIXLEN, 0);
	}
	return netlink_ask(&ifconfig->nl, nlh, NULL, NULL);
}

static struct default_rules *rules_of(struct interface *interface, uint8_t family)
{
	return family == IP_V4 ? &interface->rules_v4 : &interface->rules_v6;
}

static void remove_default_rules(
	struct ifconfig *ifconfig, struct interface *interface, uint8_t family)
{
	struct default_rules *rules = rules_of(interface, family);

	if (rules->narrow_main)
		change_rule(
			ifconfig, family, rules->narrow_main_priority, RT_TABLE_MAIN, false, true);
	if (rules->marked)
		change_rule(ifconfig, family, rules->marked_priority, interface->default_table,
			true, true);
	rules->narrow_main = rules->marked = false;
}

/*
 * Both before all rules but that of the local table, the narrow lookup of main first: before the
 * rules of an earlier interface's default route, too.
 */
static int add_rules_of(struct ifconfig *ifconfig, struct interface *interface, uint8_t family)
{
	struct default_rules *rules = rules_of(interface, family);
	uint32_t first;
	int error = first_priority(ifconfig, family, &first);

	if (error != 0)
		return error;
	if (first < 3)
		return -ERANGE;
	rules->marked_priority = first - 1;
	rules->narrow_main_priority = first - 2;
	error = change_rule(
		ifconfig, family, rules->narrow_main_priority, RT_TABLE_MAIN, false, false);
	rules->narrow_main = error == 0;
	if (error != 0)
		return error;
	error = change_rule(
		ifconfig, family, rules->marked_priority, interface->default_table, true, false);
	rules->marked = error == 0;
	if (error != 0)
		remove_default_rules(ifconfig, interface, family);
	return error;
}

static bool write_flag(const char *path, char value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, &value, 1) == 1;

	if (fd >= 0)
		close(fd);
	return written;
}

/*
 * The reverse path filter is to judge what comes for our sockets with their mark. Where it cannot
 * be set (a container's read-only /proc) nothing is lost unless the filter is on, which is the
 * operator's to know.
 */
static void set_src_valid_mark(struct interface *interface)
{
	int fd = open(SRC_VALID_MARK, O_RDONLY | O_CLOEXEC);
	char value = '1';

	if (fd < 0)
		return;
	if (read(fd, &value, 1) == 1 && value == '0')
		interface->set_src_valid_mark |= write_flag(SRC_VALID_MARK, '1');
	close(fd);
}

static int add_default_rules(struct ifconfig *ifconfig, struct interface *interface,
	struct route *const *routes, uint32_t n, char *message)
{
	int error = 0;
	uint8_t done[2] = {IP_NONE, IP_NONE};
	unsigned count = 0;

	for (uint32_t i = 0; i < n && error == 0; i++) {
		uint8_t family = routes[i]->prefix.addr.family;

		if (!is_own_default(interface, &routes[i]->prefix))
			continue;
		error = add_rules_of(ifconfig, interface, family);
		if (error == 0)
			done[count++] = family;
		if (error == 0 && family == IP_V4)
			set_src_valid_mark(interface);
	}
	if (error == 0)
		return 0;
	while (count > 0)
		remove_default_rules(ifconfig, interface, done[--count]);
	snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: policy rules for the default route: %s",
		interface->name,
		explain(error,
			error == -ERANGE
				? "no priority is free before the first rule: move it (ip rule)"
				: NULL));
	return error;
}

/* The end. */

static void remove_routes(struct ifconfig *ifconfig, struct interface *interface)
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

/* The setting goes with the last default route that wants it. */
static void undo_src_valid_mark(struct ifconfig *ifconfig, struct interface *interface)
{
	if (!interface->set_src_valid_mark)
		return;
	for (struct interface *at = ifconfig->last; at; at = at->earlier) {
		if (at != interface && at->rules_v4.marked) {
			at->set_src_valid_mark = true;
			return;
		}
	}
	write_flag(SRC_VALID_MARK, '0');
}

static void undo(struct ifconfig *ifconfig, struct interface *interface)
{
	remove_default_rules(ifconfig, interface, IP_V6);
	remove_default_rules(ifconfig, interface, IP_V4);
	undo_src_valid_mark(ifconfig, interface);
	remove_routes(ifconfig, interface);
	if (interface->set_up)
		change_up(ifconfig, interface, false);
	if (interface->old_mtu != 0)
		change_mtu(ifconfig, interface, interface->old_mtu);
	remove_addresses(ifconfig, interface);
}
