/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: frames into an inner port of the data path, and packets that the kernel and control
 * send to it. What must hold whatever comes:
 * - what leaves through the outer port is a data message that its peer can open, with the headers
 *   and the padding it should have, and in it is an IP packet or nothing;
 * - no mbuf is lost or freed twice.
 *
 * The input is a list of packets. One begins with a byte: bits 0-1 how it comes (a frame to the
 * inner port; to the one-armed port; from the kernel; from control), bit 2 the Ethernet header is
 * made for it, bit 3 the IP header's length and checksum are mended, bit 4 in pieces (frames only),
 * bit 5 in one burst with the next, bits 6-7 the interface or the peer. It goes on with a length
 * and as many bytes.
 */
#include "packets.h"

#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PACKETS_MAX  40
#define BYTES_MAX    2000
#define PIECE_BYTES  48
#define INNER_PORT   1
#define ONE_ARM_PORT 2

enum way { TO_INNER, TO_ONE_ARM, FROM_KERNEL, FROM_CONTROL };

static bool one_armed; /* what came through it may be forwarded in the clear, too */

static struct far *far_of(uint32_t remote_index)
{
	for (unsigned id = 1; id < RIG_PEERS; id++)
		if (rig.far[id].session.remote_index == remote_index)
			return &rig.far[id];
	return NULL;
}

static void check_frame(unsigned port, const struct packet *frame)
{
	static struct packet text;
	unsigned message = 14 + (frame->bytes[14] >> 4 == 4 ? 20 : 40) + 8;
	struct far *far;

	if (port != 0 || one_armed)
		return;
	MUST(frame->len >= message + 32);
	far = far_of(load_le32(frame->bytes + message + 4));
	MUST(far);
	far_open(far, frame, RIG_MTU, &text);
}

/* Makes the length and checksum fit, so that more than the first look is passed. False: it is no IP
 * packet at all. */
static bool mend_ip(struct packet *p)
{
	if (p->len >= 20 && p->bytes[0] >> 4 == 4 && (p->bytes[0] & 15u) * 4 <= p->len &&
		(p->bytes[0] & 15) >= 5) {
		store_be16(p->bytes + 2, (uint16_t)p->len);
		inner_fix_checksum(p);
		return true;
	}
	if (p->len >= 40 && p->bytes[0] >> 4 == 6) {
		store_be16(p->bytes + 4, (uint16_t)(p->len - 40));
		return true;
	}
	return false;
}

static struct rte_mbuf *make_packet(struct input *input, uint8_t step)
{
	static struct packet p;
	enum way way = step & 3;
	struct rte_mbuf *m;

	packets_take(input, &p, BYTES_MAX);
	/* What control gives was looked at before: an IP packet within the MTU, or a keepalive. */
	if (way == FROM_CONTROL && (p.len > RIG_MTU || !mend_ip(&p)))
		p.len = 0;
	else if (step & 8)
		mend_ip(&p);
	if (step & 4 && way <= TO_ONE_ARM && p.len > 0)
		ether_wrap(&p, way == TO_INNER ? INNER_PORT : ONE_ARM_PORT);
	m = step & 0x10 && way <= TO_ONE_ARM && p.len > PIECE_BYTES
		    ? mbuf_from_segments(&p, PIECE_BYTES)
		    : mbuf_from(&p);
	if (way == FROM_KERNEL)
		*dp_mbuf(m) = (struct dp_mbuf){.kind = DP_ROUTE, .interface = step >> 6 & 1};
	if (way == FROM_CONTROL) {
		uint32_t id = step >> 6 & 3;

		/* Peer 0 is none, and the session may be another's. */
		*dp_mbuf(m) = (struct dp_mbuf){.kind = DP_PEER,
			.interface = rig.far[id].interface,
			.peer_id = id,
			.local_index = rig.far[p.len % 7 ? id : 3].session.local_index};
	}
	return m;
}

static void give(enum way way, struct rte_mbuf **mbufs, unsigned n)
{
	if (way <= TO_ONE_ARM)
		dp_receive(rig.worker, way == TO_INNER ? INNER_PORT : ONE_ARM_PORT, mbufs, n);
	else
		dp_input(rig.worker, mbufs, n);
	one_armed |= way == TO_ONE_ARM;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct rte_mbuf *burst[PACKETS_MAX];
	enum way way = TO_INNER;
	unsigned n = 0;

	packets_begin();
	one_armed = false;
	for (unsigned i = 0; i < PACKETS_MAX && input.left > 0; i++) {
		uint8_t step = input_byte(&input);

		/* A burst is of one kind. */
		if (n > 0 && (step & 3) != way) {
			give(way, burst, n);
			n = 0;
		}
		way = step & 3;
		burst[n++] = make_packet(&input, step);
		if (!(step & 0x20)) {
			give(way, burst, n);
			n = 0;
		}
	}
	if (n > 0)
		give(way, burst, n);
	packets_end(check_frame);
	return 0;
}
