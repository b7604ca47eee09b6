/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See mirror.h. Three sockets: one for events, one for dumps (read piece by piece), one for
 * questions that are answered at once. fib.c makes the forwarding table of what they say.
 *
 * A dump and the events of its time are read from different sockets, in no certain order: fib.c
 * prefers what an event said; of the small tables (links, addresses) the dump is simply made again.
 */
#include "mirror_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fib_rules.h>

/* Room for bursts of events; the kernel takes it only while they wait. */
#define EVENT_BUFFER_BYTES (16 << 20)
/* Events thrown away by one call after an overrun. */
#define DISCARD_DATAGRAMS 4096

static int open_sockets(struct mirror *mirror);
static void read_events(struct mirror *mirror);
static void discard_events(struct mirror *mirror);
static void tell_changes(struct mirror *mirror);

int mirror_create(
	const struct mirror_callbacks *callbacks, uint32_t limit_nexthops, struct mirror **out)
{
	struct mirror *mirror = calloc(1, sizeof(*mirror));
	int error;

	if (!mirror)
		return -ENOMEM;
	mirror->callbacks = *callbacks;
	mirror->stage = STAGE_NONE;
	mirror->epoll_fd = -1;
	error = hash_init(&mirror->links)
			? -ENOMEM
			: fib_create(&mirror->callbacks, limit_nexthops, &mirror->fib);
	if (error == 0)
		error = open_sockets(mirror);
	if (error != 0) {
		mirror_destroy(mirror);
		return error;
	}
	*out = mirror;
	return 0;
}

static int open_sockets(struct mirror *mirror)
{
	struct epoll_event readable = {.events = EPOLLIN};
	int error = netlink_open(&mirror->query);

	if (error == 0)
		error = netlink_open(&mirror->dump);
	if (error != 0)
		return error;
	mirror->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	mirror->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!mirror->events || mirror->epoll_fd < 0 ||
		mnl_socket_bind(mirror->events, 0, MNL_SOCKET_AUTOPID) < 0 ||
		epoll_ctl(mirror->epoll_fd, EPOLL_CTL_ADD, mnl_socket_get_fd(mirror->events),
			&readable) < 0 ||
		epoll_ctl(mirror->epoll_fd, EPOLL_CTL_ADD, mnl_socket_get_fd(mirror->dump.socket),
			&readable) < 0)
		return -errno;
	mirror_set_event_buffer(mirror, EVENT_BUFFER_BYTES);
	return 0;
}

void mirror_destroy(struct mirror *mirror)
{
	struct hash_link *link;

	if (!mirror)
		return;
	if (mirror->links.buckets) {
		for (struct hash_walk w = hash_walk_begin(&mirror->links);
			(link = hash_walk_next(&w));)
			free(hash_entry(link, struct link, link));
	}
	hash_free(&mirror->links);
	fib_destroy(mirror->fib);
	netlink_close(&mirror->query);
	netlink_close(&mirror->dump);
	if (mirror->events)
		mnl_socket_close(mirror->events);
	if (mirror->epoll_fd >= 0)
		close(mirror->epoll_fd);
	free(mirror->addrs.list);
	free(mirror->new_addrs.list);
	free(mirror->v4.rules.list);
	free(mirror->v6.rules.list);
	free(mirror->locals);
	free(mirror);
}

int mirror_set_event_buffer(struct mirror *mirror, int bytes)
{
	int fd = mnl_socket_get_fd(mirror->events);

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0)
		return 0;
	return -errno;
}

int mirror_fd(const struct mirror *mirror)
{
	return mirror->epoll_fd;
}

bool mirror_ready(const struct mirror *mirror)
{
	return mirror->ready;
}

void mirror_get_stats(const struct mirror *mirror, struct mirror_stats *out)
{
	*out = mirror->stats;
	fib_get_stats(mirror->fib, out);
}

