/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See mirror.h. Three sockets: one for events, one for dumps (read piece by piece), one for
 * questions that are answered at once. fib.c makes the forwarding table of what they say.
 *
 * A dump and the events of its time are read from different sockets, in no certain order: fib.c
 * prefers what an event said; of the small tables (links, addresses) the dump is simply made again.
 */
#include "mirror.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>

#include "base/units.h"
#include "fib.h"
#include "hash.h"
#include "netlink.h"
#include "policy.h"
#include "rtnl.h"

/* Room for bursts of events; the kernel takes it only while they wait. */
#define EVENT_BUFFER_BYTES (16 << 20)
/* Events thrown away by one call after an overrun. */
#define DISCARD_DATAGRAMS 4096
/* Several changes that call for a dump come together. */
#define RESYNC_DELAY_NS (10 * NS_PER_MS)
/* A dump that tables changed under is made again at once so often, then after a pause. */
#define DUMP_RETRIES  5
#define DUMP_PAUSE_NS NS_PER_SEC
#define LINE_BYTES    320

enum stage {
	STAGE_LINKS,
	STAGE_ADDRS,
	STAGE_RULES_V4,
	STAGE_RULES_V6,
	STAGE_NEIGHBOURS,
	STAGE_ROUTES_V4,
	STAGE_ROUTES_V6,
	STAGES,
	STAGE_NONE = STAGES,
};

#define ALL_STAGES ((1u << STAGES) - 1)

struct link {
	struct hash_link link;
	struct rtnl_link state;
	uint32_t seen;
};

/* Growable arrays of the small tables. */
struct addrs {
	struct rtnl_addr *list;
	unsigned n, room;
};

struct rules {
	struct policy_rule *list;
	unsigned n, room;
};

/* Of one family. */
struct side {
	struct rules rules; /* as dumped last, or the dump under way */
	bool rules_whole;   /* the dump ended well */
	bool rules_known;   /* they were judged */
	struct policy policy;
	bool forwarding; /* the kernel forwards */
	bool unsettled;	 /* own tables came that are not dumped yet */
	bool told;	 /* set_forwarding() */
	char hint[LINE_BYTES];
};

struct mirror {
	struct mirror_callbacks callbacks;
	struct fib *fib;
	struct netlink query, dump;
	struct mnl_socket *events;
	int epoll_fd;
	uint64_t now_ns;
	bool started, ready;

	/* Dumps */
	uint32_t wanted;   /* stages to go through */
	uint32_t finished; /* stages that were gone through at least once */
	enum stage stage;
	uint32_t stage_seq;
	bool stage_bad;	     /* the dump under way is not complete */
	bool stage_outdated; /* an event came meanwhile */
	unsigned retries[STAGES];
	uint64_t resync_at_ns;
	bool discarding; /* events are incomplete: throw away what is left of them */

	/* Small tables */
	struct hash links;
	uint32_t link_generation;
	struct addrs addrs, new_addrs;
	bool addrs_changed;
	struct ip_addr *locals; /* as told last */
	unsigned local_count;
	struct side v4, v6;
	uint32_t own_tables[MIRROR_OWN_TABLES];
	unsigned own_count;

	/* For routing_changed() */
	struct ip_prefix changes[MIRROR_CHANGES];
	unsigned change_count;
	bool changed_all;

	struct mirror_stats stats;
	uint8_t buf[NETLINK_DUMP_BYTES];
};

static int open_sockets(struct mirror *mirror);
static void read_events(struct mirror *mirror);
static void discard_events(struct mirror *mirror);
static void read_dump(struct mirror *mirror);
static void next_stage(struct mirror *mirror);
static void tell_changes(struct mirror *mirror);
static void judge_rules(struct mirror *mirror, enum ip_family family);
static void ask_forwarding(struct mirror *mirror, enum ip_family family);
static void tell_forwarding(struct mirror *mirror);
static struct link *link_find(const struct mirror *mirror, uint32_t ifindex);

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

