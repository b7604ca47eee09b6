/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Policy rules and the kernel's switch for forwarding: whether the forwarding table may answer in
 * the kernel's place. policy.c judges the rules.
 */
#include "mirror_parts.h"

#include <assert.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/netconf.h>

bool rule_append(struct rules *rules, const struct policy_rule *rule)
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
	enum stage routes = family == IP_V4 ? STAGE_ROUTES_V4 : STAGE_ROUTES_V6;
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
		/* A dump under way may have passed the routes of these tables. */
		mirror->stage_outdated |= mirror->stage == routes;
		dump_want(mirror, 1u << routes);
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
	forwarding_tell(mirror);
}

void rules_end(struct mirror *mirror, enum ip_family family, bool sweep)
{
	side_of(mirror, (uint8_t)family)->rules_whole = sweep;
	if (sweep)
		judge_rules(mirror, family);
}

static struct entrance *entrance_find(struct mirror *mirror, uint32_t ifindex)
{
	for (unsigned i = 0; i < mirror->entrance_count; i++) {
		if (mirror->entrances[i].ifindex == ifindex)
			return &mirror->entrances[i];
	}
	return NULL;
}

void forwarding_take(struct mirror *mirror, const struct nlmsghdr *nlh)
{
	struct entrance *entrance;
	int32_t ifindex;
	uint8_t family;
	bool on;

	if (nlh->nlmsg_type != RTM_NEWNETCONF ||
		!rtnl_parse_forwarding(nlh, &family, &ifindex, &on))
		return;
	if (ifindex == NETCONFA_IFINDEX_ALL)
		side_of(mirror, family)->forwarding = on;
	/* An interface's own switch of IPv6 is about router advertisements. */
	if (ifindex <= 0 || family != IP_V4)
		return;
	entrance = entrance_find(mirror, (uint32_t)ifindex);
	if (entrance)
		entrance->barred = !on;
}

static int on_forwarding(const struct nlmsghdr *nlh, void *arg)
{
	forwarding_take(arg, nlh);
	return MNL_CB_OK;
}

static void ask(struct mirror *mirror, enum ip_family family, int32_t ifindex)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct netconfmsg *ncm;
	struct nlmsghdr *nlh = netlink_request(
		&mirror->query, buf, RTM_GETNETCONF, 0, sizeof(*ncm), (void **)&ncm);

	ncm->ncm_family = netlink_family((uint8_t)family);
	mnl_attr_put_u32(nlh, NETCONFA_IFINDEX, (uint32_t)ifindex);
	netlink_ask(&mirror->query, nlh, on_forwarding, mirror);
}

void forwarding_ask(struct mirror *mirror, enum ip_family family)
{
	/* A host without the family forwards nothing of it. */
	side_of(mirror, (uint8_t)family)->forwarding = false;
	ask(mirror, family, NETCONFA_IFINDEX_ALL);
	for (unsigned i = 0; i < mirror->entrance_count && family == IP_V4; i++)
		ask(mirror, family, (int32_t)mirror->entrances[i].ifindex);
}

void entrance_add(struct mirror *mirror, uint32_t ifindex)
{
	assert(mirror->entrance_count < sizeof(mirror->entrances) / sizeof(mirror->entrances[0]));
	mirror->entrances[mirror->entrance_count++] = (struct entrance){.ifindex = ifindex};
	if (mirror->started)
		ask(mirror, IP_V4, (int32_t)ifindex);
}

void entrance_remove(struct mirror *mirror, uint32_t ifindex)
{
	struct entrance *entrance = entrance_find(mirror, ifindex);

	if (entrance)
		*entrance = mirror->entrances[--mirror->entrance_count];
}

/* The first that is; NULL: none. */
static const struct entrance *barred_entrance(const struct mirror *mirror, enum ip_family family)
{
	for (unsigned i = 0; i < mirror->entrance_count && family == IP_V4; i++) {
		if (mirror->entrances[i].barred)
			return &mirror->entrances[i];
	}
	return NULL;
}

static bool may_forward(struct mirror *mirror, enum ip_family family)
{
	const struct side *side = side_of(mirror, (uint8_t)family);

	return mirror->ready && side->rules_known && side->policy.plain && side->forwarding &&
	       !side->unsettled && !fib_own_tables_stray(mirror->fib, family) &&
	       !barred_entrance(mirror, family);
}

void forwarding_tell(struct mirror *mirror)
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

/* With the longest names no longer than a string of DPDK's telemetry: 127 characters. */
const char *mirror_forwarding_hint(struct mirror *mirror, enum ip_family family)
{
	struct side *side = side_of(mirror, (uint8_t)family);
	const char *name = family == IP_V4 ? "IPv4" : "IPv6";
	const char *option = family == IP_V4 ? "" : " -6";
	const struct entrance *barred = barred_entrance(mirror, family);
	char device[IF_NAMESIZE] = "";

	if (!mirror->ready)
		return NULL;
	if (!side->forwarding)
		snprintf(side->hint, sizeof(side->hint),
			"%s is not forwarded: the kernel does not (sysctl -w %s=1 enables it)",
			name,
			family == IP_V4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding");
	else if (barred && if_indextoname(barred->ifindex, device))
		snprintf(side->hint, sizeof(side->hint),
			"%s is forwarded by the kernel, slowly: but not from %s (sysctl -w "
			"net.ipv4.conf.%s.forwarding=1)",
			name, device, device);
	else if (side->rules_known && !side->policy.plain)
		snprintf(side->hint, sizeof(side->hint),
			"%s is forwarded by the kernel, slowly: policy rules other than the "
			"default ones (see ip%s rule, priority %u)",
			name, option, side->policy.stranger);
	else if (fib_own_tables_stray(mirror->fib, family))
		snprintf(side->hint, sizeof(side->hint),
			"%s is forwarded by the kernel, slowly: an own default route's table has "
			"more routes (see ip%s route show table %u)",
			name, option, side->policy.own_tables[0]);
	else
		return NULL;
	return side->hint;
}
