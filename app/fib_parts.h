/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the forwarding table share: its structures, and what each file does for the
 * others. fib.h is for everybody else.
 *
 *	fib.c		the table as a whole, and our interfaces
 *	fib_prefix.c	prefixes: which of their routes counts, what the fast path is told
 *	fib_route.c	routes of a prefix, as events bring and take them
 *	fib_dump.c	the same from dumps
 *	fib_neighbour.c	neighbours, and prefixes of their own
 *	fib_way.c	where routes lead, and the next hop ids
 *
 * Thread: control. When memory is out, what returns a pointer returns NULL and has set lost_memory.
 */
#ifndef APP_FIB_PARTS_H
#define APP_FIB_PARTS_H

#include <linux/rtnetlink.h>

#include "base/limits.h"
#include "fib.h"
#include "hash.h"

#define FIB_INTERFACES (LIMIT_PORTS + LIMIT_INTERFACES)
#define FIB_MAX_BITS   128

struct way;

struct leg {
	struct way *way, *group;
	struct leg *next; /* of the same way's parents */
	bool dead;
};

struct way {
	struct hash_link link; /* fib->ways */
	bool group;
	uint32_t id;		    /* MIRROR_NEXTHOP_HOST: none */
	uint32_t users;		    /* routes, and the neighbour's own prefix */
	struct mirror_nexthop told; /* while it has an id */

	/* An interface (addr IP_NONE) or a neighbour on it */
	uint32_t ifindex;
	struct ip_addr addr;
	struct leg *parents; /* groups it is part of */
	bool known;	     /* the kernel has an entry for it */
	bool resolved, stale;
	uint8_t mac[MIRROR_MAC_BYTES];
	uint32_t seen, touched; /* generations of the neighbour dump */
	struct prefix *host;	/* its own prefix, when it stands in the table */
	uint64_t probed_ns;

	/* A group: several paths, one that is dead, or one with an MTU of its own */
	uint16_t mtu; /* 0: none */
	uint8_t leg_count;
	struct leg legs[];
};

struct route {
	struct route *next;
	struct way *way; /* NULL: the host */
	uint32_t table, priority;
	uint64_t rest;
	uint32_t seen, touched; /* generations of its family's dump */
	uint8_t tos, type;
	bool gone; /* deleted by an event; kept while a dump runs, which may still name it */
};

struct prefix {
	struct hash_link link; /* fib->prefixes */
	struct ip_prefix prefix;
	struct route *routes;
	uint32_t live;	  /* routes that are not gone */
	uint32_t onlink;  /* the port's interface when the best route is on-link there, else 0 */
	struct way *host; /* the neighbour with this address */
	bool told;
	uint32_t told_id;
};

struct interface {
	uint32_t ifindex;
	enum mirror_nexthop_kind kind;
	uint8_t id;
	uint8_t mac[MIRROR_MAC_BYTES];
};

struct resting_id {
	uint32_t id;
	uint64_t since_ns;
};

/* Of one family. */
struct family {
	uint32_t route_lengths[FIB_MAX_BITS + 1];  /* prefixes with live routes, by length */
	uint32_t onlink_lengths[FIB_MAX_BITS + 1]; /* of these, the on-link ones */
	uint32_t own_tables[MIRROR_OWN_TABLES];
	unsigned own_count;
	uint32_t strays;	/* live routes in own tables that are no default routes */
	struct ip_prefix *wide; /* local prefixes of more than one address */
	uint32_t wide_count;
	bool wide_dirty;
};

struct fib {
	const struct mirror_callbacks *callbacks;
	uint64_t now_ns;
	struct interface interfaces[FIB_INTERFACES];
	unsigned interface_count;
	struct hash ways, prefixes;
	struct family v4, v6;
	uint32_t generation[FIB_DUMPS];
	bool running[FIB_DUMPS], doubt[FIB_DUMPS];
	bool hosts_dirty;
	bool lost_memory, ids_warned;

	uint32_t limit_ids, next_id; /* ids from next_id on were never used */
	struct way **by_id;
	struct resting_id *resting; /* a ring of limit_ids */
	uint32_t resting_first, resting_count;

	struct mirror_stats stats;
};

