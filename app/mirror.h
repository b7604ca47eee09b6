/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mirror of the kernel's addresses, routes, neighbours and policy rules, by netlink, and what
 * the fast path makes of them: a forwarding table (prefix -> next hop), the local addresses, and
 * the way to an endpoint.
 *
 * Thread: control, all functions. Nothing waits: netlink answers a request before send() returns.
 * Allocates with malloc, in step with the kernel's tables.
 *
 * How it keeps up: everything is dumped once, then followed by events. When the kernel had to drop
 * events, and when it is known to change routes without telling (an interface goes down, an address
 * or a nexthop object goes), everything is dumped again and compared with what is known; what did
 * not change causes no callback.
 *
 * The forwarding table answers for packets without a firewall mark as the kernel does with its
 * default rules: the tables local and main, and between them the tables of own default routes
 * (mirror_set_own_tables()). With any other rule, or with forwarding switched off for one interface
 * that plain packets come in by, the answer is left to the host, as a family (set_forwarding).
 *   - A route through a gateway leads to the port once the gateway's link-layer address is known.
 *   - A route without a gateway leads to the host, which resolves; each neighbour that is resolved
 *     stands in the table with a prefix of its own (/32, /128).
 *   - Of a multipath route the first path that is resolved is used.
 *   - Local, broadcast, multicast, unreachable, blackhole, routes for one TOS, what is encapsulated
 *     on its way, and what leads out of other interfaces: the host.
 */
#ifndef APP_MIRROR_H
#define APP_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define MIRROR_MAC_BYTES 6
/* Next hop that is always the host; never passed to set_nexthop. */
#define MIRROR_NEXTHOP_HOST 0u

/* Tables of own default routes: one for each interface is enough. */
#define MIRROR_OWN_TABLES 16
/* Changed prefixes that routing_changed() names; more are reported as "all". */
#define MIRROR_CHANGES 64

/* Netlink datagrams that one call of mirror_process() works on: about a millisecond. */
#define MIRROR_DUMP_DATAGRAMS  4
#define MIRROR_EVENT_DATAGRAMS 256

struct mirror;

enum mirror_nexthop_kind {
	MIRROR_HOST,
	MIRROR_PORT,
	MIRROR_WG,
};

struct mirror_nexthop {
	enum mirror_nexthop_kind kind;
	uint8_t port;			       /* MIRROR_PORT */
	uint8_t interface;		       /* MIRROR_WG */
	uint8_t destination[MIRROR_MAC_BYTES]; /* MIRROR_PORT: the neighbour's */
	uint8_t source[MIRROR_MAC_BYTES];      /* MIRROR_PORT: the port's */
	uint16_t mtu;			       /* of the route; 0: the link's */
};

/*
 * What the mirror tells. Called from mirror_process(), mirror_add_*(), mirror_remove() and
 * mirror_set_own_tables(), never from mirror_destroy(). A callback may call mirror_resolve() and
 * mirror_mark_*(), nothing else of the mirror.
 */
struct mirror_callbacks {
	/*
	 * Next hop ids are 0..limit_nexthops-1. An id is set before the first prefix uses it, and
	 * is given to another next hop only a second after the last prefix left it. A next hop may
	 * change at any time, one call for all its prefixes.
	 */
	void (*set_nexthop)(void *arg, uint32_t id, const struct mirror_nexthop *nexthop);
	/* From now on prefix leads to nexthop; it may have been there before with another. */
	void (*set_prefix)(void *arg, const struct ip_prefix *prefix, uint32_t nexthop);
	void (*delete_prefix)(void *arg, const struct ip_prefix *prefix);
	/* The host's own addresses, all of them, each once; valid during the call. */
	void (*set_locals)(void *arg, const struct ip_addr *addrs, unsigned n);
	/* Whether the forwarding table may be used for the family. Off until the first dump ended.
	 */
	void (*set_forwarding)(void *arg, enum ip_family family, bool on);
	/* An interface that was added with mirror_add_*(): its first state, and changes. */
	void (*link_changed)(void *arg, uint32_t ifindex, uint32_t mtu, bool up);
	/* It is gone from the kernel; it has been removed here too. */
	void (*link_gone)(void *arg, uint32_t ifindex);
	/* It may have lost an address, and the kernel have taken routes out of it along. */
	void (*address_gone)(void *arg, uint32_t ifindex);
	/*
	 * The kernel's answer of mirror_resolve() may have changed for destinations in one of these
	 * prefixes; n 0: for any. At most once a call of mirror_process().
	 */
	void (*routing_changed)(void *arg, const struct ip_prefix *prefixes, unsigned n);
	/* The same for ways through this neighbour of a port. */
	void (*neighbour_changed)(void *arg, uint32_t ifindex, const struct ip_addr *addr);
	/* A line for the operator's log. */
	void (*warn)(void *arg, const char *line);
	void *arg;
};

