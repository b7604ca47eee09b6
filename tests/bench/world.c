/* SPDX-License-Identifier: BSD-3-Clause */
#include "world.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_malloc.h>

#include "base/bytes.h"
#include "base/secret_mem.h"
#include "crypto/aead_batch.h"
#include "datapath/lpm.h"
#include "datapath/spread.h"
#include "eal.h"
#include "wg/messages.h"

/* The far end of a session: what its packets are made from. */
struct far {
	uint8_t key[WG_KEY_BYTES];
	uint64_t counter;	/* [player] */
	uint32_t sealed_for;	/* [player] the index that counter is of */
	_Atomic uint32_t index; /* [control w, player r] */
};

/* Ours of a peer; previous: packets on their way may still be for it. [control] */
struct near {
	struct wg_session *current, *previous;
	uint32_t generation; /* of its session */
};

struct dp *world_dp;

static const uint8_t outer_mac[6] = {2, 0, 0, 0, 0, 0x10};
static const uint8_t inner_mac[6] = {2, 0, 0, 0, 0, 0x11};
static const uint8_t far_mac[6] = {2, 0, 0, 0, 0, 0x99};
static const uint64_t born_ns = 1000 * NS_PER_SEC;

static struct far *fars;
static struct near *nears;
static unsigned peer_count, most;
static struct endpoint near_end, far_end;    /* of all tunnels */
static uint8_t far_header[OUTER_HEADER_MAX]; /* of what the far end sends */
static unsigned far_header_bytes;
static uint64_t random_state = 1;
static pthread_t thread;

