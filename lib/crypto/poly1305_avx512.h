/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poly1305 (RFC 8439 section 2.5) of up to 16 messages at once, with AVX-512 IFMA: the tags of
 * ciphertexts without additional data. Internal to the batch AEAD; needs a CPU with AVX512F, BW,
 * DQ, VL, IFMA and VBMI2, and BMI2.
 *
 * Numbers modulo p = 2^130 - 5 are three limbs of 44, 44 and 42 bits, one vector a limb, eight
 * numbers side by side. Three arrangements:
 *
 * - wide: a lane is a message, and takes its blocks one by one. For short messages.
 * - split: four lanes share a message, and take each fourth block with r^4; at the end the lanes
 *   are multiplied by r^4, r^3, r^2, r and added. For long messages and for few.
 *
 * - alone: 32 lanes share one message in the same way.
 *
 * In all of them messages end together, and shorter ones begin later: before its first block a lane
 * takes zeroes without the bit that marks a block, which leaves its accumulator zero.
 */
#ifndef CRYPTO_POLY1305_AVX512_H
#define CRYPTO_POLY1305_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#include "crypto/poly1305.h"

#define POLY1305_ROW_BYTES 64 /* what one load takes: four blocks */

/* Eight numbers in limbs. */
struct poly1305_fe {
	__m512i limb[3];
};

/* A multiplier with 20 times its upper limbs: 2^132 = 20 modulo p, as 2^130 = 5. */
struct poly1305_factor {
	struct poly1305_fe r;
	__m512i r1_20, r2_20;
};

#define POLY1305_M44 _mm512_set1_epi64((INT64_C(1) << 44) - 1)
#define POLY1305_M42 _mm512_set1_epi64((INT64_C(1) << 42) - 1)
/* 2^128 in the third limb: the bit behind each block. */
#define POLY1305_BIT _mm512_set1_epi64(INT64_C(1) << 40)

POLY1305_INLINE __m512i poly1305_times5(__m512i x)
{
	return _mm512_add_epi64(x, _mm512_slli_epi64(x, 2));
}

POLY1305_INLINE struct poly1305_fe poly1305_split(__m512i low, __m512i high)
{
	return (struct poly1305_fe){{
		_mm512_and_si512(low, POLY1305_M44),
		_mm512_and_si512(_mm512_shrdi_epi64(low, high, 44), POLY1305_M44),
		_mm512_srli_epi64(high, 24),
	}};
}

POLY1305_INLINE struct poly1305_factor poly1305_factor(struct poly1305_fe r)
{
	return (struct poly1305_factor){
		.r = r,
		.r1_20 = _mm512_slli_epi64(poly1305_times5(r.limb[1]), 2),
		.r2_20 = _mm512_slli_epi64(poly1305_times5(r.limb[2]), 2),
	};
}

POLY1305_INLINE struct poly1305_fe poly1305_add(struct poly1305_fe a, struct poly1305_fe b)
{
	for (int i = 0; i < 3; i++)
		a.limb[i] = _mm512_add_epi64(a.limb[i], b.limb[i]);
	return a;
}

/* In assembly: compilers copy one zero register around, which costs more than making another. */
POLY1305_INLINE __m512i poly1305_zero(void)
{
	__m512i zero;

	__asm__ volatile("vpxord %0, %0, %0" : "=v"(zero));
	return zero;
}

/*
 * a x modulo p, with carries that all move at once instead of rippling: limbs may be a little too
 * long. Bit 52 of a product of two limbs is bit 8 of the next limb, which begins at 44; of the
 * third limb, bit 10 of what begins at 132, which is 5 * 2^10 at 0.
 *
 * Limbs of a result or factor are below 2^44 + 2^16, 2^44 + 2^12 and 2^42 + 2^13; those of a, a
 * result and a block or the sum of four results, below 2^47, 2^47 and 2^45; 20 times a limb of the
 * factor, below 2^49 and 2^47. So no argument of a multiplication reaches 2^52, high[2] stays below
 * 2^40, and sums[] below 2^55: carries below 2^11, 2^11 and 2^13.
 */
