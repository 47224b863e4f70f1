"""What a call of a built-in name stands for: functions of integers, tables, and sets that are chosen by content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsec import diagnostics as say
from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.ir import algebra
from sparsec.ir.chosen import Choice, Chooser, Chosen, Grouped, Hashing, Routing
from sparsec.ir.inputs import inputs_read
from sparsec.ir.nodes import FALSE, TRUE, DataTest, Int, Leaf, Node, Set, leaves
from sparsec.lower.inputs import declared, selected
from sparsec.lower.signatures import FUNCTIONS, MAX_NUMBER, PRIMITIVES, Signature, bind
from sparsec.lower.tables import Rows, table_rows
from sparsec.syntax import ast

if TYPE_CHECKING:
    from sparsec.lower.conditions import Evaluation, Frame

_MAX_COUNT = 65_536  # blocks or keys of one row
_BESIDE = (
    "`among` and `keep` tell by position alone; `{0}(..) & {1}` keeps the pairs of {1} in what is chosen; to choose "
    "among {1}, choose in the model: `{2}`, `selected(sel)`"
)
_MOST_ROUNDS = 64
_GROUPS = {
    "buckets": (2, _MAX_COUNT),
    "rounds": (1, _MOST_ROUNDS),
    "chunk": (1, MAX_NUMBER),
    "seed": (0, MAX_NUMBER),
    "t": (1, MAX_NUMBER),
}
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
    if signature.name in ("top_blocks", "top_keys"):
        return _best(evaluation, signature, bound, node, frame)
    if signature.name in ("lsh", "routed"):
        return _grouped(evaluation, signature, bound, node, frame)
    given: list[int | Rows | None] = []
    for name, argument in bound.items():
        if name == "table":
            given.append(_table(evaluation, argument, frame))
        else:
            what = f"`{name}` of `{signature.name}`"
            given.append(size_of(evaluation, argument, what, *_SIZES[name], frame))
    return PRIMITIVES[signature.name](*given) if None not in given else None


def _best(
    evaluation: Evaluation, signature: Signature, bound: Mapping[str, ast.Expr], node: ast.Call, frame: Frame
) -> Node | None:
    """The pairs of `among` in the blocks, or with the keys, that are chosen."""
    known = len(evaluation.errors)
    numbers = {"bk": 1, "bq": 1, "percent": 100}
    for name, most in (("t", _MAX_COUNT), ("bk", MAX_NUMBER), ("bq", MAX_NUMBER), ("percent", 100)):
        if name in bound:
            number = size_of(evaluation, bound[name], f"`{name}` of `{signature.name}`", 1, most, frame)
            numbers[name] = 1 if number is None else number
    sets: dict[str, Set] = {"among": TRUE, "keep": FALSE}
    for name in sets.keys() & bound.keys():
        found = evaluation.set(bound[name], frame)
        sets[name] = TRUE if found is None else found
        if held := leaves(sets[name]):
            kind = "b" if isinstance(held[0], DataTest) else "table"
            lists = f"blocks[{numbers['bq']}, {numbers['bk']}, t]" if signature.name == "top_blocks" else "keys[t]"
            hint = _BESIDE.format(signature.name, kind, f"input sel: {lists}")
            span = evaluation.place(bound[name].span, frame)
            evaluation.error(say.NotAmong(name=name, of=signature.name, what=_held(held[0]), hint=hint, span=span))
    if len(evaluation.errors) > known:
        return None
    score = "max" if signature.name == "top_keys" else bound["score"].span.text if "score" in bound else "mean"
    source = None
    if "score" in bound and score not in signature.others["score"].split():
        source = frame.entry.scope.input(score)
    if source is not None and declared(source).sizes != (numbers["bq"], numbers["bk"]):
        span, said = evaluation.place(bound["score"].span, frame), f"{declared(source)}"
        wrong = say.OtherBlocks(name=score, declared=said, rows=numbers["bq"], size=numbers["bk"], span=span)
        return evaluation.error(wrong)
    shared = "over" in bound and bound["over"].span.text == "group"
    sizes, given = (numbers["t"], numbers["bk"], numbers["bq"]), source is not None
    made = Choice(*sizes, score, sets["among"], sets["keep"], shared, given, numbers["percent"])
    evaluation.choices.setdefault(made, evaluation.place(node.span, frame).line)
    return algebra.conjunction(sets["among"], DataTest(Chosen(made.name, made.rows, made.size)))


def _grouped(
    evaluation: Evaluation, signature: Signature, bound: Mapping[str, ast.Expr], node: ast.Call, frame: Frame
) -> Node | None:
    """The pairs that share a chunk, or a cluster."""
    known = len(evaluation.errors)
    numbers: dict[str, int] = {}
    for name, argument in bound.items():
        if name in _GROUPS:
            what = f"`{name}` of `{signature.name}`"
            number = size_of(evaluation, argument, what, *_GROUPS[name], frame)
            if name == "buckets" and number is not None and number % 2:
                evaluation.error(say.OddBuckets(value=number, span=evaluation.place(argument.span, frame)))
            numbers[name] = number or 0
    if len(evaluation.errors) > known:
        return None
    made: Chooser = (
        Hashing(**numbers) if signature.name == "lsh" else Routing(numbers["t"], bound["centroids"].span.text)
    )
    evaluation.choices.setdefault(made, evaluation.place(node.span, frame).line)
    return DataTest(Grouped(made.name, isinstance(made, Hashing)))


def _held(leaf: Leaf) -> str:
    """What a set holds that decides no choice, in words."""
    if not isinstance(leaf, DataTest):
        return "a table"
    return "a chosen set" if isinstance(leaf.test, Chosen | Grouped) else f"the input `{min(inputs_read(leaf))}`"


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
