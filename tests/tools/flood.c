/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sends frames as fast as one CPU can, or at a given rate: copies of given ones, as they are or
 * damaged, from their own source or from a new one each. What is random comes from the seed.
 *
 * Usage: flood NETDEV FRAMES [seed=N] [seconds=S] [rate=FRAMES_A_SECOND] [spoof] [mutate]
 * [truncate]
 *
 *   FRAMES    a file of Ethernet frames with IPv4 or IPv6 and UDP, a 16-bit length before each
 *   spoof     source addresses out of 198.18.0.0/15 or 2001:db8:5f00::/40, any port
 *   mutate    one to four changes to the datagram: bits, bytes, length, type, a part of another
 *             frame's; in one frame of 32 to the headers outside it, too
 *   truncate  the datagram cut to each length in turn, from none to all of it
 *
 * Lengths and checksums of the headers are made right after all that. It ends after the seconds, or
 * with SIGTERM, and prints how many frames the kernel took and how many it refused.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define FRAMES_MAX  8192
#define FRAME_BYTES 1514
#define BURST	    64
#define NS_PER_SEC  1000000000ull

struct frame {
	size_t len;
	uint8_t data[FRAME_BYTES];
};

static struct {
	uint64_t random;
	uint64_t seconds, rate;
	bool spoof, mutate, truncate;
	struct frame *frames;
	unsigned count;
	uint64_t turn, sent, refused;
} flood = {.random = 1, .seconds = 1};

static volatile sig_atomic_t ended;

static void on_signal(int number);
static int read_arguments(int argc, char **argv);
static int read_frames(const char *path);
static int open_socket(const char *netdev);
static void run(int sock);
static void make_frame(struct frame *frame);

int main(int argc, char **argv)
{
	int sock;

	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	if (argc < 3 || read_arguments(argc - 3, argv + 3) != 0) {
		fprintf(stderr, "usage: flood NETDEV FRAMES [seed=N] [seconds=S] [rate=N] [spoof] "
				"[mutate] [truncate]\n");
		return 2;
	}
	if (read_frames(argv[2]) != 0) {
		fprintf(stderr, "flood: %s: no frames\n", argv[2]);
		return 1;
	}
	sock = open_socket(argv[1]);
	if (sock < 0) {
		fprintf(stderr, "flood: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	printf("begins\n");
	fflush(stdout);
	run(sock);
	printf("sent %" PRIu64 " refused %" PRIu64 "\n", flood.sent, flood.refused);
	return 0;
}

static int read_arguments(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (sscanf(argv[i], "seed=%" SCNu64, &flood.random) == 1 ||
			sscanf(argv[i], "seconds=%" SCNu64, &flood.seconds) == 1 ||
			sscanf(argv[i], "rate=%" SCNu64, &flood.rate) == 1)
			continue;
		if (strcmp(argv[i], "spoof") == 0)
			flood.spoof = true;
		else if (strcmp(argv[i], "mutate") == 0)
			flood.mutate = true;
		else if (strcmp(argv[i], "truncate") == 0)
			flood.truncate = true;
		else
			return -1;
	}
	return 0;
}

static int read_frames(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t len[2];

	flood.frames = calloc(FRAMES_MAX, sizeof(*flood.frames));
	while (file && flood.frames && flood.count < FRAMES_MAX && fread(len, 2, 1, file) == 1) {
		struct frame *frame = &flood.frames[flood.count];

		frame->len = (size_t)len[0] << 8 | len[1];
		if (frame->len > FRAME_BYTES ||
			fread(frame->data, 1, frame->len, file) != frame->len)
			break;
		flood.count++;
	}
	if (file)
		fclose(file);
	return flood.count > 0 ? 0 : -1;
}

static int open_socket(const char *netdev)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(netdev),
	};
	int bypass = 1, sock = socket(AF_PACKET, SOCK_RAW, 0);

	if (sock < 0 || to.sll_ifindex == 0)
		return -1;
	(void)setsockopt(sock, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass));
	return bind(sock, (struct sockaddr *)&to, sizeof(to)) == 0 ? sock : -1;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