static struct side *side_of(struct mirror *mirror, uint8_t family)
{
	return family == IP_V4 ? &mirror->v4 : &mirror->v6;
}

int mirror_start(struct mirror *mirror)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};

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
	next_stage(mirror);
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
		read_dump(mirror);
	else
		next_stage(mirror);
	tell_changes(mirror);
}

/* What changed, for routing_changed(). */

static void note_change(struct mirror *mirror, const struct ip_prefix *prefix)
{
	if (mirror->change_count == MIRROR_CHANGES)
		mirror->changed_all = true;
	else
		mirror->changes[mirror->change_count++] = *prefix;
}

static void want(struct mirror *mirror, uint32_t stages)
{
	if ((mirror->wanted & stages) == stages)
		return;
	if (mirror->wanted == 0)
		mirror->resync_at_ns = mirror->now_ns + RESYNC_DELAY_NS;
	mirror->wanted |= stages;
}

/* The kernel changes routes without telling when their interface or source address goes. */
static void want_routes(struct mirror *mirror)
{
	want(mirror, 1u << STAGE_ROUTES_V4 | 1u << STAGE_ROUTES_V6);
}

/* Links. */

static struct link *link_find(const struct mirror *mirror, uint32_t ifindex)
{
	uint64_t value = hash_mix(mirror->links.seed, ifindex);

	for (struct hash_link *at = hash_first(&mirror->links, value); at; at = at->next) {
		struct link *link = hash_entry(at, struct link, link);

		if (link->state.ifindex == ifindex)
			return link;
	}
	return NULL;
}

static void link_tell(struct mirror *mirror, const struct rtnl_link *state)
{
	if (fib_has_interface(mirror->fib, state->ifindex))
		mirror->callbacks.link_changed(
			mirror->callbacks.arg, state->ifindex, state->mtu, state->up);
}

static void link_set(struct mirror *mirror, const struct rtnl_link *state)
{
	struct link *link = link_find(mirror, state->ifindex);
	bool fresh = !link, flipped;

	if (!link) {
		link = calloc(1, sizeof(*link));
		if (!link)
			return;
		link->state = *state;
		hash_insert(
			&mirror->links, &link->link, hash_mix(mirror->links.seed, state->ifindex));
	}
	link->seen = mirror->link_generation;
	flipped = link->state.up != state->up || link->state.running != state->running;
	if (!fresh && !flipped && link->state.mtu == state->mtu)
		return;
	link->state = *state;
	mirror->changed_all = true;
	if (flipped && fib_uses_interface(mirror->fib, state->ifindex))
		want_routes(mirror);
	link_tell(mirror, state);
}

static void link_delete(struct mirror *mirror, struct link *link)
{
	uint32_t ifindex = link->state.ifindex;

	hash_remove(&mirror->links, &link->link);
	free(link);
	mirror->changed_all = true;
	if (fib_uses_interface(mirror->fib, ifindex))
		want_routes(mirror);
	if (fib_remove_interface(mirror->fib, ifindex))
		mirror->callbacks.link_gone(mirror->callbacks.arg, ifindex);
}

static void end_links(struct mirror *mirror, bool sweep)
{
	struct hash_link *at;

	if (!sweep)
		return;
	for (struct hash_walk w = hash_walk_begin(&mirror->links); (at = hash_walk_next(&w));) {
		struct link *link = hash_entry(at, struct link, link);

		if (link->seen != mirror->link_generation)
			link_delete(mirror, link);
	}
}

static int add_interface(struct mirror *mirror, uint32_t ifindex, int error)
{
	const struct link *link = link_find(mirror, ifindex);

	if (error != 0)
		return error;
	if (mirror->started)
		want(mirror, 1u << STAGE_LINKS | 1u << STAGE_NEIGHBOURS);
	if (link)
		link_tell(mirror, &link->state);
	mirror->changed_all = true;
	return 0;
}

