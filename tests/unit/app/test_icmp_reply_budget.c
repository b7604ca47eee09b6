/* SPDX-License-Identifier: BSD-3-Clause */
/* What the rate of ICMP errors is spent on. The raw sockets are replaced: errors are counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <rte_mbuf.h>

#include "app/gateway.h"
#include "app/icmp_reply.h"
#include "app/interface.h"
#include "base/units.h"
#include "frames.h"

#define AT_ONCE 50 /* errors, and another each millisecond */
#define NOW_NS	(1000 * NS_PER_SEC)

static struct rte_mempool *pool;
static struct interface interface;
static unsigned sent;

int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
	(void)domain;
	(void)type;
	(void)protocol;
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

ssize_t __wrap_sendto(
	int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t to_len);
ssize_t __wrap_sendto(
	int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t to_len)
{
	(void)fd;
	(void)data;
	(void)flags;
	(void)to;
	(void)to_len;
	sent++;
	return (ssize_t)n;
}

static int set_up(void **state)
{
	(void)state;
	interface.gateway = calloc(1, sizeof(*interface.gateway));
	if (interface.gateway == NULL || dp_create(1, &interface.gateway->dp) != 0 ||
		dp_add_interface(interface.gateway->dp, 0, 1420) != 0)
		return -1;
	return icmp_reply_init();
}

static int tear_down(void **state)
{
	(void)state;
	icmp_reply_fini();
	dp_destroy(interface.gateway->dp);
	free(interface.gateway);
	return rte_mempool_full(pool) ? 0 : -1;
}

/* Tells the sender of an IP packet; true when an error was sent. */
static bool is_answered(const uint8_t *packet, uint32_t len, uint64_t now_ns)
{
	unsigned before = sent;

	icmp_reply_unreachable(&interface, frame_mbuf(pool, packet, len), now_ns);
	return sent > before;
}

/*
 * Would catch packets without an answer (errors, later fragments, to many, from nobody) that spend
 * what the senders of others are due: a few junk packets a millisecond, and nobody hears of errors.
 */
static void what_gets_no_answer_costs_none(void **state)
{
	static const struct {
		bool ipv6;
		unsigned at;
		uint8_t value;
	} changes[] = {
		{false, 7, 1},	  /* a later fragment */
		{false, 12, 0},	  /* from 0.0.0.0/8 */
		{false, 12, 127}, /* from loopback */
		{false, 12, 224}, /* from a group */
		{false, 16, 224}, /* to a group */
		{true, 8, 0xff},  /* from a group */
		{true, 24, 0xff}, /* to a group */
	};
	uint8_t good[2][200], bad[200];
	uint32_t len[2];
	uint64_t now_ns = NOW_NS;

	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct frame_spec spec = frame_plain(v6, true, 60);
		len[v6] = frame_make(&spec, good[v6]);
	}
	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		unsigned v6 = changes[i].ipv6;
		memcpy(bad, good[v6], len[v6]);
		bad[changes[i].at] = changes[i].value;
		for (unsigned n = 0; n < 2 * AT_ONCE; n++)
			assert_false(is_answered(bad, len[v6], now_ns));
		for (unsigned n = 0; n < AT_ONCE; n++)
			assert_true(is_answered(good[n % 2], len[n % 2], now_ns));
		assert_false(is_answered(good[0], len[0], now_ns));
		now_ns += NS_PER_MS;
		assert_true(is_answered(good[0], len[0], now_ns));
		assert_false(is_answered(good[1], len[1], now_ns));
		now_ns += NS_PER_SEC;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_gets_no_answer_costs_none, set_up, tear_down),
	};

	pool = frames_set_up("icmp_reply_budget", 63);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
