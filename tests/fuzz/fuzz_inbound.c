/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: frames into an outer port of the data path, some of them sealed as their sender
 * would, so that their contents are reached. What must hold whatever comes:
 * - what leaves through the inner port is a whole IP packet from an address of a peer's;
 * - no mbuf is lost or freed twice.
 *
 * The input is a list of frames. One begins with a byte: bits 0-1 the sender (0: any bytes as a
 * frame), bit 2 not sealed (any UDP payload of the sender's), bit 3 altered, bit 4 through the
 * one-armed port, bit 5 in pieces, bit 6 in one burst with the next, bit 7 as a frame whose payload
 * the kernel received. It goes on with a length and as many bytes, and for altered ones with a
 * count and as many offsets and values.
 */
#include "packets.h"

#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FRAMES_MAX   40
#define BYTES_MAX    2000
#define TEXT_BYTES   (BYTES_MAX - 100)
#define PIECE_BYTES  48
#define INNER_PORT   1
#define ONE_ARM_PORT 2

static bool one_armed; /* what came through it may be forwarded in the clear, too */

static bool is_of_a_peer(const uint8_t *ip)
{
	if (ip[0] >> 4 == 4)
		return ip[12] == 10 && ip[13] >= 1 && ip[13] <= 3;
	return ip[8] == 0xfd && ip[9] >= 1 && ip[9] <= 3;
}

static void check_frame(unsigned port, const struct packet *frame)
{
	const uint8_t *ip = frame->bytes + 14;

	MUST(frame->len > 14);
	if (port != INNER_PORT)
		return;
	MUST(frame->len >= 14 + (ip[0] >> 4 == 4 ? 20 : 40));
	MUST(load_be16(frame->bytes + 12) == (ip[0] >> 4 == 4 ? 0x0800 : 0x86dd));
	MUST(frame->len - 14 == (ip[0] >> 4 == 4 ? load_be16(ip + 2) : 40u + load_be16(ip + 4)));
	MUST(one_armed || is_of_a_peer(ip));
}

static struct rte_mbuf *make_frame(struct input *input, uint8_t step)
{
	static struct packet body, frame;
	unsigned port = step & 0x10 ? ONE_ARM_PORT : 0;
	struct far *far = &rig.far[step & 3];

	one_armed |= port == ONE_ARM_PORT;
	packets_take(input, &body, TEXT_BYTES);
	if ((step & 3) == 0)
		frame = body;
	else if (step & 4)
		far_wrap(far, port, body.bytes, body.len, 0, &frame);
	else
		far_seal(far, port, body.bytes, body.len, (uint8_t)(body.len & 3), &frame);
	if (step & 8)
		packets_alter(input, &frame);
	if ((step & 0xa0) == 0x20 && frame.len > PIECE_BYTES)
		return mbuf_from_segments(&frame, PIECE_BYTES);
	return mbuf_from(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct rte_mbuf *burst[FRAMES_MAX];
	unsigned n = 0;

	packets_begin();
	one_armed = false;
	for (unsigned i = 0; i < FRAMES_MAX && input.left > 0; i++) {
		uint8_t step = input_byte(&input);
		bool from_socket = step & 0x80;

		burst[n++] = make_frame(&input, step);
		if (from_socket) {
			*dp_mbuf(burst[n - 1]) =
				(struct dp_mbuf){.kind = DP_OUTER, .port = DP_PORT_NONE};
			dp_input(rig.worker, &burst[--n], 1);
		}
		if (n > 0 && (!(step & 0x40) || i + 1 == FRAMES_MAX || input.left == 0)) {
			dp_receive(rig.worker, step & 0x10 ? ONE_ARM_PORT : 0, burst, n);
			n = 0;
		}
	}
	packets_end(check_frame);
	return 0;
}
