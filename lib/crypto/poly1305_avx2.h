/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poly1305 (RFC 8439 section 2.5) with AVX2: the tags of ciphertexts without additional data.
 * Internal to the batch AEAD.
 *
 * Numbers modulo p = 2^130 - 5 are five limbs of 26 bits, one vector a limb, four numbers side by
 * side. Two arrangements:
 *
 * - wide: four messages or eight, a lane each, which takes their blocks one by one. Messages end
 *   together, and shorter ones begin later.
 * - alone: four lanes share one message, and take each fourth block with r^4; at the end the lanes
 *   are multiplied by r^4, r^3, r^2, r and added.
 *
 * A block before the first one of a lane is zero, without the bit that marks a block, which leaves
 * the accumulator zero.
 */
#ifndef CRYPTO_POLY1305_AVX2_H
#define CRYPTO_POLY1305_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "crypto/poly1305.h"

#define POLY1305_LANES	   4
#define POLY1305_ROW_BYTES (POLY1305_LANES * POLY1305_BLOCK_BYTES)

/* Four numbers in limbs. */
struct poly1305_fe {
	__m256i limb[5];
};

/* A multiplier with 5 times its limbs but the lowest: 2^130 = 5 modulo p. */
struct poly1305_factor {
	__m256i r[5], r_5[5];
};

#define POLY1305_M26 _mm256_set1_epi64x((1 << 26) - 1)
/* 2^128 in the fifth limb: the bit behind each block. */
#define POLY1305_BIT _mm256_set1_epi64x(1 << 24)

POLY1305_INLINE struct poly1305_fe poly1305_zero(void)
{
	const __m256i zero = _mm256_setzero_si256();

	return (struct poly1305_fe){{zero, zero, zero, zero, zero}};
}

POLY1305_INLINE __m256i poly1305_times5(__m256i x)
{
	return _mm256_add_epi64(x, _mm256_slli_epi64(x, 2));
}

/* Low and high 64 bits of four numbers to limbs. */
POLY1305_INLINE struct poly1305_fe poly1305_split(__m256i low, __m256i high)
{
	__m256i middle = _mm256_or_si256(_mm256_srli_epi64(low, 52), _mm256_slli_epi64(high, 12));

	return (struct poly1305_fe){{
		_mm256_and_si256(low, POLY1305_M26),
		_mm256_and_si256(_mm256_srli_epi64(low, 26), POLY1305_M26),
		_mm256_and_si256(middle, POLY1305_M26),
		_mm256_and_si256(_mm256_srli_epi64(high, 14), POLY1305_M26),
		_mm256_srli_epi64(high, 40),
	}};
}

POLY1305_INLINE struct poly1305_factor poly1305_factor(struct poly1305_fe r)
{
	struct poly1305_factor x;

	for (int i = 0; i < 5; i++) {
		x.r[i] = r.limb[i];
		x.r_5[i] = poly1305_times5(r.limb[i]);
	}
	return x;
}

POLY1305_INLINE struct poly1305_fe poly1305_add(struct poly1305_fe a, struct poly1305_fe b)
{
	for (int i = 0; i < 5; i++)
		a.limb[i] = _mm256_add_epi64(a.limb[i], b.limb[i]);
	return a;
}

/* What is above 26 bits of limb 'from' moves on to limb 'to', from the last one to the first. */
POLY1305_INLINE void poly1305_carry(__m256i d[5], int from)
{
	__m256i carry = _mm256_srli_epi64(d[from], 26);

	d[from] = _mm256_and_si256(d[from], POLY1305_M26);
	if (from == 4)
		d[0] = _mm256_add_epi64(d[0], poly1305_times5(carry));
	else
		d[from + 1] = _mm256_add_epi64(d[from + 1], carry);
}

/*
 * a x modulo p. Limbs of a result are below 2^26, but the second below 2^26 + 2^13 and the fifth
 * below 2^26 + 2^11; a factor is a result or r. Those of a, the sum of a result and a block or of
 * four results, are below 2^29, 5 times those of a factor below 2^29: all fit the 32 bits that a
 * multiplication takes, and sums of five products stay below 2^61.
 */
POLY1305_INLINE struct poly1305_fe poly1305_mul(
	struct poly1305_fe a, const struct poly1305_factor *x)
{
	struct poly1305_fe d;

	for (int i = 0; i < 5; i++) {
		d.limb[i] = _mm256_mul_epu32(a.limb[0], x->r[i]);
		for (int j = 1; j < 5; j++)
			d.limb[i] = _mm256_add_epi64(
				d.limb[i], _mm256_mul_epu32(a.limb[j],
						   j <= i ? x->r[i - j] : x->r_5[5 + i - j]));
	}
	/* Two chains of carries, which hide each other's latencies. */
	poly1305_carry(d.limb, 0);
	poly1305_carry(d.limb, 3);
	poly1305_carry(d.limb, 1);
	poly1305_carry(d.limb, 4);
	poly1305_carry(d.limb, 2);
	poly1305_carry(d.limb, 0);
	poly1305_carry(d.limb, 3);
	return d;
}

