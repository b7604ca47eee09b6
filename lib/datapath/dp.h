/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything that control publishes for the workers, and the rings between the threads.
 *
 * Thread: control, all functions, unless stated. None of them waits: what is replaced goes to the
 * reclaim queue and is freed after a grace period, when control calls dp_reclaim_poll(). Workers
 * read through the pointers and report quiescent once a turn (worker.h); no pointer from here
 * survives a turn.
 *
 * Memory: tables by index are reserved address space (a page is taken when its first entry is set,
 * in huge pages where there are any), everything else is rte_malloc'ed.
 */
#ifndef DATAPATH_DP_H
#define DATAPATH_DP_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/limits.h"
#include "datapath/drops.h"
#include "datapath/mbuf.h"
#include "datapath/reclaim.h"
#include "net/outer.h"
#include "wg/activity.h"
#include "wg/device.h"
#include "wg/session.h"

struct rte_ring;
struct rte_rcu_qsbr;
struct dp_lpm;
struct dp_locals;

/* Room for a prepared header, rounded up: workers copy it in whole vectors. */
#define DP_OUTER_HEADER_ROOM 64
static_assert(OUTER_HEADER_MAX <= DP_OUTER_HEADER_ROOM, "outer header fits");

/*
 * The way to a peer's endpoint: a header made by outer_prepare() of net/outer.h. Replaced whole.
 * [const after publish, but for learned]
 */
struct dp_outer {
	/* What a packet touches: one cache line */
	alignas(64) uint8_t header[OUTER_HEADER_MAX];
	uint8_t header_len : 7; /* OUTER_HEADER4_BYTES or OUTER_HEADER6_BYTES */
	uint8_t special : 1;	/* look behind the line; set with what is there */
	uint8_t port;		/* the port it leaves through; its MTU bounds the IP packet */

	uint16_t mtu;	 /* of the route, if smaller than the port's; 0: the port's alone counts */
	bool via_kernel; /* neighbour not resolved, or not behind a port: the kernel's socket sends;
			    port and MAC addresses do not count */
	bool learned;  /* [control rw once published] a worker's, and control has not heard of it */
	bool nowhere;  /* nothing is sent there, as into the peer's own tunnel; who comes from there
			  has not moved all the same */
	bool in_doubt; /* the same until control, which is told, has asked the kernel */
	uint32_t scope_id; /* of a link-local address: the link; else 0 */
};
static_assert(offsetof(struct dp_outer, mtu) == DP_OUTER_HEADER_ROOM, "copied whole");

/* For special, when all else is set. */
static inline bool dp_outer_is_special(const struct dp_outer *outer)
{
	return outer->via_kernel || outer->mtu != 0 || outer->nowhere || outer->in_doubt;
}

/*
 * A peer as workers see it: its place in dp->peers. Removing it only clears live and current, so
 * who found it goes on to the end of the turn; it is used again when a grace period has passed.
 *
 * With many peers none of this is in a cache, and what a packet costs is the lines it touches:
 * outbound the first and the endpoint's, inbound the first two and the endpoint's. They lie side by
 * side, so that all can be fetched as soon as the id is known.
 */
struct dp_peer {
	alignas(64) _Atomic(struct wg_session *) current; /* [control w, workers r] */
	/* [control w, workers r] Takes current's place for sealing once it is proven. */
	_Atomic(struct wg_session *) next;
	/* [control and workers exchange: roam.h] NULL: no endpoint; mostly &own_outer */
	_Atomic(const struct dp_outer *) outer;
	struct wg_activity activity; /* the stamps of its packets: lib/wg's, see wg_env */

	alignas(64) _Atomic bool live; /* [control w, workers r] */
	uint8_t interface;	       /* [const while live] */
	uint32_t id;		       /* [const once published] */
	bool own_outer_used;	       /* [control] until no worker can be at it */
	/*
	 * A host address that it owns: for that one no longest prefix has to be searched. [control
	 * w, workers r] host4: 0 is none. host6 is written once and valid while host6_state says
	 * so.
	 */
	_Atomic uint8_t host6_state; /* enum dp_host6 */
	_Atomic uint32_t host4;	     /* in the order of this machine */
	uint8_t host6[16];

