/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A WireGuard interface of the program: its device, its TUN, its UDP sockets, its socket for wg(8),
 * its addresses and routes. Thread: control.
 */
#ifndef APP_INTERFACE_H
#define APP_INTERFACE_H

#include <stdbool.h>
#include <stdint.h>

#include "hostif.h"
#include "udp_socket.h"
#include "wg/device.h"

struct gateway;
struct uapi_config;

struct interface {
	struct gateway *gateway;
	unsigned id; /* of the data path */
	char name[HOSTIF_NAME_BYTES];
	struct wg_device *device;
	struct hostif tun;
	struct udp_socket socket; /* its port is that of the next one while none is open */
	bool socket_open;
	bool down; /* the operator set its link down: nothing is received or sent */
	uint32_t fwmark;
	bool fwmark_is_own; /* for its default route, and with it; not the operator's */
	bool gone;	    /* somebody removed its TUN from the host */
	bool follow_routes; /* the host's routes follow the allowed IPs */
	/* The kernel may have taken some of them: its link went down, or an address is gone. */
	bool routes_in_doubt;
	bool told_of_loop; /* a peer's endpoint lay behind its own tunnel */
	struct interface_routes {
		struct ip_prefix *prefixes;
		uint32_t count, room;
	} changed; /* prefixes whose routes the host has not been told */
};

/*
 * Makes an interface, and configures it and the host by config, read from the file at path; path
 * is NULL and config empty when there is none. 0, or a negative
 * errno after a line that says why; what there is of it is then taken down with the rest, by
 * interface_shutdown() and interface_free().
 */
int interface_create(
	struct gateway *gateway, const char *name, const char *path, struct uapi_config *config);

/* Takes it from the host and unpublishes everything. Its device lives on for what the workers may
 * still hold, until interface_free(), after they ended and the reclaim queue was drained. */
void interface_shutdown(struct interface *interface);
/* Those that were removed from the host since the last call end. False: none is left. */
bool interface_end_gone(struct gateway *gateway);
void interface_free(struct interface *interface);

/*
 * The host's link of it went down or up. Down, its port is closed and no handshake begun, as of a
 * WireGuard interface of the kernel's; its sessions end.
 */
void interface_set_down(struct interface *interface, bool down);

/* The peer whose allowed IPs cover the destination of a whole IP packet, or NULL. */
struct wg_peer *interface_route(const struct interface *interface, const uint8_t *ip);

/* Sends a datagram through the kernel's socket along path. Refusals are counted (host_send). */
void interface_send(struct interface *interface, const struct wg_path *path, uint8_t traffic_class,
	const void *data, uint16_t len);

/* The prefix has another owner now, or none: the host's routes are to follow. */
void interface_prefix_changed(struct interface *interface, const struct ip_prefix *prefix);
/* Tells the host of the routes that changed since the last call, while its link is up. */
void interface_flush_routes(struct interface *interface);
/* Makes again what the kernel took, of all interfaces that are in doubt and up. */
void interface_restore_routes(struct gateway *gateway);

#endif
