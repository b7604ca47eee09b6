/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include "eal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_ring_elem.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "datapath/lpm.h"
#include "wg/index.h"

#define MESON_SKIP 77 /* exit status of a test that cannot run here */

struct rig rig;

static struct rte_mempool *pool;
static uint64_t counted[DP_DROP_COUNT];
static uint64_t random_state;

static const uint8_t port_mac[RIG_PORTS][6] = {
	{2, 0, 0, 0, 0, 0x10}, {2, 0, 0, 0, 0, 0x11}, {2, 0, 0, 0, 0, 0x12}};
static const uint8_t gateway_mac[6] = {2, 0xaa, 0, 0, 0, 1}; /* next hop of the outer side */
static const uint8_t host_mac[6] = {2, 0xbb, 0, 0, 0, 1};    /* next hop of the inner side */

uint64_t rig_random(void)
{
	random_state += 0x9e3779b97f4a7c15u;
	uint64_t z = random_state;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void random_bytes(void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)rig_random();
}

struct rte_mempool *rig_make_pool(const char *name, unsigned mbufs)
{
	return rte_pktmbuf_pool_create(name, mbufs, 0, DP_MBUF_PRIV_BYTES,
		RTE_PKTMBUF_HEADROOM + RIG_MAX_BYTES + 100, SOCKET_ID_ANY);
}

int rig_eal_start(void **state)
{
	(void)state;
	const char *seed = getenv("DPDK_WG_SEED");
	random_state = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)getpid();
	print_message("DPDK_WG_SEED=%llu\n", (unsigned long long)random_state);
	if (eal_start(128) < 0)
		return -1;
	pool = rig_make_pool("pool", 1023);
	return pool == NULL ? -1 : 0;
}

int rig_eal_stop(void **state)
{
	(void)state;
	rte_mempool_free(pool);
	return eal_stop();
}

static void parse_address(int family, const char *text, uint8_t out[16])
{
	assert_int_equal(inet_pton(family == 4 ? AF_INET : AF_INET6, text, out), 1);
}

static uint16_t naive_checksum(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* ---- the rig ---- */

static uint16_t rig_send(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n)
{
	struct sink *sink = &((struct rig *)arg)->sinks[port];
	uint16_t taken = 0;
	while (taken < n && sink->n < sink->room)
		sink->mbufs[sink->n++] = mbufs[taken++];
	return taken;
}

static void add_prefix(struct dp_lpm *lpm, const char *text, uint32_t value)
{
	struct ip_prefix prefix;
	assert_true(ip_prefix_parse(text, &prefix));
	assert_int_equal(dp_lpm_set(lpm, &prefix, value), 0);
}

static void allow(const char *text, uint32_t id)
{
	struct ip_prefix prefix;
	assert_true(ip_prefix_parse(text, &prefix));
	assert_int_equal(dp_set_allowed_ip(rig.dp, &prefix, id), 0);
}

static void set_up_ports(void)
{
	for (unsigned port = 0; port < RIG_PORTS; port++) {
		struct dp_port config = {
			.outer = port != 1, .inner = port != 0, .scope_id = 70 + port};
		memcpy(config.mac, port_mac[port], 6);
		config.mtu = 1500;
		dp_set_port(rig.dp, port, &config);
		rig.sinks[port].n = 0;
		rig.sinks[port].room = RIG_SINK_MAX;
	}
}

static void set_up_routes(void)
{
	struct dp_nexthop inner = {.kind = DP_NEXTHOP_PORT, .port = 1};
	memcpy(inner.ether, host_mac, 6);
	memcpy(inner.ether + 6, port_mac[1], 6);
	assert_int_equal(dp_set_nexthop(rig.dp, 7, &inner), 0);
	for (uint8_t i = 0; i < 2; i++) {
		struct dp_nexthop wg = {.kind = DP_NEXTHOP_WG, .interface = i};
		assert_int_equal(dp_set_nexthop(rig.dp, 10u + i, &wg), 0);
	}
	add_prefix(rig.dp->routes, "192.168.0.0/16", 7);
	add_prefix(rig.dp->routes, "fd99::/16", 7);
	add_prefix(rig.dp->routes, "10.0.0.0/14", 10);
	add_prefix(rig.dp->routes, "10.3.0.0/16", 11);
	add_prefix(rig.dp->routes, "fd00::/14", 10);
	add_prefix(rig.dp->routes, "fd03::/16", 11);
}

static void set_up_interfaces(void)
{
	struct ip_addr locals[3];
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(dp_add_interface(rig.dp, i, RIG_MTU), 0);
		dp_interface_set_listen_port(rig.dp, i, (uint16_t)(51820 + i));
	}
	assert_true(ip_addr_parse("198.51.100.1", &locals[0]));
	assert_true(ip_addr_parse("2001:db8::1", &locals[1]));
	assert_true(ip_addr_parse("192.0.2.1", &locals[2]));
	assert_int_equal(dp_set_locals(rig.dp, locals, 3), 0);
}