	struct dp_outer own_outer; /* two lines, of which packets touch the first */
};
static_assert(offsetof(struct dp_peer, live) == 64, "what each packet touches is one line");
static_assert(offsetof(struct dp_peer, own_outer) == 128 && sizeof(struct dp_peer) == 256,
	"four lines of one page");

enum dp_host6 {
	DP_HOST6_NONE, /* it may be written */
	DP_HOST6_VALID,
	DP_HOST6_LEFT, /* it is the peer's no more: not written again while the peer lives */
};

/* A WireGuard interface as workers see it. */
struct dp_interface {
	_Atomic(struct dp_lpm *) allowed; /* [control w, workers r] inner address -> peer id; NULL:
					     there is no such interface */
	_Atomic uint16_t listen_port_be;  /* [control w, workers r] 0: none */
	_Atomic uint16_t mtu;		  /* [control w, workers r] of the tunnel */
};

/* A DPDK port. [control w before workers start, workers r], but for mtu and down. */
struct dp_port {
	bool outer, inner; /* one-armed: both */
	bool offload_udp;  /* the NIC fills in UDP checksums */
	uint8_t mac[6];
	uint32_t scope_id;    /* kernel's index of its TAP: scope of link-local peers behind it */
	_Atomic uint16_t mtu; /* [control w, workers r] largest IP packet */
	_Atomic bool down;    /* [control w, workers r] nothing is received */
};

enum dp_nexthop_kind {
	DP_NEXTHOP_HOST, /* the kernel: unresolved, local, unreachable, anything unusual */
	DP_NEXTHOP_PORT, /* a neighbour behind a port */
	DP_NEXTHOP_WG,	 /* a WireGuard interface */
};

struct dp_nexthop {
	uint8_t kind;	   /* enum dp_nexthop_kind */
	uint8_t port;	   /* DP_NEXTHOP_PORT */
	uint8_t interface; /* DP_NEXTHOP_WG */
	uint16_t mtu;	   /* of the route, what is larger the host answers; 0: none */
	/* [workers set, control clears] DP_NEXTHOP_PORT: a packet went there. */
	_Atomic bool used;
	/* DP_NEXTHOP_PORT: destination and source MAC; the type is filled in for each packet. */
	uint8_t ether[ETHER_HEADER_BYTES];
};

struct dp {
	/* [control w, workers r] Slot of a receiver index -> session; compare the whole index. */
	_Atomic(struct wg_session *) *sessions;
	struct dp_peer *peers; /* by id; those that are live */
	/* [control w, workers r] Next hop id -> next hop; NULL is DP_NEXTHOP_HOST. */
	_Atomic(struct dp_nexthop *) *nexthops;
	/* Inner destination -> next hop id; no match is the host. Changed by control in place. */
	struct dp_lpm *routes;
	/* [control w, workers r] False: the host forwards all of that family (ip_forward is off, or
	 * it uses policy routing). */
	_Atomic bool forward_ipv4, forward_ipv6;
	/* [control w, workers r] Workers count what their stages cost: stages.h. */
	_Atomic bool measure_stages;
	/* [control w, workers r] Workers copy the frames of ports to the host: capture.h. */
	_Atomic bool capture;
	/* Whether TCP's MSS is brought down to a tunnel's MTU. [const before workers start] */
	bool clamp_mss;
	/* [control w, workers r] Our own addresses. */
	_Atomic(const struct dp_locals *) locals;

	struct dp_interface interfaces[LIMIT_INTERFACES];
	struct dp_port ports[LIMIT_PORTS];

