/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: packets as a peer may send them, joined for the kernel, and cut again. What must
 * hold whatever comes:
 * - each packet is in one frame, once, behind those of its flow that came before it;
 * - a packet that was not joined is as it came, with an empty header;
 * - a joined one was right in each length and checksum, plain TCP with payload, and differed from
 *   the first only where joining is defined to allow it (app/coalesce.h);
 * - the frame, cut, is the same packets again, byte for byte, but for an IPv4 identification that
 *   stood still under DF and for the two forms of a checksum that is zero.
 *
 * The first byte: bit 0, packets begin with Ethernet. Then packets, each a byte of these bits and
 * what they ask for, in this order. Without any: the next of flow 0.
 *   0-1  the flow; 3: no flow, but a length byte and as many bytes as they are
 *   2    a payload length
 *   3    PSH
 *   4    fields of the flow's next packets altered, from this one on: a count, pairs (field, value)
 *   5    bytes of the headers altered and checksums mended: a count, pairs (offset, value to xor)
 *   6    bytes altered, checksums left: the same
 *   7    the length changed: a signed byte
 */
#include <rte_mbuf.h>

#include "app/coalesce.h"
#include "app/segment.h"
#include "base/bytes.h"
#include "frames.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FLOWS	   3
#define PAYLOAD	   1400 /* at most; so 64 KiB are reached */
#define BYTES_MAX  2048
#define SOIL	   0xdd
#define LINK_BYTES (ethernet ? 14u : 0u)

enum {
	NEXT_FLOW = 3,
	WITH_PAYLOAD = 1 << 2,
	WITH_PUSH = 1 << 3,
	WITH_FIELDS = 1 << 4,
	WITH_HEADERS = 1 << 5,
	WITH_DAMAGE = 1 << 6,
	WITH_LENGTH = 1 << 7
};

struct packet {
	uint32_t len;
	uint8_t bytes[BYTES_MAX];
};

static bool ethernet;
static struct packet packets[COALESCE_BURST]; /* as they came */
static struct rte_mbuf mbufs[COALESCE_BURST]; /* each with a buffer of just its length */
static struct frame_spec flows[FLOWS];

/* ---- packets from the input ---- */

static void begin_flows(void)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		flows[i] = frame_plain(i == 1, false, 100);
		flows[i].ethernet = ethernet;
		flows[i].dst_port = (uint16_t)(5201 + i);
	}
}

static void set_field(struct frame_spec *spec, uint8_t field, uint8_t value)
{
	switch (field % 16) {
	case 0:
		spec->seq += (uint32_t)(int8_t)value;
		break;
	case 1:
		spec->ack += value;
		break;
	case 2:
		spec->window = value;
		break;
	case 3:
		spec->flags = value;
		break;
	case 4:
		spec->traffic_class = value;
		break;
	case 5:
		spec->ttl = value;
		break;
	case 6:
		spec->ip_id = (uint16_t)(spec->ip_id + (int8_t)value);
		break;
	case 7:
		spec->df = value & 1;
		break;
	case 8:
		spec->ip_options = value % 11;
		break;
	case 9:
		spec->tcp_options = value % 11;
		break;
	case 10:
		spec->payload = value * 6u % PAYLOAD;
		break;
	case 11:
		spec->src_port = value;
		break;
	case 12:
		spec->udp = value & 1;
		break;
	case 13:
		spec->vlan_tags = value % 3;
		break;
	case 14:
		spec->ipv6 = value & 1;
		break;
	default:
		spec->fill = value;
	}
}

