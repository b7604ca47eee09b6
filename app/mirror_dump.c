/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dumps of the kernel's tables, one after the other. One that the tables changed under is made
 * again.
 */
#include "mirror_parts.h"

#include <errno.h>

#include <linux/fib_rules.h>
#include <linux/neighbour.h>

/* A dump that tables changed under is made again at once so often, then after MIRROR_DUMP_PAUSE_NS.
 */
#define DUMP_RETRIES 5

void dump_want(struct mirror *mirror, uint32_t stages)
{
	if ((mirror->wanted & stages) == stages)
		return;
	if (mirror->wanted == 0)
		mirror->resync_at_ns = mirror->now_ns + MIRROR_RESYNC_DELAY_NS;
	mirror->wanted |= stages;
}

void dump_want_all(struct mirror *mirror, uint64_t pause_ns)
{
	mirror->wanted = ALL_STAGES;
	mirror->resync_at_ns = mirror->now_ns + pause_ns;
}

/* The kernel changes routes without telling when their interface or source address goes. */
void dump_want_routes(struct mirror *mirror)
{
	dump_want(mirror, 1u << STAGE_ROUTES_V4 | 1u << STAGE_ROUTES_V6);
}

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
		forwarding_ask(mirror, IP_V4);
		break;
	case STAGE_RULES_V6:
		mirror->v6.rules.n = 0;
		mirror->v6.rules_whole = false;
		forwarding_ask(mirror, IP_V6);
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

void dump_next(struct mirror *mirror)
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
	mirror->resync_at_ns = mirror->now_ns + MIRROR_DUMP_PAUSE_NS;
	mirror->stage = STAGE_NONE;
}

/* False: to be made again. */
static bool close_stage(struct mirror *mirror)
{
	bool good = !mirror->stage_bad && !mirror->stage_outdated;

	switch (mirror->stage) {
	case STAGE_LINKS:
		links_end(mirror, good);
		return good;
	case STAGE_ADDRS:
		addrs_end(mirror, good);
		return good;
	case STAGE_RULES_V4:
		rules_end(mirror, IP_V4, good);
		return good;
	case STAGE_RULES_V6:
		rules_end(mirror, IP_V6, good);
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
			mirror->resync_at_ns = mirror->now_ns + MIRROR_DUMP_PAUSE_NS;
			mirror->finished |= 1u << stage;
		}
	}
	if (mirror->finished == ALL_STAGES && mirror->wanted == 0)
		mirror->stats.dumps++;
	mirror->ready = mirror->finished == ALL_STAGES;
	dump_next(mirror);
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
	else if (nlh->nlmsg_type == RTM_NEWROUTE && rtnl_parse_route(nlh, &route)) {
		mirror_note_nexthop(mirror, &route);
		if (fib_dump_route(mirror->fib, &route))
			mirror_note_change(mirror, &route.prefix);
	}
}

/*
 * Both messages that end a dump begin with an error, 0 for none: a dump that the kernel had to give
 * up half-way ends with NLMSG_DONE all the same.
 */
static int end_error(const struct nlmsghdr *nlh)
{
	const int *error = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*error))
		return nlh->nlmsg_type == NLMSG_DONE ? 0 : -EPROTO;
	/* A kernel without the family has none of its entries. */
	return *error == -EOPNOTSUPP || *error == -EAFNOSUPPORT ? 0 : *error;
}

/* True when the dump ended. */
static bool take_dump_message(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		mirror->stage_bad = true;
	switch (nlh->nlmsg_type) {
	case NLMSG_DONE:
	case NLMSG_ERROR:
		mirror->stage_bad |= end_error(nlh) != 0;
		return true;
	default:
		take_dumped(mirror, nlh);
		return false;
	}
}

void dump_read(struct mirror *mirror)
{
	for (unsigned i = 0; i < MIRROR_DUMP_DATAGRAMS && mirror->stage != STAGE_NONE; i++) {
		ssize_t got = mirror_receive(mirror, mirror->dump.socket, sizeof(mirror->buf));
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
