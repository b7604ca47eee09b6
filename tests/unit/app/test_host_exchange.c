/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host interfaces and the host exchange against the running kernel, in network namespaces of its
 * own without names. Needs root; else exits with 77, skipped.
 *
 * The worker is this test: it takes what comes in from the kernel out of in_ring and puts into
 * host_ring what is to go out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "app/host_exchange.h"
#include "app/hostif.h"
#include "app/udp_socket.h"
#include "base/bytes.h"
#include "frames.h"

#define TIMEOUT_S 10
#define RING_SIZE 1024

static struct rte_mempool *pool;
static struct dp *dp;
static struct host_exchange *hx;

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Waits until the condition holds; fails after a long while. */
#define WAIT_FOR(condition)                                                                        \
	do {                                                                                       \
		double until = now_s() + TIMEOUT_S;                                                \
		while (!(condition)) {                                                             \
			if (now_s() > until)                                                       \
				fail_msg("waited in vain for: %s", #condition);                    \
			sched_yield();                                                             \
		}                                                                                  \
	} while (0)

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (system(line) != 0)
		fail_msg("failed: %s", line);
}

static void new_namespace(void)
{
	if (unshare(CLONE_NEWNET) != 0)
		fail_msg("no network namespace: %s", strerror(errno));
	run("ip link set lo up");
}

static int this_namespace(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct rte_ring *make_ring(const char *kind, unsigned index)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%u", kind, index);
	struct rte_ring *ring = rte_ring_create(name, RING_SIZE, SOCKET_ID_ANY, 0);
	assert_non_null(ring);
	return ring;
}

static int set_up(void **unused)
{
	(void)unused;
	new_namespace();
	dp = calloc(1, sizeof(*dp));
	dp->workers = 2;
	for (unsigned i = 0; i < dp->workers; i++)
		dp->in_ring[i] = make_ring("in", i);
	for (unsigned i = 0; i < DP_NETDEVS; i++)
		dp->host_ring[i] = make_ring("host", i);
	return host_exchange_start(dp, pool, &hx);
}

static int tear_down(void **unused)
{
	struct rte_mbuf *m;

	(void)unused;
	host_exchange_stop(hx);
	for (unsigned i = 0; i < dp->workers; i++) {
		while (rte_ring_dequeue(dp->in_ring[i], (void **)&m) == 0)
			rte_pktmbuf_free(m);
		rte_ring_free(dp->in_ring[i]);
	}
	for (unsigned i = 0; i < DP_NETDEVS; i++)
		rte_ring_free(dp->host_ring[i]);
	free(dp);
	/* Nothing leaked. */
	return rte_mempool_full(pool) ? 0 : -1;
}

static struct host_counters counters_of(unsigned netdev)
{
	struct host_counters c;

	host_exchange_counters(hx, netdev, &c);
	return c;
}

static uint64_t drops_of(enum dp_drop_reason reason)
{
	return __atomic_load_n(&host_exchange_drops(hx)->count[reason], __ATOMIC_RELAXED);
}

/* The next packet that any worker would have. */
static struct rte_mbuf *next_in(void)
{
	struct rte_mbuf *m = NULL;

	WAIT_FOR(rte_ring_dequeue(dp->in_ring[0], (void **)&m) == 0 ||
		 rte_ring_dequeue(dp->in_ring[1], (void **)&m) == 0);
	return m;
}

static void to_host(unsigned netdev, struct rte_mbuf *m, enum dp_kind kind)
{
	*dp_mbuf(m) = (struct dp_mbuf){.kind = (uint8_t)kind, .port = DP_PORT_NONE};
	assert_int_equal(rte_ring_enqueue(dp->host_ring[netdev], m), 0);
}

static int udp_on(const char *address, uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	inet_pton(AF_INET, address, &addr.sin_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static ssize_t send_from(int fd, const char *address, uint16_t port, const void *data, size_t n)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, address, &addr.sin_addr);
	return sendto(fd, data, n, 0, (struct sockaddr *)&addr, sizeof(addr));
}

static ssize_t receive_on(int fd, void *buf, size_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, TIMEOUT_S * 1000) == 1 ? recv(fd, buf, size, 0) : -1;
}

/* --- Interfaces --- */

/* A number of the kernel's. */
static int conf_of(const char *path)
{
	FILE *file = fopen(path, "re");
	int value;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &value), 1);
	fclose(file);
	return value;
}

