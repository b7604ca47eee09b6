/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host exchange: one thread that moves packets between the workers' rings and the kernel.
 *
 * From the kernel: frames of a TAP go to a worker as DP_TRANSMIT, packets of a TUN as DP_ROUTE,
 * both cut and with complete checksums (segment.h); datagrams of the UDP sockets as DP_OUTER. The
 * worker is chosen by flow, so that a flow keeps its order. While the workers' rings have little
 * room, the interfaces are not read: the kernel queues, and its senders slow down.
 *
 * To the kernel: host_ring[] is drained; frames go to their TAP, packets to their TUN, in large
 * frames where they can (coalesce.h), DP_HOST_SOCKET through the interface's UDP sockets. Packets
 * for what is not attached are dropped (interface_gone). What is captured is written as it is.
 *
 * It sleeps in ppoll(), woken by descriptors, in short growing steps for the rings; it never waits
 * on one interface, and a round's work for each is bounded.
 *
 * Thread: control, all functions, but for the three that read counters: any thread.
 * Owns the descriptors only while they are attached; detach before closing.
 */
#ifndef APP_HOST_EXCHANGE_H
#define APP_HOST_EXCHANGE_H

#include <stdint.h>

#include "datapath/dp.h"
#include "datapath/drops.h"

struct rte_mempool;
struct hostif;
struct udp_socket;
struct host_exchange;

/* X(field, description): the counters of a host interface, which are telemetry names too. */
#define HOST_COUNTERS(X)                                                                           \
	X(rx_frames, "frames read from the kernel")                                                \
	X(rx_packets, "packets these made after cutting")                                          \
	X(rx_bytes, "bytes of frames read")                                                        \
	X(rx_malformed, "frames with a header that makes no sense, or too long: dropped")          \
	X(rx_no_mbuf, "packets dropped for want of packet buffers")                                \
	X(rx_no_room, "packets dropped because a packet buffer is too small")                      \
	X(tx_frames, "frames written to the kernel")                                               \
	X(tx_packets, "packets in these")                                                          \
	X(tx_bytes, "bytes of frames written")                                                     \
	X(tx_down, "packets dropped because the interface is down")                                \
	X(tx_refused, "packets that the kernel did not take for another reason")                   \
	X(socket_rx_packets, "datagrams received on the interface's UDP sockets")                  \
	X(socket_tx_packets, "datagrams sent through the interface's UDP sockets")

struct host_counters {
#define HOST_COUNTER_FIELD(field, text) uint64_t field;
	HOST_COUNTERS(HOST_COUNTER_FIELD)
#undef HOST_COUNTER_FIELD
};

/*
 * Starts the thread. dp: its rings are used until the stop. pool: of mbufs with DP_MBUF_PRIV_BYTES,
 * room for the largest packet and its seal. 0 or a negative errno.
 */
int host_exchange_start(struct dp *dp, struct rte_mempool *pool, struct host_exchange **out);
/* Ends the thread and frees what the host rings still hold. */
void host_exchange_stop(struct host_exchange *hx);

/* From now on netdev (dp_netdev_of_port() or dp_netdev_of_interface()) is this interface. */
void host_exchange_attach_netdev(
	struct host_exchange *hx, unsigned netdev, const struct hostif *hostif);
/* When it returns the thread is done with the descriptor. */
void host_exchange_detach_netdev(struct host_exchange *hx, unsigned netdev);

/* The same for the UDP sockets of a WireGuard interface. */
void host_exchange_attach_socket(
	struct host_exchange *hx, unsigned interface, const struct udp_socket *socket);
void host_exchange_detach_socket(struct host_exchange *hx, unsigned interface);

/* Counters of a host interface, since the start; drops of the thread, by reason. Any thread. */
void host_exchange_counters(
	const struct host_exchange *hx, unsigned netdev, struct host_counters *out);
const struct dp_drops *host_exchange_drops(const struct host_exchange *hx);
/* Packet buffers that the thread keeps in hand: free, but not in the pool. Any thread. */
unsigned host_exchange_spare_mbufs(const struct host_exchange *hx);

#endif
