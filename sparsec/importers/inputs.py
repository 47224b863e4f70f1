"""Tensors that a mask_mod or score_mod looks up by position, row or head: inputs, by the names that they have there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from sparsec.importers import expressions as ex
from sparsec.importers.reals import RealValue, is_scoring
from sparsec.importers.refusal import refusal
from sparsec.importers.values import Condition, Integer, Value, number
from sparsec.lower.inputs import taken
from sparsec.syntax import ast

_KINDS = {"bool": "bool", "int32": "int", "int64": "int"}
_KINDS_OF_SCORES = _KINDS | dict.fromkeys(("float16", "bfloat16", "float32", "float64"), "float")
_DEEP = 8  # functions in the closures of functions


class Batch:
    """The batch index, on which nothing may depend but look-ups."""


@dataclass
class Tables:
    """The tensors that have been looked up so far, and the input that each becomes."""

    names: dict[int, str]  # of tensors, by id
    found: dict[int, ast.Input] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)  # the tensors, so that ids stay theirs

    def look_up(self, table: Any, indices: tuple[object, ...]) -> Value | RealValue:
        """The entry of a table at the batch index, a head and an integer, in this order, as far as they are there."""
        rest = list(indices)
        rows = bool(rest) and isinstance(rest[0], Batch)
        rest = rest[1:] if rows else rest
        heads = bool(rest) and isinstance(rest[0], Integer) and rest[0].cases == ((True, ex.name("h")),)
        rest = rest[1:] if heads else rest
        if is_scoring() and rest == [number(ex.name("q")), number(ex.name("k"))] and len(indices) == len(table.shape):
            source = self._declared(table, ["B"] * rows + ["H"] * heads + ["n", "n"])
            return RealValue(ast.Index(source.name, (ex.name("q"), ex.name("k")), span=ex.NOWHERE))
        if len(rest) > 1 or len(indices) != len(table.shape):
            raise refusal(
                "a look-up in a table by several positions", "an input has one axis of positions, after rows and heads"
            )
        index = None
        if rest:
            if not isinstance(rest[0], Integer) or len(rest[0].cases) != 1 or not _never_negative(rest[0].cases[0][1]):
                raise refusal(
                    "a look-up in a table where the index may be negative",
                    "there the tensor is read from its end; `.clamp(min=0)` or `.abs()` make one that is not",
                )
            index = rest[0].cases[0][1]
        axes = ["B"] * rows + ["H"] * heads + ([] if index is None else [_axis(index)])
        source = self._declared(table, axes)
        own = () if index is None else (ex.node(index),)
        read: ast.Expr = ex.name(source.name) if not own else ast.Index(source.name, own, span=ex.NOWHERE)
        if source.kind == "float":
            return RealValue(read)
        return Condition(read) if source.kind == "bool" else number(read)

    def _declared(self, table: Any, axes: list[str]) -> ast.Input:
        kind = (_KINDS_OF_SCORES if is_scoring() else _KINDS).get(str(table.dtype).rpartition(".")[2])
        if kind is None:
            kinds = "bool, int32, int64 or, in scores, float" if is_scoring() else "bool, int32 or int64"
            raise refusal(f"a look-up in a tensor of {table.dtype}", f"inputs are of {kinds}: convert it")
        known = self.found.get(id(table))
        if known is None:
            self.kept.append(table)
            name = self._free(self.names.get(id(table), "table"))
        else:
            name, axes = known.name, _joined(known, axes)
        parts, here = tuple(map(ex.name, axes)), ex.NOWHERE
        self.found[id(table)] = made = ast.Input(name, kind, parts, name_span=here, kind_span=here, span=here)
        return made

    def _free(self, name: str) -> str:
        """The name, or one like it that no other input has and an input may have."""
        used = {each.name for each in self.found.values()}
        name = name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else "table"
        tried, count = name, 1
        while tried in used or taken(tried):
            count += 1
            tried = f"{name}_{count}"
        return tried


_tables: ContextVar[Tables | None] = ContextVar("tables", default=None)


@contextmanager
def recording(*functions: Callable) -> Iterator[Tables]:
    """While functions are traced: their look-ups become inputs."""
    tables = Tables({key: name for f in functions for key, name in _names(f, _DEEP).items()})
    token = _tables.set(tables)
    try:
        yield tables
    finally:
        _tables.reset(token)


def looked_up(table: Any, indices: tuple[object, ...]) -> Value | RealValue | None:
    """The entry of a table of several entries; None where look-ups are not recorded."""
    tables = _tables.get()
    return tables.look_up(table, indices) if tables and hasattr(table, "dtype") and hasattr(table, "shape") else None


def _axis(index: ex.Int) -> str:
    """Along positions where a position itself is the index, else along a list."""
    return "n" if isinstance(index, ast.Name) and index.name in ("q", "k") else "entries"


def _joined(known: ast.Input, axes: list[str]) -> list[str]:
    """The axes of an input that is read once more: a list that is read by a position is one along positions."""
    before = [axis.name for axis in known.axes if isinstance(axis, ast.Name)]
    along = {"n", "entries"}
    if before[:-1] == axes[:-1] and {before[-1], axes[-1]} <= along:
        return [*axes[:-1], "n" if "n" in (before[-1], axes[-1]) else "entries"]
    if before != axes:
        raise refusal(f"look-ups in `{known.name}` along other axes", "an input has the same axes wherever it is read")
    return axes


def _never_negative(index: ex.Int) -> bool:
    match index:
        case int():
            return index >= 0
        case ast.Number() | ast.Name("q" | "k" | "n" | "h" | "H"):
            return True
        case ast.Binary("%", _, ast.Number()):
            return True
        case ast.Binary("+" | "*" | "//", left, right):
            return _never_negative(left) and _never_negative(right)
        case ast.Call("abs"):
            return True
        case ast.Call("max", arguments):
            return any(_never_negative(each.value) for each in arguments)
    return False


def _names(f: object, depth: int) -> dict[int, str]:
    """The names of what a function captures and of its module's, by id; of functions in its closure, too."""
    if not isinstance(f, FunctionType) or not depth:
        return {}
    own = {name: f.__globals__[name] for name in f.__code__.co_names if name in f.__globals__}
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        try:
            own[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    found: dict[int, str] = {}
    for name, value in own.items():
        for each in value if isinstance(value, tuple | list) else (value,):
            found |= _names(each, depth - 1)
            found.setdefault(id(each), name)
    return found
