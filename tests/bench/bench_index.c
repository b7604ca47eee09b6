/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a receiver index to its session, in bulks of 32: TSC cycles for each, beside rte_hash with
 * the same indices and the same queries, in interleaved rounds. Indices are drawn as the program
 * draws them, sessions lie where it puts them.
 *
 *   slot      the session that the slot names: dp_session_in_slot(), what the hash table answers
 *   session   and its whole index compared, in bulk as dp_inbound() does it: that reads a line of
 *             the session, which opening needs anyway
 *   rte_hash  lookup_bulk_data of a table that can be changed under its readers, as ours can
 *
 * Usage: bench_index [--rounds N] [--sessions N,N...] [--json FILE]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>

#include "base/secret_mem.h"
#include "datapath/burst.h"
#include "wg/index.h"
#include "world.h"

#define BULK	   32
#define QUERIES	   (1u << 18)
#define MAX_ROUNDS 99
#define MAX_LIST   8

struct options {
	unsigned rounds;
	unsigned counts[MAX_LIST], n;
	const char *json;
};

static uint64_t random_state = 88172645463325252u;
static struct wg_session **sessions;
static struct rte_hash *hash;
static uint32_t queries[QUERIES];
static uint64_t found; /* so that no lookup is for nothing */

/* ---- the ways to look up ---- */

static void by_slot(const uint32_t *indices)
{
	for (unsigned i = 0; i < BULK; i++)
		found += dp_session_in_slot(world_dp, indices[i]) != NULL;
}

static void by_session(const uint32_t *indices)
{
	struct wg_session *in_slot[BULK];
	for (unsigned i = 0; i < BULK; i++)
		prefetch_far(&world_dp->sessions[wg_index_slot(indices[i])]);
	for (unsigned i = 0; i < BULK; i++) {
		in_slot[i] = dp_session_in_slot(world_dp, indices[i]);
		prefetch_far(in_slot[i]);
	}
	for (unsigned i = 0; i < BULK; i++)
		found += in_slot[i] != NULL && in_slot[i]->local_index == indices[i];
}

static void by_hash(const uint32_t *indices)
{
	const void *keys[BULK];
	void *data[BULK];
	uint64_t hits;
	for (unsigned i = 0; i < BULK; i++)
		keys[i] = &indices[i];
	rte_hash_lookup_bulk_data(hash, keys, BULK, &hits, data);
	found += (unsigned)__builtin_popcountll(hits);
}

static const struct way {
	const char *name;
	void (*look_up)(const uint32_t *indices);
} ways[] = {
	{"slot", by_slot},
	{"session", by_session},
	{"rte_hash", by_hash},
};

/* ---- sessions ---- */

static void draw(void *arg, void *buf, size_t len)
{
	uint64_t value = random_of(&random_state);
	(void)arg;
	for (size_t at = 0; at < len; at += sizeof(value)) {
		memcpy((uint8_t *)buf + at, &value, RTE_MIN(len - at, sizeof(value)));
		value = random_of(&random_state);
	}
}

static void add_session(struct wg_index_table *indices, unsigned i)
{
	/* The table wants a peer for each; it only keeps the pointer. */
	struct wg_peer *peer = (struct wg_peer *)&sessions[i];
	sessions[i] = secret_alloc(sizeof(*sessions[i]));
	if (sessions[i] == NULL)
		die("no memory for so many sessions");
	sessions[i]->local_index = wg_index_take(indices, peer);
	if (sessions[i]->local_index == WG_INDEX_NONE ||
		rte_hash_add_key_data(hash, &sessions[i]->local_index, sessions[i]) != 0)
		die("no room for an index");
	dp_publish_session(world_dp, sessions[i]);
}

static void create_hash(unsigned most)
{
	struct rte_hash_parameters parameters = {
		.name = "bench",
		.entries = most + most / 4 + 64,
		.key_len = sizeof(uint32_t),
		.hash_func = rte_hash_crc,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF,
	};
	hash = rte_hash_create(&parameters);
	if (hash == NULL)
		die("no memory for rte_hash");
}

