/* SPDX-License-Identifier: BSD-3-Clause */
/* On the loopback interface: a pair of our sockets, and plain ones at the other end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_mbuf.h>

#include "app/udp_socket.h"
#include "base/bytes.h"
#include "datapath/drops.h"
#include "datapath/mbuf.h"
#include "frames.h"
#include "net/outer.h"

#define TIMEOUT_MS 10000

/* What a buffer of the pool takes. */
#define BUFFER_BYTES 2048

static struct rte_mempool *pool;
static struct dp_drops drops;
static struct udp_socket a, b;

static struct ip_addr address(const char *text)
{
	struct ip_addr addr;

	assert_true(ip_addr_parse(text, &addr));
	return addr;
}

static bool have_ipv6(void)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	bool have = fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

	if (fd >= 0)
		close(fd);
	return have;
}

static struct wg_path path_to(const struct udp_socket *socket, const char *from, const char *to)
{
	struct wg_path path = {.remote = {.addr = address(to), .port = socket->port}};

	if (from != NULL)
		path.local = address(from);
	return path;
}

static void wait_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, TIMEOUT_MS), 1);
}

static struct rte_mbuf *receive_one(const struct udp_socket *socket, enum ip_family family)
{
	struct rte_mbuf *mbufs[UDP_SOCKET_BURST];
	bool more;

	wait_readable(family == IP_V4 ? socket->fd_ipv4 : socket->fd_ipv6);
	assert_int_equal(udp_socket_receive(socket, family, pool, mbufs, &drops, &more), 1);
	assert_false(more);
	return mbufs[0];
}

/* The frame is what a port would have received: addresses, ports, traffic class, payload, sums. */
static void assert_frame(struct rte_mbuf *m, const struct wg_path *path, uint16_t src_port,
	uint8_t traffic_class, const void *payload, size_t len)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	size_t n = path->remote.addr.family == IP_V4 ? 4 : 16;
	struct outer outer = {0};

	assert_int_equal(outer_classify(frame, m->data_len, &outer), OUTER_UDP);
	assert_int_equal(outer.family, path->remote.addr.family);
	assert_int_equal(outer.payload_len, len);
	assert_int_equal(m->data_len, outer.payload_offset + len);
	assert_memory_equal(frame + outer.payload_offset, payload, len);
	assert_memory_equal(outer.src, path->local.bytes, n);
	assert_memory_equal(outer.dst, path->remote.addr.bytes, n);
	assert_int_equal(outer.src_port_be, htons(src_port));
	assert_int_equal(outer.dst_port_be, htons(path->remote.port));
	assert_int_equal(outer.traffic_class, traffic_class);
	assert_true(frame_right(frame + 14, (uint32_t)m->data_len - 14));
	assert_int_equal(dp_mbuf(m)->kind, DP_OUTER);
	assert_int_equal(dp_mbuf(m)->port, DP_PORT_NONE);
	assert_int_equal(dp_mbuf(m)->header_len, outer.payload_offset);
}

static int open_pair(void **unused)
{
	(void)unused;
	memset(&drops, 0, sizeof(drops));
	return udp_socket_open(&a, 0, 0) || udp_socket_open(&b, 0, 0);
}

static int close_pair(void **unused)
{
	(void)unused;
	udp_socket_close(&a);
	udp_socket_close(&b);
	return 0;
}

static void a_chosen_port_is_told_and_taken(void **unused)
{
	struct udp_socket other;

	(void)unused;
	assert_int_not_equal(a.port, 0);
	assert_int_not_equal(a.port, b.port);
	assert_int_equal(udp_socket_open(&other, a.port, 0), -EADDRINUSE);
	assert_int_equal(other.fd_ipv4, -1);
	uint16_t port = a.port;
	udp_socket_close(&a);
	assert_int_equal(udp_socket_open(&a, port, 0), 0);
	assert_int_equal(a.port, port);
}

static void a_mark_is_set(void **unused)
{
	int mark = 0;
	socklen_t len = sizeof(mark);

	(void)unused;
	if (geteuid() != 0)
		skip();
	assert_int_equal(udp_socket_set_mark(&a, 0x1234), 0);
	assert_int_equal(getsockopt(a.fd_ipv4, SOL_SOCKET, SO_MARK, &mark, &len), 0);
	assert_int_equal(mark, 0x1234);
}

