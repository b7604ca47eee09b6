/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The batch AEAD alone: cycles a packet by direction, size, fill and backend, with IPsec-MB in the
 * same run: at its best, and as it is on a CPU without AVX-512, beside our own backends for such.
 * Every sample is one burst in a hot cache; backends take turns, so that what else the
 * machine does hits all of them; medians. Cycles are those of the time stamp counter.
 *
 * --grid asks another question: is the automatic backend anywhere slower than IPsec-MB? It measures
 * equal lengths at each fill, pairs and triples of lengths, and mixtures, and tells the worst
 * cells.
 *
 * bench_aead [--quick] [--json FILE] [--fill N] [--size BYTES]
 * bench_aead --grid [--json FILE] [--fill N]
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "crypto/aead.h"
#include "crypto/aead_batch.h"
#include "crypto/aead_batch_backend.h"
#include "crypto/random.h"

#define STRIDE	    9216 /* between packets: as in a pool of large buffers */
#define IMIX	    0	 /* as a size: 7 packets of 64 bytes, 4 of 576, 1 of 1424 */
#define MAX_SAMPLES 4096
#define TURNS	    20

static const uint32_t all_sizes[] = {64, 128, 256, 512, 1024, 1424, 8960, IMIX};
static const unsigned all_fills[] = {32, 64, 16, 8, 4, 3, 2, 1};

struct options {
	const char *json;
	bool quick;
	bool grid;
	unsigned fill;
	int size;
};

/* The backends; "auto" stands first. */
enum { IPSEC_MB = AEAD_BACKEND_IPSEC_MB, AUTO_AVX2 = AEAD_BACKEND_COUNT, IPSEC_MB_AVX2, BACKENDS };

static struct aead_batch *batches[BACKENDS];
static uint8_t *packets;
static uint8_t keys[AEAD_BATCH_MAX][AEAD_KEY_BYTES];
static struct aead_op ops[AEAD_BATCH_MAX];
static uint32_t samples[BACKENDS][MAX_SAMPLES];

static uint32_t imix_size(unsigned i)
{
	i %= 12;
	return i < 7 ? 64 : i < 11 ? 576 : 1424;
}

/* Packet sizes of the mixture stand in an order that is not sorted, as they come from a wire. */
static void prepare(uint32_t size, unsigned fill)
{
	for (unsigned i = 0; i < fill; i++) {
		ops[i] = (struct aead_op){
			.data = packets + (size_t)i * STRIDE,
			.key = keys[i],
			.counter = i,
			.len = size == IMIX ? imix_size(i * 5) : size,
		};
	}
}

static double mean_size(unsigned fill)
{
	double sum = 0;

	for (unsigned i = 0; i < fill; i++)
		sum += ops[i].len;
	return sum / fill;
}

/* Cycles of one burst. */
static uint32_t time_burst(struct aead_batch *batch, unsigned fill, bool opening)
{
	uint64_t begin, end, authentic = 0;
	unsigned aux;

	if (opening)
		aead_batch_seal(batch, ops, fill);
	_mm_lfence();
	begin = __rdtsc();
	_mm_lfence();
	if (opening)
		authentic = aead_batch_open(batch, ops, fill);
	else
		aead_batch_seal(batch, ops, fill);
	end = __rdtscp(&aux);
	_mm_lfence();
	if (opening && __builtin_popcountll(authentic) != (int)fill) {
		fprintf(stderr, "bench_aead: packets are not authentic\n");
		exit(EXIT_FAILURE);
	}
	return (uint32_t)(end - begin);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double median_of(uint32_t *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), compare);
	return values[n / 2];
}

static const char *name_of(unsigned b)
{
	return b == AUTO_AVX2	    ? "auto-avx2"
	       : b == IPSEC_MB_AVX2 ? "ipsec-mb-avx2"
				    : aead_backend_name((enum aead_backend)b);
}

/* The IPsec-MB that a backend is compared with. */
static unsigned rival_of(unsigned b)
{
	return b == AEAD_BACKEND_AVX2 || b == AUTO_AVX2 || b == IPSEC_MB_AVX2 ? IPSEC_MB_AVX2
									      : IPSEC_MB;
}

/* What timing nothing takes. */
static double timer_cost(void)
{
	uint32_t empty[256];

	for (unsigned i = 0; i < 256; i++)
		empty[i] = time_burst(batches[AEAD_BACKEND_SODIUM], 0, false);
	return median_of(empty, 256);
}

