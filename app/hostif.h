/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Network interfaces that the Linux host sees: a TAP for each port, a TUN for each WireGuard
 * interface, and one for captures. One frame is one read or one write, led by a virtio-net header,
 * so that the kernel hands over and takes up to 64 KiB of TCP (or UDP) at once and leaves checksums
 * to us.
 *
 * Thread: made, changed and destroyed by control; read and written by the host exchange.
 * The interface lives in the network namespace that the program runs in and is gone when the
 * descriptor is closed, at the latest when the process ends.
 */
#ifndef APP_HOSTIF_H
#define APP_HOSTIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/virtio_net.h>

#define HOSTIF_NAME_BYTES 16

/* What a read may deliver: an IP packet of 64 KiB behind Ethernet with two VLAN tags. */
#define HOSTIF_FRAME_BYTES (65535 + 22)

struct rte_mbuf;

enum hostif_kind {
	HOSTIF_TAP, /* Ethernet frames */
	HOSTIF_TUN, /* IP packets; point-to-point, no ARP, no automatic IPv6 address */
	/* Ethernet frames, which are only to be looked at: what the kernel sends there is not read.
	   No ARP, no automatic IPv6 address. */
	HOSTIF_CAPTURE,
};

struct hostif {
	enum hostif_kind kind;
	int fd;		  /* non-blocking */
	unsigned ifindex; /* the kernel's number */
	char name[HOSTIF_NAME_BYTES];
	bool uso; /* the kernel also hands over large UDP frames */
};

/*
 * Makes the interface, down, with its MTU and (TAP only, else NULL) its MAC. 0, -EEXIST: an
 * interface of that name exists, -ENODEV: no /dev/net/tun, -EPERM, or another negative errno;
 * nothing is left then.
 */
int hostif_create(struct hostif *out, enum hostif_kind kind, const char *name, const uint8_t mac[6],
	uint16_t mtu);
/* Closes it; the interface is gone. */
void hostif_destroy(struct hostif *hostif);

/* 0 or a negative errno. */
int hostif_set_mtu(const struct hostif *hostif, uint16_t mtu);
/* Whether it is set up; not when it is gone. */
bool hostif_is_up(const struct hostif *hostif);
/* Gives a TAP this MAC address if it has another: 1 when it had, 0, or a negative errno. */
int hostif_keep_mac(const struct hostif *hostif, const uint8_t mac[6]);
/* Whether it has a carrier; a fresh one has. */
int hostif_set_carrier(const struct hostif *hostif, bool on);

/*
 * Reads one frame (buf of HOSTIF_FRAME_BYTES): its length, or a negative errno (-EAGAIN: there is
 * none; -EMSGSIZE: one was longer than buf and is lost).
 */
ssize_t hostif_read(const struct hostif *hostif, struct virtio_net_hdr_v1 *vnet, uint8_t *buf);

/* Writes a frame, gathered from m's segments; m stays the caller's. 0 or a negative errno. */
int hostif_write(const struct hostif *hostif, const struct virtio_net_hdr_v1 *vnet,
	const struct rte_mbuf *m);

#endif
