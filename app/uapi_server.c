/* SPDX-License-Identifier: BSD-3-Clause */
#include "uapi_server.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/secret_mem.h"
#include "base/units.h"
#include "log.h"
#include "uapi/protocol.h"

/* Read at a time; parsing so much takes well under a millisecond. */
#define IN_BYTES 16384
/* Operations of a set in one call of process(): about a millisecond. */
#define APPLY_BUDGET 256
#define BACKLOG	     16
/* What a socket's address leaves for the directory. */
#define DIRECTORY_BYTES (sizeof(((struct sockaddr_un *)0)->sun_path) - IFNAMSIZ - sizeof("/.sock"))

/* What a descriptor in the epoll instance belongs to. */
enum kind {
	KIND_SOCKET,
	KIND_CLIENT,
};

enum client_state {
	CLIENT_READING,	 /* for a request */
	CLIENT_WAITING,	 /* with a set, for the one before it */
	CLIENT_APPLYING, /* its set */
	CLIENT_WRITING,	 /* its answer */
};

struct client {
	enum kind kind;
	int fd;
	struct uapi_socket *socket;
	struct client *next; /* in the server's list, oldest first */
	enum client_state state;
	bool last;	      /* close it after the answer */
	uint64_t progress_ns; /* when it last sent or took a byte, or its set was done */
	struct uapi_parser *parser;
	struct uapi_apply *apply;
	struct uapi_printer *printer;
	const char *out; /* what is being written */
	size_t out_len;
	char status[UAPI_ERRNO_BYTES];
	size_t in_at, in_end; /* read but not parsed */
	char in[IN_BYTES];
};

struct uapi_socket {
	enum kind kind;
	int fd;
	char name[IFNAMSIZ];
	struct sockaddr_un address;
	dev_t dev; /* of the socket file, to remove no other */
	ino_t ino;
	struct wg_device *device;
	struct uapi_server_hooks hooks;
	struct uapi_hooks apply_hooks;
	struct client *applying; /* whose set is under way */
};

struct uapi_server {
	int epoll;
	char directory[DIRECTORY_BYTES];
	struct uapi_socket *sockets[LIMIT_INTERFACES];
	unsigned socket_count;
	struct client *clients;
	unsigned client_count;
};

static void accept_clients(struct uapi_server *server, struct uapi_socket *socket, uint64_t now_ns);
static void serve(
	struct uapi_server *server, struct client *client, uint32_t events, struct wg_time now);
static void advance(struct uapi_server *server, struct client *client, struct wg_time now);
static bool read_some(struct client *client, uint64_t now_ns);
static void parse_some(struct client *client);
static void begin_set(struct client *client);
static void step_set(struct client *client, struct wg_time now);
static bool write_some(struct client *client, uint64_t now_ns);
static void close_client(struct uapi_server *server, struct client *client);

/* --- One turn --- */

static bool has_work(const struct client *client)
{
	switch (client->state) {
	case CLIENT_READING:
		return client->in_at < client->in_end;
	case CLIENT_WAITING:
		return client->socket->applying == NULL;
	case CLIENT_APPLYING:
		return true;
	case CLIENT_WRITING:
		break;
	}
	return false;
}

/* When it is closed unless it moves. A set that is under way is not its fault. */
static uint64_t give_up_ns(const struct client *client)
{
	if (client->state == CLIENT_WAITING || client->state == CLIENT_APPLYING)
		return UINT64_MAX;
	return client->progress_ns + UAPI_SERVER_TIMEOUT_NS;
}

uint64_t uapi_server_deadline(const struct uapi_server *server)
{
	uint64_t deadline_ns = UINT64_MAX;

	for (const struct client *client = server->clients; client; client = client->next) {
		if (has_work(client))
			return 0;
		if (give_up_ns(client) < deadline_ns)
			deadline_ns = give_up_ns(client);
	}
	return deadline_ns;
}

void uapi_server_process(struct uapi_server *server, struct wg_time now)
{
	struct epoll_event events[LIMIT_INTERFACES + UAPI_SERVER_CLIENTS];
	struct client *client, *next;
	int n = epoll_wait(server->epoll, events, sizeof(events) / sizeof(events[0]), 0);

	for (int i = 0; i < n; i++) {
		enum kind *kind = events[i].data.ptr;

		/* A client is freed by its own event or by the sweep below only: none is stale. */
		if (*kind == KIND_SOCKET)
			accept_clients(server, events[i].data.ptr, now.mono_ns);
		else
			serve(server, events[i].data.ptr, events[i].events, now);
	}
	for (client = server->clients; client; client = next) {
		next = client->next;
		if (has_work(client))
			advance(server, client, now);
		else if (give_up_ns(client) <= now.mono_ns)
			close_client(server, client);
	}
}