static void measure(
	double cycles[BACKENDS], unsigned fill, bool opening, unsigned bursts, double timer)
{
	unsigned n = 0;

	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned b = 0; b < BACKENDS; b++) {
			if (batches[b] == NULL)
				continue;
			for (unsigned i = 0; i < 2; i++) /* caches and predictors */
				time_burst(batches[b], fill, opening);
			for (unsigned i = 0; i < bursts; i++)
				samples[b][n + i] = time_burst(batches[b], fill, opening);
		}
		n += bursts;
	}
	for (unsigned b = 0; b < BACKENDS; b++)
		cycles[b] = batches[b] ? (median_of(samples[b], n) - timer) / fill : 0;
}

static void write_json(
	FILE *json, bool opening, uint32_t size, unsigned fill, const double cycles[BACKENDS])
{
	static const char *separator = "";

	for (unsigned b = 0; b < BACKENDS; b++) {
		if (batches[b] == NULL)
			continue;
		fprintf(json,
			"%s\n{\"bench\": \"aead\", \"op\": \"%s\", \"size\": %.0f, %s\"fill\": %u, "
			"\"backend\": \"%s\", \"cycles\": %.1f, \"ratio_ipsec_mb\": %.3f, "
			"\"ratio_ipsec_mb_avx2\": %.3f}",
			separator, opening ? "open" : "seal", mean_size(fill),
			size == IMIX ? "\"mix\": \"imix\", " : "", fill, name_of(b), cycles[b],
			cycles[IPSEC_MB] / cycles[b], cycles[IPSEC_MB_AVX2] / cycles[b]);
		separator = ",";
	}
}

static void print_row(bool opening, uint32_t size, unsigned fill, const double cycles[BACKENDS])
{
	char name[16];

	snprintf(name, sizeof(name), size == IMIX ? "imix" : "%u", size);
	printf("%-4s %5s %4u ", opening ? "open" : "seal", name, fill);
	for (unsigned b = 0; b < BACKENDS; b++) {
		if (batches[b] != NULL)
			printf(" %8.1f %5.2f", cycles[b], cycles[rival_of(b)] / cycles[b]);
	}
	printf("\n");
	fflush(stdout);
}

static void run(const struct options *options, FILE *json)
{
	double timer = timer_cost();

	printf("cycles a packet, and IPsec-MB's cycles (for avx2, its AVX2 path's) / these\n%-4s "
	       "%5s %4s ",
		"op", "bytes", "fill");
	for (unsigned b = 0; b < BACKENDS; b++) {
		if (batches[b] != NULL)
			printf(" %14s", name_of(b));
	}
	printf("\n");
	for (size_t f = 0; f < sizeof(all_fills) / sizeof(all_fills[0]); f++) {
		unsigned fill = all_fills[f];

		if (options->fill != 0 ? fill != options->fill : options->quick && fill % 31 != 1)
			continue;
		for (size_t s = 0; s < 2 * sizeof(all_sizes) / sizeof(all_sizes[0]); s++) {
			double cycles[BACKENDS];
			uint32_t size = all_sizes[s / 2];
			bool opening = s % 2;

			if (options->size >= 0 && size != (uint32_t)options->size)
				continue;
			prepare(size, fill);
			measure(cycles, fill, opening, options->quick ? 5 : 40, timer);
			print_row(opening, size, fill, cycles);
			if (json != NULL)
				write_json(json, opening, size, fill, cycles);
		}
	}
}

/* ---- the grid ---- */

#define GRID_SAMPLES 61
#define GRID_CYCLES  8000 /* a sample takes about so long: the counter steps by tens of cycles */
#define GRID_BOUND   1.03
#define MOVE_BYTES   4096
#define WORST	     12

static const uint32_t grid_sizes[] = {0, 16, 64, 112, 128, 192, 256, 320, 448, 512, 576, 640, 768,
	896, 960, 1024, 1152, 1280, 1424, 1488, 2048, 3072, 4096, 6000, 8960};
static const uint32_t mixed_sizes[] = {16, 64, 256, 448, 512, 576, 1024, 1424, 2048, 4096, 8960};

#define GRID_SIZES  (sizeof(grid_sizes) / sizeof(grid_sizes[0]))
#define MIXED_SIZES (sizeof(mixed_sizes) / sizeof(mixed_sizes[0]))

struct cell {
	double ratio; /* ours ÷ IPsec-MB's */
	unsigned fill;
	bool opening;
	uint32_t sizes[3]; /* of the first packets */
};

/* A pair of backends, and where the first one was slowest. */
struct grid {
	unsigned ours, theirs;
	struct cell worst[WORST];
	unsigned cells, over;
};

