/* SPDX-License-Identifier: BSD-3-Clause */
/* Every limit of this implementation, with its reason. Protocol numbers stand in wg/constants.h. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* Packets a stage works on at once: fills the crypto lanes, fits a 64-bit mask. */
#define LIMIT_BURST 64

/* WireGuard interfaces in one program: an id fits the small tables the classifier scans. */
#define LIMIT_INTERFACES 16

/* DPDK ports in one program. */
#define LIMIT_PORTS 16

/* Worker lcores: bounds per-worker arrays. */
#define LIMIT_WORKERS 64

/* Handshake lcores: bounds a list of them; control keeps some ten busy. */
#define LIMIT_HANDSHAKE_LCORES 64

/* Pieces of handshakes' cryptography under way on them: 50 ms of work for one. */
#define LIMIT_HANDSHAKE_WORKS 1024

/* Peers in the whole program: 2^20 for one interface, the requirement. */
#define LIMIT_PEERS (1u << 20)

/* Receiver-index slots: a handshake and three sessions for each of 2^20 peers. */
#define LIMIT_INDEX_BITS 22

/* Sources that one interface's limiter remembers: each may pass 20 a second, far above our rate. */
#define LIMIT_LIMITED_SOURCES 16384

/* Peers whose timers are served in one turn of control: some milliseconds if all begin handshakes.
 */
#define LIMIT_TICK_PEERS 16

/* Peers that follow a change of their interface at once: some thousand actions are queued by that.
 */
#define LIMIT_SETTLE_PEERS 256

/* Largest inner packet (bytes): jumbo frames of 9,000 and some room for odd MTUs. */
#define LIMIT_INNER_BYTES 9216

/* MTU of a port (bytes): of IPv6 at least, and of a largest inner packet at most. */
#define LIMIT_PORT_MTU_LEAST 1280
#define LIMIT_PORT_MTU	     LIMIT_INNER_BYTES

/* Next hops: one for each neighbour of the kernel's and each gateway (its default is 1,024). */
#define LIMIT_NEXTHOPS (1u << 16)

/*
 * Rings between threads, in packets; powers of two. Each is drained at least every few
 * milliseconds, and all of them together hold no more than a small pool has.
 */
#define LIMIT_HANDSHAKE_RING 2048 /* a second of handshakes at 2,000 a second: then shed load */
#define LIMIT_CONTROL_RING   2048 /* packets without a session: eight turns of control */
#define LIMIT_ROAMS	     1024 /* peers that move between two turns of control; later ones wait */
#define LIMIT_HINT_RING	     2048 /* hints; lost ones are raised again */
#define LIMIT_TOO_BIG_RING   64	  /* words of routers about path MTUs; lost ones are repeated */
#define LIMIT_IN_RING	     2048 /* a 64 KiB read of the host is 45 packets; tens of these */
#define LIMIT_RELAY_RING     2048 /* frames of other workers: some tens of bursts */
#define LIMIT_HOST_RING	     1024 /* each: a million a second while its thread sleeps, 1 ms at most */

/*
 * Of a port's host ring, what only ARP and neighbour discovery may have: an answer for each of a
 * hundred neighbours between two turns of the host exchange. A flood of other frames ends there.
 */
#define LIMIT_HOST_RING_KEPT 128

/*
 * Packets that wait for sessions, of all peers together: who sends to many silent peers must not
 * get at the buffers of those that answer. Beyond it a peer keeps none, and has its handshake.
 */
#define LIMIT_STAGED 4096

/*
 * Bursts that one worker may have in the AEAD at once while it spreads them: covers a helper that
 * is held up for a quarter of a millisecond. A power of two.
 */
#define LIMIT_JOBS 16

#endif
