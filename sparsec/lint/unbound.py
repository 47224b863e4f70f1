"""A pattern's body with something unknown in the place of all that parameters, heads and layers decide.

What is proved of it whatever the unknown parts are is true for every binding of the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sparsec.lower.scope import INTEGERS, Entry, mentions
from sparsec.syntax import ast

_POSITIONS = ("q", "k", "n")
_LARGEST_SEED = 2**31 - 1


class Unbound:
    """Bodies of one definition; equal parts become the same unknown part in all of them."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._own = {parameter.name for parameter in entry.definition.parameters}
        self._unknown: dict[ast.Expr, ast.Expr] = {}
        numbers = {node.value for node in ast.walk(entry.definition) if isinstance(node, ast.Number)}
        self._seeds = (seed for seed in range(_LARGEST_SEED, 0, -1) if seed not in numbers)
        self._varies: dict[str, bool] = {}

    @property
    def possible(self) -> bool:
        """Whether the file leaves the name free with which unknown parts are written."""
        return self._entry.scope.find("random_keys") is None

    def body(self, node: ast.Expr) -> ast.Expr:
        """`node` with a table of its own for each part that is bound from outside."""
        match node:
            case ast.Union(parts):
                return replace(node, parts=tuple(map(self.body, parts)))
            case ast.Binary("&" | "\\", left, right):
                return replace(node, left=self.body(left), right=self.body(right))
            case ast.Unary("~", value):
                return replace(node, value=self.body(value))
        if not any(map(self._is_bound, _names(node))):
            return node
        if node not in self._unknown:
            arguments = (ast.Number(1, span=node.span), ast.Number(next(self._seeds), span=node.span))
            given = tuple(ast.Argument(None, value, span=node.span) for value in arguments)
            self._unknown[node] = ast.Call("random_keys", given, span=node.span)
        return self._unknown[node]

    def _is_bound(self, node: ast.Name | ast.Call) -> bool:
        if isinstance(node, ast.Name) and (node.name in self._own or node.name in INTEGERS):
            return node.name not in _POSITIONS
        if node.name not in self._varies:
            entry = self._entry.scope.find(node.name)
            self._varies[node.name] = entry is not None and bool(set(mentions(entry)) - set(_POSITIONS))
        return self._varies[node.name]


def _names(node: ast.Expr) -> Iterator[ast.Name | ast.Call]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Name | ast.Call))