static void send_burst(int sock)
{
	static struct frame frames[BURST];
	static struct iovec parts[BURST];
	static struct mmsghdr messages[BURST];
	unsigned done = 0;

	for (unsigned i = 0; i < BURST; i++) {
		make_frame(&frames[i]);
		parts[i] = (struct iovec){frames[i].data, frames[i].len};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	while (done < BURST && !ended) {
		int n = sendmmsg(sock, messages + done, BURST - done, 0);

		if (n > 0) {
			done += (unsigned)n;
			flood.sent += (unsigned)n;
		} else {
			done++;
			flood.refused++;
		}
	}
}

static void run(int sock)
{
	uint64_t begin = now_ns(), now = begin;

	while (!ended && now - begin < flood.seconds * NS_PER_SEC) {
		uint64_t due =
			flood.rate ? (flood.sent + flood.refused) * NS_PER_SEC / flood.rate : 0;

		if (now - begin >= due) {
			send_burst(sock);
		} else {
			struct timespec rest = {.tv_nsec = (long)(due - (now - begin)) % 1000000};

			nanosleep(&rest, NULL);
		}
		now = now_ns();
	}
}

/* --- Frames --- */

/* splitmix64 */
static uint64_t draw(void)
{
	uint64_t z = flood.random += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static size_t below(size_t bound)
{
	return bound ? draw() % bound : 0;
}

static bool is_ipv6(const struct frame *frame)
{
	return frame->data[12] == 0x86;
}

/* Where the datagram begins. */
static size_t datagram_at(const struct frame *frame)
{
	return ETH_HLEN + (is_ipv6(frame) ? sizeof(struct ip6_hdr) : sizeof(struct iphdr)) +
	       sizeof(struct udphdr);
}

static void splice(struct frame *frame, size_t at)
{
	const struct frame *other = &flood.frames[below(flood.count)];
	size_t from = datagram_at(other) + below(other->len - datagram_at(other));
	size_t len = below(other->len - from + 1);

	if (at + len > FRAME_BYTES)
		len = FRAME_BYTES - at;
	memcpy(frame->data + at, other->data + from, len);
	if (at + len > frame->len)
		frame->len = at + len;
}

static void mutate_once(struct frame *frame)
{
	size_t begin = datagram_at(frame), len = frame->len - begin, at = begin + below(len);

	switch (below(6)) {
	case 0:
		frame->data[at] ^= (uint8_t)(1u << below(8));
		break;
	case 1:
		frame->data[at] = (uint8_t)draw();
		break;
	case 2:
		frame->len = begin + below(len + 1);
		break;
	case 3: { /* longer, by what lay behind it or by noise */
		size_t more = below(FRAME_BYTES - frame->len + 1);
		for (size_t i = 0; i < more; i++)
			frame->data[frame->len + i] = (uint8_t)draw();
		frame->len += more;
		break;
	}
	case 4: /* another type, or reserved bits */
		frame->data[begin + below(4)] = (uint8_t)below(6);
		break;
	default:
		splice(frame, at);
	}
}

static void mutate(struct frame *frame)
{
	size_t changes = 1 + below(4);

	for (size_t i = 0; i < changes; i++)
		mutate_once(frame);
}

static void new_source(struct frame *frame)
{
	uint64_t random = draw();
	uint16_t port = (uint16_t)(random >> 48);

	if (is_ipv6(frame)) {
		static const uint8_t prefix[] = {0x20, 0x01, 0x0d, 0xb8, 0x5f};
		struct ip6_hdr *ip = (struct ip6_hdr *)(frame->data + ETH_HLEN);

		memcpy(ip->ip6_src.s6_addr, prefix, sizeof(prefix));
		memcpy(ip->ip6_src.s6_addr + sizeof(prefix), &random, sizeof(random));
	} else {
		uint32_t address = htonl(0xc6120000u | (uint32_t)(random & 0x1ffff));

		memcpy(frame->data + ETH_HLEN + offsetof(struct iphdr, saddr), &address, 4);
	}
	memcpy(frame->data + datagram_at(frame) - sizeof(struct udphdr), &port, sizeof(port));
}

static uint32_t sum(uint32_t value, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		value += (uint32_t)data[i] << 8 | data[i + 1];
	return len % 2 ? value + ((uint32_t)data[len - 1] << 8) : value;
}

static uint16_t fold(uint32_t value)
{
	while (value >> 16)
		value = (value & 0xffff) + (value >> 16);
	return htons((uint16_t)~value);
}

static void finish_headers(struct frame *frame)
{
	uint8_t *ip = frame->data + ETH_HLEN;
	uint16_t udp_len = (uint16_t)(frame->len - datagram_at(frame) + sizeof(struct udphdr));
	struct udphdr *udp = (struct udphdr *)(frame->data + datagram_at(frame)) - 1;

	udp->len = htons(udp_len);
	udp->check = 0;
	if (is_ipv6(frame)) {
		((struct ip6_hdr *)ip)->ip6_plen = htons(udp_len);
		uint32_t pseudo = sum(udp_len + IPPROTO_UDP, ip + 8, 32);
		udp->check = fold(sum(pseudo, (const uint8_t *)udp, udp_len));
		if (udp->check == 0)
			udp->check = 0xffff;
	} else {
		struct iphdr *v4 = (struct iphdr *)ip;
		v4->tot_len = htons((uint16_t)(sizeof(*v4) + udp_len));
		v4->check = 0;
		v4->check = fold(sum(0, ip, sizeof(*v4)));
	}
}

/* Only what is inside the addresses' headers: the frame still reaches its port. */
static void break_headers(struct frame *frame)
{
	size_t at = 12 + below(datagram_at(frame) - 12);

	frame->data[at] = (uint8_t)draw();
	if (below(2))
		frame->len = 14 + below(frame->len - 13);
}

static void make_frame(struct frame *frame)
{
	const struct frame *source;

	if (flood.truncate) {
		static size_t keep;
		source = &flood.frames[flood.turn % flood.count];
		*frame = *source;
		if (datagram_at(source) + keep < source->len)
			frame->len = datagram_at(source) + keep;
		if (++flood.turn % flood.count == 0)
			keep = (keep + 1) % (FRAME_BYTES - datagram_at(source) + 1);
	} else {
		source = &flood.frames[flood.mutate ? below(flood.count)
						    : flood.turn++ % flood.count];
		*frame = *source;
	}
	if (flood.mutate)
		mutate(frame);
	if (flood.spoof)
		new_source(frame);
	finish_headers(frame);
	if (flood.mutate && below(32) == 0)
		break_headers(frame);
}
