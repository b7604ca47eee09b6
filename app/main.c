/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dpdk-wg: from the command line to the running gateway, and back down again. What is set up last
 * is taken down first; every step that fails says why in one line, and all before it is undone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "base/secret_mem.h"
#include "check.h"
#include "configs.h"
#include "control.h"
#include "crypto/random.h"
#include "datapath/reclaim.h"
#include "eal_files.h"
#include "environment.h"
#include "gateway.h"
#include "handshakers.h"
#include "host.h"
#include "icmp_reply.h"
#include "interface.h"
#include "log.h"
#include "neighbours.h"
#include "notify.h"
#include "options.h"
#include "privileges.h"
#include "syscall_filter.h"
#include "telemetry.h"
#include "uapi_server.h"

/* Packet buffers: what queues and rings can hold at once, and what lies in between. */
#define MBUFS_A_QUEUE_PAIR 3072
#define MBUFS_A_WORKER	   6144
#define MBUFS_SHARED	   8192
#define MBUF_CACHE	   256

#define READY_BYTES 960

/* --- What a device may use of the world (struct wg_env) --- */

static void env_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	random_fill(buf, len);
}

static void *env_alloc(void *arg, size_t size)
{
	(void)arg;
	return secret_alloc(size);
}

static void env_free(void *arg, void *p)
{
	(void)arg;
	secret_free(p);
}

static struct wg_activity *env_activity(void *arg, uint32_t peer_id)
{
	struct gateway *gateway = arg;

	return dp_peer_activity(gateway->dp, peer_id);
}

