"""Inputs, data given at the call: what their declarations may say, and how each is read.

input doc: int[n]          doc[q], doc[k], doc[any integer]      one entry for each position
input w: int[H]            w, w[h]                               the head's own
input prefix: int[B]       prefix                                the row's own
input v: int[H, t]         v[i], v[h, i]; k in v, k in v[h]      a list
input s: blocks[64, 64, t] selected(s)                           t key blocks of 64 for each block of 64 queries
input s: keys[t]           selected(s)                           t keys for each query
"""

from __future__ import annotations

from collections.abc import Sequence

from sparsec.diagnostics import BadInput, Diagnostic, NotChosen, ReservedName, WrongIndex
from sparsec.ir import algebra
from sparsec.ir.chosen import Chosen
from sparsec.ir.inputs import CHOSEN_AXES, Input
from sparsec.ir.nodes import Const, DataTest, Int, Node, Read, Set
from sparsec.lower.signatures import MAX_NUMBER
from sparsec.syntax import ast
from sparsec.syntax.errors.explain import KEYWORDS

KINDS = ("bool", "int")
CHOSEN_KINDS = {"blocks": 3, "keys": 1}  # and how many numbers and names their brackets hold
_NO_AXES = ("q", "k", "h", "L", "layer")
_OF_THE_CALL = (
    *("v", "scale", "q_offset", "k_offset", "documents", "lengths", "q_lengths", "return_lse"),
    *("sinks", "dropout_p", "generator", "dropout_seed", "seed"),
    *("self", "n_q", "n_k", "device"),  # of the methods that take inputs by name, too
)
_FLOATS = "scores read no tensors in this version: they are made of `s`, positions, the head and numbers"
_KINDS = {
    "float": _FLOATS,
    "float32": _FLOATS,
    "half": _FLOATS,
    "double": _FLOATS,
    "long": "write `int`: tensors of int32 and of int64 are taken",
    "int32": "write `int`: tensors of int32 and of int64 are taken",
    "int64": "write `int`: tensors of int32 and of int64 are taken",
    "integer": "write `int`",
    "boolean": "write `bool`",
    "mask": "write `bool`",
}
_ORDER = "axes are those it has of `B`, then of `H`, and then `n` or the name of a list's length"


def declared(node: ast.Input) -> Input:
    """The input of a declaration without problems."""
    if node.kind in CHOSEN_KINDS:
        *sizes, count = node.axes
        rows, size = [each.value for each in sizes if isinstance(each, ast.Number)] or (1, 1)
        axes = *CHOSEN_AXES, str(count.value) if isinstance(count, ast.Number) else count.span.text
        return Input(node.name, "blocks" if node.kind == "blocks" else "keys", axes, node.span.line, (rows, size))
    return Input(node.name, "bool" if node.kind == "bool" else "int", _axes(node), node.span.line)


def taken(name: str) -> bool:
    """Whether an input can't have a name, whatever else a file declares."""
    return name in _OF_THE_CALL or name in (*KEYWORDS, "q", "k", "n", "h", "H", "layer", "L")


def problems(node: ast.Input, integers: Sequence[str]) -> list[Diagnostic]:
    """What is wrong with a declaration alone; `integers` are the names that every condition starts from."""
    found: list[Diagnostic] = []
    if node.name in integers:
        hint = f"`{node.name}` has a meaning everywhere; choose another name"
        found.append(ReservedName(name=node.name, why="an input", hint=hint, span=node.name_span))
    elif node.name in _OF_THE_CALL:
        hint = f"a call has an argument `{node.name}`, and inputs are given by keyword; choose another name"
        found.append(ReservedName(name=node.name, why="an input", hint=hint, span=node.name_span))
    if node.kind in CHOSEN_KINDS:
        return found + _wrong_lists(node)
    if node.kind not in KINDS:
        hint = _KINDS.get(node.kind, "write `bool` or `int`, `blocks[b, b, t]` or `keys[t]`")
        problem = f"an input is of bool or int, or of blocks or keys that are chosen, not of {node.kind}"
        found.append(BadInput(problem=problem, hint=hint, span=node.kind_span))
    return found + _wrong_axes(node)


def _wrong_axes(node: ast.Input) -> list[Diagnostic]:
    for axis in node.axes:
        if not isinstance(axis, ast.Name) or axis.name in _NO_AXES:
            problem = f"`{axis.span.brief}` is not an axis"
            return [BadInput(problem=problem, hint=_ORDER, span=axis.span)]
    ranks = [{"B": 0, "H": 1}.get(axis, 2) for axis in _axes(node)]
    for number, axis in enumerate(node.axes):
        if number and ranks[number] <= ranks[number - 1]:
            twice = ranks[number] == ranks[number - 1]
            problem = "an input has one entry for each position, or a list" if twice else "axes in another order"
            return [BadInput(problem=problem, hint=_ORDER, span=axis.span)]
    return []


