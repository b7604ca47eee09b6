/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The batch AEAD alone: cycles a packet by direction, size, fill and backend, with IPsec-MB in the
 * same run: at its best, and as it is on a CPU without AVX-512, beside our own backends for such.
 * Every sample is one burst in a hot cache; backends take turns, so that what else the
 * machine does hits all of them; medians. Cycles are those of the time stamp counter.
 *
 * bench_aead [--quick] [--json FILE] [--fill N] [--size BYTES]
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

static bool parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"json", required_argument, NULL, 'j'},
		{"quick", no_argument, NULL, 'q'},
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
		fprintf(stderr, "usage: %s [--quick] [--json FILE] [--fill N] [--size BYTES]\n",
			argv[0]);
		return EXIT_FAILURE;
	}
	packets = aligned_alloc(64, (size_t)AEAD_BATCH_MAX * STRIDE);
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
	random_fill(packets, (size_t)AEAD_BATCH_MAX * STRIDE);
	random_fill(keys, sizeof(keys));
	for (unsigned b = 0; b < AEAD_BACKEND_COUNT; b++)
		batches[b] = aead_batch_create((enum aead_backend)b);
	batches[AUTO_AVX2] = aead_batch_auto_avx2();
	batches[IPSEC_MB_AVX2] = aead_batch_ipsec_mb_avx2();
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