/* ---- measuring ---- */

static double measure_once(const struct way *way)
{
	uint64_t begin = rte_rdtsc_precise();
	for (unsigned i = 0; i < QUERIES; i += BULK)
		way->look_up(queries + i);
	return (double)(rte_rdtsc_precise() - begin) / QUERIES;
}

static void measure(const struct options *options, unsigned count, FILE *json)
{
	static double cycles[RTE_DIM(ways)][MAX_ROUNDS];
	static bool begun;
	uint64_t asked = (uint64_t)options->rounds * RTE_DIM(ways) * QUERIES;
	for (unsigned i = 0; i < QUERIES; i++)
		queries[i] = sessions[random_of(&random_state) % count]->local_index;
	found = 0;
	for (unsigned round = 0; round < options->rounds; round++)
		for (unsigned w = 0; w < RTE_DIM(ways); w++)
			cycles[w][round] = measure_once(&ways[w]);
	if (found != asked)
		die("an index was not found");
	for (unsigned w = 0; w < RTE_DIM(ways); w++) {
		double value = median(cycles[w], options->rounds);
		printf("%7u sessions, %-8s %6.1f cycles (%.1f to %.1f)\n", count, ways[w].name,
			value, cycles[w][0], cycles[w][options->rounds - 1]);
		if (json != NULL)
			fprintf(json,
				"%s\n{\"bench\":\"index\",\"sessions\":%u,\"way\":\"%s\","
				"\"cycles\":%.1f,\"session_bytes\":%zu}",
				begun ? "," : "[", count, ways[w].name, value,
				sizeof(struct wg_session));
		begun = true;
	}
}

/* ---- the command line ---- */

static unsigned parse_list(const char *text, unsigned list[MAX_LIST], unsigned most)
{
	unsigned n = 0;
	for (char *end; n < MAX_LIST; text = end + 1) {
		unsigned long value = strtoul(text, &end, 10);
		if (end == text || value == 0 || value > most || (n > 0 && value <= list[n - 1]))
			die("a number is out of range, or numbers do not grow");
		list[n++] = (unsigned)value;
		if (*end != ',')
			break;
	}
	return n;
}

static void parse_options(int argc, char **argv, struct options *options)
{
	unsigned rounds[MAX_LIST] = {11};
	*options = (struct options){0};
	options->n = parse_list("1,1000,100000,1000000", options->counts, LIMIT_PEERS);
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 < argc && strcmp(argv[i], "--rounds") == 0)
			parse_list(argv[i + 1], rounds, MAX_ROUNDS);
		else if (i + 1 < argc && strcmp(argv[i], "--sessions") == 0)
			options->n = parse_list(argv[i + 1], options->counts, LIMIT_PEERS);
		else if (i + 1 < argc && strcmp(argv[i], "--json") == 0)
			options->json = argv[i + 1];
		else
			die("usage: bench_index [--rounds N] [--sessions N,...] [--json FILE]");
	}
	options->rounds = rounds[0];
}

int main(int argc, char **argv)
{
	struct options options;
	struct wg_index_table *indices;
	FILE *json = NULL;
	unsigned most, made = 0;
	parse_options(argc, argv, &options);
	most = options.counts[options.n - 1];
	if (options.json != NULL && (json = fopen(options.json, "w")) == NULL)
		die("cannot write the JSON file");
	world_start(most, false, false);
	sessions = calloc(most, sizeof(*sessions));
	indices = wg_index_table_create(draw, NULL);
	create_hash(most);
	if (sessions == NULL || indices == NULL)
		die("no memory");
	for (unsigned c = 0; c < options.n; c++) {
		for (; made < options.counts[c]; made++)
			add_session(indices, made);
		measure(&options, options.counts[c], json);
	}
	if (json != NULL) {
		fprintf(json, "\n]\n");
		fclose(json);
	}
	for (unsigned i = 0; i < made; i++)
		secret_free(sessions[i]);
	free(sessions);
	wg_index_table_destroy(indices);
	rte_hash_free(hash);
	world_stop();
	return 0;
}