static int make_protocol_state(struct gateway *gateway)
{
	gateway->env = (struct wg_env){
		.random = env_random,
		.alloc = env_alloc,
		.free = env_free,
		.activity = env_activity,
		.arg = gateway,
	};
	gateway->indices = wg_index_table_create(env_random, NULL);
	gateway->ids = wg_ids_create(LIMIT_PEERS);
	/* Address space only: a page is taken when its first peer comes. */
	void *peers = mmap(NULL, LIMIT_PEERS * sizeof(*gateway->peers), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	gateway->peers = peers == MAP_FAILED ? NULL : peers;
	gateway->neighbours = neighbours_create();
	if (gateway->indices && gateway->ids && gateway->peers && gateway->neighbours)
		return 0;
	log_error("out of memory for the tables of peers");
	return -ENOMEM;
}

static void free_protocol_state(struct gateway *gateway)
{
	if (gateway->indices)
		wg_index_table_destroy(gateway->indices);
	if (gateway->ids)
		wg_ids_destroy(gateway->ids);
	if (gateway->peers)
		munmap(gateway->peers, LIMIT_PEERS * sizeof(*gateway->peers));
	if (gateway->neighbours)
		neighbours_destroy(gateway->neighbours);
}

/* --- Ports, buffers, workers --- */

/* The port of that device, found before or new; NULL after a line on why not. */
static struct port *take_port(struct gateway *gateway, const char *device, uint16_t mtu)
{
	uint16_t id;

	if (port_find(device, &id) != 0)
		return NULL;
	for (unsigned i = 0; i < gateway->port_count; i++) {
		if (gateway->ports[i].id == id)
			return &gateway->ports[i];
	}
	if (gateway->port_count == LIMIT_PORTS) {
		log_error("port \"%s\": more than %d ports", device, LIMIT_PORTS);
		return NULL;
	}
	struct port *port = &gateway->ports[gateway->port_count++];
	port->id = id;
	port->mtu = mtu;
	snprintf(port->device, sizeof(port->device), "%s", device);
	return port;
}

/* A port has a name and a number. */
static int failed_twice(const char *option, const char *device, const struct port *port)
{
	log_error("%s %s: this port is given already, as %s", option, device, port->device);
	return -EINVAL;
}

static int find_ports(struct gateway *gateway, const struct options *options)
{
	struct port *port;

	for (unsigned i = 0; i < options->outer_count; i++) {
		port = take_port(gateway, options->outer[i], options->mtu);
		if (!port)
			return -ENODEV;
		if (port->outer)
			return failed_twice("--outer", options->outer[i], port);
		port->outer = true;
	}
	for (unsigned i = 0; i < options->inner_count; i++) {
		port = take_port(gateway, options->inner[i], options->mtu);
		if (!port)
			return -ENODEV;
		if (port->inner)
			return failed_twice("--inner", options->inner[i], port);
		port->inner = true;
	}
	return 0;
}

/* What a buffer must hold: a port's frame, or a tunnel's packet, and what sealing adds. */
static uint32_t buffer_bytes(
	const struct gateway *gateway, const struct options *options, const struct configs *configs)
{
	uint32_t most = port_max_frame(gateway->ports, gateway->port_count);

	for (unsigned i = 0; i < options->interface_count; i++)
		most = RTE_MAX(most, (uint32_t)configs->of[i].mtu);
	/* NICs count in steps of so much, rounding down. */
	return RTE_ALIGN_CEIL(most + DP_SEAL_TAILROOM, 1024u);
}

static int make_pool(
	struct gateway *gateway, const struct options *options, const struct configs *configs)
{
	unsigned n = MBUFS_SHARED + gateway->workers * MBUFS_A_WORKER +
		     gateway->port_count * gateway->workers * MBUFS_A_QUEUE_PAIR +
		     (gateway->port_count + options->interface_count + options->capture) *
			     LIMIT_HOST_RING;
	uint32_t room = RTE_MAX(buffer_bytes(gateway, options, configs),
				(uint32_t)RTE_MBUF_DEFAULT_DATAROOM) +
			RTE_PKTMBUF_HEADROOM;

	/*
	 * Last in, first out: the buffers that come next are those still in the caches, and a
	 * thread that loses its CPU inside the pool holds nobody up. EAL's own kind where it is not
	 * built.
	 */
	static const char *const kinds[] = {"lf_stack", NULL};
	for (size_t i = 0; i < RTE_DIM(kinds) && !gateway->pool; i++)
		gateway->pool = rte_pktmbuf_pool_create_by_ops("dpdk-wg", n, MBUF_CACHE,
			DP_MBUF_PRIV_BYTES, (uint16_t)RTE_MIN(room, UINT16_MAX),
			(int)rte_socket_id(), kinds[i]);
	if (gateway->pool)
		return 0;
	log_error("%u packet buffers of %u bytes do not fit into memory (%s): give EAL more, "
		  "with -m %u or more hugepages",
		n, room, rte_strerror(rte_errno), (unsigned)(n * (room + 256ull) >> 20) + 160);
	return -ENOMEM;
}

static int start_ports(struct gateway *gateway)
{
	for (unsigned i = 0; i < gateway->port_count; i++) {
		int err = port_start(&gateway->ports[i], gateway->workers, gateway->pool);
		if (err)
			return err;
	}
	return 0;
}

static bool is_handshake_lcore(const struct options *options, unsigned lcore_id)
{
	for (unsigned i = 0; i < options->handshake_lcore_count; i++) {
		if (options->handshake_lcores[i] == lcore_id)
			return true;
	}
	return false;
}

static int make_workers(struct gateway *gateway, const struct options *options)
{
	unsigned id = 0, lcore_id;

	RTE_LCORE_FOREACH_WORKER(lcore_id)
	{
		struct lcore *lcore = &gateway->lcores[id];

		if (is_handshake_lcore(options, lcore_id))
			continue;

		*lcore = (struct lcore){
			.lcore_id = lcore_id,
			.ports = gateway->ports,
			.port_count = gateway->port_count,
			.workers = gateway->workers,
			.poll = options->poll,
			.quit = &gateway->quit,
		};
		int err = lcore_create(lcore, gateway->dp, id, options->aead);
		if (err) {
			log_error("worker %u: %s", id,
				err == -ENOTSUP ? "this CPU lacks what --aead asks for"
						: strerror(-err));
			return err;
		}
		id++;
	}
	return 0;
}

static int check_handshake_lcores(const struct options *options)
{
	for (unsigned i = 0; i < options->handshake_lcore_count; i++) {
		unsigned id = options->handshake_lcores[i];

		if (id >= RTE_MAX_LCORE || !rte_lcore_is_enabled(id)) {
			log_error("--handshake-lcores: EAL has no lcore %u: name those of its "
				  "--lcores",
				id);
			return -EINVAL;
		}
		if (id == rte_get_main_lcore()) {
			log_error("--handshake-lcores: lcore %u is the main one, which is "
				  "control's",
				id);
			return -EINVAL;
		}
	}
	return 0;
}

static int count_workers(struct gateway *gateway, const struct options *options)
{
	unsigned workers = rte_lcore_count() - 1 - options->handshake_lcore_count;

	if (workers == 0 && options->handshake_lcore_count > 0) {
		log_error("--handshake-lcores: no lcore is left for a worker: name fewer, or give "
			  "EAL more");
		return -EINVAL;
	}
	if (workers == 0) {
		log_error("no lcore is left for a worker: give EAL two or more, as in --lcores "
			  "'0@0,1@1'; the first is control's");
		return -EINVAL;
	}
	if (workers > LIMIT_WORKERS) {
		log_error("%u worker lcores: at most %d are of use", workers, LIMIT_WORKERS);
		return -EINVAL;
	}
	gateway->workers = workers;
	return 0;
}

/* The lcores and ports that the command line names: -EINVAL if it is wrong. */
static int find_means(struct gateway *gateway, const struct options *options)
{
	int err = check_handshake_lcores(options);

	if (!err)
		err = count_workers(gateway, options);
	if (!err)
		err = find_ports(gateway, options);
	return err;
}

static int make_data_path(
	struct gateway *gateway, const struct options *options, const struct configs *configs)
{
	int err = make_pool(gateway, options, configs);

	if (!err) {
		err = dp_create(gateway->workers, &gateway->dp);
		if (err)
			log_error("the tables of the data path do not fit into memory: give EAL "
				  "more with -m or hugepages");
	}
	if (!err)
		dp_set_clamp_mss(gateway->dp, options->clamp_mss);
	if (!err)
		err = start_ports(gateway);
	if (!err)
		err = make_workers(gateway, options);
	return err;
}

static void free_data_path(struct gateway *gateway)
{
	for (unsigned i = 0; i < gateway->workers; i++)
		lcore_destroy(&gateway->lcores[i]);
	for (unsigned i = 0; i < gateway->port_count; i++)
		port_stop(&gateway->ports[i]);
	if (gateway->dp)
		dp_destroy(gateway->dp);
	if (gateway->pool)
		rte_mempool_free(gateway->pool);
}

static int launch_workers(struct gateway *gateway)
{
	for (unsigned i = 0; i < gateway->workers; i++) {
		int err = rte_eal_remote_launch(
			lcore_run, &gateway->lcores[i], gateway->lcores[i].lcore_id);
		if (err) {
			log_error("worker %u did not start: %s", i, strerror(-err));
			return err;
		}
	}
	return 0;
}

static int start_handshakers(struct gateway *gateway, const struct options *options)
{
	int err;

	if (options->handshake_lcore_count == 0)
		return 0;
	err = handshakers_create(options->handshake_lcore_count, &gateway->handshakers);
	for (unsigned i = 0; !err && i < options->handshake_lcore_count; i++) {
		unsigned id = options->handshake_lcores[i];
		err = rte_eal_remote_launch(
			handshakers_run, handshakers_lcore(gateway->handshakers, i, id), id);
	}
	if (err)
		log_error("the handshake lcores did not start: %s", strerror(-err));
	return err;
}

static void end_lcores(struct gateway *gateway)
{
	struct wg_work *work;
	void *interface;

	atomic_store(&gateway->quit, true);
	if (gateway->handshakers)
		handshakers_end(gateway->handshakers);
	rte_eal_mp_wait_lcore();
	while (gateway->handshakers &&
		handshakers_take_undone(gateway->handshakers, &work, &interface))
		wg_work_free(((struct interface *)interface)->device, work);
	handshakers_destroy(gateway->handshakers);
}

/* --- The program --- */

static int make_interfaces(
	struct gateway *gateway, const struct options *options, struct configs *configs)
{
	for (unsigned i = 0; i < options->interface_count; i++) {
		int err = interface_create(gateway, options->interfaces[i].name,
			options->interfaces[i].path, &configs->of[i]);
		if (err)
			return err;
	}
	return 0;
}

static int set_up(struct gateway *gateway, const struct options *options, struct configs *configs)
{
	int err = make_data_path(gateway, options, configs);

	if (!err)
		err = make_protocol_state(gateway);
	if (!err)
		err = icmp_reply_init();
	if (!err)
		err = host_create(gateway, options->capture);
	if (!err) {
		gateway->uapi = uapi_server_create(UAPI_SERVER_DIRECTORY);
		err = gateway->uapi ? 0 : -errno;
	}
	if (!err)
		err = telemetry_init(gateway);
	/* Workers run before interfaces are configured, so that what is retired on the way is
	 * freed. */
	if (!err)
		err = launch_workers(gateway);
	if (!err)
		err = start_handshakers(gateway, options);
	if (!err)
		err = make_interfaces(gateway, options, configs);
	return err;
}

/* From here on the program needs far less than to start. */
static int restrict_process(const struct options *options)
{
	privileges_drop();
	return options->no_seccomp ? 0 : syscall_filter_install();
}

static void take_down(struct gateway *gateway)
{
	telemetry_fini();
	if (gateway->uapi)
		uapi_server_destroy(gateway->uapi);
	for (unsigned i = 0; i < gateway->interface_count; i++)
		interface_shutdown(gateway->interfaces[i]);
	end_lcores(gateway);
	host_destroy(gateway);
	if (gateway->dp)
		dp_reclaim_drain(gateway->dp->reclaim);
	for (unsigned i = 0; i < gateway->interface_count; i++)
		interface_free(gateway->interfaces[i]);
	icmp_reply_fini();
	free_data_path(gateway);
	free_protocol_state(gateway);
}

__attribute__((format(printf, 2, 3))) static void append(
	char text[READY_BYTES], const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, READY_BYTES - used, format, args);
	va_end(args);
}