static void datagrams_arrive_as_frames(void **unused)
{
	static const struct {
		enum ip_family family;
		const char *from, *to;
	} cases[] = {{IP_V4, "127.0.0.2", "127.0.0.3"}, {IP_V6, "::1", "::1"}};
	static const uint8_t traffic_classes[] = {0, 0x88, 0x02, 0x03, 0x01};

	(void)unused;
	for (unsigned i = 0; i < (have_ipv6() ? 2 : 1); i++) {
		struct wg_path path = path_to(&b, cases[i].from, cases[i].to);
		for (unsigned k = 0; k < sizeof(traffic_classes); k++) {
			char text[150];
			memset(text, 'a' + (int)k, sizeof(text));
			assert_int_equal(udp_socket_send(&a, &path, traffic_classes[k], text,
						 sizeof(text) - k),
				0);
			struct rte_mbuf *m = receive_one(&b, cases[i].family);
			assert_frame(m, &path, a.port, traffic_classes[k], text, sizeof(text) - k);
			rte_pktmbuf_free(m);
		}
	}
}

static void an_unusable_source_address_is_let_go(void **unused)
{
	(void)unused;
	struct wg_path path = path_to(&b, "192.0.2.77", "127.0.0.1");
	assert_int_equal(udp_socket_send(&a, &path, 0, "x", 1), 0);
	struct rte_mbuf *m = receive_one(&b, IP_V4);
	path.local = address("127.0.0.1");
	assert_frame(m, &path, a.port, 0, "x", 1);
	rte_pktmbuf_free(m);

	struct wg_path nowhere = {.remote = {.port = 1}};
	assert_int_equal(udp_socket_send(&a, &nowhere, 0, "x", 1), -EDESTADDRREQ);
}

static void without_our_address_it_is_dropped(void **unused)
{
	struct wg_path path = path_to(&b, NULL, "127.0.0.1");
	struct rte_mbuf *mbufs[UDP_SOCKET_BURST];
	int off = 0, on = 1;
	bool more;

	(void)unused;
	assert_int_equal(setsockopt(b.fd_ipv4, IPPROTO_IP, IP_PKTINFO, &off, sizeof(off)), 0);
	assert_int_equal(udp_socket_send(&a, &path, 0, "x", 1), 0);
	wait_readable(b.fd_ipv4);
	uint64_t no_room = drops.count[DP_DROP_NO_ROOM];
	assert_int_equal(udp_socket_receive(&b, IP_V4, pool, mbufs, &drops, &more), 0);
	assert_int_equal(drops.count[DP_DROP_HOST_RECEIVE], 1);
	assert_int_equal(drops.count[DP_DROP_NO_ROOM], no_room);
	assert_int_equal(setsockopt(b.fd_ipv4, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)), 0);
}

/* A byte more than fits, and the largest that there are: dropped, between others that just fit. */
static void what_no_buffer_takes_is_dropped(void **unused)
{
	static const struct {
		enum ip_family family;
		const char *addr;
		uint16_t sizes[2];
	} cases[] = {{IP_V4, "127.0.0.1", {BUFFER_BYTES + 1, 65507}},
		{IP_V6, "::1", {BUFFER_BYTES + 1, 65527}}};
	static uint8_t data[65527];
	struct rte_mbuf *mbufs[UDP_SOCKET_BURST];
	bool more;
	unsigned before = rte_mempool_avail_count(pool);

	(void)unused;
	for (unsigned i = 0; i < (have_ipv6() ? 2 : 1); i++) {
		struct wg_path path = path_to(&b, cases[i].addr, cases[i].addr);
		memset(&drops, 0, sizeof(drops));
		for (unsigned k = 0; k < UDP_SOCKET_BURST; k++) {
			data[0] = (uint8_t)k;
			assert_int_equal(udp_socket_send(&a, &path, 0, data,
						 k % 2 ? BUFFER_BYTES : cases[i].sizes[k / 2 % 2]),
				0);
		}
		wait_readable(cases[i].family == IP_V4 ? b.fd_ipv4 : b.fd_ipv6);
		assert_int_equal(
			udp_socket_receive(&b, cases[i].family, pool, mbufs, &drops, &more),
			UDP_SOCKET_BURST / 2);
		assert_true(more);
		assert_int_equal(drops.count[DP_DROP_NO_ROOM], UDP_SOCKET_BURST / 2);
		for (unsigned k = 0; k < UDP_SOCKET_BURST / 2; k++) {
			data[0] = (uint8_t)(2 * k + 1);
			assert_frame(mbufs[k], &path, a.port, 0, data, BUFFER_BYTES);
		}
		rte_pktmbuf_free_bulk(mbufs, UDP_SOCKET_BURST / 2);
	}
	assert_int_equal(rte_mempool_avail_count(pool), before);
}

