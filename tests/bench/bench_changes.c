/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What changes cost those who forward meanwhile: the TSC cycles of a worker's turn (a burst of 32
 * received, sent, and reported quiescent), while another thread, as control, makes changes at a
 * fixed rate and while it makes none, in turns. In equal parts
 *
 *   - a peer that has traffic gets a new session, and its oldest one is retired;
 *   - a prefix moves to another of these peers;
 *   - a peer comes, with session, endpoint and prefix, or goes.
 *
 * Control spins when it has nothing to do: what two busy CPUs cost each other is in both figures.
 *
 * Usage: bench_changes [--rounds N] [--rate N] [--cpu N] [--json FILE]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_pause.h>

#include "base/bytes.h"
#include "world.h"

#define PEERS	      10000 /* that have traffic */
#define COMERS	      4096  /* ids of those that come and go */
#define PRESENT	      1024  /* how many of them there are */
#define MOVERS	      4096  /* prefixes that move */
#define MAX_ROUNDS    999
#define WARM_UP	      8 /* batches */
#define MOST_BATCHES  256
#define TURNS_A_BATCH (WORLD_BATCH / WORLD_BURST)

struct options {
	unsigned rounds, rate, cpu;
	const char *json;
};

enum mode { STILL, CHANGING, MODES };

enum part { P50, P99, P999, PARTS };

static const struct measured_case {
	enum direction direction;
	unsigned size, batches; /* in a round */
} cases[] = {{OUTBOUND, 64, MOST_BATCHES}, {INBOUND, 64, MOST_BATCHES}, {OUTBOUND, 1420, 64},
	{INBOUND, 1420, 64}};

static double turns[RTE_DIM(cases)][MODES][PARTS][MAX_ROUNDS];
static double ratios[RTE_DIM(cases)][MAX_ROUNDS]; /* of P99, in a round */

/* ---- control ---- */

static _Atomic bool changing, ending;
static _Atomic uint64_t changes; /* made so far */
static uint64_t changing_cycles; /* the worker's: how long it was so */
static size_t most_pending;	 /* objects that waited to be freed */
static uint64_t random_state = 88172645463325252u;

/* Those that come and go, a ring of ids: [gone, come) are there, later ones not yet again. */
static unsigned come, gone, released;

static uint32_t comer(unsigned n)
{
	return PEERS + n % COMERS;
}

static void release(void *arg, void *peer)
{
	(void)arg;
	(void)peer;
	released++;
}

static void change_session(void)
{
	static uint32_t id;
	world_rekey(id++ % PEERS);
}

static void move_prefix(void)
{
	struct ip_prefix prefix = {.addr = {.family = IP_V4}, .bits = 32};
	uint32_t host = (uint32_t)(random_of(&random_state) % MOVERS) * 2654435761u;
	store_be32(prefix.addr.bytes, 0xac100000 | (host & 0xfffff));
	if (dp_set_allowed_ip(world_dp, &prefix, (uint32_t)(random_of(&random_state) % PEERS)) != 0)
		die("no memory");
}

static void change_peer(void)
{
	if (come - gone < PRESENT && come - released < COMERS)
		world_add_peer(comer(come++));
	else
		world_remove_peer(comer(gone++), release, NULL);
}

static void change(void)
{
	static void (*const kinds[])(void) = {change_session, move_prefix, change_peer};
	uint64_t n = atomic_load_explicit(&changes, memory_order_relaxed);
	kinds[n % RTE_DIM(kinds)]();
	atomic_store_explicit(&changes, n + 1, memory_order_relaxed);
	most_pending = RTE_MAX(most_pending, dp_reclaim_pending(world_dp->reclaim));
}

static void *control(void *arg)
{
	uint64_t gap = rte_get_tsc_hz() / *(const unsigned *)arg, due = 0;
	while (!ending) {
		uint64_t now = rte_rdtsc();
		dp_reclaim_poll(world_dp->reclaim, 8);
		if (!changing) {
			due = now;
		} else if (now >= due) {
			change();
			due += gap;
		}
		rte_pause();
	}
	return NULL;
}

/* ---- the worker ---- */

