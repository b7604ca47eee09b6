/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the host's configuration share. ifconfig.h is for everybody else.
 *
 *	ifconfig.c	   interfaces that were set up; addresses, MTU, link
 *	ifconfig_route.c   routes to allowed IPs
 *	ifconfig_default.c what a default route needs: a table of its own, policy rules
 *
 * Thread: control. message, where it is an argument, has IFCONFIG_MESSAGE_BYTES and is written when
 * the function fails, or when it has a warning.
 */
#ifndef APP_IFCONFIG_PARTS_H
#define APP_IFCONFIG_PARTS_H

#include <stdbool.h>

#include "hash.h"
#include "ifconfig.h"
#include "netlink.h"

/* A listing that the kernel's tables changed under is made again. */
#define IFCONFIG_LIST_RETRIES 10

struct route {
	struct hash_link link;
	struct ip_prefix prefix;
	uint32_t table;
	bool added;
	bool seen; /* by a listing of the kernel's */
};

/* The policy rules of a default route of one family. */
struct default_rules {
	bool marked, narrow_main; /* which of the two are there */
	bool tells_mark;	  /* the first says that src_valid_mark is ours */
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
	struct ip_prefix *networks; /* of the addresses that it had when routes were last added */
	uint32_t network_count, network_room;
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

/* Whether the prefix is a default route that goes into a table of its own. */
static inline bool is_own_default(const struct interface *interface, const struct ip_prefix *prefix)
{
	return interface->table == IFCONFIG_TABLE_AUTO && prefix->bits == 0;
}

struct interface *ifconfig_find(const struct ifconfig *ifconfig, uint32_t ifindex);
/* What an errno of the kernel means here, and what would be right; otherwise NULL: as strerror().
 */
const char *ifconfig_explain(int error, const char *otherwise);

/* All or nothing. */
int routes_add(struct ifconfig *ifconfig, struct interface *interface,
	const struct ip_prefix *prefixes, uint32_t n, char *message);
/* All that are left. */
void routes_remove(struct ifconfig *ifconfig, struct interface *interface);

/* Chooses the interface's table for default routes. */
int default_find_table(struct ifconfig *ifconfig, struct interface *interface, char *message);
/* The policy rules for the default routes among these, and what else they need. All or nothing. */
int default_add_rules(struct ifconfig *ifconfig, struct interface *interface,
	struct route *const *routes, uint32_t n, char *message);
/* And the system's setting, with the last default route that wants it. */
void default_remove_rules(struct ifconfig *ifconfig, struct interface *interface, uint8_t family);

#endif
