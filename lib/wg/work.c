/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/work.h"

#include "crypto/wipe.h"

/* False: no handshake with this peer is possible. */
static bool reach(struct wg_work *work)
{
	if (work->derive_static) {
		struct noise_handshake handshake = work->noise.handshake;

		noise_peer_rekey_static(&work->noise, &work->identity);
		work->noise.handshake = handshake;
		wipe(&handshake, sizeof(handshake));
	}
	return work->noise.reachable;
}

static void respond(struct wg_work *work)
{
	work->verdict = WG_BAD_STATIC;
	if (reach(work))
		work->verdict = noise_accept_initiation(
			&work->noise, &work->opened, &work->in.initiation, work->now_ns);
	if (work->verdict == WG_ACCEPTED)
		work->made = noise_create_response(
			&work->noise, WG_INDEX_NONE, work->ephemeral, &work->out.response);
}

void wg_work_compute(struct wg_work *work)
{
	work->made = false;
	switch (work->kind) {
	case WORK_OPEN:
		work->verdict =
			noise_open_initiation(&work->opened, &work->identity, &work->in.initiation);
		break;
	case WORK_RESPOND:
		respond(work);
		break;
	case WORK_CONCLUDE:
		work->verdict =
			noise_accept_response(&work->noise, &work->identity, &work->in.response);
		break;
	case WORK_INITIATE:
		work->made = reach(work) &&
			     noise_create_initiation(&work->noise, &work->identity, WG_INDEX_NONE,
				     work->ephemeral, work->timestamp, &work->out.initiation);
		break;
	}
}

bool wg_work_was_asked_for(const struct wg_work *work)
{
	return work->kind != WORK_INITIATE;
}
