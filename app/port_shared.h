/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports that have their device in common with the kernel (AF_PACKET, pcap): it gets each frame too,
 * and answers or forwards it a second time unless it is kept off. Thread: control, at the start.
 */
#ifndef APP_PORT_SHARED_H
#define APP_PORT_SHARED_H

struct port;

/* A warning with the commands that are missing, if any are. */
void port_shared_check(const struct port *port);

#endif