static struct rte_mbuf *wire_frame(const struct wg_path *path, const void *data, uint16_t len)
{
	static const uint8_t macs[12];
	struct endpoint src = {.addr = path->local, .port = a.port};
	uint8_t header[OUTER_HEADER_MAX];
	unsigned header_len = outer_prepare(header, macs, &src, &path->remote, 0);
	struct rte_mbuf *m = frame_mbuf(pool, data, len);

	outer_finish(header, header_len, len, 2, 0);
	memcpy(rte_pktmbuf_prepend(m, (uint16_t)header_len), header, header_len);
	*dp_mbuf(m) = (struct dp_mbuf){.kind = DP_HOST_SOCKET, .header_len = (uint8_t)header_len};
	return m;
}

/* Many at once, of both families, with some among them that cannot be sent. */
static void frames_are_sent_as_datagrams(void **unused)
{
	enum { FRAMES = 100 };
	struct rte_mbuf *mbufs[FRAMES], *received[UDP_SOCKET_BURST];
	unsigned before = rte_mempool_avail_count(pool), bad = 0, got[2] = {0, 0};
	unsigned families = have_ipv6() ? 2 : 1;

	(void)unused;
	for (unsigned i = 0; i < FRAMES; i++) {
		struct wg_path path = i % 2 && families == 2
					      ? path_to(&b, "::1", "::1")
					      : path_to(&b, "127.0.0.5", "127.0.0.6");
		uint8_t number = (uint8_t)i;
		/* The kernel sends nothing to port 0. */
		if (i % 10 == 3)
			path.remote.port = 0, bad++;
		mbufs[i] = wire_frame(&path, &number, 1);
		if (i % 10 == 7)
			dp_mbuf(mbufs[i])->header_len = 41, bad++;
	}
	assert_int_equal(udp_socket_send_frames(&a, mbufs, FRAMES, &drops), FRAMES - bad);
	assert_int_equal(drops.count[DP_DROP_HOST_SEND], bad);
	for (unsigned f = 0; f < families; f++) {
		int last = -1;
		bool more = true;
		while (more) {
			unsigned n = udp_socket_receive(
				&b, f ? IP_V6 : IP_V4, pool, received, &drops, &more);
			for (unsigned i = 0; i < n; i++) {
				struct wg_path path = f ? path_to(&b, "::1", "::1")
							: path_to(&b, "127.0.0.5", "127.0.0.6");
				uint8_t number = *rte_pktmbuf_mtod_offset(
					received[i], uint8_t *, f ? 62 : 42);
				assert_frame(received[i], &path, a.port, 2, &number, 1);
				assert_true(number > last);
				last = number;
			}
			got[f] += n;
			rte_pktmbuf_free_bulk(received, n);
		}
	}
	assert_int_equal(got[0] + got[1], FRAMES - bad);
	assert_int_equal(rte_mempool_avail_count(pool), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
		WITH_PAIR(a_chosen_port_is_told_and_taken),
		WITH_PAIR(a_mark_is_set),
		WITH_PAIR(datagrams_arrive_as_frames),
		WITH_PAIR(an_unusable_source_address_is_let_go),
		WITH_PAIR(without_our_address_it_is_dropped),
		WITH_PAIR(what_no_buffer_takes_is_dropped),
		WITH_PAIR(frames_are_sent_as_datagrams),
	};

	pool = frames_set_up("udp_socket", 1023);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