static void an_interface_is_what_was_asked_for(void **unused)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0x2a};
	struct hostif tap, tun, other;
	struct ifreq req = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)unused;
	assert_int_equal(hostif_create(&tap, HOSTIF_TAP, "outer0", mac, 1500), 0);
	run("echo 1 | tee /proc/sys/net/ipv4/conf/all/send_redirects >/proc/sys/net/ipv4/conf/"
	    "default/send_redirects");
	assert_int_equal(hostif_create(&tun, HOSTIF_TUN, "wg0", NULL, 1420), 0);
	assert_int_equal(conf_of("/proc/sys/net/ipv4/conf/wg0/send_redirects"), 0);
	assert_int_equal(conf_of("/proc/sys/net/ipv4/conf/all/send_redirects"), 0);
	assert_int_equal(hostif_create(&other, HOSTIF_TUN, "wg0", NULL, 1420), -EEXIST);
	assert_int_equal(hostif_create(&other, HOSTIF_TUN, "lo", NULL, 1420), -EEXIST);
	assert_int_equal(hostif_create(&other, HOSTIF_TUN, "", NULL, 1420), -EINVAL);
	assert_int_equal(
		hostif_create(&other, HOSTIF_TUN, "a_name_that_is_long", NULL, 1420), -EINVAL);
	assert_int_equal(tap.ifindex, if_nametoindex("outer0"));

	strcpy(req.ifr_name, "outer0");
	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &req), 0);
	assert_memory_equal(req.ifr_hwaddr.sa_data, mac, 6);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &req), 0);
	assert_false(req.ifr_flags & IFF_UP);
	strcpy(req.ifr_name, "wg0");
	assert_int_equal(ioctl(fd, SIOCGIFMTU, &req), 0);
	assert_int_equal(req.ifr_mtu, 1420);
	assert_int_equal(hostif_set_mtu(&tun, 8920), 0);
	assert_int_equal(ioctl(fd, SIOCGIFMTU, &req), 0);
	assert_int_equal(req.ifr_mtu, 8920);
	run("ip link set wg0 up");
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &req), 0);
	assert_true(req.ifr_flags & IFF_UP);
	assert_true(req.ifr_flags & IFF_POINTOPOINT);
	assert_true(req.ifr_flags & IFF_NOARP);

	hostif_destroy(&tap);
	hostif_destroy(&tun);
	assert_int_equal(if_nametoindex("outer0"), 0);
	assert_int_equal(if_nametoindex("wg0"), 0);
	close(fd);
}

/* --- Packets --- */

static const unsigned TUN0 = LIMIT_PORTS; /* dp_netdev_of_interface(0) */

static void make_tun(struct hostif *tun, unsigned interface, const char *name, const char *address)
{
	assert_int_equal(hostif_create(tun, HOSTIF_TUN, name, NULL, 1420), 0);
	run("ip addr add %s dev %s && ip link set %s up", address, name, name);
	host_exchange_attach_netdev(hx, dp_netdev_of_interface(interface), tun);
}

static void release(struct hostif *hostif, unsigned netdev)
{
	host_exchange_detach_netdev(hx, netdev);
	hostif_destroy(hostif);
}

/* Skips what the kernel sends of its own accord (IPv6 multicast). */
static struct rte_mbuf *next_ipv4_in(void)
{
	for (;;) {
		struct rte_mbuf *m = next_in();
		uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);
		if (dp_mbuf(m)->kind == DP_ROUTE ? p[0] >> 4 == 4 : load_be16(p + 12) == 0x800)
			return m;
		rte_pktmbuf_free(m);
	}
}

