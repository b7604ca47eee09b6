/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration sockets, with raw clients in a directory of their own, and with the stock wg(8)
 * in the place where it looks (under names with this process's number). One thread plays the
 * control loop for all of it; time is virtual.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "app/log.h"
#include "app/uapi_server.h"
#include "fake_device.h"
#include "uapi/keytext.h"

#define HEX_A	"6138b5a5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b541"
#define HEX_B	"6299b5a5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b542"
#define PRIVATE "c031b5a5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b543"

static char last_log[1024];

static void keep(const char *format, va_list args)
{
	vsnprintf(last_log, sizeof(last_log), format, args);
}

/* In the place of app/log.c */
void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep(format, args);
	va_end(args);
}

void log_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep(format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep(format, args);
	va_end(args);
}

struct watch {
	struct sockaddr_un address;
	_Atomic bool end;
	_Atomic unsigned phase; /* odd: the socket is being removed */
	unsigned refused;
};

struct world {
	char directory[64], name[16], path[96];
	struct uapi_server *server;
	struct wg_device *device;
	struct wg_time now;
	uint16_t listen_port;
	uint32_t fwmark;
};

static int set_sockets(void *arg, const struct uapi_config *config)
{
	struct world *world = arg;

	if (config->set_listen_port && config->listen_port == 666)
		return -EADDRINUSE;
	if (config->set_listen_port)
		world->listen_port = config->listen_port;
	if (config->set_fwmark)
		world->fwmark = config->fwmark;
	return 0;
}

static void get_sockets(void *arg, uint16_t *listen_port, uint32_t *fwmark)
{
	struct world *world = arg;

	*listen_port = world->listen_port;
	*fwmark = world->fwmark;
}

static struct uapi_server_hooks hooks_of(struct world *world)
{
	return (struct uapi_server_hooks){
		.set_sockets = set_sockets, .get_sockets = get_sockets, .arg = world};
}

static void open_world(struct world *world, const char *directory)
{
	struct uapi_server_hooks hooks = hooks_of(world);

	snprintf(world->directory, sizeof(world->directory), "%s", directory);
	snprintf(world->name, sizeof(world->name), "wgt%d", getpid());
	snprintf(world->path, sizeof(world->path), "%s/%s.sock", directory, world->name);
	world->now = (struct wg_time){1000, 2000};
	world->device = fake_device_create();
	world->server = uapi_server_create(directory);
	assert_non_null(world->server);
	assert_int_equal(uapi_server_add(world->server, world->name, world->device, &hooks), 0);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	char directory[] = "/tmp/dpdk-wg-test-XXXXXX";

	if (!world || !mkdtemp(directory))
		return -1;
	last_log[0] = '\0';
	open_world(world, directory);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	struct world *world = *state;

	uapi_server_destroy(world->server);
	fake_device_destroy(world->device);
	assert_int_equal(access(world->path, F_OK), -1);
	/* The place of the stock tool is everybody's. */
	if (strcmp(world->directory, UAPI_SERVER_DIRECTORY) != 0)
		rmdir(world->directory);
	free(world);
	return 0;
}

/* --- The control loop, and raw clients --- */

static void turn(struct world *world)
{
	uapi_server_process(world->server, world->now);
}

static bool idle(struct world *world)
{
	struct pollfd fd = {.fd = uapi_server_fd(world->server), .events = POLLIN};

	return poll(&fd, 1, 0) == 0 && uapi_server_deadline(world->server) != 0;
}

static void run_until_idle(struct world *world)
{
	for (int i = 0; !idle(world); i++) {
		assert_true(i < 1000000);
		turn(world);
	}
}

static int connect_raw(struct world *world)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", world->path);
	assert_int_equal(connect(fd, (void *)&address, sizeof(address)), 0);
	return fd;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come by now; the end of the connection as "(closed)". */
