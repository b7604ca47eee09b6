/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allowed IPs, the authoritative copy: which peer owns which prefix (cryptokey routing, whitepaper
 * section 2). A prefix has one owner; setting it for another peer moves it. The workers' copy is
 * published elsewhere (datapath/lpm.h) from the changes that the device reports.
 *
 * Thread: control. One table per interface. Each peer's prefixes form a list, so that a peer is
 * shown or removed in the time that its own prefixes take.
 */
#ifndef WG_ALLOWEDIPS_H
#define WG_ALLOWEDIPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

struct wg_peer;
struct allowedips;
struct allowedips_entry;

struct allowedips *allowedips_create(void);
void allowedips_destroy(struct allowedips *table);

/*
 * Sets the owner of prefix (host bits already zero). *old is the owner before, or NULL; when it is
 * peer itself nothing changed. 0 or -ENOMEM.
 */
int allowedips_set(struct allowedips *table, const struct ip_prefix *prefix, struct wg_peer *peer,
	struct wg_peer **old);
/* Removes the prefix if peer owns it; true if it did. */
bool allowedips_remove(
	struct allowedips *table, const struct ip_prefix *prefix, struct wg_peer *peer);

/* A peer's prefixes: first with entry NULL, then the next; NULL at the end. */
const struct allowedips_entry *allowedips_next(const struct allowedips *table,
	const struct wg_peer *peer, const struct allowedips_entry *entry);
struct ip_prefix allowedips_prefix(const struct allowedips_entry *entry);

#endif
