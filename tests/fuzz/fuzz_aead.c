/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: bursts to every backend of the batch AEAD that this CPU has, and to the automatic
 * one as it is without AVX-512. What must hold whatever comes, with libsodium as the measure:
 * - they seal to the same bytes, and open to the same verdicts and, where authentic, the same
 * bytes;
 * - nothing around a packet changes, and no key.
 *
 * The input is a list of packets. One begins with a byte: bits 0-2 what is wrong with it when it is
 * opened (enum wrong), bit 3 a burst ends here, bits 4-5 the key, bits 6-7 its place in memory. It
 * goes on with a length and what the fault is at, of two bytes each, and a byte that the text and
 * the counter are made from.
 */
#include <stdbool.h>

#include "input.h"

#include "crypto/aead.h"
#include "crypto/aead_batch.h"
#include "crypto/aead_batch_backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BURSTS_MAX 6
#define LEN_MAX	   9000
#define GUARD	   64 /* bytes around a packet */
#define ROOM	   (GUARD + 64 + LEN_MAX + AEAD_TAG_BYTES + GUARD)
#define GUARD_BYTE 0xee
#define KEYS	   4

enum { AUTO_AVX2 = AEAD_BACKEND_COUNT, BACKENDS };

enum wrong { NOTHING, WRONG_TAG, WRONG_TEXT, WRONG_COUNTER, WRONG_KEY, WRONG_LENGTH };

struct packet {
	uint8_t step;
	uint16_t at;
	uint8_t bytes[ROOM]; /* with guards, as a backend gets them */
};

static struct aead_batch *batches[BACKENDS];
static uint8_t keys[KEYS][AEAD_KEY_BYTES];

static struct packet packets[AEAD_BATCH_MAX];
static struct aead_op ops[AEAD_BATCH_MAX];
static uint8_t wanted[AEAD_BATCH_MAX][ROOM]; /* what libsodium made of them */
static uint8_t work[AEAD_BATCH_MAX][ROOM];

static void set_up(void)
{
	if (batches[AEAD_BACKEND_SODIUM])
		return;
	for (unsigned b = 0; b < AEAD_BACKEND_COUNT; b++)
		batches[b] = aead_batch_create((enum aead_backend)b);
	batches[AUTO_AVX2] = aead_batch_auto_avx2();
	for (unsigned i = 0; i < sizeof(keys); i++)
		keys[i / AEAD_KEY_BYTES][i % AEAD_KEY_BYTES] = (uint8_t)(i * 151 + 7);
}

static void take_packet(struct input *input, unsigned i)
{
	struct packet *p = &packets[i];
	uint8_t seed;

	memset(p->bytes, GUARD_BYTE, sizeof(p->bytes));
	p->step = input_byte(input);
	ops[i].len = input_u16(input) % (LEN_MAX + 1);
	p->at = input_u16(input);
	seed = input_byte(input);
	ops[i].key = keys[p->step >> 4 & 3];
	ops[i].counter = seed * UINT64_C(0x0101010101010101) ^ i;
	ops[i].data = p->bytes + GUARD + (p->step >> 6) * 21;
	for (uint32_t k = 0; k < ops[i].len; k++)
		ops[i].data[k] = (uint8_t)(seed + k * k + (k >> 8));
}

/* All packets of a burst through one backend: from 'packets' to 'work'. */
static uint64_t run(unsigned b, unsigned n, bool sealing)
{
	struct aead_op copies[AEAD_BATCH_MAX];

	for (unsigned i = 0; i < n; i++) {
		memcpy(work[i], packets[i].bytes, ROOM);
		copies[i] = ops[i];
		copies[i].data = work[i] + (ops[i].data - packets[i].bytes);
	}
	if (!sealing)
		return aead_batch_open(batches[b], copies, n);
	aead_batch_seal(batches[b], copies, n);
	return UINT64_MAX;
}

static void check_same(unsigned n, uint64_t authentic)
{
	for (unsigned i = 0; i < n; i++) {
		size_t begin = (size_t)(ops[i].data - packets[i].bytes);
		size_t end = begin + ops[i].len;

		if (authentic >> i & 1)
			MUST(memcmp(work[i] + begin, wanted[i] + begin, ops[i].len) == 0);
		MUST(memcmp(work[i], wanted[i], begin) == 0);
		MUST(memcmp(work[i] + end, wanted[i] + end, ROOM - end) == 0);
	}
}

/* Every backend does what libsodium did, whose results become the packets. */
static uint64_t compare(unsigned n, bool sealing)
{
	uint64_t authentic = run(AEAD_BACKEND_SODIUM, n, sealing);

	memcpy(wanted, work, sizeof(work[0]) * n);
	for (unsigned b = 0; b < BACKENDS; b++) {
		if (!batches[b])
			continue;
		MUST(run(b, n, sealing) == authentic);
		check_same(n, authentic);
	}
	for (unsigned i = 0; i < n; i++)
		memcpy(packets[i].bytes, wanted[i], ROOM);
	return authentic;
}

/* Returns whether the packet is still what was sealed. */
static bool spoil(unsigned i, uint8_t wrong_key[AEAD_KEY_BYTES])
{
	struct aead_op *op = &ops[i];
	uint16_t at = packets[i].at;
	uint8_t bit = (uint8_t)(1u << (at & 7));

	switch (packets[i].step & 7) {
	case WRONG_TAG:
		op->data[op->len + (at >> 3) % AEAD_TAG_BYTES] ^= bit;
		return false;
	case WRONG_TEXT:
		if (op->len == 0)
			return true;
		op->data[(at >> 3) % op->len] ^= bit;
		return false;
	case WRONG_COUNTER:
		op->counter ^= UINT64_C(1) << at % 64;
		return false;
	case WRONG_KEY:
		memcpy(wrong_key, op->key, AEAD_KEY_BYTES);
		wrong_key[(at >> 3) % AEAD_KEY_BYTES] ^= bit;
		op->key = wrong_key;
		return false;
	case WRONG_LENGTH:
		if (op->len == 0)
			return true;
		op->len -= 1 + at % op->len;
		return false;
	default:
		return true;
	}
}

static void check_burst(unsigned n)
{
	static uint8_t wrong_keys[AEAD_BATCH_MAX][AEAD_KEY_BYTES];
	uint64_t intact = 0;

	compare(n, true);
	for (unsigned i = 0; i < n; i++)
		intact |= (uint64_t)spoil(i, wrong_keys[i]) << i;
	MUST(compare(n, false) == intact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t keys_before[KEYS][AEAD_KEY_BYTES];
	struct input input = {data, size};

	set_up();
	memcpy(keys_before, keys, sizeof(keys));
	for (unsigned burst = 0; burst < BURSTS_MAX && input.left > 0; burst++) {
		unsigned n = 0;

		do
			take_packet(&input, n++);
		while (n < AEAD_BATCH_MAX && input.left > 0 && !(packets[n - 1].step & 8));
		check_burst(n);
	}
	MUST(memcmp(keys, keys_before, sizeof(keys)) == 0);
	return 0;
}
