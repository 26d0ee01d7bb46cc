"""The counter-based random generator Philox4x32-10.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
"""

from __future__ import annotations

from weft.codegen import types
from weft.codegen.scalar import Val, elementwise

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def _signature(counter: types.Type, key: types.Type) -> tuple[types.Type, tuple[types.Type, ...]]:
    return types.uint64, (types.uint64, types.uint64)


@elementwise(_signature)
def philox(counter: Val, key: Val) -> Val:
    """64 random bits: the first two output words (low half first) for the counter (low, high, 0, 0) and the key (low, high)."""
    # 32-bit words in 64-bit lanes: a product of two is then one vector instruction
    mask = 0xFFFFFFFF
    c = [counter & mask, counter >> 32, counter.lit(0), counter.lit(0)]
    k = [key & mask, key >> 32]
    for _ in range(ROUNDS):
        first, second = c[0] * MULTIPLIERS[0], c[2] * MULTIPLIERS[1]
        c = [(second >> 32) ^ c[1] ^ k[0], second & mask, (first >> 32) ^ c[3] ^ k[1], first & mask]
        k = [(k[0] + WEYL[0]) & mask, (k[1] + WEYL[1]) & mask]
    return c[0] | (c[1] << 32)
