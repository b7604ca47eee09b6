/* SPDX-License-Identifier: BSD-3-Clause */
#include "telemetry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_telemetry.h>
#include <rte_version.h>

#include "base/units.h"
#include "control.h"
#include "forwarding.h"
#include "gateway.h"
#include "handshakers.h"
#include "host.h"
#include "host_exchange.h"
#include "interface.h"
#include "log.h"
#include "mirror.h"
#include "options.h"
#include "uapi/keytext.h"
#include "wg/verdict.h"

/* Public keys in one answer of /wg/peers: telemetry's answers end at 16 KiB. */
#define PEERS_A_PAGE 256

static struct gateway *served;

/* One command: what to do in the control thread, with what. */
struct request {
	int (*answer)(struct gateway *gateway, const char *params, struct rte_tel_data *data);
	const char *params;
	struct rte_tel_data *data;
	int result;
};

/* Of the command at hand: what is wrong with its parameters. Control's. */
static char problem[160];

__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(problem, sizeof(problem), format, args);
	va_end(args);
	return -EINVAL;
}

static int answer_error(struct rte_tel_data *data, const char *text)
{
	rte_tel_data_start_dict(data);
	return rte_tel_data_add_dict_string(data, "error", text);
}

static void answer_request(void *arg)
{
	struct request *request = arg;

	problem[0] = '\0';
	request->result = request->answer(served, request->params, request->data);
	if (request->result < 0)
		request->result = answer_error(
			request->data, problem[0] ? problem : strerror(-request->result));
}

static int ask_control(int (*answer)(struct gateway *, const char *, struct rte_tel_data *),
	const char *params, struct rte_tel_data *data)
{
	struct request request = {
		.answer = answer,
		.params = params ? params : "",
		.data = data,
		.result = -ECANCELED,
	};

	if (!served || !control_call(answer_request, &request))
		return answer_error(data, "the program is starting or ending");
	return request.result;
}

/* Decimal digits and nothing else, to less than a million; "" is 0. */
static int read_number(const char *text, unsigned *number)
{
	size_t digits = strspn(text, "0123456789");

	if (text[digits] != '\0' || digits > 6)
		return refuse("\"%.32s\" is no number", text);
	*number = (unsigned)strtoul(text, NULL, 10);
	return 0;
}

static int refuse_parameters(const char *params)
{
	return params[0] == '\0' ? 0 : refuse("it takes no parameters");
}

/* --- /wg/info --- */

/* One that was removed from the host stays in the list, for its counters. */
static bool has_ended(const struct interface *interface)
{
	return interface->tun.fd < 0;
}

static int add_interfaces(const struct gateway *gateway, struct rte_tel_data *data)
{
	struct rte_tel_data *names = rte_tel_data_alloc();

	if (!names)
		return -ENOMEM;
	rte_tel_data_start_array(names, RTE_TEL_STRING_VAL);
	for (unsigned i = 0; i < gateway->interface_count; i++) {
		if (!has_ended(gateway->interfaces[i]))
			rte_tel_data_add_array_string(names, gateway->interfaces[i]->name);
	}
	return rte_tel_data_add_dict_container(data, "interfaces", names, 0);
}

static int add_ports(const struct gateway *gateway, struct rte_tel_data *data)
{
	struct rte_tel_data *names = rte_tel_data_alloc();

	if (!names)
		return -ENOMEM;
	rte_tel_data_start_array(names, RTE_TEL_STRING_VAL);
	for (unsigned i = 0; i < gateway->port_count; i++)
		rte_tel_data_add_array_string(names, gateway->ports[i].device);
	return rte_tel_data_add_dict_container(data, "ports", names, 0);
}

/* What is kept in hand is free, as are the pool's own caches. Exact while nothing moves. */
static unsigned mbufs_in_use(const struct gateway *gateway)
{
	unsigned in_use = rte_mempool_in_use_count(gateway->pool);
	unsigned spare = host_exchange_spare_mbufs(gateway->exchange);

	return in_use > spare ? in_use - spare : 0;
}

