"""Tensors that a mask_mod or score_mod looks up by position, row or head: inputs, by the names that they have there."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import inf
from types import FunctionType, MethodType
from typing import Any

from sparsec.importers import expressions as ex
from sparsec.importers.bounds import Bounds, bounds
from sparsec.importers.computed import Computed, computing
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


@dataclass(frozen=True, slots=True)
class PartOfTable:
    """What the first indices of a table leave of it: `doc[b]`, of which `doc[b][q]` is an entry."""

    table: Any
    indices: tuple[object, ...]


@dataclass
class Tables:
    """The tensors that have been looked up so far, and the input that each becomes."""

    names: dict[int, str]  # of tensors, by id
    computed: Computed = field(default_factory=Computed)
    found: dict[int, ast.Input] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)  # the tensors, so that ids stay theirs
    head: Any = None  # what stands for h where a function is called once for each head

    def look_up(self, table: Any, indices: tuple[object, ...]) -> Value | RealValue | PartOfTable:
        """The entry of a table at the batch index, a head and an integer, in this order, as far as they are there."""
        if len(indices) < len(table.shape):
            return PartOfTable(table, indices)
        rest = list(indices)
        rows = bool(rest) and isinstance(rest[0], Batch)
        rest = rest[1:] if rows else rest
        heads = bool(rest) and self._is_head(rest[0])
        rest = [_as_integer(each) for each in (rest[1:] if heads else rest)]
        if is_scoring() and rest == [number(ex.name("q")), number(ex.name("k"))] and len(indices) == len(table.shape):
            source = self._declared(table, ["B"] * rows + ["H"] * heads + ["n", "n"])
            return RealValue(ast.Index(source.name, (ex.name("q"), ex.name("k")), span=ex.NOWHERE))
        if len(rest) > 1 or len(indices) != len(table.shape):
            raise refusal(
                "a look-up in a table by several positions", "an input has one axis of positions, after rows and heads"
            )
        index = None
        if rest:
            if not isinstance(rest[0], Integer) or len(rest[0].cases) != 1 or self._negative(rest[0].cases[0][1]):
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

    def _negative(self, index: ex.Int) -> bool:
        """Whether an index may be below 0, entries of tensors being what they are now."""
        return bounds(index, self._bounds)[0] < 0

    def _bounds(self, name: str) -> Bounds:
        """The least and the most entry of an input; any, where a tensor has no values, as in a trace."""
        for table in self.kept:
            if self.found[id(table)].name == name:
                try:
                    return int(table.min()), int(table.max())
                except (RuntimeError, TypeError, ValueError):
                    break
        return -inf, inf

    def _is_head(self, index: object) -> bool:
        if isinstance(index, Integer):
            return index.cases == ((True, ex.name("h")),)
        return self.head is not None and index is self.head

    def _declared(self, table: Any, axes: list[str]) -> ast.Input:
        kind = (_KINDS_OF_SCORES if is_scoring() else _KINDS).get(str(table.dtype).rpartition(".")[2])
        if kind is None:
            kinds = "bool, int32, int64 or, in scores, float" if is_scoring() else "bool, int32 or int64"
            raise refusal(f"a look-up in a tensor of {table.dtype}", f"inputs are of {kinds}: convert it")
        table = self.computed.origin(table)
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
        with computing(tables.computed):
            yield tables
    finally:
        _tables.reset(token)


@contextmanager
def at_head(head: object) -> Iterator[None]:
    """While a function is traced for one head, which it is given as this object."""
    tables = _tables.get()
    if tables:
        tables.head = head
    try:
        yield
    finally:
        if tables:
            tables.head = None


def looked_up(table: Any, indices: tuple[object, ...]) -> Value | RealValue | PartOfTable | None:
    """The entry of a table of several entries; None where look-ups are not recorded."""
    tables = _tables.get()
    return tables.look_up(table, indices) if tables and hasattr(table, "dtype") and hasattr(table, "shape") else None


def _as_integer(index: object) -> object:
    """A number from outside as a value."""
    if isinstance(index, Integer | Batch | bool):
        return index
    try:
        return number(operator.index(index))  # type: ignore[arg-type]
    except TypeError:
        return index


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


def _names(f: object, depth: int) -> dict[int, str]:
    """The names of what a function reads, by id; of what functions among that read, too."""
    found: dict[int, str] = {}
    for name, value in _read_by(f).items() if depth else ():
        named = value if isinstance(value, dict) else {}
        for each in value if isinstance(value, tuple | list) else (value,):
            found |= _names(each, depth - 1)
            found.setdefault(id(each), name)
        for key, each in named.items():
            found.setdefault(id(each), str(key))
    return found


def _read_by(f: object) -> dict[str, Any]:
    """What a function finds by a name in its module, its closure and its defaults, or in the object that it is of."""
    own: dict[str, Any] = {}
    if isinstance(f, functools.partial):
        own = dict(zip(_parameters(f.func), f.args, strict=False)) | f.keywords | {"func": f.func}
    elif isinstance(f, MethodType):
        own = getattr(f.__self__, "__dict__", {}) | {"func": f.__func__}
    elif isinstance(f, FunctionType):
        own = {name: f.__globals__[name] for name in f.__code__.co_names if name in f.__globals__}
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            try:
                own[name] = cell.cell_contents
            except ValueError:  # not filled yet
                continue
        own |= dict(zip(_parameters(f)[::-1], (f.__defaults__ or ())[::-1], strict=False)) | (f.__kwdefaults__ or {})
    elif isinstance(called := getattr(f, "__call__", None), MethodType):  # noqa: B004  an object that is called
        own = _read_by(called)
    return own


def _parameters(f: object) -> tuple[str, ...]:
    """The names of a function's positional parameters."""
    code = getattr(f, "__code__", None)
    return code.co_varnames[: code.co_argcount] if code else ()
