"""What the masks of a pattern are divided into by colour: the operands of its union as written, with their sets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sparsec.cli.options import Choice
from sparsec.diagnostics import SparsecError

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern
    from sparsec.show.page import Operands
    from sparsec.syntax import ast

_LABEL = 48  # longest name of an operand in the legend
_MOST = 24  # operands told apart; no more colours can be


def operands_of(file: ast.File, pattern: Pattern, chosen: Choice) -> list[Operands]:
    """For each condition of the pattern, the operands of its union, or of that in its arm of a `match`.

    Where they are many, the last ones stand together.
    """
    from sparsec.ir.algebra import disjunction
    from sparsec.ir.nodes import FALSE

    found: list[Operands] = []
    for index, condition in enumerate(pattern.conditions):
        head = pattern.head_conditions.index(index) if pattern.head_conditions else 0
        parts = [(words, part) for words, part in of_head(file, pattern, chosen, head) if part != FALSE]
        if len(parts) > _MOST:
            rest = [part for _, part in parts[_MOST - 1 :]]
            parts = [*parts[: _MOST - 1], (f"{len(rest)} others", disjunction(*rest))]
        found.append(parts if len(parts) > 1 else [("", condition)])
    return found


def of_head(file: ast.File, pattern: Pattern, chosen: Choice, head: int) -> Operands:
    """Every operand as written, and what it is for one head, FALSE for those of other arms of a `match`."""
    from sparsec.ir.nodes import FALSE
    from sparsec.syntax.operands import operands

    definition = next(d for d in file.definitions if d.name == pattern.name)
    found = []
    for part, alone in operands(definition.body):
        only = _alone(file, definition, alone, chosen)
        index = only.head_conditions[head] if only and only.head_conditions else 0
        found.append((label(part), only.conditions[index] if only else FALSE))
    return found


def label(part: ast.Expr) -> str:
    """An operand as written, on one line."""
    text = " ".join(part.span.text.split())
    return text if len(text) <= _LABEL else text[: _LABEL - 3] + "..."


def _alone(file: ast.File, definition: ast.Definition, body: ast.Expr, chosen: Choice) -> Pattern | None:
    """The pattern as if `body` were all of it, or None where that keeps no pair for any head."""
    from sparsec.lower.file import lower

    changed = replace(definition, body=body)
    declarations = tuple(changed if each is definition else each for each in file.declarations)
    try:
        return lower(replace(file, declarations=declarations), **chosen.keywords)
    except SparsecError:
        return None
