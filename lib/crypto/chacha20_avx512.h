/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ChaCha20 (RFC 8439 section 2.3), 16 or 32 independent blocks at a time, with AVX-512. Any lane
 * can have any key, nonce and block number: vector i holds word i of 16 states. Internal to the
 * batch AEAD; needs a CPU with AVX512F.
 */
#ifndef CRYPTO_CHACHA20_AVX512_H
#define CRYPTO_CHACHA20_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define CHACHA20_WORDS 16
#define CHACHA20_LANES 16 /* states in one set of vectors */

/* 16 keys of 32 bytes to eight vectors: word i of each key. */
static inline __attribute__((always_inline)) void chacha20_load_keys(
	__m512i words[8], const uint8_t *const keys[CHACHA20_LANES])
{
	/* Behind the unpacking, group g has words i and i + 4 of keys 4g.. and 4g + 8.. . */
	const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
	const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
	__m512i rows[8], groups[2][4];

	for (int i = 0; i < 8; i++)
		rows[i] = _mm512_inserti64x4(
			_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)keys[i])),
			_mm256_loadu_si256((const __m256i *)keys[i + 8]), 1);
	for (int g = 0; g < 2; g++) {
		const __m512i *row = rows + 4 * g;
		__m512i w01 = _mm512_unpacklo_epi32(row[0], row[1]);
		__m512i w23 = _mm512_unpackhi_epi32(row[0], row[1]);
		__m512i x01 = _mm512_unpacklo_epi32(row[2], row[3]);
		__m512i x23 = _mm512_unpackhi_epi32(row[2], row[3]);

		groups[g][0] = _mm512_unpacklo_epi64(w01, x01);
		groups[g][1] = _mm512_unpackhi_epi64(w01, x01);
		groups[g][2] = _mm512_unpacklo_epi64(w23, x23);
		groups[g][3] = _mm512_unpackhi_epi64(w23, x23);
	}
	for (int i = 0; i < 4; i++) {
		words[i] = _mm512_permutex2var_epi64(groups[0][i], low, groups[1][i]);
		words[i + 4] = _mm512_permutex2var_epi64(groups[0][i], high, groups[1][i]);
	}
}

/* 16 initial states. The nonce is WireGuard's: 32 zero bits and a counter. */
static inline __attribute__((always_inline)) void chacha20_load(__m512i initial[CHACHA20_WORDS],
	const uint8_t *const keys[CHACHA20_LANES], const uint64_t counters[CHACHA20_LANES],
	const uint32_t blocks[CHACHA20_LANES])
{
	const __m512i even =
		_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
	const __m512i odd =
		_mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
	__m512i first = _mm512_loadu_si512(counters);
	__m512i second = _mm512_loadu_si512(counters + 8);

	initial[0] = _mm512_set1_epi32(0x61707865); /* "expand 32-byte k" */
	initial[1] = _mm512_set1_epi32(0x3320646e);
	initial[2] = _mm512_set1_epi32(0x79622d32);
	initial[3] = _mm512_set1_epi32(0x6b206574);
	chacha20_load_keys(initial + 4, keys);
	initial[12] = _mm512_loadu_si512(blocks);
	initial[13] = _mm512_setzero_si512();
	initial[14] = _mm512_permutex2var_epi32(first, even, second);
	initial[15] = _mm512_permutex2var_epi32(first, odd, second);
}

/* The block function on one set of states or two, in chacha20_avx512.S: words of blocks come out.
 */
void chacha20_avx512_x16(__m512i out[CHACHA20_WORDS], const __m512i initial[CHACHA20_WORDS]);
void chacha20_avx512_x32(
	__m512i out[2 * CHACHA20_WORDS], const __m512i initial[2 * CHACHA20_WORDS]);

/* Words of 16 blocks to 16 blocks of words: vector i becomes block i. blocks may be words. */
static inline __attribute__((always_inline)) void chacha20_transpose(
	__m512i blocks[CHACHA20_WORDS], const __m512i words[CHACHA20_WORDS])
{
	__m512i quad[16];

	/* quad[4g + c], 128-bit lane l: words 4g.. of block 4l + c. */
	for (int g = 0; g < 16; g += 4) {
		__m512i lo01 = _mm512_unpacklo_epi32(words[g], words[g + 1]);
		__m512i hi01 = _mm512_unpackhi_epi32(words[g], words[g + 1]);
		__m512i lo23 = _mm512_unpacklo_epi32(words[g + 2], words[g + 3]);
		__m512i hi23 = _mm512_unpackhi_epi32(words[g + 2], words[g + 3]);

		quad[g] = _mm512_unpacklo_epi64(lo01, lo23);
		quad[g + 1] = _mm512_unpackhi_epi64(lo01, lo23);
		quad[g + 2] = _mm512_unpacklo_epi64(hi01, hi23);
		quad[g + 3] = _mm512_unpackhi_epi64(hi01, hi23);
	}
	for (int c = 0; c < 4; c++) {
		__m512i a = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0x44);
		__m512i b = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0x44);
		__m512i d = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0xee);
		__m512i e = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0xee);

		blocks[c] = _mm512_shuffle_i32x4(a, b, 0x88);
		blocks[4 + c] = _mm512_shuffle_i32x4(a, b, 0xdd);
		blocks[8 + c] = _mm512_shuffle_i32x4(d, e, 0x88);
		blocks[12 + c] = _mm512_shuffle_i32x4(d, e, 0xdd);
	}
}

#endif