	/* Rings of mbufs unless they say otherwise. [const after create] */
	struct rte_ring *handshake_ring; /* many producers, control consumes */
	struct rte_ring *control_ring;	 /* the same, for all else: inner packets */
	struct rte_ring *hint_ring;	 /* of struct dp_hint; many producers, control consumes */
	struct rte_ring *in_ring[LIMIT_WORKERS]; /* many producers, the worker consumes */
	/* The same for frames of workers that have no queue of a port: they come at line rate, and
	 * must not crowd out what the host exchange and control send. */
	struct rte_ring *relay_ring[LIMIT_WORKERS];
	struct rte_ring *host_ring[DP_NETDEVS]; /* many producers, host exchange consumes */
	struct rte_ring *roam_ring;    /* of struct dp_roam; many producers, control consumes */
	struct rte_ring *spare_ring;   /* of struct dp_outer *, for workers; many of both */
	struct rte_ring *too_big_ring; /* of struct dp_too_big; host exchange to control */

	/* Workers report here with their id; the reclaim queue waits for them. [const after create]
	 */
	struct rte_rcu_qsbr *qsbr;
	struct dp_reclaim *reclaim; /* control's */
	unsigned workers;

	/* Work that saturated workers give to idle ones: spread.h */
	struct rte_ring *job_ring; /* of struct dp_job *; many producers, many consumers */
	alignas(64) _Atomic unsigned spread_wanted; /* [workers w] how many are saturated */
	_Atomic unsigned spread_helpers;	    /* [workers w] how many wait for a job */

	uint32_t peers_end, nexthops_end; /* control's: beyond the greatest ids ever set */
	uint32_t roam_spares; /* control's: how many are in spare_ring, in use, or in roam_ring */
};

/* What a worker saw of a session. Lossy and idempotent: the next packet raises it again. */
enum dp_hint_kind {
	DP_HINT_REKEY,	 /* it is old or nearly used up */
	DP_HINT_CONFIRM, /* the first packet on it was authenticated */
};

struct dp_hint {
	uint8_t kind; /* enum dp_hint_kind */
	uint32_t local_index;
};

/*
 * A router said that a datagram of ours to this address was too big for its way, and the kernel has
 * heard it. Lossy: the next one makes it say so again.
 */
struct dp_too_big {
	alignas(4) struct ip_addr destination;
};

/* EAL must be up. 0, -EINVAL (workers of 1..LIMIT_WORKERS) or -ENOMEM. One at a time in a process.
 */
int dp_create(unsigned workers, struct dp **out);
/* No worker runs any more. Frees what is still published but for sessions and activities. */
void dp_destroy(struct dp *dp);

/* Sets a port before workers start; mtu and down are copied too. */
void dp_set_port(struct dp *dp, unsigned port, const struct dp_port *config);
void dp_set_port_mtu(struct dp *dp, unsigned port, uint16_t mtu);
void dp_set_port_down(struct dp *dp, unsigned port, bool down);

/* Makes an interface with an empty cryptokey routing table, interfaces[id].allowed. 0 or -ENOMEM.
 */
int dp_add_interface(struct dp *dp, unsigned id, uint16_t mtu);
void dp_interface_set_listen_port(struct dp *dp, unsigned id, uint16_t port);
void dp_interface_set_mtu(struct dp *dp, unsigned id, uint16_t mtu);

/*
 * The functions that take a dp_reclaim_fn: it is called by dp_reclaim_poll() when no worker can see
 * the object any more, which is then the callback's to free.
 */

/* From now on workers open with session, found by its local_index. */
void dp_publish_session(struct dp *dp, struct wg_session *session);
/* From now on they do not; released is called when none can be at it any more. 0 or -ENOMEM: then
 * it never is. */
int dp_retire_session(struct dp *dp, struct wg_session *session, dp_reclaim_fn released, void *arg);

