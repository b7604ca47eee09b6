/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The UNIX sockets that wg(8) speaks to: DIRECTORY/NAME.sock, mode 0600, one for each interface.
 *
 * Thread: control. Nothing here blocks: the control loop polls one descriptor (an epoll instance),
 * calls uapi_server_process() when it is readable or when uapi_server_deadline() has come, and each
 * call does a bounded piece of work. A large "set" is applied over many calls, and answered at its
 * end; further sets for the same interface wait for it.
 */
#ifndef APP_UAPI_SERVER_H
#define APP_UAPI_SERVER_H

#include <stdint.h>

#include "uapi/apply.h"
#include "wg/device.h"

#define UAPI_SERVER_DIRECTORY "/var/run/wireguard"

/* Clients at once, all interfaces together; more are closed at once. */
#define UAPI_SERVER_CLIENTS 32
/* A client that neither sends nor takes a byte for so long is closed. */
#define UAPI_SERVER_TIMEOUT_NS (30 * NS_PER_SEC)

struct uapi_server;
struct uapi_socket;

struct uapi_server_hooks {
	/* As in uapi_hooks. */
	int (*set_sockets)(void *arg, const struct uapi_config *config);
	void (*changed)(void *arg);
	/* What "get" says of the sockets. */
	void (*get_sockets)(void *arg, uint16_t *listen_port, uint32_t *fwmark);
	void *arg;
};

/* directory is made if it is not there (mode 0755). NULL with errno set, after a line that says
 * why. */
struct uapi_server *uapi_server_create(const char *directory);
/* Closes all clients, removes all sockets. */
void uapi_server_destroy(struct uapi_server *server);

/*
 * Opens NAME.sock for device. A socket that nobody answers on is replaced. 0, or a negative errno
 * after a line that says why (-EADDRINUSE: another program serves this interface; -ENOTSOCK: a file
 * is in the way). The device must live until uapi_server_remove() or uapi_server_destroy().
 */
int uapi_server_add(struct uapi_server *server, const char *name, struct wg_device *device,
	const struct uapi_server_hooks *hooks);
/* Closes its clients and removes the socket; a set under way ends where it is. */
void uapi_server_remove(struct uapi_server *server, const char *name);

/* The descriptor to poll for reading. */
int uapi_server_fd(const struct uapi_server *server);
/* When to call process() at the latest (monotonic): 0 for at once, UINT64_MAX for never. */
uint64_t uapi_server_deadline(const struct uapi_server *server);
/* Serves whoever is ready, for about a millisecond. */
void uapi_server_process(struct uapi_server *server, struct wg_time now);

#endif
