/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A WireGuard interface's UDP sockets in the kernel, one for IPv4 and one for IPv6, on its
 * ListenPort: the slow way of the outer side, and what keeps the port taken. They fragment what is
 * too long (no path MTU discovery, as WireGuard in Linux), answer from the address that was spoken
 * to, and tell the traffic class of what they received.
 *
 * Thread: opened and closed by control. Sending is safe from any thread; receiving and the sending
 * of frames are the host exchange's.
 */
#ifndef APP_UDP_SOCKET_H
#define APP_UDP_SOCKET_H

#include <stddef.h>
#include <stdint.h>

#include "wg/device.h"

struct rte_mbuf;
struct rte_mempool;
struct dp_drops;

/* Datagrams received or sent by one system call. */
#define UDP_SOCKET_BURST 32

struct udp_socket {
	int fd_ipv4, fd_ipv6; /* -1: the host has no such family */
	uint16_t port;	      /* host byte order */
};

/*
 * Opens both on port; 0 lets the kernel choose one that is free in both families. fwmark 0: none.
 * 0 or a negative errno (-EADDRINUSE, ...), nothing left open then.
 */
int udp_socket_open(struct udp_socket *out, uint16_t port, uint32_t fwmark);
void udp_socket_close(struct udp_socket *socket);
/* 0 or a negative errno. */
int udp_socket_set_mark(const struct udp_socket *socket, uint32_t fwmark);

/*
 * Sends a datagram along path with this traffic class (DSCP and ECN). A local
 * address that the host has no more is let go of. 0 or a negative errno; never waits.
 */
int udp_socket_send(const struct udp_socket *socket, const struct wg_path *path,
	uint8_t traffic_class, const void *data, size_t len);

/*
 * Receives up to UDP_SOCKET_BURST datagrams of one family as frames of kind DP_OUTER, with the
 * Ethernet (addresses zero), IP and UDP headers they may have come with; interface is left to the
 * caller. Returns how many; drops what is too long for a buffer. *more: there may be more to read.
 */
unsigned udp_socket_receive(const struct udp_socket *socket, enum ip_family family,
	struct rte_mempool *pool, struct rte_mbuf **mbufs, struct dp_drops *drops, bool *more);

/*
 * Sends frames of kind DP_HOST_SOCKET (any number): payload, addresses, destination port and
 * traffic class are those of the frame; a link-local destination needs its scope_id in the dp_mbuf.
 * Takes them all; what the kernel refuses is dropped. Returns how many were sent.
 */
unsigned udp_socket_send_frames(const struct udp_socket *socket, struct rte_mbuf **mbufs,
	unsigned n, struct dp_drops *drops);

#endif