static int answer_info(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	uint32_t peers = 0;

	if (refuse_parameters(params) != 0)
		return -EINVAL;
	for (unsigned i = 0; i < gateway->interface_count; i++)
		peers += wg_device_peer_count(gateway->interfaces[i]->device);
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_string(data, "version", DPDK_WG_VERSION);
	rte_tel_data_add_dict_string(data, "dpdk", rte_version());
	rte_tel_data_add_dict_string(
		data, "aead", aead_batch_name(gateway->lcores[0].worker->aead));
	rte_tel_data_add_dict_u64(data, "workers", gateway->workers);
	rte_tel_data_add_dict_u64(data, "handshake_lcores",
		gateway->handshakers ? handshakers_count(gateway->handshakers) : 0);
	rte_tel_data_add_dict_u64(data, "peers", peers);
	rte_tel_data_add_dict_u64(
		data, "sessions_and_handshakes", wg_index_count(gateway->indices));
	rte_tel_data_add_dict_string(data, "forwarding_v4", forwarding_describe(gateway, IP_V4));
	rte_tel_data_add_dict_string(data, "forwarding_v6", forwarding_describe(gateway, IP_V6));
	rte_tel_data_add_dict_u64(data, "packet_buffers", gateway->pool->size);
	rte_tel_data_add_dict_u64(data, "packet_buffers_in_use", mbufs_in_use(gateway));
	int err = add_ports(gateway, data);
	return err ? err : add_interfaces(gateway, data);
}

/* --- /wg/peers,[interface[,page]] and /wg/peer,public key --- */

static const struct interface *find_interface(const struct gateway *gateway, const char *name)
{
	for (unsigned i = 0; i < gateway->interface_count; i++) {
		const struct interface *interface = gateway->interfaces[i];

		if (!has_ended(interface) &&
			(name[0] == '\0' || strcmp(interface->name, name) == 0))
			return interface;
	}
	return NULL;
}

/* Where the page behind the last one begins: going through all of them is not to begin anew for
 * each. */
static struct {
	const struct interface *interface;
	unsigned page;
	uint32_t peer_id;
} next_page;

static struct wg_peer *first_of_page(
	const struct gateway *gateway, const struct interface *interface, unsigned page)
{
	struct wg_peer *peer = NULL;

	if (next_page.interface == interface && next_page.page == page)
		peer = gateway->peers[next_page.peer_id];
	if (peer && wg_peer_user(peer) == interface)
		return peer;
	peer = wg_device_next_peer(interface->device, NULL);
	for (uint64_t n = 0; peer && n / PEERS_A_PAGE < page; n++)
		peer = wg_device_next_peer(interface->device, peer);
	return peer;
}

static int answer_peers(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	char name[OPTIONS_NAME_BYTES] = "";
	unsigned page = 0;
	const char *comma = strchr(params, ',');
	size_t len = comma ? (size_t)(comma - params) : strlen(params);

	if (comma && read_number(comma + 1, &page) != 0)
		return -EINVAL;
	if (len < sizeof(name))
		memcpy(name, params, len);
	const struct interface *interface =
		len < sizeof(name) ? find_interface(gateway, name) : NULL;
	if (!interface)
		return refuse(
			"there is no interface \"%.*s\"", (int)RTE_MIN(len, (size_t)32), params);

	rte_tel_data_start_array(data, RTE_TEL_STRING_VAL);
	struct wg_peer *peer = first_of_page(gateway, interface, page);
	for (unsigned n = 0; peer && n < PEERS_A_PAGE; n++) {
		char key[KEYTEXT_BASE64_CHARS + 1];
		key_to_base64(key, wg_peer_public_key(peer));
		rte_tel_data_add_array_string(data, key);
		peer = wg_device_next_peer(interface->device, peer);
	}
	next_page.interface = peer ? interface : NULL;
	next_page.page = page + 1;
	next_page.peer_id = peer ? wg_peer_id(peer) : 0;
	return 0;
}

