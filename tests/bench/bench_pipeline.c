/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cycles per packet of the whole pipeline, from a burst received to a burst sent, both ways, in one
 * process: no NIC, one worker, bursts of 32, and the cycles that the AEAD took of that in the same
 * run. Rounds of all cases interleave; the figure of a case is the median of its rounds.
 *
 * Inbound packets are sealed beforehand with rising counters and played once; outbound packets are
 * made anew for each round. With several peers each packet is for a random one.
 *
 * With --helper each case is played a second time with another worker on that CPU, which helps with
 * the AEAD work (datapath/spread.h): what two workers make of the traffic of one peer. The first is
 * on CPU 0.
 *
 * Usage: bench_pipeline [--rounds N] [--peers N,N...] [--sizes N,N...] [--helper CPU] [--json FILE]
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include "base/bytes.h"
#include "crypto/aead_batch.h"
#include "datapath/lpm.h"
#include "datapath/spread.h"
#include "datapath/worker.h"
#include "eal.h"
#include "wg/messages.h"

#define BURST	   32
#define PER_ROUND  2048 /* packets of one case in a round: they stay within the caches' reach */
#define MAX_ROUNDS 1000
#define MAX_LIST   16
#define INNER_PORT 1
#define OUTER_PORT 0

struct options {
	unsigned rounds[MAX_LIST]; /* the first counts */
	unsigned peers[MAX_LIST], peer_counts;
	unsigned sizes[MAX_LIST], size_counts;
	const char *json;
	bool helped;
	unsigned helper_cpu[MAX_LIST]; /* the first counts */
};

struct peer {
	struct wg_session *session;
	struct wg_activity *activity;
	uint64_t counter; /* of the next packet from it */
};

enum direction {
	OUTBOUND,
	INBOUND,
};

struct figures {
	double cycles[MAX_ROUNDS], aead_cycles[MAX_ROUNDS];
};

static const uint8_t outer_mac[6] = {2, 0, 0, 0, 0, 0x10};
static const uint8_t inner_mac[6] = {2, 0, 0, 0, 0, 0x11};
static const uint8_t far_mac[6] = {2, 0, 0, 0, 0, 0x99};

static struct dp *dp;
static struct dp_worker *worker, *helper;
static pthread_t helper_thread;
static _Atomic bool stop;
static struct rte_mempool *pool;
static struct peer *peers;
static struct aead_batch *sealer;
static uint64_t random_state = 1;
static unsigned sent;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_pipeline: %s\n", what);
	exit(1);
}

/* The sent frames are counted and kept until the round is over, as a NIC's queue would. */
static struct rte_mbuf *sent_mbufs[PER_ROUND];

static uint16_t take_sent(void *arg, unsigned port, struct rte_mbuf **mbufs, uint16_t n)
{
	(void)arg;
	(void)port;
	memcpy(&sent_mbufs[sent], mbufs, n * sizeof(mbufs[0]));
	sent += n;
	return n;
}

/* ---- set-up ---- */

static void set_up_world(void)
{
	struct dp_worker_config config = {.backend = AEAD_BACKEND_AUTO, .send = take_sent};
	struct dp_nexthop inner = {.kind = DP_NEXTHOP_PORT, .port = INNER_PORT};
	struct dp_nexthop tunnel = {.kind = DP_NEXTHOP_WG, .interface = 0};
	struct ip_addr local;
	struct ip_prefix lan, wan;
	if (dp_create(2, &dp) != 0 || dp_worker_create(dp, &config, &worker) != 0)
		die("no memory");
	struct dp_port port = {.outer = true, .mtu = 1500};
	memcpy(port.mac, outer_mac, 6);
	dp_set_port(dp, OUTER_PORT, &port);
	port.outer = false;
	port.inner = true;
	memcpy(port.mac, inner_mac, 6);
	dp_set_port(dp, INNER_PORT, &port);
	memcpy(inner.ether, far_mac, 6);
	memcpy(inner.ether + 6, inner_mac, 6);
	ip_addr_parse("198.51.100.1", &local);
	ip_prefix_parse("192.168.0.0/16", &lan);
	ip_prefix_parse("10.0.0.0/8", &wan);
	if (dp_add_interface(dp, 0, 1420) != 0 || dp_set_nexthop(dp, 0, &inner) != 0 ||
		dp_set_nexthop(dp, 1, &tunnel) != 0 || dp_set_locals(dp, &local, 1) != 0 ||
		dp_lpm_set(dp->routes, &lan, 0) != 0 || dp_lpm_set(dp->routes, &wan, 1) != 0)
		die("no memory");
	dp_interface_set_listen_port(dp, 0, 51820);
	worker->now_ns = 1000 * NS_PER_SEC;
	sealer = aead_batch_create(AEAD_BACKEND_AUTO);
}