static uint32_t time_calls(struct aead_batch *batch, unsigned fill, bool opening, unsigned calls)
{
	uint64_t begin, authentic = 0;
	unsigned aux;

	_mm_lfence();
	begin = __rdtsc();
	_mm_lfence();
	/* Only the first call could find packets authentic: that takes no other time. */
	for (unsigned i = 0; i < calls; i++) {
		if (opening)
			authentic |= aead_batch_open(batch, ops, fill);
		else
			aead_batch_seal(batch, ops, fill);
	}
	__asm__ volatile("" : : "r"(authentic));
	return (uint32_t)(__rdtscp(&aux) - begin);
}

/* Addresses whose last bits are those of other data take longer: no place may decide. */
static void move_packets(unsigned fill, unsigned sample)
{
	for (unsigned i = 0; i < fill; i++)
		ops[i].data = packets + (size_t)i * STRIDE + sample * 448 % MOVE_BYTES;
}

static double measure_ratio(const struct grid *grid, unsigned fill, bool opening)
{
	const unsigned which[2] = {grid->ours, grid->theirs};
	uint32_t once = time_calls(batches[grid->ours], fill, opening, 1);
	unsigned calls = 1 + GRID_CYCLES / (once + 1);

	for (unsigned i = 0; i < GRID_SAMPLES; i++) {
		move_packets(fill, i);
		for (unsigned k = 0; k < 2; k++) {
			unsigned b = which[k ^ (i & 1)];

			time_calls(batches[b], fill, opening, 1);
			samples[b][i] = time_calls(batches[b], fill, opening, calls);
		}
	}
	return median_of(samples[grid->ours], GRID_SAMPLES) /
	       median_of(samples[grid->theirs], GRID_SAMPLES);
}

/* What seems too slow has to be so three times: what else the machine does comes and goes. */
static void measure_cell(struct grid *grid, unsigned fill, bool opening)
{
	struct cell cell = {
		.ratio = measure_ratio(grid, fill, opening), .fill = fill, .opening = opening};
	unsigned at = WORST;

	for (unsigned again = 0; again < 3 && cell.ratio > GRID_BOUND; again++) {
		double ratio = measure_ratio(grid, fill, opening);

		cell.ratio = ratio < cell.ratio ? ratio : cell.ratio;
	}
	for (unsigned i = 0; i < 3 && i < fill; i++)
		cell.sizes[i] = ops[i].len;
	grid->cells++;
	grid->over += cell.ratio > GRID_BOUND;
	for (; at > 0 && cell.ratio > grid->worst[at - 1].ratio; at--)
		if (at < WORST)
			grid->worst[at] = grid->worst[at - 1];
	if (at < WORST)
		grid->worst[at] = cell;
}

static void measure_both(struct grid *grid, unsigned fill)
{
	measure_cell(grid, fill, false);
	measure_cell(grid, fill, true);
}

static void grid_equal(struct grid *grid, unsigned fill)
{
	for (unsigned s = 0; s < GRID_SIZES; s++) {
		prepare(grid_sizes[s], fill);
		for (unsigned i = 0; i < fill; i++)
			ops[i].len = grid_sizes[s];
		measure_both(grid, fill);
	}
}

/* Pairs: c takes one value. */
static void grid_mixed(struct grid *grid, unsigned fill)
{
	prepare(IMIX, fill);
	for (unsigned a = 0; a < MIXED_SIZES; a++) {
		for (unsigned b = 0; b < MIXED_SIZES; b++) {
			for (unsigned c = fill == 2 ? b : 0; c <= b; c++) {
				ops[0].len = mixed_sizes[a];
				ops[1].len = mixed_sizes[b];
				ops[2].len = mixed_sizes[c];
				measure_both(grid, fill);
			}
		}
	}
}

/* IMIX, a jumbo packet among short ones, short ones with a few long, any lengths. */
static void grid_mixtures(struct grid *grid, unsigned fill)
{
	prepare(IMIX, fill);
	measure_both(grid, fill);
	for (unsigned i = 0; i < fill; i++)
		ops[i].len = i == fill / 2 ? 8960 : 64;
	measure_both(grid, fill);
	for (unsigned i = 0; i < fill; i++)
		ops[i].len = i % 4 == 1 ? 1424 : 64;
	measure_both(grid, fill);
	for (unsigned i = 0; i < fill; i++)
		ops[i].len = i * 7919u % 1425;
	measure_both(grid, fill);
}

