/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handshakes answered a second: by control alone, and by handshake lcores (threads of no fixed CPU
 * here), beside what their cryptography takes by itself. Not a test of speed; but it ends with 1
 * when a handshake fails, and so serves as one of the threads.
 *
 * bench_handshake [--count N] [--threads MOST] [--churn] [--json FILE]; --churn removes and adds
 * peers meanwhile.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/handshakers.h"
#include "base/units.h"
#include "crypto/random.h"
#include "crypto/wipe.h"
#include "crypto/x25519.h"
#include "eal.h"
#include "heap_env.h"
#include "wg/cookie.h"
#include "wg/device.h"
#include "wg/noise.h"
#include "wg/tai64n.h"

#define CLIENTS	     1024
#define MOST_THREADS 16
#define IN_FLIGHT    256 /* messages given to the device and not finished */

struct client {
	struct noise_identity identity;
	struct noise_peer gateway;
	struct cookie_jar jar;
};

static struct {
	unsigned count, threads;
	bool churn;
	const char *json;
} options = {.count = 4096, .threads = 2};

static struct client clients[CLIENTS];
static struct noise_identity identity;
static struct wg_index_table *indices;
static struct wg_ids *ids;
static struct wg_device *device;
static struct handshakers *handshakers;
static struct wg_time now = {1000 * NS_PER_SEC, 1700000000 * NS_PER_SEC};
static unsigned responses, accepted, lost;
static cpu_set_t cpus; /* that the process may use */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* --- What the program does with actions --- */

static void drain(void)
{
	struct wg_action action;

	while (wg_device_next_action(device, &action)) {
		switch (action.kind) {
		case WG_ACT_SEND:
			responses++;
			break;
		case WG_ACT_COMPUTE:
			if (!handshakers_submit(handshakers, action.work, device))
				abort();
			break;
		case WG_ACT_SESSION_RETIRE:
			wg_session_free(device, action.session);
			break;
		case WG_ACT_PEER_REMOVE:
			wg_peer_free(device, action.peer);
			break;
		default:
			break;
		}
	}
}

static void set_up(void)
{
	uint8_t key[WG_KEY_BYTES];
	struct wg_peer *peer;

	indices = wg_index_table_create(heap_env_random, NULL);
	ids = wg_ids_create(2 * CLIENTS);
	device = wg_device_create(&heap_env, indices, ids);
	random_fill(key, sizeof(key));
	noise_identity_set(&identity, key);
	wg_device_set_private_key(device, key, now);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *client = &clients[i];

		random_fill(key, sizeof(key));
		noise_identity_set(&client->identity, key);
		noise_peer_init(&client->gateway, &client->identity, identity.public_key);
		cookie_jar_init(&client->jar, identity.public_key);
		if (wg_device_add_peer(device, client->identity.public_key, &peer) != 0)
			abort();
	}
	drain();
}

static void tear_down(void)
{
	wg_device_shutdown(device, UINT_MAX);
	drain();
	wg_device_free(device);
	wg_ids_destroy(ids);
	wg_index_table_destroy(indices);
}

/* The next initiation of each client in turn; each round is later than the last. */
static void make_initiations(struct wg_msg_initiation *out, unsigned n)
{
	uint8_t ephemeral[WG_KEY_BYTES], timestamp[WG_TIMESTAMP_BYTES];

	for (unsigned i = 0; i < n; i++) {
		struct client *client = &clients[i % CLIENTS];

		if (i % CLIENTS == 0)
			now.wall_ns += NS_PER_SEC;
		tai64n_from_wall(timestamp, now.wall_ns);
		random_fill(ephemeral, sizeof(ephemeral));
		if (!noise_create_initiation(&client->gateway, &client->identity, 1 + i, ephemeral,
			    timestamp, &out[i]))
			abort();
		cookie_add_macs(&client->jar, &out[i], sizeof(out[i]), now.mono_ns);
	}
}

static const struct wg_path path = {
	.remote = {.addr = {.family = IP_V4, .bytes = {192, 0, 2, 1}}, .port = 1000},
};

static void count(enum wg_verdict verdict)
{
	accepted += verdict == WG_ACCEPTED;
	lost += verdict != WG_ACCEPTED && verdict != WG_PENDING;
}

static void give(const struct wg_msg_initiation *msg)
{
	count(wg_device_receive(device, msg, sizeof(*msg), &path, false, now));
	drain();
}