int mirror_start(struct mirror *mirror)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF, RTNLGRP_NEXTHOP};

	for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(
			    mirror->events, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return -errno;
	}
	mirror->started = true;
	mirror->wanted = ALL_STAGES;
	mirror->callbacks.set_forwarding(mirror->callbacks.arg, IP_V4, false);
	mirror->callbacks.set_forwarding(mirror->callbacks.arg, IP_V6, false);
	dump_next(mirror);
	return 0;
}

uint64_t mirror_deadline_ns(const struct mirror *mirror)
{
	bool idle = mirror->stage == STAGE_NONE && !mirror->discarding;

	return mirror->started && idle && mirror->wanted ? mirror->resync_at_ns : UINT64_MAX;
}

void mirror_process(struct mirror *mirror, uint64_t now_ns)
{
	mirror->now_ns = now_ns;
	fib_set_now(mirror->fib, now_ns);
	if (!mirror->started)
		return;
	if (!mirror->discarding)
		read_events(mirror);
	if (mirror->discarding)
		discard_events(mirror);
	if (mirror->stage != STAGE_NONE)
		dump_read(mirror);
	else
		dump_next(mirror);
	tell_changes(mirror);
}

/* Events. */

void mirror_note_change(struct mirror *mirror, const struct ip_prefix *prefix)
{
	if (mirror->change_count == MIRROR_CHANGES)
		mirror->changed_all = true;
	else
		mirror->changes[mirror->change_count++] = *prefix;
}

/* By a hash: two objects that look like one cost a dump too many. */
static unsigned nexthop_bit(uint32_t id)
{
	return id % (MIRROR_NEXTHOP_WORDS * 64);
}

void mirror_note_nexthop(struct mirror *mirror, const struct fib_route *route)
{
	unsigned bit = nexthop_bit(route->nexthop_id);

	if (route->nexthop_id != 0)
		mirror->nexthops[bit / 64] |= UINT64_C(1) << bit % 64;
}

/* With an object go its IPv4 routes, from a group a path, and the kernel tells of neither. */
static void take_nexthop(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	unsigned bit = nexthop_bit(rtnl_parse_nexthop(nlh));

	if (mirror->nexthops[bit / 64] >> bit % 64 & 1)
		dump_want_routes(mirror);
}

static void take_route(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	struct fib_route route;
	enum fib_order order;

	if (!rtnl_parse_route(nlh, &route))
		return;
	mirror_note_change(mirror, &route.prefix);
	mirror_note_nexthop(mirror, &route);
	if (nlh->nlmsg_type == RTM_DELROUTE) {
		fib_delete_route(mirror->fib, &route);
		return;
	}
	/* IPv4: a route that does not say "append" goes before its like. */
	order = route.prefix.addr.family == IP_V6 || nlh->nlmsg_flags & NLM_F_APPEND ? FIB_LAST
										     : FIB_FIRST;
	if (nlh->nlmsg_flags & NLM_F_REPLACE)
		order = FIB_REPLACE;
	fib_add_route(mirror->fib, &route, order);
	if (fib_doubts(mirror->fib, FIB_DUMP_ROUTES_V4))
		dump_want(mirror, 1u << STAGE_ROUTES_V4);
	if (fib_doubts(mirror->fib, FIB_DUMP_ROUTES_V6))
		dump_want(mirror, 1u << STAGE_ROUTES_V6);
}

static void take_neighbour(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	struct rtnl_neighbour neighbour;

	if (!rtnl_parse_neighbour(nlh, &neighbour))
		return;
	if (nlh->nlmsg_type == RTM_DELNEIGH)
		fib_delete_neighbour(mirror->fib, neighbour.ifindex, &neighbour.addr);
	else
		fib_set_neighbour(mirror->fib, neighbour.ifindex, &neighbour.addr,
			neighbour.resolved ? neighbour.mac : NULL, neighbour.stale);
}

static void take_link(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	struct rtnl_link state;
	struct link *link;

	if (!rtnl_parse_link(nlh, &state))
		return;
	mirror->stage_outdated |= mirror->stage == STAGE_LINKS;
	if (nlh->nlmsg_type == RTM_NEWLINK) {
		link_set(mirror, &state);
		return;
	}
	link = link_find(mirror, state.ifindex);
	if (link)
		link_delete(mirror, link);
	else
		link_gone(mirror, state.ifindex);
}

