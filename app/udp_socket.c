/* SPDX-License-Identifier: BSD-3-Clause */
#include "udp_socket.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_mbuf.h>

#include "base/bytes.h"
#include "datapath/drops.h"
#include "datapath/mbuf.h"
#include "net/outer.h"

/* Rounds of choosing a port that is free in both families. */
#define PORT_TRIES 32

/* Both ways a burst of data messages must fit while the other side of the socket is busy. */
#define BUFFER_BYTES (4 << 20)

/* mbuf segments of a message to send; sealed messages have one. */
#define SEND_SEGMENTS 4

/* Ancillary data of one message: packet info of either family, and the traffic class. */
union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int))];
};

union address {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

static int open_family(int family, uint16_t port, uint32_t fwmark, int *out);

/* --- Opening --- */

static uint16_t bound_port(int fd)
{
	union address addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, &addr.any, &len) < 0)
		return 0;
	return ntohs(addr.any.sa_family == AF_INET ? addr.ipv4.sin_port : addr.ipv6.sin6_port);
}

static int open_both(struct udp_socket *out, uint16_t port, uint32_t fwmark)
{
	*out = (struct udp_socket){.fd_ipv4 = -1, .fd_ipv6 = -1};
	int err = open_family(AF_INET, port, fwmark, &out->fd_ipv4);
	if (err != 0)
		return err;
	if (port == 0 && out->fd_ipv4 >= 0)
		port = bound_port(out->fd_ipv4);
	err = open_family(AF_INET6, port, fwmark, &out->fd_ipv6);
	if (err == 0 && out->fd_ipv4 < 0 && out->fd_ipv6 < 0)
		err = -EAFNOSUPPORT;
	if (err != 0) {
		udp_socket_close(out);
		return err;
	}
	out->port = port != 0 ? port : bound_port(out->fd_ipv6);
	return 0;
}

int udp_socket_open(struct udp_socket *out, uint16_t port, uint32_t fwmark)
{
	int err = open_both(out, port, fwmark);

	for (int tries = 1; port == 0 && err == -EADDRINUSE && tries < PORT_TRIES; tries++)
		err = open_both(out, port, fwmark);
	return err;
}

void udp_socket_close(struct udp_socket *socket)
{
	if (socket->fd_ipv4 >= 0)
		close(socket->fd_ipv4);
	if (socket->fd_ipv6 >= 0)
		close(socket->fd_ipv6);
	socket->fd_ipv4 = socket->fd_ipv6 = -1;
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Beyond the host's limits when allowed to, else up to them. */
static void set_buffers(int fd)
{
	if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES) != 0)
		(void)set_option(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
	if (set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES) != 0)
		(void)set_option(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
}

static int set_options(int fd, int family, uint32_t fwmark)
{
	const struct {
		int level, option, value;
	} wanted[2][4] = {
		{{IPPROTO_IP, IP_PKTINFO, 1}, {IPPROTO_IP, IP_RECVTOS, 1},
			{IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT}},
		{{IPPROTO_IPV6, IPV6_V6ONLY, 1}, {IPPROTO_IPV6, IPV6_RECVPKTINFO, 1},
			{IPPROTO_IPV6, IPV6_RECVTCLASS, 1},
			{IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT}},
	};
	int err = 0;

	for (int i = 0; i < 4 && err == 0; i++)
		if (wanted[family == AF_INET6][i].option != 0)
			err = set_option(fd, wanted[family == AF_INET6][i].level,
				wanted[family == AF_INET6][i].option,
				wanted[family == AF_INET6][i].value);
	if (err == 0 && fwmark != 0)
		err = set_option(fd, SOL_SOCKET, SO_MARK, (int)fwmark);
	set_buffers(fd);
	return err;
}

/* 0 with -1 in *out when the host does not have the family. */
static int open_family(int family, uint16_t port, uint32_t fwmark, int *out)
{
	union address addr = {.any = {.sa_family = (sa_family_t)family}};
	socklen_t len = family == AF_INET ? sizeof(addr.ipv4) : sizeof(addr.ipv6);
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*out = -1;
	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno;
	if (family == AF_INET)
		addr.ipv4.sin_port = htons(port);
	else
		addr.ipv6.sin6_port = htons(port);
	int err = set_options(fd, family, fwmark);
	if (err == 0 && bind(fd, &addr.any, len) < 0)
		err = -errno;
	if (err != 0) {
		close(fd);
		/* IPv6 is compiled in but turned off. */
		return family == AF_INET6 && err == -EADDRNOTAVAIL ? 0 : err;
	}
	*out = fd;
	return 0;
}