static int compare_turns(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void play(
	struct player *player, const struct measured_case *c, enum mode mode, double parts[PARTS])
{
	static uint32_t measured[MOST_BATCHES * TURNS_A_BATCH];
	static const double shares[PARTS] = {0.5, 0.99, 0.999};
	unsigned n = c->batches * TURNS_A_BATCH;
	uint64_t begin = rte_rdtsc();
	changing = mode == CHANGING;
	for (unsigned i = 0; i < WARM_UP + c->batches; i++) {
		player->turns = measured + (i < WARM_UP ? 0 : i - WARM_UP) * TURNS_A_BATCH;
		player_make(player, c->direction, c->size);
		player_play(player, c->direction);
	}
	changing = false;
	if (mode == CHANGING)
		changing_cycles += rte_rdtsc() - begin;
	qsort(measured, n, sizeof(measured[0]), compare_turns);
	for (enum part part = 0; part < PARTS; part++)
		parts[part] = measured[(unsigned)(shares[part] * n)];
}

/* Which comes first changes from round to round. */
static void play_round(struct player *player, unsigned round)
{
	double parts[PARTS];
	for (size_t c = 0; c < RTE_DIM(cases); c++) {
		for (unsigned m = 0; m < MODES; m++) {
			enum mode mode = (enum mode)((m + round) % MODES);
			play(player, &cases[c], mode, parts);
			for (enum part part = 0; part < PARTS; part++)
				turns[c][mode][part][round] = parts[part];
		}
		ratios[c][round] = turns[c][CHANGING][P99][round] / turns[c][STILL][P99][round];
	}
}

static void report(const struct options *options, FILE *json)
{
	unsigned n = options->rounds;
	double rate = (double)atomic_load(&changes) /
		      ((double)changing_cycles / (double)rte_get_tsc_hz());
	printf("%.0f changes a second, at most %zu objects waited\n", rate, most_pending);
	for (size_t c = 0; c < RTE_DIM(cases); c++) {
		const char *direction = cases[c].direction == OUTBOUND ? "outbound" : "inbound";
		double got[MODES][PARTS], ratio = median(ratios[c], n);
		for (enum mode mode = 0; mode < MODES; mode++)
			for (enum part part = 0; part < PARTS; part++)
				got[mode][part] = median(turns[c][mode][part], n);
		printf("%-8s %5u bytes: p50 %.0f -> %.0f, p99 %.0f -> %.0f, p99.9 %.0f -> %.0f, "
		       "p99 %.3f times (quartiles %.3f to %.3f)\n",
			direction, cases[c].size, got[STILL][P50], got[CHANGING][P50],
			got[STILL][P99], got[CHANGING][P99], got[STILL][P999], got[CHANGING][P999],
			ratio, ratios[c][n / 4], ratios[c][n * 3 / 4]);
		if (json != NULL)
			fprintf(json,
				"%s{\"bench\":\"changes\",\"direction\":\"%s\",\"size\":%u,"
				"\"peers\":%d,"
				"\"rate\":%.0f,\"p50_still\":%.0f,\"p50\":%.0f,\"p99_still\":%.0f,"
				"\"p99\":%.0f,\"p999_still\":%.0f,\"p999\":%.0f,\"ratio_p99\":%."
				"3f}",
				c == 0 ? "[\n" : ",\n", direction, cases[c].size, PEERS, rate,
				got[STILL][P50], got[CHANGING][P50], got[STILL][P99],
				got[CHANGING][P99], got[STILL][P999], got[CHANGING][P999], ratio);
	}
	if (json != NULL)
		fprintf(json, "\n]\n");
}

/* ---- the command line ---- */

static unsigned parse_number(const char *text, unsigned most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	if (end == text || *end != '\0' || value > most)
		die("a number is out of range");
	return (unsigned)value;
}

static void parse_options(int argc, char **argv, struct options *options)
{
	*options = (struct options){.rounds = 31, .rate = 10000, .cpu = 1};
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0)
			options->rounds = parse_number(argv[i + 1], MAX_ROUNDS);
		else if (i + 1 < argc && strcmp(argv[i], "--rate") == 0)
			options->rate = parse_number(argv[i + 1], 1000000);
		else if (i + 1 < argc && strcmp(argv[i], "--cpu") == 0)
			options->cpu = parse_number(argv[i + 1], 1023);
		else if (i + 1 < argc && strcmp(argv[i], "--json") == 0)
			options->json = argv[i + 1];
		else
			die("usage: bench_changes [--rounds N] [--rate N] [--cpu N] [--json FILE]");
	}
	if (options->rounds == 0 || options->rate == 0)
		die("a number is out of range");
}

int main(int argc, char **argv)
{
	static struct player player;
	struct options options;
	FILE *json = NULL;
	parse_options(argc, argv, &options);
	if (options.json != NULL && (json = fopen(options.json, "w")) == NULL)
		die("cannot write the JSON file");
	world_start(PEERS + COMERS, false, false);
	world_add_peers(PEERS);
	player_init(&player, 0);
	player.peer_count = PEERS;
	start_thread(options.cpu, control, &options.rate);
	for (unsigned round = 0; round < options.rounds; round++)
		play_round(&player, round);
	ending = true;
	join_thread();
	report(&options, json);
	if (json != NULL)
		fclose(json);
	player_end(&player);
	world_stop();
	return 0;
}