int mirror_add_port(
	struct mirror *mirror, uint32_t ifindex, uint8_t port, const uint8_t mac[MIRROR_MAC_BYTES])
{
	return add_interface(mirror, ifindex, fib_add_port(mirror->fib, ifindex, port, mac));
}

int mirror_add_wg(struct mirror *mirror, uint32_t ifindex, uint8_t interface)
{
	return add_interface(mirror, ifindex, fib_add_wg(mirror->fib, ifindex, interface));
}

void mirror_remove(struct mirror *mirror, uint32_t ifindex)
{
	fib_remove_interface(mirror->fib, ifindex);
	mirror->changed_all = true;
}

/* Addresses. */

static struct rtnl_addr *addr_find(const struct addrs *addrs, const struct rtnl_addr *addr)
{
	for (unsigned i = 0; i < addrs->n; i++) {
		if (addrs->list[i].ifindex == addr->ifindex &&
			ip_addr_equal(&addrs->list[i].addr, &addr->addr))
			return &addrs->list[i];
	}
	return NULL;
}

static bool addr_append(struct addrs *addrs, const struct rtnl_addr *addr)
{
	if (addrs->n == addrs->room) {
		unsigned room = addrs->room * 2 + 16;
		struct rtnl_addr *list = realloc(addrs->list, room * sizeof(*list));

		if (!list)
			return false;
		addrs->list = list;
		addrs->room = room;
	}
	addrs->list[addrs->n++] = *addr;
	return true;
}

static void addr_set(struct mirror *mirror, const struct rtnl_addr *addr)
{
	struct rtnl_addr *known = addr_find(&mirror->addrs, addr);

	if (known && known->usable == addr->usable)
		return;
	if (known)
		*known = *addr;
	else
		addr_append(&mirror->addrs, addr);
	mirror->addrs_changed = true;
}

static void addr_delete(struct mirror *mirror, const struct rtnl_addr *addr)
{
	struct rtnl_addr *known = addr_find(&mirror->addrs, addr);

	if (addr->addr.family == IP_V4)
		want(mirror, 1u << STAGE_ROUTES_V4);
	if (!known)
		return;
	*known = mirror->addrs.list[--mirror->addrs.n];
	mirror->addrs_changed = true;
}

static void end_addrs(struct mirror *mirror, bool sweep)
{
	struct addrs old = mirror->addrs;

	if (!sweep)
		return;
	mirror->addrs = mirror->new_addrs;
	mirror->new_addrs = old;
	mirror->new_addrs.n = 0;
	mirror->addrs_changed = true;
}

static bool is_local(const struct mirror *mirror, const struct ip_addr *addr)
{
	for (unsigned i = 0; i < mirror->local_count; i++) {
		if (ip_addr_equal(&mirror->locals[i], addr))
			return true;
	}
	return false;
}

