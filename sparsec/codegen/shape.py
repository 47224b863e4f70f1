"""What decides how fast a kernel of a plan is with given tile sizes, as a short word: kernels with equal words share
tuned settings.

    contiguous.alone.r1.s16     one contiguous region, one range of keys, some 16 tiles of 64 a program
    gathered.first.r1.s64       gathered keys, which are the first of which dk and dv are summed
    contiguous.alone.r1.s1.gathered.r1.s16   forward or dq, which walk over both
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median_low

from sparsec.codegen.variants import VariantText
from sparsec.ir import nodes as ir
from sparsec.plan.evaluate import steps
from sparsec.plan.nodes import Cover, Kernel, Plan, Region, Variant

Groups = Iterable[tuple[object, Iterable[VariantText]]]  # heads, and the texts of their variants

_USUAL = 32_768  # the length at which programs are told apart by their work


def named_shapes(plan: Plan, groups: Groups, n: int | None = None) -> list[tuple[str, str, str]]:
    """(name in the module, kind, word) of the kernels of a plan, whose texts are `groups`; of those for n keys alone,
    where it is given.
    """
    found: dict[tuple[str, str, str], None] = {}  # heads that differ in numbers share kernels
    for group, (_, texts) in zip(plan.groups, groups, strict=True):
        for text in texts:
            if n is None or text.variant is group.at(n):
                found |= dict.fromkeys(variant_shapes(text))
    return list(found)


def variant_shapes(text: VariantText) -> list[tuple[str, str, str]]:
    """(name in the module, kind, word) of the kernels of a variant."""
    heads = ["heads"] if text.by_head else []
    return [
        (each.name, each.kernel.kind, ".".join([*_words(each.kernel, text.variant), *heads])) for each in text.kernels
    ]


def _words(kernel: Kernel, variant: Variant) -> list[str]:
    """Layout, role and work of the first region, layout and work of others."""
    alike = variant.of(kernel.kind)
    role = _role(alike.index(kernel), len(alike))
    first, *others = (
        [_layout(region), *_work(cover, region)] for region, cover in zip(kernel.regions, kernel.covers, strict=True)
    )
    return [first[0], role, *first[1:], *(word for other in others for word in other)]


def _layout(region: Region) -> str:
    return type(region.layout).__name__.lower()


def _work(cover: Cover, region: Region) -> list[str]:
    words = [f"r{len(cover.segments)}", f"s{_power_of_four(cover, region)}"]
    words += [f"t{leaf.size}" for leaf in cover.tables]
    words += ["sorted"] if not cover.ordered else []
    words += ["list"] if cover.from_list else []
    words += ["split"] if cover.split_prefix else []
    words += ["masked"] if region.full == ir.FALSE else []
    words += ["whole"] if region.block > 1 else []
    return words


def _role(place: int, count: int) -> str:
    """Who starts a sum, who goes on with it, who stores it."""
    if count == 1:
        return "alone"
    return "first" if place == 0 else "last" if place == count - 1 else "next"


def _power_of_four(cover: Cover, region: Region) -> int:
    """Tiles of 64 that the median program visits in ranges, rounded down to a power of 4."""
    visited = median_low(steps(cover, region, _USUAL).tolist() or [0])
    return 1 << (visited.bit_length() - 1) // 2 * 2 if visited else 0
