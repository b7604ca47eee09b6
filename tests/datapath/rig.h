/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A data path on EAL without hugepages or NICs: one worker, ports that are arrays, and far peers
 * that seal and open one packet at a time with libsodium and headers built by hand. Nothing here
 * uses the product's code for what it checks.
 *
 * Port 0 is outer, port 1 inner, port 2 both. Interface 0 listens on 51820, interface 1 on 51821.
 * Behind port 1 are 192.168.0.0/16 and fd99::/16. Peer 1 (IPv4 outside) owns 10.1.0.0/16 and
 * fd01::/16, peer 2 (IPv6 outside) 10.2.0.0/16 and fd02::/16, both of interface 0; peer 3 (IPv4)
 * of interface 1 owns 10.3.0.0/16 and fd03::/16. All of 10.0.0.0/14 and fd00::/14 is routed to
 * them.
 */
#ifndef TESTS_DATAPATH_RIG_H
#define TESTS_DATAPATH_RIG_H

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "datapath/worker.h"
#include "stalled_ring.h"

#define RIG_PEERS     4 /* ids 1..3 */
#define RIG_PORTS     3
#define RIG_WORKERS   3 /* the rig makes the first; a test may make the others */
#define RIG_SINK_MAX  1024
#define RIG_MTU	      1420
#define RIG_NOW_NS    (1000 * NS_PER_SEC)
#define RIG_MAX_BYTES 10000

/* The far end of a tunnel, and our state of it. */
struct far {
	alignas(64) struct wg_session session;
	struct wg_activity *activity; /* the published one */
	uint32_t id;
	uint8_t interface;
	uint8_t outer_family;
	uint8_t addr[16], our_addr[16];
	uint16_t port, our_port;
	uint64_t counter; /* of the next message that it seals */
};

struct sink {
	unsigned n, room; /* room: frames it takes at all */
	struct rte_mbuf *mbufs[RIG_SINK_MAX];
};

struct rig {
	struct dp *dp;
	struct dp_worker *worker;
	struct far far[RIG_PEERS];
	struct sink sinks[RIG_PORTS];
};

extern struct rig rig;

int rig_eal_start(void **state); /* group set-up and tear-down */
int rig_eal_stop(void **state);
int rig_setup(void **state); /* of each test; the tear-down looks for lost packets */
int rig_teardown(void **state);

/* A packet as bytes. */
struct packet {
	unsigned len;
	uint8_t bytes[RIG_MAX_BYTES];
};

/* Inner IP packet of exactly len bytes (at least a header's), TTL 64; hosts 10.net.0.x. */
void inner_build(struct packet *p, int family, const char *src, const char *dst, unsigned len);
/* IPv4's header checksum after a change by hand. */
void inner_fix_checksum(struct packet *p);
void inner_set_ttl(struct packet *p, uint8_t ttl);
void inner_set_class(struct packet *p, uint8_t traffic_class);
uint8_t inner_class(const struct packet *p);
/* What the packet becomes by one hop. */
void inner_hop(struct packet *p);

/* Puts an Ethernet header to port's MAC before an IP packet. */
void ether_wrap(struct packet *p, unsigned port);

/* A data message of the far peer, as a frame to port, with text sealed as it is. */
void far_seal(struct far *far, unsigned port, const void *text, unsigned len, uint8_t outer_class,
	struct packet *out);
/* Any UDP payload of the far peer's as a frame to port. */
void far_wrap(const struct far *far, unsigned port, const void *payload, unsigned len,
	uint8_t outer_class, struct packet *out);
/*
 * Opens a frame of ours: checks every byte of its headers (the far peer's addresses, port 0's MACs,
 * checksums) and the padding, which goes up to mtu. *text is the inner packet; returns the counter.
 */
uint64_t far_open(
	const struct far *far, const struct packet *frame, unsigned mtu, struct packet *text);

/* mbufs from and to packets. */
struct rte_mbuf *mbuf_from(const struct packet *p);
/* From a pool of its own, for a thread that no other's mbufs get to: DPDK's pools order memory in a
 * way that sanitizers do not see. */
struct rte_mempool *rig_make_pool(const char *name, unsigned mbufs);
struct rte_mbuf *mbuf_from_pool(struct rte_mempool *from, const struct packet *p);
struct rte_mbuf *mbuf_from_segments(const struct packet *p, unsigned segment_bytes);
/* In a buffer of a driver's own, attached to the mbuf; given_back() tells how many came back. */
struct rte_mbuf *mbuf_external(const struct packet *p);
unsigned given_back(void);
void packet_from(struct packet *p, struct rte_mbuf *m); /* frees m */

void rig_receive(unsigned port, const struct packet *p);
/* Takes the oldest frame that port sent; fails the test when there is none. */
void sink_take(unsigned port, struct packet *p);
/* Takes the oldest packet of a ring and what travels with it. */
void ring_take(struct rte_ring *ring, struct packet *p, struct dp_mbuf *info);
/* Fills a ring with what is no packet, and takes it out again. */
void ring_fill(struct rte_ring *ring);
void ring_empty(struct rte_ring *ring);
/* A consumer of a ring of pointers is put aside as it takes this one: stalled_ring.h. */
void *ring_stall_consumer(struct rte_ring *ring);
struct rte_ring *tap(unsigned port); /* to the host interfaces */
struct rte_ring *tun(unsigned interface);
bool hint_take(struct dp_hint *hint);
/* The ring of hints is full of some; and is empty. */
void hints_fill(void);
void hints_empty(void);

void assert_same(const struct packet *a, const struct packet *b);
/* Nothing is waiting anywhere, and nothing but these drops was counted since the last call. */
void assert_quiet(void);
void assert_dropped(enum dp_drop_reason reason, unsigned n);

uint64_t rig_random(void); /* of a fixed or printed seed */

#endif