/* The one-time keys of four messages: r, clamped, in limbs; s as low and high 64 bits. */
struct poly1305_keys {
	struct poly1305_fe r;
	__m256i s_low, s_high;
};

POLY1305_INLINE struct poly1305_keys poly1305_load_keys(const struct poly1305_message m[4])
{
	__m256i key[4], low[2], high[2];
	struct poly1305_keys keys;

	for (int i = 0; i < 4; i++)
		key[i] = _mm256_loadu_si256((const __m256i *)m[i].key);
	/* r of two keys, s of two keys. */
	for (int i = 0; i < 2; i++) {
		low[i] = _mm256_unpacklo_epi64(key[2 * i], key[2 * i + 1]);
		high[i] = _mm256_unpackhi_epi64(key[2 * i], key[2 * i + 1]);
	}
	keys.r = poly1305_split(_mm256_and_si256(_mm256_permute2x128_si256(low[0], low[1], 0x20),
					_mm256_set1_epi64x(0x0ffffffc0fffffff)),
		_mm256_and_si256(_mm256_permute2x128_si256(high[0], high[1], 0x20),
			_mm256_set1_epi64x(0x0ffffffc0ffffffc)));
	keys.s_low = _mm256_permute2x128_si256(low[0], low[1], 0x31);
	keys.s_high = _mm256_permute2x128_si256(high[0], high[1], 0x31);
	return keys;
}

/* g where the mask is set, else h. */
POLY1305_INLINE __m256i poly1305_select(__m256i h, __m256i g, __m256i mask)
{
	return _mm256_or_si256(_mm256_andnot_si256(mask, h), _mm256_and_si256(mask, g));
}

/* Reduces four accumulators fully. */
POLY1305_INLINE struct poly1305_fe poly1305_reduce(struct poly1305_fe h)
{
	struct poly1305_fe g;
	__m256i ge;

	/* Twice round: the first carry out of the top may ripple once more. */
	for (int i = 0; i < 10; i++)
		poly1305_carry(h.limb, i % 5);
	poly1305_carry(h.limb, 0);

	/* g = h + 5: if that reaches 2^130, h was p or more, and g without its top bit is h - p. */
	g = h;
	g.limb[0] = _mm256_add_epi64(h.limb[0], _mm256_set1_epi64x(5));
	for (int i = 0; i < 4; i++)
		poly1305_carry(g.limb, i);
	ge = _mm256_cmpgt_epi64(g.limb[4], POLY1305_M26);
	g.limb[4] = _mm256_and_si256(g.limb[4], POLY1305_M26);
	for (int i = 0; i < 5; i++)
		h.limb[i] = poly1305_select(h.limb[i], g.limb[i], ge);
	return h;
}

/* Adds s to four accumulators, and writes the tags. */
POLY1305_INLINE void poly1305_write_tags(
	struct poly1305_fe h, const struct poly1305_keys *keys, const struct poly1305_message m[4])
{
	const __m256i sign = _mm256_set1_epi64x(INT64_MIN);
	__m256i low, high, carry, even, odd;

	h = poly1305_reduce(h);
	low = _mm256_or_si256(_mm256_or_si256(h.limb[0], _mm256_slli_epi64(h.limb[1], 26)),
		_mm256_slli_epi64(h.limb[2], 52));
	high = _mm256_or_si256(
		_mm256_or_si256(_mm256_srli_epi64(h.limb[2], 12), _mm256_slli_epi64(h.limb[3], 14)),
		_mm256_slli_epi64(h.limb[4], 40));
	low = _mm256_add_epi64(low, keys->s_low);
	/* -1 where the sum is less than s; comparisons are signed. */
	carry = _mm256_cmpgt_epi64(
		_mm256_xor_si256(keys->s_low, sign), _mm256_xor_si256(low, sign));
	high = _mm256_sub_epi64(_mm256_add_epi64(high, keys->s_high), carry);

	even = _mm256_unpacklo_epi64(low, high); /* tags 0 and 2 */
	odd = _mm256_unpackhi_epi64(low, high);	 /* tags 1 and 3 */
	_mm_storeu_si128((__m128i *)m[0].tag, _mm256_castsi256_si128(even));
	_mm_storeu_si128((__m128i *)m[1].tag, _mm256_castsi256_si128(odd));
	_mm_storeu_si128((__m128i *)m[2].tag, _mm256_extracti128_si256(even, 1));
	_mm_storeu_si128((__m128i *)m[3].tag, _mm256_extracti128_si256(odd, 1));
}

