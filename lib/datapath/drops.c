/* SPDX-License-Identifier: BSD-3-Clause */
#include "datapath/drops.h"

#include <assert.h>

#include <rte_mbuf.h>

void dp_drop(struct dp_drops *drops, struct rte_mbuf *const *mbufs, unsigned n,
	enum dp_drop_reason reason)
{
	for (unsigned i = 0; i < n; i++)
		rte_pktmbuf_free(mbufs[i]);
	dp_drop_count(drops, n, reason);
}

const char *dp_drop_name(enum dp_drop_reason reason)
{
	static const char *const names[DP_DROP_COUNT] = {
#define DP_DROP_NAME(id, name, text) [id] = name,
		DP_DROPS(DP_DROP_NAME)
#undef DP_DROP_NAME
	};
	assert(reason < DP_DROP_COUNT);
	return names[reason];
}

const char *dp_drop_text(enum dp_drop_reason reason)
{
	static const char *const texts[DP_DROP_COUNT] = {
#define DP_DROP_TEXT(id, name, text) [id] = text,
		DP_DROPS(DP_DROP_TEXT)
#undef DP_DROP_TEXT
	};
	assert(reason < DP_DROP_COUNT);
	return texts[reason];
}
