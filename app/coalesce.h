/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs of one TCP flow among packets for the kernel become one large frame with a virtio-net
 * header, so that the kernel does its work once for many packets. The rules are those of Linux' own
 * receive offload, and a little stricter: packets join only
 *
 * - plain IPv4 without options or fragments, or IPv6 without extension headers, exactly as long as
 *   it says, its IPv4 header checksum and its TCP checksum right;
 * - with ACK and no other flag but PSH and ECE, with payload, in sequence;
 * - behind Ethernet: with the same header of it, without a VLAN tag or padding;
 * - with the same addresses, ports, traffic class (ECN included), TTL, flow label, acknowledgement
 *   number, ECE and TCP options, IPv4 identifications that count up (or stand still under DF);
 * - to the size of the first: a shorter one joins as the last, so does one with PSH.
 *
 * So the frame can be cut into the same packets again. It goes up with its checksum left open
 * (NEEDS_CSUM), which tells the kernel that it is right: that is why each packet's own checksum is
 * verified first. A packet that joins none goes up untouched, with an empty header, and the kernel
 * checks it: a corrupted packet stays one.
 *
 * Thread: the caller's. No allocation: frames are chains of the packets' own mbufs.
 */
#ifndef APP_COALESCE_H
#define APP_COALESCE_H

#include <stdbool.h>

#include <linux/virtio_net.h>

struct rte_mbuf;

/* Packets looked at together. */
#define COALESCE_BURST 128

/*
 * Packets (n of them, at most COALESCE_BURST) become frames: mbufs[0..result-1], each with the
 * header vnet[i]. ethernet: each begins with an Ethernet header, not with IP. Packets of a flow
 * keep their order. Joined packets lose their headers and are chained behind the first.
 */
unsigned coalesce(
	struct rte_mbuf **mbufs, unsigned n, bool ethernet, struct virtio_net_hdr_v1 *vnet);

#endif