static int compare_addrs(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

static void tell_locals(struct mirror *mirror)
{
	struct ip_addr *locals = calloc(mirror->addrs.n + 1, sizeof(*locals));
	unsigned n = 0, unique = 0;

	mirror->addrs_changed = false;
	if (!locals)
		return;
	for (unsigned i = 0; i < mirror->addrs.n; i++) {
		if (mirror->addrs.list[i].usable)
			locals[n++] = mirror->addrs.list[i].addr;
	}
	qsort(locals, n, sizeof(*locals), compare_addrs);
	for (unsigned i = 0; i < n; i++) {
		if (unique == 0 || !ip_addr_equal(&locals[unique - 1], &locals[i]))
			locals[unique++] = locals[i];
	}
	if (mirror->locals && unique == mirror->local_count &&
		memcmp(locals, mirror->locals, unique * sizeof(*locals)) == 0) {
		free(locals);
		return;
	}
	free(mirror->locals);
	mirror->locals = locals;
	mirror->local_count = unique;
	mirror->changed_all = true;
	mirror->callbacks.set_locals(mirror->callbacks.arg, locals, unique);
}

/* Rules, and whether the kernel forwards. */

static bool rule_append(struct rules *rules, const struct policy_rule *rule)
{
	if (rules->n == rules->room) {
		unsigned room = rules->room * 2 + 16;
		struct policy_rule *list = realloc(rules->list, room * sizeof(*list));

		if (!list)
			return false;
		rules->list = list;
		rules->room = room;
	}
	rules->list[rules->n++] = *rule;
	return true;
}

static void judge_rules(struct mirror *mirror, enum ip_family family)
{
	struct side *side = side_of(mirror, (uint8_t)family);
	struct policy policy;

	policy_judge(
		&policy, side->rules.list, side->rules.n, mirror->own_tables, mirror->own_count);
	if (side->rules_known && policy_equal(&policy, &side->policy))
		return;
	mirror->changed_all = true;
	side->rules_known = true;
	if (policy.own_count != side->policy.own_count ||
		memcmp(policy.own_tables, side->policy.own_tables, sizeof(policy.own_tables)) !=
			0) {
		fib_set_own_tables(mirror->fib, family, policy.own_tables, policy.own_count);
		side->unsettled = true;
		want(mirror, family == IP_V4 ? 1u << STAGE_ROUTES_V4 : 1u << STAGE_ROUTES_V6);
	}
	side->policy = policy;
}

void mirror_set_own_tables(struct mirror *mirror, const uint32_t *tables, unsigned n)
{
	assert(n <= MIRROR_OWN_TABLES);
	memcpy(mirror->own_tables, tables, n * sizeof(*tables));
	mirror->own_count = n;
	/* While a dump fills the rules they wait for its end. */
	if (mirror->v4.rules_whole)
		judge_rules(mirror, IP_V4);
	if (mirror->v6.rules_whole)
		judge_rules(mirror, IP_V6);
	tell_forwarding(mirror);
}

static void end_rules(struct mirror *mirror, enum ip_family family, bool sweep)
{
	side_of(mirror, (uint8_t)family)->rules_whole = sweep;
	if (sweep)
		judge_rules(mirror, family);
}

static int on_forwarding(const struct nlmsghdr *nlh, void *arg)
{
	struct mirror *mirror = arg;
	uint8_t family;
	bool on;

	if (nlh->nlmsg_type == RTM_NEWNETCONF && rtnl_parse_forwarding(nlh, &family, &on))
		side_of(mirror, family)->forwarding = on;
	return MNL_CB_OK;
}

static void ask_forwarding(struct mirror *mirror, enum ip_family family)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct netconfmsg *ncm;
	struct nlmsghdr *nlh = netlink_request(
		&mirror->query, buf, RTM_GETNETCONF, 0, sizeof(*ncm), (void **)&ncm);

	ncm->ncm_family = netlink_family((uint8_t)family);
	mnl_attr_put_u32(nlh, NETCONFA_IFINDEX, (uint32_t)NETCONFA_IFINDEX_ALL);
	/* A host without the family forwards nothing of it. */
	side_of(mirror, (uint8_t)family)->forwarding = false;
	netlink_ask(&mirror->query, nlh, on_forwarding, mirror);
}

static bool may_forward(struct mirror *mirror, enum ip_family family)
{
	const struct side *side = side_of(mirror, (uint8_t)family);

	return mirror->ready && side->rules_known && side->policy.plain && side->forwarding &&
	       !side->unsettled && !fib_own_tables_stray(mirror->fib, family);
}

static void tell_forwarding(struct mirror *mirror)
{
	static const enum ip_family families[] = {IP_V4, IP_V6};

	for (unsigned i = 0; i < 2; i++) {
		struct side *side = side_of(mirror, (uint8_t)families[i]);
		bool on = may_forward(mirror, families[i]);

		if (on == side->told)
			continue;
		side->told = on;
		mirror->callbacks.set_forwarding(mirror->callbacks.arg, families[i], on);
	}
}

