/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thousand WireGuard peers in one process, each with an address of its own, around one gateway;
 * each sends numbered packets to its neighbour, through two tunnels, or to a host that echoes them.
 * Every packet is sent once and accounted for. The protocol's clock runs faster, as the gateway's
 * does with fastclock, so that all of them renew their keys every few seconds.
 *
 * Usage: swarm GATEWAY-IPV4 PORT GATEWAY-KEY KEYS FACTOR SECONDS PACKETS-A-SECOND [OPTION=VALUE...]
 *
 * All of them begin at once.
 *
 *   GATEWAY-KEY  its public key, 64 hexadecimal digits
 *   KEYS         a file of the peers' private keys, 32 bytes each. Peer n has the outer address
 *                198.18.0.0 + n, port 51820, which must be local, and the inner one 10.128.0.0 + n
 *   echo=IPV4    peers with odd numbers ping this address; the neighbour of one with an even
 *                number is the next even one
 *   tunnels=FILE a line for each peer when it is over: its number; packets of its flow that it sent
 *                and that arrived in time, late and never; plain packets that its tunnel brought;
 *                data messages, keepalives among them, that it sealed and that it opened; its
 *                sessions
 *
 * A flow has one packet under way at a time; for one that is not there after two seconds it does
 * not wait any longer: if it comes at all, it is late. It had its sessions when at its sending all
 * tunnels on its way had one with some seconds to live: such a packet waits for no handshake. The
 * last line: sent, received in time, late, lost, those of the lost that had their sessions,
 * received twice; then data messages sealed and opened, initiations, responses and sessions of the
 * peers, packets that they gave up themselves, data that came too late for its session, datagrams
 * that the kernel did not take, and the longest time in microseconds of a packet that had its
 * sessions. An end that breaks a rule of the protocol fails an assertion.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
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
#include "wg/messages.h"

#define PEERS_MAX     4096
#define OUTER_FIRST   0xc6120000u /* 198.18.0.0 */
#define INNER_FIRST   0x0a800000u /* 10.128.0.0 */
#define OUTER_PORT    51820
#define LATE_AFTER_NS (2 * NS_PER_SEC)
/* The first packet waits for a handshake, and that perhaps for a cookie. */
#define FIRST_LATE_AFTER_NS (20 * NS_PER_SEC)
/* At the end, for those that are late. Longer than a packet may wait for a session. */
#define LAST_ONES_NS (15 * NS_PER_SEC)
/* A session that ends while a packet is under way is none, and the other end's is a little older.
 */
#define LEFT_NS LATE_AFTER_NS
/* A flow that misses so many sends no more. */
#define MISSED_MAX 32

struct under_way {
	uint64_t serial, sent_ns;
	bool had_sessions;
};

struct end {
	struct node *node;
	struct wg_peer *gateway;
	int sock;
	/* The flow that begins here */
	bool pings;
	uint64_t due_ns;
	bool waiting;
	struct under_way packet; /* the last one sent */
	struct under_way missed[MISSED_MAX];
	unsigned missed_count;
	uint64_t received, late;
	/* What came out of this tunnel, and messages in it */
	uint64_t delivered, sealed;
};

