/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ICMP errors of control: who gets them, and how many of them leave. Without a limit any host could
 * have the gateway flood another by packets in its name. What stands around is made here, sockets
 * too.
 */
#include "app/icmp_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <rte_mbuf.h>

#include "app/gateway.h"
#include "app/interface.h"
#include "app/log.h"
#include "base/bytes.h"
#include "base/units.h"

static struct gateway gateway;
static struct interface interface = {.gateway = &gateway};
static struct wg_peer *owner; /* of any address */
static uint64_t now_ns = 1000 * NS_PER_SEC;
static int fds[2] = {-1, -1}; /* of IPv4 and IPv6 */
static unsigned sent, dropped;
static struct {
	struct sockaddr_in6 to; /* or one of IPv4 */
	uint8_t type, code;
	size_t len;
} last;

/* --- What icmp_reply.c uses --- */

struct wg_peer *interface_route(const struct interface *in, const uint8_t *ip)
{
	(void)ip;
	assert_ptr_equal(in, &interface);
	return owner;
}

void dp_drop(struct dp_drops *drops, struct rte_mbuf *const *mbufs, unsigned n,
	enum dp_drop_reason reason)
{
	(void)mbufs;
	dropped += n;
	dp_drop_count(drops, n, reason);
}

void log_error(const char *format, ...)
{
	fail_msg("%s", format);
}

int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(type & SOCK_RAW);
	assert_int_equal(protocol, domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	fds[domain == AF_INET6] = fd;
	return fd;
}

ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len);
ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len)
{
	(void)flags;
	assert_int_equal(fd, fds[to->sa_family == AF_INET6]);
	assert_true(to_len <= sizeof(last.to));
	memcpy(&last.to, to, to_len);
	last.type = ((const uint8_t *)data)[0];
	last.code = ((const uint8_t *)data)[1];
	last.len = len;
	sent++;
	return (ssize_t)len;
}

/* --- Packets from 10.1.0.2 or fd01::2 that no peer takes --- */

static const uint8_t good4[28] = {
	0x45, [3] = 28, [8] = 64, IPPROTO_UDP, [12] = 10, 1, 0, 2, 10, 9, 0, 9};
static const uint8_t good6[48] = {
	0x60, [5] = 8, IPPROTO_UDP, 64, 0xfd, 1, [23] = 2, 0xfd, 9, [39] = 9};

static void unreachable(const uint8_t *ip, size_t len)
{
	struct rte_mbuf m = {
		.buf_addr = (void *)ip, .data_len = (uint16_t)len, .pkt_len = (uint32_t)len};

	icmp_reply_unreachable(&interface, &m, now_ns);
}

static void unreachable4(void)
{
	unreachable(good4, sizeof(good4));
}

static void unreachable6(void)
{
	unreachable(good6, sizeof(good6));
}

static unsigned sent_of(unsigned n)
{
	unsigned before = sent;

	for (unsigned i = 0; i < n; i++)
		i % 2 ? unreachable4() : unreachable6();
	return sent - before;
}

static int set_up(void **state)
{
	(void)state;
	now_ns += NS_PER_SEC; /* the bucket is full again */
	sent = dropped = 0;
	memset(gateway.drops.count, 0, sizeof(gateway.drops.count));
	owner = NULL;
	return icmp_reply_init();
}

static int tear_down(void **state)
{
	(void)state;
	icmp_reply_fini();
	return 0;
}

static void senders_are_told(void **state)
{
	static const uint8_t from4[4] = {10, 1, 0, 2}, from6[16] = {0xfd, 1, [15] = 2};
	struct sockaddr_in to4;

	(void)state;
	unreachable4();
	memcpy(&to4, &last.to, sizeof(to4));
	assert_int_equal(to4.sin_family, AF_INET);
	assert_memory_equal(&to4.sin_addr, from4, sizeof(from4));
	assert_int_equal(last.type, 3); /* destination unreachable: the host */
	assert_int_equal(last.code, 1);
	assert_int_equal(last.len, 8 + 28);
	assert_int_equal(gateway.drops.count[DP_DROP_NO_PEER], 1);
	owner = (struct wg_peer *)&gateway;
	unreachable6();
	assert_int_equal(last.to.sin6_family, AF_INET6);
	assert_memory_equal(&last.to.sin6_addr, from6, sizeof(from6));
	assert_int_equal(last.type, 1); /* destination unreachable: the address */
	assert_int_equal(last.code, 3);
	assert_int_equal(last.len, 8 + 48);
	assert_int_equal(gateway.drops.count[DP_DROP_NO_ENDPOINT], 1);
	assert_int_equal(sent, 2);
}

/* Both families together; what gets no answer is dropped all the same. */
static void fifty_at_once_and_a_thousand_a_second(void **state)
{

	(void)state;
	assert_int_equal(sent_of(60), 50);
	now_ns += NS_PER_MS - 1;
	assert_int_equal(sent_of(1), 0);
	now_ns += 1;
	assert_int_equal(sent_of(2), 1);
	now_ns += 7 * NS_PER_MS;
	assert_int_equal(sent_of(10), 7);
	/* However long nothing was told, it is no more than that. */
	now_ns += 50 * NS_PER_MS;
	assert_int_equal(sent_of(60), 50);
	now_ns += 3600 * NS_PER_SEC;
	assert_int_equal(sent_of(60), 50);
	/* Ten times as many as may be, for a second. */
	for (unsigned i = 0; i < 10000; i++) {
		now_ns += NS_PER_MS / 10;
		sent_of(1);
	}
	assert_int_equal(sent, 50 + 0 + 1 + 7 + 50 + 50 + 1000);
	assert_int_equal(dropped, 60 + 1 + 2 + 10 + 60 + 60 + 10000);
	assert_int_equal(gateway.drops.count[DP_DROP_NO_PEER], dropped);
}

/* Else a few such a millisecond would keep all others from hearing of theirs. */
static void what_gets_no_answer_costs_none(void **state)
{
	static const struct {
		const uint8_t *packet;
		size_t len;
		unsigned at;
		uint8_t value;
	} changes[] = {
		{good4, sizeof(good4), 7, 1},	  /* a later fragment */
		{good4, sizeof(good4), 12, 0},	  /* from 0.0.0.0/8 */
		{good4, sizeof(good4), 12, 127},  /* from loopback */
		{good4, sizeof(good4), 12, 224},  /* from a group */
		{good4, sizeof(good4), 16, 224},  /* to a group */
		{good6, sizeof(good6), 8, 0xff},  /* from a group */
		{good6, sizeof(good6), 24, 0xff}, /* to a group */
	};
	uint8_t bad[sizeof(good6)];

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		unsigned before = sent;

		memcpy(bad, changes[i].packet, changes[i].len);
		bad[changes[i].at] = changes[i].value;
		for (unsigned n = 0; n < 100; n++)
			unreachable(bad, changes[i].len);
		assert_int_equal(sent, before);
		assert_int_equal(sent_of(60), 50);
		now_ns += NS_PER_SEC;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(senders_are_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			fifty_at_once_and_a_thousand_a_second, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_gets_no_answer_costs_none, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
