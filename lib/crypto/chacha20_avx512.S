/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ChaCha20 block function (RFC 8439 section 2.3) on 16 or 32 states at a time, with AVX512F.
 *
 *	void chacha20_avx512_x16(__m512i out[16], const __m512i initial[16]);
 *	void chacha20_avx512_x32(__m512i out[32], const __m512i initial[32]);
 *
 * Vector i of a set of 16 is word i of its 16 states. Set 0 lives in zmm0 to zmm15, set 1 in
 * zmm16 to zmm31. Those are all there are, which is why this is not C: compilers copy and spill.
 * The two sets are independent, and hide each other's latencies.
 */
	.text
	.altmacro

/* x += y; z = (z ^ x) <<< bits */
.macro mix x, y, z, bits
	vpaddd	%zmm\y, %zmm\x, %zmm\x
	vpxord	%zmm\x, %zmm\z, %zmm\z
	vprold	$\bits, %zmm\z, %zmm\z
.endm

/* One step of a set's four quarter rounds on rows x, y, z of the state, turned by tx, ty, tz. */
.macro step_set set, x, tx, y, ty, z, tz, bits
	.irp i, 0, 1, 2, 3
	mix %(16*\set+4*\x+((\tx+\i)&3)), %(16*\set+4*\y+((\ty+\i)&3)), %(16*\set+4*\z+((\tz+\i)&3)), \bits
	.endr
.endm

.macro step sets, x, tx, y, ty, z, tz, bits
	step_set 0, \x, \tx, \y, \ty, \z, \tz, \bits
	.if \sets == 2
	step_set 1, \x, \tx, \y, \ty, \z, \tz, \bits
	.endif
.endm

.macro double_round sets
	/* columns */
	step \sets, 0, 0, 1, 0, 3, 0, 16
	step \sets, 2, 0, 3, 0, 1, 0, 12
	step \sets, 0, 0, 1, 0, 3, 0, 8
	step \sets, 2, 0, 3, 0, 1, 0, 7
	/* diagonals */
	step \sets, 0, 0, 1, 1, 3, 3, 16
	step \sets, 2, 2, 3, 3, 1, 1, 12
	step \sets, 0, 0, 1, 1, 3, 3, 8
	step \sets, 2, 2, 3, 3, 1, 1, 7
.endm

.macro load i
	vmovdqa64 \i*64(%rsi), %zmm\i
.endm

.macro add_and_store i
	vpaddd	\i*64(%rsi), %zmm\i, %zmm\i
	vmovdqa64 %zmm\i, \i*64(%rdi)
.endm

.macro for_each_word sets, do
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\do \i
	.endr
	.if \sets == 2
	.irp i, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\do \i
	.endr
	.endif
.endm

.macro block_function name, sets
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.p2align 6
\name:
	for_each_word \sets, load
	movl	$10, %eax
	.p2align 6
1:
	double_round \sets
	decl	%eax
	jnz	1b
	for_each_word \sets, add_and_store
	ret
	.size	\name, . - \name
.endm

block_function chacha20_avx512_x16, 1
block_function chacha20_avx512_x32, 2

	.section .note.GNU-stack, "", @progbits
