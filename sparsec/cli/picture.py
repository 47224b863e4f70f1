"""What `sparsec show` draws, and where it goes."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sparsec.cli.inputs import shown
from sparsec.cli.options import Choice
from sparsec.cli.output import write
from sparsec.diagnostics import SparsecError, printable

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern, Set
    from sparsec.show import View
    from sparsec.show.page import Operands
    from sparsec.syntax import ast

_LABEL = 48  # longest name of an operand in the legend
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


def divided(file: str, chosen: Choice) -> Masks:
    """The pattern, and for each of its conditions the operands of the union as written, with their sets."""
    tree, lowered = chosen.load(file)
    return Masks(lowered.pattern, _operands(tree, lowered.pattern, chosen))


def by_head(file: str, chosen: Choice) -> Masks:
    """The pattern with a condition for every head, also where heads are alike."""
    masks = divided(file, chosen)
    heads = masks.pattern.head_conditions or (0,)
    return _grid(masks.pattern, [(f"head {head}", *_at(masks, index)) for head, index in enumerate(heads)])


def by_layer(file: str, chosen: Choice) -> Masks:
    """The pattern with a condition for every layer, and in it for all heads that are alike.  BadParameter."""
    from sparsec.ir.lower import lower
    from sparsec.show.page import heading

    if chosen.layers is None:
        raise typer.BadParameter("how many?  Add --layers L", param_hint="--grid")
    if not 1 <= chosen.layers <= _PANELS:
        raise typer.BadParameter(f"a grid has at most {_PANELS} masks", param_hint="--layers")
    tree, first = replace(chosen, layer=0).load(file)
    panels = []
    for layer in range(chosen.layers):
        here = replace(chosen, layer=layer)
        pattern = lower(tree, **here.keywords) if layer else first.pattern
        masks = Masks(pattern, _operands(tree, pattern, here))
        for index in range(len(masks.pattern.conditions)):
            words = filter(None, (f"layer {layer}", heading(masks.pattern, index)))
            panels.append((", ".join(words), *_at(masks, index)))
    return _grid(first.pattern, panels)


def _at(masks: Masks, index: int) -> tuple[Set, Operands]:
    return masks.pattern.conditions[index], masks.operands[index]


def _grid(pattern: Pattern, panels: list[tuple[str, Set, Operands]]) -> Masks:
    """About as many rows as columns.  BadParameter for more masks than can be told apart."""
    if len(panels) > _PANELS:
        raise typer.BadParameter(f"{len(panels)} masks, and a grid has at most {_PANELS}", param_hint="--grid")
    headings, conditions, operands = map(list, zip(*panels, strict=True))
    drawn = replace(pattern, conditions=tuple(conditions), head_conditions=())
    return Masks(drawn, operands, headings, math.isqrt(len(panels) - 1) + 1)


def difference(file: str, other: str, chosen: Choice) -> Masks:
    """Two patterns as one, a condition for each pair of theirs, divided into what only A, only B and both keep."""
    from sparsec.cli.diff import sides_of
    from sparsec.ir.lower_fold import complement, conjunction, disjunction

    a, b = (side.pattern for side in sides_of((file, other), (chosen.pattern, chosen.pattern), chosen))
    heads = [pattern.head_conditions or (0,) * (b.heads or a.heads or 1) for pattern in (a, b)]
    pairs = list(zip(*heads, strict=True))
    distinct = list(dict.fromkeys(pairs))
    names = f"only in {printable(shown(file))}", f"only in {printable(shown(other))}", "in both"
    conditions, operands = [], []
    for x, y in ((a.conditions[i], b.conditions[j]) for i, j in distinct):
        conditions.append(disjunction(x, y))
        sets = conjunction(x, complement(y)), conjunction(y, complement(x)), conjunction(x, y)
        operands.append(list(zip(names, sets, strict=True)))
    indices = tuple(map(distinct.index, pairs)) if a.heads or b.heads else ()
    merged = replace(
        a, name=f"{title(a)} and {title(b)}", parameters=(), conditions=tuple(conditions), head_conditions=indices
    )
    return Masks(merged, operands, compared=True)


def html_of(name: str, chosen: Choice, n: int, view: View, tile: int | None) -> str:
    """The page of a pattern; `chosen` says where its sliders stand at first."""
    from sparsec.ir.lower import check_names
    from sparsec.ir.lower_graph import mentions
    from sparsec.ir.lower_open import open_operands
    from sparsec.show.html import Operand, Subject, html

    file, lowered = chosen.load(name)
    entry = check_names(file).own[lowered.pattern.name]
    bound = {"h": 0, "H": chosen.heads, "layer": chosen.layer, "L": chosen.layers}
    used = set(mentions(entry))
    used |= {"H"} if "h" in used else set()
    names = {"n": n, **dict(lowered.pattern.parameters)}
    names |= {each: value for each, value in bound.items() if each in used and value is not None}
    operands = tuple(Operand(_label(part), node) for part, node in open_operands(entry))
    pattern = lowered.pattern
    return html(Subject(pattern.name, pattern.doc, pattern.text, names, operands), view, tile)


def title(pattern: Pattern) -> str:
    bound = ", ".join(f"{name} = {value}" for name, value in pattern.parameters)
    return f"{pattern.name}({bound})" if bound else pattern.name


def _operands(file: ast.File, pattern: Pattern, chosen: Choice) -> list[Operands]:
    """For each condition of the pattern, the operands of its top-level union as written, with their sets."""
    from sparsec.syntax import ast

    definition = next(d for d in file.definitions if d.name == pattern.name)
    written = definition.body.parts if isinstance(definition.body, ast.Union) else ()
    alone = [(_label(part), _alone(file, definition, part, chosen)) for part in written]
    found = []
    for index, condition in enumerate(pattern.conditions):
        head = pattern.head_conditions.index(index) if pattern.head_conditions else 0
        parts = [(label, _of_head(part, head)) for label, part in alone if part is not None]
        found.append(parts or [("", condition)])
    return found


def _alone(file: ast.File, definition: ast.Definition, part: ast.Expr, chosen: Choice) -> Pattern | None:
    """The pattern as if `part` were all of it, or None where that keeps no pair for any head."""
    from sparsec.ir.lower import lower

    changed = replace(definition, body=part)
    declarations = tuple(changed if each is definition else each for each in file.declarations)
    try:
        return lower(replace(file, declarations=declarations), **chosen.keywords)
    except SparsecError:
        return None


def _of_head(pattern: Pattern, head: int) -> Set:
    return pattern.conditions[pattern.head_conditions[head] if pattern.head_conditions else 0]


def _label(part: ast.Expr) -> str:
    text = printable(" ".join(part.span.text.split()))
    return text if len(text) <= _LABEL else text[: _LABEL - 3] + "..."
