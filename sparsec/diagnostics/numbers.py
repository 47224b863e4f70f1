"""SP03xx: numbers."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class NotConstant(Diagnostic, code="SP0301", title="not a constant"):
    """Divisors, moduli, exponents, block sizes, the members of a set and the like are numbers once the parameters
    (and, where used, `h` and `layer`) are known.  They can't depend on `q`, `k` or `n`.
    """

    what: str
    name: str
    hint: str = ""
    message = "{what} must be a constant, and this depends on `{name}`"
    label = "depends on `{name}`"
    help = "{hint}"
    example = Example("pattern p = q % k == 0\n")
    cure = "Use a number or a parameter: `pattern p(s = 4) = q % s == 0`."


class BadDivisor(Diagnostic, code="SP0302", title="divisor below 1"):
    """Divisors and moduli are at least 1.  Division rounds down: `-1 // 4` is -1 and `-1 % 4` is 3."""

    what: str
    value: int
    message = "{what} must be at least 1, and this is {value}"
    label = "is {value}"
    example = Example("pattern p = stride(0)\n")
    cure = "`pattern p = stride(1)`"


class NonlinearProduct(Diagnostic, code="SP0303", title="product of two positions"):
    """One side of `*` is a constant.  Products such as `q * k` describe sets that no loop can walk exactly."""

    hint: str = ""
    message = "one side of `*` must be a constant"
    label = "both sides depend on positions or on `n`"
    help = "{hint}"
    example = Example("pattern p = (q - k) * (q - k) <= 64\n")
    cure = "`pattern p = abs(q - k) <= 8`; other products of positions have none."


class NegativePower(Diagnostic, code="SP0304", title="negative exponent"):
    """`**` makes integers, so its exponent is at least 0."""

    value: int
    message = "an exponent must be at least 0, and this is {value}"
    label = "is {value}"
    example = Example("pattern p = past(2 ** -1)\n")
    cure = "Use an exponent of at least 0."


class TooLarge(Diagnostic, code="SP0305", title="number too large"):
    """Numbers lie between -(2**31 - 1) and 2**31 - 1, the positions that kernels count with."""

    message = "numbers lie between -2147483647 and 2147483647"
    label = "outside that range"
    example = Example("pattern p = past(2 ** 40)\n")
    cure = "A window longer than any sequence is `causal`."


class BadSize(Diagnostic, code="SP0306", title="size out of range"):
    """Block sizes are at least 1, the numbers of blocks and keys to draw lie between 1 and 65,536, seeds are at
    least 0.
    """

    what: str
    least: int
    most: int
    value: int
    message = "{what} must lie between {least} and {most}, and this is {value}"
    label = "is {value}"
    example = Example("pattern p = random_blocks(0, 2, 1)\n")
    cure = "`pattern p = random_blocks(64, 2, 1)`"


class OddBuckets(Diagnostic, code="SP0309", title="an odd number of buckets"):
    """`lsh` hashes by which of some directions is nearest: half of them are random, the others their opposites."""

    value: int
    message = "`buckets` of `lsh` must be even, and this is {value}"
    label = "is {value}"
    example = Example("pattern p = causal & lsh(buckets = 63, rounds = 4, chunk = 64, seed = 0)\n")
    cure = "`causal & lsh(buckets = 64, rounds = 4, chunk = 64, seed = 0)`"


class TooWide(Diagnostic, code="SP0307", title="value beyond 64 bits"):
    """Kernels count in 64 bits, without a check, so whatever a condition computes on its way must lie between -(2**63)
    and 2**63 - 1 for all positions below 2**30.  `%` and `//` make values small again; products with large numbers, one
    after the other, leave 64 bits.
    """

    part: str
    home: str  # where it stands, if the message points elsewhere
    low: int
    high: int
    message = "`{part}`{home} may leave 64 bits"
    label = "lies between {low:.1e} and {high:.1e} for positions below 2**30"
    help = "take `% m` before multiplying again (`a % m * b % m` is `a * b % m`), or use smaller numbers"
    example = Example("pattern hash = (k * 1103515245 + 12345) * 1103515245 % 1000003 % 4 == 0\n")
    cure = "`pattern hash = (k * 1103515245 + 12345) % 1000003 * 1103515245 % 1000003 % 4 == 0`"