/* A block of the text from byte 'at' on, zeroes where the text has not begun or has ended. */
POLY1305_INLINE __m128i poly1305_load_block(const struct poly1305_message *m, int64_t at)
{
	uint8_t last[POLY1305_BLOCK_BYTES] = {0};

	if (at < 0 || at >= m->len)
		return _mm_setzero_si128();
	if (m->len - at >= POLY1305_BLOCK_BYTES)
		return _mm_loadu_si128((const __m128i *)(m->text + at));
	memcpy(last, m->text + at, (size_t)(m->len - at));
	return _mm_loadu_si128((const __m128i *)last);
}

POLY1305_INLINE __m256i poly1305_pair(__m128i low, __m128i high)
{
	return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

POLY1305_INLINE int64_t poly1305_blocks(const struct poly1305_message *m)
{
	return ((int64_t)m->len + POLY1305_BLOCK_BYTES - 1) / POLY1305_BLOCK_BYTES;
}

/* ---- wide: four messages or eight, a lane each ---- */

struct poly1305_wide {
	struct poly1305_keys keys;
	struct poly1305_factor factor;
	struct poly1305_fe h;
	int64_t start[POLY1305_LANES]; /* each message's byte in step 0, zero or less */
};

/* One block of each message: a has those of messages 0 and 2, b those of 1 and 3. */
POLY1305_INLINE void poly1305_step(struct poly1305_fe *h, const struct poly1305_factor *factor,
	__m256i a, __m256i b, __m256i bit)
{
	struct poly1305_fe block =
		poly1305_split(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));

	block.limb[4] = _mm256_or_si256(block.limb[4], bit);
	*h = poly1305_mul(poly1305_add(*h, block), factor);
}

/* A step in which a message may not have begun, or end with a part of a block. */
POLY1305_INLINE void poly1305_wide_edge(
	struct poly1305_wide *w, const struct poly1305_message m[4], int64_t step)
{
	const int64_t at = POLY1305_BLOCK_BYTES * step;
	__m256i begin = _mm256_add_epi64(
		_mm256_loadu_si256((const __m256i *)w->start), _mm256_set1_epi64x(at));
	__m256i before = _mm256_cmpgt_epi64(_mm256_setzero_si256(), begin);
	__m128i block[4];

	for (int i = 0; i < 4; i++)
		block[i] = poly1305_load_block(&m[i], at + w->start[i]);
	poly1305_step(&w->h, &w->factor, poly1305_pair(block[0], block[2]),
		poly1305_pair(block[1], block[3]), _mm256_andnot_si256(before, POLY1305_BIT));
}

POLY1305_INLINE void poly1305_wide_whole(
	struct poly1305_wide *w, const struct poly1305_message m[4], int64_t step)
{
	const int64_t at = POLY1305_BLOCK_BYTES * step;
	__m128i block[4];

	for (int i = 0; i < 4; i++)
		block[i] = _mm_loadu_si128((const __m128i *)(m[i].text + at + w->start[i]));
	poly1305_step(&w->h, &w->factor, poly1305_pair(block[0], block[2]),
		poly1305_pair(block[1], block[3]), POLY1305_BIT);
}

/*
 * The tags of 4 * sets messages, sets being 1 or 2. Takes as long as the longest does: best when
 * they have about the same length.
 */
POLY1305_INLINE void poly1305_wide(const struct poly1305_message *m, const int sets)
{
	int64_t least = INT64_MAX, most = 0, blocks[8], step = 0, whole_end;
	struct poly1305_wide w[2];
	uint32_t odd = 0;

	for (int i = 0; i < 4 * sets; i++) {
		blocks[i] = poly1305_blocks(&m[i]);
		least = blocks[i] < least ? blocks[i] : least;
		most = blocks[i] > most ? blocks[i] : most;
		odd |= m[i].len % POLY1305_BLOCK_BYTES;
	}
	for (int i = 0; i < 4 * sets; i++)
		w[i / 4].start[i % 4] = POLY1305_BLOCK_BYTES * (blocks[i] - most);
	for (int s = 0; s < sets; s++) {
		w[s].keys = poly1305_load_keys(m + 4 * s);
		w[s].factor = poly1305_factor(w[s].keys.r);
		w[s].h = poly1305_zero();
	}
	whole_end = odd ? most - 1 : most;
	for (; step < most - least; step++)
		for (int s = 0; s < sets; s++)
			poly1305_wide_edge(&w[s], m + 4 * s, step);
	for (; step < whole_end; step++)
		for (int s = 0; s < sets; s++)
			poly1305_wide_whole(&w[s], m + 4 * s, step);
	for (; step < most; step++)
		for (int s = 0; s < sets; s++)
			poly1305_wide_edge(&w[s], m + 4 * s, step);
	for (int s = 0; s < sets; s++) {
		const struct poly1305_message *four = m + 4 * s;
		__m256i a = _mm256_setr_epi64x(0, four[0].len, 0, four[2].len);
		__m256i b = _mm256_setr_epi64x(0, four[1].len, 0, four[3].len);

		/* The last block: 64 bits of additional data's length, which is 0, and the text's.
		 */
		poly1305_step(&w[s].h, &w[s].factor, a, b, POLY1305_BIT);
		poly1305_write_tags(w[s].h, &w[s].keys, four);
	}
}