POLY1305_INLINE struct poly1305_fe poly1305_mul(
	struct poly1305_fe a, const struct poly1305_factor *x)
{
	const __m512i a0 = a.limb[0], a1 = a.limb[1], a2 = a.limb[2];
	const __m512i r0 = x->r.limb[0], r1 = x->r.limb[1], r2 = x->r.limb[2];
	const __m512i s1 = x->r1_20, s2 = x->r2_20;
	__m512i high0 = _mm512_madd52hi_epu64(poly1305_zero(), a2, s1);
	__m512i high1 = _mm512_madd52hi_epu64(poly1305_zero(), a2, s2);
	__m512i high2 = _mm512_madd52hi_epu64(poly1305_zero(), a2, r0);
	__m512i low0 = _mm512_madd52lo_epu64(poly1305_zero(), a2, s1);
	__m512i low1 = _mm512_madd52lo_epu64(poly1305_zero(), a2, s2);
	__m512i low2 = _mm512_madd52lo_epu64(poly1305_zero(), a2, r0);

	high0 = _mm512_madd52hi_epu64(high0, a1, s2);
	high1 = _mm512_madd52hi_epu64(high1, a1, r0);
	high2 = _mm512_madd52hi_epu64(high2, a1, r1);
	low0 = _mm512_madd52lo_epu64(low0, a1, s2);
	low1 = _mm512_madd52lo_epu64(low1, a1, r0);
	low2 = _mm512_madd52lo_epu64(low2, a1, r1);
	high0 = _mm512_madd52hi_epu64(high0, a0, r0);
	high1 = _mm512_madd52hi_epu64(high1, a0, r1);
	high2 = _mm512_madd52hi_epu64(high2, a0, r2);
	low0 = _mm512_madd52lo_epu64(low0, a0, r0);
	low1 = _mm512_madd52lo_epu64(low1, a0, r1);
	low2 = _mm512_madd52lo_epu64(low2, a0, r2);
	__m512i sum0 = _mm512_madd52lo_epu64(low0, high2, _mm512_set1_epi64(5 << 10));
	__m512i sum1 = _mm512_add_epi64(low1, _mm512_slli_epi64(high0, 8));
	__m512i sum2 = _mm512_add_epi64(low2, _mm512_slli_epi64(high1, 8));

	return (struct poly1305_fe){{
		_mm512_madd52lo_epu64(_mm512_and_si512(sum0, POLY1305_M44),
			_mm512_srli_epi64(sum2, 42), _mm512_set1_epi64(5)),
		_mm512_add_epi64(_mm512_and_si512(sum1, POLY1305_M44), _mm512_srli_epi64(sum0, 44)),
		_mm512_add_epi64(_mm512_and_si512(sum2, POLY1305_M42), _mm512_srli_epi64(sum1, 44)),
	}};
}

/* The one-time keys of eight messages: r, clamped, in limbs; s as low and high 64 bits. */
struct poly1305_keys {
	struct poly1305_fe r;
	__m512i s_low, s_high;
};

POLY1305_INLINE struct poly1305_keys poly1305_load_keys(const struct poly1305_message m[8])
{
	const __m512i order = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
	const __m512i order_s = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
	const __m512i clamp_low = _mm512_set1_epi64(0x0ffffffc0fffffff);
	const __m512i clamp_high = _mm512_set1_epi64(0x0ffffffc0ffffffc);
	__m512i pair[4], low[2], high[2];
	struct poly1305_keys keys;

	for (int i = 0; i < 4; i++)
		pair[i] = _mm512_inserti64x4(
			_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)m[i].key)),
			_mm256_loadu_si256((const __m256i *)m[i + 4].key), 1);
	/* low[g]: r of two keys, s of two keys, and the same of the keys four further on. */
	for (int g = 0; g < 2; g++) {
		low[g] = _mm512_unpacklo_epi64(pair[2 * g], pair[2 * g + 1]);
		high[g] = _mm512_unpackhi_epi64(pair[2 * g], pair[2 * g + 1]);
	}
	keys.r = poly1305_split(
		_mm512_and_si512(_mm512_permutex2var_epi64(low[0], order, low[1]), clamp_low),
		_mm512_and_si512(_mm512_permutex2var_epi64(high[0], order, high[1]), clamp_high));
	keys.s_low = _mm512_permutex2var_epi64(low[0], order_s, low[1]);
	keys.s_high = _mm512_permutex2var_epi64(high[0], order_s, high[1]);
	return keys;
}

