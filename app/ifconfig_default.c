/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a default route through the tunnel needs, as with wg-quick(8): a table of its own, two
 * policy rules, and the reverse path filter told of the mark.
 */
#include "ifconfig_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/fib_rules.h>

#include "policy.h"
#include "rtnl.h"

#define SRC_VALID_MARK "/proc/sys/net/ipv4/conf/all/src_valid_mark"
/* Tables that are looked at to find an empty one. */
#define TABLES_TRIED 256

/*
 * Our rules say whose they are, for the next start after a crash. The second kind is of one whose
 * interface set src_valid_mark, which was off.
 */
#define PROTOCOL	  IFCONFIG_RULE_PROTOCOL
#define PROTOCOL_MARK	  (IFCONFIG_RULE_PROTOCOL + 1)
#define LEFTOVERS_AT_ONCE 64

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

	for (unsigned i = 0; i < IFCONFIG_LIST_RETRIES && error == -EINTR; i++) {
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

int default_find_table(struct ifconfig *ifconfig, struct interface *interface, char *message)
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
				interface->name, ifconfig_explain(error, NULL));
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

	for (unsigned i = 0; i < IFCONFIG_LIST_RETRIES && error == -EINTR; i++) {
		struct fib_rule_hdr *frh;
		struct nlmsghdr *nlh = netlink_request(
			&ifconfig->nl, buf, RTM_GETRULE, NLM_F_DUMP, sizeof(*frh), (void **)&frh);

		frh->family = netlink_family(family);
		*first = 32766;
		error = netlink_ask(&ifconfig->nl, nlh, on_rule, first);
	}
	return error;
}

/* What is done to a rule; a removed one has either protocol, or the first. */
enum change {
	RULE_REMOVE,
	RULE_REMOVE_FIRST_KIND,
	RULE_ADD = PROTOCOL,
	RULE_ADD_MARK = PROTOCOL_MARK,
};

static int change_rule(struct ifconfig *ifconfig, uint8_t family, uint32_t priority, uint32_t table,
	bool marked, enum change change)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct fib_rule_hdr *frh;
	bool remove = change == RULE_REMOVE || change == RULE_REMOVE_FIRST_KIND;
	/* Not exclusive: to the kernel the same rule of another protocol is the same. */
	uint16_t flags = remove ? NLM_F_ACK : NLM_F_ACK | NLM_F_CREATE;
	struct nlmsghdr *nlh = netlink_request(&ifconfig->nl, buf,
		remove ? RTM_DELRULE : RTM_NEWRULE, flags, sizeof(*frh), (void **)&frh);

	frh->family = netlink_family(family);
	frh->action = FR_ACT_TO_TBL;
	frh->table = table < 256 ? (uint8_t)table : RT_TABLE_UNSPEC;
	mnl_attr_put_u32(nlh, FRA_TABLE, table);
	mnl_attr_put_u32(nlh, FRA_PRIORITY, priority);
	if (change == RULE_REMOVE_FIRST_KIND)
		mnl_attr_put_u8(nlh, FRA_PROTOCOL, PROTOCOL);
	else if (!remove)
		mnl_attr_put_u8(nlh, FRA_PROTOCOL, (uint8_t)change);
	if (marked) {
		frh->flags = FIB_RULE_INVERT;
		mnl_attr_put_u32(nlh, FRA_FWMARK, table);
	} else {
		mnl_attr_put_u32(nlh, FRA_SUPPRESS_PREFIXLEN, 0);
	}
	return netlink_ask(&ifconfig->nl, nlh, NULL, NULL);
}

static bool write_flag(const char *path, char value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, &value, 1) == 1;

	if (fd >= 0)
		close(fd);
	return written;
}

static bool src_valid_mark_is_off(void)
{
	int fd = open(SRC_VALID_MARK, O_RDONLY | O_CLOEXEC);
	char value = '1';
	bool off = fd >= 0 && read(fd, &value, 1) == 1 && value == '0';

	if (fd >= 0)
		close(fd);
	return off;
}

static struct default_rules *rules_of(struct interface *interface, uint8_t family)
{
	return family == IP_V4 ? &interface->rules_v4 : &interface->rules_v6;
}

/* Somebody of ours set it, or would have to now. */
static bool src_valid_mark_is_ours(const struct ifconfig *ifconfig)
{
	for (const struct interface *at = ifconfig->last; at; at = at->earlier) {
		if (at->set_src_valid_mark)
			return true;
	}
	return src_valid_mark_is_off();
}

/* Its rule says so from now on, without a moment in which there is none. */
static void tell_mark(struct ifconfig *ifconfig, struct interface *interface)
{
	struct default_rules *rules = &interface->rules_v4;

	if (rules->tells_mark || change_rule(ifconfig, IP_V4, rules->marked_priority,
					 interface->default_table, true, RULE_ADD_MARK) != 0)
		return;
	rules->tells_mark = true;
	change_rule(ifconfig, IP_V4, rules->marked_priority, interface->default_table, true,
		RULE_REMOVE_FIRST_KIND);
}

/* The setting goes with the last default route that wants it, or passes to another's. */
static void undo_src_valid_mark(struct ifconfig *ifconfig, struct interface *interface)
{
	if (!interface->set_src_valid_mark)
		return;
	interface->set_src_valid_mark = false;
	for (struct interface *at = ifconfig->last; at; at = at->earlier) {
		if (at != interface && at->rules_v4.marked) {
			at->set_src_valid_mark = true;
			tell_mark(ifconfig, at);
			return;
		}
	}
	write_flag(SRC_VALID_MARK, '0');
}

