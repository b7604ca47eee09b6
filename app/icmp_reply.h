/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ICMP errors to senders of packets that no peer can take. They leave through the kernel's raw
 * sockets, so that the kernel chooses source address and way. Thread: control.
 */
#ifndef APP_ICMP_REPLY_H
#define APP_ICMP_REPLY_H

#include <stdint.h>

struct interface;
struct rte_mbuf;

/* 0 or a negative errno after a line on what is missing. */
int icmp_reply_init(void);
void icmp_reply_fini(void);

/*
 * Tells the sender of an IP packet (kind DP_UNREACHABLE) that its destination is unreachable, as
 * far as the rate allows, and drops the packet under its reason: no_peer or no_endpoint.
 */
void icmp_reply_unreachable(struct interface *interface, struct rte_mbuf *packet, uint64_t now_ns);

#endif