static uint16_t sum_of(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Of a packet with the headers of spec, some bytes of which were altered since. */
static void mend_checksums(const struct frame_spec *spec, struct packet *p)
{
	uint32_t l4_at = frame_l4_at(spec), l4_len = p->len - l4_at;
	uint32_t ip_at = l4_at - (spec->ipv6 ? 40 : 20 + 4 * spec->ip_options);
	uint8_t *ip = p->bytes + ip_at, *l4 = p->bytes + l4_at;
	uint8_t *checksum = l4 + (spec->udp ? 6 : 16);
	uint32_t sum = (spec->udp ? 17u : 6u) + l4_len;

	if (!spec->ipv6) {
		store_be16(ip + 10, 0);
		store_be16(ip + 10, (uint16_t)~sum_of(0, ip, l4_at - ip_at));
	}
	store_be16(checksum, 0);
	sum += sum_of(0, ip + (spec->ipv6 ? 8 : 12), spec->ipv6 ? 32 : 8);
	store_be16(checksum, (uint16_t)~sum_of(sum, l4, l4_len));
}

static void alter(struct input *input, struct packet *p, uint32_t limit)
{
	for (unsigned n = input_byte(input) % 16; n > 0 && limit > 0; n--) {
		uint32_t at = input_byte(input) % limit;
		p->bytes[at] ^= input_byte(input);
	}
}

static void make_raw(struct input *input, struct packet *p)
{
	p->len = input_bytes(input, p->bytes, input_byte(input));
}

static void make(struct input *input, uint8_t what, struct packet *p)
{
	struct frame_spec *flow = &flows[what & NEXT_FLOW];

	if (what & WITH_FIELDS)
		for (unsigned n = input_byte(input) % 8; n > 0; n--) {
			uint8_t field = input_byte(input);
			set_field(flow, field, input_byte(input));
		}
	struct frame_spec spec = *flow;
	if (what & WITH_PAYLOAD)
		spec.payload = input_u16(input) % PAYLOAD;
	if (what & WITH_PUSH)
		spec.flags |= 0x08;
	p->len = frame_make(&spec, p->bytes);
	if (what & WITH_HEADERS) {
		alter(input, p, frame_headers(&spec));
		mend_checksums(&spec, p);
	}
	flow->seq += spec.payload;
	flow->ip_id++;
}

/* False at the end. */
static bool take(struct input *input, struct packet *p)
{
	if (input->left == 0)
		return false;
	uint8_t what = input_byte(input);

	if ((what & NEXT_FLOW) < FLOWS)
		make(input, what, p);
	else
		make_raw(input, p);
	if (what & WITH_DAMAGE)
		alter(input, p, p->len);
	if (what & WITH_LENGTH) {
		int by = (int8_t)input_byte(input);
		for (int i = 0; i < by; i++)
			p->bytes[p->len + (uint32_t)i] = 0;
		p->len = (int)p->len + by > 0 ? (uint32_t)((int)p->len + by) : 0;
	}
	return true;
}

static void put_into_mbuf(const struct packet *p, struct rte_mbuf *m)
{
	*m = (struct rte_mbuf){.buf_addr = malloc(p->len + 1), /* of no packet, too */
		.nb_segs = 1,
		.data_off = 1,
		.buf_len = (uint16_t)(p->len + 1),
		.data_len = (uint16_t)p->len,
		.pkt_len = p->len};
	MUST(m->buf_addr);
	memcpy(rte_pktmbuf_mtod(m, void *), p->bytes, p->len);
}

/* ---- what may have been joined: by the packets' own bytes, with none of the product's code ----
 */

static bool checksums_alike(const uint8_t *a, const uint8_t *b)
{
	uint16_t x = load_be16(a), y = load_be16(b);

	return x == y || (x == 0 && y == 0xffff) || (x == 0xffff && y == 0);
}

static uint32_t ip_header(const uint8_t *ip)
{
	return ip[0] >> 4 == 6 ? 40 : 20;
}

static uint32_t headers(const struct packet *p)
{
	const uint8_t *ip = p->bytes + LINK_BYTES;

	return LINK_BYTES + ip_header(ip) + (ip[ip_header(ip) + 12] >> 4) * 4u;
}

static uint32_t payload(const struct packet *p)
{
	return p->len - headers(p);
}

/* Fit to be joined, as far as it can be told of it alone. */
static void must_be_plain(const struct packet *p)
{
	const uint8_t *ip = p->bytes + LINK_BYTES;

	MUST(p->len >= LINK_BYTES + 20);
	bool ipv6 = ip[0] >> 4 == 6;
	MUST(ipv6 || ip[0] == 0x45);
	MUST(!ethernet || load_be16(ip - 2) == (ipv6 ? 0x86dd : 0x0800));
	MUST(p->len >= LINK_BYTES + ip_header(ip) + 20);
	MUST(ip[ipv6 ? 6 : 9] == 6);
	MUST(ipv6 || (load_be16(ip + 6) & 0xbfff) == 0);
	MUST(frame_right(ip, p->len - LINK_BYTES));
	const uint8_t *tcp = ip + ip_header(ip);
	MUST((tcp[12] & 15) == 0 && tcp[12] >> 4 >= 5);
	MUST((tcp[13] & 0x10) != 0 && (tcp[13] & 0xa7) == 0);
	MUST(headers(p) < p->len);
}

/* One behind the other: k packets after the first, done bytes of payload. */
static void must_follow(
	const struct packet *first, const struct packet *p, unsigned k, uint32_t done, bool last)
{
	struct packet a = *first, b = *p;
	uint8_t *a_ip = a.bytes + LINK_BYTES, *b_ip = b.bytes + LINK_BYTES;
	uint8_t *a_tcp = a_ip + ip_header(a_ip), *b_tcp = b_ip + ip_header(b_ip);

	MUST(headers(&a) == headers(&b));
	MUST(last ? payload(&b) <= payload(&a) : payload(&b) == payload(&a));
	MUST(last || (b_tcp[13] & 0x08) == 0);
	MUST(load_be32(b_tcp + 4) == load_be32(a_tcp + 4) + done);
	if (a_ip[0] >> 4 == 4) {
		uint16_t steps = (uint16_t)(load_be16(b_ip + 4) - load_be16(a_ip + 4));
		MUST(steps == k || (steps == 0 && (b_ip[6] & 0x40) != 0));
		memset(a_ip + 10, 0, 2);
		memset(b_ip + 10, 0, 2);
	}
	/* Lengths, identifications, numbers and checksums are done with; PSH too. */
	memcpy(b_ip + (a_ip[0] >> 4 == 4 ? 2 : 4), a_ip + (a_ip[0] >> 4 == 4 ? 2 : 4),
		a_ip[0] >> 4 == 4 ? 4 : 2);
	memcpy(b_tcp + 4, a_tcp + 4, 4);
	memcpy(b_tcp + 16, a_tcp + 16, 2);
	b_tcp[13] = (uint8_t)((b_tcp[13] & ~0x08) | (a_tcp[13] & 0x08));
	MUST(memcmp(a.bytes, b.bytes, headers(&a)) == 0);
}

static void must_be_same(const uint8_t *cut, uint32_t len, const struct packet *p)
{
	struct packet expected = *p;
	uint8_t *ip = expected.bytes + LINK_BYTES;
	const uint8_t *cut_ip = cut + LINK_BYTES;

	MUST(len == p->len);
	MUST(frame_right(cut_ip, len - LINK_BYTES));
	uint32_t checksum_at = ip_header(ip) + 16;
	MUST(checksums_alike(cut_ip + checksum_at, ip + checksum_at));
	memcpy(ip + checksum_at, cut_ip + checksum_at, 2);
	if (ip[0] >> 4 == 4) {
		bool same_id = load_be16(ip + 4) == load_be16(cut_ip + 4);
		MUST(same_id ? checksums_alike(cut_ip + 10, ip + 10) : (ip[6] & 0x40) != 0);
		memcpy(ip + 4, cut_ip + 4, 2);
		memcpy(ip + 10, cut_ip + 10, 2);
	}
	MUST(memcmp(cut, expected.bytes, len) == 0);
}

/* ---- the frames ---- */

static unsigned number_of(const struct rte_mbuf *m)
{
	MUST(m >= mbufs && m < mbufs + COALESCE_BURST);
	return (unsigned)(m - mbufs);
}

static void check_alone(const struct rte_mbuf *m, const struct virtio_net_hdr_v1 *vnet)
{
	static const struct virtio_net_hdr_v1 empty;
	const struct packet *p = &packets[number_of(m)];

	MUST(m->next == NULL && m->pkt_len == p->len && m->data_len == p->len);
	MUST(memcmp(rte_pktmbuf_mtod(m, const void *), p->bytes, p->len) == 0);
	MUST(memcmp(vnet, &empty, sizeof(empty)) == 0);
}

static void check_joined(struct rte_mbuf *head)
{
	const struct packet *first = &packets[number_of(head)];
	uint32_t done = 0;
	unsigned k = 0, before = 0;

	for (const struct rte_mbuf *m = head; m != NULL; m = m->next, k++) {
		const struct packet *p = &packets[number_of(m)];
		MUST(k == 0 || number_of(m) > before);
		before = number_of(m);
		must_be_plain(p);
		must_follow(first, p, k, done, m->next == NULL);
		done += payload(p);
	}
	MUST(k == head->nb_segs);
	MUST(head->pkt_len == headers(first) + done && head->pkt_len <= LINK_BYTES + 65535);
}

static void cut_again(struct rte_mbuf *head, const struct virtio_net_hdr_v1 *vnet)
{
	uint8_t *whole = malloc(head->pkt_len);
	struct segmenter s;

	MUST(whole && frame_flatten(head, whole) == head->pkt_len);
	MUST(segment_begin(&s, vnet, whole, head->pkt_len, ethernet));
	MUST(s.packets == head->nb_segs);
	for (const struct rte_mbuf *m = head; m != NULL; m = m->next) {
		uint32_t most = segment_max_bytes(&s);
		struct rte_mbuf one = {.buf_addr = malloc(most), .nb_segs = 1};
		struct rte_mbuf *out = &one;
		MUST(one.buf_addr);
		memset(one.buf_addr, SOIL, most);
		segment_next(&s, &out, 1);
		must_be_same(one.buf_addr, one.data_len, &packets[number_of(m)]);
		free(one.buf_addr);
	}
	free(whole);
}

/* ---- order ---- */

/* May be of TCP, as a receiver sees it, whole or in fragments. */
static bool is_tcp(const struct packet *p, bool *plain)
{
	const uint8_t *ip = p->bytes + LINK_BYTES;

	if (p->len < LINK_BYTES + 60 || (ip[0] >> 4 != 4 && ip[0] >> 4 != 6))
		return false;
	if (ethernet && load_be16(ip - 2) != (ip[0] >> 4 == 6 ? 0x86dd : 0x0800))
		return false;
	*plain = ip[0] >> 4 == 6 || (ip[0] == 0x45 && (load_be16(ip + 6) & 0xbfff) == 0);
	return ip[ip[0] >> 4 == 6 ? 6 : 9] == 6;
}

static bool may_be_one_flow(const struct packet *a, const struct packet *b)
{
	const uint8_t *a_ip = a->bytes + LINK_BYTES, *b_ip = b->bytes + LINK_BYTES;
	bool a_plain, b_plain;

	if (!is_tcp(a, &a_plain) || !is_tcp(b, &b_plain) || a_ip[0] >> 4 != b_ip[0] >> 4)
		return false;
	bool ipv6 = a_ip[0] >> 4 == 6;
	if (memcmp(a_ip + (ipv6 ? 8 : 12), b_ip + (ipv6 ? 8 : 12), ipv6 ? 32 : 8) != 0)
		return false;
	return !a_plain || !b_plain ||
	       memcmp(a_ip + ip_header(a_ip), b_ip + ip_header(b_ip), 4) == 0;
}

static void check_order(struct rte_mbuf *const *frames, unsigned n_frames, unsigned n)
{
	unsigned place[COALESCE_BURST], at = 0;
	bool seen[COALESCE_BURST] = {false};

	for (unsigned i = 0; i < n_frames; i++)
		for (const struct rte_mbuf *m = frames[i]; m != NULL; m = m->next) {
			MUST(!seen[number_of(m)]);
			seen[number_of(m)] = true;
			place[number_of(m)] = at++;
		}
	MUST(at == n);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < i; k++)
			MUST(place[k] < place[i] || !may_be_one_flow(&packets[k], &packets[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct rte_mbuf *frames[COALESCE_BURST];
	struct virtio_net_hdr_v1 vnet[COALESCE_BURST];
	unsigned n = 0;

	ethernet = input_byte(&input) & 1;
	begin_flows();
	for (; n < COALESCE_BURST && take(&input, &packets[n]); n++) {
		put_into_mbuf(&packets[n], &mbufs[n]);
		frames[n] = &mbufs[n];
	}
	unsigned n_frames = coalesce(frames, n, ethernet, vnet);
	MUST(n_frames <= n);
	check_order(frames, n_frames, n);
	for (unsigned i = 0; i < n_frames; i++) {
		if (frames[i]->nb_segs == 1) {
			check_alone(frames[i], &vnet[i]);
			continue;
		}
		check_joined(frames[i]);
		cut_again(frames[i], &vnet[i]);
	}
	for (unsigned i = 0; i < n; i++)
		free(mbufs[i].buf_addr);
	return 0;
}
