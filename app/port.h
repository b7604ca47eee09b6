/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK ports: found by name or number, configured with a queue pair for each worker, started and
 * stopped. Thread: control (the main lcore), before the workers start and after they ended.
 */
#ifndef APP_PORT_H
#define APP_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mempool.h>

#define PORT_NAME_BYTES 64

struct port {
	uint16_t id;		      /* DPDK's port number */
	char device[PORT_NAME_BYTES]; /* as the operator named it */
	bool outer, inner;	      /* both: one-armed */
	bool open;		      /* configured, perhaps started: port_stop() is due */
	uint16_t rx_queues, tx_queues;
	uint16_t mtu;	       /* before the start: the one wanted, 0: the device's own choice */
	uint16_t room;	       /* of a packet buffer, for a frame */
	bool checksum_offload; /* UDP checksums on transmission */
	bool wants_turns;      /* its driver has frames of its own, which wait for a call to send */
	bool link_up;	       /* as port_link_changed() said last */
	struct rte_ether_addr mac;
};

/*
 * Finds the port that an operator calls device: a device name or a port number. 0, or -ENODEV after
 * a line on what ports there are.
 */
int port_find(const char *device, uint16_t *id);

/* The largest frame that any of the ports will deliver, in bytes: sizes the mbufs. Not started yet.
 */
uint32_t port_max_frame(const struct port *ports, unsigned count);

/*
 * Configures and starts a port with its mtu and up to one queue pair a worker; fills rx_queues,
 * tx_queues, mtu, mac, link_up and checksum_offload. 0 or a negative errno after a line that says
 * which step failed.
 */
int port_start(struct port *port, unsigned workers, struct rte_mempool *pool);
/*
 * Asks a started port: true when its link came or went since the last time; link_up says which.
 * Takes some microseconds, on NICs with a slow bus to their PHY up to a millisecond. Thread:
 * control, at any time.
 */
bool port_link_changed(struct port *port);

/* Of any port, started or not. */
void port_stop(struct port *port);

#endif
