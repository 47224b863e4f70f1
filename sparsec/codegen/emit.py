"""Plan -> the text of a Python module that needs torch alone on a CPU, torch and triton on a GPU."""

from __future__ import annotations

import builtins
import hashlib
import keyword
from dataclasses import dataclass
from functools import cache

import jinja2

from sparsec import resources
from sparsec.codegen import settings
from sparsec.codegen.header import header
from sparsec.codegen.printer import Scalar, Torch, Triton
from sparsec.codegen.ranges import MOST_POSITIONS
from sparsec.ir import nodes as ir
from sparsec.plan.nodes import Cover, HeadPlan, Plan, Segment
from sparsec.sets.tiles import MIN_TILE

_PLACEHOLDER = "op_name_of_this_content"
_TAKEN = {
    "torch",
    "triton",
    "tl",
    "functools",
    "SimpleNamespace",
    "TensorDescriptor",
    "LOG2_E",
    "LN_2",
}


def emit(plan: Plan, notes: str = "") -> str:
    """The module's text, with `notes` (a picture, facts) as comments at its top.  Equal inputs give equal bytes."""
    parts = [_part(part, index, len(plan.parts)) for index, part in enumerate(plan.parts)]
    name = function_name(plan.pattern.name)
    body = (
        _environment()
        .get_template("module.py.jinja")
        .render(
            header=header(plan, notes),
            name=name,
            op=_PLACEHOLDER,
            parts=parts,
            listed=plan.pattern.heads is not None and len(parts) > 1,
            heads=plan.pattern.heads,
            min_tile=MIN_TILE,
            most_positions=MOST_POSITIONS,
            settings_table=settings.table(),
        )
    )
    digest = hashlib.sha256(body.encode()).hexdigest()[:12]
    return body.replace(_PLACEHOLDER, f"{plan.pattern.name}_{digest}")


def function_name(name: str) -> str:
    """The name of the generated function: the pattern's, with a `_` where Python or the module needs that name."""
    python = keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name)
    return f"{name}_" if python or name in _TAKEN or name.startswith("_") else name


@dataclass(frozen=True, slots=True)
class _SegmentText:
    """A segment as half-open bounds, in the dialect of kernels and in that of plain Python."""

    first: str
    stop: str
    bounded: bool  # `stop` is a position; otherwise it is the length of the sequence
    scalar_first: str
    scalar_stop: str


@dataclass(frozen=True, slots=True)
class _CoverText:
    why: str
    segments: tuple[_SegmentText, ...]
    exchanges: tuple[tuple[int, int], ...]  # pairs to compare and swap until the ranges are in order


@dataclass(frozen=True, slots=True)
class _PartText:
    """What a template receives for one condition; templates/README.md describes every name."""

    suffix: str
    listed: bool
    heads: str
    keeps: bool  # False: the condition is `true` and needs no mask of its own
    keep: list[str]
    keep_torch: list[str]
    never_full: bool
    edges: frozenset[str]  # tile edges that `full` asks for
    full: list[str]
    full_scalar: list[str]
    rows: _CoverText
    columns: _CoverText


def _part(part: HeadPlan, index: int, count: int) -> _PartText:
    triton, torch, scalar = Triton(), Torch(), Scalar()
    return _PartText(
        suffix=f"_{index}" if count > 1 else "",
        listed=count > 1,
        heads=str(list(part.heads)),
        keeps=part.condition != ir.TRUE,
        keep=triton.lines(part.condition, "return "),
        keep_torch=torch.lines(_tensor(part.condition), "return "),
        never_full=part.full == ir.FALSE,
        edges=ir.names(part.full),
        full=triton.lines(part.full, "full = "),
        full_scalar=scalar.lines(part.full, "return "),
        rows=_cover(part.rows, "n"),
        columns=_cover(part.columns, "n_q"),
    )


def _tensor(condition: ir.Set) -> ir.Set:
    """A condition that names neither q nor k is a plain bool in Python; a mask has to be a tensor."""
    if ir.names(condition) & {"q", "k"}:
        return condition
    return ir.And((ir.Compare(ir.Var("k"), ">=", ir.Const(0)), condition))


def _cover(cover: Cover, length: str) -> _CoverText:
    count = len(cover.segments)
    exchanges = () if cover.ordered else tuple((j, j + 1) for i in range(count) for j in range(count - 1 - i))
    return _CoverText(_reason(cover), tuple(_segment(segment, length) for segment in cover.segments), exchanges)


def _segment(segment: Segment, length: str) -> _SegmentText:
    first = ir.Const(0) if segment.first is None else segment.first
    stop = ir.Var(length) if segment.last is None else _after(segment.last)
    if segment.when != ir.TRUE:  # an empty range elsewhere
        stop = ir.Select(segment.when, stop, ir.Const(0))
    triton, scalar = Triton(), Scalar()
    return _SegmentText(
        triton.integer(first),
        triton.integer(stop),
        segment.last is not None,
        scalar.integer(first),
        scalar.integer(stop),
    )


def _after(last: ir.Int) -> ir.Int:
    match last:
        case ir.Const(value):
            return ir.Const(value + 1)
        case ir.Add(left, ir.Const(value)):
            return ir.Add(left, ir.Const(value + 1))
        case ir.Sub(left, ir.Const(1)):
            return left
        case ir.Sub(left, ir.Const(value)):
            return ir.Sub(left, ir.Const(value - 1))
    return ir.Add(last, ir.Const(1))


def _reason(cover: Cover) -> str:
    rows, seen = ("these queries", "keys") if cover.side == "q" else ("these keys", "queries")
    if not cover.segments:
        return f"The pattern is empty: {rows} see nothing."
    if cover.rung == "all":
        return f"Every tile of {seen}: {cover.why}."
    exact = all(segment.exact for segment in cover.segments)
    count = len(cover.segments)
    extent = "" if exact else ", as hulls: the pattern has gaps inside them"
    return f"The {seen} that {rows} touch: {count} range{'s' if count > 1 else ''}{extent}."


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: resources.text(f"templates/{name}")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
