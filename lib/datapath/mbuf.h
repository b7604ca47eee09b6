/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What travels with a packet between threads: struct dp_mbuf, at the start of the mbuf's private
 * area. Pools are made with a private area of DP_MBUF_PRIV_BYTES. Valid from the ring's producer to
 * its consumer; a packet fresh from a port has none of it set.
 */
#ifndef DATAPATH_MBUF_H
#define DATAPATH_MBUF_H

#include <assert.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "base/limits.h"

enum dp_kind {
	/* To a worker (in_ring; the first by relay_ring, too) */
	DP_TRANSMIT, /* Ethernet frame to send on port, as it is */
	DP_ROUTE, /* IP packet that the kernel routed out of interface: cryptokey routing decides */
	DP_PEER,  /* IP packet, or nothing (keepalive), for peer_id, with the session local_index */
	DP_OUTER, /* Ethernet frame as if from an outer port, whose payload the kernel received;
		     port is DP_PORT_NONE, scope_id as the kernel told */

	/* To control (handshake_ring) */
	DP_HANDSHAKE, /* frame with a message of type 1 to 3 for interface at header_len */

	/* To control (control_ring) */
	DP_STAGE,	/* IP packet for peer_id of interface, which has no usable session, or an
			   endpoint that leads nowhere or may do so: control knows */
	DP_UNREACHABLE, /* IP packet for which interface has no peer, or the peer no endpoint: the
			   sender is due an ICMP unreachable */

	/* To the host exchange (host_ring[netdev]) */
	DP_HOST_FRAME,	/* Ethernet frame for the TAP of port, or a copy for the capture */
	DP_HOST_PACKET, /* IP packet for the TUN of interface */
	DP_HOST_SOCKET, /* frame as for the wire: send its UDP payload, at header_len, through the
			   socket of interface, to and from the addresses in its headers */
};

#define DP_PORT_NONE 0xff

struct dp_mbuf {
	uint8_t kind; /* enum dp_kind */
	uint8_t port;
	uint8_t interface;
	uint8_t header_len; /* Ethernet, IP and UDP: where the UDP payload begins */
	uint32_t peer_id;
	uint32_t local_index; /* DP_PEER: of the session to seal with */
	/* Of a link-local address, else 0. DP_HANDSHAKE, DP_OUTER: the source; DP_HOST_SOCKET: the
	 * destination */
	uint32_t scope_id;
};

/* A multiple of RTE_MBUF_PRIV_ALIGN. */
#define DP_MBUF_PRIV_BYTES 16
static_assert(sizeof(struct dp_mbuf) <= DP_MBUF_PRIV_BYTES, "private area");
static_assert(DP_MBUF_PRIV_BYTES % RTE_MBUF_PRIV_ALIGN == 0, "private area");

/* Bytes that sealing puts before a packet (headers) and behind it (padding and tag). */
#define DP_SEAL_HEADROOM 80
#define DP_SEAL_TAILROOM 32
static_assert(DP_SEAL_HEADROOM <= RTE_PKTMBUF_HEADROOM, "IPv6 outer header fits");

static inline struct dp_mbuf *dp_mbuf(struct rte_mbuf *m)
{
	return (struct dp_mbuf *)rte_mbuf_to_priv(m);
}

/*
 * What the NIC is to do when it sends the packet, in place of what it said when it received it. The
 * buffer may be the driver's own, attached to the mbuf (mlx5's multi-packet receive queues): that
 * stays known, or it would never be given back.
 */
static inline void dp_set_tx_flags(struct rte_mbuf *m, uint64_t flags)
{
	m->ol_flags = (m->ol_flags & (RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT)) | flags;
}

/*
 * Host interfaces by number: the TAPs of the ports first, then the TUNs of the interfaces, then the
 * one that frames are captured on. host_ring is indexed so.
 */
#define DP_NETDEV_CAPTURE (LIMIT_PORTS + LIMIT_INTERFACES)
#define DP_NETDEVS	  (DP_NETDEV_CAPTURE + 1)

static inline unsigned dp_netdev_of_port(unsigned port)
{
	return port;
}

static inline unsigned dp_netdev_of_interface(unsigned interface)
{
	return LIMIT_PORTS + interface;
}

#endif
