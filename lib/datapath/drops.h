/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drop reasons: one list, from which the enum, the telemetry names and the documentation come, and
 * the one function through which a packet is discarded. Handing a packet to the host, to control or
 * to another thread is not a drop.
 *
 * Every thread that can drop (each worker, control, host exchange) has its own struct dp_drops and
 * is its sole writer; readers add them up without a lock.
 */
#ifndef DATAPATH_DROPS_H
#define DATAPATH_DROPS_H

#include <stdint.h>

struct rte_mbuf;

/* X(enumerator, telemetry name, description) */
#define DP_DROPS(X)                                                                                \
	X(DP_DROP_PORT_DOWN, "port_down", "host interface of the port is down")                    \
	/* Inbound, before the authentication barrier */                                           \
	X(DP_DROP_MESSAGE_LENGTH, "message_length",                                                \
		"datagram's length does not fit its message type")                                 \
	X(DP_DROP_MESSAGE_TYPE, "message_type", "unknown message type or reserved bits set")       \
	X(DP_DROP_UNKNOWN_INDEX, "unknown_index", "receiver index of no session of ours")          \
	X(DP_DROP_SESSION_EXPIRED, "session_expired", "session older than REJECT_AFTER_TIME")      \
	X(DP_DROP_FORGED, "forged", "data message does not authenticate")                          \
	/* Inbound, behind it */                                                                   \
	X(DP_DROP_REPLAYED, "replayed", "counter seen before, or too old to tell")                 \
	X(DP_DROP_INNER_MALFORMED, "inner_malformed", "decrypted packet is no valid IP packet")    \
	X(DP_DROP_INNER_SOURCE, "inner_source", "inner source address is not routed to the peer")  \
	/* Outbound */                                                                             \
	X(DP_DROP_TUN_MALFORMED, "tun_malformed",                                                  \
		"packet from the host's interface is not valid IP")                                \
	X(DP_DROP_TUN_TOO_BIG, "tun_too_big", "packet from the host exceeds the interface's MTU")  \
	X(DP_DROP_NO_PEER, "no_peer", "no allowed IPs cover the destination")                      \
	X(DP_DROP_NO_ENDPOINT, "no_endpoint",                                                      \
		"the peer has no endpoint, or one that its interface's tunnel leads to")           \
	X(DP_DROP_PEER_GONE, "peer_gone", "peer was removed while the packet waited")              \
	X(DP_DROP_SESSION_GONE, "session_gone", "session ended while the packet waited for it")    \
	/* Either way */                                                                           \
	X(DP_DROP_INTERFACE_GONE, "interface_gone",                                                \
		"interface was removed while the packet waited")                                   \
	X(DP_DROP_NO_ROOM, "no_room", "packet buffer too small for headers and tag")               \
	X(DP_DROP_TX_FULL, "tx_full", "transmit queue of the port is full")                        \
	X(DP_DROP_HANDSHAKE_FULL, "handshake_full",                                                \
		"ring of handshake messages to the control thread is full")                        \
	X(DP_DROP_CONTROL_FULL, "control_full",                                                    \
		"ring of packets without a session to the control thread is full")                 \
	X(DP_DROP_HOST_FULL, "host_full", "ring to a host interface is full")                      \
	X(DP_DROP_WORKER_FULL, "worker_full", "ring to a worker is full")                          \
	X(DP_DROP_CAPTURE, "capture",                                                              \
		"the capture had no room for a copy of a frame, which itself went on")             \
	/* Control and host exchange */                                                            \
	X(DP_DROP_STAGE_FULL, "stage_full",                                                        \
		"too many packets wait for a session, of the peer or in all: its oldest")          \
	X(DP_DROP_STAGE_PURGED, "stage_purged", "handshake was given up with the packet waiting")  \
	X(DP_DROP_HOST_WRITE, "host_write",                                                        \
		"the kernel did not take the packet from a host interface")                        \
	X(DP_DROP_HOST_SEND, "host_send", "the kernel did not send the datagram")                  \
	X(DP_DROP_HOST_RECEIVE, "host_receive",                                                    \
		"the kernel did not tell which address a datagram was sent to")                    \
	X(DP_DROP_NO_MBUF, "no_mbuf", "no packet buffer was free")

enum dp_drop_reason {
#define DP_DROP_ENUM(id, name, text) id,
	DP_DROPS(DP_DROP_ENUM)
#undef DP_DROP_ENUM
		DP_DROP_COUNT
};

struct dp_drops {
	uint64_t count[DP_DROP_COUNT]; /* [one thread w, any r] */
};

/* Frees n packets and counts them under reason. */
void dp_drop(struct dp_drops *drops, struct rte_mbuf *const *mbufs, unsigned n,
	enum dp_drop_reason reason);

/* Counts what was no packet buffer yet (the kernel's read, an allocation that failed). */
static inline void dp_drop_count(struct dp_drops *drops, unsigned n, enum dp_drop_reason reason)
{
	__atomic_store_n(&drops->count[reason], drops->count[reason] + n, __ATOMIC_RELAXED);
}

/* "forged"; "data message does not authenticate". */
const char *dp_drop_name(enum dp_drop_reason reason);
const char *dp_drop_text(enum dp_drop_reason reason);

#endif
