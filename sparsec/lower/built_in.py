"""What a call of a built-in name stands for: functions of integers, tables, and sets that are chosen by content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.ir.nodes import Int, Node
from sparsec.lower.inputs import selected
from sparsec.lower.signatures import FUNCTIONS, MAX_NUMBER, PRIMITIVES, Signature, bind
from sparsec.lower.tables import Rows, table_rows
from sparsec.syntax import ast

if TYPE_CHECKING:
    from sparsec.lower.conditions import Evaluation, Frame

_MAX_COUNT = 65_536  # blocks or keys of one row
_SIZES = {"b": (1, MAX_NUMBER), "r": (1, _MAX_COUNT), "seed": (0, MAX_NUMBER)}


def built_in(evaluation: Evaluation, signature: Signature, node: ast.Call, frame: Frame) -> Node | None:
    """What a call is; None after an error."""
    bound = bind(signature, node.arguments, node.span)
    assert not isinstance(bound, Diagnostic)  # `sorts` has reported it
    if signature.sort == "int":
        values = [evaluation.integer(argument, frame) for argument in bound.values()]
        return _made_of(signature, values)
    if signature.name == "selected":
        (argument,) = bound.values()
        assert isinstance(argument, ast.Name)  # `sorts` has refused others
        source = frame.entry.scope.input(argument.name)
        assert source is not None
        return selected(source)
    given: list[int | Rows | None] = []
    for name, argument in bound.items():
        if name == "table":
            given.append(_table(evaluation, argument, frame))
        else:
            what = f"`{name}` of `{signature.name}`"
            given.append(size_of(evaluation, argument, what, *_SIZES[name], frame))
    return PRIMITIVES[signature.name](*given) if None not in given else None


def _made_of(signature: Signature, values: list[Int | None]) -> Node | None:
    known = [value for value in values if value is not None]
    return FUNCTIONS[signature.name](*known) if len(known) == len(values) else None


def _table(evaluation: Evaluation, node: ast.Expr, frame: Frame) -> Rows | None:
    try:
        rows = table_rows(node, lambda item: evaluation.constant(item, frame, "an entry of a table"))
    except SparsecError as error:
        return evaluation.errors.extend(error.diagnostics)
    return evaluation.error(rows) if isinstance(rows, Diagnostic) else rows


def size_of(evaluation: Evaluation, node: ast.Expr, what: str, least: int, most: int, frame: Frame) -> int | None:
    """A constant within bounds; None after an error."""
    value = evaluation.constant(node, frame, what)
    if value is not None and not least <= value <= most:
        span = evaluation.place(node.span, frame)
        return evaluation.error(say.BadSize(what=what, least=least, most=most, value=value, span=span))
    return value