static void set_up_session(struct far *far)
{
	memset(&far->session, 0, sizeof(far->session));
	far->activity = dp_peer_activity(rig.dp, far->id);
	*far->activity = (struct wg_activity){0};
	memset(far->session.receive_key, (int)(0x40 + far->id), 32);
	memset(far->session.send_key, (int)(0x80 + far->id), 32);
	far->session.local_index = 0xabc00000u | far->id << 4;
	far->session.remote_index = 0x12345600u | far->id;
	far->session.peer_id = far->id;
	wg_session_set_born(&far->session, RIG_NOW_NS - 10 * NS_PER_SEC);
	atomic_store(&far->session.confirmed, true);
	replay_init(&far->session.replay);
	far->counter = 0;
	dp_publish_session(rig.dp, &far->session);
	dp_peer_set_session(rig.dp, far->id, &far->session);
}

/* The header that control would prepare, by hand: checksum fields are of the template's own kind.
 */
static void set_up_outer(struct far *far)
{
	struct dp_outer outer = {.port = 0};
	struct endpoint src = {.port = far->our_port}, dst = {.port = far->port};
	uint8_t macs[12];
	src.addr.family = dst.addr.family = far->outer_family;
	memcpy(src.addr.bytes, far->our_addr, 16);
	memcpy(dst.addr.bytes, far->addr, 16);
	memcpy(macs, gateway_mac, 6);
	memcpy(macs + 6, port_mac[0], 6);
	outer.header_len = outer_prepare(outer.header, macs, &src, &dst, 0) & 0x7f;
	assert_int_equal(dp_peer_set_outer(rig.dp, far->id, &outer), 0);
}

static void set_up_peer(uint32_t id, unsigned interface, int outer_family)
{
	struct far *far = &rig.far[id];
	char text[40];
	memset(far, 0, sizeof(*far));
	far->id = id;
	far->interface = (uint8_t)interface;
	far->outer_family = (uint8_t)outer_family;
	parse_address(outer_family, outer_family == 4 ? "203.0.113.9" : "2001:db8:9::9", far->addr);
	parse_address(
		outer_family, outer_family == 4 ? "198.51.100.1" : "2001:db8::1", far->our_addr);
	far->port = (uint16_t)(40000 + id);
	far->our_port = (uint16_t)(51820 + interface);
	dp_publish_peer(rig.dp, id, interface);
	snprintf(text, sizeof(text), "10.%u.0.0/16", id);
	allow(text, id);
	snprintf(text, sizeof(text), "fd%02u::/16", id);
	allow(text, id);
	set_up_session(far);
	set_up_outer(far);
}

/* By name in DPDK_WG_AEAD; a test of one that this CPU lacks is skipped. */
static enum aead_backend backend_to_test(void)
{
	const char *name = getenv("DPDK_WG_AEAD");
	int backend = name ? aead_backend_from_name(name) : AEAD_BACKEND_AUTO;
	struct aead_batch *batch;