static void packets_of_a_tun_go_both_ways(void **unused)
{
	struct hostif tun;
	char text[64];

	(void)unused;
	make_tun(&tun, 0, "wg0", "10.77.0.1/24");
	int fd = udp_on("10.77.0.1", 1000);
	assert_int_equal(send_from(fd, "10.77.0.2", 2000, "hello", 5), 5);
	struct rte_mbuf *m = next_ipv4_in();
	uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *);
	assert_int_equal(dp_mbuf(m)->kind, DP_ROUTE);
	assert_int_equal(dp_mbuf(m)->interface, 0);
	assert_int_equal(m->data_len, 33);
	assert_true(frame_right(ip, m->data_len)); /* the kernel left its checksum open */
	assert_true(rte_pktmbuf_headroom(m) >= DP_SEAL_HEADROOM);
	assert_true(rte_pktmbuf_tailroom(m) >= DP_SEAL_TAILROOM);

	/* Back to where it came from: the sums stay right when both ends change places. */
	uint32_t src = load_le32(ip + 12), ports = load_le32(ip + 20);
	store_le32(ip + 12, load_le32(ip + 16));
	store_le32(ip + 16, src);
	store_le32(ip + 20, ports << 16 | ports >> 16);
	to_host(TUN0, m, DP_HOST_PACKET);
	assert_int_equal(receive_on(fd, text, sizeof(text)), 5);
	assert_memory_equal(text, "hello", 5);
	WAIT_FOR(counters_of(TUN0).tx_packets == 1);
	assert_int_equal(counters_of(TUN0).tx_frames, 1);
	close(fd);
	release(&tun, TUN0);
}

static void large_udp_is_cut(void **unused)
{
	struct hostif tun;
	static uint8_t data[10000];
	int size = 1000;

	(void)unused;
	make_tun(&tun, 0, "wg0", "10.77.0.1/24");
	int fd = udp_on("10.77.0.1", 1000);
	assert_int_equal(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	assert_int_equal(send_from(fd, "10.77.0.2", 2000, data, sizeof(data)), sizeof(data));
	for (unsigned i = 0; i < 10; i++) {
		struct rte_mbuf *m = next_ipv4_in();
		assert_int_equal(m->data_len, 1028);
		assert_true(frame_right(rte_pktmbuf_mtod(m, uint8_t *), m->data_len));
		rte_pktmbuf_free(m);
	}
	if (tun.uso)
		assert_true(counters_of(TUN0).rx_frames < counters_of(TUN0).rx_packets);
	close(fd);
	release(&tun, TUN0);
}

static void frames_of_a_tap_go_both_ways(void **unused)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0x2a};
	static const uint8_t neighbour[6] = {2, 0, 0, 0, 0, 0x2b};
	struct hostif tap;
	char text[64];

	(void)unused;
	assert_int_equal(hostif_create(&tap, HOSTIF_TAP, "outer0", mac, 1500), 0);
	host_exchange_attach_netdev(hx, dp_netdev_of_port(3), &tap);
	run("ip addr add 10.78.0.1/24 dev outer0 && ip link set outer0 up && "
	    "ip neigh add 10.78.0.2 lladdr 02:00:00:00:00:2b dev outer0");
	int fd = udp_on("10.78.0.1", 1000);
	assert_int_equal(send_from(fd, "10.78.0.2", 2000, "hello", 5), 5);
	struct rte_mbuf *m;
	for (m = next_ipv4_in(); m->data_len != 47; m = next_ipv4_in())
		rte_pktmbuf_free(m);
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	assert_int_equal(dp_mbuf(m)->kind, DP_TRANSMIT);
	assert_int_equal(dp_mbuf(m)->port, 3);
	assert_memory_equal(frame, neighbour, 6);
	assert_memory_equal(frame + 6, mac, 6);
	assert_true(frame_right(frame + 14, m->data_len - 14u));

	memcpy(frame, mac, 6);
	memcpy(frame + 6, neighbour, 6);
	uint32_t src = load_le32(frame + 26), ports = load_le32(frame + 34);
	store_le32(frame + 26, load_le32(frame + 30));
	store_le32(frame + 30, src);
	store_le32(frame + 34, ports << 16 | ports >> 16);
	to_host(dp_netdev_of_port(3), m, DP_HOST_FRAME);
	assert_int_equal(receive_on(fd, text, sizeof(text)), 5);
	close(fd);
	release(&tap, dp_netdev_of_port(3));
}

