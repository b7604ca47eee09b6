/* SPDX-License-Identifier: BSD-3-Clause */
/* See rtnl.h. */
#include "rtnl.h"

#include <string.h>
#include <sys/socket.h>

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include "hash.h"
#include "netlink.h"

static bool parse_gateway(
	const struct nlattr *gateway, const struct nlattr *via, uint8_t family, struct ip_addr *out)
{
	const struct rtvia *rtvia;

	memset(out, 0, sizeof(*out));
	if (gateway)
		return netlink_get_addr(gateway, family, out);
	if (!via)
		return true;
	/* A gateway of the other family. */
	rtvia = mnl_attr_get_payload(via);
	if (mnl_attr_get_payload_len(via) < sizeof(*rtvia) + 4 ||
		netlink_ip_family((uint8_t)rtvia->rtvia_family) == IP_NONE)
		return false;
	out->family = netlink_ip_family((uint8_t)rtvia->rtvia_family);
	if (mnl_attr_get_payload_len(via) < sizeof(*rtvia) + ip_family_bits(out->family) / 8) {
		out->family = IP_NONE;
		return false;
	}
	memcpy(out->bytes, rtvia->rtvia_addr, ip_family_bits(out->family) / 8);
	return true;
}

/* What is wrapped on its way leads out of no interface that the fast path could send through. */
static uint32_t leg_ifindex(const struct nlattr **attrs, uint32_t ifindex)
{
	return attrs[RTA_ENCAP] ? 0 : ifindex;
}

static bool parse_multipath(const struct nlattr *multipath, uint8_t family, struct fib_route *out)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(multipath);
	int left = mnl_attr_get_payload_len(multipath);

	/* RTNH_OK() reads the header before it looks whether there is one. */
	for (; left >= (int)sizeof(*hop) && RTNH_OK(hop, left) && out->leg_count < FIB_LEGS;
		left -= (int)RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
		const struct nlattr *attrs[RTA_ENCAP + 1];
		struct fib_leg *leg = &out->legs[out->leg_count++];

		netlink_attrs_in(RTNH_DATA(hop), hop->rtnh_len - sizeof(*hop), attrs, RTA_ENCAP);
		leg->ifindex = leg_ifindex(attrs, (uint32_t)hop->rtnh_ifindex);
		leg->dead = hop->rtnh_flags & RTNH_F_DEAD;
		if (!parse_gateway(attrs[RTA_GATEWAY], attrs[RTA_VIA], family, &leg->gateway))
			return false;
	}
	return out->leg_count > 0;
}

static uint64_t mix_attr(uint64_t value, const struct nlattr *attr)
{
	const uint8_t *bytes = attr ? mnl_attr_get_payload(attr) : NULL;
	size_t n = attr ? mnl_attr_get_payload_len(attr) : 0;

	value = hash_mix(value, n);
	for (size_t i = 0; i < n; i++)
		value = hash_mix(value, bytes[i]);
	return value;
}

/*
 * IPv4 knows several routes of the same prefix, TOS, metric and path when one of these differs.
 * IPv6 does not.
 */
static uint64_t route_rest(const struct rtmsg *rtm, const struct nlattr **attrs)
{
	uint64_t value = hash_mix(1, (uint64_t)rtm->rtm_protocol << 8 | rtm->rtm_scope);

	if (rtm->rtm_family != AF_INET)
		return 0;
	return mix_attr(mix_attr(value, attrs[RTA_PREFSRC]), attrs[RTA_METRICS]);
}

static uint16_t route_mtu(const struct nlattr *metrics)
{
	const struct nlattr *attrs[RTAX_MTU + 1];
	uint32_t mtu;

	if (!metrics)
		return 0;
	netlink_attrs_in(
		mnl_attr_get_payload(metrics), mnl_attr_get_payload_len(metrics), attrs, RTAX_MTU);
	mtu = netlink_get_u32(attrs[RTAX_MTU], 0);
	return mtu < UINT16_MAX ? (uint16_t)mtu : UINT16_MAX;
}