static int describe_peer(
	const struct interface *interface, struct wg_peer *peer, struct rte_tel_data *data)
{
	const struct wg_activity *activity = wg_peer_activity(peer);
	const struct wg_session *session = wg_peer_current_session(peer);
	char endpoint[ENDPOINT_STRLEN] = "";
	struct ip_prefix prefix;
	const void *cursor = NULL;
	uint64_t prefixes = 0, now = gateway_now().mono_ns;

	if (wg_peer_path(peer)->remote.addr.family != IP_NONE)
		endpoint_format(&wg_peer_path(peer)->remote, endpoint);
	while (wg_peer_next_allowed_ip(peer, &cursor, &prefix))
		prefixes++;
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_string(data, "interface", interface->name);
	rte_tel_data_add_dict_string(data, "endpoint", endpoint);
	rte_tel_data_add_dict_u64(data, "id", wg_peer_id(peer));
	rte_tel_data_add_dict_u64(data, "allowed_ips", prefixes);
	rte_tel_data_add_dict_u64(
		data, "latest_handshake_s", wg_peer_latest_handshake_ns(peer) / NS_PER_SEC);
	rte_tel_data_add_dict_u64(data, "rx_bytes", atomic_load(&activity->rx_bytes));
	rte_tel_data_add_dict_u64(data, "tx_bytes", atomic_load(&activity->tx_bytes));
	rte_tel_data_add_dict_u64(
		data, "session_age_s", session ? wg_session_age_ns(session, now) / NS_PER_SEC : 0);
	rte_tel_data_add_dict_u64(
		data, "session_sent_packets", session ? atomic_load(&session->send_counter) : 0);
	rte_tel_data_add_dict_u64(
		data, "persistent_keepalive_s", wg_peer_persistent_keepalive(peer));
	return 0;
}

static int answer_peer(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	uint8_t key[WG_KEY_BYTES];

	if (!key_from_base64(key, params, strlen(params)))
		return refuse("the parameter must be a public key: 44 characters of base64");
	for (unsigned i = 0; i < gateway->interface_count; i++) {
		const struct interface *interface = gateway->interfaces[i];
		struct wg_peer *peer = wg_device_find_peer(interface->device, key);
		if (peer)
			return describe_peer(interface, peer, data);
	}
	return refuse("no interface has a peer of this key");
}

/* --- /wg/drops --- */

static uint64_t sum_drops(const struct gateway *gateway, enum dp_drop_reason reason)
{
	uint64_t sum = gateway->drops.count[reason] +
		       host_exchange_drops(gateway->exchange)->count[reason];

	for (unsigned i = 0; i < gateway->workers; i++)
		sum += gateway->lcores[i].worker->drops.count[reason];
	return sum;
}

static int answer_drops(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	static const char *const verdict_names[] = {
#define VERDICT_NAME(id, name, text) [id] = name,
		WG_VERDICTS(VERDICT_NAME)
#undef VERDICT_NAME
	};

	if (refuse_parameters(params) != 0)
		return -EINVAL;
	rte_tel_data_start_dict(data);
	for (enum dp_drop_reason reason = 0; reason < DP_DROP_COUNT; reason++)
		rte_tel_data_add_dict_u64(data, dp_drop_name(reason), sum_drops(gateway, reason));
	for (enum wg_verdict verdict = 0; verdict < WG_VERDICT_COUNT; verdict++) {
		uint64_t sum = 0;
		if (verdict == WG_ACCEPTED)
			continue;
		for (unsigned i = 0; i < gateway->interface_count; i++)
			sum += wg_device_verdicts(gateway->interfaces[i]->device)[verdict];
		rte_tel_data_add_dict_u64(data, verdict_names[verdict], sum);
	}
	return 0;
}

/* --- /wg/lcores[,worker] --- */

static void add_u64(struct rte_tel_data *data, const char *prefix, const char *name, uint64_t value)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_%s", prefix, name);
	rte_tel_data_add_dict_u64(data, key, value);
}

