/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: a frame with a virtio-net header, cut into packets. What must hold whatever comes:
 * - nothing outside of the frame is read, nothing outside of the packets' room is written;
 * - the packets have the frame's headers, and their payloads put together are the frame's;
 * - each has a flow hash, that of the frame.
 *
 * The first byte: bit 0 the frame begins with Ethernet. Then the virtio-net header, then the frame.
 */
#include <stdbool.h>

#include <rte_mbuf.h>

#include "app/segment.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of a packet buffer, that what it holds is no accident. */
#define SOIL 0xdd

static void check_payload(const struct segmenter *s, const struct rte_mbuf *m, uint32_t done)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

	MUST(m->data_len == m->pkt_len && m->data_len > s->payload_at);
	MUST(memcmp(p, s->frame, s->ip_at) == 0);
	MUST(memcmp(p + s->payload_at, s->frame + s->payload_at + done,
		     m->data_len - s->payload_at) == 0);
}

static void cut(struct segmenter *s, bool ethernet)
{
	uint32_t most = segment_max_bytes(s), packets = s->packets, done = 0;

	MUST(packets >= 1 && most <= s->len);
	for (uint32_t i = 0; i < packets; i++) {
		struct rte_mbuf m = {.buf_addr = malloc(most), .nb_segs = 1};
		struct rte_mbuf *mbuf = &m;

		MUST(m.buf_addr);
		memset(m.buf_addr, SOIL, most);
		segment_next(s, &mbuf, 1);
		MUST(m.data_len <= most && m.data_len == m.pkt_len);
		if (packets > 1) {
			check_payload(s, &m, done);
			done += m.data_len - s->payload_at;
			MUST(segment_flow(m.buf_addr, m.data_len, ethernet) == s->flow);
		}
		free(m.buf_addr);
	}
	MUST(s->made == packets);
	MUST(packets == 1 || done == s->len - s->payload_at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_net_hdr_v1 vnet;
	struct segmenter s;

	/* Up to a little more than what is taken. */
	if (size < 1 + sizeof(vnet) || size > 66000)
		return 0;
	memcpy(&vnet, data + 1, sizeof(vnet));
	if (segment_begin(&s, &vnet, data + 1 + sizeof(vnet), (uint32_t)(size - 1 - sizeof(vnet)),
		    data[0] & 1))
		cut(&s, data[0] & 1);
	return 0;
}
