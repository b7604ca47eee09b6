/* SPDX-License-Identifier: BSD-3-Clause */
/* See netlink.h. */
#include "netlink.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Requests sent by one system call. Their refusals, of about 1 KiB of the kernel's accounting each,
 * must fit into the receive buffer. */
#define BATCH_REQUESTS 128

int netlink_open(struct netlink *nl)
{
	int on = 1;

	nl->seq = 1;
	nl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl->socket)
		return -errno;
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		int error = -errno;

		netlink_close(nl);
		return error;
	}
	/* Both spare work and are there in every kernel of the last years; without them all the
	 * code works as well. */
	mnl_socket_setsockopt(nl->socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	mnl_socket_setsockopt(nl->socket, NETLINK_CAP_ACK, &on, sizeof(on));
	return 0;
}

void netlink_close(struct netlink *nl)
{
	if (nl->socket)
		mnl_socket_close(nl->socket);
	nl->socket = NULL;
}

struct nlmsghdr *netlink_request(struct netlink *nl, void *buf, uint16_t type, uint16_t flags,
	size_t header_bytes, void **header)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST);
	nlh->nlmsg_seq = nl->seq++;
	*header = mnl_nlmsg_put_extra_header(nlh, header_bytes);
	return nlh;
}

int netlink_ask(struct netlink *nl, struct nlmsghdr *request, mnl_cb_t on_reply, void *arg)
{
	unsigned portid = mnl_socket_get_portid(nl->socket);
	bool answered = request->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP);
	uint8_t buf[NETLINK_DUMP_BYTES];

	if (mnl_socket_sendto(nl->socket, request, request->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(nl->socket, buf, sizeof(buf));
		int more;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		/* An answer to an earlier request that was given up. */
		if (((struct nlmsghdr *)buf)->nlmsg_seq != request->nlmsg_seq)
			continue;
		more = mnl_cb_run(buf, (size_t)got, request->nlmsg_seq, portid, on_reply, arg);
		if (more < 0)
			return -errno;
		/* A plain "get" is answered by one message and nothing behind it. */
		if (more == MNL_CB_STOP || !answered)
			return 0;
	}
}

/* Reads the refusals of requests first_seq.. and the acknowledgement of last_seq. */
static int read_refusals(struct netlink *nl, const struct netlink_batch *batch, uint32_t first,
	uint32_t first_seq, uint32_t last_seq, bool *stop)
{
	uint8_t buf[NETLINK_DUMP_BYTES];

	for (;;) {
		ssize_t got = mnl_socket_recvfrom(nl->socket, buf, sizeof(buf));
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;
		int left = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);

			if (nlh->nlmsg_type != NLMSG_ERROR ||
				nlh->nlmsg_seq - first_seq >= BATCH_REQUESTS)
				continue;
			if (err->error != 0)
				*stop |= !batch->failed(batch->arg,
					first + (nlh->nlmsg_seq - first_seq), err->error);
			if (nlh->nlmsg_seq == last_seq)
				return 0;
		}
	}
}

int netlink_run_batch(struct netlink *nl, const struct netlink_batch *batch, uint32_t *tried)
{
	uint8_t *buf = malloc(BATCH_REQUESTS * NETLINK_REQUEST_BYTES);
	bool stop = false;
	int error = 0;

	*tried = 0;
	if (!buf)
		return -ENOMEM;
	while (*tried < batch->n && !stop && error == 0) {
		uint32_t first = *tried, first_seq = nl->seq;
		struct nlmsghdr *nlh = NULL;
		size_t bytes = 0;

		for (; *tried < batch->n && *tried - first < BATCH_REQUESTS; (*tried)++) {
			nlh = batch->make(batch->arg, nl, *tried, buf + bytes);
			bytes += MNL_ALIGN(nlh->nlmsg_len);
		}
		/* All report failure; the last one reports success too, so that the end is seen. */
		nlh->nlmsg_flags |= NLM_F_ACK;
		if (mnl_socket_sendto(nl->socket, buf, bytes) < 0) {
			error = -errno;
			*tried = first;
			break;
		}
		error = read_refusals(nl, batch, first, first_seq, nlh->nlmsg_seq, &stop);
	}
	free(buf);
	return error;
}

uint8_t netlink_family(uint8_t family)
{
	return family == IP_V4 ? AF_INET : family == IP_V6 ? AF_INET6 : AF_UNSPEC;
}

uint8_t netlink_ip_family(uint8_t family)
{
	return family == AF_INET ? IP_V4 : family == AF_INET6 ? IP_V6 : IP_NONE;
}

void netlink_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *addr)
{
	mnl_attr_put(nlh, type, ip_family_bits(addr->family) / 8, addr->bytes);
}

bool netlink_get_addr(const struct nlattr *attr, uint8_t family, struct ip_addr *out)
{
	size_t bytes = ip_family_bits(netlink_ip_family(family)) / 8;

	memset(out, 0, sizeof(*out));
	if (!attr || bytes == 0 || mnl_attr_get_payload_len(attr) < bytes)
		return false;
	out->family = netlink_ip_family(family);
	memcpy(out->bytes, mnl_attr_get_payload(attr), bytes);
	return true;
}

uint32_t netlink_get_u32(const struct nlattr *attr, uint32_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) >= sizeof(uint32_t) ? mnl_attr_get_u32(attr)
									  : otherwise;
}

void netlink_attrs(
	const struct nlmsghdr *nlh, size_t header_bytes, const struct nlattr **table, uint16_t max)
{
	size_t header = MNL_ALIGN(header_bytes), payload = mnl_nlmsg_get_payload_len(nlh);

	if (payload < header)
		payload = header = 0;
	netlink_attrs_in(mnl_nlmsg_get_payload_offset(nlh, header), payload - header, table, max);
}

void netlink_attrs_in(const void *attrs, size_t bytes, const struct nlattr **table, uint16_t max)
{
	const struct nlattr *attr = attrs;
	int left = (int)bytes;

	memset(table, 0, (max + 1u) * sizeof(*table));
	for (; mnl_attr_ok(attr, left); attr = mnl_attr_next(attr)) {
		if (mnl_attr_get_type(attr) <= max)
			table[mnl_attr_get_type(attr)] = attr;
		left -= MNL_ALIGN(attr->nla_len);
	}
}