/* Reduces eight accumulators fully, adds s, and writes the tags. */
POLY1305_INLINE void poly1305_write_tags(
	struct poly1305_fe h, const struct poly1305_keys *keys, const struct poly1305_message m[8])
{
	__m512i h0 = h.limb[0], h1 = h.limb[1], h2 = h.limb[2];
	__m512i g0, g1, g2, low, high;
	__mmask8 ge, carry;

	/* Twice round: the first carry out of the top may ripple once more. */
	for (int i = 0; i < 2; i++) {
		h1 = _mm512_add_epi64(h1, _mm512_srli_epi64(h0, 44));
		h0 = _mm512_and_si512(h0, POLY1305_M44);
		h2 = _mm512_add_epi64(h2, _mm512_srli_epi64(h1, 44));
		h1 = _mm512_and_si512(h1, POLY1305_M44);
		h0 = _mm512_add_epi64(h0, poly1305_times5(_mm512_srli_epi64(h2, 42)));
		h2 = _mm512_and_si512(h2, POLY1305_M42);
	}
	h1 = _mm512_add_epi64(h1, _mm512_srli_epi64(h0, 44));
	h0 = _mm512_and_si512(h0, POLY1305_M44);

	/* g = h + 5: if that reaches 2^130, h was p or more, and g without its top bit is h - p. */
	g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
	g1 = _mm512_add_epi64(h1, _mm512_srli_epi64(g0, 44));
	g2 = _mm512_add_epi64(h2, _mm512_srli_epi64(g1, 44));
	ge = _mm512_test_epi64_mask(g2, _mm512_set1_epi64(INT64_C(1) << 42));
	h0 = _mm512_mask_and_epi64(h0, ge, g0, POLY1305_M44);
	h1 = _mm512_mask_and_epi64(h1, ge, g1, POLY1305_M44);
	h2 = _mm512_mask_and_epi64(h2, ge, g2, POLY1305_M42);

	low = _mm512_or_si512(h0, _mm512_slli_epi64(h1, 44));
	high = _mm512_or_si512(_mm512_srli_epi64(h1, 20), _mm512_slli_epi64(h2, 24));
	low = _mm512_add_epi64(low, keys->s_low);
	carry = _mm512_cmplt_epu64_mask(low, keys->s_low);
	high = _mm512_add_epi64(high, keys->s_high);
	high = _mm512_mask_add_epi64(high, carry, high, _mm512_set1_epi64(1));

	/* 128-bit lane i of even and odd: tags 2i and 2i + 1. */
	const __m512i even = _mm512_unpacklo_epi64(low, high);
	const __m512i odd = _mm512_unpackhi_epi64(low, high);

	_mm_storeu_si128((__m128i *)m[0].tag, _mm512_castsi512_si128(even));
	_mm_storeu_si128((__m128i *)m[1].tag, _mm512_castsi512_si128(odd));
	_mm_storeu_si128((__m128i *)m[2].tag, _mm512_extracti64x2_epi64(even, 1));
	_mm_storeu_si128((__m128i *)m[3].tag, _mm512_extracti64x2_epi64(odd, 1));
	_mm_storeu_si128((__m128i *)m[4].tag, _mm512_extracti64x2_epi64(even, 2));
	_mm_storeu_si128((__m128i *)m[5].tag, _mm512_extracti64x2_epi64(odd, 2));
	_mm_storeu_si128((__m128i *)m[6].tag, _mm512_extracti64x2_epi64(even, 3));
	_mm_storeu_si128((__m128i *)m[7].tag, _mm512_extracti64x2_epi64(odd, 3));
}

