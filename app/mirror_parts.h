/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the mirror share: its state, and what each file does for the others. mirror.h
 * is for everybody else.
 *
 *	mirror.c	 the mirror as a whole: sockets, events, what is told at the end of a turn
 *	mirror_dump.c	 dumps: which are wanted, one after the other
 *	mirror_link.c	 links, and which interfaces are ours
 *	mirror_addr.c	 the host's own addresses
 *	mirror_rules.c	 policy rules, and whether the kernel forwards
 *	mirror_resolve.c questions: the way to an endpoint, probes of neighbours
 *	fib*.c		 routes and neighbours
 *
 * Thread: control.
 */
#ifndef APP_MIRROR_PARTS_H
#define APP_MIRROR_PARTS_H

#include "base/limits.h"
#include "base/units.h"
#include "fib.h"
#include "hash.h"
#include "mirror.h"
#include "netlink.h"
#include "policy.h"
#include "rtnl.h"

#define MIRROR_LINE_BYTES 320
/* Several changes that call for a dump come together. */
#define MIRROR_RESYNC_DELAY_NS (10 * NS_PER_MS)
#define MIRROR_DUMP_PAUSE_NS   NS_PER_SEC

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

/* Ids of nexthop objects that are told apart: daemons count theirs up from 1. */
#define MIRROR_NEXTHOP_WORDS 256

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

/* An interface that plain packets come in by: a WireGuard interface, an inner port. */
struct entrance {
	uint32_t ifindex;
	bool barred; /* the kernel forwards no IPv4 from it */
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
	char hint[MIRROR_LINE_BYTES];
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
	struct entrance entrances[LIMIT_PORTS + LIMIT_INTERFACES];
	unsigned entrance_count;
	uint32_t own_tables[MIRROR_OWN_TABLES];
	unsigned own_count;

	uint64_t nexthops[MIRROR_NEXTHOP_WORDS]; /* objects that some route went by */

	/* For routing_changed() */
	struct ip_prefix changes[MIRROR_CHANGES];
	unsigned change_count;
	bool changed_all;

	struct mirror_stats stats;
	uint8_t buf[NETLINK_DUMP_BYTES];
};

static inline struct side *side_of(struct mirror *mirror, uint8_t family)
{
	return family == IP_V4 ? &mirror->v4 : &mirror->v6;
}

/* A prefix for routing_changed(). */
void mirror_note_change(struct mirror *mirror, const struct ip_prefix *prefix);
/* Remembers the nexthop object of a route, if it has one. */
void mirror_note_nexthop(struct mirror *mirror, const struct fib_route *route);
/* One datagram of a socket into mirror->buf; negative with errno set: none. */
ssize_t mirror_receive(struct mirror *mirror, const struct mnl_socket *socket, size_t room);

/* Dumps of these stages (bits) are to be made soon. */
void dump_want(struct mirror *mirror, uint32_t stages);
/* Those of routes. */
void dump_want_routes(struct mirror *mirror);
/* All of them, and not before a pause. */
void dump_want_all(struct mirror *mirror, uint64_t pause_ns);
/* Begins the next dump that is wanted and due. */
void dump_next(struct mirror *mirror);
/* Reads a bounded piece of the dump under way. */
void dump_read(struct mirror *mirror);

struct link *link_find(const struct mirror *mirror, uint32_t ifindex);
/* What the kernel says of a link. */
void link_set(struct mirror *mirror, const struct rtnl_link *state);
void link_delete(struct mirror *mirror, struct link *link);
/* It may never have been in a dump: deleted before the first. */
void link_gone(struct mirror *mirror, uint32_t ifindex);
/* The end of a dump; sweep: it was complete. */
void links_end(struct mirror *mirror, bool sweep);

void addr_set(struct mirror *mirror, const struct rtnl_addr *addr);
void addr_delete(struct mirror *mirror, const struct rtnl_addr *addr);
/* Adds to a list, of a dump under way; false: out of memory. */
bool addr_append(struct addrs *addrs, const struct rtnl_addr *addr);
void addrs_end(struct mirror *mirror, bool sweep);
/* Tells the addresses that sockets take, when they are others than last time. */
void addrs_tell(struct mirror *mirror);
/* As told last. */
bool addr_is_local(const struct mirror *mirror, const struct ip_addr *addr);

bool rule_append(struct rules *rules, const struct policy_rule *rule);
void rules_end(struct mirror *mirror, enum ip_family family, bool sweep);
void entrance_add(struct mirror *mirror, uint32_t ifindex);
void entrance_remove(struct mirror *mirror, uint32_t ifindex);
/* Asks the kernel whether it forwards; takes its answer, or a message about a change. */
void forwarding_ask(struct mirror *mirror, enum ip_family family);
void forwarding_take(struct mirror *mirror, const struct nlmsghdr *nlh);
/* Tells whether the forwarding table may be used, when that is not what was told last. */
void forwarding_tell(struct mirror *mirror);

#endif