void die(const char *what)
{
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

uint64_t random_of(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void *allocate(size_t bytes)
{
	void *p = secret_alloc(bytes);
	if (p == NULL)
		die("no memory for so many peers");
	return p;
}

/* ---- set-up ---- */

static void set_up_ports(void)
{
	struct dp_port port = {.outer = true, .mtu = 9216};
	memcpy(port.mac, outer_mac, 6);
	dp_set_port(world_dp, WORLD_OUTER_PORT, &port);
	port.outer = false;
	port.inner = true;
	memcpy(port.mac, inner_mac, 6);
	dp_set_port(world_dp, WORLD_INNER_PORT, &port);
}

static void set_up_ends(bool outer6)
{
	uint8_t macs[12];
	near_end.port = 51820;
	far_end.port = 40000;
	ip_addr_parse(outer6 ? "2001:db8::1" : "198.51.100.1", &near_end.addr);
	ip_addr_parse(outer6 ? "2001:db8:9::9" : "203.0.113.9", &far_end.addr);
	memcpy(macs, outer_mac, 6);
	memcpy(macs + 6, far_mac, 6);
	far_header_bytes = outer_prepare(far_header, macs, &far_end, &near_end, 0);
}

static void set_up_routes(void)
{
	struct dp_nexthop inner = {.kind = DP_NEXTHOP_PORT, .port = WORLD_INNER_PORT};
	struct dp_nexthop tunnel = {.kind = DP_NEXTHOP_WG, .interface = 0};
	struct ip_prefix lan, wan;
	memcpy(inner.ether, far_mac, 6);
	memcpy(inner.ether + 6, inner_mac, 6);
	ip_prefix_parse("192.168.0.0/16", &lan);
	ip_prefix_parse("10.0.0.0/8", &wan);
	if (dp_add_interface(world_dp, 0, WORLD_MTU) != 0 ||
		dp_set_nexthop(world_dp, 0, &inner) != 0 ||
		dp_set_nexthop(world_dp, 1, &tunnel) != 0 ||
		dp_set_locals(world_dp, &near_end.addr, 1) != 0 ||
		dp_lpm_set(world_dp->routes, &lan, 0) != 0 ||
		dp_lpm_set(world_dp->routes, &wan, 1) != 0)
		die("no memory");
	dp_interface_set_listen_port(world_dp, 0, 51820);
}

void world_start(unsigned most_peers, bool huge, bool outer6)
{
	if (eal_start_pages(256 + most_peers / 1024, huge) < 0)
		die("EAL does not start");
	fars = calloc(most_peers, sizeof(*fars));
	nears = calloc(most_peers, sizeof(*nears));
	most = most_peers;
	if (fars == NULL || nears == NULL || dp_create(2, &world_dp) != 0)
		die("no memory");
	set_up_ends(outer6);
	set_up_ports();
	set_up_routes();
}

void world_stop(void)
{
	dp_reclaim_drain(world_dp->reclaim); /* of sessions, too */
	dp_destroy(world_dp);
	for (unsigned i = 0; i < most; i++) {
		secret_free(nears[i].current);
		secret_free(nears[i].previous);
	}
	free(nears);
	free(fars);
	eal_stop();
}

static struct ip_prefix prefix_of(uint32_t id)
{
	struct ip_prefix prefix = {.addr = {.family = IP_V4}, .bits = 32};
	store_be32(prefix.addr.bytes, 10u << 24 | id);
	return prefix;
}

/*
 * Slots at random, each once: an odd factor permutes them. A peer has four in turn, more than there
 * are sessions of it that anybody may look for.
 */
static uint32_t index_of(uint32_t id, uint32_t generation)
{
	uint32_t place = id + (generation % 4 << (LIMIT_INDEX_BITS - 2));
	return ((place * 2654435761u) & ((1u << LIMIT_INDEX_BITS) - 1)) |
	       generation << LIMIT_INDEX_BITS;
}
static_assert(LIMIT_PEERS <= 1u << (LIMIT_INDEX_BITS - 2), "four slots for each peer");

/* A new session with the keys of the far end; what is sealed from now on is for it. */
static void make_session(uint32_t id)
{
	struct wg_session *session = allocate(sizeof(*session));
	struct near *near = &nears[id];
	near->previous = near->current;
	near->current = session;
	memcpy(session->receive_key, fars[id].key, WG_KEY_BYTES);
	memcpy(session->send_key, fars[id].key, WG_KEY_BYTES);
	session->local_index = index_of(id, near->generation++);
	session->peer_id = id;
	wg_session_set_born(session, born_ns);
	atomic_store(&session->confirmed, true);
	replay_init(&session->replay);
	dp_publish_session(world_dp, session);
	dp_peer_set_session(world_dp, id, session);
	atomic_store_explicit(&fars[id].index, session->local_index, memory_order_release);
}

static void free_secret(void *arg, void *object)
{
	(void)arg;
	secret_free(object);
}

static void retire_session(struct wg_session *session)
{
	if (session != NULL && dp_retire_session(world_dp, session, free_secret, NULL) != 0)
		die("no memory");
}

void world_add_peer(uint32_t id)
{
	struct dp_outer outer = {.port = WORLD_OUTER_PORT};
	struct ip_prefix prefix = prefix_of(id);
	uint8_t macs[12];
	for (unsigned i = 0; i < WG_KEY_BYTES; i++)
		fars[id].key[i] = (uint8_t)random_of(&random_state);
	memcpy(macs, far_mac, 6);
	memcpy(macs + 6, outer_mac, 6);
	outer.header_len = outer_prepare(outer.header, macs, &near_end, &far_end, 0) & 0x7f;
	dp_publish_peer(world_dp, id, 0);
	if (dp_peer_set_outer(world_dp, id, &outer) != 0 ||
		dp_set_allowed_ip(world_dp, &prefix, id) != 0)
		die("no memory for so many peers");
	make_session(id);
}

void world_remove_peer(uint32_t id, void (*released)(void *arg, void *peer), void *arg)
{
	struct near *near = &nears[id];
	struct ip_prefix prefix = prefix_of(id);
	dp_peer_set_session(world_dp, id, NULL);
	if (dp_clear_allowed_ip(world_dp, 0, &prefix) != 0)
		die("a peer's prefix is not there");
	retire_session(near->current);
	retire_session(near->previous);
	if (dp_remove_peer(world_dp, id, released, arg) != 0)
		die("no memory");
	near->current = near->previous = NULL;
}

void world_rekey(uint32_t id)
{
	struct wg_session *oldest = nears[id].previous;
	make_session(id);
	retire_session(oldest);
}

void world_add_peers(unsigned count)
{
	for (; peer_count < count; peer_count++) {
		world_add_peer(peer_count);
		dp_reclaim_poll(world_dp->reclaim, 8);
	}
}

/* ---- players ---- */

/* For a text and its tag; no multiple of a page, so that texts do not meet in a cache's set. */
#define TEXT_ROOM (WORLD_MAX_BYTES + 64)

/* The sent frames are kept until the batch is over, as a NIC's queue would. */
static uint16_t take_sent(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n)
{
	struct player *player = arg;
	(void)port;
	memcpy(&player->sent_mbufs[player->sent], mbufs, n * sizeof(mbufs[0]));
	player->sent += n;
	return n;
}

/* Of its own: with the caches of a program's pool a worker mostly gets back what it gave. */
static struct rte_mempool *make_pool(unsigned id)
{
	char name[16];
	snprintf(name, sizeof(name), "player%u", id);
	return rte_pktmbuf_pool_create(name, 4 * WORLD_BATCH - 1, 0, DP_MBUF_PRIV_BYTES,
		RTE_PKTMBUF_HEADROOM + WORLD_MAX_BYTES + 128, SOCKET_ID_ANY);
}

void player_init(struct player *player, unsigned id)
{
	struct dp_worker_config config = {
		.id = id, .backend = AEAD_BACKEND_AUTO, .send = take_sent, .send_arg = player};
	*player = (struct player){.random_state = 88172645463325252u + id, .run = 1};
	player->pool = make_pool(id);
	player->sealer = aead_batch_create(AEAD_BACKEND_AUTO);
	player->texts = calloc(WORLD_BURST, TEXT_ROOM);
	if (player->pool == NULL || player->sealer == NULL || player->texts == NULL ||
		dp_worker_create(world_dp, &config, &player->worker) != 0)
		die("no memory for a worker");
	player->worker->now_ns = born_ns;
}

void player_end(struct player *player)
{
	dp_worker_destroy(player->worker);
	aead_batch_destroy(player->sealer);
	rte_mempool_free(player->pool);
	free(player->texts);
}

static void put_ipv4(uint8_t *ip, unsigned len, uint32_t src, uint32_t dst)
{
	memset(ip, 0, 20);
	ip[IPV4_VERSION_IHL] = 0x45;
	store_be16(ip + IPV4_TOTAL_LENGTH, (uint16_t)len);
	ip[IPV4_TTL] = 64;
	ip[IPV4_PROTOCOL] = IP_PROTOCOL_UDP;
	store_be32(ip + IPV4_SRC, src);
	store_be32(ip + IPV4_DST, dst);
	checksum_store(ip + IPV4_CHECKSUM, checksum_finish(checksum_add(0, ip, 20)));
}

static void put_ether(uint8_t *frame, const uint8_t dst[6])
{
	memcpy(frame + ETHER_DST, dst, 6);
	memcpy(frame + ETHER_SRC, far_mac, 6);
	store_be16(frame + ETHER_TYPE, ETHER_TYPE_IPV4);
}

static uint8_t *append(struct rte_mbuf *m, unsigned len)
{
	uint8_t *frame = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)len);
	if (frame == NULL)
		die("a packet buffer is too small");
	return frame;
}

