/* SPDX-License-Identifier: BSD-3-Clause */
#include "icmp_reply.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_mbuf.h>

#include "base/units.h"
#include "gateway.h"
#include "interface.h"
#include "log.h"
#include "net/headers.h"
#include "net/icmp.h"

/* As Linux limits its own: 1,000 a second in all, 50 at once (icmp_msgs_per_sec, _burst). */
#define INTERVAL_NS NS_PER_MS
#define BURST	    50

static struct {
	int fd_ipv4, fd_ipv6;
	uint64_t full_at_ns; /* when the bucket of BURST tokens is full again */
} state = {.fd_ipv4 = -1, .fd_ipv6 = -1};

int icmp_reply_init(void)
{
	state.fd_ipv4 = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (state.fd_ipv4 < 0) {
		int err = errno;
		log_error("raw ICMP socket: %s; run as root or with CAP_NET_RAW", strerror(err));
		return -err;
	}
	/* A host without IPv6 has no senders of IPv6 either. */
	state.fd_ipv6 = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6);

	/* Send only: nothing that the host receives is to pile up here. */
	struct icmp_filter none4 = {.data = UINT32_MAX};
	(void)setsockopt(state.fd_ipv4, SOL_RAW, ICMP_FILTER, &none4, sizeof(none4));
	if (state.fd_ipv6 >= 0) {
		struct icmp6_filter none6;
		ICMP6_FILTER_SETBLOCKALL(&none6);
		(void)setsockopt(
			state.fd_ipv6, IPPROTO_ICMPV6, ICMP6_FILTER, &none6, sizeof(none6));
	}
	return 0;
}

void icmp_reply_fini(void)
{
	if (state.fd_ipv4 >= 0)
		close(state.fd_ipv4);
	if (state.fd_ipv6 >= 0)
		close(state.fd_ipv6);
	state.fd_ipv4 = state.fd_ipv6 = -1;
}

/* When it is full again if a token is taken now. */
static uint64_t full_after_one(uint64_t now_ns)
{
	return RTE_MAX(state.full_at_ns, now_ns) + INTERVAL_NS;
}

static bool has_token(uint64_t now_ns)
{
	return full_after_one(now_ns) <= now_ns + BURST * INTERVAL_NS;
}

/*
 * The kernel writes the IP header (and ICMPv6's checksum); the ICMP message is ours. False: about
 * this packet none may be sent.
 */
static bool send_error(const uint8_t *packet, size_t len)
{
	uint8_t error[ICMP_ERROR_MAX];
	bool ipv4 = ip_version(packet) == 4;
	struct ip_addr unspecified = {.family = ipv4 ? IP_V4 : IP_V6};
	size_t header = ipv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
	size_t n = icmp_build_error(error, ICMP_ERROR_UNREACHABLE, 0, &unspecified, packet, len);

	if (n <= header)
		return false;
	if (ipv4) {
		struct sockaddr_in to = {.sin_family = AF_INET};
		memcpy(&to.sin_addr, packet + IPV4_SRC, sizeof(to.sin_addr));
		(void)sendto(state.fd_ipv4, error + header, n - header, 0,
			(const struct sockaddr *)&to, sizeof(to));
	} else if (state.fd_ipv6 >= 0) {
		struct sockaddr_in6 to = {.sin6_family = AF_INET6};
		memcpy(&to.sin6_addr, packet + IPV6_SRC, sizeof(to.sin6_addr));
		(void)sendto(state.fd_ipv6, error + header, n - header, 0,
			(const struct sockaddr *)&to, sizeof(to));
	}
	return true;
}

void icmp_reply_unreachable(struct interface *interface, struct rte_mbuf *packet, uint64_t now_ns)
{
	const uint8_t *ip = rte_pktmbuf_mtod(packet, const uint8_t *);
	enum dp_drop_reason reason =
		interface_route(interface, ip) ? DP_DROP_NO_ENDPOINT : DP_DROP_NO_PEER;

	/* What may not be answered anyway takes no token from those that may. */
	if (has_token(now_ns) && send_error(ip, packet->data_len))
		state.full_at_ns = full_after_one(now_ns);
	dp_drop(&interface->gateway->drops, &packet, 1, reason);
}
