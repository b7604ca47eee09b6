/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a cache line costs here: the unit of docs/performance.md's model. Cycles of the TSC a line,
 * medians.
 *
 *   random      lines at random from working sets of several sizes, prefetched 32 at a time, as the
 *               data path does with sessions and peers; with small pages and with huge ones
 *   add         an addition that waits for the one before: the core's clock against the TSC's
 *   other core  packets that another CPU has just written, read in order: what vhost-user does
 *
 * bench_touch [--json FILE]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

#define LINE	      64
#define BULK	      32
#define BULKS	      20000
#define ROUNDS	      15
#define LARGEST_BYTES (512u << 20)
#define PACKET_LINES  24
#define PACKETS	      64

static const size_t sets[] = {32u << 10, 512u << 10, 8u << 20, 64u << 20, LARGEST_BYTES};
static uint64_t random_state = 88172645463325252ull;
static volatile uint64_t sink;
static FILE *json;
static bool begun;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void report(const char *kind, size_t bytes, bool huge, double samples[ROUNDS])
{
	qsort(samples, ROUNDS, sizeof(samples[0]), compare_doubles);
	double cycles = samples[ROUNDS / 2];
	printf("%-10s %9zu KiB %-11s %6.2f cycles a line\n", kind, bytes >> 10,
		huge ? "huge pages" : "small pages", cycles);
	if (json != NULL)
		fprintf(json,
			"%s\n{\"bench\": \"touch\", \"kind\": \"%s\", \"bytes\": %zu, \"huge\": "
			"%s, "
			"\"cycles\": %.2f}",
			begun ? "," : "[", kind, bytes, huge ? "true" : "false", cycles);
	begun = true;
}

/* ---- add ---- */

static void measure_add(void)
{
	double samples[ROUNDS];
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t begin = __rdtsc(), sum = begin;
		for (unsigned i = 0; i < 100000; i++)
			__asm__ volatile("add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\t"
					 "add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0"
					 : "+r"(sum));
		samples[round] = (double)(__rdtsc() - begin) / 800000;
	}
	report("add", 0, false, samples);
}

/* ---- random ---- */

static double touch_random(uint8_t *memory, size_t bytes)
{
	uint64_t begin = __rdtsc();
	for (unsigned i = 0; i < BULKS; i++) {
		uint8_t *lines[BULK];
		unsigned sum = 0;
		for (unsigned k = 0; k < BULK; k++) {
			lines[k] = memory + next_random() % (bytes / LINE) * LINE;
			__builtin_prefetch(lines[k]);
		}
		for (unsigned k = 0; k < BULK; k++)
			sum += lines[k][0];
		/* Zero: but no bulk begins before the one before it ended, as no stage does. */
		random_state += sum - BULK;
	}
	return (double)(__rdtsc() - begin) / (BULK * BULKS);
}

static void measure_random(bool huge)
{
	/* Transparent huge pages lie at multiples of their size. */
	uint8_t *memory = aligned_alloc(2u << 20, LARGEST_BYTES);
	if (memory == NULL)
		return;
	madvise(memory, LARGEST_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	memset(memory, 1, LARGEST_BYTES);
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		double samples[ROUNDS];
		for (unsigned round = 0; round < ROUNDS; round++)
			samples[round] = touch_random(memory, sets[i]);
		report("random", sets[i], huge, samples);
	}
	free(memory);
}

/* ---- other core ---- */

static uint8_t packets[PACKETS][PACKET_LINES * LINE] __attribute__((aligned(LINE)));
static _Atomic unsigned turn; /* odd: written, to be read */
static _Atomic bool stop;

static void pin(unsigned cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void *write_packets(void *arg)
{
	(void)arg;
	pin(0);
	while (!stop) {
		if (turn % 2 == 1)
			continue;
		memset(packets, (int)turn, sizeof(packets));
		turn++;
	}
	return NULL;
}

static void measure_other_core(void)
{
	static uint8_t copy[sizeof(packets)];
	double samples[ROUNDS];
	pthread_t writer;
	pin(1);
	if (pthread_create(&writer, NULL, write_packets, NULL) != 0)
		return;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t cycles = 0;
		for (unsigned i = 0; i < 200; i++) {
			while (turn % 2 == 0)
				_mm_pause();
			uint64_t begin = __rdtsc();
			memcpy(copy, packets, sizeof(packets));
			cycles += __rdtsc() - begin;
			sink += copy[i];
			turn++;
		}
		samples[round] = (double)cycles / (200 * PACKETS * PACKET_LINES);
	}
	stop = true;
	pthread_join(writer, NULL);
	report("other core", sizeof(packets), false, samples);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--json") == 0) {
		json = fopen(argv[2], "w");
	} else if (argc != 1) {
		fprintf(stderr, "usage: bench_touch [--json FILE]\n");
		return 1;
	}
	measure_add();
	measure_random(false);
	measure_random(true);
	measure_other_core();
	if (json != NULL) {
		fprintf(json, "\n]\n");
		fclose(json);
	}
	return 0;
}
