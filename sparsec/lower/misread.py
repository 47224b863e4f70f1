"""Unions that are legal, and that many read otherwise than they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sparsec.diagnostics import CausalOnOneSide, Diagnostic, Fix, UnionThenWithout
from sparsec.ir.nodes import FALSE, And, Bool, Compare, Const, Or, RandomBlocks, Set, Sub, Var
from sparsec.syntax import ast


def lint_union(node: ast.Union, values: Sequence[Set], value: Callable[[ast.Expr], Set | None]) -> list[Diagnostic]:
    """Warnings for a union whose parts have the given values."""
    found: list[Diagnostic] = []
    for number, part in enumerate(node.parts):
        if not isinstance(part, ast.Binary) or _in_brackets(part) or values[number] == FALSE:
            continue  # an empty part belongs to other heads
        others = [other for i, other in enumerate(values) if i != number]
        if part.op == "\\" and number > 0:
            fix = Fix("write brackets around this part", part.span, f"({part.span.text})", safe=True)
            found.append(UnionThenWithout(taken=part.right.span.text, span=part.span, fixes=(fix,)))
        elif part.op == "&" and not all(map(past_only, others)):
            guards = [term for term in _terms(part) if value(term) in _CAUSAL]
            fix = Fix("write brackets around this part", part.span, f"({part.span.text})", safe=True)
            found += [
                CausalOnOneSide(guard=guard.span.text, span=guard.span, fixes=(*_for_all(node, guard), fix))
                for guard in guards[:1]
            ]
    return found


def _for_all(node: ast.Union, guard: ast.Expr) -> tuple[Fix, ...]:
    """`a & b | c` -> `a & (b | c)`, where the union begins with the guard `a`, without brackets around it."""
    text, start = node.span.source.text, node.span.start
    behind = re.match(r"\s*&\s*", text[guard.span.end : node.span.end])
    if guard.span.start != start or behind is None:
        return ()
    rest = text[guard.span.end + behind.end() : node.span.end]
    return (Fix("restrict all of the union", node.span, f"{guard.span.text} & ({rest})"),)


_CAUSAL = (Compare(Var("k"), "<=", Var("q")), Compare(Var("q"), ">=", Var("k")))


def _terms(node: ast.Expr) -> list[ast.Expr]:
    """The operands of `a & b & c`."""
    if isinstance(node, ast.Binary) and node.op == "&":
        return [*_terms(node.left), node.right]
    return [node]


def _in_brackets(node: ast.Expr) -> bool:
    """Did the writer say `(a & b) | c`?"""
    text = node.span.source.text
    return _CLOSES.match(text, node.span.end) is not None and _code_before(text, node.span.start).endswith("(")


_CLOSES = re.compile(r"(?:\s|#[^\n]*)*\)")


def _code_before(text: str, end: int) -> str:
    """The line that ends at `end`, or the last one before it that holds more than blanks and comments."""
    while True:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end].partition("#")[0].rstrip()
        if line or start == 0:
            return line
        end = start - 1


def past_only(condition: Set) -> bool:
    """Does the condition say outright that no key lies after its query?"""
    match condition:
        case Bool(value):
            return not value
        case And(parts):
            return any(map(past_only, parts))
        case Or(parts):
            return all(map(past_only, parts))
        case Compare(Var("k"), "<=" | "<" | "==", Var("q")) | Compare(Var("q"), ">=" | ">" | "==", Var("k")):
            return True
        case Compare(Const(least), "<=" | "<", Sub(Var("q"), Var("k"))):
            return least >= 0
        case Compare(Sub(Var("q"), Var("k")), ">=" | ">", Const(least)):
            return least >= 0
        case RandomBlocks(size=1, past=True):
            return True
    return False
