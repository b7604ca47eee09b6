/* SPDX-License-Identifier: BSD-3-Clause */
#include "sealed.h"

#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "crypto/aead_batch.h"
#include "wg/messages.h"

#define BURST 32
/* What the buffers of all messages may take, and how many there may be: 0.2 s at full rate. */
#define MEMORY_MOST   (768u << 20)
#define MESSAGES_MOST (1536u << 10)
/* Less than this is no trial. */
#define MESSAGES_LEAST 4096
/* Of a buffer, beside the message: struct rte_mbuf and the pool's own. */
#define BUFFER_OVERHEAD (sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM + 64)

static unsigned padded_bytes(const struct tunnels *tunnels, unsigned size)
{
	return RTE_MIN(RTE_ALIGN_CEIL(size, 16u), tunnels->mtu);
}

static unsigned largest_frame(const struct tunnels *tunnels, const struct trial *trial)
{
	unsigned most = 0;

	for (unsigned i = 0; i < trial->size_count; i++)
		most = RTE_MAX(most, padded_bytes(tunnels, trial->sizes[i]));
	return OUTER_HEADER4_BYTES + (unsigned)WG_KEEPALIVE_BYTES + most;
}

/* What was sent stays with the port until it needs the room: other messages push it out. */
static void free_pool(struct sealed *sealed, struct tunnels *tunnels)
{
	while (sealed->pool != NULL && rte_mempool_in_use_count(sealed->pool) > 0) {
		tunnels_keepalive(tunnels, 1);
		rte_delay_us_sleep(10);
	}
	rte_mempool_free(sealed->pool);
	free(sealed->mbufs);
}

static bool make_pool(struct sealed *sealed, struct tunnels *tunnels, unsigned room)
{
	unsigned n = RTE_MIN(MESSAGES_MOST, MEMORY_MOST / (unsigned)(room + BUFFER_OVERHEAD));

	free_pool(sealed, tunnels);
	*sealed = (struct sealed){.room = room};
	for (; sealed->pool == NULL && n >= MESSAGES_LEAST; n /= 2) {
		sealed->pool = rte_pktmbuf_pool_create("sealed", n - 1, 0, 0,
			(uint16_t)(RTE_PKTMBUF_HEADROOM + room), SOCKET_ID_ANY);
		sealed->capacity = n - 1;
	}
	sealed->mbufs = malloc(sealed->capacity * sizeof(sealed->mbufs[0]));
	return sealed->pool != NULL && sealed->mbufs != NULL;
}

static struct aead_op put_message(
	const struct tunnels *tunnels, struct tunnel *tunnel, unsigned size, struct rte_mbuf *m)
{
	unsigned padded = padded_bytes(tunnels, size);
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t *message = frame + OUTER_HEADER4_BYTES;
	uint8_t *text = message + sizeof(struct wg_msg_data);
	uint8_t inner[OUTER_HEADER4_BYTES];

	memcpy(frame, tunnel->outer, OUTER_HEADER4_BYTES);
	outer_finish(frame, OUTER_HEADER4_BYTES, (unsigned)WG_KEEPALIVE_BYTES + padded, 0, 0);
	outer_omit_udp_checksum(frame);
	store_le32(message, WG_MSG_DATA);
	store_le32(message + 4, tunnel->remote_index);
	store_le64(message + 8, tunnel->counter);
	memcpy(inner, tunnel->inner, sizeof(inner));
	outer_finish(inner, OUTER_HEADER4_BYTES, size - IPV4_HEADER_BYTES - UDP_HEADER_BYTES, 0, 0);
	outer_omit_udp_checksum(inner);
	memcpy(text, inner + ETHER_HEADER_BYTES, IPV4_HEADER_BYTES + UDP_HEADER_BYTES);
	m->data_len = (uint16_t)(OUTER_HEADER4_BYTES + WG_KEEPALIVE_BYTES + padded);
	m->pkt_len = m->data_len;
	return (struct aead_op){
		.data = text,
		.key = tunnel->send_key,
		.counter = tunnel->counter++,
		.len = padded,
	};
}

unsigned sealed_prepare(
	struct sealed *sealed, struct tunnels *tunnels, const struct trial *trial, unsigned n)
{
	unsigned room = RTE_ALIGN_CEIL(largest_frame(tunnels, trial), 64u);
	struct aead_op ops[BURST];

	sealed_discard(sealed);
	if (sealed->room != room && !make_pool(sealed, tunnels, room))
		return 0;
	n = RTE_MIN(RTE_ALIGN_CEIL(n, BURST), sealed->capacity / BURST * BURST);
	for (unsigned i = 0; i < n; i += BURST) {
		struct rte_mbuf **mbufs = &sealed->mbufs[i];

		/* Some are with the port still, sent. */
		if (rte_pktmbuf_alloc_bulk(sealed->pool, mbufs, BURST) != 0)
			break;
		for (unsigned k = 0; k < BURST; k++)
			ops[k] = put_message(tunnels, &tunnels->tunnels[(i + k) % trial->tunnels],
				trial->sizes[(i + k) % trial->size_count], mbufs[k]);
		aead_batch_seal(tunnels->aead, ops, BURST);
		sealed->count = i + BURST;
	}
	return sealed->count;
}

int sealed_take(struct sealed *sealed, struct rte_mbuf **mbufs, unsigned n)
{
	if (sealed->count - sealed->next < n)
		return -1;
	memcpy(mbufs, &sealed->mbufs[sealed->next], n * sizeof(mbufs[0]));
	sealed->next += n;
	return 0;
}

void sealed_discard(struct sealed *sealed)
{
	if (sealed->count > sealed->next)
		rte_pktmbuf_free_bulk(&sealed->mbufs[sealed->next], sealed->count - sealed->next);
	sealed->count = sealed->next = 0;
}
