"""Patterns that users of other tools wrote down, and texts written to be hard: every command ends on them in time."""

from __future__ import annotations

import random

NEIGHBOURHOODS = """
pattern plain(w = 64, r = 7) = abs(q // w - k // w) <= r // 2 & abs(q % w - k % w) <= r // 2

pattern nat(w = 64, r = 7) =  # the centre clamped, so that every query of the canvas sees r * r keys
    abs(min(max(q // w, r // 2), w - 1 - r // 2) - k // w) <= r // 2
    & abs(min(max(q % w, r // 2), w - 1 - r // 2) - k % w) <= r // 2

pattern ranges(w = 64, r = 7) =
    k // w in min(max(q // w - r // 2, 0), w - r) .. min(max(q // w - r // 2, 0), w - r) + r
    & k % w in min(max(q % w - r // 2, 0), w - r) .. min(max(q % w - r // 2, 0), w - r) + r

pattern tiled(w = 64, t = 8, r = 3) =  # positions tile by tile
    abs(min(max(q // (w * t) * t + q % (t * t) // t, r), w - 1 - r) - (k // (w * t) * t + k % (t * t) // t)) <= r
    & abs(min(max(q // (t * t) % (w // t) * t + q % t, r), w - 1 - r) - (k // (t * t) % (w // t) * t + k % t)) <= r
"""

SLIDING_TILES = """
set near(x, y, most) = abs(min(max(x, 1), most - 2) - y) <= 1
set tiles(a, b, c, size) =
    near(q // size // (b * c), k // size // (b * c), a)
    & near(q // size // c % b, k // size // c % b, b)
    & near(q // size % c, k // size % c, c)

pattern small = tiles(4, 4, 4, 64)
pattern medium = tiles(6, 6, 6, 64)
pattern video = tiles(5, 6, 10, 256)  # 76,800 tokens
pattern plain = tiles(4, 4, 4, 64) & q < 4096 & k < 4096
"""

SMALL_CANVAS = """
pattern fl(t = 3) = k // t == 0 & q in 0..7 | k // t == 1 & q in 1..7 | k // t == 2 & q in 7..12
pattern scales =
    causal & (q < 1 | q in 1..5 & k < 5 | q in 5..14 & k < 14 | q in 14..30 & k < 30 | q in 30..55 & k < 55)
pattern tree = causal & (k in {0, 1, 3} | k == q | q in 4..9 & k in 4..6 | q in 9..13 & k in {4, 9})
pattern image = causal | q in 17..593 & k in 17..593
"""

HARD = {
    "seven primes": "pattern p = causal & " + " & ".join(f"(q - k) % {m} != 0" for m in (2, 3, 5, 7, 11, 13, 17)),
    "moduli of both": "pattern p = q // 3 % 12 < 3 & (q + 2 * k) % 48 == (n - k) % 13",
    "four moduli": "pattern p = causal & ((q - k) % 17 == 10 & (n - k) % 23 == 21 & q % 1000 >= 282 & k % 19 >= 1)",
    "many strides": "pattern p = causal & (" + " | ".join(f"(q - k) % {m} == 0" for m in range(3, 61)) + ")",
}


def documents(parts: int, n: int = 4096, equal: bool = False) -> str:
    """Documents that are packed into n positions, each written as a rectangle; of random lengths, or of one."""
    cuts = range(n // parts, n, n // parts) if equal else sorted(random.Random(parts).sample(range(1, n), parts - 1))
    pairs = zip((0, *cuts), (*cuts, n), strict=True)
    spans = " | ".join(f"q in {first}..{last} & k in {first}..{last}" for first, last in pairs)
    return f"pattern documents = causal & ({spans})\n"


def texts() -> dict[str, str]:
    """Every text by its name."""
    packed = {f"{parts} documents": documents(parts) for parts in (8, 16, 32, 64, 128, 256)}
    even = {f"{parts} even documents": documents(parts, equal=True) for parts in (8, 64)}
    given = {"neighbourhoods": NEIGHBOURHOODS, "sliding tiles": SLIDING_TILES, "small canvas": SMALL_CANVAS}
    return {**given, **packed, **even, **HARD}
