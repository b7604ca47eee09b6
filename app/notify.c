/* SPDX-License-Identifier: BSD-3-Clause */
#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

static int failed(const char *name, int error)
{
	log_warning("NOTIFY_SOCKET %s: %s: the service manager will not hear of the start", name,
		strerror(error));
	return -1;
}

int notify_open(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *name = getenv("NOTIFY_SOCKET");
	size_t len = name ? strlen(name) : 0;

	if (len == 0)
		return -1;
	if ((name[0] != '/' && name[0] != '@') || len >= sizeof(addr.sun_path))
		return failed(name, EINVAL);
	memcpy(addr.sun_path, name, len);
	/* A name that is no file's. */
	if (name[0] == '@')
		addr.sun_path[0] = '\0';
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&addr, size) == 0)
		return fd;
	int error = errno;
	if (fd >= 0)
		close(fd);
	return failed(name, error);
}

void notify_ready(int fd)
{
	static const char message[] = "READY=1";

	if (fd < 0)
		return;
	if (send(fd, message, strlen(message), MSG_NOSIGNAL) < 0)
		(void)failed("", errno);
	close(fd);
}