	if (backend < 0) {
		fprintf(stderr, "DPDK_WG_AEAD=%s: no such backend\n", name);
		exit(EXIT_FAILURE);
	}
	batch = aead_batch_create((enum aead_backend)backend);
	if (batch == NULL && errno == ENOTSUP) {
		eal_stop();
		exit(MESON_SKIP);
	}
	aead_batch_destroy(batch);
	return (enum aead_backend)backend;
}

int rig_setup(void **state)
{
	struct dp_worker_config config = {
		.id = 0, .backend = backend_to_test(), .send = rig_send, .send_arg = &rig};
	(void)state;
	if (dp_create(RIG_WORKERS, &rig.dp) != 0 ||
		dp_worker_create(rig.dp, &config, &rig.worker) != 0)
		return -1;
	set_up_ports();
	set_up_routes();
	set_up_interfaces();
	set_up_peer(1, 0, 4);
	set_up_peer(2, 0, 6);
	set_up_peer(3, 1, 4);
	rig.worker->now_ns = RIG_NOW_NS;
	memset(counted, 0, sizeof(counted));
	return 0;
}

int rig_teardown(void **state)
{
	(void)state;
	assert_quiet();
	dp_worker_destroy(rig.worker);
	dp_destroy(rig.dp);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	return 0;
}

/* ---- inner packets ---- */

static uint16_t ipv4_checksum(const uint8_t *ip)
{
	uint8_t copy[60];
	unsigned len = (ip[0] & 15u) * 4;
	memcpy(copy, ip, len);
	copy[10] = copy[11] = 0;
	return (uint16_t)~naive_checksum(copy, len, 0);
}

void inner_fix_checksum(struct packet *p)
{
	if (p->bytes[0] >> 4 == 4)
		store_be16(p->bytes + 10, ipv4_checksum(p->bytes));
}

void inner_build(struct packet *p, int family, const char *src, const char *dst, unsigned len)
{
	unsigned header = family == 4 ? 20 : 40;
	assert_true(len >= header && len <= sizeof(p->bytes));
	random_bytes(p->bytes, len);
	memset(p->bytes, 0, header);
	p->len = len;
	if (family == 4) {
		p->bytes[0] = 0x45;
		store_be16(p->bytes + 2, (uint16_t)len);
		store_be16(p->bytes + 4, (uint16_t)rig_random());
		p->bytes[8] = 64;
		p->bytes[9] = 17;
		parse_address(4, src, p->bytes + 12);
		parse_address(4, dst, p->bytes + 16);
		inner_fix_checksum(p);
	} else {
		p->bytes[0] = 0x60;
		store_be16(p->bytes + 4, (uint16_t)(len - 40));
		p->bytes[6] = 17;
		p->bytes[7] = 64;
		parse_address(6, src, p->bytes + 8);
		parse_address(6, dst, p->bytes + 24);
	}
}

void inner_set_ttl(struct packet *p, uint8_t ttl)
{
	p->bytes[p->bytes[0] >> 4 == 4 ? 8 : 7] = ttl;
	inner_fix_checksum(p);
}

void inner_set_class(struct packet *p, uint8_t traffic_class)
{
	if (p->bytes[0] >> 4 == 4) {
		p->bytes[1] = traffic_class;
	} else {
		p->bytes[0] = (uint8_t)(0x60 | traffic_class >> 4);
		p->bytes[1] = (uint8_t)(traffic_class << 4 | (p->bytes[1] & 15));
	}
	inner_fix_checksum(p);
}

uint8_t inner_class(const struct packet *p)
{
	if (p->bytes[0] >> 4 == 4)
		return p->bytes[1];
	return (uint8_t)(p->bytes[0] << 4 | p->bytes[1] >> 4);
}