/* --- What is measured --- */

static double per_handshake_us(uint64_t begin_ns, uint64_t end_ns)
{
	return (double)(end_ns - begin_ns) / 1e3 / options.count;
}

/* The four Diffie-Hellmans of an answer: opening, ephemeral key, two to seal with. */
static double measure_x25519(void)
{
	uint8_t out[WG_KEY_BYTES], key[WG_KEY_BYTES];
	uint64_t begin = clock_ns(CLOCK_MONOTONIC);
	bool ok = true;

	random_fill(key, sizeof(key));
	x25519_clamp(key);
	for (unsigned i = 0; i < options.count; i++) {
		const uint8_t *public_key = clients[i % CLIENTS].identity.public_key;

		x25519_public(out, key);
		for (unsigned k = 0; k < 3; k++)
			ok &= x25519_shared(out, key, public_key);
	}
	if (!ok)
		abort();
	return per_handshake_us(begin, clock_ns(CLOCK_MONOTONIC));
}

/* All of an answer's cryptography, and nothing else. */
static double measure_primitives(const struct wg_msg_initiation *messages)
{
	static struct noise_peer peers[CLIENTS];
	struct cookie_checker checker;
	uint8_t ephemeral[WG_KEY_BYTES], send_key[WG_KEY_BYTES], receive_key[WG_KEY_BYTES];
	struct noise_opened_initiation opened;
	struct wg_msg_response response;
	bool ok = true;

	cookie_checker_init(&checker, identity.public_key);
	for (unsigned i = 0; i < CLIENTS; i++)
		noise_peer_init(&peers[i], &identity, clients[i].identity.public_key);
	random_fill(ephemeral, sizeof(ephemeral));
	uint64_t begin = clock_ns(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < options.count; i++) {
		struct noise_peer *peer = &peers[i % CLIENTS];

		ok &= cookie_check_macs(&checker, &messages[i], sizeof(messages[i]), &path.remote,
			      false, now.mono_ns) == COOKIE_MAC_VALID;
		ok &= noise_open_initiation(&opened, &identity, &messages[i]) == WG_ACCEPTED;
		ok &= noise_accept_initiation(peer, &opened, &messages[i],
			      now.mono_ns + i * NS_PER_SEC) == WG_ACCEPTED;
		ok &= noise_create_response(peer, 1 + i, ephemeral, &response);
		cookie_add_macs(
			&clients[i % CLIENTS].jar, &response, sizeof(response), now.mono_ns);
		noise_derive_keys(&peer->handshake, send_key, receive_key);
	}
	if (!ok)
		abort();
	return per_handshake_us(begin, clock_ns(CLOCK_MONOTONIC));
}

static double measure_alone(const struct wg_msg_initiation *messages)
{
	uint64_t begin = clock_ns(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < options.count; i++) {
		now.mono_ns += NS_PER_MS;
		give(&messages[i]);
	}
	return per_handshake_us(begin, clock_ns(CLOCK_MONOTONIC));
}

static void churn(unsigned i)
{
	const struct client *client = &clients[i * 7 % CLIENTS];
	struct wg_peer *peer;

	if (i % 16 != 0)
		return;
	wg_device_remove_peer(device, wg_device_find_peer(device, client->identity.public_key));
	drain();
	if (wg_device_add_peer(device, client->identity.public_key, &peer) != 0)
		abort();
	drain();
}

static void finish_some(bool wait)
{
	struct pollfd fd = {.fd = handshakers_fd(handshakers), .events = POLLIN};
	struct wg_work *work;
	void *owner;

	if (wait)
		poll(&fd, 1, -1);
	handshakers_hear(handshakers);
	while (handshakers_take(handshakers, &work, &owner)) {
		count(wg_device_finish(owner, work, now));
		drain();
	}
}

/* EAL bound the main thread to one CPU. */
static void *run_thread(void *arg)
{
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	handshakers_run(arg);
	return NULL;
}

