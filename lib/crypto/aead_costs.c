/* SPDX-License-Identifier: BSD-3-Clause */
#include "crypto/aead_costs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define TAG_BYTES 16

/*
 * The least of so many, at several times: what else the machine does only ever adds, and some of it
 * lasts for milliseconds.
 */
#define SAMPLES 2
#define TIMES	3

/* Texts begin where they do in packets: on no boundary. */
#define TEXT_AT	   10
#define TEXT_BYTES (TEXT_AT + AEAD_COSTS_BLOCKS * AEAD_COSTS_BLOCK_BYTES + TAG_BYTES)

/* ---- measuring ---- */

/* What a curve is of: n packets that have so many blocks. */
enum shape {
	EACH,	/* each of them */
	EVEN,	/* together, each the same */
	UNEVEN, /* together, the first twice as many as each other */
};

static unsigned blocks_of(enum shape shape, unsigned n, unsigned i, unsigned blocks)
{
	switch (shape) {
	case EVEN:
		return blocks / n + (i < blocks % n);
	case UNEVEN:
		return i == 0 ? blocks - blocks / (n + 1) * (n - 1) : blocks / (n + 1);
	default:
		return blocks;
	}
}

static uint32_t lesser(uint32_t a, uint64_t b)
{
	return b < a ? (uint32_t)b : a;
}

/* Sealed, and then opened again. */
static void measure_burst(struct aead_batch *batch, const struct aead_op *ops, unsigned n,
	uint32_t *seal_cycles, uint32_t *open_cycles)
{
	/* The first one is for the caches. */
	for (unsigned sample = 0; sample <= SAMPLES; sample++) {
		uint64_t begin = __rdtsc();
		aead_batch_seal(batch, ops, n);
		uint64_t sealed = __rdtsc();
		uint64_t authentic = aead_batch_open(batch, ops, n);
		uint64_t opened = __rdtsc();

		if (sample == 0 || authentic == 0)
			continue;
		*seal_cycles = lesser(*seal_cycles, sealed - begin);
		*open_cycles = lesser(*open_cycles, opened - sealed);
	}
}

static void measure_curve(struct aead_batch *batch, uint8_t *texts, enum shape shape, unsigned n,
	struct aead_costs_curve *seal, struct aead_costs_curve *open)
{
	static const uint8_t key[32];
	struct aead_op ops[AEAD_COSTS_PACKETS];

	for (unsigned blocks = 0; blocks <= AEAD_COSTS_BLOCKS; blocks++) {
		for (unsigned i = 0; i < n; i++)
			ops[i] = (struct aead_op){
				.data = texts + (size_t)i * TEXT_BYTES + TEXT_AT,
				.key = key,
				.len = blocks_of(shape, n, i, blocks) * AEAD_COSTS_BLOCK_BYTES,
			};
		measure_burst(batch, ops, n, &seal->cycles[blocks], &open->cycles[blocks]);
	}
}

static void measure_all(struct aead_costs *seal, struct aead_costs *open, struct aead_batch *across,
	struct aead_batch *alone, uint8_t *texts)
{
	measure_curve(alone, texts, EACH, 1, &seal->alone, &open->alone);
	measure_curve(alone, texts, EACH, AEAD_COSTS_PACKETS, &seal->each, &open->each);
	for (unsigned i = 0; i < AEAD_COSTS_PACKETS; i++) {
		measure_curve(across, texts, EVEN, i + 1, &seal->even[i], &open->even[i]);
		if (i > 0)
			measure_curve(
				across, texts, UNEVEN, i + 1, &seal->uneven[i], &open->uneven[i]);
	}
}

/* Of so many packets together, for one of them. */
static void finish_curve(struct aead_costs_curve *curve, unsigned packets)
{
	const unsigned third = AEAD_COSTS_BLOCKS / 3, last = AEAD_COSTS_BLOCKS;

	for (unsigned blocks = 0; blocks <= last; blocks++)
		curve->cycles[blocks] /= packets;
	curve->more = (curve->cycles[last] - curve->cycles[last - third]) / third;
}

static void finish(struct aead_costs *costs)
{
	finish_curve(&costs->alone, 1);
	finish_curve(&costs->each, AEAD_COSTS_PACKETS);
	for (unsigned i = 0; i < AEAD_COSTS_PACKETS; i++) {
		finish_curve(&costs->even[i], 1);
		finish_curve(&costs->uneven[i], 1);
	}
	aead_costs_note_ones(costs);
}

int aead_costs_measure(struct aead_costs *seal, struct aead_costs *open, struct aead_batch *across,
	struct aead_batch *alone)
{
	uint8_t *texts = calloc(AEAD_COSTS_PACKETS, TEXT_BYTES);

	if (texts == NULL)
		return -ENOMEM;
	memset(seal, 0xff, sizeof(*seal));
	memset(open, 0xff, sizeof(*open));
	for (unsigned time = 0; time < TIMES; time++)
		measure_all(seal, open, across, alone, texts);
	finish(seal);
	finish(open);
	free(texts);
	return 0;
}

/* ---- asking ---- */

static uint64_t cost_of(const struct aead_costs_curve *curve, unsigned blocks)
{
	if (blocks <= AEAD_COSTS_BLOCKS)
		return curve->cycles[blocks];
	return curve->cycles[AEAD_COSTS_BLOCKS] +
	       (uint64_t)curve->more * (blocks - AEAD_COSTS_BLOCKS);
}

bool aead_costs_compare(const struct aead_costs *costs, const struct aead_op *ops, unsigned n)
{
	const struct aead_costs_curve *each = n == 1 ? &costs->alone : &costs->each;
	const struct aead_costs_curve *across = costs->even;
	unsigned blocks = 0;
	uint64_t alone = 0;

	if (n > AEAD_COSTS_PACKETS)
		return false;
	for (unsigned i = 0; i < n; i++) {
		unsigned own = aead_costs_blocks(ops[i].len);

		blocks += own;
		alone += cost_of(each, own);
		if (ops[i].len != ops[0].len)
			across = costs->uneven;
	}
	return alone < cost_of(&across[n - 1], blocks);
}

void aead_costs_note_ones(struct aead_costs *costs)
{
	for (unsigned blocks = 0; blocks <= AEAD_COSTS_BLOCKS; blocks++) {
		const struct aead_op op = {.len = blocks * AEAD_COSTS_BLOCK_BYTES};

		costs->one_alone[blocks] = aead_costs_compare(costs, &op, 1);
	}
}