static const char *received(int fd)
{
	static char text[65536];
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, text + len, sizeof(text) - 16 - len, 0)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	if (n == 0 || errno != EAGAIN)
		strcpy(text + len, "(closed)");
	return text;
}

static void assert_answer(struct world *world, int fd, const char *request, const char *answer)
{
	send_text(fd, request);
	run_until_idle(world);
	assert_string_equal(received(fd), answer);
}

/* --- Requests --- */

static void test_get_and_set(void **state)
{
	struct world *world = *state;
	int fd = connect_raw(world);

	assert_answer(world, fd, "get=1\n\n", "errno=0\n\n");
	assert_answer(world, fd,
		"set=1\nprivate_key=" PRIVATE "\nlisten_port=7\nfwmark=8\npublic_key=" HEX_A
		"\nallowed_ip=10.0.0.0/8\n\n",
		"errno=0\n\n");
	assert_string_equal(fake_device_changes(world->device), "key +a a+10.0.0.0/8");
	assert_int_equal(world->listen_port, 7);
	assert_answer(world, fd, "get=1\n\n",
		"private_key=" PRIVATE "\nlisten_port=7\nfwmark=8\npublic_key=" HEX_A
		"\nprotocol_version=1\nlast_handshake_time_sec=0\n"
		"last_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n"
		"persistent_keepalive_interval=0\nallowed_ip=10.0.0.0/8\nerrno=0\n\n");
	close(fd);
	run_until_idle(world);
	assert_int_equal(uapi_server_deadline(world->server), UINT64_MAX);
}

static void test_byte_by_byte(void **state)
{
	static const char text[] = "set=1\npublic_key=" HEX_A "\n\nget=1\n\n";
	struct world *world = *state;
	int fd = connect_raw(world);

	for (const char *p = text; *p; p++) {
		assert_int_equal(send(fd, p, 1, 0), 1);
		run_until_idle(world);
	}
	assert_non_null(strstr(received(fd), "errno=0\n\npublic_key=" HEX_A "\n"));
	close(fd);
}

/* Several requests in one write are answered in order. */
static void test_all_at_once(void **state)
{
	struct world *world = *state;
	int fd = connect_raw(world);

	assert_answer(world, fd, "set=1\nfoo=1\n\nset=1\nlisten_port=5\n\nget=1\n\n",
		"errno=-22\n\nerrno=0\n\nlisten_port=5\nerrno=0\n\n");
	close(fd);
}

static void test_bad_requests(void **state)
{
	struct world *world = *state;
	int fd = connect_raw(world);
	char expected[200];

	assert_answer(world, fd, "set=1\nlisten_port=9\npublic_key=" HEX_A "\nallowed_ip=x\n\n",
		"errno=-22\n\n");
	snprintf(expected, sizeof(expected),
		"%s: a configuration request was refused: line 4: allowed_ip \"x\": ", world->name);
	assert_int_equal(strncmp(last_log, expected, strlen(expected)), 0);
	assert_string_equal(fake_device_changes(world->device), "");
	assert_int_equal(world->listen_port, 0);
	/* A port that is taken: nothing of the rest is applied. */
	assert_answer(
		world, fd, "set=1\nlisten_port=666\npublic_key=" HEX_A "\n\n", "errno=-98\n\n");
	assert_string_equal(fake_device_changes(world->device), "");
	/* What is not the protocol is answered and closed. */
	assert_answer(world, fd, "GET / HTTP/1.1\n", "errno=-71\n\n(closed)");
	close(fd);
}

/* A client that goes in the middle of a request changes nothing; at its end, everything. */
static void test_client_goes(void **state)
{
	struct world *world = *state;
	int fd = connect_raw(world);

	send_text(fd, "set=1\npublic_key=" HEX_A "\n");
	run_until_idle(world);
	close(fd);
	run_until_idle(world);
	assert_string_equal(fake_device_changes(world->device), "");
	fd = connect_raw(world);
	send_text(fd, "set=1\npublic_key=" HEX_A "\n\n");
	close(fd);
	run_until_idle(world);
	assert_string_equal(fake_device_changes(world->device), "+a");
}

