/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cycles per packet of the whole pipeline, from a burst received to a burst sent, both ways, in one
 * process: no NIC, bursts of 32, and the cycles that the AEAD took of that in the same run. Rounds
 * of all cases interleave; the figure of a case is the median of its rounds. In a round a case
 * plays some batches unmeasured, so that the caches hold what they hold in the long run.
 *
 * Each packet is for a random peer, or each --run of packets in a row.
 *
 *   --stages       each case once more with stages measured (datapath/stages.h): what each costs
 *   --helper CPU   each case once more with two workers, each with peers of its own; and, where
 *                  there is one peer, with a worker that helps another (datapath/spread.h). As a
 *                  control, each size's AEAD in one thread and in two, that share nothing: what
 *                  the machine lets two threads gain at best
 *   --outer6       the outer packets are IPv6's, with their UDP checksums by the program
 *   --huge         EAL with hugepages
 *
 * Usage: bench_pipeline [--rounds N] [--peers N,N...] [--sizes N,N...] [--run N] [--helper CPU]
 *                       [--stages] [--outer6] [--huge] [--json FILE]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_pause.h>

#include "datapath/spread.h"
#include "world.h"

#define MAX_ROUNDS 1000
#define MAX_LIST   16
#define MAX_CASES  1024
#define MEASURED   8 /* batches */

struct options {
	unsigned rounds[MAX_LIST]; /* the first counts; so of run and second */
	unsigned run[MAX_LIST], second[MAX_LIST];
	unsigned peers[MAX_LIST], peer_counts;
	unsigned sizes[MAX_LIST], size_counts;
	bool two, stages, outer6, huge;
	const char *json;
};

enum kind {
	ALONE,
	STAGES, /* alone, with stages measured */
	HELPED, /* another worker helps */
	TWO,	/* another worker has packets of its own */
	BARE,	/* no pipeline: the AEAD on texts of a thread's own */
	BARE_TWO,
	KINDS
};

struct measured {
	enum direction direction;
	enum kind kind;
	unsigned size, peers;
	double cycles[MAX_ROUNDS], aead_cycles[MAX_ROUNDS];
	struct dp_stages stages; /* sums */
};

static struct player first, second;
static struct measured *cases;
static unsigned case_count;
/* What the second player's thread is to do. */
static _Atomic enum { IDLE, HELP, MAKE, PLAY, SEAL, STOP } order;
static _Atomic bool obeyed;
static const struct measured *ordered;
static uint64_t second_cycles;

/* ---- the second worker ---- */

static void *obey(void *arg)
{
	(void)arg;
	for (;;) {
		if (obeyed) {
			if (order == HELP)
				dp_spread_help(second.worker);
			rte_pause();
			continue;
		}
		if (order == STOP)
			return NULL;
		if (order == MAKE)
			player_make(&second, ordered->direction, ordered->size);
		else if (order == PLAY)
			second_cycles = player_play(&second, ordered->direction);
		else if (order == SEAL)
			second_cycles = player_seal(&second, ordered->size);
		else if (order == IDLE)
			dp_spread_leave(second.worker);
		obeyed = true;
	}
}

static void give_order(int what)
{
	order = what;
	obeyed = false;
}

static void wait_for_second(void)
{
	while (!obeyed)
		rte_pause();
}

/* ---- a round of a case ---- */

static uint64_t aead_cycles(void)
{
	return first.worker->counters.aead_cycles +
	       (second.worker != NULL ? second.worker->counters.aead_cycles : 0);
}

static double play_alone(struct measured *c)
{
	player_make(&first, c->direction, c->size);
	return (double)player_play(&first, c->direction) / WORLD_BATCH;
}

static double play_helped(struct measured *c)
{
	player_make(&first, c->direction, c->size);
	give_order(HELP);
	wait_for_second();
	dp_spread_set(first.worker, true);
	while (atomic_load(&world_dp->spread_helpers) == 0)
		rte_pause();
	double cycles = (double)player_play(&first, c->direction) / WORLD_BATCH;
	dp_spread_set(first.worker, false);
	give_order(IDLE);
	wait_for_second();
	return cycles;
}