static void describe_worker(const struct lcore *lcore, struct rte_tel_data *data)
{
	const struct dp_counters *c = &lcore->worker->counters;
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "worker%u", lcore->worker->id);
	add_u64(data, prefix, "lcore", lcore->lcore_id);
	add_u64(data, prefix, "turns", lcore->stats.turns);
	add_u64(data, prefix, "busy_turns", lcore->stats.busy_turns);
	add_u64(data, prefix, "sleeps", lcore->stats.sleeps);
	add_u64(data, prefix, "received", lcore->stats.received);
	add_u64(data, prefix, "inbound_packets", c->inbound_packets);
	add_u64(data, prefix, "inbound_bytes", c->inbound_bytes);
	add_u64(data, prefix, "inbound_cycles", c->inbound_cycles);
	add_u64(data, prefix, "outbound_packets", c->outbound_packets);
	add_u64(data, prefix, "outbound_bytes", c->outbound_bytes);
	add_u64(data, prefix, "outbound_cycles", c->outbound_cycles);
	add_u64(data, prefix, "input_cycles", c->input_cycles);
	add_u64(data, prefix, "aead_cycles", c->aead_cycles);
	add_u64(data, prefix, "plain_packets", c->plain_packets);
	add_u64(data, prefix, "host_packets", c->host_packets);
	add_u64(data, prefix, "control_packets", c->control_packets);
	add_u64(data, prefix, "helped_packets", c->helped_packets);
}

/* A dictionary holds 256 entries: 16 workers an answer; the parameter names the first. */
static int answer_lcores(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	unsigned first = 0;

	if (read_number(params, &first) != 0)
		return -EINVAL;
	if (first >= gateway->workers)
		return refuse("there are workers 0 to %u", gateway->workers - 1);
	rte_tel_data_start_dict(data);
	for (unsigned i = first; i < gateway->workers && i < first + 16; i++)
		describe_worker(&gateway->lcores[i], data);
	return 0;
}

/* --- /wg/handshakers --- */

static int answer_handshakers(
	struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	const struct handshakers *handshakers = gateway->handshakers;
	char prefix[32];

	if (refuse_parameters(params) != 0)
		return -EINVAL;
	if (!handshakers)
		return refuse("there are no handshake lcores: control does handshakes itself");
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_u64(data, "control_computed", gateway->computed_here);
	for (unsigned i = 0; i < handshakers_count(handshakers); i++) {
		unsigned lcore_id;
		uint64_t computed = handshakers_computed(handshakers, i, &lcore_id);
		snprintf(prefix, sizeof(prefix), "handshaker%u", i);
		add_u64(data, prefix, "lcore", lcore_id);
		add_u64(data, prefix, "computed", computed);
	}
	return 0;
}

/* --- /wg/stages[,on|off] --- */

/* What workers had counted when measuring was last switched on. */
static struct dp_stages stages_before;

static void sum_stages(const struct gateway *gateway, struct dp_stages *sum)
{
	*sum = (struct dp_stages){0};
	for (unsigned i = 0; i < gateway->workers; i++) {
		const struct dp_stages *stages = &gateway->lcores[i].worker->stages;
		for (enum dp_stage stage = 0; stage < DP_STAGE_COUNT; stage++) {
			sum->cycles[stage] += stages->cycles[stage];
			sum->packets[stage] += stages->packets[stage];
		}
	}
}

static void describe_stage(
	enum dp_stage stage, const struct dp_stages *sum, struct rte_tel_data *data)
{
	uint64_t cycles = sum->cycles[stage] - stages_before.cycles[stage];
	uint64_t packets = sum->packets[stage] - stages_before.packets[stage];
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "%s_%s", dp_stage_direction(stage), dp_stage_name(stage));
	add_u64(data, prefix, "packets", packets);
	add_u64(data, prefix, "cycles", cycles);
	add_u64(data, prefix, "cycles_per_packet",
		packets > 0 ? (cycles + packets / 2) / packets : 0);
}

static int answer_stages(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	bool on = strcmp(params, "on") == 0;
	struct dp_stages sum;

	if (!on && strcmp(params, "off") != 0 && params[0] != '\0')
		return refuse("the parameter must be on, off or none");
	sum_stages(gateway, &sum);
	if (on)
		stages_before = sum;
	if (params[0] != '\0')
		dp_measure_stages(gateway->dp, on);
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_u64(data, "on", gateway->dp->measure_stages);
	for (enum dp_stage stage = 0; stage < DP_STAGE_COUNT; stage++)
		describe_stage(stage, &sum, data);
	return 0;
}

/* --- /wg/host,netdev name --- */

static int answer_host(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	struct host_counters counters;
	int netdev = host_find_netdev(gateway, params);

	if (netdev < 0)
		return refuse("there is no host interface \"%.32s\"", params);
	host_exchange_counters(gateway->exchange, (unsigned)netdev, &counters);
	rte_tel_data_start_dict(data);
#define ADD_COUNTER(field, text) rte_tel_data_add_dict_u64(data, #field, counters.field);
	HOST_COUNTERS(ADD_COUNTER)
#undef ADD_COUNTER
	return 0;
}

