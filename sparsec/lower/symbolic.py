"""One definition with its sets written out and its parameters left open, as lists: for what is evaluated elsewhere.

A node is a list that begins with a word.

integers  ["number", x], ["name", "q" or another name], ["-", x], ["abs", x],
          ["+" | "-" | "*" | "//" | "%" | "**" | "min" | "max", x, y]
sets      [comparison, x, y], ["&" | "|", a, ...], ["~", a], ["in", x, y, ...] for x in {y, ...},
          ["blocks", b, rows of numbers or nodes], ["random_keys", r, seed],
          ["random_blocks" | "random_past_blocks", b, r, seed]
either    ["match", x, [[[first, last], ...], value], ...], each `last` excluded, `else` without ranges
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.lower.scope import Entry, inputs_of
from sparsec.lower.signatures import BUILT_IN, bind, signature_of
from sparsec.lower.tables import table_rows
from sparsec.syntax import ast
from sparsec.syntax.operands import operands

_MAX_STEPS, _MAX_DEPTH = 20_000, 150
_NO_PAGE = "draw it as text, SVG or PNG with `--given NAME=FILE`"

Open = list  # a node


@dataclass
class _Steps:
    taken: int = 0


@dataclass(frozen=True)
class _Frame:
    entry: Entry
    values: Mapping[str, Open]
    depth: int = 0
    steps: _Steps = field(default_factory=_Steps)


def open_operands(entry: Entry) -> list[tuple[ast.Expr, Open]]:
    """The operands of the union that a checked definition or an arm of it is, or all of it, each with its node.

    SparsecError where its sets, written out, grow beyond the limits of a pattern, where a table can't be read, and
    where data of the call is.
    """
    if inputs := inputs_of(entry):
        shown = ", ".join(f"`{name}`" for name in inputs)
        raise SparsecError(say.NeedsData(what="a page", inputs=shown, hint=_NO_PAGE))
    body = entry.definition.body
    own = {parameter.name: ["name", parameter.name] for parameter in entry.definition.parameters}
    frame = _Frame(entry, own)
    return [(part, _open(alone, frame)) for part, alone in operands(body)]


def _open(node: ast.Expr, frame: _Frame) -> Open:
    _step(1, node, frame)
    frame = _Frame(frame.entry, frame.values, frame.depth + 1, frame.steps)
    match node:
        case ast.Number(number):
            return ["number", number]
        case ast.Name(name) if name in frame.values:
            _step(_size(frame.values[name]) - 1, node, frame)  # it is written out again
            return frame.values[name]
        case ast.Name("q" | "k" | "n" | "h" | "H" | "layer" | "L" as name):
            return ["name", name]
        case ast.Name(name):
            return _call(ast.Call(name, (), span=node.span), frame)
        case ast.Call():
            return _call(node, frame)
        case ast.Match(value, arms):
            return ["match", _open(value, frame), *([_heads(arm, frame), _open(arm.body, frame)] for arm in arms)]
        case ast.Scored(body):  # its pairs alone
            return _open(body, frame)
        case ast.Unary(op, inner):
            return [op, _open(inner, frame)]
        case ast.Binary("\\", left, right):
            return ["&", _open(left, frame), ["~", _open(right, frame)]]
        case ast.Binary(op, left, right):
            return [op, _open(left, frame), _open(right, frame)]
        case ast.Union(parts):
            return ["|", *(_open(part, frame) for part in parts)]
        case ast.Chain(operands, ops):
            values = [_open(operand, frame) for operand in operands]
            _step(sum(map(_size, values[1:-1])), node, frame)  # what stands between two comparisons is in both
            return ["&", *([op, *pair] for op, *pair in zip(ops, values, values[1:], strict=False))]
        case ast.Membership(value, negated, container):
            inside = _inside(_open(value, frame), container, frame)
            return ["~", inside] if negated else inside
    raise TypeError(f"not an expression: {node!r}")


def _step(count: int, node: ast.Expr, frame: _Frame) -> None:
    """Count what was read or written out.  SparsecError beyond the limits."""
    frame.steps.taken += count
    if frame.steps.taken > _MAX_STEPS or frame.depth > _MAX_DEPTH:
        raise SparsecError(
            say.TooComplex(what="with its sets written out, the pattern is too large for a page; it", span=node.span)
        )


def _size(value: Open) -> int:
    """How many nodes and ranges of arms are written out in `value`."""
    return 1 + sum(_size(part) for part in value if isinstance(part, list))


def _heads(arm: ast.Arm, frame: _Frame) -> list[list[Open]]:
    """Half-open ranges of numbers that an arm takes."""
    found = []
    for head in arm.heads:
        if isinstance(head, ast.Range):
            found.append([_open(head.first, frame), _open(head.last, frame)])
        else:
            first = _open(head, frame)
            found.append([first, ["+", first, ["number", 1]]])
    return found


def _inside(value: Open, container: ast.Expr, frame: _Frame) -> Open:
    assert isinstance(container, ast.Range | ast.Members)  # `sorts` has refused others
    bounds = [_open(part, frame) for part in ast.bounds(container)]
    if isinstance(container, ast.Range):
        return ["&", ["<=", bounds[0], value], ["<", value, bounds[1]]]
    return ["in", value, *bounds]


def _call(node: ast.Call, frame: _Frame) -> Open:
    entry = frame.entry.scope.find(node.name)
    bound = bind(signature_of(entry.definition) if entry else BUILT_IN[node.name], node.arguments, node.span)
    assert not isinstance(bound, Diagnostic)  # `sorts` has reported it
    if entry is None:
        return _built_in(node.name, bound, frame)
    values = {name: _open(argument, frame) for name, argument in bound.items()}
    inner = _Frame(entry, values, frame.depth, frame.steps)
    for parameter in entry.definition.parameters:
        if parameter.name not in values:
            assert parameter.default is not None  # `bind` asks for the others
            values[parameter.name] = _open(parameter.default, inner)
    return _open(entry.definition.body, inner)


def _built_in(name: str, bound: Mapping[str, ast.Expr], frame: _Frame) -> Open:
    if name in ("top_blocks", "top_keys", "lsh"):
        raise SparsecError(say.NeedsData(what="a page", inputs=f"q and k, by which `{name}` chooses"))
    if "table" in bound:
        return [name, _open(bound["b"], frame), _table(bound["table"], frame)]
    values = [_open(argument, frame) for argument in bound.values()]
    if name in ("min", "max"):
        while len(values) > 1:
            values[:2] = [[name, *values[:2]]]
        return values[0]
    return [name, *values]


def _table(node: ast.Expr, frame: _Frame) -> list[list]:
    """Rows of numbers, or of nodes where the text has expressions."""
    if isinstance(node, ast.Table):
        return [[_open(item, frame) for item in row.items] for row in node.items if isinstance(row, ast.Table)]
    rows = table_rows(node, lambda item: None)
    if isinstance(rows, Diagnostic):
        raise SparsecError(rows)
    return [list(row) for row in rows or ()]
