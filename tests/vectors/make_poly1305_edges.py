#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes tests/unit/crypto/poly1305_edges.h: messages that drive Poly1305's accumulator to edges.

Random messages practically never end near the prime, near a limb's limit or with a carry out of
the tag. Here the last block of the ciphertext is chosen so that they do. All arithmetic is on
Python's integers. Usage: make_poly1305_edges.py > tests/unit/crypto/poly1305_edges.h
"""
import struct

P = 2**130 - 5
M128 = 2**128 - 1


def rotl(x, n):
    return (x << n | x >> (32 - n)) & 0xFFFFFFFF


def chacha20_block(key, counter, nonce):
    state = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key),
             counter, *struct.unpack("<3I", nonce)]
    x = list(state)
    columns = [(i, 4 + i, 8 + i, 12 + i) for i in range(4)]
    diagonals = [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
    for _ in range(10):
        for a, b, c, d in columns + diagonals:
            for s, t, u, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[s] = (x[s] + x[t]) & 0xFFFFFFFF
                x[u] = rotl(x[u] ^ x[s], n)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, state)))


def one_time_key(key, counter):
    block = chacha20_block(key, 0, bytes(4) + struct.pack("<Q", counter))
    r = int.from_bytes(block[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    return r, int.from_bytes(block[16:32], "little")


def targets(s):
    """Values of the accumulator, before the final reduction's result is added to s."""
    for i in range(6):
        yield i
        yield P - 1 - i
    for bits in (44, 88, 128, 129):
        yield 2**bits - 1
        yield 2**bits
    yield -s & M128             # a tag of all zero bits
    yield (M128 - s) & M128     # a tag of all one bits
    yield (-s & M128) + 2**128  # the same with bits above the tag
    yield (M128 - s & M128) + 3 * 2**128


def solve(key, fill, length, which):
    """The first counter for which a last block exists, that block and the tag."""
    for counter in range(1, 1000):
        r, s = one_time_key(key, counter)
        target = list(targets(s))[which]
        acc = 0
        for _ in range(length // 16 - 1):
            acc = (acc + int.from_bytes(bytes([fill] * 16), "little") + 2**128) * r % P
        inverse = pow(r, -1, P)
        before_lengths = (target * inverse - (length << 64) - 2**128) % P
        block = (before_lengths * inverse - acc - 2**128) % P
        if block <= M128:
            return counter, block, (target % P + s) & M128
    raise AssertionError("no counter found")


def main():
    print("/* SPDX-License-Identifier: BSD-3-Clause */")
    print("/* Written by tests/vectors/make_poly1305_edges.py: do not edit. */")
    print("/* clang-format off */")
    print("static const struct poly1305_edge poly1305_edges[] = {")
    lengths = (16, 64, 80, 176, 256, 272, 528, 1040, 1424)
    for which in range(len(list(targets(0)))):
        for i in range(3):
            length = lengths[(which + 3 * i) % len(lengths)]
            fill = (0xFF, 0x00, 0xFE)[i]
            key = bytes((which * 31 + i * 7 + n * n) & 0xFF for n in range(32))
            counter, block, tag = solve(key, fill, length, which)
            print('\t{"%s", %d, %d, 0x%02x, "%s", "%s"},' % (
                key.hex(), counter, length, fill,
                block.to_bytes(16, "little").hex(), tag.to_bytes(16, "little").hex()))
    print("};")


if __name__ == "__main__":
    main()
