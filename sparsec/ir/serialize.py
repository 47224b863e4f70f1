"""Pattern <-> lists of numbers and strings, so that a cached operator knows its pattern without a parser.

JSON and not pickle: what is read back is data and can be nothing else.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

from sparsec.ir import nodes as ir
from sparsec.ir import scores
from sparsec.ir.chosen import Chooser
from sparsec.ir.inputs import Input

_NODES = ir.Pattern | Input | Chooser | ir.Node | ir.Test | scores.Real
_SORTS = *get_args(ir.Int), *get_args(ir.Set), *get_args(scores.Real)
_OTHERS = ir.Pattern, Input, *get_args(Chooser), ir.ElementOf, ir.Chosen, ir.Grouped
_KINDS = {kind.__name__: kind for kind in (*_OTHERS, *_SORTS)}


def pack(value: object) -> Any:
    """Data for JSON: a node as [its kind, its fields]; a tuple as ["", its items]."""
    match value:
        case tuple():
            return ["", *map(pack, value)]
        case bool() | int() | float() | str() | None:
            return value
    assert isinstance(value, _NODES), value
    return [type(value).__name__, *(pack(getattr(value, field.name)) for field in fields(value))]


def unpack(value: object) -> object:
    """The inverse of `pack`."""
    if not isinstance(value, list):
        return value
    name, *items = value
    return tuple(map(unpack, items)) if name == "" else _KINDS[name](*map(unpack, items))