static void print_grid(const struct grid *grid, FILE *json, bool first)
{
	printf("%s against %s: %u cells, %u slower by more than 3 %%; the worst, %s's cycles / "
	       "%s's:\n",
		name_of(grid->ours), name_of(grid->theirs), grid->cells, grid->over,
		name_of(grid->ours), name_of(grid->theirs));
	for (unsigned i = 0; i < WORST && i < grid->cells; i++) {
		const struct cell *cell = &grid->worst[i];

		printf("  %.3f  %s, %u packets of", cell->ratio, cell->opening ? "open" : "seal",
			cell->fill);
		for (unsigned k = 0; k < 3 && k < cell->fill; k++)
			printf(" %u", cell->sizes[k]);
		printf("%s bytes\n", cell->fill > 3 ? " ..." : "");
	}
	if (json != NULL)
		fprintf(json,
			"%s\n{\"bench\":\"aead grid\",\"backend\":\"%s\",\"against\":\"%s\","
			"\"cells\":%u,\"slower\":%u,\"worst\":%.3f}",
			first ? "" : ",", name_of(grid->ours), name_of(grid->theirs), grid->cells,
			grid->over, grid->worst[0].ratio);
}

static void run_grid(unsigned only_fill, FILE *json)
{
	bool first = true;
	struct grid grids[] = {{.ours = AEAD_BACKEND_AUTO, .theirs = IPSEC_MB},
		{.ours = AUTO_AVX2, .theirs = IPSEC_MB_AVX2}};

	for (unsigned g = 0; g < sizeof(grids) / sizeof(grids[0]); g++) {
		struct grid *grid = &grids[g];

		if (batches[grid->ours] == NULL || batches[grid->theirs] == NULL)
			continue;
		for (unsigned fill = 1; fill <= AEAD_BATCH_MAX; fill++) {
			if (only_fill != 0 && fill != only_fill)
				continue;
			grid_equal(grid, fill);
			if (fill == 2 || fill == 3)
				grid_mixed(grid, fill);
			grid_mixtures(grid, fill);
		}
		print_grid(grid, json, first);
		first = false;
	}
}

/* ---- options ---- */

static bool parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"json", required_argument, NULL, 'j'},
		{"quick", no_argument, NULL, 'q'},
		{"grid", no_argument, NULL, 'g'},
		{"fill", required_argument, NULL, 'f'},
		{"size", required_argument, NULL, 's'},
		{0},
	};
	int c;

	*options = (struct options){.size = -1};
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'j':
			options->json = optarg;
			break;
		case 'q':
			options->quick = true;
			break;
		case 'g':
			options->grid = true;
			break;
		case 'f':
			options->fill = (unsigned)atoi(optarg);
			break;
		case 's':
			options->size = atoi(optarg);
			break;
		default:
			return false;
		}
	}
	return optind == argc;
}

/* Stays on the core it is on: the time stamp counter and the caches are that core's. */
static void stay_here(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
	struct options options;
	FILE *json = NULL;

	if (!parse_options(argc, argv, &options)) {
		fprintf(stderr,
			"usage: %s [--quick] [--json FILE] [--fill N] [--size BYTES]\n"
			"       %s --grid [--json FILE] [--fill N]\n",
			argv[0], argv[0]);
		return EXIT_FAILURE;
	}
	packets = aligned_alloc(64, (size_t)AEAD_BATCH_MAX * STRIDE + MOVE_BYTES);
	if (packets == NULL)
		return EXIT_FAILURE;
	if (options.json != NULL) {
		json = fopen(options.json, "w");
		if (json == NULL) {
			fprintf(stderr, "%s: %s\n", options.json, strerror(errno));
			return EXIT_FAILURE;
		}
		fprintf(json, "[");
	}
	stay_here();
	random_fill(packets, (size_t)AEAD_BATCH_MAX * STRIDE + MOVE_BYTES);
	random_fill(keys, sizeof(keys));
	for (unsigned b = 0; b < AEAD_BACKEND_COUNT; b++)
		batches[b] = aead_batch_create((enum aead_backend)b);
	batches[AUTO_AVX2] = aead_batch_auto_avx2();
	batches[IPSEC_MB_AVX2] = aead_batch_ipsec_mb_avx2();
	if (options.grid)
		run_grid(options.fill, json);
	else
		run(&options, json);
	for (unsigned b = 0; b < BACKENDS; b++)
		aead_batch_destroy(batches[b]);
	free(packets);
	if (json != NULL) {
		fprintf(json, "\n]\n");
		fclose(json);
	}
	return EXIT_SUCCESS;
}