/* Both play at once; a packet's part of the time that both take. */
static double play_two(struct measured *c)
{
	ordered = c;
	give_order(MAKE);
	player_make(&first, c->direction, c->size);
	wait_for_second();
	give_order(PLAY);
	double own = (double)player_play(&first, c->direction) / WORLD_BATCH;
	wait_for_second();
	double other = (double)second_cycles / WORLD_BATCH;
	return 1 / (1 / own + 1 / other);
}

static double play_bare(struct measured *c)
{
	return (double)player_seal(&first, c->size) / WORLD_BATCH;
}

static double play_bare_two(struct measured *c)
{
	ordered = c;
	give_order(SEAL);
	double own = play_bare(c);
	wait_for_second();
	return 1 / (1 / own + 1 / ((double)second_cycles / WORLD_BATCH));
}

/* So many of a case's peers are the second worker's. */
static unsigned second_peers(unsigned peers)
{
	return peers > 1 ? peers - peers / 2 : 1;
}

/*
 * Half of the peers are the first worker's where two work. The others then have others, as long as
 * there may be so many: else what one worker alone finds in its caches depended on that case.
 */
static void share_peers(const struct measured *c)
{
	bool two = c->kind == TWO;
	second.peer_count = second_peers(c->peers);
	first.peer_from = 0;
	first.peer_count = two && c->peers > 1 ? c->peers - second.peer_count : c->peers;
	second.peer_from = c->peers + second.peer_count > LIMIT_PEERS ? c->peers - second.peer_count
								      : c->peers;
}

/* Batches until the caches hold what they can of so many peers; of a million they hold little. */
static unsigned warm_up(unsigned peers)
{
	return RTE_MIN(RTE_MAX(8u, peers / WORLD_BATCH), 200u);
}

static void play(struct measured *c, unsigned round)
{
	static double (*const by_kind[KINDS])(struct measured * c) = {
		[ALONE] = play_alone,
		[STAGES] = play_alone,
		[HELPED] = play_helped,
		[TWO] = play_two,
		[BARE] = play_bare,
		[BARE_TWO] = play_bare_two,
	};
	const unsigned unmeasured = warm_up(c->peers);
	uint64_t aead_before = 0;
	double cycles = 0;
	share_peers(c);
	dp_measure_stages(world_dp, c->kind == STAGES);
	for (unsigned i = 0; i < unmeasured + MEASURED; i++) {
		if (i == unmeasured) {
			cycles = 0;
			aead_before = aead_cycles();
			memset(&first.worker->stages, 0, sizeof(first.worker->stages));
		}
		cycles += by_kind[c->kind](c);
	}
	c->cycles[round] = cycles / MEASURED;
	c->aead_cycles[round] = (double)(aead_cycles() - aead_before) /
				(MEASURED * WORLD_BATCH * (c->kind == TWO ? 2 : 1));
	for (enum dp_stage stage = 0; c->kind == STAGES && stage < DP_STAGE_COUNT; stage++) {
		c->stages.cycles[stage] += first.worker->stages.cycles[stage];
		c->stages.packets[stage] += first.worker->stages.packets[stage];
	}
	dp_measure_stages(world_dp, false);
}

/* ---- reporting ---- */

static void write_row(FILE *json, const char *row)
{
	static bool begun;
	if (json != NULL)
		fprintf(json, "%s\n%s", begun ? "," : "[", row);
	begun = true;
}

static void report_stages(FILE *json, const struct measured *c, const char *direction)
{
	char row[256];
	for (enum dp_stage stage = 0; stage < DP_STAGE_COUNT; stage++) {
		if (c->stages.packets[stage] == 0)
			continue;
		double cycles = (double)c->stages.cycles[stage] / (double)c->stages.packets[stage];
		printf("    %-9s %7.1f\n", dp_stage_name(stage), cycles);
		snprintf(row, sizeof(row),
			"{\"bench\":\"stages\",\"direction\":\"%s\",\"stage\":\"%s\",\"size\":%u,"
			"\"peers\":%u,\"cycles\":%.1f}",
			direction, dp_stage_name(stage), c->size, c->peers, cycles);
		write_row(json, row);
	}
}