static void take_addr(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	struct rtnl_addr addr;

	if (!rtnl_parse_addr(nlh, &addr))
		return;
	mirror->stage_outdated |= mirror->stage == STAGE_ADDRS;
	if (nlh->nlmsg_type == RTM_NEWADDR)
		addr_set(mirror, &addr);
	else
		addr_delete(mirror, &addr);
}

/* Rules are few: any change has them dumped again, since their order matters. */
static void take_rule(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*frh))
		return;
	mirror->stage_outdated |=
		mirror->stage == STAGE_RULES_V4 || mirror->stage == STAGE_RULES_V6;
	mirror->changed_all = true;
	dump_want(mirror, netlink_ip_family(frh->family) == IP_V4 ? 1u << STAGE_RULES_V4
								  : 1u << STAGE_RULES_V6);
	mirror->resync_at_ns = mirror->now_ns;
}

static void take_event(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	switch (nlh->nlmsg_type) {
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		take_route(mirror, nlh);
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		take_neighbour(mirror, nlh);
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		take_link(mirror, nlh);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		take_addr(mirror, nlh);
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		take_rule(mirror, nlh);
		break;
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		take_nexthop(mirror, nlh);
		break;
	case RTM_NEWNETCONF:
		forwarding_take(mirror, nlh);
		break;
	default:
		break;
	}
}

ssize_t mirror_receive(struct mirror *mirror, const struct mnl_socket *socket, size_t room)
{
	ssize_t got;

	do
		got = recv(mnl_socket_get_fd(socket), mirror->buf, room, MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	return got;
}

/* The kernel had to drop events: only new dumps can tell what is. */
static void overrun(struct mirror *mirror)
{
	mirror->stats.overruns++;
	mirror->discarding = true;
	mirror->stage_bad = true;
	dump_want_all(mirror, MIRROR_RESYNC_DELAY_NS);
}

static void read_events(struct mirror *mirror)
{
	for (unsigned i = 0; i < MIRROR_EVENT_DATAGRAMS; i++) {
		ssize_t got = mirror_receive(mirror, mirror->events, sizeof(mirror->buf));
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)mirror->buf;
		int left = (int)got;

		if (got < 0) {
			if (errno == ENOBUFS)
				overrun(mirror);
			return;
		}
		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			mirror->stats.events++;
			take_event(mirror, nlh);
		}
	}
}

/*
 * What is queued is older than what was lost. Applied while a dump runs it would count for more
 * than the dump, wrongly: so it goes, and dumps begin when the queue is empty.
 */
static void discard_events(struct mirror *mirror)
{
	for (unsigned i = 0; i < DISCARD_DATAGRAMS; i++) {
		if (mirror_receive(mirror, mirror->events, 1) >= 0)
			continue;
		if (errno == ENOBUFS) {
			mirror->stats.overruns++;
			continue;
		}
		mirror->discarding = false;
		return;
	}
}

/* At the end of a turn. */
static void tell_changes(struct mirror *mirror)
{
	const struct mirror_callbacks *callbacks = &mirror->callbacks;

	fib_flush(mirror->fib);
	if (fib_lost_memory(mirror->fib)) {
		callbacks->warn(callbacks->arg,
			"out of memory: some routes or neighbours are left to the host");
		dump_want_all(mirror, MIRROR_DUMP_PAUSE_NS);
	}
	if (mirror->addrs_changed)
		addrs_tell(mirror);
	forwarding_tell(mirror);
	if (mirror->changed_all)
		callbacks->routing_changed(callbacks->arg, mirror->changes, 0);
	else if (mirror->change_count > 0)
		callbacks->routing_changed(callbacks->arg, mirror->changes, mirror->change_count);
	mirror->changed_all = false;
	mirror->change_count = 0;
}
