/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a peer's endpoint to the headers that workers put before its packets: asks the kernel for
 * the way, and again when routes or neighbours change. Thread: control.
 */
#ifndef APP_ENDPOINT_H
#define APP_ENDPOINT_H

struct gateway;
struct interface;
struct wg_peer;

/* Publishes the way to the peer's endpoint as it is now. */
void endpoint_resolve(struct interface *interface, struct wg_peer *peer);

/* The kernel's routing changed: every endpoint is to be resolved again, a few at a time. */
void endpoint_resolve_all(struct gateway *gateway);
/* Resolves up to n of those; returns how many. */
unsigned endpoint_resolve_some(struct gateway *gateway, unsigned n);

#endif