/* 64 bytes of the text from byte 'at' on, zeroes where the text has not begun or has ended. */
POLY1305_INLINE __m512i poly1305_load_part(const struct poly1305_message *m, int64_t at)
{
	int64_t left = (int64_t)m->len - at;
	uint32_t begin = at >= 0		    ? 0
			 : at > -POLY1305_ROW_BYTES ? (uint32_t)-at
						    : POLY1305_ROW_BYTES;
	uint32_t end = left >= POLY1305_ROW_BYTES ? POLY1305_ROW_BYTES
		       : left > 0		  ? (uint32_t)left
						  : 0;
	__mmask64 mask = _bzhi_u64(UINT64_MAX, end) & ~_bzhi_u64(UINT64_MAX, begin);

	/* A load that is masked out whole does not fault, but takes long where it would. */
	if (mask == 0)
		return _mm512_setzero_si512();
	return _mm512_maskz_loadu_epi8(mask, (const void *)((uintptr_t)m->text + (uint64_t)at));
}

/* ---- wide: eight messages or sixteen, a lane each ---- */

/* Rows of eight messages to eight vectors: low and high half of block 0, 1, 2, 3 of each. */
POLY1305_INLINE void poly1305_transpose(__m512i v[8])
{
	__m512i pair[8];

	for (int i = 0; i < 8; i += 2) {
		pair[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);
		pair[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);
	}
	for (int half = 0; half < 2; half++) {
		__m512i a = _mm512_shuffle_i64x2(pair[half], pair[2 + half], 0x44);
		__m512i b = _mm512_shuffle_i64x2(pair[4 + half], pair[6 + half], 0x44);
		__m512i c = _mm512_shuffle_i64x2(pair[half], pair[2 + half], 0xee);
		__m512i d = _mm512_shuffle_i64x2(pair[4 + half], pair[6 + half], 0xee);

		v[half] = _mm512_shuffle_i64x2(a, b, 0x88);
		v[2 + half] = _mm512_shuffle_i64x2(a, b, 0xdd);
		v[4 + half] = _mm512_shuffle_i64x2(c, d, 0x88);
		v[6 + half] = _mm512_shuffle_i64x2(c, d, 0xdd);
	}
}

struct poly1305_wide {
	struct poly1305_keys keys;
	struct poly1305_factor factor;
	struct poly1305_fe h;
	__m512i first; /* the step in which a lane takes its first block */
};

POLY1305_INLINE void poly1305_wide_step(
	struct poly1305_wide *w, __m512i low, __m512i high, __m512i bit)
{
	struct poly1305_fe block = poly1305_split(low, high);

	block.limb[2] = _mm512_or_si512(block.limb[2], bit);
	w->h = poly1305_mul(poly1305_add(w->h, block), &w->factor);
}

/* Where a group's messages lie in the rows that they are read in. */
struct poly1305_layout {
	int64_t rows;
	int64_t head; /* rows from here on, but for the last 'tail' ones, are whole for everybody */
	int64_t tail;
	int64_t first_step; /* no message has a block before */
	int64_t start[16];  /* of each message: its byte at the begin of row 0, zero or less */
};

POLY1305_INLINE void poly1305_wide_layout(
	struct poly1305_layout *l, const struct poly1305_message *m, const int count)
{
	int64_t least = INT64_MAX, most = 0, blocks[16];
	uint32_t odd = 0;

	for (int i = 0; i < count; i++) {
		blocks[i] = ((int64_t)m[i].len + POLY1305_BLOCK_BYTES - 1) / POLY1305_BLOCK_BYTES;
		least = blocks[i] < least ? blocks[i] : least;
		most = blocks[i] > most ? blocks[i] : most;
		odd |= m[i].len % POLY1305_BLOCK_BYTES;
	}
	l->rows = (most + 3) / 4;
	l->head = (4 * l->rows - least + 3) / 4;
	l->tail = odd != 0;
	l->first_step = 4 * l->rows - most;
	for (int i = 0; i < count; i++)
		l->start[i] = POLY1305_BLOCK_BYTES * (blocks[i] - 4 * l->rows);
}

