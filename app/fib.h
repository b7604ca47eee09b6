/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the kernel's routes and neighbours to the fast path's forwarding table: the inner half of
 * the mirror (mirror.h says what comes out), without netlink. Fed with routes, neighbours and the
 * numbers of our interfaces, it tells each change of a prefix or next hop through the mirror's
 * callbacks set_nexthop, set_prefix, delete_prefix, neighbour_changed and warn.
 *
 * Way: where a route leads. An interface, a neighbour on it, or several of these (multipath), with
 * the route's MTU if it has one. Ways are shared by all routes that lead there; each has one next
 * hop id while a prefix uses it.
 *
 * Thread: control. Allocates with malloc, in step with what it is fed; when memory is out an entry
 * is left out (its packets go to the host) and fib_lost_memory() tells.
 */
#ifndef APP_FIB_H
#define APP_FIB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "mirror.h"

/* Paths of one multipath route that are looked at. */
#define FIB_LEGS 16

struct fib;

struct fib_leg {
	uint32_t ifindex;
	struct ip_addr gateway; /* IP_NONE: none */
	bool dead;		/* the kernel does not use it now */
};

struct fib_route {
	struct ip_prefix prefix;
	uint32_t table;
	uint32_t priority;
	uint8_t tos;
	uint8_t type;	     /* RTN_* of rtnetlink */
	uint16_t mtu;	     /* 0: the link's */
	uint64_t rest;	     /* of everything else that makes two routes different to the kernel */
	uint32_t nexthop_id; /* of the kernel's nexthop object that it goes by; 0: none */
	uint8_t leg_count;
	struct fib_leg legs[FIB_LEGS];
};

/* How a new route stands to others of the same prefix, table, priority and TOS. */
enum fib_order {
	FIB_LAST,
	FIB_FIRST,
	FIB_REPLACE, /* the first of them goes */
};

/* What a dump is of. */
enum fib_dump {
	FIB_DUMP_ROUTES_V4,
	FIB_DUMP_ROUTES_V6,
	FIB_DUMP_NEIGHBOURS,
	FIB_DUMPS,
};

/* callbacks must outlive the table. 0 or -ENOMEM. */
int fib_create(const struct mirror_callbacks *callbacks, uint32_t limit_nexthops, struct fib **out);
/* Calls nothing back. */
void fib_destroy(struct fib *fib);

/* The time of what follows (monotonic). */
void fib_set_now(struct fib *fib, uint64_t now_ns);

/* As mirror_add_port() and so on. */
int fib_add_port(
	struct fib *fib, uint32_t ifindex, uint8_t port, const uint8_t mac[MIRROR_MAC_BYTES]);
int fib_add_wg(struct fib *fib, uint32_t ifindex, uint8_t interface);
bool fib_remove_interface(struct fib *fib, uint32_t ifindex);
bool fib_has_interface(const struct fib *fib, uint32_t ifindex);
/* The port behind an interface, and its MAC; false when it is no port. */
bool fib_port(
	const struct fib *fib, uint32_t ifindex, uint8_t *port, uint8_t mac[MIRROR_MAC_BYTES]);

/* The tables between local and main, of that family, in the order of their rules. */
void fib_set_own_tables(struct fib *fib, enum ip_family family, const uint32_t *tables, unsigned n);
/* Whether an own table holds more than a default route. */
bool fib_own_tables_stray(const struct fib *fib, enum ip_family family);

/* What an event says. True when something changed. Routes of other tables are left out. */
bool fib_add_route(struct fib *fib, const struct fib_route *route, enum fib_order order);
bool fib_delete_route(struct fib *fib, const struct fib_route *route);
/* mac NULL: not resolved. stale: worth a probe when it is in use. */
void fib_set_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr,
	const uint8_t mac[MIRROR_MAC_BYTES], bool stale);
void fib_delete_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr);

/*
 * What a dump says: begin, each entry, end. While it runs, what an event said of an entry counts
 * for more than the dump. At the end, what neither named is deleted. fib_end_dump() is false, and
 * nothing deleted, when the dump was incomplete or left doubts: then it is to be made again.
 */
void fib_begin_dump(struct fib *fib, enum fib_dump dump);
bool fib_dump_route(struct fib *fib, const struct fib_route *route);
void fib_dump_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr,
	const uint8_t mac[MIRROR_MAC_BYTES], bool stale);
bool fib_end_dump(struct fib *fib, enum fib_dump dump, bool complete);
/* True once when an event, outside of a dump, left doubts that only a dump can settle. */
bool fib_doubts(struct fib *fib, enum fib_dump dump);

/* Brings the prefixes of resolved neighbours in line with routes that changed. After a batch. */
void fib_flush(struct fib *fib);

/* Whether any route leads out of this interface. */
bool fib_uses_interface(const struct fib *fib, uint32_t ifindex);

/* A neighbour of a port: its MAC; false: not known, or not resolved. */
bool fib_neighbour(const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr,
	uint8_t mac[MIRROR_MAC_BYTES]);

/*
 * Asks for a probe of a stale neighbour, at most once a second: true, and which one. By next hop id
 * (of a multipath route: the path in use), or by address.
 */
bool fib_want_probe_nexthop(
	struct fib *fib, uint32_t nexthop, uint32_t *ifindex, struct ip_addr *addr);
bool fib_want_probe_neighbour(struct fib *fib, uint32_t ifindex, const struct ip_addr *addr);

/* True once after an entry was left out. */
bool fib_lost_memory(struct fib *fib);

/* Fills prefixes, routes, neighbours and nexthops. */
void fib_get_stats(const struct fib *fib, struct mirror_stats *out);

#endif
