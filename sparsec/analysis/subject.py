"""A pattern of a file as something to change: with another body, another number."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sparsec.analysis.needless import Lower
from sparsec.diagnostics import SparsecError
from sparsec.ir import nodes as ir
from sparsec.source import Source
from sparsec.syntax import ast
from sparsec.syntax.parse import parse


@dataclass(frozen=True)
class Subject:
    """A pattern of a file."""

    file: ast.File
    definition: ast.Definition
    pattern: ir.Pattern
    lower: Lower

    def changed(self, definition: ast.Definition) -> ir.Pattern | None:
        """The pattern with another declaration; None where that is no pattern."""
        declarations = tuple(definition if each is self.definition else each for each in self.file.declarations)
        try:
            return self.lower(replace(self.file, declarations=declarations))
        except SparsecError:
            return None

    def with_body(self, body: ast.Expr) -> ir.Pattern | None:
        """The pattern with another body."""
        return self.changed(replace(self.definition, body=body))

    def joined(self, op: str, text: str) -> ir.Pattern | None:
        """The pattern with `| text` or `& text` after its body in brackets."""
        (other,) = parse(Source("cure", f"pattern cure = {text}\n")).definitions
        parts = self.definition.body, other.body
        return self.with_body(
            ast.Union(parts, span=other.span) if op == "|" else ast.Binary(op, *parts, span=other.span)
        )