/* *control_us: what of it control's own thread spends on a handshake. */
static double measure_split(
	const struct wg_msg_initiation *messages, unsigned threads, double *control_us)
{
	pthread_t ids_of[MOST_THREADS];

	if (handshakers_create(threads, &handshakers) != 0)
		abort();
	for (unsigned i = 0; i < threads; i++)
		pthread_create(&ids_of[i], NULL, run_thread, handshakers_lcore(handshakers, i, i));
	wg_device_split_handshakes(device, true);
	uint64_t begin = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned i = 0; i < options.count; i++) {
		now.mono_ns += NS_PER_MS; /* a client's next one comes long after its last */
		if (options.churn)
			churn(i);
		give(&messages[i]);
		while (handshakers_pending(handshakers) >= IN_FLIGHT)
			finish_some(true);
	}
	while (handshakers_pending(handshakers) > 0)
		finish_some(true);
	*control_us = per_handshake_us(cpu, clock_ns(CLOCK_THREAD_CPUTIME_ID));
	double us = per_handshake_us(begin, clock_ns(CLOCK_MONOTONIC));
	wg_device_split_handshakes(device, false);
	handshakers_end(handshakers);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids_of[i], NULL);
	handshakers_destroy(handshakers);
	return us;
}

static int read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"count", required_argument, NULL, 'c'},
		{"threads", required_argument, NULL, 't'},
		{"churn", no_argument, NULL, 'x'},
		{"json", required_argument, NULL, 'j'},
		{0},
	};

	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		if (c == 'c')
			options.count = (unsigned)strtoul(optarg, NULL, 0);
		else if (c == 't')
			options.threads = (unsigned)strtoul(optarg, NULL, 0);
		else if (c == 'x')
			options.churn = true;
		else if (c == 'j')
			options.json = optarg;
		else
			return -EINVAL;
	}
	return options.count == 0 || options.threads > MOST_THREADS ? -EINVAL : 0;
}

static void row(FILE *json, const char *who, unsigned lcores, double us, double primitives_us,
	double control_us)
{
	printf("%-24s %8.1f us  %8.0f a second  x %.3f", who, us, 1e6 / us, us / primitives_us);
	if (control_us > 0)
		printf("  (control %.1f us)", control_us);
	printf("\n");
	if (json)
		fprintf(json,
			"%s\n{\"bench\": \"handshake\", \"who\": \"%s\", \"lcores\": %u, "
			"\"us\": %.2f, \"per_s\": %.0f, \"primitives_us\": %.2f, "
			"\"control_us\": %.2f}",
			ftell(json) > 1 ? "," : "", who, lcores, us, 1e6 / us, primitives_us,
			control_us);
}

int main(int argc, char **argv)
{
	struct wg_msg_initiation *messages;
	double primitives_us, control_us;
	char who[32];
	FILE *json = NULL;

	if (read_options(argc, argv) != 0) {
		fprintf(stderr,
			"usage: %s [--count N] [--threads MOST, up to %d] [--churn] [--json "
			"FILE]\n",
			argv[0], MOST_THREADS);
		return 2;
	}
	if (options.json && !(json = fopen(options.json, "w"))) {
		fprintf(stderr, "%s: %s\n", options.json, strerror(errno));
		return 1;
	}
	pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	if (eal_start(64) < 0)
		exit(1);
	messages = calloc(options.count, sizeof(*messages));
	if (!messages)
		exit(1);
	set_up();
	make_initiations(messages, options.count);
	if (json)
		fprintf(json, "[");
	primitives_us = measure_primitives(messages);
	row(json, "x25519 alone", 0, measure_x25519(), primitives_us, 0);
	row(json, "all cryptography", 0, primitives_us, primitives_us, 0);
	/* The first handshake of each peer derives its static-static: once for all. */
	make_initiations(messages, options.count);
	measure_alone(messages);
	make_initiations(messages, options.count);
	row(json, "control alone", 0, measure_alone(messages), primitives_us, 0);
	for (unsigned threads = 1; threads <= options.threads; threads++) {
		make_initiations(messages, options.count);
		snprintf(who, sizeof(who), "%u handshake lcore%s", threads, threads > 1 ? "s" : "");
		double us = measure_split(messages, threads, &control_us);
		row(json, who, threads, us, primitives_us, control_us);
	}
	if (json) {
		fprintf(json, "\n]\n");
		fclose(json);
	}
	tear_down();
	eal_stop();
	free(messages);
	if (accepted != responses || accepted + lost != options.count * (2 + options.threads) ||
		(lost > 0 && !options.churn)) {
		fprintf(stderr, "%u accepted, %u responses, %u lost\n", accepted, responses, lost);
		return 1;
	}
	return 0;
}