def _wrong_lists(node: ast.Input) -> list[Diagnostic]:
    """What is wrong with the brackets of chosen blocks or keys."""
    form = "blocks[64, 64, t]" if node.kind == "blocks" else "keys[t]"
    hint = f"write `input {node.name}: {form}`: " + (
        "the queries of a block, the keys of a block, and a name for how many are chosen, or their number"
        if node.kind == "blocks"
        else "a name for how many are chosen for each query, or their number"
    )
    if len(node.axes) != CHOSEN_KINDS[node.kind]:
        problem = f"chosen {node.kind} are declared with {CHOSEN_KINDS[node.kind]} in brackets, not {len(node.axes)}"
        return [BadInput(problem=problem, hint=hint, span=node.kind_span)]
    *sizes, count = node.axes
    for size in sizes:
        if not isinstance(size, ast.Number) or not 1 <= size.value <= MAX_NUMBER:
            problem = f"`{size.span.brief}` is no size of a block"
            return [BadInput(problem=problem, hint=hint, span=size.span)]
    if isinstance(count, ast.Number):
        wrong = not 1 <= count.value <= MAX_NUMBER
    else:
        wrong = not isinstance(count, ast.Name) or count.name in (*_NO_AXES, "B", "H", "n")
    problem = f"`{count.span.brief}` can't stand for how many are chosen"
    return [BadInput(problem=problem, hint=hint, span=count.span)] if wrong else []


def _axes(node: ast.Input) -> tuple[str, ...]:
    return tuple(axis.name for axis in node.axes if isinstance(axis, ast.Name))


# ---------------------------------------------------------------- reading


def own_indices(node: ast.Name | ast.Index, source: ast.Input) -> tuple[ast.Expr, ...]:
    """The indices of a read without the head's own `h`, which an input with heads may have first."""
    indices = node.indices if isinstance(node, ast.Index) else ()
    return indices[1:] if names_head(node, source) else indices


def names_head(node: ast.Name | ast.Index, source: ast.Input) -> bool:
    """Whether a read begins with the `h` of an input that has heads: it says nothing new."""
    first = node.indices[0] if isinstance(node, ast.Index) else None
    return "H" in _axes(source) and isinstance(first, ast.Name) and first.name == "h"


def wrong_index(node: ast.Name | ast.Index, source: ast.Input, listed: bool = False) -> Diagnostic | None:
    """What is wrong with a read; `listed`: behind `in`, where all entries are meant."""
    made = declared(source)
    if made.is_chosen:
        hint = f"write `selected({made.name})`, the set of all pairs that it lists"
        return WrongIndex(name=made.name, declared=f"{made}", line=made.line, hint=hint, span=node.span)
    given = len(own_indices(node, source))
    if given == (made.has_entries and not listed) and not (listed and (made.kind == "bool" or not made.has_entries)):
        return None
    hint = _usage(made, listed)
    indices = node.indices if isinstance(node, ast.Index) else ()
    if any(isinstance(index, ast.Name) and index.name in ("b", "B", "batch") for index in indices):
        hint = f"the row of the batch is the call's own; {hint}"
    return WrongIndex(name=made.name, declared=f"{made}", line=made.line, hint=hint, span=node.span)


def not_chosen(node: ast.Expr, source: ast.Input | None) -> list[Diagnostic]:
    """What is wrong with an argument of `selected`, and the input that it names: chosen blocks or keys are wanted."""
    if source is not None and source.kind in CHOSEN_KINDS:
        return []
    hint = "declare `input sel: blocks[64, 64, t]` or `input sel: keys[t]`, then `selected(sel)`"
    if source is None:
        what = f"`{node.span.brief}` is no input"
    else:
        what = f"`{source.name}` is declared `{source.span.brief}` in line {source.span.line}"
    return [NotChosen(what=what, hint=hint, span=node.span)]


def selected(source: ast.Input) -> Set:
    """The pairs that an input of chosen blocks or keys lists."""
    return DataTest(Chosen(source.name, *declared(source).sizes))


def _usage(made: Input, listed: bool) -> str:
    name = made.name
    if listed and made.kind == "bool":
        return f"`in` asks for integers; an entry is `{name}[q]`" if made.has_entries else f"write `{name}` alone"
    if listed and not made.has_entries:
        return f"it is a number: compare it, `k == {name}`"
    head = f" or `{name}[h]`" if "H" in made.axes else ""
    if listed:
        return f"behind `in` write `{name}`{head}"
    if not made.has_entries:
        return f"write `{name}`{head}"
    positions = f"`{name}[q]` or `{name}[k]`" if made.axes[-1] == "n" else f"`{name}[i]` with any integer"
    return f"write {positions}" + ("" if made.kind == "bool" else f"; `k in {name}` asks for any of its entries")


def read(source: ast.Input, index: Int | None) -> Node:
    """The entry of an input, an integer or for bool a set."""
    entry = Read(source.name, index)
    return algebra.compare(entry, "!=", Const(0)) if source.kind == "bool" else entry
