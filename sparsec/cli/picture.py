"""What `sparsec show` draws, and where it goes."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sparsec.cli.inputs import shown
from sparsec.cli.layered import by_layers
from sparsec.cli.operands import of_head, operands_of
from sparsec.cli.options import Choice
from sparsec.cli.output import write
from sparsec.diagnostics import SparsecError, WrongInput, printable
from sparsec.lower.layers import named

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern, Set
    from sparsec.ir.reference import Data
    from sparsec.show.html import Subject
    from sparsec.show.page import Operands
    from sparsec.show.ranks import OverRanks

_PANELS = 64  # masks in a grid


def deliver(drawn: str | bytes, path: Path | None) -> None:
    """To the standard output, or the whole file or nothing.  SparsecError SP0702."""
    data = drawn.encode() if isinstance(drawn, str) else drawn
    if path is None:
        if isinstance(drawn, str):
            sys.stdout.write(drawn)
        else:
            sys.stdout.buffer.write(data)
        return
    write(path, data)


@dataclass(frozen=True)
class Masks:
    """A pattern and how its conditions are shown: as `sparsec.show.page` takes it, how many side by side, and whether
    the operands compare two patterns.
    """

    pattern: Pattern
    operands: list[Operands]
    headings: list[str] | None = None
    columns: int = 1
    compared: bool = False

    def given(self, data: Data) -> Masks:
        """The same with data for the inputs that the pattern reads."""
        from sparsec.ir.inputs import with_data

        conditions = tuple(with_data(each, data) for each in self.pattern.conditions)
        operands: list[Operands] = [[(words, with_data(part, data)) for words, part in some] for some in self.operands]
        return replace(self, pattern=replace(self.pattern, conditions=conditions, inputs=()), operands=operands)

    def over_ranks(self, ranks: OverRanks) -> Masks:
        """The same divided into pairs with a rank's own keys and with those of others."""
        from sparsec.show.ranks import divided

        return replace(self, operands=[divided(each, ranks) for each in self.pattern.conditions])


def over_ranks(pattern: Pattern, n: int, queries: range, count: int, layout: str) -> OverRanks:
    """The pattern over some ranks.  BadParameter for what does not fit."""
    from sparsec.analysis.numbers import Uncounted
    from sparsec.cli.ranks import check_layout
    from sparsec.show import ranks

    check_layout(layout, n, queries)
    try:
        return ranks.over_ranks(pattern, n, count, layout)
    except Uncounted:
        raise typer.BadParameter(f"pairs can't be counted at n = {n}", param_hint="--layout") from None


def divided(file: str, chosen: Choice) -> Masks:
    """The pattern, and for each of its conditions the operands of the union as written, with their sets.

    Of a pattern that depends on the layer, where only the number of layers is chosen, all distinct ones.
    """
    return _every_condition(_groups(file, chosen))


def side_by_side(file: str, chosen: Choice, each_head: bool) -> Masks:
    """A grid: a mask for every head, also where heads are alike, or those of all distinct layers.  BadParameter."""
    if not each_head and chosen.layers is None:
        raise typer.BadParameter("how many?  Add --layers L", param_hint="--grid")
    masks = _every_head(_groups(file, chosen)) if each_head else divided(file, chosen)
    shown = len(masks.operands)
    if shown > _PANELS:
        raise typer.BadParameter(f"{shown} masks, and a grid has at most {_PANELS}", param_hint="--grid")
    return replace(masks, columns=math.isqrt(shown - 1) + 1)


def _groups(file: str, chosen: Choice) -> list[tuple[str, Masks]]:
    """The masks of each group of layers that are alike, and these layers in words, empty where they don't matter."""
    tree, groups = by_layers(file, chosen)
    return [(named(each.layers), Masks(each.pattern, operands_of(tree, each.pattern, each.chosen))) for each in groups]


def _every_condition(groups: list[tuple[str, Masks]]) -> Masks:
    """A mask for each distinct condition of each group; those of one group that needs no name as they are."""
    from sparsec.show.page import heading

    if not groups[0][0]:
        return groups[0][1]
    return _panels(
        [
            (_joined(words, heading(masks.pattern, index)), masks, index)
            for words, masks in groups
            for index in range(len(masks.operands))
        ]
    )


