/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A traffic generator for the whole program: the hosts and the peers on both sides of a running
 * gateway. Commands come on standard input, an answer to each goes to standard output, on one line.
 *
 *   generator config TUNNELS MTU                       the gateway's config file
 *   generator [EAL options] -- TUNNELS MTU OUTER-MAC INNER-MAC
 *
 * EAL's options make two ports: the first leads to the gateway's outer port, the second to its
 * inner one. MTU is the tunnel's, the MACs are the gateway's. The commands:
 *
 *   handshake N                                         sessions for the first N tunnels
 *   trial outbound|inbound SIZES N PPS SECONDS          SIZES: of IP packets, in turns: 46,552,1500
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "sealed.h"
#include "trial.h"
#include "tunnels.h"

#define DESCRIPTORS 1024
#define MBUFS	    8191
#define MBUF_CACHE  256
#define BURST	    32

static void die(const char *what)
{
	fprintf(stderr, "generator: %s\n", what);
	exit(1);
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end != '\0' || value < least || value > most)
		die("a number is out of range");
	return (unsigned)value;
}

/* ---- set-up ---- */

/*
 * Received buffers may be chained; what is sent is in one. From a stack: those that come next were
 * the last in use and are in the caches still.
 */
static struct rte_mempool *make_pool(const char *name, unsigned room)
{
	struct rte_mempool *pool = rte_pktmbuf_pool_create(
		name, MBUFS, MBUF_CACHE, 0, (uint16_t)(RTE_PKTMBUF_HEADROOM + room), SOCKET_ID_ANY);

	if (pool == NULL)
		die("no memory: give EAL more");
	return pool;
}

static void start_port(uint16_t port, unsigned mtu, struct rte_mempool *pool)
{
	/* Checksums may be left out on the way to us: a NIC would make them, vhost-user would not.
	 */
	struct rte_eth_conf conf = {
		.rxmode = {.mtu = mtu, .offloads = RTE_ETH_RX_OFFLOAD_UDP_CKSUM}};
	/* Frees what was sent early, for the same reason. */
	struct rte_eth_txconf txconf = {.tx_free_thresh = DESCRIPTORS - 2 * BURST};

	if (mtu > RTE_ETHER_MTU)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
	if (rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
		rte_eth_rx_queue_setup(port, 0, DESCRIPTORS, 0, NULL, pool) != 0 ||
		rte_eth_tx_queue_setup(port, 0, DESCRIPTORS, 0, &txconf) != 0 ||
		rte_eth_dev_start(port) != 0)
		die("a port does not start");
}

static void start(struct tunnels *tunnels, char **args)
{
	unsigned count = number(args[0], 1, TUNNELS_MOST), mtu = number(args[1], 1280, 9000);
	unsigned frame_mtu = mtu + 80;
	struct rte_ether_addr macs[2];

	if (rte_ether_unformat_addr(args[2], &macs[OUTER_PORT]) != 0 ||
		rte_ether_unformat_addr(args[3], &macs[INNER_PORT]) != 0)
		die("that is no MAC address");
	if (rte_eth_dev_count_avail() != 2)
		die("two ports are needed");
	struct rte_mempool *sent = make_pool("sent", RTE_MAX(frame_mtu + 64, 2048u));
	struct rte_mempool *received = make_pool("received", 2048);
	start_port(OUTER_PORT, frame_mtu, received);
	start_port(INNER_PORT, frame_mtu, received);
	if (tunnels_create(tunnels, count, mtu, macs, sent) != 0)
		die("no memory");
}

/* ---- commands ---- */

static void handshake(struct tunnels *tunnels, const char *command)
{
	unsigned n;

	if (sscanf(command, "handshake %u", &n) != 1 || n > tunnels->count)
		die("handshake N");
	printf("{\"ok\": %s}\n", tunnels_handshake(tunnels, n) ? "true" : "false");
}

static void parse_sizes(struct trial *trial, char *text, unsigned mtu)
{
	char *rest = NULL;

	for (char *word = strtok_r(text, ",", &rest); word != NULL;
		word = strtok_r(NULL, ",", &rest)) {
		if (trial->size_count == TRIAL_SIZES)
			die("too many sizes");
		trial->sizes[trial->size_count++] = number(word, 28, mtu);
	}
}

static void run_trial(struct tunnels *tunnels, const char *command)
{
	static struct sealed sealed;
	struct trial trial = {0};
	struct trial_result result;
	char direction[16], sizes[128];

	if (sscanf(command, "trial %15s %127s %u %lf %lf", direction, sizes, &trial.tunnels,
		    &trial.pps, &trial.seconds) != 5 ||
		trial.tunnels == 0 || trial.tunnels > tunnels->count)
		die("trial outbound|inbound SIZES N PPS SECONDS");
	trial.direction = strcmp(direction, "outbound") == 0 ? TRIAL_OUTBOUND : TRIAL_INBOUND;
	parse_sizes(&trial, sizes, tunnels->mtu);
	trial_run(tunnels, &sealed, &trial, &result);
	printf("{\"offered\": %" PRIu64 ", \"received\": %" PRIu64 ", \"refused\": %" PRIu64
	       ", \"late\": %" PRIu64 ", \"checked\": %" PRIu64 ", \"wrong\": %" PRIu64
	       ", \"seconds\": %.6f}\n",
		result.offered, result.received, result.refused, result.late, result.checked,
		result.wrong, result.seconds);
}

static void obey(struct tunnels *tunnels)
{
	char command[256];

	while (fgets(command, sizeof(command), stdin) != NULL) {
		if (strncmp(command, "handshake ", 10) == 0)
			handshake(tunnels, command);
		else if (strncmp(command, "trial ", 6) == 0)
			run_trial(tunnels, command);
		else
			die("unknown command");
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	struct tunnels tunnels;

	if (argc == 4 && strcmp(argv[1], "config") == 0) {
		tunnels_write_config(
			stdout, number(argv[2], 1, TUNNELS_MOST), number(argv[3], 1280, 9000));
		return 0;
	}
	int eal = rte_eal_init(argc, argv);
	if (eal < 0)
		die(rte_strerror(rte_errno));
	if (argc - eal != 5)
		die("usage: generator [EAL options] -- TUNNELS MTU OUTER-MAC INNER-MAC");
	start(&tunnels, argv + eal + 1);
	printf("{\"tsc_hz\": %" PRIu64 "}\n", rte_get_tsc_hz());
	fflush(stdout);
	obey(&tunnels);
	rte_eth_dev_stop(OUTER_PORT);
	rte_eth_dev_stop(INNER_PORT);
	tunnels_destroy(&tunnels);
	rte_eal_cleanup();
	return 0;
}