const char *mirror_forwarding_hint(struct mirror *mirror, enum ip_family family)
{
	struct side *side = side_of(mirror, (uint8_t)family);
	const char *name = family == IP_V4 ? "IPv4" : "IPv6";
	const char *option = family == IP_V4 ? "" : " -6";

	if (!mirror->ready)
		return NULL;
	if (!side->forwarding)
		snprintf(side->hint, sizeof(side->hint),
			"%s is not forwarded: the kernel does not (sysctl -w %s=1 enables it)",
			name,
			family == IP_V4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding");
	else if (side->rules_known && !side->policy.plain)
		snprintf(side->hint, sizeof(side->hint),
			"%s is forwarded by the kernel, slowly: policy rules other than the "
			"default "
			"ones (see ip%s rule, priority %u)",
			name, option, side->policy.stranger);
	else if (fib_own_tables_stray(mirror->fib, family))
		snprintf(side->hint, sizeof(side->hint),
			"%s is forwarded by the kernel, slowly: a table of an own default route "
			"has "
			"further routes (see ip%s route show table %u)",
			name, option, side->policy.own_tables[0]);
	else
		return NULL;
	return side->hint;
}

/* Messages: of events and of dumps. */

static void take_route(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	struct fib_route route;
	enum fib_order order;

	if (!rtnl_parse_route(nlh, &route))
		return;
	note_change(mirror, &route.prefix);
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
		want(mirror, 1u << STAGE_ROUTES_V4);
	if (fib_doubts(mirror->fib, FIB_DUMP_ROUTES_V6))
		want(mirror, 1u << STAGE_ROUTES_V6);
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
	want(mirror, netlink_ip_family(frh->family) == IP_V4 ? 1u << STAGE_RULES_V4
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
	case RTM_NEWNETCONF:
		on_forwarding(nlh, mirror);
		break;
	default:
		break;
	}
}

static void take_dumped(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	struct rtnl_neighbour neighbour;
	struct policy_rule rule;
	struct rtnl_addr addr;
	struct rtnl_link link;
	struct fib_route route;
	struct side *side = mirror->stage == STAGE_RULES_V4 ? &mirror->v4 : &mirror->v6;

	if (nlh->nlmsg_type == RTM_NEWLINK && rtnl_parse_link(nlh, &link))
		link_set(mirror, &link);
	else if (nlh->nlmsg_type == RTM_NEWADDR && rtnl_parse_addr(nlh, &addr))
		mirror->stage_bad |= !addr_append(&mirror->new_addrs, &addr);
	else if (nlh->nlmsg_type == RTM_NEWRULE && rtnl_parse_rule(nlh, &rule))
		mirror->stage_bad |= !rule_append(&side->rules, &rule);
	else if (nlh->nlmsg_type == RTM_NEWNEIGH && rtnl_parse_neighbour(nlh, &neighbour))
		fib_dump_neighbour(mirror->fib, neighbour.ifindex, &neighbour.addr,
			neighbour.resolved ? neighbour.mac : NULL, neighbour.stale);
	else if (nlh->nlmsg_type == RTM_NEWROUTE && rtnl_parse_route(nlh, &route) &&
		 fib_dump_route(mirror->fib, &route))
		note_change(mirror, &route.prefix);
}

/* Events. */

static ssize_t receive(struct mirror *mirror, const struct mnl_socket *socket, size_t room)
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
	mirror->wanted = ALL_STAGES;
	mirror->resync_at_ns = mirror->now_ns + RESYNC_DELAY_NS;
}

static void read_events(struct mirror *mirror)
{
	for (unsigned i = 0; i < MIRROR_EVENT_DATAGRAMS; i++) {
		ssize_t got = receive(mirror, mirror->events, sizeof(mirror->buf));
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
		if (receive(mirror, mirror->events, 1) >= 0)
			continue;
		if (errno == ENOBUFS) {
			mirror->stats.overruns++;
			continue;
		}
		mirror->discarding = false;
		return;
	}
}

/* Dumps. */