/* Whoever looks at this interface, as tcpdump does. */
static int look_at(const struct hostif *hostif)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)hostif->ifindex};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Not joined, as a run of TCP is for a TAP; and what the kernel has to say to them is not read. */
static void captured_frames_are_shown_as_they_are(void **unused)
{
	enum { FRAMES = 8 };
	struct frame_spec spec = frame_plain(false, false, 500);
	uint8_t frames[FRAMES][1024], seen[2048];
	struct rte_mbuf *mbufs[FRAMES];
	struct hostif capture;
	uint32_t len = 0;

	(void)unused;
	assert_int_equal(hostif_create(&capture, HOSTIF_CAPTURE, "capture0", NULL, 1500), 0);
	assert_false(hostif_is_up(&capture));
	run("ip addr add 10.78.0.1/24 dev capture0 && ip link set capture0 up");
	assert_true(hostif_is_up(&capture));
	assert_int_equal(system("ip -o link show capture0 | grep -q NOARP && "
				"! ip -o -6 addr show capture0 | grep -q fe80"),
		0);
	host_exchange_attach_netdev(hx, DP_NETDEV_CAPTURE, &capture);
	int fd = look_at(&capture);
	spec.ethernet = true;
	for (unsigned i = 0; i < FRAMES; i++) {
		len = frame_make(&spec, frames[i]);
		mbufs[i] = frame_mbuf(pool, frames[i], len);
		*dp_mbuf(mbufs[i]) = (struct dp_mbuf){.kind = DP_HOST_FRAME, .port = DP_PORT_NONE};
		spec.seq += spec.payload;
		spec.ip_id++;
	}
	assert_int_equal(rte_ring_enqueue_bulk(
				 dp->host_ring[DP_NETDEV_CAPTURE], (void **)mbufs, FRAMES, NULL),
		FRAMES);
	for (unsigned i = 0; i < FRAMES; i++) {
		assert_int_equal(receive_on(fd, seen, sizeof(seen)), len);
		assert_memory_equal(seen, frames[i], len);
	}
	int out = udp_on("10.78.0.1", 1000);
	assert_int_equal(send_from(out, "10.78.0.2", 2000, "hello", 5), 5);
	close(out);

	/* Nobody loses a packet by a copy that finds no taker. */
	run("ip link set capture0 down");
	to_host(DP_NETDEV_CAPTURE, frame_mbuf(pool, frames[0], len), DP_HOST_FRAME);
	WAIT_FOR(drops_of(DP_DROP_CAPTURE) == 1);
	assert_int_equal(counters_of(DP_NETDEV_CAPTURE).tx_down, 1);
	assert_int_equal(counters_of(DP_NETDEV_CAPTURE).rx_frames, 0);
	close(fd);
	release(&capture, DP_NETDEV_CAPTURE);
	assert_false(hostif_is_up(&capture));
}

static struct rte_mbuf *some_packet(void)
{
	struct frame_spec spec = frame_plain(false, true, 10);
	uint8_t bytes[100];

	return frame_mbuf(pool, bytes, frame_make(&spec, bytes));
}

static void packets_for_nobody_are_dropped_by_name(void **unused)
{
	struct hostif tun;

	(void)unused;
	to_host(TUN0, some_packet(), DP_HOST_PACKET);
	to_host(TUN0, some_packet(), DP_HOST_SOCKET);
	WAIT_FOR(drops_of(DP_DROP_INTERFACE_GONE) == 2);
	/* Down. */
	assert_int_equal(hostif_create(&tun, HOSTIF_TUN, "wg0", NULL, 1420), 0);
	host_exchange_attach_netdev(hx, TUN0, &tun);
	to_host(TUN0, some_packet(), DP_HOST_PACKET);
	WAIT_FOR(drops_of(DP_DROP_HOST_WRITE) == 1);
	assert_int_equal(counters_of(TUN0).tx_down, 1);
	/* Deleted by somebody else: one line in the log, and no more of it. */
	run("ip link del wg0");
	to_host(TUN0, some_packet(), DP_HOST_PACKET);
	WAIT_FOR(drops_of(DP_DROP_HOST_WRITE) == 2);
	release(&tun, TUN0);
	/* And a new one of that name at once. */
	assert_int_equal(hostif_create(&tun, HOSTIF_TUN, "wg0", NULL, 1420), 0);
	hostif_destroy(&tun);
}