static void set_up_peer(uint32_t id)
{
	struct dp_outer outer = {.port = OUTER_PORT};
	struct endpoint src = {.port = 51820}, dst = {.port = 40000};
	struct ip_prefix prefix = {.addr = {.family = IP_V4}, .bits = 32};
	uint8_t macs[12];
	struct wg_session *session = rte_zmalloc(NULL, sizeof(*session), 64);
	peers[id].session = session;
	peers[id].activity = rte_zmalloc(NULL, sizeof(struct wg_activity), 64);
	if (session == NULL || peers[id].activity == NULL)
		die("no memory for so many peers: give EAL more");
	for (unsigned i = 0; i < WG_KEY_BYTES; i++) {
		session->receive_key[i] = (uint8_t)next_random();
		session->send_key[i] = (uint8_t)next_random();
	}
	/* Slots at random, each once: an odd factor permutes them. */
	session->local_index = (id * 2654435761u) & ((1u << LIMIT_INDEX_BITS) - 1);
	session->peer_id = id;
	session->born_ns = worker->now_ns;
	atomic_store(&session->confirmed, true);
	replay_init(&session->replay);

	store_be32(prefix.addr.bytes, 10u << 24 | id);
	ip_addr_parse("198.51.100.1", &src.addr);
	ip_addr_parse("203.0.113.9", &dst.addr);
	memcpy(macs, far_mac, 6);
	memcpy(macs + 6, outer_mac, 6);
	outer.header_len = (uint8_t)outer_prepare(outer.header, macs, &src, &dst, 0);
	if (dp_publish_peer(dp, id, 0, peers[id].activity) != 0 ||
		dp_peer_set_outer(dp, id, &outer) != 0 ||
		dp_lpm_set(dp->interfaces[0].allowed, &prefix, id) != 0)
		die("no memory for so many peers: give EAL more");
	dp_publish_session(dp, session);
	dp_peer_set_session(dp, id, session);
}

/* ---- the helper ---- */

static void *help(void *arg)
{
	(void)arg;
	while (!stop)
		if (dp_spread_help(helper) == 0)
			rte_pause();
	return NULL;
}

static void start_helper(unsigned cpu)
{
	struct dp_worker_config config = {.id = 1, .send = take_sent};
	pthread_attr_t attr;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	if (dp_worker_create(dp, &config, &helper) != 0 ||
		pthread_create(&helper_thread, &attr, help, NULL) != 0)
		die("no helper on that CPU");
	pthread_attr_destroy(&attr);
}

static void end_helper(void)
{
	stop = true;
	pthread_join(helper_thread, NULL);
	dp_worker_destroy(helper);
}

static void spread(bool on)
{
	dp_spread_set(worker, on);
	while (on && atomic_load(&dp->spread_helpers) == 0)
		rte_pause();
}

/* ---- packets ---- */

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

static struct rte_mbuf *allocate(unsigned len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	if (m == NULL || rte_pktmbuf_append(m, (uint16_t)len) == NULL)
		die("no packet buffer");
	return m;
}

static void make_outbound(struct rte_mbuf **mbufs, unsigned size, unsigned peer_count)
{
	for (unsigned i = 0; i < PER_ROUND; i++) {
		uint32_t id = (uint32_t)(next_random() % peer_count);
		struct rte_mbuf *m = allocate(14 + size);
		uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
		put_ether(frame, inner_mac);
		put_ipv4(frame + 14, size, 0xc0a80001, 10u << 24 | id);
		mbufs[i] = m;
	}
}