/* ---- alone: one message, four lanes, which hold blocks 0, 2, 1, 3 of a row ---- */

struct poly1305_alone {
	struct poly1305_factor by_r4;
	struct poly1305_factor last; /* r^4, r^2, r^3, r */
};

POLY1305_INLINE void poly1305_alone_powers(struct poly1305_alone *p, struct poly1305_fe r)
{
	struct poly1305_fe r2, both, last;
	struct poly1305_factor factor;

	for (int i = 0; i < 5; i++)
		r.limb[i] = _mm256_permute4x64_epi64(r.limb[i], 0);
	factor = poly1305_factor(r);
	r2 = poly1305_mul(r, &factor);
	for (int i = 0; i < 5; i++)
		both.limb[i] = _mm256_blend_epi32(r2.limb[i], r.limb[i], 0xf0); /* r2 r2 r r */
	factor = poly1305_factor(r2);
	last = poly1305_mul(both, &factor); /* r4 r4 r3 r3 */
	p->by_r4 = poly1305_factor((struct poly1305_fe){{
		_mm256_permute4x64_epi64(last.limb[0], 0),
		_mm256_permute4x64_epi64(last.limb[1], 0),
		_mm256_permute4x64_epi64(last.limb[2], 0),
		_mm256_permute4x64_epi64(last.limb[3], 0),
		_mm256_permute4x64_epi64(last.limb[4], 0),
	}});
	for (int i = 0; i < 5; i++) {
		last.limb[i] = _mm256_blend_epi32(last.limb[i], r2.limb[i], 0x0c);
		last.limb[i] = _mm256_blend_epi32(last.limb[i], r.limb[i], 0xc0);
	}
	p->last = poly1305_factor(last);
}

/* The first row, which may begin before the message, or the last one, with the length. */
POLY1305_INLINE void poly1305_alone_edge(struct poly1305_fe *h,
	const struct poly1305_factor *factor, const struct poly1305_message *m, int64_t at,
	bool last)
{
	__m256i begin = _mm256_add_epi64(_mm256_setr_epi64x(0, 32, 16, 48), _mm256_set1_epi64x(at));
	__m256i before = _mm256_cmpgt_epi64(_mm256_setzero_si256(), begin);
	__m128i block[4];

	for (int i = 0; i < 4; i++)
		block[i] = poly1305_load_block(m, at + POLY1305_BLOCK_BYTES * i);
	if (last)
		block[3] = _mm_set_epi64x(m->len, 0);
	poly1305_step(h, factor, poly1305_pair(block[0], block[1]),
		poly1305_pair(block[2], block[3]), _mm256_andnot_si256(before, POLY1305_BIT));
}

/* The tag of one message; m has three more, which are empty. */
POLY1305_INLINE void poly1305_alone_tag(const struct poly1305_message m[4])
{
	int64_t blocks = poly1305_blocks(m) + 1; /* with that of the lengths */
	int64_t rows = (blocks + POLY1305_LANES - 1) / POLY1305_LANES;
	int64_t at = POLY1305_BLOCK_BYTES * blocks - POLY1305_ROW_BYTES * rows;
	struct poly1305_keys keys = poly1305_load_keys(m);
	struct poly1305_fe h = poly1305_zero();
	struct poly1305_alone p;

	poly1305_alone_powers(&p, keys.r);
	if (rows > 1) {
		poly1305_alone_edge(&h, &p.by_r4, m, at, false);
		at += POLY1305_ROW_BYTES;
	}
	for (int64_t row = 1; row < rows - 1; row++, at += POLY1305_ROW_BYTES) {
		const __m256i *text = (const __m256i *)(m->text + at);

		poly1305_step(&h, &p.by_r4, _mm256_loadu_si256(text), _mm256_loadu_si256(text + 1),
			POLY1305_BIT);
	}
	poly1305_alone_edge(&h, &p.last, m, at, true);
	for (int i = 0; i < 5; i++) {
		__m256i x = h.limb[i];

		/* All four lanes added, in every lane. */
		x = _mm256_add_epi64(x, _mm256_permute4x64_epi64(x, 0x4e));
		h.limb[i] = _mm256_add_epi64(x, _mm256_shuffle_epi32(x, 0x4e));
	}
	poly1305_write_tags(h, &keys, m);
}

#endif