/*
 * The tags of 8 * sets messages, sets being 1 or 2. Takes as long as the longest does: best when
 * they have about the same length.
 */
POLY1305_INLINE void poly1305_wide(const struct poly1305_message *m, const int sets)
{
	struct poly1305_layout layout;
	struct poly1305_wide w[2];

	poly1305_wide_layout(&layout, m, 8 * sets);
	for (int s = 0; s < sets; s++) {
		w[s].keys = poly1305_load_keys(m + 8 * s);
		w[s].factor = poly1305_factor(w[s].keys.r);
		w[s].h = (struct poly1305_fe){
			{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}};
		w[s].first = _mm512_srai_epi64(_mm512_sub_epi64(_mm512_setzero_si512(),
						       _mm512_loadu_si512(layout.start + 8 * s)),
			4);
	}
	for (int64_t row = 0; row < layout.rows; row++) {
		bool whole = row >= layout.head && row < layout.rows - layout.tail;
		__m512i v[2][8];

		for (int i = 0; i < 8 * sets; i++) {
			int64_t at = POLY1305_ROW_BYTES * row + layout.start[i];

			v[i / 8][i % 8] = whole ? _mm512_loadu_si512(m[i].text + at)
						: poly1305_load_part(&m[i], at);
		}
		for (int s = 0; s < sets; s++)
			poly1305_transpose(v[s]);
		for (int j = 0; j < 4; j++) {
			__m512i step = _mm512_set1_epi64(4 * row + j);

			if (4 * row + j < layout.first_step)
				continue;
			for (int s = 0; s < sets; s++) {
				__mmask8 begun = _mm512_cmple_epi64_mask(w[s].first, step);

				poly1305_wide_step(&w[s], v[s][2 * j], v[s][2 * j + 1],
					_mm512_maskz_mov_epi64(begun, POLY1305_BIT));
			}
		}
	}
	for (int s = 0; s < sets; s++) {
		const struct poly1305_message *eight = m + 8 * s;
		__m512i lengths = _mm512_setr_epi64(eight[0].len, eight[1].len, eight[2].len,
			eight[3].len, eight[4].len, eight[5].len, eight[6].len, eight[7].len);

		/* The last block: 64 bits of additional data's length, which is 0, and the text's.
		 */
		poly1305_wide_step(&w[s], _mm512_setzero_si512(), lengths, POLY1305_BIT);
		poly1305_write_tags(w[s].h, &w[s].keys, eight);
	}
}

/* ---- split: up to eight messages, four lanes each ---- */

POLY1305_INLINE void poly1305_split_layout(
	struct poly1305_layout *l, const struct poly1305_message *m, const int count)
{
	int64_t rows[8];

	l->rows = 0;
	l->head = 0;
	for (int i = 0; i < count; i++) {
		/* The block of the lengths makes one more. */
		int64_t blocks =
			((int64_t)m[i].len + POLY1305_BLOCK_BYTES - 1) / POLY1305_BLOCK_BYTES + 1;

		rows[i] = (blocks + 3) / 4;
		l->rows = rows[i] > l->rows ? rows[i] : l->rows;
		l->start[i] = POLY1305_BLOCK_BYTES * blocks;
	}
	for (int i = 0; i < count; i++) {
		int64_t before;

		l->start[i] -= POLY1305_ROW_BYTES * l->rows;
		before = (POLY1305_ROW_BYTES - 1 - l->start[i]) / POLY1305_ROW_BYTES;
		l->head = before > l->head ? before : l->head;
	}
	l->tail = 1; /* the row with the lengths */
}

/* Eight numbers: to every lane pair the numbers 2v and 2v + 1. */
POLY1305_INLINE struct poly1305_fe poly1305_spread(const struct poly1305_fe *x, __m512i which)
{
	struct poly1305_fe out;

	for (int i = 0; i < 3; i++)
		out.limb[i] = _mm512_permutexvar_epi64(which, x->limb[i]);
	return out;
}