/* What is what: devices by the names that the host knows, interfaces by their ports. */
static void log_ready(const struct gateway *gateway)
{
	char text[READY_BYTES] = "";

	append(text, "ready: %u worker%s", gateway->workers, gateway->workers == 1 ? "" : "s");
	for (unsigned i = 0; i < gateway->port_count; i++)
		append(text, "%s %s = %s", i == 0 ? ";" : ",", gateway->taps[i].name,
			gateway->ports[i].device);
	for (unsigned i = 0; i < gateway->interface_count; i++)
		append(text, "%s %s on UDP %u", i == 0 ? ";" : ",", gateway->interfaces[i]->name,
			gateway->interfaces[i]->socket.port);
	log_info("%s", text);
}

static int run(const struct options *options, char **argv)
{
	static struct gateway gateway;
	static struct configs configs;

	/* A list of EAL's needs none. */
	if (!options->eal_prints && privileges_check() != 0)
		return EXIT_RUN;
	privileges_lock_memory();
	if (configs_load(&configs, options) != 0) {
		configs_clear(&configs);
		return EXIT_RUN;
	}
	/* EAL makes threads: they too must leave the signals to control. */
	if (control_init() != 0)
		return EXIT_RUN;
	int status = environment_start(options, argv);
	if (status != 0) {
		configs_clear(&configs);
		return status;
	}
	if (!options->dumpable)
		privileges_refuse_dumps();
	int err = find_means(&gateway, options);
	int failure = err == -EINVAL ? EXIT_USAGE : EXIT_RUN;
	if (!err)
		err = set_up(&gateway, options, &configs);
	configs_clear(&configs);
	int notify = err ? -1 : notify_open();
	if (!err)
		err = restrict_process(options);
	if (!err) {
		log_ready(&gateway);
		notify_ready(notify);
		control_run(&gateway);
	}
	if (!err || err == -EINTR)
		log_info("ending");
	take_down(&gateway);
	rte_eal_cleanup();
	eal_files_remove();
	control_fini();
	/* -EINTR: a signal came before all was set up. */
	return !err || err == -EINTR ? 0 : failure;
}

/* Started with one of them closed, some other file would become it, and get what is printed. */
static void hold_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= STDIN_FILENO && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int main(int argc, char **argv)
{
	struct options options;
	char message[OPTIONS_MESSAGE_BYTES];

	hold_standard_files();
	if (options_parse(&options, argc, argv, message) != 0) {
		fprintf(stderr, "dpdk-wg: %s\n", message);
		return EXIT_USAGE;
	}
	switch (options.mode) {
	case OPTIONS_HELP:
		options_print_help(stdout);
		return 0;
	case OPTIONS_VERSION:
		options_print_version(stdout);
		return 0;
	case OPTIONS_CHECK:
		return check_configuration(&options);
	case OPTIONS_RUN:
		break;
	}
	return run(&options, argv);
}
