/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ChaCha20 block function (RFC 8439 section 2.3) on 8 states at a time, with AVX2.
 *
 *	void chacha20_avx2_x8(__m256i out[8 * 2], const __m256i initial[8 * 2]);
 *
 * Vector i is word i of the 8 states. There are as many registers as words, and rotations take
 * another: so of row 2 of the states only half is in registers (c0 and c1, or c2 and c3), the other
 * half on the stack. Quarter rounds go in an order that changes halves once a round.
 *
 * ymm0 to 3 are row 0, ymm4 to 7 row 1, ymm12 to 15 row 3; ymm8 and 9 half of row 2; ymm10 and 11
 * are for rotations.
 */
	.text

/* x += y; z ^= x */
.macro add_xor x, y, z
	vpaddd	%ymm\y, %ymm\x, %ymm\x
	vpxor	%ymm\x, %ymm\z, %ymm\z
.endm

.macro rotate x, bits, spare
	vpslld	$\bits, %ymm\x, %ymm\spare
	vpsrld	$32-\bits, %ymm\x, %ymm\x
	vpor	%ymm\spare, %ymm\x, %ymm\x
.endm

/* Two quarter rounds; those hide each other's latencies. */
.macro quarter_rounds a, b, d, e, f, h
	add_xor	\a, \b, \d
	add_xor	\e, \f, \h
	vpshufb	rotate_16(%rip), %ymm\d, %ymm\d
	vpshufb	rotate_16(%rip), %ymm\h, %ymm\h
	add_xor	8, \d, \b
	add_xor	9, \h, \f
	rotate	\b, 12, 10
	rotate	\f, 12, 11
	add_xor	\a, \b, \d
	add_xor	\e, \f, \h
	vpshufb	rotate_8(%rip), %ymm\d, %ymm\d
	vpshufb	rotate_8(%rip), %ymm\h, %ymm\h
	add_xor	8, \d, \b
	add_xor	9, \h, \f
	rotate	\b, 7, 10
	rotate	\f, 7, 11
.endm

/* The halves of row 2 change places with those on the stack. */
.macro change_row_2 from, to
	vmovdqa	%ymm8, \from(%rsp)
	vmovdqa	%ymm9, \from+32(%rsp)
	vmovdqa	\to(%rsp), %ymm8
	vmovdqa	\to+32(%rsp), %ymm9
.endm

.macro add_and_store i, at
	vpaddd	32*\at(%rsi), %ymm\i, %ymm\i
	vmovdqa	%ymm\i, 32*\at(%rdi)
.endm

	.globl	chacha20_avx2_x8
	.hidden	chacha20_avx2_x8
	.type	chacha20_avx2_x8, @function
	.p2align 6
chacha20_avx2_x8:
	pushq	%rbp
	movq	%rsp, %rbp
	subq	$128, %rsp
	andq	$-64, %rsp
	vmovdqa	10*32(%rsi), %ymm8
	vmovdqa	11*32(%rsi), %ymm9
	vmovdqa	%ymm8, 64(%rsp)
	vmovdqa	%ymm9, 96(%rsp)
	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15
	vmovdqa	32*\i(%rsi), %ymm\i
	.endr
	movl	$10, %eax
	.p2align 6
1:
	/* columns */
	quarter_rounds 0, 4, 12, 1, 5, 13
	change_row_2 0, 64
	quarter_rounds 2, 6, 14, 3, 7, 15
	/* diagonals: those with c2 and c3 first */
	quarter_rounds 0, 5, 15, 1, 6, 12
	change_row_2 64, 0
	quarter_rounds 2, 7, 13, 3, 4, 14
	decl	%eax
	jnz	1b

	.irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15
	add_and_store \i, \i
	.endr
	vmovdqa	64(%rsp), %ymm8
	vmovdqa	96(%rsp), %ymm9
	add_and_store 8, 10
	add_and_store 9, 11
	leave
	ret
	.size	chacha20_avx2_x8, . - chacha20_avx2_x8

	.section .rodata.chacha20_avx2, "a", @progbits
	.p2align 5
rotate_16:
	.rept 2
	.byte	2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13
	.endr
rotate_8:
	.rept 2
	.byte	3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14
	.endr

	.section .note.GNU-stack, "", @progbits
