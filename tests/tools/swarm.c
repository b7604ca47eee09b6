/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thousand WireGuard peers in one process, each with an address of its own, around one gateway;
 * each sends numbered packets to its neighbour, through two tunnels. Every packet is accounted for.
 * The protocol's clock runs faster, as the gateway's does with fastclock, so that all of them renew
 * their keys every few seconds.
 *
 * Usage: swarm GATEWAY-IPV4 PORT GATEWAY-KEY KEYS FACTOR SECONDS PACKETS-A-SECOND
 *
 * All of them begin at once.
 *
 *   GATEWAY-KEY  its public key, 64 hexadecimal digits
 *   KEYS         a file of the peers' private keys, 32 bytes each. Peer n has the outer address
 *                198.18.0.0 + n, port 51820, which must be local, and the inner one 10.128.0.0 + n
 *
 * A flow has one packet under way at a time; one that is not there after two seconds is lost. It
 * had its sessions when at its sending both tunnels on its way had one with some seconds to live:
 * such a packet waits for no handshake. The last line: sent, received, lost, those of the lost that
 * had their sessions, late; then initiations, responses and sessions of the peers, packets that
 * they gave up themselves, data that came too late for its session, and the longest time in
 * microseconds of a packet that had its sessions. An end that breaks a rule of the protocol fails
 * an assertion.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/units.h"
#include "node.h"

#define PEERS_MAX     4096
#define OUTER_FIRST   0xc6120000u /* 198.18.0.0 */
#define INNER_FIRST   0x0a800000u /* 10.128.0.0 */
#define OUTER_PORT    51820
#define LOST_AFTER_NS (2 * NS_PER_SEC)
/* The first packet waits for a handshake, and that perhaps for a cookie. */
#define FIRST_LOST_AFTER_NS (20 * NS_PER_SEC)
/* A session that ends while a packet is under way is none, and the other end's is a little older.
 */
#define LEFT_NS LOST_AFTER_NS

struct end {
	struct node *node;
	struct wg_peer *gateway;
	int sock;
	/* The flow that begins here */
	uint64_t serial, sent_ns, due_ns;
	bool waiting, had_sessions; /* the packet under way */
};

static struct {
	struct endpoint gateway;
	unsigned count;
	struct end ends[PEERS_MAX];
	struct rng rng;
	int epoll;
	uint64_t begin_ns, factor, seconds, interval_ns;
	uint64_t sent, received, lost, lost_with_sessions, late, longest_ns;
} swarm;

static void read_arguments(char **argv);
static void make_end(
	unsigned n, const uint8_t key[WG_KEY_BYTES], const uint8_t gateway[WG_KEY_BYTES]);
static void run(void);
static void report(void);

static void die(const char *what)
{
	fprintf(stderr, "swarm: %s: %s\n", what, strerror(errno));
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: swarm GATEWAY-IPV4 PORT GATEWAY-KEY KEYS FACTOR SECONDS "
				"PACKETS-A-SECOND\n");
		return 2;
	}
	read_arguments(argv + 1);
	run();
	report();
	return 0;
}

/* --- Time --- */

static uint64_t true_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static struct wg_time protocol_time(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct wg_time){
		.mono_ns = swarm.begin_ns + (true_ns() - swarm.begin_ns) * swarm.factor,
		.wall_ns = (uint64_t)wall.tv_sec * NS_PER_SEC + (uint64_t)wall.tv_nsec,
	};
}

/* --- Set-up --- */

static void read_key(const char *text, uint8_t key[WG_KEY_BYTES])
{
	for (unsigned i = 0; i < WG_KEY_BYTES; i++)
		if (sscanf(text + 2 * i, "%2hhx", &key[i]) != 1)
			die("the gateway's key");
}