/* --- Several clients --- */

static char *many_peers(unsigned first, unsigned count)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	assert_non_null(to);
	fprintf(to, "set=1\n");
	for (unsigned i = first; i < first + count; i++)
		fprintf(to, "public_key=%064x\nallowed_ip=10.0.%u.%u/32\n", i, i >> 8, i & 255);
	fprintf(to, "\n");
	fclose(to);
	return text;
}

static void send_all(struct world *world, int fd, const char *text)
{
	size_t at = 0, len = strlen(text);

	while (at < len) {
		ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);

		if (n > 0)
			at += (size_t)n;
		else
			assert_int_equal(errno, EAGAIN);
		turn(world);
	}
}

/* A set is done in many small turns; another waits for its end; a get does not. */
static void test_sets_take_turns(void **state)
{
	struct world *world = *state;
	int one = connect_raw(world), two = connect_raw(world), three = connect_raw(world);
	char *text = many_peers(1, 400);
	unsigned turns = 0;

	send_all(world, one, text);
	while (wg_device_peer_count(world->device) == 0)
		turn(world);
	send_text(two, "set=1\nreplace_peers=true\npublic_key=" HEX_A "\n\n");
	send_text(three, "get=1\n\n");
	while (wg_device_peer_count(world->device) < 400) {
		assert_int_equal(uapi_server_deadline(world->server), 0);
		assert_string_equal(received(two), "");
		turn(world);
		turns++;
	}
	assert_true(turns > 5);
	assert_non_null(strstr(received(three), "errno=0\n\n"));
	run_until_idle(world);
	assert_string_equal(received(one), "errno=0\n\n");
	assert_string_equal(received(two), "errno=0\n\n");
	assert_int_equal(wg_device_peer_count(world->device), 1);
	free(text);
	close(one);
	close(two);
	close(three);
}

/* A client that does not read holds up nobody, and is closed in the end. */
static void test_slow_reader(void **state)
{
	struct world *world = *state;
	int slow = connect_raw(world), quick = connect_raw(world), small = 4096;
	char *text = many_peers(1, 3000);

	send_all(world, quick, text);
	run_until_idle(world);
	assert_string_equal(received(quick), "errno=0\n\n");
	setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	send_text(slow, "get=1\n\n");
	run_until_idle(world);
	assert_answer(world, quick, "set=1\n\n", "errno=0\n\n");
	assert_int_equal(uapi_server_deadline(world->server), 1000 + UAPI_SERVER_TIMEOUT_NS);
	world->now.mono_ns += UAPI_SERVER_TIMEOUT_NS / 2;
	assert_answer(world, quick, "set=1\n\n", "errno=0\n\n");
	world->now.mono_ns += UAPI_SERVER_TIMEOUT_NS / 2;
	turn(world);
	assert_non_null(strstr(received(slow), "(closed)"));
	/* The other one moved in between and stays. */
	assert_answer(world, quick, "set=1\n\n", "errno=0\n\n");
	free(text);
	close(slow);
	close(quick);
}

static void test_silent_client(void **state)
{
	struct world *world = *state;
	int fd = connect_raw(world);

	send_text(fd, "set=1\n");
	run_until_idle(world);
	world->now.mono_ns += UAPI_SERVER_TIMEOUT_NS - 1;
	turn(world);
	assert_string_equal(received(fd), "");
	world->now.mono_ns++;
	turn(world);
	assert_string_equal(received(fd), "(closed)");
	close(fd);
}

