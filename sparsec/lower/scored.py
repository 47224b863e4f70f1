"""Where scores stand in a text: which patterns have some, and what a body is without them."""

from __future__ import annotations

from collections.abc import Iterator

from sparsec.lower.scope import INTEGERS, Entry
from sparsec.syntax import ast


def is_scored(entry: Entry) -> bool:
    """Whether a definition is a pattern with scores, its own or those of a pattern that it is."""
    stack, seen = [entry], {entry}
    while stack:
        entry = stack.pop()
        for node in bodies(entry.definition.body) if entry.definition.kind == "pattern" else ():
            if isinstance(node, ast.Scored):
                return True
            other = called(node, entry)
            if other is not None and other not in seen:
                seen.add(other)
                stack.append(other)
    return False


def bodies(node: ast.Expr) -> Iterator[ast.Expr]:
    """A body, or the arms of the `match` that it is; those of its own that have scores as they are."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Match):
            stack += [arm.body for arm in node.arms]
        else:
            yield node


def called(node: ast.Expr, entry: Entry) -> Entry | None:
    """The definition that a body is nothing but a name of."""
    if not isinstance(node, ast.Name | ast.Call):
        return None
    own = {parameter.name for parameter in entry.definition.parameters}
    bare = isinstance(node, ast.Name)
    if bare and (node.name in own or node.name in INTEGERS or entry.scope.input(node.name)):
        return None
    return entry.scope.find(node.name)
