"""`relative(table, far)`, a score: a number for each distance, those of `far` and more alike, is added to s.

It is written out as `s + table[min(max(k - q, -far), far) + far]`, so that all else knows nothing of it.
"""

from __future__ import annotations

from sparsec.diagnostics import Diagnostic
from sparsec.lower.scope import Entry
from sparsec.lower.signatures import BUILT_IN, bind
from sparsec.syntax import ast

RELATIVE = "relative"


def is_relative(node: ast.Expr, entry: Entry | None) -> bool:
    """Whether a name or call is that of the built-in score; `entry`: the definition that has the name, if one has."""
    return entry is None and isinstance(node, ast.Name | ast.Call) and node.name == RELATIVE


def written_out(node: ast.Name | ast.Call) -> ast.Expr | Diagnostic:
    """The score as text would have it; what is wrong with the arguments."""
    arguments = node.arguments if isinstance(node, ast.Call) else ()
    bound = bind(BUILT_IN[RELATIVE], arguments, node.span)
    if isinstance(bound, Diagnostic):
        return bound
    table, far = bound["table"], bound["far"]
    name = table.name if isinstance(table, ast.Name) else ""

    def call(function: str, *values: ast.Expr) -> ast.Expr:
        return ast.Call(function, tuple(ast.Argument(None, value, span=node.span) for value in values), span=node.span)

    ahead = ast.Binary("-", ast.Name("k", span=node.span), ast.Name("q", span=node.span), span=node.span)
    least = call("max", ahead, ast.Unary("-", far, span=node.span))
    index = ast.Binary("+", call("min", least, far), far, span=node.span)
    return ast.Binary("+", ast.Name("s", span=node.span), ast.Index(name, (index,), span=table.span), span=node.span)
