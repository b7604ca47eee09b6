/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of rtnetlink as the mirror's values. Pure functions of a message; false when it is
 * malformed or of a kind that the mirror leaves out.
 */
#ifndef APP_RTNL_H
#define APP_RTNL_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/netlink.h>

#include "base/addr.h"
#include "fib.h"
#include "policy.h"

struct rtnl_neighbour {
	uint32_t ifindex;
	struct ip_addr addr;
	bool resolved, stale;
	uint8_t mac[MIRROR_MAC_BYTES];
};

struct rtnl_link {
	uint32_t ifindex;
	uint32_t mtu;
	bool up;      /* set up by the administrator */
	bool running; /* and able to pass packets */
};

/* Sockets take it (not tentative, not a duplicate). */
/* Of IPv4 one may be there several times, with other lengths or other ends. */
struct rtnl_addr {
	uint32_t ifindex;
	struct ip_addr addr;
	struct ip_addr far; /* of a point-to-point link; otherwise the same */
	uint8_t bits;
	bool usable;
	bool bare; /* no route to its network was made along with it */
};

/* A route, not a cache entry. */
bool rtnl_parse_route(const struct nlmsghdr *nlh, struct fib_route *out);
/* The id of a nexthop object; 0: it names none. */
uint32_t rtnl_parse_nexthop(const struct nlmsghdr *nlh);
/* An entry of ARP or ND, not a proxy's. */
bool rtnl_parse_neighbour(const struct nlmsghdr *nlh, struct rtnl_neighbour *out);
bool rtnl_parse_link(const struct nlmsghdr *nlh, struct rtnl_link *out);
bool rtnl_parse_addr(const struct nlmsghdr *nlh, struct rtnl_addr *out);
bool rtnl_parse_rule(const struct nlmsghdr *nlh, struct policy_rule *out);
/* Whether this interface (NETCONFA_IFINDEX_ALL: all together) forwards packets of the family; false
 * also when the message is not about that. */
bool rtnl_parse_forwarding(const struct nlmsghdr *nlh, uint8_t *family, int32_t *ifindex, bool *on);

#endif