/* Copies callbacks; none may be NULL. 0 or a negative errno. */
int mirror_create(
	const struct mirror_callbacks *callbacks, uint32_t limit_nexthops, struct mirror **out);
void mirror_destroy(struct mirror *mirror);

/*
 * Interfaces that are ours. At any time; those added before mirror_start() are known when the first
 * dump ends. inner: plain packets come in by the port. 0, -EEXIST or -ENOMEM.
 */
int mirror_add_port(struct mirror *mirror, uint32_t ifindex, uint8_t port,
	const uint8_t mac[MIRROR_MAC_BYTES], bool inner);
int mirror_add_wg(struct mirror *mirror, uint32_t ifindex, uint8_t interface);
void mirror_remove(struct mirror *mirror, uint32_t ifindex);

/* The tables that hold nothing but own default routes (ifconfig_own_tables()); all of them. */
void mirror_set_own_tables(struct mirror *mirror, const uint32_t *tables, unsigned n);

/* Subscribes to events and begins the first dump. 0 or a negative errno. */
int mirror_start(struct mirror *mirror);
/* The descriptor to poll for reading (an epoll instance). */
int mirror_fd(const struct mirror *mirror);
/* When to call mirror_process() at the latest (monotonic); UINT64_MAX: only the descriptor says. */
uint64_t mirror_deadline_ns(const struct mirror *mirror);
/* Works on what the kernel sent, a bounded piece of it, without waiting. */
void mirror_process(struct mirror *mirror, uint64_t now_ns);
/* The first dump ended: forwarding table and local addresses are complete. */
bool mirror_ready(const struct mirror *mirror);

/*
 * NULL, or one line on why the fast path forwards nothing of this family (forwarding is disabled in
 * the kernel or for an interface, policy rules), with what would change that. The string lives
 * until the next call.
 */
const char *mirror_forwarding_hint(struct mirror *mirror, enum ip_family family);

struct mirror_query {
	struct endpoint remote; /* scope_id: interface of a link-local address */
	struct ip_addr local;	/* our address that the peer spoke to; IP_NONE: any */
	uint32_t mark;		/* the sockets' firewall mark; 0: none */
	uint16_t local_port;	/* host byte order; 0: unknown */
};

struct mirror_path {
	/*
	 * The kernel's socket has to send: the way leads out of an interface that is no port, or
	 * the neighbour is not resolved (then neighbour_changed() tells when it is), or there is no
	 * way (then ifindex is 0, and routing_changed() tells). port and the MACs are not set.
	 */
	bool via_kernel;
	uint8_t port;
	uint8_t destination[MIRROR_MAC_BYTES];
	uint8_t source_mac[MIRROR_MAC_BYTES];
	struct ip_addr local; /* the source address: query.local while it is ours, else the
				 kernel's choice; IP_NONE without a way */
	uint32_t mtu;	      /* of the way: the route's if it has one, else the interface's */
	uint32_t ifindex;
	struct ip_addr neighbour; /* the gateway, or the destination itself */
};

/*
 * How the kernel, with its rules and tables, would send to an endpoint. Some microseconds. 0 (also
 * without a way), or a negative errno when the kernel could not be asked; *out is set in each case.
 */
int mirror_resolve(
	struct mirror *mirror, const struct mirror_query *query, struct mirror_path *out);

/*
 * The fast path sent through this next hop, or to this neighbour, since the last time: if the
 * kernel has doubts about the neighbour (stale), have it probed, before it forgets it. To be called
 * about once a second for what is in use; anything not worth a probe costs nothing.
 */
void mirror_mark_nexthop(struct mirror *mirror, uint32_t nexthop);
void mirror_mark_neighbour(struct mirror *mirror, uint32_t ifindex, const struct ip_addr *addr);

/* For telemetry and tests. */
struct mirror_stats {
	uint32_t prefixes;   /* in the forwarding table */
	uint32_t routes;     /* known in local, main and own tables */
	uint32_t neighbours; /* of ports, or used by a route */
	uint32_t nexthops;   /* ids in use, but for the host's */
	uint64_t events;     /* netlink messages that were no answers */
	uint64_t overruns;   /* times the kernel dropped events */
	uint64_t dumps;	     /* complete dumps */
	uint64_t probes;     /* neighbours that were poked */
};

void mirror_get_stats(const struct mirror *mirror, struct mirror_stats *out);

/* The event socket's receive buffer in bytes (at start: large). 0 or a negative errno. */
int mirror_set_event_buffer(struct mirror *mirror, int bytes);

#endif