static void report_bare(FILE *json, struct measured *c, struct measured *one, unsigned rounds)
{
	double cycles = median(c->cycles, rounds);
	unsigned threads = c->kind == BARE ? 1 : 2;
	char row[256];
	printf("AEAD     %5u bytes in %u threads of their own: %7.1f cycles (quartiles %.1f to "
	       "%.1f)",
		c->size, threads, cycles, c->cycles[rounds / 4], c->cycles[rounds * 3 / 4]);
	if (threads == 2)
		printf(", %.2f times one thread", median(one->cycles, rounds) / cycles);
	printf("\n");
	snprintf(row, sizeof(row),
		"{\"bench\":\"bare\",\"size\":%u,\"threads\":%u,\"cycles\":%.1f}", c->size, threads,
		cycles);
	write_row(json, row);
}

/* alone: the same case with one worker, reported before. */
static void report(
	FILE *json, struct measured *c, struct measured *alone, const struct options *options)
{
	static const char *const names[BARE] = {"", ", stages", ", helped", ", two workers"};
	const char *direction = c->direction == OUTBOUND ? "outbound" : "inbound";
	unsigned n = options->rounds[0];
	double cycles = median(c->cycles, n), aead = median(c->aead_cycles, n);
	char row[256];
	printf("%-8s %5u bytes %7u peers%s: %7.1f cycles (quartiles %.1f to %.1f), AEAD %7.1f",
		direction, c->size, c->peers, names[c->kind], cycles, c->cycles[n / 4],
		c->cycles[n * 3 / 4], aead);
	if (c->kind == ALONE)
		printf(", rest %6.1f\n", cycles - aead);
	else
		printf(", %.2f times one worker\n", median(alone->cycles, n) / cycles);
	if (c->kind == STAGES) {
		report_stages(json, c, direction);
		return;
	}
	snprintf(row, sizeof(row),
		"{\"bench\":\"%s\",\"direction\":\"%s\",\"size\":%u,\"peers\":%u,\"run\":%u,"
		"\"workers\":%u,\"helped\":%s,\"cycles\":%.1f,\"aead_cycles\":%.1f}",
		options->outer6 ? "pipeline6" : "pipeline", direction, c->size, c->peers,
		options->run[0], c->kind == ALONE ? 1u : 2u, c->kind == HELPED ? "true" : "false",
		cycles, aead);
	write_row(json, row);
}

/* ---- the cases ---- */

static void add_case(enum direction direction, enum kind kind, unsigned size, unsigned peers)
{
	if (case_count == MAX_CASES)
		die("too many cases");
	cases[case_count++] = (struct measured){
		.direction = direction, .kind = kind, .size = size, .peers = peers};
}

/* What a case of the pipeline is measured with besides. */
static bool is_wanted(enum kind kind, unsigned peers, const struct options *options)
{
	switch (kind) {
	case ALONE:
		return true;
	case STAGES:
		return options->stages;
	case HELPED:
		return options->two && peers == 1;
	case TWO:
		return options->two && peers > 1;
	default:
		return false;
	}
}

static void add_cases(const struct options *options)
{
	cases = calloc(MAX_CASES, sizeof(*cases));
	if (cases == NULL)
		die("no memory");
	for (unsigned p = 0; p < options->peer_counts; p++)
		for (unsigned s = 0; s < options->size_counts; s++)
			for (enum direction d = OUTBOUND; d <= INBOUND; d++)
				for (enum kind kind = ALONE; kind < KINDS; kind++)
					if (is_wanted(kind, options->peers[p], options))
						add_case(d, kind, options->sizes[s],
							options->peers[p]);
	for (unsigned s = 0; options->two && s < options->size_counts; s++)
		for (enum kind kind = BARE; kind <= BARE_TWO; kind++)
			add_case(OUTBOUND, kind, options->sizes[s], 0);
}