static void test_too_many_clients(void **state)
{
	struct world *world = *state;
	int fds[UAPI_SERVER_CLIENTS + 1];

	for (int i = 0; i <= UAPI_SERVER_CLIENTS; i++) {
		fds[i] = connect_raw(world);
		run_until_idle(world);
	}
	assert_string_equal(received(fds[UAPI_SERVER_CLIENTS]), "(closed)");
	assert_answer(world, fds[0], "get=1\n\n", "errno=0\n\n");
	close(fds[0]);
	run_until_idle(world);
	fds[0] = connect_raw(world);
	assert_answer(world, fds[0], "get=1\n\n", "errno=0\n\n");
	for (int i = 0; i <= UAPI_SERVER_CLIENTS; i++)
		close(fds[i]);
}

/* --- The socket file --- */

static void test_mode(void **state)
{
	struct world *world = *state;
	struct stat st;

	assert_int_equal(stat(world->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* Would catch a look at the wrong bits, and one at the directory of another user. */
static void test_directory_of_others(void **state)
{
	static const struct {
		mode_t mode;
		uid_t owner;
		bool warned;
	} cases[] = {{0755, 0, false}, {0700, 0, false}, {0775, 0, true}, {0757, 0, true},
		{01777, 0, true}, {0755, 65534, true}};
	struct world *world = *state;

	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct uapi_server *server;

		assert_int_equal(chmod(world->directory, cases[i].mode), 0);
		assert_int_equal(chown(world->directory, cases[i].owner, 0), 0);
		last_log[0] = '\0';
		server = uapi_server_create(world->directory);
		assert_non_null(server);
		uapi_server_destroy(server);
		assert_int_equal(strstr(last_log, "other users") != NULL, cases[i].warned);
	}
	assert_int_equal(chown(world->directory, 0, 0), 0);
}

static void test_another_program_serves(void **state)
{
	struct world *world = *state;
	struct uapi_server *other = uapi_server_create(world->directory);
	struct uapi_server_hooks hooks = hooks_of(world);
	int fd;

	assert_int_equal(uapi_server_add(other, world->name, world->device, &hooks), -EADDRINUSE);
	assert_non_null(strstr(last_log, ".sock: another program serves this interface"));
	uapi_server_destroy(other);
	/* And the first one still works. */
	fd = connect_raw(world);
	assert_answer(world, fd, "get=1\n\n", "errno=0\n\n");
	close(fd);
}

/* Its user may not ask it, and could replace it. */
static void test_another_users_program_serves(void **state)
{
	struct world *world = *state;
	struct uapi_server *other = uapi_server_create(world->directory);
	struct uapi_server_hooks hooks = hooks_of(world);
	struct stat before, after;

	if (geteuid() != 0)
		skip();
	assert_int_equal(stat(world->path, &before), 0);
	assert_int_equal(chmod(world->directory, 0777), 0);
	assert_int_equal(seteuid(65534), 0);
	int err = uapi_server_add(other, world->name, world->device, &hooks);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(err, -EADDRINUSE);
	uapi_server_destroy(other);
	assert_int_equal(chmod(world->directory, 0755), 0);
	assert_int_equal(stat(world->path, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
}

/* A program that is too busy to answer at once is not taken for a dead one. */
static void test_another_program_is_busy(void **state)
{
	struct world *world = *state;
	struct uapi_server *other = uapi_server_create(world->directory);
	struct uapi_server_hooks hooks = hooks_of(world);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fds[256], n = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", world->path);
	do {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(n < 255 && fds[n] >= 0);
	} while (connect(fds[n++], (void *)&address, sizeof(address)) == 0);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(uapi_server_add(other, world->name, world->device, &hooks), -EADDRINUSE);
	uapi_server_destroy(other);
	assert_int_equal(access(world->path, F_OK), 0);
	while (n > 0)
		close(fds[--n]);
}

static void bind_stale(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (void *)&address, sizeof(address)), 0);
	close(fd);
}

static void test_stale_socket(void **state)
{
	struct world *world = *state;
	struct uapi_server_hooks hooks = hooks_of(world);
	int fd;

	uapi_server_remove(world->server, world->name);
	assert_int_equal(access(world->path, F_OK), -1);
	bind_stale(world->path);
	assert_int_equal(uapi_server_add(world->server, world->name, world->device, &hooks), 0);
	fd = connect_raw(world);
	assert_answer(world, fd, "get=1\n\n", "errno=0\n\n");
	close(fd);
}

/* Counts the connections that a file with the socket's name refuses, but for one on its way out. */
static void *look_for_refusal(void *arg)
{
	struct watch *watch = arg;

	while (!atomic_load(&watch->end)) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		unsigned phase = atomic_load(&watch->phase);

		if (connect(fd, (const void *)&watch->address, sizeof(watch->address)) != 0 &&
			errno == ECONNREFUSED && phase % 2 == 0)
			watch->refused += atomic_load(&watch->phase) == phase;
		close(fd);
	}
	return NULL;
}

/* wg removes a socket that refuses it: one that does not listen yet must not be found. */
static void test_listens_when_found(void **state)
{
	struct world *world = *state;
	struct uapi_server_hooks hooks = hooks_of(world);
	struct watch watch = {.address.sun_family = AF_UNIX};
	pthread_t thread;

	snprintf(watch.address.sun_path, sizeof(watch.address.sun_path), "%s", world->path);
	assert_int_equal(pthread_create(&thread, NULL, look_for_refusal, &watch), 0);
	for (unsigned i = 0; i < 2000; i++) {
		atomic_fetch_add(&watch.phase, 1);
		uapi_server_remove(world->server, world->name);
		atomic_fetch_add(&watch.phase, 1);
		assert_int_equal(
			uapi_server_add(world->server, world->name, world->device, &hooks), 0);
	}
	atomic_store(&watch.end, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(watch.refused, 0);
}

/* What is no socket is not ours to remove. */
static void test_other_file(void **state)
{
	struct world *world = *state;
	struct uapi_server_hooks hooks = hooks_of(world);

	uapi_server_remove(world->server, world->name);
	close(open(world->path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(
		uapi_server_add(world->server, world->name, world->device, &hooks), -ENOTSOCK);
	assert_int_equal(unlink(world->path), 0);
}

/* A socket that was replaced by somebody else's stays when ours goes. */
static void test_replaced_socket(void **state)
{
	struct world *world = *state;

	assert_int_equal(unlink(world->path), 0);
	bind_stale(world->path);
	uapi_server_remove(world->server, world->name);
	assert_int_equal(access(world->path, F_OK), 0);
	assert_int_equal(unlink(world->path), 0);
}

static void test_remove_in_the_middle(void **state)
{
	struct world *world = *state;
	int fd = connect_raw(world);
	char *text = many_peers(1, 400);

	send_all(world, fd, text);
	while (wg_device_peer_count(world->device) == 0)
		turn(world);
	uapi_server_remove(world->server, world->name);
	assert_string_equal(received(fd), "(closed)");
	assert_true(wg_device_peer_count(world->device) < 400);
	assert_int_equal(uapi_server_deadline(world->server), UINT64_MAX);
	free(text);
	close(fd);
}

/* --- The stock tool --- */

static int set_up_wg(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	if (!world)
		return -1;
	open_world(world, UAPI_SERVER_DIRECTORY);
	*state = world;
	return 0;
}

/* Runs a shell command with $I the interface and $D a directory, serving it meanwhile. Its output.
 */
static const char *run(struct world *world, const char *command)
{
	static char output[65536];
	int ends[2], status;
	size_t len = 0;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		setenv("I", world->name, 1);
		setenv("WG_COLOR_MODE", "never", 1);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	for (;;) {
		struct pollfd fds[2] = {{.fd = uapi_server_fd(world->server), .events = POLLIN},
			{.fd = ends[0], .events = POLLIN}};
		ssize_t n;

		poll(fds, 2, uapi_server_deadline(world->server) == 0 ? 0 : 20000);
		turn(world);
		if (!fds[1].revents)
			continue;
		n = read(ends[0], output + len, sizeof(output) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(ends[0]);
	output[len] = '\0';
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("%s: status %x: %s", command, status, output);
	return output;
}

#define BASE64_PRIVATE "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE="
#define BASE64_A       "YzIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=" /* "c..." in bytes */
#define BASE64_B       "ZDMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=" /* "d..." */
#define BASE64_PSK     "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA="

#define CONF_ONE                                                                                   \
	"[Interface]\\nListenPort = 51820\\nPrivateKey = " BASE64_PRIVATE                          \
	"\\n\\n[Peer]\\nPublicKey = " BASE64_A "\\nPresharedKey = " BASE64_PSK                     \
	"\\nAllowedIPs = 10.0.0.0/8, 2001:db8::/32\\nEndpoint = 192.0.2.1:5\\n"                    \
	"PersistentKeepalive = 25\\n"
#define CONF_TWO                                                                                   \
	"\\n[Peer]\\nPublicKey = " BASE64_B                                                        \
	"\\nAllowedIPs = 10.1.0.0/16\\nEndpoint = [2001:db8::1]:6\\n"

static void test_wg_setconf_showconf(void **state)
{
	struct world *world = *state;

	assert_string_equal(run(world, "printf '" CONF_ONE CONF_TWO
				       "' > /tmp/$I.test && wg setconf $I /tmp/$I.test"),
		"");
	assert_string_equal(fake_device_changes(world->device),
		"key +c c.psk c.endpoint c.keepalive c+10.0.0.0/8 c+2001:db8::/32 "
		"+d d.endpoint d+10.1.0.0/16");
	assert_string_equal(run(world, "wg showconf $I | sed -e '/^$/d' -e '/FwMark/d'"),
		"[Interface]\nListenPort = 51820\nPrivateKey = " BASE64_PRIVATE
		"\n[Peer]\nPublicKey = " BASE64_A "\nPresharedKey = " BASE64_PSK
		"\nAllowedIPs = 10.0.0.0/8, 2001:db8::/32\nEndpoint = 192.0.2.1:5\n"
		"PersistentKeepalive = 25\n[Peer]\nPublicKey = " BASE64_B
		"\nAllowedIPs = 10.1.0.0/16\nEndpoint = [2001:db8::1]:6\n");
	/* The same again, in each way: nothing changes. */
	assert_string_equal(run(world, "wg setconf $I /tmp/$I.test"), "");
	assert_string_equal(run(world, "wg syncconf $I /tmp/$I.test"), "");
	assert_string_equal(run(world, "wg addconf $I /tmp/$I.test"), "");
	assert_string_equal(
		run(world, "wg showconf $I > /tmp/$I.test; wg setconf $I /tmp/$I.test"), "");
	assert_string_equal(fake_device_changes(world->device), "");
	/* Less one peer */
	run(world, "printf '" CONF_ONE "' > /tmp/$I.test && wg syncconf $I /tmp/$I.test");
	assert_string_equal(fake_device_changes(world->device), "10.1.0.0/16- -d");
	run(world, "rm /tmp/$I.test");
}

static void test_wg_set(void **state)
{
	struct world *world = *state;

	run(world,
		"wg set $I listen-port 4000 fwmark 0x10 peer " BASE64_A
		" endpoint 192.0.2.9:9 allowed-ips 10.0.0.0/8,10.1.2.3/16 persistent-keepalive 9");
	assert_int_equal(world->listen_port, 4000);
	assert_int_equal(world->fwmark, 16);
	assert_string_equal(fake_device_changes(world->device),
		"+c c.endpoint c.keepalive c+10.0.0.0/8 c+10.1.0.0/16");
	run(world, "wg set $I peer " BASE64_A " allowed-ips 10.1.0.0/16 persistent-keepalive off");
	assert_string_equal(fake_device_changes(world->device), "c.keepalive 10.0.0.0/8-");
	assert_string_equal(run(world, "wg show $I allowed-ips"), BASE64_A "\t10.1.0.0/16\n");
	assert_string_equal(run(world, "wg show $I endpoints"), BASE64_A "\t192.0.2.9:9\n");
	assert_string_equal(run(world, "wg show $I listen-port"), "4000\n");
	assert_string_equal(run(world, "wg show $I fwmark"), "0x10\n");
	run(world, "wg set $I peer " BASE64_A " remove");
	assert_string_equal(fake_device_changes(world->device), "10.1.0.0/16- -c");
	assert_string_equal(
		run(world, "wg show interfaces | tr ' ' '\\n' | grep -x $I | wc -l"), "1\n");
	/* An error reaches the operator. */
	assert_non_null(strstr(
		run(world, "wg set $I listen-port 666 2>&1 || true"), "Address already in use"));
}

static void test_wg_show(void **state)
{
	struct world *world = *state;
	struct wg_peer *peer;

	run(world, "echo " BASE64_PRIVATE " | wg set $I private-key /dev/stdin peer " BASE64_A
		   " allowed-ips 0.0.0.0/0,::/0");
	peer = wg_device_next_peer(world->device, NULL);
	fake_peer_set_state(peer, 1700000000000000000ull, 1024, 5u << 20);
	assert_string_equal(run(world, "wg show $I transfer"), BASE64_A "\t5242880\t1024\n");
	assert_string_equal(run(world, "wg show $I latest-handshakes"), BASE64_A "\t1700000000\n");
	assert_string_equal(run(world, "wg show $I persistent-keepalive"), BASE64_A "\toff\n");
	assert_string_equal(run(world, "wg show $I private-key"), BASE64_PRIVATE "\n");
	assert_non_null(
		strstr(run(world, "wg show $I"), "transfer: 5.00 MiB received, 1.00 KiB sent"));
}

/* More allowed IPs than one netlink message holds: wg sends and reads them as one request here. */
static void test_wg_many_allowed_ips(void **state)
{
	struct world *world = *state;

	run(world, "{ printf '[Peer]\\nPublicKey = " BASE64_A "\\nAllowedIPs = 10.0.0.0/32'; "
		   "for i in 1 2 3 4 5 6 7 8; do seq -f \", 10.0.$i.%g/32\" 0 249; done | "
		   "tr -d '\\n'; echo; } > /tmp/$I.test && wg addconf $I /tmp/$I.test && "
		   "rm /tmp/$I.test");
	assert_string_equal(run(world, "wg show $I allowed-ips | wc -w"), "2002\n");
}

int main(void)
{
	struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_get_and_set, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_byte_by_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bad_requests, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_client_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sets_take_turns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_slow_reader, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_silent_client, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_many_clients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mode, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_directory_of_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_program_serves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_another_users_program_serves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_program_is_busy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stale_socket, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_listens_when_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replaced_socket, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_remove_in_the_middle, set_up, tear_down),
	};
	struct CMUnitTest wg_tests[] = {
		cmocka_unit_test_setup_teardown(test_wg_setconf_showconf, set_up_wg, tear_down),
		cmocka_unit_test_setup_teardown(test_wg_set, set_up_wg, tear_down),
		cmocka_unit_test_setup_teardown(test_wg_show, set_up_wg, tear_down),
		cmocka_unit_test_setup_teardown(test_wg_many_allowed_ips, set_up_wg, tear_down),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	signal(SIGPIPE, SIG_IGN);
	if (geteuid() == 0 && system("command -v wg >/dev/null") == 0)
		failed += cmocka_run_group_tests(wg_tests, NULL, NULL);
	else
		print_message("wg(8) was not tried: it needs root and wireguard-tools\n");
	return failed;
}
