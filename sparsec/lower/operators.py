"""What operators, functions and primitives make of the nodes of their operands."""

from __future__ import annotations

from collections.abc import Callable

from sparsec.ir import algebra
from sparsec.ir.nodes import FALSE, Blocks, Int, Node, RandomBlocks, RandomKeys, Set


def _repeated(make: Callable[[Int, Int], Int]) -> Callable[..., Int]:
    """min(a, b, c) = min(min(a, b), c)"""

    def joined(first: Int, *rest: Int) -> Int:
        for value in rest:
            first = make(first, value)
        return first

    return joined


WHAT = {"//": "the divisor of `//`", "%": "the modulus of `%`", "**": "the exponent of `**`"}
FUNCTIONS: dict[str, Callable[..., Int]] = {
    "abs": algebra.absolute,
    "min": _repeated(algebra.minimum),
    "max": _repeated(algebra.maximum),
}
BINARY: dict[str, Callable[..., Node]] = {
    "+": algebra.add,
    "-": algebra.sub,
    "*": algebra.mul,
    "&": algebra.conjunction,
    "\\": lambda left, right: algebra.conjunction(left, algebra.complement(right)),  # a \ b = a & ~b
}
PRIMITIVES: dict[str, Callable[..., Set]] = {
    "blocks": lambda size, rows: Blocks(size, rows) if any(rows) else FALSE,
    "random_blocks": RandomBlocks,
    "random_past_blocks": lambda size, count, seed: RandomBlocks(size, count, seed, past=True),
    "random_keys": RandomKeys,
}
