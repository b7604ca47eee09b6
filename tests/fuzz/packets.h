/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data path's rig (tests/datapath/rig.h), set up once and put back to its beginning before each
 * input, for fuzz targets that give it packets.
 */
#ifndef TESTS_FUZZ_PACKETS_H
#define TESTS_FUZZ_PACKETS_H

#include "rig.h"

#include "input.h"

/* Fresh sessions, counters from zero, nothing waiting anywhere. */
void packets_begin(void);
/*
 * Everything that waits is taken out: what left port goes to on_frame, the rest is looked at
 * (lengths, segments) and freed. Then no mbuf may be missing or be there twice.
 */
void packets_end(void (*on_frame)(unsigned port, const struct packet *frame));

/* Up to bytes_max bytes of the input, whose length stands before them. */
void packets_take(struct input *input, struct packet *p, unsigned bytes_max);
/* Alters p as pairs (offset, value to xor) of the input say, as many as a count before them. */
void packets_alter(struct input *input, struct packet *p);

#endif