int udp_socket_set_mark(const struct udp_socket *socket, uint32_t fwmark)
{
	int err = 0;

	if (socket->fd_ipv4 >= 0)
		err = set_option(socket->fd_ipv4, SOL_SOCKET, SO_MARK, (int)fwmark);
	if (err == 0 && socket->fd_ipv6 >= 0)
		err = set_option(socket->fd_ipv6, SOL_SOCKET, SO_MARK, (int)fwmark);
	return err;
}

/* --- Sending --- */

/* A message to send, with all that its msghdr points to. */
struct outgoing {
	union address to;
	struct iovec iov[SEND_SEGMENTS];
	union control control; /* last: it holds a cmsghdr, which is of no fixed size */
};

static void add_control(
	struct msghdr *msg, union control *control, int level, int type, const void *data, size_t n)
{
	struct cmsghdr *c = (struct cmsghdr *)(void *)(control->bytes + msg->msg_controllen);

	*c = (struct cmsghdr){.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(n)};
	memcpy(CMSG_DATA(c), data, n);
	msg->msg_controllen += CMSG_SPACE(n);
}

/*
 * Addresses msg. The traffic class stands first in the ancillary data, so that the rest, the source
 * address, can be cut off.
 */
static void address_message(
	struct outgoing *out, struct msghdr *msg, const struct wg_path *path, uint8_t traffic_class)
{
	const struct endpoint *to = &path->remote;
	bool ipv4 = to->addr.family == IP_V4;
	int value = traffic_class;

