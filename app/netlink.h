/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Thin helpers over libmnl for rtnetlink: a socket that asks and gets its answer at once, messages
 * with prefixes and addresses in them, batches of many requests.
 *
 * Thread: the caller's. The kernel works on a request within send(), so that the answer is there
 * when send() returns and nothing here waits.
 */
#ifndef APP_NETLINK_H
#define APP_NETLINK_H

#include <stdint.h>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "base/addr.h"

/* Room for any request made here. */
#define NETLINK_REQUEST_BYTES 512
/* What the kernel puts into one datagram of a dump at most. */
#define NETLINK_DUMP_BYTES 32768

struct netlink {
	struct mnl_socket *socket;
	uint32_t seq;
};

/* An rtnetlink socket with strict checking of requests. 0 or a negative errno. */
int netlink_open(struct netlink *nl);
void netlink_close(struct netlink *nl);

/*
 * Begins a request in buf: a header of this type and flags (NLM_F_REQUEST is added) and a zeroed
 * family header of header_bytes, which *header points to.
 */
struct nlmsghdr *netlink_request(struct netlink *nl, void *buf, uint16_t type, uint16_t flags,
	size_t header_bytes, void **header);

/* Sends a request and calls on_reply, if given, for each message of the answer, up to its end (a
 * dump's too). 0 or the negative errno that the kernel answered. */
int netlink_ask(struct netlink *nl, struct nlmsghdr *request, mnl_cb_t on_reply, void *arg);

/*
 * Many requests, sent together. make() writes request i of n; failed() is told of each that the
 * kernel refused, in order; when it returns false no more are sent, but some behind that one were.
 * 0 or a negative errno of the socket itself.
 */
struct netlink_batch {
	uint32_t n;
	struct nlmsghdr *(*make)(void *arg, struct netlink *nl, uint32_t i, void *buf);
	bool (*failed)(void *arg, uint32_t i, int error);
	void *arg;
};

/* *tried: the first so many requests reached the kernel. */
int netlink_run_batch(struct netlink *nl, const struct netlink_batch *batch, uint32_t *tried);

/* AF_INET, AF_INET6, and back; an unknown one is AF_UNSPEC, IP_NONE. */
uint8_t netlink_family(uint8_t family);
uint8_t netlink_ip_family(uint8_t family);

/* An attribute with the bytes of an address; and an address from one of this AF_ family. */
void netlink_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *addr);
bool netlink_get_addr(const struct nlattr *attr, uint8_t family, struct ip_addr *out);

/* A number, or otherwise when it is not there or too short. */
uint32_t netlink_get_u32(const struct nlattr *attr, uint32_t otherwise);

/* The attributes behind the family header, by type; those above max are left out. */
void netlink_attrs(
	const struct nlmsghdr *nlh, size_t header_bytes, const struct nlattr **table, uint16_t max);
/* Nested ones, and those of any run of bytes. */
void netlink_attrs_in(const void *attrs, size_t bytes, const struct nlattr **table, uint16_t max);

#endif