static struct aead_op put_message(struct rte_mbuf *m, unsigned size, uint32_t id)
{
	unsigned padded = RTE_MIN((size + 15) & ~15u, 1420u);
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t *udp = frame + 34, *message = frame + 42, *text = message + 16;
	put_ether(frame, outer_mac);
	put_ipv4(frame + 14, 28 + 32 + padded, 0xcb007109, 0xc6336401);
	store_be16(udp + UDP_SRC_PORT, 40000);
	store_be16(udp + UDP_DST_PORT, 51820);
	store_be16(udp + UDP_LENGTH, (uint16_t)(8 + 32 + padded));
	store_be16(udp + UDP_CHECKSUM, 0);
	store_le32(message, WG_MSG_DATA);
	store_le32(message + 4, peers[id].session->local_index);
	store_le64(message + 8, peers[id].counter);
	memset(text, 0, padded);
	put_ipv4(text, size, 10u << 24 | id, 0xc0a80001);
	return (struct aead_op){
		.data = text,
		.key = peers[id].session->receive_key,
		.counter = peers[id].counter++,
		.len = padded,
	};
}

static void make_inbound(struct rte_mbuf **mbufs, unsigned size, unsigned peer_count)
{
	struct aead_op ops[BURST];
	for (unsigned i = 0; i < PER_ROUND; i++) {
		uint32_t id = (uint32_t)(next_random() % peer_count);
		mbufs[i] = allocate(14 + 28 + 32 + RTE_MIN((size + 15) & ~15u, 1420u));
		ops[i % BURST] = put_message(mbufs[i], size, id);
		if (i % BURST == BURST - 1)
			aead_batch_seal(sealer, ops, BURST);
	}
}

/* ---- measuring ---- */

/* Of both: read when the helper has nothing to do. */
static uint64_t aead_cycles(void)
{
	return worker->counters.aead_cycles + (helper != NULL ? helper->counters.aead_cycles : 0);
}

static void play(enum direction direction, unsigned size, unsigned peer_count, unsigned workers,
	struct figures *figures, unsigned round)
{
	static struct rte_mbuf *mbufs[PER_ROUND];
	uint64_t aead_before = aead_cycles();
	sent = 0;
	if (direction == OUTBOUND)
		make_outbound(mbufs, size, peer_count);
	else
		make_inbound(mbufs, size, peer_count);
	spread(workers == 2);
	uint64_t begin = rte_rdtsc();
	for (unsigned i = 0; i < PER_ROUND; i += BURST) {
		dp_receive(
			worker, direction == OUTBOUND ? INNER_PORT : OUTER_PORT, mbufs + i, BURST);
		dp_worker_flush(worker);
		dp_worker_quiescent(worker);
	}
	while (worker->spreading && sent < PER_ROUND) {
		dp_spread_help(worker);
		dp_worker_flush(worker);
	}
	uint64_t cycles = rte_rdtsc() - begin;
	spread(false);
	if (sent != PER_ROUND)
		die("packets got lost");
	rte_pktmbuf_free_bulk(sent_mbufs, sent);
	figures->cycles[round] = (double)cycles / PER_ROUND;
	figures->aead_cycles[round] = (double)(aead_cycles() - aead_before) / PER_ROUND;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), compare_doubles);
	return values[n / 2];
}

/* alone: the same case with one worker, reported before; NULL when this is it. */
static void report(FILE *json, bool first, enum direction direction, unsigned size,
	unsigned peer_count, struct figures *figures, struct figures *alone, unsigned rounds)
{
	const char *name = direction == OUTBOUND ? "outbound" : "inbound";
	double cycles = median(figures->cycles, rounds);
	double aead = median(figures->aead_cycles, rounds);
	printf("%-8s %5u bytes %7u peers: %7.1f cycles (least %7.1f), AEAD %7.1f", name, size,
		peer_count, cycles, figures->cycles[0], aead);
	if (alone == NULL)
		printf(", rest %6.1f\n", cycles - aead);
	else
		printf(", helped: %.2f times one worker (least %.2f)\n",
			median(alone->cycles, rounds) / cycles,
			alone->cycles[0] / figures->cycles[0]);
	if (json != NULL)
		fprintf(json,
			"%s\n{\"bench\":\"pipeline\",\"direction\":\"%s\",\"size\":%u,"
			"\"peers\":%u,\"workers\":%u,\"cycles\":%.1f,\"aead_cycles\":%.1f}",
			first ? "[" : ",", name, size, peer_count, alone == NULL ? 1 : 2, cycles,
			aead);
}