void default_remove_rules(struct ifconfig *ifconfig, struct interface *interface, uint8_t family)
{
	struct default_rules *rules = rules_of(interface, family);

	/* First, so that a crash in between leaves a rule that tells of the setting. */
	if (family == IP_V4)
		undo_src_valid_mark(ifconfig, interface);
	if (rules->narrow_main)
		change_rule(ifconfig, family, rules->narrow_main_priority, RT_TABLE_MAIN, false,
			RULE_REMOVE);
	if (rules->marked)
		change_rule(ifconfig, family, rules->marked_priority, interface->default_table,
			true, RULE_REMOVE);
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
		ifconfig, family, rules->narrow_main_priority, RT_TABLE_MAIN, false, RULE_ADD);
	rules->narrow_main = error == 0;
	if (error != 0)
		return error;
	rules->tells_mark = family == IP_V4 && src_valid_mark_is_ours(ifconfig);
	error = change_rule(ifconfig, family, rules->marked_priority, interface->default_table,
		true, rules->tells_mark ? RULE_ADD_MARK : RULE_ADD);
	rules->marked = error == 0;
	if (error != 0)
		default_remove_rules(ifconfig, interface, family);
	return error;
}

/*
 * The reverse path filter is to judge what comes for our sockets with their mark. Where it cannot
 * be told (a container's read-only /proc/sys) nothing is lost unless the filter is strict.
 */
static void set_src_valid_mark(struct interface *interface, char *message)
{
	if (!src_valid_mark_is_off())
		return;
	if (write_flag(SRC_VALID_MARK, '1'))
		interface->set_src_valid_mark = true;
	else
		snprintf(message, IFCONFIG_MESSAGE_BYTES,
			"%s: %s cannot be set to 1: where rp_filter is 1, the host drops what "
			"peers send it through outer ports",
			interface->name, SRC_VALID_MARK);
}

int default_add_rules(struct ifconfig *ifconfig, struct interface *interface,
	struct route *const *routes, uint32_t n, char *message)
{
	int error = 0;
	uint8_t done[2] = {IP_NONE, IP_NONE};
	unsigned count = 0;

	for (uint32_t i = 0; i < n && error == 0; i++) {
		uint8_t family = routes[i]->prefix.addr.family;

		/* The rules outlive a route that the kernel took. */
		if (!is_own_default(interface, &routes[i]->prefix) ||
			rules_of(interface, family)->marked)
			continue;
		error = add_rules_of(ifconfig, interface, family);
		if (error == 0)
			done[count++] = family;
		if (error == 0 && family == IP_V4)
			set_src_valid_mark(interface, message);
	}
	if (error == 0)
		return 0;
	while (count > 0)
		default_remove_rules(ifconfig, interface, done[--count]);
	snprintf(message, IFCONFIG_MESSAGE_BYTES, "%s: policy rules for the default route: %s",
		interface->name,
		ifconfig_explain(error,
			error == -ERANGE
				? "no priority is free before the first rule: move it (ip rule)"
				: NULL));
	return error;
}

struct leftovers {
	struct policy_rule rules[LEFTOVERS_AT_ONCE];
	unsigned n;
};

static int on_leftover(const struct nlmsghdr *nlh, void *arg)
{
	struct leftovers *left = arg;
	struct policy_rule rule;

	if (nlh->nlmsg_type == RTM_NEWRULE && rtnl_parse_rule(nlh, &rule) &&
		(rule.protocol == PROTOCOL || rule.protocol == PROTOCOL_MARK) &&
		left->n < LEFTOVERS_AT_ONCE)
		left->rules[left->n++] = rule;
	return MNL_CB_OK;
}

/* Some of a family's; returns how many went. */
static unsigned remove_leftovers(struct ifconfig *ifconfig, uint8_t family)
{
	uint8_t buf[NETLINK_REQUEST_BYTES];
	struct leftovers left = {0};
	struct fib_rule_hdr *frh;
	struct nlmsghdr *nlh = netlink_request(
		&ifconfig->nl, buf, RTM_GETRULE, NLM_F_DUMP, sizeof(*frh), (void **)&frh);
	unsigned removed = 0;

	frh->family = netlink_family(family);
	/* Of a listing that was cut short, what came is true all the same. */
	(void)netlink_ask(&ifconfig->nl, nlh, on_leftover, &left);
	for (unsigned i = 0; i < left.n; i++) {
		const struct policy_rule *rule = &left.rules[i];

		if (change_rule(ifconfig, family, rule->priority, rule->table, rule->inverted,
			    RULE_REMOVE) != 0)
			continue;
		removed++;
		if (rule->protocol == PROTOCOL_MARK)
			(void)write_flag(SRC_VALID_MARK, '0');
	}
	return removed;
}

unsigned ifconfig_remove_leftovers(struct ifconfig *ifconfig)
{
	static const uint8_t families[] = {IP_V4, IP_V6};
	unsigned removed = 0, n;

	for (unsigned i = 0; i < 2; i++) {
		do {
			n = remove_leftovers(ifconfig, families[i]);
			removed += n;
		} while (n > 0);
	}
	return removed;
}