/* One read that fails says nothing of the next: the interface is not given up for it. */
static void a_failed_read_is_not_the_end(void **unused)
{
	uint8_t good[sizeof(struct virtio_net_hdr_v1) + 40] = {0};
	struct hostif fake = {.kind = HOSTIF_TUN, .name = "fake"};
	int ends[2];

	(void)unused;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends), 0);
	fake.fd = ends[0];
	host_exchange_attach_netdev(hx, TUN0, &fake);
	/* Shorter than a virtio-net header: hostif_read() fails with another error than "too long".
	 */
	assert_int_equal(write(ends[1], "xyz", 3), 3);
	WAIT_FOR(counters_of(TUN0).rx_malformed == 1);
	good[sizeof(struct virtio_net_hdr_v1)] = 0x45;
	assert_int_equal(write(ends[1], good, sizeof(good)), sizeof(good));
	struct rte_mbuf *m = next_in();
	assert_int_equal(m->pkt_len, 40);
	rte_pktmbuf_free(m);
	host_exchange_detach_netdev(hx, TUN0);
	close(ends[0]);
	close(ends[1]);
}

/* No worker takes anything: nothing is lost while the kernel can hold it, all else goes on. */
static void full_workers_leave_packets_to_the_kernel(void **unused)
{
	enum { PACKETS = RING_SIZE + 200 };
	struct hostif tun, other;
	unsigned seen = 0;

	(void)unused;
	dp->workers = 1; /* before anything is attached, the thread does not look */
	make_tun(&tun, 0, "wg0", "10.77.0.1/24");
	make_tun(&other, 1, "wg1", "10.79.0.1/24");
	int fd = udp_on("10.77.0.1", 1000), to = udp_on("10.79.0.1", 5201);
	for (unsigned i = 0; i < PACKETS; i++) {
		uint32_t number = i;
		assert_int_equal(send_from(fd, "10.77.0.2", 2000, &number, 4), 4);
		/* Let the first thousand be read: the kernel itself holds 500. */
		if (i % 100 == 0 && i < RING_SIZE - 200)
			WAIT_FOR(rte_ring_count(dp->in_ring[0]) >= i);
	}
	/* The other interface works meanwhile. */
	struct frame_spec spec = frame_plain(false, true, 4);
	uint8_t bytes[100];
	uint32_t len = frame_make(&spec, bytes);
	store_be32(bytes + 16, 0x0a4f0001);
	store_be16(bytes + 10, 0);
	store_be16(bytes + 26, 0); /* no UDP checksum */
	uint32_t sum = 0;
	for (unsigned i = 0; i < 20; i += 2)
		sum += load_be16(bytes + i);
	store_be16(bytes + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
	to_host(TUN0 + 1, frame_mbuf(pool, bytes, len), DP_HOST_PACKET);
	WAIT_FOR(counters_of(TUN0 + 1).tx_packets == 1);
	assert_int_equal(receive_on(to, bytes, sizeof(bytes)), 4);

	while (seen < PACKETS) {
		struct rte_mbuf *m = next_ipv4_in();
		if (dp_mbuf(m)->interface == 0) {
			assert_int_equal(
				load_le32(rte_pktmbuf_mtod_offset(m, uint8_t *, 28)), seen);
			seen++;
		}
		rte_pktmbuf_free(m);
	}
	assert_int_equal(drops_of(DP_DROP_WORKER_FULL), 0);
	close(fd);
	close(to);
	release(&tun, TUN0);
	release(&other, TUN0 + 1);
	dp->workers = 2;
}

static void sockets_are_served(void **unused)
{
	struct udp_socket a;
	struct wg_path path = {.local = {.family = IP_V4, .bytes = {127, 0, 0, 1}}};

	(void)unused;
	assert_int_equal(udp_socket_open(&a, 0, 0), 0);
	path.remote = (struct endpoint){.addr = path.local, .port = a.port};
	host_exchange_attach_socket(hx, 5, &a);
	assert_int_equal(udp_socket_send(&a, &path, 0x88, "hello", 5), 0);
	struct rte_mbuf *m = next_in();
	assert_int_equal(dp_mbuf(m)->kind, DP_OUTER);
	assert_int_equal(dp_mbuf(m)->interface, 5);
	assert_int_equal(m->data_len, 47);
	/* The same frame out through the socket comes in again. */
	uint8_t header_len = dp_mbuf(m)->header_len;
	*dp_mbuf(m) =
		(struct dp_mbuf){.kind = DP_HOST_SOCKET, .interface = 5, .header_len = header_len};
	assert_int_equal(rte_ring_enqueue(dp->host_ring[TUN0 + 5], m), 0);
	m = next_in();
	assert_int_equal(dp_mbuf(m)->kind, DP_OUTER);
	rte_pktmbuf_free(m);
	assert_int_equal(counters_of(TUN0 + 5).socket_rx_packets, 2);
	WAIT_FOR(counters_of(TUN0 + 5).socket_tx_packets == 1);
	host_exchange_detach_socket(hx, 5);
	udp_socket_close(&a);
}

/* --- The cable: two TUNs or TAPs in two namespaces, and the test as the wire between them --- */

static _Atomic bool wire_stop;

static void *wire(void *unused)
{
	(void)unused;
	while (!atomic_load(&wire_stop)) {
		unsigned total = 0;
		for (unsigned w = 0; w < 2; w++) {
			struct rte_mbuf *m[64];
			unsigned n = rte_ring_dequeue_burst(dp->in_ring[w], (void **)m, 64, NULL);
			for (unsigned i = 0; i < n; i++) {
				unsigned to = dp_mbuf(m[i])->kind == DP_ROUTE
						      ? TUN0 + !dp_mbuf(m[i])->interface
						      : !dp_mbuf(m[i])->port;
				dp_mbuf(m[i])->kind = to < TUN0 ? DP_HOST_FRAME : DP_HOST_PACKET;
				if (rte_ring_enqueue(dp->host_ring[to], m[i]) != 0)
					rte_pktmbuf_free(m[i]);
			}
			total += n;
		}
		if (total == 0)
			usleep(10);
	}
	return NULL;
}

static pid_t start_server(int namespace)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is ended leaves none behind */
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		if (setns(namespace, CLONE_NEWNET) == 0)
			execlp("iperf3", "iperf3", "-s", (char *)NULL);
		_exit(1);
	}
	return pid;
}