bool rtnl_parse_route(const struct nlmsghdr *nlh, struct fib_route *out)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attrs[RTA_NH_ID + 1];

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm) || rtm->rtm_flags & RTM_F_CLONED ||
		netlink_ip_family(rtm->rtm_family) == IP_NONE)
		return false;
	netlink_attrs(nlh, sizeof(*rtm), attrs, RTA_NH_ID);
	memset(out, 0, sizeof(*out));
	out->prefix.addr.family = netlink_ip_family(rtm->rtm_family);
	if (attrs[RTA_DST] && !netlink_get_addr(attrs[RTA_DST], rtm->rtm_family, &out->prefix.addr))
		return false;
	out->prefix.bits = rtm->rtm_dst_len;
	if (out->prefix.bits > ip_family_bits(out->prefix.addr.family))
		return false;
	ip_prefix_mask(&out->prefix);
	out->table = netlink_get_u32(attrs[RTA_TABLE], rtm->rtm_table);
	out->priority = netlink_get_u32(attrs[RTA_PRIORITY], 0);
	/* A route for one source is as much for certain packets only as one for a TOS. */
	out->tos = rtm->rtm_src_len != 0 ? UINT8_MAX : rtm->rtm_tos;
	out->type = rtm->rtm_type;
	out->rest = route_rest(rtm, attrs);
	out->mtu = route_mtu(attrs[RTA_METRICS]);
	out->nexthop_id = netlink_get_u32(attrs[RTA_NH_ID], 0);
	if (attrs[RTA_MULTIPATH])
		return parse_multipath(attrs[RTA_MULTIPATH], rtm->rtm_family, out);
	if (!attrs[RTA_OIF])
		return true;
	out->leg_count = 1;
	out->legs[0].ifindex = leg_ifindex(attrs, netlink_get_u32(attrs[RTA_OIF], 0));
	out->legs[0].dead = rtm->rtm_flags & RTNH_F_DEAD;
	return parse_gateway(
		attrs[RTA_GATEWAY], attrs[RTA_VIA], rtm->rtm_family, &out->legs[0].gateway);
}

uint32_t rtnl_parse_nexthop(const struct nlmsghdr *nlh)
{
	const struct nlattr *attrs[NHA_ID + 1];

	netlink_attrs(nlh, sizeof(struct nhmsg), attrs, NHA_ID);
	return netlink_get_u32(attrs[NHA_ID], 0);
}

bool rtnl_parse_neighbour(const struct nlmsghdr *nlh, struct rtnl_neighbour *out)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attrs[NDA_LLADDR + 1];

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ndm) || ndm->ndm_flags & NTF_PROXY)
		return false;
	netlink_attrs(nlh, sizeof(*ndm), attrs, NDA_LLADDR);
	memset(out, 0, sizeof(*out));
	if (!netlink_get_addr(attrs[NDA_DST], ndm->ndm_family, &out->addr))
		return false;
	out->ifindex = (uint32_t)ndm->ndm_ifindex;
	out->stale = ndm->ndm_state & NUD_STALE;
	if (attrs[NDA_LLADDR] && mnl_attr_get_payload_len(attrs[NDA_LLADDR]) == MIRROR_MAC_BYTES &&
		ndm->ndm_state & (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE |
					 NUD_DELAY | NUD_PROBE)) {
		out->resolved = true;
		memcpy(out->mac, mnl_attr_get_payload(attrs[NDA_LLADDR]), MIRROR_MAC_BYTES);
	}
	return true;
}

bool rtnl_parse_link(const struct nlmsghdr *nlh, struct rtnl_link *out)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attrs[IFLA_MTU + 1];

	/* Bridges tell of their ports with messages of their own family. */
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi) || ifi->ifi_family != AF_UNSPEC)
		return false;
	netlink_attrs(nlh, sizeof(*ifi), attrs, IFLA_MTU);
	out->ifindex = (uint32_t)ifi->ifi_index;
	out->mtu = netlink_get_u32(attrs[IFLA_MTU], 0);
	out->up = ifi->ifi_flags & IFF_UP;
	out->running = ifi->ifi_flags & IFF_LOWER_UP;
	return true;
}

