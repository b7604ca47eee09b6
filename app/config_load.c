/* SPDX-License-Identifier: BSD-3-Clause */
#include "config_load.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret_mem.h"
#include "uapi/conffile.h"

/* 1,000,000 peers with four allowed IPs each are 250 MB. */
#define FILE_MAX_BYTES (512u << 20)
#define FIRST_BYTES    65536

static int check_kind(const struct stat *st);
static int read_whole(int fd, char **text, size_t *len);
static const char *explain(int error);

int config_load(struct uapi_config *config, const char *path, char message[UAPI_MESSAGE_BYTES])
{
	/* Without waiting for the other end of a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), rc;
	char *text = NULL;
	size_t len = 0;
	struct stat st;

	rc = fd < 0 || fstat(fd, &st) != 0 ? -errno : check_kind(&st);
	if (rc == 0)
		rc = read_whole(fd, &text, &len);
	if (rc != 0) {
		snprintf(message, UAPI_MESSAGE_BYTES, "%s: cannot be read: %s", path, explain(-rc));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	rc = conffile_parse(config, path, text, len, message);
	if (rc == 0 && (st.st_mode & 0007))
		uapi_config_warn(config,
			"%s: every user of this host may read the private key: chmod 600", path);
	secret_free(text);
	close(fd);
	return rc;
}

static int check_kind(const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	if (!S_ISREG(st->st_mode))
		return -ENOTSUP;
	return st->st_size > (off_t)FILE_MAX_BYTES ? -EFBIG : 0;
}

static const char *explain(int error)
{
	switch (error) {
	case EFBIG:
		return "larger than 512 MiB";
	case ENOTSUP:
		return "not a regular file";
	default:
		return strerror(error);
	}
}

/* Into memory for secrets, which leaves no copy behind. */
static int read_whole(int fd, char **text, size_t *len)
{
	size_t room = FIRST_BYTES, used = 0;
	char *buf = secret_alloc(room), *bigger;
	int rc = -ENOMEM;
	ssize_t n;

	while (buf) {
		n = read(fd, buf + used, room - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || used + (size_t)n > FILE_MAX_BYTES) {
			rc = n < 0 ? -errno : -EFBIG;
			break;
		}
		used += (size_t)n;
		if (n == 0) {
			*text = buf;
			*len = used;
			return 0;
		}
		if (used < room)
			continue;
		bigger = secret_alloc(2 * room);
		if (!bigger)
			break;
		memcpy(bigger, buf, used);
		secret_free(buf);
		buf = bigger;
		room *= 2;
	}
	secret_free(buf);
	return rc;
}

/* An address with its interface, which must be there by now. */
static const char *look_up_scoped(struct uapi_peer *peer)
{
	char text[128];
	struct endpoint endpoint;

	snprintf(text, sizeof(text), "%s:%u", peer->endpoint_host, peer->endpoint.port);
	if (!endpoint_parse(text, &endpoint))
		return "there is no interface of that name on this host";
	uapi_peer_resolve(peer, &endpoint.addr, endpoint.scope_id);
	return NULL;
}

/* The first address of a name. NULL, or the resolver's reason. */
static const char *look_up_name(struct uapi_peer *peer)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG}, *found;
	struct ip_addr addr = {0};
	uint32_t scope_id = 0;
	int rc = getaddrinfo(peer->endpoint_host, NULL, &hints, &found);

	if (rc != 0)
		return rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc);
	if (found->ai_family == AF_INET) {
		const struct sockaddr_in *sin = (const void *)found->ai_addr;

		addr.family = IP_V4;
		memcpy(addr.bytes, &sin->sin_addr, 4);
	} else {
		const struct sockaddr_in6 *sin6 = (const void *)found->ai_addr;

		addr.family = IP_V6;
		memcpy(addr.bytes, &sin6->sin6_addr, 16);
		scope_id = sin6->sin6_scope_id;
	}
	freeaddrinfo(found);
	uapi_peer_resolve(peer, &addr, scope_id);
	return NULL;
}

int config_resolve(struct uapi_config *config, const char *path, bool (*ending)(void))
{
	for (uint32_t i = 0; i < config->peer_count; i++) {
		struct uapi_peer *peer = &config->peers[i];
		const char *problem;

		if (!peer->endpoint_host)
			continue;
		if (ending())
			return -EINTR;
		problem = peer->endpoint_host[0] == '[' ? look_up_scoped(peer) : look_up_name(peer);
		if (!problem)
			continue;
		uapi_config_warn(config,
			"%s:%u: Endpoint %s cannot be resolved (%s): the peer has no "
			"endpoint until it speaks first or \"wg set\" gives one",
			path, peer->endpoint_line, peer->endpoint_host, problem);
		peer->set_endpoint = false;
	}
	return 0;
}