static const uint16_t stage_request[STAGES] = {
	[STAGE_LINKS] = RTM_GETLINK,
	[STAGE_ADDRS] = RTM_GETADDR,
	[STAGE_RULES_V4] = RTM_GETRULE,
	[STAGE_RULES_V6] = RTM_GETRULE,
	[STAGE_NEIGHBOURS] = RTM_GETNEIGH,
	[STAGE_ROUTES_V4] = RTM_GETROUTE,
	[STAGE_ROUTES_V6] = RTM_GETROUTE,
};

static const size_t stage_header_bytes[STAGES] = {
	[STAGE_LINKS] = sizeof(struct ifinfomsg),
	[STAGE_ADDRS] = sizeof(struct ifaddrmsg),
	[STAGE_RULES_V4] = sizeof(struct fib_rule_hdr),
	[STAGE_RULES_V6] = sizeof(struct fib_rule_hdr),
	[STAGE_NEIGHBOURS] = sizeof(struct ndmsg),
	[STAGE_ROUTES_V4] = sizeof(struct rtmsg),
	[STAGE_ROUTES_V6] = sizeof(struct rtmsg),
};

static uint8_t stage_family(enum stage stage)
{
	if (stage == STAGE_RULES_V4 || stage == STAGE_ROUTES_V4)
		return AF_INET;
	if (stage == STAGE_RULES_V6 || stage == STAGE_ROUTES_V6)
		return AF_INET6;
	return AF_UNSPEC;
}

static void begin_stage(struct mirror *mirror)
{
	switch (mirror->stage) {
	case STAGE_LINKS:
		mirror->link_generation++;
		break;
	case STAGE_ADDRS:
		mirror->new_addrs.n = 0;
		break;
	case STAGE_RULES_V4:
		mirror->v4.rules.n = 0;
		mirror->v4.rules_whole = false;
		ask_forwarding(mirror, IP_V4);
		break;
	case STAGE_RULES_V6:
		mirror->v6.rules.n = 0;
		mirror->v6.rules_whole = false;
		ask_forwarding(mirror, IP_V6);
		break;
	case STAGE_NEIGHBOURS:
		fib_begin_dump(mirror->fib, FIB_DUMP_NEIGHBOURS);
		break;
	case STAGE_ROUTES_V4:
		fib_begin_dump(mirror->fib, FIB_DUMP_ROUTES_V4);
		break;
	case STAGE_ROUTES_V6:
		fib_begin_dump(mirror->fib, FIB_DUMP_ROUTES_V6);
		break;
	default:
		break;
	}
}

/* Begins the next dump that is wanted and due. */
static void next_stage(struct mirror *mirror)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct nlmsghdr *nlh;
	uint8_t *header;

	if (mirror->discarding || mirror->wanted == 0 || mirror->now_ns < mirror->resync_at_ns)
		return;
	mirror->stage = (enum stage)__builtin_ctz(mirror->wanted);
	mirror->wanted &= ~(1u << mirror->stage);
	mirror->stage_bad = mirror->stage_outdated = false;
	begin_stage(mirror);
	nlh = netlink_request(&mirror->dump, buf, stage_request[mirror->stage], NLM_F_DUMP,
		stage_header_bytes[mirror->stage], (void **)&header);
	/* The first byte of each of these headers. */
	header[0] = stage_family(mirror->stage);
	mirror->stage_seq = nlh->nlmsg_seq;
	if (mnl_socket_sendto(mirror->dump.socket, nlh, nlh->nlmsg_len) >= 0)
		return;
	mirror->wanted |= 1u << mirror->stage;
	mirror->resync_at_ns = mirror->now_ns + DUMP_PAUSE_NS;
	mirror->stage = STAGE_NONE;
}