static void make_outbound(struct rte_mbuf *m, unsigned size, uint32_t id)
{
	uint8_t *frame = append(m, 14 + size);
	put_ether(frame, inner_mac);
	put_ipv4(frame + 14, size, 0xc0a80001, 10u << 24 | id);
}

static unsigned padded_bytes(unsigned size)
{
	return RTE_MIN((size + 15) & ~15u, (unsigned)WORLD_MTU);
}

/* All but the seal and the outer header. */
static struct aead_op make_inbound(struct rte_mbuf *m, unsigned size, uint32_t id)
{
	unsigned padded = padded_bytes(size);
	uint32_t index = atomic_load_explicit(&fars[id].index, memory_order_acquire);
	uint8_t *frame = append(m, far_header_bytes + 32 + padded);
	uint8_t *message = frame + far_header_bytes, *text = message + 16;
	if (fars[id].sealed_for != index) {
		fars[id].sealed_for = index;
		fars[id].counter = 0;
	}
	store_le32(message, WG_MSG_DATA);
	store_le32(message + 4, index);
	store_le64(message + 8, fars[id].counter);
	memset(text, 0, padded);
	put_ipv4(text, size, 10u << 24 | id, 0xc0a80001);
	return (struct aead_op){
		.data = text,
		.key = fars[id].key,
		.counter = fars[id].counter++,
		.len = padded,
	};
}

