/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Questions to the kernel that it answers at once: the way to an endpoint; and probes of neighbours
 * that are in use.
 */
#include "mirror_parts.h"

#include <errno.h>
#include <string.h>
#include <netinet/in.h>

#include <linux/neighbour.h>

struct answer {
	const struct mirror *mirror;
	const struct mirror_query *query;
	struct mirror_path *path;
	bool unicast;
};

/*
 * What a router said, or anybody in its name. Of IPv4 that is no matter: our datagrams may be
 * fragmented on the way.
 */
static bool mtu_is_hearsay(const struct nlattr *cache_info, uint8_t family)
{
	const struct rta_cacheinfo *info;

	if (family != AF_INET || !cache_info ||
		mnl_attr_get_payload_len(cache_info) < sizeof(*info))
		return false;
	info = mnl_attr_get_payload(cache_info);
	return info->rta_expires != 0;
}

static int on_way(const struct nlmsghdr *nlh, void *arg)
{
	struct answer *answer = arg;
	struct mirror_path *path = answer->path;
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attrs[RTA_VIA + 1];
	const struct link *link;
	struct fib_route route;

	/* The answer is a cache entry, which as a route is left out: look at it as one. */
	((struct rtmsg *)mnl_nlmsg_get_payload(nlh))->rtm_flags &= ~(unsigned)RTM_F_CLONED;
	if (nlh->nlmsg_type != RTM_NEWROUTE || !rtnl_parse_route(nlh, &route) ||
		route.leg_count != 1)
		return MNL_CB_OK;
	netlink_attrs(nlh, sizeof(*rtm), attrs, RTA_VIA);
	answer->unicast = route.type == RTN_UNICAST;
	path->ifindex = route.legs[0].ifindex;
	path->neighbour = route.legs[0].gateway.family != IP_NONE ? route.legs[0].gateway
								  : answer->query->remote.addr;
	path->mtu = mtu_is_hearsay(attrs[RTA_CACHEINFO], rtm->rtm_family) ? 0 : route.mtu;
	link = link_find(answer->mirror, path->ifindex);
	if (path->mtu == 0 && link)
		path->mtu = link->state.mtu;
	if (path->local.family == IP_NONE)
		netlink_get_addr(attrs[RTA_PREFSRC], rtm->rtm_family, &path->local);
	return MNL_CB_OK;
}

static struct nlmsghdr *make_query(
	struct mirror *mirror, const struct mirror_query *query, bool from_local, void *buf)
{
	const struct ip_addr *remote = &query->remote.addr;
	struct rtmsg *rtm;
	struct nlmsghdr *nlh =
		netlink_request(&mirror->query, buf, RTM_GETROUTE, 0, sizeof(*rtm), (void **)&rtm);

	rtm->rtm_family = netlink_family(remote->family);
	rtm->rtm_dst_len = (uint8_t)ip_family_bits(remote->family);
	netlink_put_addr(nlh, RTA_DST, remote);
	if (from_local) {
		rtm->rtm_src_len = rtm->rtm_dst_len;
		netlink_put_addr(nlh, RTA_SRC, &query->local);
	}
	if (query->remote.scope_id != 0)
		mnl_attr_put_u32(nlh, RTA_OIF, query->remote.scope_id);
	if (query->mark != 0)
		mnl_attr_put_u32(nlh, RTA_MARK, query->mark);
	mnl_attr_put_u8(nlh, RTA_IP_PROTO, IPPROTO_UDP);
	if (query->local_port != 0)
		mnl_attr_put_u16(nlh, RTA_SPORT, htobe16(query->local_port));
	if (query->remote.port != 0)
		mnl_attr_put_u16(nlh, RTA_DPORT, htobe16(query->remote.port));
	return nlh;
}

/* What the kernel answers when it knows no way; anything else is a failure to ask. */
static bool means_no_way(int error)
{
	switch (error) {
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -EACCES:
	case -EINVAL:
	case -ENODEV:
	case -ENETDOWN:
	case -ENONET:
	case -EAFNOSUPPORT:
	case -EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

int mirror_resolve(struct mirror *mirror, const struct mirror_query *query, struct mirror_path *out)
{
	struct answer answer = {.mirror = mirror, .query = query, .path = out};
	uint8_t buf[NETLINK_REQUEST_BYTES];
	bool from_local = query->local.family == query->remote.addr.family &&
			  addr_is_local(mirror, &query->local);
	int error;

	memset(out, 0, sizeof(*out));
	out->via_kernel = true;
	if (query->remote.addr.family == IP_NONE)
		return 0;
	if (from_local)
		out->local = query->local;
	error = netlink_ask(
		&mirror->query, make_query(mirror, query, from_local, buf), on_way, &answer);
	if (error != 0 || out->ifindex == 0) {
		memset(out, 0, sizeof(*out));
		out->via_kernel = true;
		return means_no_way(error) ? 0 : error;
	}
	out->via_kernel =
		!answer.unicast ||
		!fib_port(mirror->fib, out->ifindex, &out->port, out->source_mac) ||
		!fib_neighbour(mirror->fib, out->ifindex, &out->neighbour, out->destination);
	return 0;
}

/* Keeping neighbours. */

/* As if the kernel itself had a packet for it. */
static void probe(struct mirror *mirror, uint32_t ifindex, const struct ip_addr *addr)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct ndmsg *ndm;
	struct nlmsghdr *nlh = netlink_request(
		&mirror->query, buf, RTM_NEWNEIGH, NLM_F_ACK, sizeof(*ndm), (void **)&ndm);

	ndm->ndm_family = netlink_family(addr->family);
	ndm->ndm_ifindex = (int)ifindex;
	ndm->ndm_flags = NTF_USE;
	netlink_put_addr(nlh, NDA_DST, addr);
	netlink_ask(&mirror->query, nlh, NULL, NULL);
	mirror->stats.probes++;
}

void mirror_mark_nexthop(struct mirror *mirror, uint32_t nexthop)
{
	struct ip_addr addr;
	uint32_t ifindex;

	if (fib_want_probe_nexthop(mirror->fib, nexthop, &ifindex, &addr))
		probe(mirror, ifindex, &addr);
}

void mirror_mark_neighbour(struct mirror *mirror, uint32_t ifindex, const struct ip_addr *addr)
{
	if (fib_want_probe_neighbour(mirror->fib, ifindex, addr))
		probe(mirror, ifindex, addr);
}
