"""Which variants of a plan share their kernels: heads that differ in numbers only have one text for all of them.

Each variant is rendered; what is equal but for its integers is printed once.  Integers that differ become NUMBERS, a
constant of each launch, so the compiled code is what it would have been.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparsec.codegen.origins import Origins, common, origins
from sparsec.codegen.shape import variant_shapes
from sparsec.codegen.variants import VariantText, variant_text
from sparsec.lower.terms import Term
from sparsec.plan.nodes import Plan, Variant

_INTEGER = re.compile(r"(?<![\w.])\d+(?![\w.])")
_COMMENT_OR_INTEGER = re.compile(rf"#.*|{_INTEGER.pattern}")  # comments name terms, with numbers of their own

Render = Callable[[VariantText], str]


@dataclass(frozen=True)
class Shared:
    """Texts of answers, each once, and for every group of heads (None: all heads) the variants that use them."""

    answers: tuple[str, ...]
    groups: tuple[tuple[tuple[int, ...] | None, tuple[VariantText, ...]], ...]


def shared(plan: Plan, render: Render, terms: Sequence[Sequence[Term]] = ()) -> Shared:
    """The kernels of a plan; `terms`: for each group, what its condition is the union of."""
    named = [some for group, some in zip(plan.groups, terms, strict=False) for _ in group.variants]
    variants = [variant for group in plan.groups for variant in group.variants]
    alike: dict[object, list[int]] = {}
    for place, variant in enumerate(variants):
        text = variant_text(plan, variant)
        shape = _INTEGER.sub("0", render(text)) if len(variants) > 1 else ""
        words = tuple(word for _, _, word in variant_shapes(text))
        tables = any(answers.row_classes for answers in text.answers)  # which hold numbers outside of functions
        alike.setdefault((shape, words, place if tables else None), []).append(place)
    printed: list[Callable[[VariantText], str]] = []
    found: dict[int, VariantText] = {}
    for number, places in enumerate(alike.values()):
        stem = f"_{number}" if len(alike) > 1 else ""
        alike_here = [variants[place] for place in places]
        names = _origins(alike_here, [named[place] for place in places]) if terms else ()
        numbers, finish = _numbers(plan, alike_here, render, stem)
        printed.append(finish)
        for place, own in zip(places, numbers, strict=True):
            found[place] = variant_text(plan, variants[place], stem, own, names)
    answers = [finish(found[places[0]]) for places, finish in zip(alike.values(), printed, strict=True)]
    made = (found[place] for place in range(len(variants)))
    groups = tuple(
        (heads.heads if plan.by_head else None, tuple(next(made) for _ in heads.variants)) for heads in plan.groups
    )
    return Shared(tuple(answers), groups)


def _origins(variants: list[Variant], terms: list[Sequence[Term]]) -> list[Origins]:
    """For each region of variants that share their kernels, where its segments come from."""
    own = [[origins(region, some) for region in variant.regions] for variant, some in zip(variants, terms, strict=True)]
    return [common(regions) for regions in zip(*own, strict=True)]


def _numbers(
    plan: Plan, variants: list[Variant], render: Render, stem: str
) -> tuple[list[tuple[int, ...]], Callable[[VariantText], str]]:
    """The numbers of each of some variants that share their kernels, and what prints these: with NUMBERS for integers
    that differ.
    """
    texts = [render(variant_text(plan, variant, stem)) for variant in variants]
    columns = list(zip(*(map(int, _INTEGER.findall(text)) for text in texts), strict=True))
    different = list(dict.fromkeys(column for column in columns if len({*column}) > 1))  # equal columns are one number
    if not different:
        return [()] * len(variants), render
    names = {column: f"NUMBERS[{index}]" for index, column in enumerate(different)}

    def finish(text: VariantText) -> str:
        left = iter(columns)

        def named(match: re.Match[str]) -> str:
            return match[0] if match[0].startswith("#") else names.get(next(left), match[0])

        return _COMMENT_OR_INTEGER.sub(named, render(text))

    return [tuple(column[place] for column in different) for place in range(len(variants))], finish