static void run(const struct options *options, FILE *json)
{
	/* Both directions of a size, and both again with the helper. */
	unsigned of_size = options->helped ? 4 : 2;
	unsigned cases = options->size_counts * of_size, at;
	struct figures *figures = calloc(cases, sizeof(*figures));
	unsigned known = 0;
	bool first = true;
	if (figures == NULL)
		die("no memory");
	for (unsigned p = 0; p < options->peer_counts; p++) {
		for (; known < options->peers[p]; known++)
			set_up_peer(known);
		for (unsigned round = 0; round < options->rounds[0]; round++)
			for (at = 0; at < cases; at++)
				play((enum direction)(at % 2), options->sizes[at / of_size],
					options->peers[p], 1 + at % of_size / 2, &figures[at],
					round);
		for (at = 0; at < cases; at++, first = false)
			report(json, first, (enum direction)(at % 2), options->sizes[at / of_size],
				options->peers[p], &figures[at],
				at % of_size / 2 == 0 ? NULL : &figures[at - 2],
				options->rounds[0]);
	}
	free(figures);
}

/* ---- the command line ---- */

static unsigned parse_list(const char *text, unsigned list[MAX_LIST], unsigned least, unsigned most)
{
	unsigned n = 0;
	for (char *end; n < MAX_LIST; text = end + 1) {
		unsigned long value = strtoul(text, &end, 10);
		if (end == text || value < least || value > most)
			die("a number is out of range");
		list[n++] = (unsigned)value;
		if (*end != ',')
			break;
	}
	return n;
}

static void parse_options(int argc, char **argv, struct options *options)
{
	*options = (struct options){.rounds = {50}};
	options->size_counts = parse_list("64,128,256,512,1024,1420", options->sizes, 20, 1420);
	options->peer_counts = parse_list("1", options->peers, 1, LIMIT_PEERS);
	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(argv[i], "--rounds") == 0)
			parse_list(value, options->rounds, 1, MAX_ROUNDS);
		else if (strcmp(argv[i], "--sizes") == 0)
			options->size_counts = parse_list(value, options->sizes, 20, 1420);
		else if (strcmp(argv[i], "--peers") == 0)
			options->peer_counts = parse_list(value, options->peers, 1, LIMIT_PEERS);
		else if (strcmp(argv[i], "--helper") == 0)
			options->helped = parse_list(value, options->helper_cpu, 0, 1023) > 0;
		else if (strcmp(argv[i], "--json") == 0)
			options->json = value;
		else
			die("usage: [--rounds N] [--sizes N,...] [--peers N,...] [--helper CPU] "
			    "[--json FILE]");
	}
}

static void start_eal(const struct options *options)
{
	unsigned most = options->peers[options->peer_counts - 1];
	if (eal_start(64 + most / 256) < 0)
		die("EAL does not start");
	pool = rte_pktmbuf_pool_create("pool", 2 * PER_ROUND - 1, 256, DP_MBUF_PRIV_BYTES,
		RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	peers = calloc(most, sizeof(*peers));
	if (pool == NULL || peers == NULL)
		die("no memory");
}

static void tear_down(const struct options *options)
{
	unsigned most = options->peers[options->peer_counts - 1];
	dp_worker_destroy(worker);
	dp_destroy(dp);
	aead_batch_destroy(sealer);
	for (unsigned i = 0; i < most; i++) {
		rte_free(peers[i].session);
		rte_free(peers[i].activity);
	}
	free(peers);
	rte_mempool_free(pool);
	eal_stop();
}

int main(int argc, char **argv)
{
	struct options options;
	FILE *json = NULL;
	parse_options(argc, argv, &options);
	if (options.json != NULL) {
		json = fopen(options.json, "w");
		if (json == NULL)
			die("cannot write the JSON file");
	}
	start_eal(&options);
	set_up_world();
	if (options.helped)
		start_helper(options.helper_cpu[0]);
	run(&options, json);
	if (options.helped)
		end_helper();
	if (json != NULL) {
		fprintf(json, "\n]\n");
		fclose(json);
	}
	tear_down(&options);
	return 0;
}
