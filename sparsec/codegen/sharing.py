"""Which choices of a plan share their kernels: heads that differ in numbers only have one text for all of them.

Each choice is rendered; what is equal but for its integers is printed once.  Integers that differ become NUMBERS, a
constant of each launch, so the compiled code is what it would have been.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sparsec.codegen.shape import choice_shapes
from sparsec.codegen.text_nodes import ChoiceText
from sparsec.codegen.texts import choice_text, tables
from sparsec.ir.nodes import Leaf
from sparsec.plan.nodes import Choice, Plan

_INTEGER = re.compile(r"(?<![\w.])\d+(?![\w.])")

Render = Callable[[ChoiceText], str]


@dataclass(frozen=True)
class Shared:
    """Texts of kernels, each once, and for every group of heads (None: all heads) the choices that use them."""

    kernels: tuple[str, ...]
    groups: tuple[tuple[tuple[int, ...] | None, tuple[ChoiceText, ...]], ...]


def shared(plan: Plan, render: Render) -> Shared:
    """The kernels of a plan."""
    leaves, listed = tables(plan), len(plan.parts) > 1
    choices = [choice for heads in plan.parts for choice in heads.choices]
    alike: dict[object, list[int]] = {}
    for place, choice in enumerate(choices):
        text = choice_text(choice, leaves, listed)
        shape = _INTEGER.sub("0", render(text)) if len(choices) > 1 else ""
        words = tuple(word for _, _, word in choice_shapes(choice, text, listed))
        alike.setdefault((shape, words), []).append(place)
    kernels: list[str] = []
    found: dict[int, ChoiceText] = {}
    for number, places in enumerate(alike.values()):
        stem = f"_{number}" if len(alike) > 1 else ""
        text, numbers = _printed([choices[place] for place in places], render, leaves, listed, stem)
        kernels.append(text)
        for place, own in zip(places, numbers, strict=True):
            found[place] = choice_text(choices[place], leaves, listed, stem, own)
    made = (found[place] for place in range(len(choices)))
    groups = tuple((heads.heads if listed else None, tuple(next(made) for _ in heads.choices)) for heads in plan.parts)
    return Shared(tuple(kernels), groups)


def _printed(
    choices: list[Choice], render: Render, leaves: tuple[Leaf, ...], listed: bool, stem: str
) -> tuple[str, list[tuple[int, ...]]]:
    """The text of kernels that all these choices share, and the numbers of each."""
    texts = [render(choice_text(choice, leaves, listed, stem)) for choice in choices]
    columns = list(zip(*(map(int, _INTEGER.findall(text)) for text in texts), strict=True))
    different = list(dict.fromkeys(column for column in columns if len({*column}) > 1))  # equal columns are one number
    if not different:
        return texts[0], [()] * len(choices)
    names = {column: f"NUMBERS[{index}]" for index, column in enumerate(different)}
    numbers = [tuple(column[place] for column in different) for place in range(len(choices))]
    left = iter(columns)

    def named(match: re.Match[str]) -> str:
        return names.get(next(left), match[0])

    text = render(choice_text(choices[0], leaves, listed, stem, numbers[0]))
    return _INTEGER.sub(named, text), numbers
