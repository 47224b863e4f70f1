"""Inputs, data given at the call: what their declarations may say, and how each is read.

input doc: int[n]          doc[q], doc[k], doc[any integer]      one entry for each position
input w: int[H]            w, w[h]                               the head's own
input prefix: int[B]       prefix                                the row's own
input v: int[H, t]         v[i], v[h, i]; k in v, k in v[h]      a list
input t: float[H, d]       t[i], t[h, i]                         in scores: real numbers, 0 where an index is outside
input b: float[B, H, n, n] b[q, k]                               in scores: a number for each pair
input s: blocks[64, 64, t] selected(s)                           t key blocks of 64 for each block of 64 queries
input s: keys[t]           selected(s)                           t keys for each query
input s: scores[64, 64]    top_blocks(8, 64, 64, score = s)      a score for each 64 queries and block of 64 keys
input m: centroids[16]     routed(m, 64)                         16 centroids for each head
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sparsec.diagnostics import BadInput, Diagnostic, NotChosen, NotReal, ReservedName, WrongIndex
from sparsec.ir import algebra
from sparsec.ir.chosen import Chosen
from sparsec.ir.inputs import CHOSEN_AXES, SCORE_AXES, Input
from sparsec.ir.nodes import Const, DataTest, Int, Node, Read, Set
from sparsec.lower.signatures import MAX_NUMBER
from sparsec.syntax import ast
from sparsec.syntax.errors.explain import KEYWORDS

KINDS = ("bool", "int", "float")
CHOSEN_KINDS = {"blocks": 3, "keys": 1}  # and how many numbers and names their brackets hold
REAL_KINDS = {"scores": 2, "centroids": 1}  # likewise
_BRACKETS = CHOSEN_KINDS | REAL_KINDS
_FORMS = {
    "blocks": (
        "blocks[64, 64, t]",
        "the queries of a block, the keys of a block, and a name for how many are chosen, or their number",
    ),
    "keys": ("keys[t]", "a name for how many are chosen for each query, or their number"),
    "scores": ("scores[64, 64]", "the queries of a block, and the keys of a block"),
    "centroids": ("centroids[c]", "a name for how many there are, or their number"),
    "float": ("float[H, distances]", "a name for how many distances there are"),
}
_NO_AXES = ("q", "k", "h", "L", "layer")
_OF_THE_CALL = (
    *("v", "scale", "q_offset", "k_offset", "documents", "lengths", "q_lengths", "return_lse"),
    *("sinks", "dropout_p", "generator", "dropout_seed", "seed"),
    *("self", "n_q", "n_k", "device"),  # of the methods that take inputs by name, too
)
_FLOATS = "write `float`: tensors of float32, float16 and bfloat16 are taken"
_KINDS = {
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
_KIND_OF: dict[str, Literal["bool", "int", "float"]] = {"bool": "bool", "float": "float"}
_ORDER = "axes are those it has of `B`, then of `H`, and then `n` or the name of a list's length"


def declared(node: ast.Input) -> Input:
    """The input of a declaration without problems."""
    if node.kind in CHOSEN_KINDS:
        *sizes, count = node.axes
        rows, size = [each.value for each in sizes if isinstance(each, ast.Number)] or (1, 1)
        axes = *CHOSEN_AXES, str(count.value) if isinstance(count, ast.Number) else count.span.text
        return Input(node.name, "blocks" if node.kind == "blocks" else "keys", axes, node.span.line, (rows, size))
    if node.kind == "scores":
        rows, size = (each.value for each in node.axes if isinstance(each, ast.Number))
        return Input(node.name, "scores", SCORE_AXES, node.span.line, (rows, size))
    if node.kind == "centroids":
        return Input(node.name, "centroids", ("G", node.axes[0].span.text, "D"), node.span.line)
    return Input(node.name, _KIND_OF.get(node.kind, "int"), _axes(node), node.span.line)


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
    if node.kind in _BRACKETS:
        return found + _wrong_brackets(node)
    if node.kind not in KINDS:
        others = "`blocks[b, b, t]` or `keys[t]`, `scores[b, b]` or `centroids[c]`"
        hint = _KINDS.get(node.kind, f"write `bool`, `int` or `float`, {others}")
        problem = f"an input is of bool, int or float, of blocks or keys, or of scores or centroids, not of {node.kind}"
        found.append(BadInput(problem=problem, hint=hint, span=node.kind_span))
    return found + _wrong_axes(node)


def _wrong_axes(node: ast.Input) -> list[Diagnostic]:
    for axis in node.axes:
        if not isinstance(axis, ast.Name) or axis.name in _NO_AXES:
            problem = f"`{axis.span.brief}` is not an axis"
            return [BadInput(problem=problem, hint=_ORDER, span=axis.span)]
    ranks = [{"B": 0, "H": 1}.get(axis, 2) for axis in _axes(node)]
    pairs = node.kind == "float" and _axes(node)[-2:] == ("n", "n")  # the last two are of queries and keys
    for number, axis in enumerate(node.axes[:-1] if pairs else node.axes):
        if number and ranks[number] <= ranks[number - 1]:
            twice = ranks[number] == ranks[number - 1]
            problem = "an input has one entry for each position, or a list" if twice else "axes in another order"
            return [BadInput(problem=problem, hint=_ORDER, span=axis.span)]
    return []


def _wrong_brackets(node: ast.Input) -> list[Diagnostic]:
    """What is wrong with the brackets of chosen blocks or keys, of scores of blocks, or of centroids."""
    wanted, (form, words) = _BRACKETS[node.kind], _FORMS[node.kind]
    hint = f"write `input {node.name}: {form}`: {words}"
    if len(node.axes) != wanted:
        what = node.kind if node.kind in REAL_KINDS else f"chosen {node.kind}"
        problem = f"{what} are declared with {wanted} in brackets, not {len(node.axes)}"
        return [BadInput(problem=problem, hint=hint, span=node.kind_span)]
    sizes, counts = (node.axes, ()) if node.kind == "scores" else (node.axes[:-1], node.axes[-1:])
    for size in sizes:
        if not isinstance(size, ast.Number) or not 1 <= size.value <= MAX_NUMBER:
            problem = f"`{size.span.brief}` is no size of a block"
            return [BadInput(problem=problem, hint=hint, span=size.span)]
    for count in counts:
        if isinstance(count, ast.Number):
            wrong = not 1 <= count.value <= MAX_NUMBER
        else:
            wrong = not isinstance(count, ast.Name) or count.name in (*_NO_AXES, "B", "H", "n")
        if wrong:
            what = "how many centroids there are" if node.kind == "centroids" else "how many are chosen"
            problem = f"`{count.span.brief}` can't stand for {what}"
            return [BadInput(problem=problem, hint=hint, span=count.span)]
    return []


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
    if source.kind in _BRACKETS:
        hint = {
            "scores": f"write `top_blocks(t, {made.sizes[1]}, {made.sizes[0]}, score = {made.name})`",
            "centroids": f"write `routed({made.name}, t)`",
        }.get(source.kind, f"write `selected({made.name})`, the set of all pairs that it lists")
        return WrongIndex(name=made.name, declared=f"{made}", line=made.line, hint=hint, span=node.span)
    given, wanted = len(own_indices(node, source)), made.has_entries + made.of_pairs
    if given == (0 if listed else wanted) and not (listed and (made.kind != "int" or not made.has_entries)):
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


def not_real(node: ast.Expr, source: ast.Input | None, word: str, kind: str) -> list[Diagnostic]:
    """What is wrong with an argument of a call of `word`, and the input that it names: one of a `kind` is wanted."""
    if source is not None and source.kind == kind and (kind != "float" or _is_list(source)):
        return []
    form = _FORMS[kind][0]
    usages = {"centroids": "routed(x, t)", "float": f"{word}(x, 128)"}
    usage = usages.get(kind, f"{word}(t, 64, 64, score = x)")
    if source is None:
        what = f"`{node.span.brief}` is no input"
    else:
        what = f"`{source.name}` is declared `{source.span.brief}` in line {source.span.line}"
    hint = f"declare `input x: {form}`, then `{usage}`"
    return [NotReal(word=word, kind=kind, what=what, hint=hint, span=node.span)]


def _is_list(source: ast.Input) -> bool:
    """Whether a row and a head have a list of entries that are not those of positions."""
    return any(axis not in ("B", "H", "n") for axis in _axes(source))


def selected(source: ast.Input) -> Set:
    """The pairs that an input of chosen blocks or keys lists."""
    return DataTest(Chosen(source.name, *declared(source).sizes))


def _usage(made: Input, listed: bool) -> str:
    name = made.name
    if listed and made.kind == "float":
        return "`in` asks for integers, and its entries are real numbers"
    if listed and made.kind == "bool":
        return f"`in` asks for integers; an entry is `{name}[q]`" if made.has_entries else f"write `{name}` alone"
    if listed and not made.has_entries:
        return f"it is a number: compare it, `k == {name}`"
    head = f" or `{name}[h]`" if "H" in made.axes else ""
    if listed:
        return f"behind `in` write `{name}`{head}"
    if not made.has_entries:
        return f"write `{name}`{head}"
    if made.of_pairs:
        return f"write `{name}[q, k]`"
    positions = f"`{name}[q]` or `{name}[k]`" if made.axes[-1] == "n" else f"`{name}[i]` with any integer"
    return f"write {positions}" + ("" if made.kind != "int" else f"; `k in {name}` asks for any of its entries")


def read(source: ast.Input, index: Int | None) -> Node:
    """The entry of an input, an integer or for bool a set."""
    entry = Read(source.name, index)
    return algebra.compare(entry, "!=", Const(0)) if source.kind == "bool" else entry