void inner_hop(struct packet *p)
{
	inner_set_ttl(p, (uint8_t)(p->bytes[p->bytes[0] >> 4 == 4 ? 8 : 7] - 1));
}

void ether_wrap(struct packet *p, unsigned port)
{
	memmove(p->bytes + 14, p->bytes, p->len);
	memcpy(p->bytes, port_mac[port], 6);
	memcpy(p->bytes + 6, host_mac, 6);
	store_be16(p->bytes + 12, p->bytes[14] >> 4 == 4 ? 0x0800 : 0x86dd);
	p->len += 14;
}

/* ---- the far peer ---- */

static uint16_t udp_checksum(const uint8_t *ip, const uint8_t *udp, unsigned udp_len)
{
	bool ipv4 = ip[0] >> 4 == 4;
	uint32_t sum = 17 + udp_len;
	sum += naive_checksum(ip + (ipv4 ? 12 : 8), ipv4 ? 8 : 32, 0);
	return naive_checksum(udp, udp_len, sum);
}

void far_wrap(const struct far *far, unsigned port, const void *payload, unsigned len,
	uint8_t outer_class, struct packet *out)
{
	struct packet p;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	int af = far->outer_family == 4 ? AF_INET : AF_INET6;
	unsigned header = far->outer_family == 4 ? 20 : 40;
	inet_ntop(af, far->addr, src, sizeof(src));
	inet_ntop(af, far->our_addr, dst, sizeof(dst));
	inner_build(&p, far->outer_family, src, dst, header + 8 + len);
	uint8_t *udp = p.bytes + header;
	store_be16(udp, far->port);
	store_be16(udp + 2, far->our_port);
	store_be16(udp + 4, (uint16_t)(8 + len));
	store_be16(udp + 6, 0);
	memcpy(udp + 8, payload, len);
	inner_set_class(&p, outer_class);
	uint16_t sum = (uint16_t)~udp_checksum(p.bytes, udp, 8 + len);
	store_be16(udp + 6, sum != 0 ? sum : 0xffff);
	ether_wrap(&p, port);
	memcpy(p.bytes + 6, gateway_mac, 6);
	*out = p;
}

void far_seal(struct far *far, unsigned port, const void *text, unsigned len, uint8_t outer_class,
	struct packet *out)
{
	uint8_t message[RIG_MAX_BYTES];
	store_le32(message, 4);
	store_le32(message + 4, far->session.local_index);
	store_le64(message + 8, far->counter);
	aead_seal(message + 16, text, len, NULL, 0, far->counter, far->session.receive_key);
	far->counter++;
	far_wrap(far, port, message, 16 + len + 16, outer_class, out);
}

static void check_outer_ip(const struct far *far, const uint8_t *ip, unsigned len)
{
	if (far->outer_family == 4) {
		assert_int_equal(ip[0], 0x45);
		assert_int_equal(load_be16(ip + 2), len);
		assert_int_equal(load_be16(ip + 6), 0);
		assert_int_equal(ip[8], 64);
		assert_int_equal(ip[9], 17);
		assert_int_equal(load_be16(ip + 10), ipv4_checksum(ip));
		assert_memory_equal(ip + 12, far->our_addr, 4);
		assert_memory_equal(ip + 16, far->addr, 4);
	} else {
		assert_int_equal(load_be32(ip) & 0xf00fffff, 0x60000000);
		assert_int_equal(load_be16(ip + 4), len - 40);
		assert_int_equal(ip[6], 17);
		assert_int_equal(ip[7], 64);
		assert_memory_equal(ip + 8, far->our_addr, 16);
		assert_memory_equal(ip + 24, far->addr, 16);
	}
}

static void check_padding(const struct packet *text, unsigned true_len, unsigned mtu)
{
	unsigned padded = (true_len + 15) / 16 * 16;
	assert_int_equal(text->len, padded < mtu ? padded : mtu);
	for (unsigned i = true_len; i < text->len; i++)
		assert_int_equal(text->bytes[i], 0);
}

