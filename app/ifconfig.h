/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of an interface's configuration, as wg-quick(8) would do it: addresses, MTU, link
 * up, routes to the allowed IPs. Everything is written down as it is done and undone in reverse
 * order, at the end or when a later step fails.
 *
 * Thread: control. Blocks only while the kernel works on a request (100,000 routes: about a
 * second). Allocates with malloc.
 *
 * Routes. Table = off: none. Table = N: each allowed IP in table N. Table = auto: in the main
 * table, but for those that the addresses cover which the interface then has. A default route
 * (0.0.0.0/0 or ::/0) goes, as with wg-quick, into a table of its own with two policy rules,
 *	not from all fwmark TABLE lookup TABLE
 *	from all lookup main suppress_prefixlength 0
 * so that everything but the marked sealed packets takes it: the interface's sockets must be
 * given the mark (ifconfig_fwmark()). wg-quick's firewall rules against spoofed answers are not
 * made: what comes sealed is checked against the allowed IPs, and the rest is the operator's
 * firewall.
 *
 * wg-quick sets routes once. Here they may follow the configuration file's peers while the program
 * runs: ifconfig_add_routes(), ifconfig_remove_routes().
 */
#ifndef APP_IFCONFIG_H
#define APP_IFCONFIG_H

#include <stdint.h>

#include "base/addr.h"

#define IFCONFIG_MESSAGE_BYTES 320
#define IFCONFIG_NAME_BYTES    16
/* The first table (and mark) that is tried for a default route. */
#define IFCONFIG_FIRST_TABLE 51820u
/*
 * Who made our policy rules (`ip rule` shows "proto 87", or 88): no number that rt_protos names.
 */
#define IFCONFIG_RULE_PROTOCOL 87

struct ifconfig;

enum ifconfig_table {
	IFCONFIG_TABLE_AUTO,
	IFCONFIG_TABLE_OFF,
	IFCONFIG_TABLE_NUMBER,
};

struct ifconfig_request {
	const char *name; /* of the interface, for messages */
	uint32_t ifindex;
	const struct ip_prefix *addresses; /* host bits kept */
	uint32_t address_count;
	uint16_t mtu; /* 0: leave it */
	enum ifconfig_table table;
	uint32_t table_number;
	uint32_t fwmark; /* of the config file: also the table of a default route; 0: none */
	const struct ip_prefix *routes; /* the allowed IPs of all peers */
	uint32_t route_count;
};

/* NULL with errno set. */
struct ifconfig *ifconfig_create(void);
/* Undoes everything, the last first, and frees. What is gone already is no error. */
void ifconfig_destroy(struct ifconfig *ifconfig);

/*
 * Sets up one interface, once. 0, and message is empty or a warning; or a negative errno with
 * nothing of it left, and in message one line without a newline that says which step failed and
 * what would be right.
 */
int ifconfig_apply(struct ifconfig *ifconfig, const struct ifconfig_request *request,
	char message[IFCONFIG_MESSAGE_BYTES]);
/* Undoes what was done for this interface, e.g. before it is removed. */
void ifconfig_undo(struct ifconfig *ifconfig, uint32_t ifindex);

/*
 * Allowed IPs that came or went, for an interface that was set up. Those that have a route already,
 * ours or anybody's that leads out of the interface, are left out, and those whose route is not
 * from here are not removed. All or nothing, as above.
 */
int ifconfig_add_routes(struct ifconfig *ifconfig, uint32_t ifindex,
	const struct ip_prefix *prefixes, uint32_t n, char message[IFCONFIG_MESSAGE_BYTES]);
void ifconfig_remove_routes(
	struct ifconfig *ifconfig, uint32_t ifindex, const struct ip_prefix *prefixes, uint32_t n);

/*
 * The kernel takes routes along without a word, with a link that goes down and with an address:
 * forgets those that are there no more, so that they can be added again. The policy rules of a
 * default route stay. 0, or a negative errno: the kernel could not be asked.
 */
int ifconfig_forget_lost_routes(struct ifconfig *ifconfig, uint32_t ifindex);

/*
 * Removes the policy rules of programs that did not come to their end, and the setting that went
 * with them; nothing of a program that runs in this namespace must be there yet. Returns how many.
 */
unsigned ifconfig_remove_leftovers(struct ifconfig *ifconfig);

/*
 * The sockets have this mark by now: as with one of the config file, a default route that comes
 * next goes into the table of this number. Nothing while there is one, and with 0.
 */
void ifconfig_set_fwmark(struct ifconfig *ifconfig, uint32_t ifindex, uint32_t fwmark);

/* The mark that the interface's sockets need for its default route; 0: none, or there is none. */
uint32_t ifconfig_fwmark(const struct ifconfig *ifconfig, uint32_t ifindex);

/* The tables of own default routes, for mirror_set_own_tables(); how many were written. */
unsigned ifconfig_own_tables(const struct ifconfig *ifconfig, uint32_t *tables, unsigned limit);

#endif