static inline struct family *family_of(struct fib *fib, uint8_t family)
{
	return family == IP_V4 ? &fib->v4 : &fib->v6;
}

static inline enum fib_dump dump_of(uint8_t family)
{
	return family == IP_V4 ? FIB_DUMP_ROUTES_V4 : FIB_DUMP_ROUTES_V6;
}

static inline uint64_t hash_addr(uint64_t value, const struct ip_addr *addr)
{
	uint64_t words[2];

	memcpy(words, addr->bytes, sizeof(words));
	return hash_mix(hash_mix(value, words[0] ^ addr->family), words[1]);
}

/* Interfaces of ours; NULL or false for any other. */
const struct interface *interface_find(const struct fib *fib, uint32_t ifindex);
bool is_port(const struct fib *fib, uint32_t ifindex);

/* Which table answers first: local, own ones in the order of their rules, main; -1: none of them.
 */
int table_rank(const struct family *family, uint32_t table);
bool is_own_rank(int rank);
/* Whether the prefix lies within a local one under which routes of other tables never count. */
bool in_wide_local(const struct fib *fib, const struct ip_prefix *prefix);
struct prefix *prefix_find(const struct fib *fib, const struct ip_prefix *key);
/* Made if there is none. Who does not use it must release it. */
struct prefix *prefix_get(struct fib *fib, const struct ip_prefix *key);
/* Frees a prefix that has neither routes nor a neighbour. */
void prefix_release(struct fib *fib, struct prefix *prefix);
/* Brings the fast path in line with what is known of the prefix. */
void prefix_tell(struct fib *fib, struct prefix *prefix);
/* The same, after its routes changed. */
void prefix_routes_changed(struct fib *fib, struct prefix *prefix);
/* The longest prefix with routes that covers an address; NULL: none. */
const struct prefix *prefix_lookup(struct fib *fib, const struct ip_addr *addr);
/* A route begins to count (on), or ceases to. */
void prefix_count(struct fib *fib, struct prefix *prefix, const struct route *route, bool on);

/* Whether a route has the table, priority and TOS of one that the kernel told of. */
bool route_same_key(const struct route *route, const struct fib_route *from);
struct route *route_find(
	const struct prefix *prefix, const struct fib_route *from, const struct way *way);
/* Adds a route that is new, in front or behind; the way gets a user. */
struct route *route_insert(struct fib *fib, struct prefix *prefix, const struct fib_route *from,
	struct way *way, enum fib_order order);
/*
 * The prefix and the way of a route that the kernel told of, made where they are new. NULL: the
 * route is in no table that counts, or memory is out.
 */
struct prefix *route_open(struct fib *fib, const struct fib_route *from, struct way **way);
/* Deletes tombstones, what tables left that do not count, and (sweep) what a dump did not name. */
void routes_clean(struct fib *fib, uint8_t family, bool sweep);

/* Lets go of what is known of a neighbour. While it still counts as known, that does not free it.
 */
void neighbour_forget(struct fib *fib, struct way *way);
/* Adds or removes a neighbour's own prefix, as it is wanted now. */
void neighbour_review(struct fib *fib, struct way *way);
/* At the end of a dump: deletes (sweep) neighbours that it did not name. */
void neighbours_clean(struct fib *fib, bool sweep);

/* The way of these legs, made if there is none. Who does not use it must release it. */
struct way *way_get(struct fib *fib, const struct fib_leg *legs, unsigned n, uint16_t mtu);
struct way *way_find_single(const struct fib *fib, uint32_t ifindex, const struct ip_addr *addr);
bool way_has_leg(const struct way *way, unsigned i, const struct fib_leg *leg);
void way_use(struct fib *fib, struct way *way);
void way_unuse(struct fib *fib, struct way *way);
/* Frees a way that nothing needs: no route, no group, no entry of the kernel, no running dump. */
void way_release(struct fib *fib, struct way *way);
/* Tells the next hop anew, and those of the groups it is part of. */
void way_refresh(struct fib *fib, struct way *way);
/* The path that a multipath route takes here: the first that leads past the host; or NULL. */
struct way *way_in_use(const struct fib *fib, struct way *way);

#endif
