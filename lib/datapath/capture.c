/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/capture.h"

#include <rte_ring.h>

#include "datapath/burst.h"
#include "net/headers.h"

static bool is_unicast(const struct rte_mbuf *m)
{
	return m->data_len >= ETHER_HEADER_BYTES &&
	       (rte_pktmbuf_mtod(m, const uint8_t *)[ETHER_DST] & 1) == 0;
}

/* NULL: no buffer is free. */
static struct rte_mbuf *copy_of(const struct rte_mbuf *m)
{
	struct rte_mbuf *copy = rte_pktmbuf_copy(m, m->pool, 0, UINT32_MAX);
	if (copy != NULL)
		*dp_mbuf(copy) = (struct dp_mbuf){.kind = DP_HOST_FRAME, .port = DP_PORT_NONE};
	return copy;
}

static void capture_burst(struct dp_worker *worker, struct rte_mbuf *const *mbufs, unsigned n)
{
	struct rte_ring *ring = worker->dp->host_ring[DP_NETDEV_CAPTURE];
	unsigned room = rte_ring_free_count(ring), lost = 0;
	struct dp_batch copies;
	copies.n = 0;
	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *copy;
		if (!is_unicast(mbufs[i]))
			continue;
		/* Not copied only to be dropped. */
		copy = copies.n < room ? copy_of(mbufs[i]) : NULL;
		if (copy != NULL)
			dp_batch_add(&copies, copy);
		else
			lost++;
	}
	dp_drop_count(&worker->drops, lost, DP_DROP_CAPTURE);
	if (copies.n != 0)
		dp_pass(ring, copies.mbufs, copies.n, &worker->drops, DP_DROP_CAPTURE);
}

void dp_capture_frames(struct dp_worker *worker, struct rte_mbuf *const *mbufs, unsigned n)
{
	for (unsigned i = 0; i < n; i += LIMIT_BURST)
		capture_burst(worker, mbufs + i, RTE_MIN(n - i, (unsigned)LIMIT_BURST));
}