static void read_arguments(char **argv)
{
	uint8_t gateway[WG_KEY_BYTES], key[WG_KEY_BYTES];
	FILE *keys = fopen(argv[3], "rb");

	if (!keys || !ip_addr_parse(argv[0], &swarm.gateway.addr))
		die("arguments");
	swarm.gateway.port = (uint16_t)atoi(argv[1]);
	read_key(argv[2], gateway);
	swarm.factor = strtoull(argv[4], NULL, 10);
	swarm.seconds = strtoull(argv[5], NULL, 10);
	swarm.rng.state = rng_seed("swarm");
	swarm.epoll = epoll_create1(0);
	swarm.begin_ns = true_ns();
	while (swarm.count < PEERS_MAX && fread(key, sizeof(key), 1, keys) == 1)
		make_end(swarm.count++, key, gateway);
	fclose(keys);
	swarm.interval_ns = swarm.count * NS_PER_SEC / strtoull(argv[6], NULL, 10);
}

/* As the gateway takes it apart again, but for the checksum of UDP, which nobody asks for. */
static void write_headers(struct packet *packet)
{
	uint8_t *ip = packet->headers;
	uint32_t sum = 0;

	memset(ip, 0, sizeof(packet->headers));
	ip[0] = 0x45;
	store_be16(ip + 2, sizeof(*packet));
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	store_be32(ip + 12, INNER_FIRST + packet->from);
	store_be32(ip + 16, INNER_FIRST + packet->to);
	for (unsigned i = 0; i < 20; i += 2)
		sum += load_be16(ip + i);
	sum = (sum & 0xffff) + (sum >> 16);
	store_be16(ip + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
	store_be16(ip + 20, 7);
	store_be16(ip + 22, 7);
	store_be16(ip + 24, sizeof(*packet) - 20);
}

static void send_datagram(
	void *arg, struct node *node, const struct wg_path *path, const void *data, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(path->remote.port)};
	(void)arg;

	memcpy(&to.sin_addr, path->remote.addr.bytes, 4);
	if (sendto(swarm.ends[node->id].sock, data, len, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		fprintf(stderr, "swarm: peer %u: %s\n", node->id, strerror(errno));
}

static void deliver(void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct end *from = &swarm.ends[packet->from];
	uint64_t now = true_ns();
	(void)arg;
	(void)node;
	(void)peer;

	assert_true(packet->from < swarm.count && packet->serial <= from->serial);
	if (!from->waiting || packet->serial != from->serial) {
		swarm.late++;
		return;
	}
	from->waiting = false;
	swarm.received++;
	if (from->had_sessions && now - from->sent_ns > swarm.longest_ns)
		swarm.longest_ns = now - from->sent_ns;
}

static int open_socket(unsigned n)
{
	struct sockaddr_in own = {.sin_family = AF_INET,
		.sin_port = htons(OUTER_PORT),
		.sin_addr.s_addr = htonl(OUTER_FIRST + n)};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = n};

	if (sock < 0 || bind(sock, (struct sockaddr *)&own, sizeof(own)) != 0 ||
		epoll_ctl(swarm.epoll, EPOLL_CTL_ADD, sock, &event) != 0)
		die("socket");
	return sock;
}

static void make_end(
	unsigned n, const uint8_t key[WG_KEY_BYTES], const uint8_t gateway[WG_KEY_BYTES])
{
	struct node_hooks hooks = {.send = send_datagram, .deliver = deliver};
	struct ip_prefix everything = {.addr = {.family = IP_V4}};
	struct end *end = &swarm.ends[n];
	struct wg_time now = protocol_time();

	end->sock = open_socket(n);
	end->node = node_create(n, &hooks, &swarm.rng, now);
	wg_device_set_private_key(end->node->device, key, now);
	if (wg_device_add_peer(end->node->device, gateway, &end->gateway) != 0 ||
		wg_peer_add_allowed_ip(end->gateway, &everything) != 0)
		die("peer");
	wg_peer_set_endpoint(end->gateway, &swarm.gateway);
	node_drain(end->node);
}

/* --- The loop --- */

static void receive(unsigned n)
{
	struct end *end = &swarm.ends[n];
	struct wg_path path = {.remote = swarm.gateway};
	uint8_t data[2048];
	ssize_t len;

	while ((len = recv(end->sock, data, sizeof(data), 0)) >= 0) {
		node_tick(end->node, protocol_time());
		node_receive(end->node, data, (size_t)len, &path);
	}
}

static bool has_session(const struct end *end)
{
	const struct node_peer *peer = wg_peer_user(end->gateway);
	uint64_t until_ns = protocol_time().mono_ns + LEFT_NS * swarm.factor;

	return peer->current && wg_session_alive(peer->current, until_ns);
}

static void send_packet(unsigned n, uint64_t now)
{
	struct end *end = &swarm.ends[n];
	struct packet packet = {.from = n, .to = (n + 1) % swarm.count, .serial = ++end->serial};

	write_headers(&packet);
	end->sent_ns = now;
	/* Not all at once for ever: each a little earlier or later. */
	end->due_ns =
		now + swarm.interval_ns * 3 / 4 + rng_below(&swarm.rng, swarm.interval_ns / 2);
	end->waiting = true;
	end->had_sessions = has_session(end) && has_session(&swarm.ends[packet.to]);
	swarm.sent++;
	node_send(end->node, end->gateway, &packet);
}

static void service(unsigned n, bool ending)
{
	struct end *end = &swarm.ends[n];
	struct wg_time now = protocol_time();
	uint64_t real = true_ns();

	node_tick(end->node, now);
	if (end->waiting &&
		real - end->sent_ns > (end->serial == 1 ? FIRST_LOST_AFTER_NS : LOST_AFTER_NS)) {
		end->waiting = false;
		swarm.lost++;
		swarm.lost_with_sessions += end->had_sessions;
		printf("lost: packet %llu of peer %u after %llu ms%s\n",
			(unsigned long long)end->serial, n,
			(unsigned long long)((real - swarm.begin_ns) / NS_PER_MS),
			end->had_sessions ? ", though it had its sessions" : "");
	}
	if (!end->waiting && !ending && real >= end->due_ns)
		send_packet(n, real);
}

static bool anything_under_way(void)
{
	for (unsigned n = 0; n < swarm.count; n++)
		if (swarm.ends[n].waiting)
			return true;
	return false;
}

static void run(void)
{
	struct epoll_event events[64];
	uint64_t begin = true_ns();
	bool ending = false;

	while (!ending || anything_under_way()) {
		ending = true_ns() - begin > swarm.seconds * NS_PER_SEC;
		for (unsigned n = 0; n < swarm.count; n++) {
			if (n % 64 == 0) {
				int ready = epoll_wait(swarm.epoll, events, 64, 0);
				for (int i = 0; i < ready; i++)
					receive(events[i].data.u32);
			}
			service(n, ending);
		}
		int ready = epoll_wait(swarm.epoll, events, 64, 1);
		for (int i = 0; i < ready; i++)
			receive(events[i].data.u32);
	}
}

static void report(void)
{
	unsigned initiations = 0, responses = 0, published = 0, dropped = 0, unknown = 0;

	for (unsigned n = 0; n < swarm.count; n++) {
		const struct node_counts *counts = &swarm.ends[n].node->counts;

		initiations += counts->initiations;
		responses += counts->responses;
		published += counts->published;
		dropped += counts->purged + counts->dropped;
		unknown += counts->unknown;
	}
	printf("sent %" PRIu64 " received %" PRIu64 " lost %" PRIu64 " lost_with_sessions %" PRIu64
	       " late %" PRIu64
	       " initiations %u responses %u sessions %u given-up %u unknown %u longest_us %" PRIu64
	       "\n",
		swarm.sent, swarm.received, swarm.lost, swarm.lost_with_sessions, swarm.late,
		initiations, responses, published, dropped, unknown, swarm.longest_ns / 1000);
}
