/* SPDX-License-Identifier: BSD-3-Clause */
/* See ifconfig.h. Interfaces that were set up, their addresses, MTU and link. */
#include "ifconfig_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>

#include "rtnl.h"

static int set_addresses(struct ifconfig *ifconfig, struct interface *interface,
	const struct ifconfig_request *request, char *message);
static int set_link(
	struct ifconfig *ifconfig, struct interface *interface, uint16_t mtu, char *message);
static void undo(struct ifconfig *ifconfig, struct interface *interface);

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
	free(interface->networks);
	free(interface);
}

void ifconfig_destroy(struct ifconfig *ifconfig)
{
	if (!ifconfig)
		return;
	for (struct interface *interface = ifconfig->last, *earlier; interface;
		interface = earlier) {
		earlier = ifconfig->last = interface->earlier;
		undo(ifconfig, interface);
		interface_free(interface);
	}
	netlink_close(&ifconfig->nl);
	free(ifconfig);
}

struct interface *ifconfig_find(const struct ifconfig *ifconfig, uint32_t ifindex)
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

	message[0] = '\0';
	if (!interface) {
		snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: out of memory", request->name);
		return -ENOMEM;
	}
	error = set_addresses(ifconfig, interface, request, message);
	if (error == 0)
		error = set_link(ifconfig, interface, request->mtu, message);
	if (error == 0)
		error = routes_add(
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
	struct interface *interface = ifconfig_find(ifconfig, ifindex);

	message[0] = '\0';
	if (interface)
		return routes_add(ifconfig, interface, prefixes, n, message);
	snprintf(message, IFCONFIG_MESSAGE_BYTES, "interface %u was not set up here", ifindex);
	return -ENODEV;
}

void ifconfig_set_fwmark(struct ifconfig *ifconfig, uint32_t ifindex, uint32_t fwmark)
{
	struct interface *interface = ifconfig_find(ifconfig, ifindex);

	if (!interface || fwmark == 0 || fwmark == interface->default_table ||
		interface->rules_v4.marked || interface->rules_v6.marked)
		return;
	interface->fwmark = fwmark;
	interface->default_table = 0; /* is chosen with the route */
}

uint32_t ifconfig_fwmark(const struct ifconfig *ifconfig, uint32_t ifindex)
{
	const struct interface *interface = ifconfig_find(ifconfig, ifindex);

	return interface && (interface->rules_v4.marked || interface->rules_v6.marked)
		       ? interface->default_table
		       : 0;
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
const char *ifconfig_explain(int error, const char *otherwise)
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
				ifconfig_explain(
					error, explain_address(error, address->addr.family)));
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
				ifconfig_explain(error,
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
			interface->name, ifconfig_explain(error, NULL));
	return error;
}

static void undo(struct ifconfig *ifconfig, struct interface *interface)
{
	default_remove_rules(ifconfig, interface, IP_V6);
	default_remove_rules(ifconfig, interface, IP_V4);
	routes_remove(ifconfig, interface);
	if (interface->set_up)
		change_up(ifconfig, interface, false);
	if (interface->old_mtu != 0)
		change_mtu(ifconfig, interface, interface->old_mtu);
	remove_addresses(ifconfig, interface);
}