/* The outer header of a sealed message; without a UDP checksum where there may be none. */
static void finish_inbound(struct rte_mbuf *m)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	unsigned message = m->data_len - far_header_bytes;
	memcpy(frame, far_header, far_header_bytes);
	outer_finish(frame, far_header_bytes, message, 0, 0);
	if (far_end.addr.family == IP_V4)
		outer_omit_udp_checksum(frame);
	else
		outer_complete_udp_checksum(frame, far_header_bytes, message);
}

static void seal_inbound(struct player *player, struct aead_op *ops, struct rte_mbuf **mbufs)
{
	aead_batch_seal(player->sealer, ops, WORLD_BURST);
	for (unsigned i = 0; i < WORLD_BURST; i++)
		finish_inbound(mbufs[i]);
}

void player_make(struct player *player, enum direction direction, unsigned size)
{
	struct aead_op ops[WORLD_BURST];
	uint32_t id = 0;
	if (rte_pktmbuf_alloc_bulk(player->pool, player->mbufs, WORLD_BATCH) != 0)
		die("no packet buffer");
	for (unsigned i = 0; i < WORLD_BATCH; i++) {
		if (i % player->run == 0)
			id = player->peer_from +
			     (uint32_t)(random_of(&player->random_state) % player->peer_count);
		if (direction == OUTBOUND) {
			make_outbound(player->mbufs[i], size, id);
			continue;
		}
		ops[i % WORLD_BURST] = make_inbound(player->mbufs[i], size, id);
		if (i % WORLD_BURST == WORLD_BURST - 1)
			seal_inbound(player, ops, &player->mbufs[i + 1 - WORLD_BURST]);
	}
	player->sent = 0;
}

uint64_t player_play(struct player *player, enum direction direction)
{
	struct dp_worker *worker = player->worker;
	unsigned port = direction == OUTBOUND ? WORLD_INNER_PORT : WORLD_OUTER_PORT;
	dp_worker_online(worker);
	uint64_t begin = rte_rdtsc(), turn = begin;
	for (unsigned i = 0; i < WORLD_BATCH; i += WORLD_BURST) {
		dp_receive(worker, port, player->mbufs + i, WORLD_BURST);
		dp_worker_flush(worker);
		dp_worker_quiescent(worker);
		if (player->turns != NULL) {
			uint64_t now = rte_rdtsc();
			player->turns[i / WORLD_BURST] = (uint32_t)(now - turn);
			turn = now;
		}
	}
	while (worker->spreading && player->sent < WORLD_BATCH) {
		dp_spread_help(worker);
		dp_worker_flush(worker);
	}
	uint64_t cycles = rte_rdtsc() - begin;
	dp_worker_offline(worker);
	if (player->sent != WORLD_BATCH)
		die("packets got lost");
	rte_pktmbuf_free_bulk(player->sent_mbufs, player->sent);
	return cycles;
}

uint64_t player_seal(struct player *player, unsigned size)
{
	static const uint8_t key[WG_KEY_BYTES];
	struct aead_op ops[WORLD_BURST];
	for (unsigned i = 0; i < WORLD_BURST; i++)
		ops[i] = (struct aead_op){
			.data = player->texts + (size_t)i * TEXT_ROOM,
			.key = key,
			.counter = i,
			.len = padded_bytes(size),
		};
	uint64_t begin = rte_rdtsc();
	for (unsigned i = 0; i < WORLD_BATCH; i += WORLD_BURST)
		aead_batch_seal(player->sealer, ops, WORLD_BURST);
	return rte_rdtsc() - begin;
}

/* ---- the rest ---- */

void start_thread(unsigned cpu, void *(*function)(void *), void *arg)
{
	pthread_attr_t attr;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	if (pthread_create(&thread, &attr, function, arg) != 0)
		die("no thread on that CPU");
	pthread_attr_destroy(&attr);
}

void join_thread(void)
{
	pthread_join(thread, NULL);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), compare_doubles);
	return values[n / 2];
}