	memset(&out->to, 0, sizeof(out->to));
	memset(&out->control, 0, sizeof(out->control));
	if (ipv4) {
		out->to.ipv4.sin_family = AF_INET;
		out->to.ipv4.sin_port = htons(to->port);
		memcpy(&out->to.ipv4.sin_addr, to->addr.bytes, 4);
	} else {
		out->to.ipv6.sin6_family = AF_INET6;
		out->to.ipv6.sin6_port = htons(to->port);
		out->to.ipv6.sin6_scope_id = to->scope_id;
		memcpy(&out->to.ipv6.sin6_addr, to->addr.bytes, 16);
	}
	*msg = (struct msghdr){.msg_name = &out->to,
		.msg_namelen = ipv4 ? sizeof(out->to.ipv4) : sizeof(out->to.ipv6),
		.msg_iov = out->iov,
		.msg_control = &out->control};
	if (ipv4)
		add_control(msg, &out->control, IPPROTO_IP, IP_TOS, &value, sizeof(value));
	else
		add_control(msg, &out->control, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof(value));
	if (path->local.family != to->addr.family)
		return;
	if (ipv4) {
		struct in_pktinfo info = {0};
		memcpy(&info.ipi_spec_dst, path->local.bytes, 4);
		add_control(msg, &out->control, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else {
		struct in6_pktinfo info = {.ipi6_ifindex = to->scope_id};
		memcpy(&info.ipi6_addr, path->local.bytes, 16);
		add_control(msg, &out->control, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

/* One message; a source address that the host no longer has is let go of. 0 or negative errno. */
static int send_one(int fd, struct msghdr *msg)
{
	if (sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	if (msg->msg_controllen == CMSG_SPACE(sizeof(int)) ||
		(errno != EINVAL && errno != EADDRNOTAVAIL && errno != ENETUNREACH))
		return -errno;
	msg->msg_controllen = CMSG_SPACE(sizeof(int));
	return sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ? 0 : -errno;
}

int udp_socket_send(const struct udp_socket *socket, const struct wg_path *path,
	uint8_t traffic_class, const void *data, size_t len)
{
	struct outgoing out;
	struct msghdr msg;
	int fd = path->remote.addr.family == IP_V4 ? socket->fd_ipv4 : socket->fd_ipv6;

	if (path->remote.addr.family == IP_NONE)
		return -EDESTADDRREQ;
	if (fd < 0)
		return -EAFNOSUPPORT;
	address_message(&out, &msg, path, traffic_class);
	out.iov[0] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	msg.msg_iovlen = 1;
	return send_one(fd, &msg);
}

/* What a frame's headers say; false when they are none that can be sent. */
static bool frame_path(struct rte_mbuf *m, struct wg_path *path, uint8_t *traffic_class)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, ETHER_HEADER_BYTES);
	unsigned header_len = dp_mbuf(m)->header_len;
	bool ipv4 = header_len == OUTER_HEADER4_BYTES;

	if ((!ipv4 && header_len != OUTER_HEADER6_BYTES) || m->data_len < header_len)
		return false;
	memset(path, 0, sizeof(*path));
	path->remote.addr.family = path->local.family = ipv4 ? IP_V4 : IP_V6;
	path->remote.port =
		load_be16(ip + header_len - ETHER_HEADER_BYTES - UDP_HEADER_BYTES + UDP_DST_PORT);
	if (ipv4) {
		memcpy(path->local.bytes, ip + IPV4_SRC, 4);
		memcpy(path->remote.addr.bytes, ip + IPV4_DST, 4);
		*traffic_class = ip[IPV4_TOS];
	} else {
		memcpy(path->local.bytes, ip + IPV6_SRC, 16);
		memcpy(path->remote.addr.bytes, ip + IPV6_DST, 16);
		path->remote.scope_id = dp_mbuf(m)->scope_id;
		*traffic_class = ipv6_traffic_class(ip);
	}
	/* An address of zeroes: the host chooses. */
	static const uint8_t none[16];
	if (memcmp(path->local.bytes, none, 16) == 0)
		path->local.family = IP_NONE;
	return true;
}

static bool frame_payload(struct outgoing *out, struct msghdr *msg, const struct rte_mbuf *m)
{
	size_t skip = dp_mbuf((struct rte_mbuf *)(uintptr_t)m)->header_len;

	if (m->nb_segs > SEND_SEGMENTS)
		return false;
	for (; m != NULL; m = m->next, skip = 0)
		out->iov[msg->msg_iovlen++] =
			(struct iovec){.iov_base = rte_pktmbuf_mtod_offset(m, void *, skip),
				.iov_len = m->data_len - skip};
	return true;
}

/* Messages of one family, n of them; what the kernel refuses is left out. Returns how many went. */
static unsigned send_messages(int fd, struct mmsghdr *msgs, unsigned n)
{
	unsigned sent = 0;

	for (unsigned at = 0; at < n;) {
		int done = sendmmsg(fd, msgs + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done > 0) {
			at += (unsigned)done;
			sent += (unsigned)done;
			continue;
		}
		/* The first of them failed; no room now means none for the others either. */
		int err = send_one(fd, &msgs[at++].msg_hdr);
		if (err == 0)
			sent++;
		else if (err == -EAGAIN || err == -ENOBUFS)
			break;
	}
	return sent;
}

static unsigned send_burst(const int fds[2], struct rte_mbuf **mbufs, unsigned n)
{
	struct outgoing out[UDP_SOCKET_BURST];
	struct mmsghdr msgs[2][UDP_SOCKET_BURST];
	unsigned count[2] = {0, 0}, sent = 0;

	for (unsigned i = 0; i < n; i++) {
		struct wg_path path;
		uint8_t traffic_class;
		if (!frame_path(mbufs[i], &path, &traffic_class))
			continue;
		unsigned family = path.remote.addr.family == IP_V6;
		struct msghdr *msg = &msgs[family][count[family]].msg_hdr;
		address_message(&out[i], msg, &path, traffic_class);
		if (fds[family] >= 0 && frame_payload(&out[i], msg, mbufs[i]))
			count[family]++;
	}
	for (unsigned family = 0; family < 2; family++)
		sent += send_messages(fds[family], msgs[family], count[family]);
	return sent;
}

unsigned udp_socket_send_frames(const struct udp_socket *socket, struct rte_mbuf **mbufs,
	unsigned n, struct dp_drops *drops)
{
	int fds[2] = {socket->fd_ipv4, socket->fd_ipv6};
	unsigned sent = 0;

	for (unsigned at = 0; at < n; at += UDP_SOCKET_BURST)
		sent += send_burst(fds, mbufs + at, RTE_MIN(n - at, (unsigned)UDP_SOCKET_BURST));
	rte_pktmbuf_free_bulk(mbufs, n);
	if (sent < n)
		dp_drop_count(drops, n - sent, DP_DROP_HOST_SEND);
	return sent;
}

/* --- Receiving --- */

struct incoming {
	union address from;
	struct iovec iov;
	union control control; /* last, as above */
};

/* What the ancillary data tells. */
struct arrival {
	struct endpoint local;
	uint8_t traffic_class;
};

static void read_control(struct msghdr *msg, struct arrival *a)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			a->local.addr.family = IP_V4;
			memcpy(a->local.addr.bytes, &info.ipi_spec_dst, 4);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			a->local.addr.family = IP_V6;
			memcpy(a->local.addr.bytes, &info.ipi6_addr, 16);
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			a->traffic_class = *CMSG_DATA(c); /* one byte */
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
			int value;
			memcpy(&value, CMSG_DATA(c), sizeof(value));
			a->traffic_class = (uint8_t)value;
		}
	}
}

/* Puts the headers before the payload that m holds; false when the kernel did not tell enough. */
static bool make_frame(
	const struct udp_socket *socket, struct rte_mbuf *m, struct msghdr *msg, uint16_t len)
{
	static const uint8_t macs[12];
	const union address *from = msg->msg_name;
	struct arrival a = {.local.port = socket->port};
	struct endpoint remote = {0};
	uint8_t header[OUTER_HEADER_MAX];

	if (from->any.sa_family == AF_INET) {
		remote.addr.family = IP_V4;
		remote.port = ntohs(from->ipv4.sin_port);
		memcpy(remote.addr.bytes, &from->ipv4.sin_addr, 4);
	} else {
		remote.addr.family = IP_V6;
		remote.port = ntohs(from->ipv6.sin6_port);
		remote.scope_id = from->ipv6.sin6_scope_id;
		memcpy(remote.addr.bytes, &from->ipv6.sin6_addr, 16);
	}
	read_control(msg, &a);
	if (a.local.addr.family != remote.addr.family)
		return false;

	m->data_len = len;
	m->pkt_len = len;
	unsigned header_len =
		outer_prepare(header, macs, &remote, &a.local, a.traffic_class & 0xfc);
	uint8_t *start = (uint8_t *)rte_pktmbuf_prepend(m, (uint16_t)header_len);
	memcpy(start, header, header_len);
	outer_finish(start, header_len, len, a.traffic_class & 3, 0);
	outer_complete_udp_checksum(start, header_len, len);
	*dp_mbuf(m) = (struct dp_mbuf){.kind = DP_OUTER,
		.port = DP_PORT_NONE,
		.header_len = (uint8_t)header_len,
		.scope_id = remote.scope_id};
	return true;
}

static void prepare_receive(struct rte_mbuf **mbufs, struct incoming *in, struct mmsghdr *msgs)
{
	for (unsigned i = 0; i < UDP_SOCKET_BURST; i++) {
		in[i].iov = (struct iovec){.iov_base = rte_pktmbuf_mtod(mbufs[i], void *),
			.iov_len = rte_pktmbuf_tailroom(mbufs[i])};
		msgs[i].msg_hdr = (struct msghdr){.msg_name = &in[i].from,
			.msg_namelen = sizeof(in[i].from),
			.msg_iov = &in[i].iov,
			.msg_iovlen = 1,
			.msg_control = &in[i].control,
			.msg_controllen = sizeof(in[i].control)};
	}
}

unsigned udp_socket_receive(const struct udp_socket *socket, enum ip_family family,
	struct rte_mempool *pool, struct rte_mbuf **mbufs, struct dp_drops *drops, bool *more)
{
	struct rte_mbuf *fresh[UDP_SOCKET_BURST];
	struct incoming in[UDP_SOCKET_BURST];
	struct mmsghdr msgs[UDP_SOCKET_BURST];
	unsigned kept = 0;
	int fd = family == IP_V4 ? socket->fd_ipv4 : socket->fd_ipv6;

	*more = false;
	/* Without buffers the datagrams wait in the socket. */
	if (rte_pktmbuf_alloc_bulk(pool, fresh, UDP_SOCKET_BURST) != 0)
		return 0;
	prepare_receive(fresh, in, msgs);
	int n = recvmmsg(fd, msgs, UDP_SOCKET_BURST, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		struct msghdr *msg = &msgs[i].msg_hdr;
		if (msg->msg_flags & MSG_TRUNC)
			dp_drop(drops, &fresh[i], 1, DP_DROP_NO_ROOM);
		else if (msg->msg_flags & MSG_CTRUNC ||
			 !make_frame(socket, fresh[i], msg, (uint16_t)msgs[i].msg_len))
			dp_drop(drops, &fresh[i], 1, DP_DROP_HOST_RECEIVE);
		else
			mbufs[kept++] = fresh[i];
	}
	*more = n == UDP_SOCKET_BURST;
	n = n < 0 ? 0 : n;
	rte_pktmbuf_free_bulk(fresh + n, (unsigned)(UDP_SOCKET_BURST - n));
	return kept;
}