uint64_t far_open(
	const struct far *far, const struct packet *frame, unsigned mtu, struct packet *text)
{
	const uint8_t *ip = frame->bytes + 14;
	const uint8_t *udp = ip + (far->outer_family == 4 ? 20 : 40);
	const uint8_t *message = udp + 8;
	unsigned udp_len = frame->len - (unsigned)(udp - frame->bytes);
	assert_memory_equal(frame->bytes, gateway_mac, 6);
	assert_memory_equal(frame->bytes + 6, port_mac[0], 6);
	assert_int_equal(load_be16(frame->bytes + 12), far->outer_family == 4 ? 0x0800 : 0x86dd);
	check_outer_ip(far, ip, frame->len - 14);
	assert_int_equal(load_be16(udp), far->our_port);
	assert_int_equal(load_be16(udp + 2), far->port);
	assert_int_equal(load_be16(udp + 4), udp_len);
	if (far->outer_family == 4)
		assert_int_equal(load_be16(udp + 6), 0);
	else
		assert_int_equal(udp_checksum(ip, udp, udp_len), 0xffff);
	assert_int_equal(load_le32(message), 4);
	assert_int_equal(load_le32(message + 4), far->session.remote_index);
	uint64_t counter = load_le64(message + 8);
	assert_true(aead_open(
		text->bytes, message + 16, udp_len - 24, NULL, 0, counter, far->session.send_key));
	text->len = udp_len - 24 - 16;
	if (text->len != 0) {
		unsigned true_len = text->bytes[0] >> 4 == 4 ? load_be16(text->bytes + 2)
							     : load_be16(text->bytes + 4) + 40u;
		check_padding(text, true_len, mtu);
		text->len = true_len;
	}
	return counter;
}

/* ---- packets in and out ---- */

/* Nothing may rely on what a fresh buffer holds. */
__attribute__((noinline)) static void soil(struct rte_mbuf *m)
{
	memset((char *)m->buf_addr, 0xdd, m->buf_len);
	memset(dp_mbuf(m), 0xee, sizeof(struct dp_mbuf));
}

struct rte_mbuf *mbuf_from(const struct packet *p)
{
	return mbuf_from_pool(pool, p);
}

struct rte_mbuf *mbuf_from_pool(struct rte_mempool *from, const struct packet *p)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(from);
	assert_non_null(m);
	soil(m);
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)p->len);
	assert_non_null(data);
	memcpy(data, p->bytes, p->len);
	return m;
}

static unsigned external_back;

static void take_back(void *addr, void *opaque)
{
	(void)opaque;
	free(addr);
	external_back++;
}

unsigned given_back(void)
{
	return external_back;
}

struct rte_mbuf *mbuf_external(const struct packet *p)
{
	uint16_t bytes = (uint16_t)(RTE_PKTMBUF_HEADROOM + p->len + 256);
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	void *buffer = malloc(bytes);
	assert_non_null(m);
	assert_non_null(buffer);
	struct rte_mbuf_ext_shared_info *shared =
		rte_pktmbuf_ext_shinfo_init_helper(buffer, &bytes, take_back, NULL);
	assert_non_null(shared);
	rte_pktmbuf_attach_extbuf(m, buffer, RTE_BAD_IOVA, bytes, shared);
	m->data_off = RTE_PKTMBUF_HEADROOM;
	memcpy(rte_pktmbuf_append(m, (uint16_t)p->len), p->bytes, p->len);
	return m;
}

struct rte_mbuf *mbuf_from_segments(const struct packet *p, unsigned segment_bytes)
{
	struct rte_mbuf *head = NULL;
	for (unsigned at = 0; at < p->len; at += segment_bytes) {
		struct packet part = {
			.len = p->len - at < segment_bytes ? p->len - at : segment_bytes};
		memcpy(part.bytes, p->bytes + at, part.len);
		struct rte_mbuf *m = mbuf_from(&part);
		if (head == NULL)
			head = m;
		else
			assert_int_equal(rte_pktmbuf_chain(head, m), 0);
	}
	return head;
}

