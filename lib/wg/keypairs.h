/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sessions of a peer: current, which it sends with; previous, which packets may still come in
 * for; next, made as responder and waiting for the initiator's first packet (whitepaper sections
 * 5.4.5 and 6.1; the rotation is Linux's but for one case). Pure functions on pointers: whoever
 * calls retires what is dropped. Thread: control.
 */
#ifndef WG_KEYPAIRS_H
#define WG_KEYPAIRS_H

#include <stdbool.h>
#include <stdint.h>

struct wg_session;

struct keypairs {
	struct wg_session *previous, *current, *next;
};

/* Sessions that are in no slot any more. */
struct keypairs_dropped {
	struct wg_session *sessions[3];
	unsigned count;
};

/* A session that this side initiated: it is current at once. */
void keypairs_add_initiated(
	struct keypairs *keypairs, struct wg_session *session, struct keypairs_dropped *dropped);
/* A session that this side responded to: it is next, until confirmed. */
void keypairs_add_responded(
	struct keypairs *keypairs, struct wg_session *session, struct keypairs_dropped *dropped);
/* A packet authenticated with the session of this index: next becomes current. False if not next.
 */
bool keypairs_confirm(
	struct keypairs *keypairs, uint32_t local_index, struct keypairs_dropped *dropped);
void keypairs_clear(struct keypairs *keypairs, struct keypairs_dropped *dropped);

#endif
