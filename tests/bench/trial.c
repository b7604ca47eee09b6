/* SPDX-License-Identifier: BSD-3-Clause */
#include "trial.h"

#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include "sealed.h"
#include "wg/messages.h"

#define BURST 32

/* A generator that lost its CPU does not make up for it: that would be another rate. */
#define LATE_BURSTS 64
/* After the last packet, so long without another is the end. */
#define DRAIN_S 0.02
/* One burst in so many has its first packet opened. */
#define CHECK_EVERY 256

struct run {
	struct tunnels *tunnels;
	struct sealed *sealed;
	const struct trial *trial;
	struct trial_result *result;
	uint16_t to, from; /* ports */
	unsigned next_tunnel, next_size;
	uint64_t bursts_received;
	struct rte_mbuf *mbufs[BURST]; /* made, and not taken by the port yet */
	unsigned pending;
	bool out_of_messages; /* the trial ends early */
};

static bool make_burst(struct run *run);
static void send_burst(struct run *run);
static unsigned receive(struct run *run);

static void drop_what_waits(struct run *run)
{
	while (receive(run) > 0)
		;
}

static void run_paced(struct run *run)
{
	uint64_t start = rte_rdtsc(), now = start;
	double hz = (double)rte_get_tsc_hz();
	uint64_t interval = (uint64_t)(hz * BURST / run->trial->pps);
	uint64_t end = start + (uint64_t)(hz * run->trial->seconds), due = start;

	while ((now = rte_rdtsc()) < end && !run->out_of_messages) {
		if (now >= due) {
			if (make_burst(run)) {
				send_burst(run);
				rte_pktmbuf_free_bulk(run->mbufs, run->pending);
				run->pending = 0;
			}
			due += interval;
			if (now > due + LATE_BURSTS * interval) {
				due = now;
				run->result->late++;
			}
		}
		receive(run);
	}
	run->result->seconds = (double)(now - start) / hz;
}

static void run_as_taken(struct run *run)
{
	uint64_t start = rte_rdtsc(), now = start;
	double hz = (double)rte_get_tsc_hz();
	uint64_t end = start + (uint64_t)(hz * run->trial->seconds);

	while ((now = rte_rdtsc()) < end && !run->out_of_messages) {
		if (run->pending > 0 || make_burst(run))
			send_burst(run);
		receive(run);
	}
	run->result->offered -= run->pending;
	rte_pktmbuf_free_bulk(run->mbufs, run->pending);
	run->pending = 0;
	run->result->seconds = (double)(now - start) / hz;
}

static void drain(struct run *run)
{
	uint64_t patience = (uint64_t)((double)rte_get_tsc_hz() * DRAIN_S);
	uint64_t end = rte_rdtsc() + patience;

	while (rte_rdtsc() < end && run->result->received < run->result->offered)
		if (receive(run) > 0)
			end = rte_rdtsc() + patience;
}

/* Without a rate: what no gateway of one worker outruns. */
#define FASTEST_PPS 8e6

void trial_run(struct tunnels *tunnels, struct sealed *sealed, const struct trial *trial,
	struct trial_result *result)
{
	bool outbound = trial->direction == TRIAL_OUTBOUND;
	struct run run = {
		.tunnels = tunnels,
		.sealed = sealed,
		.trial = trial,
		.result = result,
		.to = outbound ? INNER_PORT : OUTER_PORT,
		.from = outbound ? OUTER_PORT : INNER_PORT,
	};

	*result = (struct trial_result){0};
	if (!outbound)
		sealed_prepare(sealed, tunnels, trial,
			(unsigned)((trial->pps > 0 ? trial->pps : FASTEST_PPS) * trial->seconds));
	else
		tunnels_keepalive(tunnels, trial->tunnels);
	drop_what_waits(&run);
	*result = (struct trial_result){0};
	if (trial->pps > 0)
		run_paced(&run);
	else
		run_as_taken(&run);
	drain(&run);
}

/* ---- sending ---- */

static unsigned next_size(struct run *run)
{
	unsigned size = run->trial->sizes[run->next_size];

	if (++run->next_size == run->trial->size_count)
		run->next_size = 0;
	return size;
}

static struct tunnel *next_tunnel(struct run *run)
{
	struct tunnel *tunnel = &run->tunnels->tunnels[run->next_tunnel];

	if (++run->next_tunnel == run->trial->tunnels)
		run->next_tunnel = 0;
	return tunnel;
}

/* Headers only: what the payload is does not matter. */
static void make_plain(struct run *run, struct rte_mbuf *m)
{
	unsigned size = next_size(run);
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);

	memcpy(frame, next_tunnel(run)->plain, OUTER_HEADER4_BYTES);
	outer_finish(frame, OUTER_HEADER4_BYTES, size - IPV4_HEADER_BYTES - UDP_HEADER_BYTES, 0, 0);
	outer_omit_udp_checksum(frame);
	m->data_len = (uint16_t)(ETHER_HEADER_BYTES + size);
	m->pkt_len = m->data_len;
}

/* False: there is none to be had. */
static bool make_burst(struct run *run)
{
	if (run->trial->direction == TRIAL_INBOUND) {
		if (sealed_take(run->sealed, run->mbufs, BURST) != 0) {
			run->out_of_messages = true;
			return false;
		}
	} else {
		if (rte_pktmbuf_alloc_bulk(run->tunnels->pool, run->mbufs, BURST) != 0)
			return false;
		for (unsigned i = 0; i < BURST; i++)
			make_plain(run, run->mbufs[i]);
	}
	run->result->offered += BURST;
	run->pending = BURST;
	return true;
}

static void send_burst(struct run *run)
{
	unsigned sent = rte_eth_tx_burst(run->to, 0, run->mbufs, (uint16_t)run->pending);

	run->pending -= sent;
	if (run->pending == 0)
		return;
	run->result->refused++;
	memmove(run->mbufs, run->mbufs + sent, run->pending * sizeof(run->mbufs[0]));
}

/* ---- receiving ---- */

static bool is_ours(const struct run *run, const struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	if (m->data_len < OUTER_HEADER4_BYTES + 4 ||
		load_be16(frame + ETHER_TYPE) != ETHER_TYPE_IPV4)
		return false;
	if (run->trial->direction == TRIAL_INBOUND)
		return frame[ETHER_HEADER_BYTES + IPV4_PROTOCOL] == IP_PROTOCOL_UDP;
	return load_le32(frame + OUTER_HEADER4_BYTES) == WG_MSG_DATA &&
	       m->pkt_len > OUTER_HEADER4_BYTES + WG_KEEPALIVE_BYTES;
}

static unsigned receive(struct run *run)
{
	struct rte_mbuf *mbufs[BURST];
	uint16_t n = rte_eth_rx_burst(run->from, 0, mbufs, BURST);

	for (uint16_t i = 0; i < n; i++)
		run->result->received += is_ours(run, mbufs[i]);
	if (n > 0 && run->trial->direction == TRIAL_OUTBOUND &&
		run->bursts_received++ % CHECK_EVERY == 0 && is_ours(run, mbufs[0])) {
		run->result->checked++;
		run->result->wrong += !tunnels_check(run->tunnels, mbufs[0]);
	}
	rte_pktmbuf_free_bulk(mbufs, n);
	return n;
}