void packet_from(struct packet *p, struct rte_mbuf *m)
{
	assert_int_equal(m->nb_segs, 1);
	assert_int_equal(m->pkt_len, m->data_len);
	rte_mbuf_sanity_check(m, 1);
	p->len = m->data_len;
	memcpy(p->bytes, rte_pktmbuf_mtod(m, void *), p->len);
	rte_pktmbuf_free(m);
}

void rig_receive(unsigned port, const struct packet *p)
{
	struct rte_mbuf *m = mbuf_from(p);
	dp_receive(rig.worker, port, &m, 1);
	dp_worker_flush(rig.worker);
}

void sink_take(unsigned port, struct packet *p)
{
	struct sink *sink = &rig.sinks[port];
	assert_true(sink->n > 0);
	packet_from(p, sink->mbufs[0]);
	memmove(sink->mbufs, sink->mbufs + 1, --sink->n * sizeof(sink->mbufs[0]));
}

void ring_take(struct rte_ring *ring, struct packet *p, struct dp_mbuf *info)
{
	void *m;
	assert_int_equal(rte_ring_dequeue(ring, &m), 0);
	if (info != NULL)
		*info = *dp_mbuf(m);
	packet_from(p, m);
}

void ring_fill(struct rte_ring *ring)
{
	while (rte_ring_enqueue(ring, ring) == 0)
		continue;
}

void ring_empty(struct rte_ring *ring)
{
	void *object;
	while (rte_ring_dequeue(ring, &object) == 0)
		assert_ptr_equal(object, ring);
}

void *ring_stall_consumer(struct rte_ring *ring)
{
	void *object;
	__rte_ring_dequeue_elems(ring, ring_claim(ring), &object, sizeof(object), 1);
	return object;
}

struct rte_ring *tap(unsigned port)
{
	return rig.dp->host_ring[dp_netdev_of_port(port)];
}

struct rte_ring *tun(unsigned interface)
{
	return rig.dp->host_ring[dp_netdev_of_interface(interface)];
}

bool hint_take(struct dp_hint *hint)
{
	return rte_ring_dequeue_elem(rig.dp->hint_ring, hint, sizeof(*hint)) == 0;
}

void hints_fill(void)
{
	struct dp_hint hint = {.kind = DP_HINT_REKEY};
	while (rte_ring_enqueue_elem(rig.dp->hint_ring, &hint, sizeof(hint)) == 0)
		continue;
}

void hints_empty(void)
{
	struct dp_hint hint;
	while (hint_take(&hint))
		continue;
}

void assert_same(const struct packet *a, const struct packet *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->bytes, b->bytes, a->len);
}

void assert_dropped(enum dp_drop_reason reason, unsigned n)
{
	counted[reason] += n;
	assert_int_equal(rig.worker->drops.count[reason], counted[reason]);
}

void assert_quiet(void)
{
	for (unsigned port = 0; port < RIG_PORTS; port++)
		assert_int_equal(rig.sinks[port].n, 0);
	for (unsigned i = 0; i < DP_NETDEVS; i++)
		assert_int_equal(rte_ring_count(rig.dp->host_ring[i]), 0);
	assert_int_equal(rte_ring_count(rig.dp->handshake_ring), 0);
	assert_int_equal(rte_ring_count(rig.dp->control_ring), 0);
	assert_int_equal(rte_ring_count(rig.dp->hint_ring), 0);
	assert_int_equal(rte_ring_count(rig.dp->roam_ring), 0);
	for (unsigned reason = 0; reason < DP_DROP_COUNT; reason++)
		if (rig.worker->drops.count[reason] != counted[reason])
			fail_msg("unexpected drop: %s", dp_drop_name(reason));
}