int uapi_server_fd(const struct uapi_server *server)
{
	return server->epoll;
}

/* --- Clients --- */

/* While its set is applied a client is not watched: all that could come is its hang-up, again and
 * again. */
static int watch(struct uapi_server *server, struct client *client, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = client};

	return epoll_ctl(server->epoll, operation, client->fd, &event);
}

static void accept_clients(struct uapi_server *server, struct uapi_socket *socket, uint64_t now_ns)
{
	struct client *client, **end;
	int fd = accept4(socket->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (server->client_count == UAPI_SERVER_CLIENTS) {
		log_warning("%s: more than %d clients of the configuration socket: one was closed",
			socket->name, UAPI_SERVER_CLIENTS);
		close(fd);
		return;
	}
	client = secret_alloc(sizeof(*client));
	if (client)
		client->parser = uapi_parser_create();
	if (!client || !client->parser) {
		secret_free(client);
		close(fd);
		return;
	}
	client->kind = KIND_CLIENT;
	client->fd = fd;
	client->socket = socket;
	client->progress_ns = now_ns;
	for (end = &server->clients; *end; end = &(*end)->next)
		;
	*end = client;
	server->client_count++;
	if (watch(server, client, EPOLL_CTL_ADD, EPOLLIN) != 0)
		close_client(server, client);
}

static void close_client(struct uapi_server *server, struct client *client)
{
	struct client **p;

	for (p = &server->clients; *p != client; p = &(*p)->next)
		;
	*p = client->next;
	server->client_count--;
	if (client->socket->applying == client)
		client->socket->applying = NULL;
	uapi_apply_end(client->apply);
	uapi_parser_destroy(client->parser);
	uapi_printer_destroy(client->printer);
	close(client->fd);
	secret_free(client);
}

static void serve(
	struct uapi_server *server, struct client *client, uint32_t events, struct wg_time now)
{
	bool alive = true;

	if (client->state == CLIENT_READING && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		alive = read_some(client, now.mono_ns);
	else if (client->state == CLIENT_WRITING)
		alive = write_some(client, now.mono_ns);
	if (!alive)
		close_client(server, client);
	else if (client->state == CLIENT_WRITING && !client->out && client->last)
		close_client(server, client);
	else if (client->state == CLIENT_WRITING && !client->out) {
		client->state = CLIENT_READING;
		watch(server, client, EPOLL_CTL_MOD, EPOLLIN);
	}
}

/* Goes on with what needs no more bytes from the client. */
static void advance(struct uapi_server *server, struct client *client, struct wg_time now)
{
	enum client_state before = client->state;

	if (client->state == CLIENT_READING)
		parse_some(client);
	if (client->state == CLIENT_WAITING && !client->socket->applying)
		begin_set(client);
	else if (client->state == CLIENT_APPLYING)
		step_set(client, now);
	if (client->state == before)
		return;
	if (client->state == CLIENT_WRITING) {
		client->progress_ns = now.mono_ns;
		watch(server, client, before == CLIENT_READING ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
			EPOLLOUT);
	} else if (before == CLIENT_READING) {
		watch(server, client, EPOLL_CTL_DEL, 0);
	}
}

/* --- Requests --- */

/* False when the client is gone. */
static bool read_some(struct client *client, uint64_t now_ns)
{
	ssize_t n;

	if (client->in_at < client->in_end)
		return true;
	n = recv(client->fd, client->in, sizeof(client->in), 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	client->in_at = 0;
	client->in_end = (size_t)n;
	client->progress_ns = now_ns;
	return true;
}

static void answer(struct client *client, int error)
{
	client->out = client->status;
	client->out_len = uapi_print_errno(client->status, error);
	client->state = CLIENT_WRITING;
	uapi_parser_reset(client->parser);
}

static void begin_get(struct client *client)
{
	struct uapi_socket *socket = client->socket;
	uint16_t listen_port = 0;
	uint32_t fwmark = 0;

	if (socket->hooks.get_sockets)
		socket->hooks.get_sockets(socket->hooks.arg, &listen_port, &fwmark);
	client->printer = uapi_printer_create(socket->device, listen_port, fwmark);
	if (!client->printer ||
		uapi_printer_next(client->printer, &client->out, &client->out_len) != 1) {
		uapi_printer_destroy(client->printer);
		client->printer = NULL;
		answer(client, -ENOMEM);
		return;
	}
	client->state = CLIENT_WRITING;
	uapi_parser_reset(client->parser);
}

static void parse_some(struct client *client)
{
	size_t used = uapi_parser_feed(
		client->parser, client->in + client->in_at, client->in_end - client->in_at);

	explicit_bzero(client->in + client->in_at, used);
	client->in_at += used;
	switch (uapi_parser_request(client->parser)) {
	case UAPI_REQUEST_NONE:
		break;
	case UAPI_REQUEST_GET:
		begin_get(client);
		break;
	case UAPI_REQUEST_SET:
		client->state = CLIENT_WAITING;
		break;
	case UAPI_REQUEST_BROKEN:
		client->last = true;
		/* fall through */
	case UAPI_REQUEST_BAD:
		log_warning("%s: a configuration request was refused: %s", client->socket->name,
			uapi_parser_reason(client->parser));
		answer(client, uapi_parser_errno(client->parser));
		break;
	}
}

/* --- Sets --- */

static void begin_set(struct client *client)
{
	struct uapi_socket *socket = client->socket;
	struct uapi_config *config = uapi_parser_config(client->parser);
	int rc = uapi_apply_begin(&client->apply, socket->device, config, &socket->apply_hooks);

	if (rc != 0) {
		/* A port that cannot be had has its line already. */
		if (rc != -EADDRINUSE && rc != -EACCES)
			log_warning("%s: a configuration request was refused: %s", socket->name,
				strerror(-rc));
		client->apply = NULL;
		answer(client, rc);
		return;
	}
	socket->applying = client;
	client->state = CLIENT_APPLYING;
}

static void step_set(struct client *client, struct wg_time now)
{
	struct uapi_socket *socket = client->socket;
	const struct uapi_applied *applied;
	int rc = uapi_apply_step(client->apply, APPLY_BUDGET, now);

	if (rc > 0)
		return;
	applied = uapi_apply_result(client->apply);
	if (applied->own_key_skipped)
		log_warning("%s: a peer with the interface's own public key was left out",
			socket->name);
	if (rc < 0)
		log_error("%s: a configuration request ended halfway (%u peers added, %u removed): "
			  "%s",
			socket->name, applied->peers_added, applied->peers_removed, strerror(-rc));
	uapi_apply_end(client->apply);
	client->apply = NULL;
	socket->applying = NULL;
	answer(client, rc);
}

/* --- Answers --- */

/* Writes one piece. False when the client is gone; out is NULL when all is written. */
static bool write_some(struct client *client, uint64_t now_ns)
{
	ssize_t n = send(client->fd, client->out, client->out_len, MSG_NOSIGNAL);
	int more = 0;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	client->progress_ns = now_ns;
	client->out += n;
	client->out_len -= (size_t)n;
	if (client->out_len > 0)
		return true;
	if (client->printer)
		more = uapi_printer_next(client->printer, &client->out, &client->out_len);
	if (more > 0)
		return true;
	uapi_printer_destroy(client->printer);
	client->printer = NULL;
	client->out = NULL;
	if (more < 0) {
		/* The rest cannot be printed: the answer says so in its last line. */
		answer(client, more);
		client->last = true;
	}
	return true;
}

/* --- Sockets --- */

/* Who may write to the directory may put a socket in the place of ours, and "wg" gives it keys. */
static void judge_directory(const char *directory)
{
	struct stat st;

	if (stat(directory, &st) != 0 ||
		((st.st_uid == 0 || st.st_uid == geteuid()) && (st.st_mode & 0022) == 0))
		return;
	log_warning("%s: other users may put sockets there, to which \"wg\" would give keys: it "
		    "should be root's, with mode 0755",
		directory);
}

struct uapi_server *uapi_server_create(const char *directory)
{
	struct uapi_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->epoll = -1;
	if (strlen(directory) >= sizeof(server->directory)) {
		log_error("%s: too long for a directory of sockets", directory);
		errno = ENAMETOOLONG;
		goto fail;
	}
	strcpy(server->directory, directory);
	if (mkdir(directory, 0755) != 0 && errno != EEXIST) {
		log_error("%s: cannot be made: %s%s", directory, strerror(errno),
			errno == EACCES ? ": make it, and make it this user's" : "");
		goto fail;
	}
	judge_directory(directory);
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll < 0) {
		log_error("configuration sockets: %s", strerror(errno));
		goto fail;
	}
	return server;
fail:
	free(server);
	return NULL;
}

void uapi_server_destroy(struct uapi_server *server)
{
	if (!server)
		return;
	while (server->socket_count)
		uapi_server_remove(server, server->sockets[server->socket_count - 1]->name);
	close(server->epoll);
	free(server);
}

/* Whether somebody answers on a socket file. */
static bool is_served(const struct sockaddr_un *address)
{
	bool served;
	int fd;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return true;
	/* Somebody is there also where the backlog is full, or where we may not ask. */
	served = connect(fd, (const void *)address, sizeof(*address)) == 0 ||
		 (errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return served;
}

/* Listens at a path; its file is nobody's yet. */
static int listen_at(int fd, const struct sockaddr_un *address)
{
	unlink(address->sun_path);
	/* Before bind(), so that the file never exists with another mode. */
	if (fchmod(fd, 0600) != 0 || bind(fd, (const void *)address, sizeof(*address)) != 0 ||
		listen(fd, BACKLOG) != 0)
		return -errno;
	return 0;
}

/* Gives the file of a socket that listens its name; takes that of a program that has ended. */
static int name_socket(const char *from, const struct sockaddr_un *to)
{
	struct stat st;

	if (link(from, to->sun_path) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (lstat(to->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	if (is_served(to))
		return -EADDRINUSE;
	if (unlink(to->sun_path) != 0 || link(from, to->sun_path) != 0)
		return -errno;
	return 0;
}

/* Under a name of this process until it listens: wg removes a socket that refuses it. */
static int open_socket(const struct uapi_server *server, struct uapi_socket *sock)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX};
	struct stat st;
	int rc;

	snprintf(own.sun_path, sizeof(own.sun_path), "%s/%.15s.%d", server->directory, sock->name,
		(int)getpid());
	sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (sock->fd < 0)
		return -errno;
	rc = listen_at(sock->fd, &own);
	if (rc != 0)
		return rc;
	rc = lstat(own.sun_path, &st) == 0 ? name_socket(own.sun_path, &sock->address) : -errno;
	unlink(own.sun_path);
	if (rc != 0)
		return rc;
	sock->dev = st.st_dev;
	sock->ino = st.st_ino;
	return 0;
}

/* Removes the file too, if it is still the one that was made. */
static void free_socket(struct uapi_socket *sock)
{
	struct stat st;

	if (sock->ino && lstat(sock->address.sun_path, &st) == 0 && st.st_dev == sock->dev &&
		st.st_ino == sock->ino)
		unlink(sock->address.sun_path);
	if (sock->fd >= 0)
		close(sock->fd);
	free(sock);
}

int uapi_server_add(struct uapi_server *server, const char *name, struct wg_device *device,
	const struct uapi_server_hooks *hooks)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct uapi_socket *sock;
	int rc;

	if (server->socket_count == LIMIT_INTERFACES || !uapi_interface_name_valid(name))
		return -EINVAL;
	sock = calloc(1, sizeof(*sock));
	if (!sock)
		return -ENOMEM;
	sock->kind = KIND_SOCKET;
	sock->device = device;
	sock->hooks = *hooks;
	sock->apply_hooks = (struct uapi_hooks){hooks->set_sockets, hooks->changed, hooks->arg};
	strcpy(sock->name, name);
	sock->address.sun_family = AF_UNIX;
	snprintf(sock->address.sun_path, sizeof(sock->address.sun_path), "%s/%.15s.sock",
		server->directory, name);
	rc = open_socket(server, sock);
	event.data.ptr = sock;
	if (rc == 0 && epoll_ctl(server->epoll, EPOLL_CTL_ADD, sock->fd, &event) != 0)
		rc = -errno;
	if (rc != 0) {
		log_error("%s: %s", sock->address.sun_path,
			rc == -EADDRINUSE ? "another program serves this interface"
			: rc == -ENOTSOCK ? "it is there and no socket: remove it"
			: rc == -EACCES	  ? "not permitted: make the directory this user's"
					  : strerror(-rc));
		free_socket(sock);
		return rc;
	}
	server->sockets[server->socket_count++] = sock;
	return 0;
}

void uapi_server_remove(struct uapi_server *server, const char *name)
{
	struct client *client, *next;
	struct uapi_socket *sock;
	unsigned i;

	for (i = 0; i < server->socket_count; i++)
		if (strcmp(server->sockets[i]->name, name) == 0)
			break;
	if (i == server->socket_count)
		return;
	sock = server->sockets[i];
	for (client = server->clients; client; client = next) {
		next = client->next;
		if (client->socket == sock)
			close_client(server, client);
	}
	free_socket(sock);
	server->sockets[i] = server->sockets[--server->socket_count];
}