def _every_head(groups: list[tuple[str, Masks]]) -> Masks:
    return _panels(
        [
            (_joined(words, f"head {head}"), masks, index)
            for words, masks in groups
            for head, index in enumerate(masks.pattern.head_conditions or (0,))
        ]
    )


def _panels(panels: list[tuple[str, Masks, int]]) -> Masks:
    """Single conditions of some masks under headings of their own."""
    first = panels[0][1]
    conditions = tuple(masks.pattern.conditions[index] for _, masks, index in panels)
    return replace(
        first,
        pattern=replace(first.pattern, conditions=conditions, head_conditions=()),
        operands=[masks.operands[index] for _, masks, index in panels],
        headings=[words for words, _, _ in panels],
    )


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def difference(file: str, other: str, chosen: Choice) -> Masks:
    """Two patterns as one, a condition for each pair of theirs, divided into what only A, only B and both keep."""
    from sparsec.cli.diff import sides_by_layers

    names = f"only in {printable(shown(file))}", f"only in {printable(shown(other))}", "in both"
    groups = sides_by_layers((file, other), (chosen.pattern, chosen.pattern), chosen)
    return _every_condition([(named(layers), _merged(a.pattern, b.pattern, names)) for layers, (a, b) in groups])


def _merged(a: Pattern, b: Pattern, names: tuple[str, str, str]) -> Masks:
    from sparsec.ir.algebra import complement, conjunction, disjunction

    inputs = {each.name: each for each in (*a.inputs, *b.inputs)}
    for each in a.inputs:
        if (other := inputs[each.name]).axes != each.axes or other.kind != each.kind:
            raise SparsecError(WrongInput(name=each.name, expected=f"alike in both, {each}", found=f"{other}"))
    heads = [pattern.head_conditions or (0,) * (b.heads or a.heads or 1) for pattern in (a, b)]
    pairs = list(zip(*heads, strict=True))
    distinct = list(dict.fromkeys(pairs))
    conditions: list[Set] = []
    operands: list[Operands] = []
    for x, y in ((a.conditions[i], b.conditions[j]) for i, j in distinct):
        conditions.append(disjunction(x, y))
        sets = conjunction(x, complement(y)), conjunction(y, complement(x)), conjunction(x, y)
        operands.append(list(zip(names, sets, strict=True)))
    indices = tuple(map(distinct.index, pairs)) if a.heads or b.heads else ()
    merged = replace(
        a,
        name=f"{title(a)} and {title(b)}",
        parameters=(),
        conditions=tuple(conditions),
        head_conditions=indices,
        inputs=tuple(inputs.values()),
    )
    return Masks(merged, operands, compared=True)


def opened(file: str, chosen: Choice) -> tuple[Pattern, Subject]:
    """A pattern, and the same for a page; `chosen` says where its sliders stand at first."""
    from sparsec.lower.file import check_names
    from sparsec.lower.scope import mentions
    from sparsec.lower.symbolic import open_operands
    from sparsec.show.html import Operand, Subject

    tree, (group, *_) = by_layers(file, chosen)
    pattern, chosen = group.pattern, group.chosen
    entry = check_names(tree).own[pattern.name]
    bound = {"h": 0, "H": chosen.heads, "layer": chosen.layer, "L": chosen.layers}
    used = set(mentions(entry))
    used |= {"H"} if "h" in used else set()
    names = dict(pattern.parameters)
    names |= {each: value for each, value in bound.items() if each in used and value is not None}
    sets = of_head(tree, pattern, chosen, 0)
    nodes = (node for _, node in open_operands(entry))
    operands = tuple(Operand(words, node, part) for (words, part), node in zip(sets, nodes, strict=True))
    return pattern, Subject(pattern.name, pattern.doc, pattern.text, names, operands)


def title(pattern: Pattern) -> str:
    bound = ", ".join(f"{name} = {value}" for name, value in pattern.parameters)
    return f"{pattern.name}({bound})" if bound else pattern.name
