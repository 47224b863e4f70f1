"""What decides how fast a kernel of a plan is with given tile sizes, as a short word: kernels with equal words share
tuned settings.

    natural.alone.r1.s16        one part in the natural order, one range of keys, some 16 tiles of 64 a program
    columns.first.r1.s64.long   gathered keys, the first of several parts; some tiles are shared by programs
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median_low

from sparsec.codegen.settings import KERNELS
from sparsec.codegen.texts import GroupText, key_order
from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Cover, Part, Plan
from sparsec.plan.predict import steps

_USUAL = 32_768  # the length at which programs are told apart by their work


def named_shapes(plan: Plan, groups: Iterable[GroupText], n: int | None = None) -> list[tuple[str, str, str]]:
    """(name in the module, kind, word) of the kernels of a plan, whose texts are `groups`; of those for n keys alone,
    where it is given.
    """
    return [
        (f"_{kernel}{text.suffix}", kernel, shape(choice.parts, place, len(plan.parts) > 1, kernel))
        for heads, group in zip(plan.parts, groups, strict=True)
        for choice, texts in zip(heads.choices, group.choices, strict=True)
        if n is None or choice is [each for each in heads.choices if each.least_n <= n][-1]
        for place, text in enumerate(texts.parts)
        for kernel in KERNELS
    ]


def shape(parts: tuple[Part, ...], place: int, listed: bool, kernel: str) -> str:
    """The word of a kernel ("forward", "dq", "dkdv") of parts[place]; `listed`: it serves a list of heads."""
    part = parts[place]
    cover = part.columns if kernel == "dkdv" else part.rows
    order = key_order(parts) if kernel == "dkdv" else list(range(len(parts)))
    words = [type(part.layout).__name__.lower(), _role(order.index(place), len(parts))]
    words += [f"r{len(cover.segments)}", f"s{_power_of_four(cover, part)}"]
    words += [f"t{leaf.size}" for leaf in cover.tables]
    words += ["sorted"] if not cover.ordered else []
    words += ["long"] if cover.long else []
    words += ["masked"] if part.full == ir.FALSE else []
    words += ["whole"] if part.block > 1 else []
    words += ["heads"] if listed else []
    return ".".join(words)


def _role(place: int, count: int) -> str:
    """Who starts a sum, who goes on with it in float32, who stores it."""
    if count == 1:
        return "alone"
    return "first" if place == 0 else "last" if place == count - 1 else "next"


def _power_of_four(cover: Cover, part: Part) -> int:
    """Tiles of 64 that the median program visits in ranges, rounded down to a power of 4."""
    visited = median_low(steps(cover, part, _USUAL).tolist() or [0])
    return 1 << (visited.bit_length() - 1) // 2 * 2 if visited else 0

