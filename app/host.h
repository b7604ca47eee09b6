/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of the gateway: a TAP for every port, the host exchange, and the mirror of the
 * kernel's addresses, routes and neighbours, glued to the tables of the data path.
 * Thread: control.
 */
#ifndef APP_HOST_H
#define APP_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct gateway;

/*
 * Ports are started. capture: an interface to see their frames on, too. 0 or a negative errno after
 * a line that says why; host_destroy() undoes it.
 */
int host_create(struct gateway *gateway, bool capture);
void host_destroy(struct gateway *gateway);

/*
 * Gives the TAPs the carriers of their ports, and has frames captured while the interface for that
 * is up, when it was not done for a while. Called in each turn of control.
 */
void host_follow_links(struct gateway *gateway, uint64_t now_ns);

/* The number (dp_netdev_of_port() and so on) of a host interface, or -ENOENT. */
int host_find_netdev(const struct gateway *gateway, const char *name);

#endif
