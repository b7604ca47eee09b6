/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ChaCha20 (RFC 8439 section 2.3), 8 independent blocks at a time, with AVX2. Any lane can have any
 * key, nonce and block number: vector i holds word i of 8 states. Internal to the batch AEAD.
 */
#ifndef CRYPTO_CHACHA20_AVX2_H
#define CRYPTO_CHACHA20_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#define CHACHA20_WORDS 16
#define CHACHA20_LANES 8

/* Lane by lane of 128 bits: four rows of four words to four columns. */
static inline __attribute__((always_inline)) void chacha20_transpose_4x4(
	__m256i out[4], __m256i a, __m256i b, __m256i c, __m256i d)
{
	__m256i ab01 = _mm256_unpacklo_epi32(a, b);
	__m256i ab23 = _mm256_unpackhi_epi32(a, b);
	__m256i cd01 = _mm256_unpacklo_epi32(c, d);
	__m256i cd23 = _mm256_unpackhi_epi32(c, d);

	out[0] = _mm256_unpacklo_epi64(ab01, cd01);
	out[1] = _mm256_unpackhi_epi64(ab01, cd01);
	out[2] = _mm256_unpacklo_epi64(ab23, cd23);
	out[3] = _mm256_unpackhi_epi64(ab23, cd23);
}

/* 16 bytes of keys i and i + 4. */
static inline __attribute__((always_inline)) __m256i chacha20_load_pair(
	const uint8_t *const keys[CHACHA20_LANES], int i, int at)
{
	return _mm256_inserti128_si256(
		_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(keys[i] + at))),
		_mm_loadu_si128((const __m128i *)(keys[i + 4] + at)), 1);
}

/* 8 initial states. The nonce is WireGuard's: 32 zero bits and a counter. */
static inline __attribute__((always_inline)) void chacha20_load(__m256i initial[CHACHA20_WORDS],
	const uint8_t *const keys[CHACHA20_LANES], const uint64_t counters[CHACHA20_LANES],
	const uint32_t blocks[CHACHA20_LANES])
{
	__m256i first = _mm256_loadu_si256((const __m256i *)counters);
	__m256i second = _mm256_loadu_si256((const __m256i *)(counters + 4));
	/* Counters 0 1 4 5 and 2 3 6 7, of which a shuffle makes 0 1 2 3 and 4 5 6 7. */
	__m256i low = _mm256_permute2x128_si256(first, second, 0x20);
	__m256i high = _mm256_permute2x128_si256(first, second, 0x31);

	initial[0] = _mm256_set1_epi32(0x61707865); /* "expand 32-byte k" */
	initial[1] = _mm256_set1_epi32(0x3320646e);
	initial[2] = _mm256_set1_epi32(0x79622d32);
	initial[3] = _mm256_set1_epi32(0x6b206574);
	for (int half = 0; half < 2; half++)
		chacha20_transpose_4x4(initial + 4 + 4 * half,
			chacha20_load_pair(keys, 0, 16 * half),
			chacha20_load_pair(keys, 1, 16 * half),
			chacha20_load_pair(keys, 2, 16 * half),
			chacha20_load_pair(keys, 3, 16 * half));
	initial[12] = _mm256_loadu_si256((const __m256i *)blocks);
	initial[13] = _mm256_setzero_si256();
	initial[14] = _mm256_castps_si256(
		_mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0x88));
	initial[15] = _mm256_castps_si256(
		_mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0xdd));
}

/* The block function, in chacha20_avx2.S: words of blocks come out. out may be initial. */
void chacha20_avx2_x8(__m256i out[CHACHA20_WORDS], const __m256i initial[CHACHA20_WORDS]);

/* Words of 8 blocks to 8 blocks of words: vectors 2i and 2i + 1 become block i. blocks may be
 * words.
 */
static inline __attribute__((always_inline)) void chacha20_transpose(
	__m256i blocks[CHACHA20_WORDS], const __m256i words[CHACHA20_WORDS])
{
	__m256i quad[16];

	/* quad[4g + c], 128-bit lane l: words 4g.. of block 4l + c. */
	for (int g = 0; g < 16; g += 4)
		chacha20_transpose_4x4(
			quad + g, words[g], words[g + 1], words[g + 2], words[g + 3]);
	for (int c = 0; c < 4; c++) {
		blocks[2 * c] = _mm256_permute2x128_si256(quad[c], quad[4 + c], 0x20);
		blocks[2 * c + 1] = _mm256_permute2x128_si256(quad[8 + c], quad[12 + c], 0x20);
		blocks[8 + 2 * c] = _mm256_permute2x128_si256(quad[c], quad[4 + c], 0x31);
		blocks[8 + 2 * c + 1] = _mm256_permute2x128_si256(quad[8 + c], quad[12 + c], 0x31);
	}
}

#endif