/* --- /wg/mirror --- */

static int answer_mirror(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	struct mirror_stats stats;

	if (refuse_parameters(params) != 0)
		return -EINVAL;
	mirror_get_stats(gateway->mirror, &stats);
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_u64(data, "prefixes", stats.prefixes);
	rte_tel_data_add_dict_u64(data, "routes", stats.routes);
	rte_tel_data_add_dict_u64(data, "neighbours", stats.neighbours);
	rte_tel_data_add_dict_u64(data, "next_hops", stats.nexthops);
	rte_tel_data_add_dict_u64(data, "events", stats.events);
	rte_tel_data_add_dict_u64(data, "overruns", stats.overruns);
	rte_tel_data_add_dict_u64(data, "dumps", stats.dumps);
	rte_tel_data_add_dict_u64(data, "probed", stats.probes);
	return 0;
}

/* --- /wg/port,netdev name --- */

static int answer_port(struct gateway *gateway, const char *params, struct rte_tel_data *data)
{
	struct rte_eth_dev_info info;
	int netdev = host_find_netdev(gateway, params);

	if (netdev < 0 || (unsigned)netdev >= gateway->port_count)
		return refuse(
			"there is no port behind \"%.32s\": name its host interface, as outer0",
			params);
	const struct port *port = &gateway->ports[netdev];
	int err = rte_eth_dev_info_get(port->id, &info);
	if (err)
		return err;
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_string(data, "device", port->device);
	rte_tel_data_add_dict_string(data, "driver", info.driver_name);
	rte_tel_data_add_dict_string(data, "link", port->link_up ? "up" : "down");
	rte_tel_data_add_dict_u64(data, "mtu", port->mtu);
	rte_tel_data_add_dict_u64(data, "rx_queues", port->rx_queues);
	rte_tel_data_add_dict_u64(data, "tx_queues", port->tx_queues);
	rte_tel_data_add_dict_u64(data, "udp_checksum_offload", port->checksum_offload);
	return 0;
}

#define COMMAND(name)                                                                              \
	static int name(const char *cmd, const char *params, struct rte_tel_data *data)            \
	{                                                                                          \
		(void)cmd;                                                                         \
		return ask_control(answer_##name, params, data);                                   \
	}

COMMAND(info)
COMMAND(peers)
COMMAND(peer)
COMMAND(drops)
COMMAND(lcores)
COMMAND(handshakers)
COMMAND(stages)
COMMAND(host)
COMMAND(port)
COMMAND(mirror)

static const struct {
	const char *name;
	telemetry_cb callback;
	const char *help;
} commands[] = {
	{"/wg/info", info, "Version, ports, interfaces, workers. No parameters"},
	{"/wg/peers", peers, "Public keys, 256 a page. Parameters: interface, page"},
	{"/wg/peer", peer, "One peer. Parameter: public key in base64"},
	{"/wg/drops", drops, "Packets dropped, by reason. No parameters"},
	{"/wg/lcores", lcores, "Counters of 16 workers. Parameter: the first worker"},
	{"/wg/handshakers", handshakers,
		"What each handshake lcore, and control for them, has computed. No parameters"},
	{"/wg/stages", stages,
		"Cycles and packets of each stage since switched on. Parameter: on, off or none"},
	{"/wg/host", host, "Counters of a host interface. Parameter: its name"},
	{"/wg/mirror", mirror, "What is known of the host's network by netlink. No parameters"},
	{"/wg/port", port, "A port. Parameter: the name of its host interface"},
};

int telemetry_init(struct gateway *gateway)
{
	served = gateway;
	for (size_t i = 0; i < RTE_DIM(commands); i++) {
		int err = rte_telemetry_register_cmd(
			commands[i].name, commands[i].callback, commands[i].help);
		if (err) {
			log_error("telemetry command %s: %s", commands[i].name, strerror(-err));
			return err;
		}
	}
	return 0;
}

void telemetry_fini(void)
{
	served = NULL;
}
