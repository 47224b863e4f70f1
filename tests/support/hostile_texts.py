"""Texts written to be hard, from a seed: deep sets, many moduli, many parts, many patterns, unions of unions."""

from __future__ import annotations

from random import Random

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def hostile(seed: int) -> str:
    """One text.  Which kind it is goes round with the seed."""
    kinds = (doubled, moduli, parts, patterns, unions_of_unions, nested, large_numbers, taken_away)
    return kinds[seed % len(kinds)](Random(seed))


def value(draw: Random, names: tuple[str, ...] = ("q", "k"), depth: int = 2) -> str:
    """An integer of the language."""
    if depth == 0 or draw.random() < 0.2:
        return draw.choice((*names, "n", str(draw.choice((0, 1, 3, 7, 64, 1000)))))
    left, right = (value(draw, names, depth - 1) for _ in range(2))
    return draw.choice(
        (
            f"({left} + {right})",
            f"({left} - {right})",
            f"min({left}, {right})",
            f"max({left}, {right})",
            f"abs({left} - {right})",
            f"({left} // {draw.choice((2, 3, 16, 61))})",
            f"({left} % {draw.choice((2, 5, 13, 48, 64, 97))})",
        )
    )


def condition(draw: Random, names: tuple[str, ...] = ("q", "k"), depth: int = 2) -> str:
    return f"{value(draw, names, depth)} {draw.choice(_COMPARISONS)} {value(draw, names, depth)}"


def doubled(draw: Random) -> str:
    """Sets that use what they are given twice, again and again."""
    grown = draw.choice(("x + x", "max(x + k, x * 2 - q)", "min(x, x // 2 + 1)", "abs(x - k) + x % 7"))
    length = draw.choice((8, 14, 40, 90))
    lines = [f"set a{i}(x) = a{i - 1}({grown}) {draw.choice('&|')} k < x" for i in range(1, length)]
    return "\n".join(["set a0(x) = k % 5 < x % 3", *lines, f"pattern p = causal & a{length - 1}(q)\n"])


def moduli(draw: Random) -> str:
    """Remainders of sums by many numbers without a common divisor."""
    sums = ("q", "k", "(q - k)", "(q + 2 * k)", "(n - k)", "(3 * q - 5 * k)")
    terms = [
        f"{draw.choice(sums)} % {(m := draw.choice((2, 3, 5, 7, 11, 13, 17, 19, 23, 48, 64, 97, 1000)))} "
        f"{draw.choice(_COMPARISONS)} {draw.randrange(m)}"
        for _ in range(draw.choice((4, 7, 12, 40)))
    ]
    return f"pattern p = causal & ({draw.choice((' & ', ' | ')).join(terms)})\n"


def parts(draw: Random) -> str:
    """A union of many rectangles, bands and blocks."""
    some = []
    for _ in range(draw.choice((12, 40, 100, 300))):
        a, b = sorted(draw.sample(range(6000), 2))
        c, d = sorted(draw.sample(range(6000), 2))
        some.append(
            draw.choice((f"q in {a}..{b} & k in {c}..{d}", f"{a} <= q - k < {b}", f"q // {a + 1} == k // {a + 1}"))
        )
    return f"pattern p = causal & ({' | '.join(some)})\n"


def patterns(draw: Random) -> str:
    """Many patterns that share sets."""
    lines = [f"set s{i}(x) = {condition(draw, ('q', 'k', 'x'), 1)}" for i in range(20)]
    lines += [
        f"pattern p{i}(w = {i + 1}) = past(w) | causal & s{draw.randrange(20)}(w)"
        for i in range(draw.choice((30, 120)))
    ]
    return "\n".join(lines) + "\n"


def unions_of_unions(draw: Random) -> str:
    """Intersections of many unions: multiplied out, a term for each choice of operands."""
    pairs = [f"({condition(draw, depth=1)} | {condition(draw, depth=1)})" for _ in range(draw.choice((6, 20, 60)))]
    return f"pattern p = causal & {' & '.join(pairs)}\n"


def nested(draw: Random) -> str:
    """Minima of maxima of minima."""
    return f"pattern p = causal & {condition(draw, depth=draw.choice((3, 5, 6)))}\n"


def large_numbers(draw: Random) -> str:
    """Numbers near the ends of what is allowed, in divisors, windows, blocks and members."""
    big = draw.choice((2**31 - 1, 2**30, 999_999_937))
    return draw.choice(
        (
            f"pattern p = causal & (q * {big} - k * {big - 1}) % {big} < {big // 2}\n",
            f"pattern p = past({big}) & (q - k) % {big // 3} == 0 | k in {{{', '.join(map(str, range(400)))}}}\n",
            f"pattern p = q // {big} == k // {big} & abs(q - k * 3) % 997 <= 500\n",
            f"pattern p = k in {{{', '.join(str(draw.randrange(big)) for _ in range(1500))}}} & k <= q\n",
        )
    )


def taken_away(draw: Random) -> str:
    """What is left of a set after much was taken away."""
    taken = " \\ ".join(f"({condition(draw, depth=1)})" for _ in range(draw.choice((5, 15, 45))))
    return f"pattern p = causal \\ {taken} | k == q\n"