/* False: to be made again. */
static bool close_stage(struct mirror *mirror)
{
	bool good = !mirror->stage_bad && !mirror->stage_outdated;

	switch (mirror->stage) {
	case STAGE_LINKS:
		end_links(mirror, good);
		return good;
	case STAGE_ADDRS:
		end_addrs(mirror, good);
		return good;
	case STAGE_RULES_V4:
		end_rules(mirror, IP_V4, good);
		return good;
	case STAGE_RULES_V6:
		end_rules(mirror, IP_V6, good);
		return good;
	case STAGE_NEIGHBOURS:
		return fib_end_dump(mirror->fib, FIB_DUMP_NEIGHBOURS, good);
	case STAGE_ROUTES_V4:
		good = fib_end_dump(mirror->fib, FIB_DUMP_ROUTES_V4, good);
		mirror->v4.unsettled &= !good;
		return good;
	default:
		good = fib_end_dump(mirror->fib, FIB_DUMP_ROUTES_V6, good);
		mirror->v6.unsettled &= !good;
		return good;
	}
}

static void end_stage(struct mirror *mirror)
{
	enum stage stage = mirror->stage;
	bool good = close_stage(mirror);

	mirror->stage = STAGE_NONE;
	/* Routes of tables that are not kept may have gone in silence too. */
	if (stage == STAGE_ROUTES_V4 || stage == STAGE_ROUTES_V6)
		mirror->changed_all = true;
	if (good) {
		mirror->retries[stage] = 0;
		mirror->finished |= 1u << stage;
	} else {
		mirror->wanted |= 1u << stage;
		if (++mirror->retries[stage] > DUMP_RETRIES) {
			mirror->resync_at_ns = mirror->now_ns + DUMP_PAUSE_NS;
			mirror->finished |= 1u << stage;
		}
	}
	if (mirror->finished == ALL_STAGES && mirror->wanted == 0)
		mirror->stats.dumps++;
	mirror->ready = mirror->finished == ALL_STAGES;
	next_stage(mirror);
}

/* True when the dump ended. */
static bool take_dump_message(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		mirror->stage_bad = true;
	switch (nlh->nlmsg_type) {
	case NLMSG_DONE:
		return true;
	case NLMSG_ERROR:
		/* A kernel without the family has none of its entries. */
		if (err->error != -EOPNOTSUPP && err->error != -EAFNOSUPPORT)
			mirror->stage_bad = true;
		return true;
	default:
		take_dumped(mirror, nlh);
		return false;
	}
}

static void read_dump(struct mirror *mirror)
{
	for (unsigned i = 0; i < MIRROR_DUMP_DATAGRAMS && mirror->stage != STAGE_NONE; i++) {
		ssize_t got = receive(mirror, mirror->dump.socket, sizeof(mirror->buf));
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)mirror->buf;
		int left = (int)got;
		bool ended = false;

		if (got < 0)
			return;
		for (; !ended && mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			if (nlh->nlmsg_seq == mirror->stage_seq)
				ended = take_dump_message(mirror, nlh);
		}
		if (ended)
			end_stage(mirror);
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
		mirror->wanted |= ALL_STAGES;
		mirror->resync_at_ns = mirror->now_ns + DUMP_PAUSE_NS;
	}
	if (mirror->addrs_changed)
		tell_locals(mirror);
	tell_forwarding(mirror);
	if (mirror->changed_all)
		callbacks->routing_changed(callbacks->arg, mirror->changes, 0);
	else if (mirror->change_count > 0)
		callbacks->routing_changed(callbacks->arg, mirror->changes, mirror->change_count);
	mirror->changed_all = false;
	mirror->change_count = 0;
}

/* Endpoints. */

struct answer {
	const struct mirror *mirror;
	const struct mirror_query *query;
	struct mirror_path *path;
	bool unicast;
};

static uint32_t metrics_mtu(const struct nlattr *metrics)
{
	const struct nlattr *attrs[RTAX_MTU + 1];

	if (!metrics)
		return 0;
	netlink_attrs_in(
		mnl_attr_get_payload(metrics), mnl_attr_get_payload_len(metrics), attrs, RTAX_MTU);
	return netlink_get_u32(attrs[RTAX_MTU], 0);
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
	path->mtu = metrics_mtu(attrs[RTA_METRICS]);
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
	bool from_local =
		query->local.family == query->remote.addr.family && is_local(mirror, &query->local);
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