/* Gbit/s as the receiver saw it; 0: no connection yet. */
static double run_client(const char *arguments)
{
	char line[256], out[256] = "";

	snprintf(line, sizeof(line),
		"iperf3 -f g -t 2 %s 2>/dev/null | grep receiver | grep -o '[0-9.]* Gbits/sec' | "
		"tail -1",
		arguments);
	FILE *f = popen(line, "r");
	assert_non_null(f);
	if (fgets(out, sizeof(out), f) == NULL)
		out[0] = '\0';
	pclose(f);
	return atof(out);
}

/* CPU seconds that the host exchange has used. */
static double exchange_cpu_s(void)
{
	double ticks = 0;
	FILE *f = popen(
		"cat /proc/$PPID/task/*/stat | grep dpdk-wg-host | awk '{print $14 + $15}'", "r");

	assert_non_null(f);
	if (fscanf(f, "%lf", &ticks) != 1)
		ticks = 0;
	pclose(f);
	return ticks / (double)sysconf(_SC_CLK_TCK);
}

/* Returns how many packets went up in a write. */
static double measure(unsigned netdev, const char *arguments)
{
	struct host_counters before = counters_of(netdev), after;
	double rate = 0, until = now_s() + TIMEOUT_S, cpu_s = exchange_cpu_s();

	while (rate == 0 && now_s() < until)
		rate = run_client(arguments);
	cpu_s = exchange_cpu_s() - cpu_s;
	assert_true(rate > 0);
	after = counters_of(netdev);
	double read = (double)(after.rx_packets - before.rx_packets);
	double written = (double)(after.tx_packets - before.tx_packets);
	double a_write = written / (double)(after.tx_frames - before.tx_frames);
	print_message("iperf3 %-24s %5.2f Gbit/s; %.1f packets a read, %.1f a write, "
		      "%.0f ns of CPU a packet there and back\n",
		arguments, rate, read / (double)(after.rx_frames - before.rx_frames), a_write,
		cpu_s * 1e9 / (read + written));
	return a_write;
}

/* One end of the cable, in the present namespace. */
static void make_end(struct hostif *out, enum hostif_kind kind, unsigned number)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)number};

	assert_int_equal(hostif_create(out, kind, "end", kind == HOSTIF_TAP ? mac : NULL, 1420), 0);
	run("ip addr add 10.77.0.%u/24 dev end && ip addr add fd77::%u/64 dev end nodad && "
	    "ip link set end up",
		number + 1, number + 1);
	host_exchange_attach_netdev(hx, kind == HOSTIF_TAP ? number : TUN0 + number, out);
}