static struct {
	struct endpoint gateway;
	unsigned count;
	struct end ends[PEERS_MAX];
	struct rng rng;
	int epoll;
	uint64_t begin_ns, factor, seconds, interval_ns;
	uint8_t echo[4]; /* of 0: none */
	unsigned step;	 /* from a peer to its neighbour */
	const char *tunnels;
	uint64_t twice, refused, longest_ns;
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
	if (argc < 8) {
		fprintf(stderr, "usage: swarm GATEWAY-IPV4 PORT GATEWAY-KEY KEYS FACTOR SECONDS "
				"PACKETS-A-SECOND [OPTION=VALUE...]\n");
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

static void read_options(char **argv)
{
	for (; *argv; argv++) {
		struct ip_addr echo;

		if (strncmp(*argv, "tunnels=", 8) == 0)
			swarm.tunnels = *argv + 8;
		else if (strncmp(*argv, "echo=", 5) == 0 && ip_addr_parse(*argv + 5, &echo))
			memcpy(swarm.echo, echo.bytes, sizeof(swarm.echo));
		else
			die(*argv);
	}
}

static void read_arguments(char **argv)
{
	uint8_t gateway[WG_KEY_BYTES], key[WG_KEY_BYTES];
	FILE *keys = fopen(argv[3], "rb");

	if (!keys || !ip_addr_parse(argv[0], &swarm.gateway.addr))
		die("arguments");
	read_options(argv + 7);
	swarm.gateway.port = (uint16_t)atoi(argv[1]);
	read_key(argv[2], gateway);
	swarm.factor = strtoull(argv[4], NULL, 10);
	swarm.seconds = strtoull(argv[5], NULL, 10);
	swarm.rng.state = rng_seed("swarm");
	swarm.step = swarm.echo[0] != 0 ? 2 : 1;
	swarm.epoll = epoll_create1(0);
	swarm.begin_ns = true_ns();
	while (swarm.count < PEERS_MAX && fread(key, sizeof(key), 1, keys) == 1)
		make_end(swarm.count++, key, gateway);
	fclose(keys);
	swarm.interval_ns = swarm.count * NS_PER_SEC / strtoull(argv[6], NULL, 10);
}

static uint16_t checksum(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += load_be16(data + i);
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* As a host takes it apart again, but for the checksum of UDP, which nobody asks for. */
static void write_headers(struct packet *packet)
{
	uint8_t *ip = packet->headers, *next = ip + 20;
	bool ping = swarm.ends[packet->from].pings;

	memset(ip, 0, sizeof(packet->headers));
	ip[0] = 0x45;
	store_be16(ip + 2, sizeof(*packet));
	ip[8] = 64;
	ip[9] = ping ? IPPROTO_ICMP : IPPROTO_UDP;
	store_be32(ip + 12, INNER_FIRST + packet->from);
	store_be32(ip + 16, INNER_FIRST + packet->to);
	if (ping)
		memcpy(ip + 16, swarm.echo, sizeof(swarm.echo));
	store_be16(ip + 10, checksum(ip, 20));
	if (ping) {
		next[0] = ICMP_ECHO;
		store_be16(next + 2, checksum(next, sizeof(*packet) - 20));
	} else {
		store_be16(next, 7);
		store_be16(next + 2, 7);
		store_be16(next + 4, sizeof(*packet) - 20);
	}
}

static void send_datagram(
	void *arg, struct node *node, const struct wg_path *path, const void *data, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(path->remote.port)};
	(void)arg;

	memcpy(&to.sin_addr, path->remote.addr.bytes, 4);
	swarm.ends[node->id].sealed += wg_message_type_of(data, len) == WG_MSG_DATA;
	if (sendto(swarm.ends[node->id].sock, data, len, 0, (struct sockaddr *)&to, sizeof(to)) <
		0) {
		fprintf(stderr, "swarm: peer %u: %s\n", node->id, strerror(errno));
		swarm.refused++;
	}
}

/* True when the flow had given up to wait for it. */
static bool was_missed(struct end *from, uint64_t serial)
{
	for (unsigned i = 0; i < from->missed_count; i++) {
		if (from->missed[i].serial == serial) {
			from->missed[i] = from->missed[--from->missed_count];
			return true;
		}
	}
	return false;
}

static void deliver(void *arg, struct node *node, struct wg_peer *peer, const struct packet *packet)
{
	struct end *from = &swarm.ends[packet->from];
	(void)arg;
	(void)peer;

	assert_true(packet->from < swarm.count && packet->serial <= from->packet.serial);
	assert_int_equal(node->id, packet->to);
	swarm.ends[node->id].delivered++;
	if (from->waiting && packet->serial == from->packet.serial) {
		uint64_t took_ns = true_ns() - from->packet.sent_ns;

		from->waiting = false;
		from->received++;
		if (from->packet.had_sessions && took_ns > swarm.longest_ns)
			swarm.longest_ns = took_ns;
	} else if (was_missed(from, packet->serial)) {
		from->late++;
	} else {
		swarm.twice++;
	}
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
	end->pings = n % 2 == 1 && swarm.echo[0] != 0;
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
	struct packet packet = {.from = n,
		.to = end->pings ? n : (n + swarm.step) % swarm.count,
		.serial = ++end->packet.serial};

	write_headers(&packet);
	end->packet.sent_ns = now;
	/* Not all at once for ever: each a little earlier or later. */
	end->due_ns =
		now + swarm.interval_ns * 3 / 4 + rng_below(&swarm.rng, swarm.interval_ns / 2);
	end->waiting = true;
	end->packet.had_sessions = has_session(end) && has_session(&swarm.ends[packet.to]);
	node_send(end->node, end->gateway, &packet);
}

static uint64_t since_begin_ms(uint64_t now)
{
	return (now - swarm.begin_ns) / NS_PER_MS;
}

static void stop_waiting(unsigned n)
{
	struct end *end = &swarm.ends[n];

	end->waiting = false;
	end->missed[end->missed_count++] = end->packet;
	printf("missed: packet %" PRIu64 " of peer %u, sent after %" PRIu64 " ms%s\n",
		end->packet.serial, n, since_begin_ms(end->packet.sent_ns),
		end->packet.had_sessions ? ", though it had its sessions" : "");
}

static void service(unsigned n, bool ending)
{
	struct end *end = &swarm.ends[n];
	struct wg_time now = protocol_time();
	uint64_t real = true_ns();

	node_tick(end->node, now);
	if (end->waiting && real - end->packet.sent_ns >
				    (end->packet.serial == 1 ? FIRST_LATE_AFTER_NS : LATE_AFTER_NS))
		stop_waiting(n);
	if (!end->waiting && !ending && real >= end->due_ns && end->missed_count < MISSED_MAX)
		send_packet(n, real);
}

static bool anything_under_way(uint64_t ending_ns)
{
	bool last_ones = true_ns() - ending_ns < LAST_ONES_NS;

	for (unsigned n = 0; n < swarm.count; n++)
		if (swarm.ends[n].waiting || (last_ones && swarm.ends[n].missed_count > 0))
			return true;
	return false;
}

static void take_what_came(int timeout_ms)
{
	struct epoll_event events[64];
	int ready = epoll_wait(swarm.epoll, events, 64, timeout_ms);

	for (int i = 0; i < ready; i++)
		receive(events[i].data.u32);
}

static void run(void)
{
	uint64_t end_ns = true_ns() + swarm.seconds * NS_PER_SEC;
	bool ending = false;

	while (!ending || anything_under_way(end_ns)) {
		ending = true_ns() > end_ns;
		for (unsigned n = 0; n < swarm.count; n++) {
			if (n % 64 == 0)
				take_what_came(0);
			service(n, ending);
		}
		take_what_came(1);
	}
}

static void report_tunnels(void)
{
	FILE *file = fopen(swarm.tunnels, "w");

	if (!file)
		die(swarm.tunnels);
	for (unsigned n = 0; n < swarm.count; n++) {
		const struct end *end = &swarm.ends[n];

		fprintf(file,
			"%u sent %" PRIu64 " received %" PRIu64 " late %" PRIu64
			" lost %u delivered %" PRIu64 " sealed %" PRIu64 " opened %u sessions %u\n",
			n, end->packet.serial, end->received, end->late, end->missed_count,
			end->delivered, end->sealed, end->node->counts.opened,
			end->node->counts.published);
	}
	if (fclose(file) != 0)
		die(swarm.tunnels);
}

static void report(void)
{
	uint64_t sent = 0, received = 0, late = 0, lost = 0, with_sessions = 0, sealed = 0;
	uint64_t opened = 0, initiations = 0, responses = 0, published = 0, dropped = 0;
	uint64_t unknown = 0;

	for (unsigned n = 0; n < swarm.count; n++) {
		const struct end *end = &swarm.ends[n];
		const struct node_counts *counts = &end->node->counts;

		sent += end->packet.serial;
		received += end->received;
		late += end->late;
		lost += end->missed_count;
		for (unsigned i = 0; i < end->missed_count; i++) {
			with_sessions += end->missed[i].had_sessions;
			printf("lost: packet %" PRIu64 " of peer %u, sent after %" PRIu64 " ms%s\n",
				end->missed[i].serial, n, since_begin_ms(end->missed[i].sent_ns),
				end->missed[i].had_sessions ? ", though it had its sessions" : "");
		}
		sealed += end->sealed;
		opened += counts->opened;
		initiations += counts->initiations;
		responses += counts->responses;
		published += counts->published;
		dropped += counts->purged + counts->dropped;
		unknown += counts->unknown;
	}
	if (swarm.tunnels)
		report_tunnels();
	printf("sent %" PRIu64 " received %" PRIu64 " late %" PRIu64 " lost %" PRIu64
	       " lost_with_sessions %" PRIu64 " twice %" PRIu64 " sealed %" PRIu64
	       " opened %" PRIu64 " initiations %" PRIu64 " responses %" PRIu64 " sessions %" PRIu64
	       " given-up %" PRIu64 " unknown %" PRIu64 " refused %" PRIu64 " longest_us %" PRIu64
	       "\n",
		sent, received, late, lost, with_sessions, swarm.twice, sealed, opened, initiations,
		responses, published, dropped, unknown, swarm.refused, swarm.longest_ns / 1000);
}
