/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/worker.h"

#include <assert.h>
#include <errno.h>

#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_ring_elem.h>

#include "datapath/burst.h"
#include "datapath/capture.h"
#include "datapath/spread.h"

int dp_worker_create(struct dp *dp, const struct dp_worker_config *config, struct dp_worker **out)
{
	assert(config->id < dp->workers);
	struct dp_worker *worker = rte_zmalloc("wg_worker", sizeof(*worker), 64);
	if (worker == NULL)
		return -ENOMEM;
	errno = 0;
	worker->aead = aead_batch_create(config->backend);
	if (worker->aead == NULL) {
		int error = errno == ENOTSUP ? -ENOTSUP : -ENOMEM;
		rte_free(worker);
		return error;
	}
	worker->dp = dp;
	if (dp_spread_create(worker) != 0) {
		aead_batch_destroy(worker->aead);
		rte_free(worker);
		return -ENOMEM;
	}
	worker->id = config->id;
	/* Apart from the other workers' numbers: they send to the same addresses. */
	worker->ip_id = (uint16_t)(config->id * (65536u / LIMIT_WORKERS));
	worker->relayed = config->relayed;
	worker->send = config->send;
	worker->send_arg = config->send_arg;
	rte_rcu_qsbr_thread_register(dp->qsbr, worker->id);
	*out = worker;
	return 0;
}

void dp_worker_destroy(struct dp_worker *worker)
{
	if (worker == NULL)
		return;
	for (unsigned port = 0; port < LIMIT_PORTS; port++)
		rte_pktmbuf_free_bulk(worker->tx[port].mbufs, worker->tx[port].n);
	dp_spread_destroy(worker);
	rte_rcu_qsbr_thread_unregister(worker->dp->qsbr, worker->id);
	aead_batch_destroy(worker->aead);
	rte_free(worker);
}

/* A turn's packets in bursts that the stages can hold. */
static unsigned next_burst(unsigned left)
{
	return left < LIMIT_BURST ? left : LIMIT_BURST;
}

void dp_receive(struct dp_worker *worker, unsigned port, struct rte_mbuf **mbufs, unsigned n)
{
	struct dp_counters *counters = &worker->counters;
	const struct dp_port *config = &worker->dp->ports[port];
	bool outer = config->outer;
	uint64_t begin = rte_rdtsc();
	dp_stages_begin(worker);
	dp_capture(worker, mbufs, n);
	if (unlikely(atomic_load_explicit(&config->down, memory_order_relaxed))) {
		dp_drop(&worker->drops, mbufs, n, DP_DROP_PORT_DOWN);
		return;
	}
	for (unsigned i = 0; i < n; i += LIMIT_BURST) {
		if (outer)
			dp_inbound(worker, port, mbufs + i, next_burst(n - i));
		else
			dp_outbound(worker, port, mbufs + i, next_burst(n - i));
	}
	*(outer ? &counters->inbound_cycles : &counters->outbound_cycles) += rte_rdtsc() - begin;
}

/* Runs of one kind, at most a burst long: what goes to a ring together mostly is of one kind. */
static unsigned run_of_kind(struct rte_mbuf **mbufs, unsigned n)
{
	unsigned end = 1;
	while (end < n && end < LIMIT_BURST && dp_mbuf(mbufs[end])->kind == dp_mbuf(mbufs[0])->kind)
		end++;
	return end;
}

static void input_transmit(struct dp_worker *worker, struct rte_mbuf **mbufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		dp_transmit(worker, dp_mbuf(mbufs[i])->port, mbufs[i]);
}

void dp_input(struct dp_worker *worker, struct rte_mbuf **mbufs, unsigned n)
{
	struct dp_counters *counters = &worker->counters;
	uint64_t begin = rte_rdtsc();
	dp_stages_begin(worker);
	for (unsigned i = 0, len; i < n; i += len) {
		len = run_of_kind(mbufs + i, n - i);
		switch ((enum dp_kind)dp_mbuf(mbufs[i])->kind) {
		case DP_TRANSMIT:
			input_transmit(worker, mbufs + i, len);
			break;
		case DP_ROUTE:
			dp_outbound_tun(worker, mbufs + i, len);
			break;
		case DP_PEER:
			dp_outbound_peer(worker, mbufs + i, len);
			break;
		case DP_OUTER:
			dp_inbound(worker, DP_PORT_NONE, mbufs + i, len);
			break;
		default: /* none of a worker's kinds */
			assert(false);
			rte_pktmbuf_free_bulk(mbufs + i, len);
		}
	}
	counters->input_cycles += rte_rdtsc() - begin;
}

void dp_flush_port(struct dp_worker *worker, unsigned port)
{
	struct dp_tx *tx = &worker->tx[port];
	unsigned n = tx->n;
	if (likely((worker->relayed >> port & 1) == 0))
		dp_capture(worker, tx->mbufs, n);
	unsigned sent = worker->send(worker->send_arg, port, tx->mbufs, tx->n);
	if (unlikely(sent < tx->n))
		dp_drop(&worker->drops, tx->mbufs + sent, tx->n - sent, DP_DROP_TX_FULL);
	tx->n = 0;
	worker->tx_pending &= ~(1u << port);
	dp_stage_end(worker, DP_STAGE_TRANSMIT, n);
}

void dp_worker_flush(struct dp_worker *worker)
{
	if (worker->tx_pending != 0 || unlikely(worker->spreading))
		dp_stages_begin(worker);
	if (unlikely(worker->spreading))
		dp_spread_end(worker);
	while (worker->tx_pending != 0)
		dp_flush_port(worker, (unsigned)__builtin_ctz(worker->tx_pending));
}

void dp_stage_count(struct dp_stages *stages, enum dp_stage stage, unsigned n)
{
	uint64_t now = rte_rdtsc();
	stages->cycles[stage] += now - stages->last;
	stages->packets[stage] += n;
	stages->last = now;
}

bool dp_send_hint(
	struct dp_worker *worker, enum dp_hint_kind kind, const struct wg_session *session)
{
	struct dp_hint hint = {.kind = (uint8_t)kind, .local_index = session->local_index};

	return rte_ring_enqueue_elem(worker->dp->hint_ring, &hint, sizeof(hint)) == 0;
}

void dp_hint_rekey(struct dp_worker *worker, struct wg_session *session)
{
	if (!atomic_load_explicit(&session->rekey_asked, memory_order_relaxed) &&
		dp_send_hint(worker, DP_HINT_REKEY, session))
		atomic_store_explicit(&session->rekey_asked, true, memory_order_relaxed);
}
