"""A pattern of a file as something to change, and what it is bound to: with another body, another number, layer."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar, Unpack

from sparsec.diagnostics import SparsecError
from sparsec.ir import nodes as ir
from sparsec.lower.file import Keywords, check_changed, lower
from sparsec.lower.scope import Entry, Scope, binding, mentions, used_parameters
from sparsec.source import Source
from sparsec.syntax import ast
from sparsec.syntax.parse import parse

Node = TypeVar("Node", bound=ast.Syntax)


@dataclass(frozen=True)
class Lower:
    """The names of a file -> the pattern that is looked at.

    `chosen` are the keywords of `sparsec.lower.file.lower`, `alike` the layers that have the pattern of the chosen one.
    """

    chosen: Keywords = field(default_factory=Keywords)
    alike: tuple[int, ...] = ()

    def __call__(self, scope: Scope, **others: Unpack[Keywords]) -> ir.Pattern:
        """The pattern, with other values of some keywords.  SparsecError where there is none."""
        keywords: Keywords = {**self.chosen, **others}
        return lower(scope, **keywords)

    @property
    def counts(self) -> dict[str, int]:
        """H, L and layer as far as they are given."""
        given = {"H": self.chosen.get("heads"), "L": self.chosen.get("layers"), "layer": self.chosen.get("layer")}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Subject:
    """A pattern of a file: its definition with the scope that its names are read in, and what it is bound to."""

    entry: Entry
    pattern: ir.Pattern
    lower: Lower

    @property
    def definition(self) -> ast.Definition:
        return self.entry.definition

    @cached_property
    def varies(self) -> frozenset[str]:
        """Which of h, H, layer and L the text depends on: each head or layer is bound to another pattern."""
        return frozenset(mentions(self.entry)) & {"h", "H", "layer", "L"}

    @property
    def is_open(self) -> bool:
        """Whether other parameters, heads or layers make another pattern of the text."""
        return bool(self.varies or used_parameters(self.definition))

    def where(self, condition: ir.Set | None = None) -> str:
        """What a claim about the pattern, or about one of its conditions, holds for; empty where it holds for all."""
        head = None
        if condition is not None and self.pattern.head_conditions:
            head = self.pattern.head_conditions.index(self.pattern.conditions.index(condition))
        return binding(self.entry, dict(self.pattern.parameters), self.lower.counts, head, self.lower.alike)

    def scope_with(self, body: ast.Expr) -> Scope:
        """The names of the file, its pattern with another body.  SparsecError where that is none."""
        return check_changed(self.entry.scope, replace(self.definition, body=body))

    def changed(self, definition: ast.Definition) -> ir.Pattern | None:
        """The pattern with another declaration; None where that is no pattern."""
        try:
            return self.lower(check_changed(self.entry.scope, definition))
        except SparsecError:
            return None

    def with_body(self, body: ast.Expr) -> ir.Pattern | None:
        """The pattern with another body."""
        return self.changed(replace(self.definition, body=body))

    def joined(self, op: str, text: str) -> ir.Pattern | None:
        """The pattern with `| text` or `& text` after its body in brackets."""
        return self.with_body(joined(self.definition.body, op, text))


def joined(body: ast.Expr, op: str, text: str) -> ast.Expr:
    """`(body) | text` or `(body) & text`."""
    (other,) = parse(Source("cure", f"pattern cure = {text}\n")).definitions
    parts = body, other.body
    return ast.Union(parts, span=other.span) if op == "|" else ast.Binary(op, *parts, span=other.span)


def put(definition: ast.Definition, old: ast.Expr, new: ast.Expr) -> ast.Definition:
    """The definition with `new` in place of the one node `old`."""

    def inner(value: Any) -> Any:  # what a field of a node holds
        if value is old:
            return new
        if isinstance(value, tuple):
            return tuple(map(inner, value))
        return fields_changed(value) if isinstance(value, ast.Syntax) else value

    def fields_changed(node: Node) -> Node:
        changed: dict[str, Any] = {each.name: inner(getattr(node, each.name)) for each in fields(node)}
        return replace(node, **changed)

    return fields_changed(definition)