bool rtnl_parse_addr(const struct nlmsghdr *nlh, struct rtnl_addr *out)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attrs[IFA_FLAGS + 1], *addr;
	uint32_t flags;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifa))
		return false;
	netlink_attrs(nlh, sizeof(*ifa), attrs, IFA_FLAGS);
	/* On point-to-point links IFA_ADDRESS is the other side's. */
	addr = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if (!netlink_get_addr(addr, ifa->ifa_family, &out->addr))
		return false;
	if (!netlink_get_addr(attrs[IFA_ADDRESS], ifa->ifa_family, &out->far))
		out->far = out->addr;
	out->bits = ifa->ifa_prefixlen;
	flags = netlink_get_u32(attrs[IFA_FLAGS], ifa->ifa_flags);
	out->ifindex = ifa->ifa_index;
	out->bare = flags & IFA_F_NOPREFIXROUTE;
	out->usable = !(flags & IFA_F_DADFAILED) &&
		      (!(flags & IFA_F_TENTATIVE) || flags & IFA_F_OPTIMISTIC);
	return true;
}

/* Above any attribute of rules that there is. */
#define RULE_ATTRS 63

/* Attributes that do not select packets, or that are looked at one by one. */
static bool rule_attr_known(unsigned type)
{
	switch (type) {
	case FRA_UNSPEC:
	case FRA_PRIORITY:
	case FRA_FWMARK:
	case FRA_FWMASK:
	case FRA_TABLE:
	case FRA_SUPPRESS_PREFIXLEN:
	case FRA_SUPPRESS_IFGROUP:
	case FRA_PROTOCOL:
	case FRA_PAD:
		return true;
	default:
		return false;
	}
}

bool rtnl_parse_rule(const struct nlmsghdr *nlh, struct policy_rule *out)
{
	const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attrs[RULE_ATTRS + 1];

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*frh))
		return false;
	netlink_attrs(nlh, sizeof(*frh), attrs, RULE_ATTRS);
	out->priority = netlink_get_u32(attrs[FRA_PRIORITY], 0);
	out->table = netlink_get_u32(attrs[FRA_TABLE], frh->table);
	out->fwmark = netlink_get_u32(attrs[FRA_FWMARK], 0);
	out->fwmask = netlink_get_u32(attrs[FRA_FWMASK], 0);
	out->suppress_prefixlength =
		(int32_t)netlink_get_u32(attrs[FRA_SUPPRESS_PREFIXLEN], UINT32_MAX);
	out->inverted = frh->flags & FIB_RULE_INVERT;
	out->protocol = attrs[FRA_PROTOCOL] ? mnl_attr_get_u8(attrs[FRA_PROTOCOL]) : 0;
	out->other = frh->dst_len || frh->src_len || frh->tos || frh->action != FR_ACT_TO_TBL ||
		     netlink_get_u32(attrs[FRA_SUPPRESS_IFGROUP], UINT32_MAX) != UINT32_MAX;
	for (unsigned type = 0; type <= RULE_ATTRS; type++)
		out->other |= attrs[type] && !rule_attr_known(type);
	return true;
}

bool rtnl_parse_forwarding(const struct nlmsghdr *nlh, uint8_t *family, int32_t *ifindex, bool *on)
{
	const struct netconfmsg *ncm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attrs[NETCONFA_FORWARDING + 1];

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ncm))
		return false;
	netlink_attrs(nlh, sizeof(*ncm), attrs, NETCONFA_FORWARDING);
	if (!attrs[NETCONFA_IFINDEX] || !attrs[NETCONFA_FORWARDING])
		return false;
	*ifindex = (int32_t)netlink_get_u32(attrs[NETCONFA_IFINDEX], 0);
	*family = netlink_ip_family(ncm->ncm_family);
	*on = netlink_get_u32(attrs[NETCONFA_FORWARDING], 0) != 0;
	return *family != IP_NONE;
}