/* The powers of eight messages' r. */
struct poly1305_powers {
	struct poly1305_fe r[4]; /* r, r^2, r^3, r^4 */
};

POLY1305_INLINE struct poly1305_powers poly1305_powers(struct poly1305_fe r)
{
	struct poly1305_factor by_r = poly1305_factor(r);
	struct poly1305_powers p;

	p.r[0] = r;
	p.r[1] = poly1305_mul(r, &by_r);
	p.r[2] = poly1305_mul(p.r[1], &by_r);
	by_r = poly1305_factor(p.r[1]);
	p.r[3] = poly1305_mul(p.r[1], &by_r);
	return p;
}

/* What ends lanes of messages 2v and 2v + 1: r^4 r^4 r^3 r^3 r^2 r^2 r r. */
POLY1305_INLINE struct poly1305_fe poly1305_last_powers(
	const struct poly1305_powers *p, __m512i which)
{
	struct poly1305_fe x;

	for (int i = 0; i < 3; i++) {
		x.limb[i] = _mm512_permutexvar_epi64(which, p->r[3].limb[i]);
		x.limb[i] = _mm512_mask_permutexvar_epi64(x.limb[i], 0x0c, which, p->r[2].limb[i]);
		x.limb[i] = _mm512_mask_permutexvar_epi64(x.limb[i], 0x30, which, p->r[1].limb[i]);
		x.limb[i] = _mm512_mask_permutexvar_epi64(x.limb[i], 0xc0, which, p->r[0].limb[i]);
	}
	return x;
}

/* Two messages in four lanes each: low and high halves of four blocks, alternating. */
struct poly1305_pair {
	__m512i which; /* 2v, 2v + 1, ... */
	__m512i first; /* block number in the rows where a lane's message begins */
	struct poly1305_fe h;
};

POLY1305_INLINE void poly1305_pair_step(struct poly1305_pair *p, __m512i a, __m512i b,
	__m512i lengths, __m512i bit, const struct poly1305_factor *factor)
{
	struct poly1305_fe block = poly1305_split(
		_mm512_unpacklo_epi64(a, b), _mm512_or_si512(_mm512_unpackhi_epi64(a, b), lengths));

	block.limb[2] = _mm512_or_si512(block.limb[2], bit);
	p->h = poly1305_mul(poly1305_add(p->h, block), factor);
}

/* A row that is not whole for every message. */
POLY1305_INLINE __m512i poly1305_pair_bit(const struct poly1305_pair *p, int64_t row)
{
	const __m512i lane = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
	__m512i block = _mm512_add_epi64(_mm512_set1_epi64(4 * row), lane);

	return _mm512_maskz_mov_epi64(_mm512_cmple_epi64_mask(p->first, block), POLY1305_BIT);
}