static void run(const struct options *options, FILE *json)
{
	struct measured *alone = NULL; /* of one worker or one thread */
	for (unsigned round = 0; round < options->rounds[0]; round++)
		for (unsigned i = 0; i < case_count; i++)
			play(&cases[i], round);
	for (unsigned i = 0; i < case_count; i++) {
		if (cases[i].kind == ALONE || cases[i].kind == BARE)
			alone = &cases[i];
		if (cases[i].kind >= BARE)
			report_bare(json, &cases[i], alone, options->rounds[0]);
		else
			report(json, &cases[i], alone, options);
	}
	if (json != NULL)
		fprintf(json, "\n]\n");
}

/* ---- the command line ---- */

static unsigned parse_list(const char *text, unsigned list[MAX_LIST], unsigned least, unsigned most)
{
	unsigned n = 0;
	for (char *end; n < MAX_LIST; text = end + 1) {
		unsigned long value = strtoul(text, &end, 10);
		if (end == text || value < least || value > most)
			die("a number is out of range");
		list[n++] = (unsigned)value;
		if (*end != ',')
			break;
	}
	return n;
}

/* True when the option was one with a value. */
static bool parse_valued(const char *name, const char *value, struct options *options)
{
	if (strcmp(name, "--rounds") == 0)
		parse_list(value, options->rounds, 1, MAX_ROUNDS);
	else if (strcmp(name, "--run") == 0)
		parse_list(value, options->run, 1, WORLD_BATCH);
	else if (strcmp(name, "--sizes") == 0)
		options->size_counts = parse_list(value, options->sizes, 20, WORLD_MAX_BYTES);
	else if (strcmp(name, "--peers") == 0)
		options->peer_counts = parse_list(value, options->peers, 1, LIMIT_PEERS);
	else if (strcmp(name, "--helper") == 0)
		options->two = parse_list(value, options->second, 0, 1023) > 0;
	else if (strcmp(name, "--json") == 0)
		options->json = value;
	else
		return false;
	return true;
}

static void parse_options(int argc, char **argv, struct options *options)
{
	*options = (struct options){.rounds = {31}, .run = {1}};
	options->size_counts = parse_list("64,128,256,512,1024,1420", options->sizes, 20, 1420);
	options->peer_counts = parse_list("1", options->peers, 1, LIMIT_PEERS);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--stages") == 0)
			options->stages = true;
		else if (strcmp(argv[i], "--outer6") == 0)
			options->outer6 = true;
		else if (strcmp(argv[i], "--huge") == 0)
			options->huge = true;
		else if (i + 1 == argc || !parse_valued(argv[i], argv[i + 1], options))
			die("usage: bench_pipeline [--rounds N] [--sizes N,...] [--peers N,...] "
			    "[--run N] [--helper CPU] [--stages] [--outer6] [--huge] [--json "
			    "FILE]");
		else
			i++;
	}
}

static unsigned most_peers(const struct options *options)
{
	unsigned most = 1;
	for (unsigned i = 0; i < options->peer_counts; i++) {
		unsigned all = options->peers[i] + second_peers(options->peers[i]);
		most = RTE_MAX(most, options->two && all <= LIMIT_PEERS ? all : options->peers[i]);
	}
	return most;
}

int main(int argc, char **argv)
{
	struct options options;
	FILE *json = NULL;
	parse_options(argc, argv, &options);
	if (options.json != NULL && (json = fopen(options.json, "w")) == NULL)
		die("cannot write the JSON file");
	world_start(most_peers(&options), options.huge, options.outer6);
	world_add_peers(most_peers(&options));
	player_init(&first, 0);
	first.run = options.run[0];
	if (options.two) {
		player_init(&second, 1);
		second.run = options.run[0];
		obeyed = true;
		start_thread(options.second[0], obey, NULL);
	}
	add_cases(&options);
	run(&options, json);
	if (json != NULL)
		fclose(json);
	if (options.two) {
		give_order(STOP);
		join_thread();
		player_end(&second);
	}
	player_end(&first);
	free(cases);
	world_stop();
	return 0;
}
