/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Carries out what a device asks for: publishes its peers, sessions and prefixes to the workers,
 * sends its handshake messages, moves its staged packets. Thread: control.
 */
#ifndef APP_ACTIONS_H
#define APP_ACTIONS_H

struct interface;
struct rte_mbuf;
struct wg_peer;

/* All actions that the interface's device has ready. After every call into the device. */
void actions_drain(struct interface *interface);

/* The next packet staged for peer, now the caller's; NULL when there is none. */
struct rte_mbuf *actions_unstage(struct interface *interface, struct wg_peer *peer);

#endif