/* The tags of 2 * pairs messages, pairs being 1, 2 or 4; m always has eight. */
POLY1305_INLINE void poly1305_split_tags(const struct poly1305_message m[8], const int pairs)
{
	struct poly1305_keys keys = poly1305_load_keys(m);
	struct poly1305_powers powers = poly1305_powers(keys.r);
	const __m512i lengths = _mm512_setr_epi64(
		m[0].len, m[1].len, m[2].len, m[3].len, m[4].len, m[5].len, m[6].len, m[7].len);
	struct poly1305_layout layout = {0};
	struct poly1305_factor factors[4]; /* r^4 */
	struct poly1305_pair pair[4];
	struct poly1305_fe tags = powers.r[0];
	int64_t row = 0;

	poly1305_split_layout(&layout, m, 2 * pairs);
	for (int v = 0; v < pairs; v++) {
		struct poly1305_fe r4;

		pair[v].which = _mm512_add_epi64(
			_mm512_set1_epi64(2 * v), _mm512_setr_epi64(0, 1, 0, 1, 0, 1, 0, 1));
		r4 = poly1305_spread(&powers.r[3], pair[v].which);
		factors[v] = poly1305_factor(r4);
		pair[v].first = _mm512_permutexvar_epi64(
			pair[v].which, _mm512_srai_epi64(_mm512_sub_epi64(_mm512_setzero_si512(),
								 _mm512_loadu_si512(layout.start)),
					       4));
		pair[v].h = (struct poly1305_fe){
			{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}};
	}
	for (; row < layout.head && row < layout.rows - 1; row++) {
#pragma GCC unroll 4
		for (int v = 0; v < pairs; v++) {
			int64_t at = POLY1305_ROW_BYTES * row;

			poly1305_pair_step(&pair[v],
				poly1305_load_part(&m[2 * v], at + layout.start[2 * v]),
				poly1305_load_part(&m[2 * v + 1], at + layout.start[2 * v + 1]),
				_mm512_setzero_si512(), poly1305_pair_bit(&pair[v], row),
				&factors[v]);
		}
	}
	for (; row < layout.rows - 1; row++) {
#pragma GCC unroll 4
		for (int v = 0; v < pairs; v++) {
			int64_t at = POLY1305_ROW_BYTES * row;
			const uint8_t *a = m[2 * v].text + at + layout.start[2 * v];
			const uint8_t *b = m[2 * v + 1].text + at + layout.start[2 * v + 1];

			poly1305_pair_step(&pair[v], _mm512_loadu_si512(a), _mm512_loadu_si512(b),
				_mm512_setzero_si512(), POLY1305_BIT, &factors[v]);
		}
	}
	for (int v = 0; v < pairs; v++) {
		struct poly1305_factor last =
			poly1305_factor(poly1305_last_powers(&powers, pair[v].which));
		int64_t at = POLY1305_ROW_BYTES * row;

		poly1305_pair_step(&pair[v],
			poly1305_load_part(&m[2 * v], at + layout.start[2 * v]),
			poly1305_load_part(&m[2 * v + 1], at + layout.start[2 * v + 1]),
			_mm512_maskz_permutexvar_epi64(0xc0, pair[v].which, lengths),
			poly1305_pair_bit(&pair[v], row), &last);
		for (int i = 0; i < 3; i++) {
			__m512i x = pair[v].h.limb[i];

			/* The sum of the four 128-bit lanes, in all of them. */
			x = _mm512_add_epi64(x, _mm512_shuffle_i64x2(x, x, 0x4e));
			x = _mm512_add_epi64(x, _mm512_shuffle_i64x2(x, x, 0xb1));
			tags.limb[i] =
				_mm512_mask_mov_epi64(tags.limb[i], (__mmask8)(3 << 2 * v), x);
		}
	}
	poly1305_write_tags(tags, &keys, m);
}

/* ---- alone: one message, 32 lanes ---- */

#define POLY1305_CHAINS	    4 /* of eight lanes, which take turns at rows of eight blocks */
#define POLY1305_LONG_BYTES (2 * POLY1305_ROW_BYTES)

struct poly1305_alone {
	struct poly1305_factor by_r8, by_r32;
	struct poly1305_fe last; /* r^8 r^4 r^7 r^3 r^6 r^2 r^5 r */
};

POLY1305_INLINE void poly1305_alone_powers(struct poly1305_alone *p, struct poly1305_fe r)
{
	const __m512i first = _mm512_setzero_si512();
	struct poly1305_powers powers = poly1305_powers(r);
	struct poly1305_fe low = poly1305_last_powers(&powers, first);
	struct poly1305_fe r4 = poly1305_spread(&powers.r[3], first);
	struct poly1305_factor factor = poly1305_factor(r4);
	struct poly1305_fe high = poly1305_mul(low, &factor);
	struct poly1305_fe r8 = poly1305_spread(&high, first);
	struct poly1305_fe r16;

	for (int i = 0; i < 3; i++)
		p->last.limb[i] = _mm512_mask_mov_epi64(low.limb[i], 0x55, high.limb[i]);
	p->by_r8 = poly1305_factor(r8);
	r16 = poly1305_mul(r8, &p->by_r8);
	factor = poly1305_factor(r16);
	p->by_r32 = poly1305_factor(poly1305_mul(r16, &factor));
}