/* Publishes a peer without session and endpoint. An id that was removed: after its release. */
void dp_publish_peer(struct dp *dp, uint32_t id, unsigned interface);
/* Where workers leave their stamps of the peer with this id, whether it is published or not. */
struct wg_activity *dp_peer_activity(struct dp *dp, uint32_t id);
/* The published peer, or NULL. */
struct dp_peer *dp_find_peer(const struct dp *dp, uint32_t id);
/*
 * A session that it seals with from the first packet that is authenticated with it, without waiting
 * for control: a peer that lost the current session could not read the answer to that packet. NULL:
 * none. Another current session, or retiring it, ends this.
 */
void dp_peer_set_next_session(struct dp *dp, uint32_t id, struct wg_session *session);
/* The session it seals with, NULL: none. */
void dp_peer_set_session(struct dp *dp, uint32_t id, struct wg_session *session);
/*
 * Copies outer; NULL: the endpoint is not known. 0 or -ENOMEM. Does nothing while the peer has
 * moved and dp_take_roam() has not told so yet: then it will, and that is the later news.
 */
int dp_peer_set_outer(struct dp *dp, uint32_t id, const struct dp_outer *outer);
/*
 * The next peer that moved, and where it is; false when there is none. Its packets go there
 * already, but perhaps not the best way: dp_peer_set_outer() is to follow.
 */
bool dp_take_roam(struct dp *dp, uint32_t *peer_id, struct wg_path *path);
/* Removes the peer; released(arg, the dp_peer) is called when no worker can be at it any more. 0 or
 * -ENOMEM: then it is gone all the same, but never freed, and its id never used again. It owns no
 * prefix any more. */
int dp_remove_peer(struct dp *dp, uint32_t id, dp_reclaim_fn released, void *arg);

/* Cryptokey routing: prefix is the published peer's, whoever had it before. 0 or, if nobody had,
 * -ENOMEM. */
int dp_set_allowed_ip(struct dp *dp, const struct ip_prefix *prefix, uint32_t id);
/* It is nobody's in this interface. 0 or -ENOENT. */
int dp_clear_allowed_ip(struct dp *dp, unsigned interface, const struct ip_prefix *prefix);

/* Copies the next hop; NULL: DP_NEXTHOP_HOST. id below LIMIT_NEXTHOPS. 0 or -ENOMEM: then it is
 * DP_NEXTHOP_HOST, and the one before may never be freed. */
int dp_set_nexthop(struct dp *dp, uint32_t id, const struct dp_nexthop *nexthop);
/* Whether a worker sent to this next hop since the last such question. */
bool dp_nexthop_was_used(struct dp *dp, uint32_t id);
/* Whether the workers forward this family or leave it to the host. At first they do. */
void dp_set_forwarding(struct dp *dp, enum ip_family family, bool on);
/* Whether workers count what their stages cost, from their next bursts on. At first they do not. */
void dp_measure_stages(struct dp *dp, bool on);
/* Whether workers copy what ports receive and send to the capture's ring. At first they do not. */
void dp_set_capture(struct dp *dp, bool on);
/* Before workers start: bring down the MSS of TCP connections through a tunnel to its MTU. */
void dp_set_clamp_mss(struct dp *dp, bool on);
/* Our own addresses, all of them, in any order. 0 or -ENOMEM. */
int dp_set_locals(struct dp *dp, const struct ip_addr *addrs, unsigned n);

/*
 * Sends packets to another thread's ring, each dp_mbuf filled in; those that do not fit are dropped
 * under reason. Any thread.
 */
void dp_pass(struct rte_ring *ring, struct rte_mbuf *const *mbufs, unsigned n,
	struct dp_drops *drops, enum dp_drop_reason reason);

/* Where the frame of a DP_HANDSHAKE packet came from and went to. Any thread. */
void dp_frame_path(struct rte_mbuf *m, struct wg_path *path);
/* The same for a received frame whose headers are header_len bytes; scope_id: of its link. */
void dp_header_path(
	const uint8_t *frame, unsigned header_len, uint32_t scope_id, struct wg_path *path);

#endif
