/* SPDX-License-Identifier: BSD-3-Clause */
#include "wg/tai64n.h"

#include "base/bytes.h"

/* Label of 1970-01-01 00:00:00 UTC. TAI was 10 s ahead then; leap seconds since are not counted. */
#define TAI64_EPOCH 0x400000000000000aull

/* The greatest power of two below WG_INITIATION_INTERVAL_NS: accepted initiations still differ. */
#define STEP_NS (1u << 24)
_Static_assert(STEP_NS < WG_INITIATION_INTERVAL_NS, "two initiations in a row need two labels");

static void store_label(uint8_t out[WG_TIMESTAMP_BYTES], uint64_t seconds, uint32_t ns)
{
	store_be64(out, seconds);
	store_be32(out + 8, ns);
}

void tai64n_from_wall(uint8_t out[WG_TIMESTAMP_BYTES], uint64_t wall_ns)
{
	uint32_t ns = (uint32_t)(wall_ns % NS_PER_SEC);

	store_label(out, TAI64_EPOCH + wall_ns / NS_PER_SEC, ns & ~(STEP_NS - 1));
}

void tai64n_after(uint8_t out[WG_TIMESTAMP_BYTES], const uint8_t label[WG_TIMESTAMP_BYTES])
{
	uint64_t seconds = load_be64(label);
	uint64_t ns = (uint64_t)(load_be32(label + 8) & ~(STEP_NS - 1)) + STEP_NS;

	if (ns >= NS_PER_SEC) {
		seconds++;
		ns = 0;
	}
	store_label(out, seconds, (uint32_t)ns);
}