static void tcp_through_a_cable(enum hostif_kind kind)
{
	unsigned first = kind == HOSTIF_TAP ? 0 : TUN0;
	struct hostif a, b;
	pthread_t thread;

	if (system("iperf3 --version >/dev/null 2>&1") != 0)
		skip();
	make_end(&a, kind, 0);
	int namespace = this_namespace();
	new_namespace();
	make_end(&b, kind, 1);
	atomic_store(&wire_stop, false);
	assert_int_equal(pthread_create(&thread, NULL, wire, NULL), 0);

	run("ping -c 3 -i 0.05 -W 5 10.77.0.1 >/dev/null && "
	    "ping -c 3 -i 0.05 -W 5 -s 8000 10.77.0.1 >/dev/null && "
	    "ping -c 3 -i 0.05 -W 5 fd77::1 >/dev/null");
	pid_t server = start_server(namespace);
	assert_true(measure(first, "-c 10.77.0.1") > 2);
	(void)measure(first, "-c fd77::1 -R");
	assert_true(measure(first, "-c fd77::1 -P 4") > 2);
	(void)measure(first, "-c 10.77.0.1 -u -b 200M");
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);

	atomic_store(&wire_stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(counters_of(first).rx_malformed, 0);
	assert_int_equal(counters_of(first + 1).rx_malformed, 0);
	assert_int_equal(counters_of(first).tx_refused, 0);
	assert_int_equal(counters_of(first + 1).tx_refused, 0);
	close(namespace);
	release(&a, first);
	release(&b, first + 1);
}

static void tcp_through_a_cable_of_two_tuns(void **unused)
{
	(void)unused;
	tcp_through_a_cable(HOSTIF_TUN);
}

static void tcp_through_a_cable_of_two_taps(void **unused)
{
	(void)unused;
	tcp_through_a_cable(HOSTIF_TAP);
}

static bool wake_up_late;
static int waking_fd;

int __real_eventfd_write(int fd, eventfd_t value);
int __wrap_eventfd_write(int fd, eventfd_t value);

/* A wake-up, if so told after the exchange has found and done by itself what it is for. */
int __wrap_eventfd_write(int fd, eventfd_t value)
{
	if (wake_up_late) {
		wake_up_late = false;
		waking_fd = fd;
		/* It drops these in rounds, of which the second one begins after the command came.
		 */
		for (uint64_t n = 1; n <= 2; n++) {
			to_host(TUN0 + 1, some_packet(), DP_HOST_PACKET);
			WAIT_FOR(drops_of(DP_DROP_INTERFACE_GONE) == n);
		}
	}
	return __real_eventfd_write(fd, value);
}

/* Control is put aside between a command and its wake-up: heard late, that is heard all the same.
 */
static void a_late_wake_up_is_heard(void **unused)
{
	struct pollfd wake = {.events = POLLIN};
	struct hostif tun;

	(void)unused;
	assert_int_equal(hostif_create(&tun, HOSTIF_TUN, "wg0", NULL, 1420), 0);
	wake_up_late = true;
	host_exchange_attach_netdev(hx, TUN0, &tun);
	wake.fd = waking_fd;
	/* Else no sleep of it would last. */
	WAIT_FOR(poll(&wake, 1, 0) == 0);
	release(&tun, TUN0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_EXCHANGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
		WITH_EXCHANGE(an_interface_is_what_was_asked_for),
		WITH_EXCHANGE(packets_of_a_tun_go_both_ways),
		WITH_EXCHANGE(large_udp_is_cut),
		WITH_EXCHANGE(frames_of_a_tap_go_both_ways),
		WITH_EXCHANGE(captured_frames_are_shown_as_they_are),
		WITH_EXCHANGE(packets_for_nobody_are_dropped_by_name),
		WITH_EXCHANGE(a_failed_read_is_not_the_end),
		WITH_EXCHANGE(full_workers_leave_packets_to_the_kernel),
		WITH_EXCHANGE(sockets_are_served),
		WITH_EXCHANGE(a_late_wake_up_is_heard),
		WITH_EXCHANGE(tcp_through_a_cable_of_two_tuns),
		WITH_EXCHANGE(tcp_through_a_cable_of_two_taps),
	};

	if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) != 0) {
		printf("needs root and /dev/net/tun\n");
		return 77;
	}
	pool = frames_set_up("host_exchange", 16383);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
