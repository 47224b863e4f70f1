"""What decides how fast a kernel of a plan is with given tile sizes, as a short word: kernels with equal words share
tuned settings.

    natural.alone.r1.s16        one part in the natural order, one range of keys, some 16 tiles of 64 a program
    columns.first.r1.s64        gathered keys, which are the first of which dk and dv are summed
    natural.alone.r1.s1.columns.r1.s16   forward or dq, which walk over both
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median_low

from sparsec.codegen.text_nodes import ChoiceText
from sparsec.codegen.texts import key_order
from sparsec.ir import nodes as ir
from sparsec.plan.cost_model import steps
from sparsec.plan.nodes import Choice, Cover, Part, Plan
from sparsec.plan.walks import Walk, walks

Groups = Iterable[tuple[object, Iterable[ChoiceText]]]  # heads, and the texts of their choices

_USUAL = 32_768  # the length at which programs are told apart by their work


def named_shapes(plan: Plan, groups: Groups, n: int | None = None) -> list[tuple[str, str, str]]:
    """(name in the module, kind, word) of the kernels of a plan, whose texts are `groups`; of those for n keys alone,
    where it is given.
    """
    found: dict[tuple[str, str, str], None] = {}  # heads that differ in numbers share kernels
    for heads, (_, choices) in zip(plan.parts, groups, strict=True):
        for choice, text in zip(heads.choices, choices, strict=True):
            if n is None or choice is heads.at(n):
                found |= dict.fromkeys(choice_shapes(choice, text, len(plan.parts) > 1))
    return list(found)


def choice_shapes(choice: Choice, text: ChoiceText, listed: bool) -> list[tuple[str, str, str]]:
    """(name in the module, kind, word) of the kernels of a choice."""
    walked, found = walks(choice.parts), []
    for place, walk in enumerate(text.walks):
        word = rows_shape(walked, place, listed)
        found += [(f"_{kernel}{walk.suffix}", kernel, word) for kernel in ("forward", "dq")]
    parts = [part for walk in walked for part in walk]
    for place, part in enumerate(text.parts):
        found.append((f"_dkdv{part.suffix}", "dkdv", keys_shape(parts, place, listed)))
    return found


def rows_shape(walked: Sequence[Walk], place: int, listed: bool) -> str:
    """The word of the kernels for forward and dq of walked[place]; `listed`: they serve a list of heads."""
    first, *others = ([_layout(part), *_work(part.rows, part)] for part in walked[place])
    words = [first[0], _role(place, len(walked)), *first[1:]]
    return ".".join([*words, *(word for other in others for word in other), *(["heads"] if listed else [])])


def keys_shape(parts: Sequence[Part], place: int, listed: bool) -> str:
    """The word of the kernel for dk and dv of parts[place]."""
    part = parts[place]
    role = _role(key_order(parts).index(place), len(parts))
    return ".".join([_layout(part), role, *_work(part.columns, part), *(["heads"] if listed else [])])


def _layout(part: Part) -> str:
    return type(part.layout).__name__.lower()


def _work(cover: Cover, part: Part) -> list[str]:
    words = [f"r{len(cover.segments)}", f"s{_power_of_four(cover, part)}"]
    words += [f"t{leaf.size}" for leaf in cover.tables]
    words += ["sorted"] if not cover.ordered else []
    words += ["long"] if cover.long else []
    words += ["masked"] if part.full == ir.FALSE else []
    words += ["whole"] if part.block > 1 else []
    return words


def _role(place: int, count: int) -> str:
    """Who starts a sum, who goes on with it, who stores it."""
    if count == 1:
        return "alone"
    return "first" if place == 0 else "last" if place == count - 1 else "next"


def _power_of_four(cover: Cover, part: Part) -> int:
    """Tiles of 64 that the median program visits in ranges, rounded down to a power of 4."""
    visited = median_low(steps(cover, part, _USUAL).tolist() or [0])
    return 1 << (visited.bit_length() - 1) // 2 * 2 if visited else 0