/* Eight blocks: lanes hold blocks 0 4 1 5 2 6 3 7. */
POLY1305_INLINE struct poly1305_fe poly1305_alone_row(
	__m512i a, __m512i b, __m512i length, __m512i bit)
{
	struct poly1305_fe row = poly1305_split(
		_mm512_unpacklo_epi64(a, b), _mm512_or_si512(_mm512_unpackhi_epi64(a, b), length));

	row.limb[2] = _mm512_or_si512(row.limb[2], bit);
	return row;
}

/* The first row, which may begin before the message, or the last one, with the length. */
POLY1305_INLINE struct poly1305_fe poly1305_alone_edge(
	const struct poly1305_message *m, int64_t at, bool last)
{
	const __m512i offset = _mm512_setr_epi64(0, 64, 16, 80, 32, 96, 48, 112);
	__mmask8 begun = _mm512_cmpge_epi64_mask(
		_mm512_add_epi64(offset, _mm512_set1_epi64(at)), _mm512_setzero_si512());

	return poly1305_alone_row(poly1305_load_part(m, at),
		poly1305_load_part(m, at + POLY1305_ROW_BYTES),
		_mm512_maskz_set1_epi64(last ? 0x80 : 0, m->len),
		_mm512_maskz_mov_epi64(begun, POLY1305_BIT));
}

/* The tag of one message; m has seven more, which are empty. */
POLY1305_INLINE void poly1305_alone_tag(const struct poly1305_message m[8])
{
	int64_t blocks = ((int64_t)m->len + POLY1305_BLOCK_BYTES - 1) / POLY1305_BLOCK_BYTES + 1;
	int64_t rows = (blocks + 7) / 8;
	int64_t start = POLY1305_BLOCK_BYTES * blocks - POLY1305_LONG_BYTES * rows;
	int64_t turn = rows % POLY1305_CHAINS == 0 ? 0 : rows % POLY1305_CHAINS - POLY1305_CHAINS;
	struct poly1305_keys keys = poly1305_load_keys(m);
	struct poly1305_fe h[POLY1305_CHAINS], sum;
	struct poly1305_alone p;

	poly1305_alone_powers(&p, keys.r);
	for (int k = 0; k < POLY1305_CHAINS; k++)
		h[k] = (struct poly1305_fe){
			{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}};
	/* The first turn is short when the rows do not suffice for whole ones. */
	for (; turn <= rows - POLY1305_CHAINS; turn += POLY1305_CHAINS) {
		bool edge = turn <= 0 || turn == rows - POLY1305_CHAINS;

#pragma GCC unroll 4
		for (int k = 0; k < POLY1305_CHAINS; k++) {
			int64_t row = turn + k, at = start + POLY1305_LONG_BYTES * row;

			if (row < 0)
				continue;
			if (turn > 0)
				h[k] = poly1305_mul(h[k], &p.by_r32);
			if (edge)
				h[k] = poly1305_add(
					h[k], poly1305_alone_edge(m, at, row == rows - 1));
			else
				h[k] = poly1305_add(
					h[k], poly1305_alone_row(_mm512_loadu_si512(m->text + at),
						      _mm512_loadu_si512(
							      m->text + at + POLY1305_ROW_BYTES),
						      _mm512_setzero_si512(), POLY1305_BIT));
		}
	}
	sum = h[0];
	for (int k = 1; k < POLY1305_CHAINS; k++)
		sum = poly1305_add(poly1305_mul(sum, &p.by_r8), h[k]);
	p.by_r8 = poly1305_factor(p.last);
	sum = poly1305_mul(sum, &p.by_r8);
	for (int i = 0; i < 3; i++) {
		__m512i x = sum.limb[i];

		/* All eight lanes added, in every lane. */
		x = _mm512_add_epi64(x, _mm512_shuffle_i64x2(x, x, 0x4e));
		x = _mm512_add_epi64(x, _mm512_shuffle_i64x2(x, x, 0xb1));
		sum.limb[i] = _mm512_add_epi64(x, _mm512_shuffle_epi32(x, _MM_PERM_BADC));
	}
	poly1305_write_tags(sum, &keys, m);
}

#endif
