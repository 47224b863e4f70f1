"""The patterns of mask functions, each with a number: a mask's shape carries it to the attention function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType

from torch import Tensor

from sparsec.analysis.relation import Relation, overall, relations
from sparsec.diagnostics import SparsecError
from sparsec.importers.caps import with_cap
from sparsec.importers.from_mask_mod import mask_text
from sparsec.importers.inputs import recording
from sparsec.ir import nodes as ir
from sparsec.ir.invariance import diagonal_period
from sparsec.lower.file import lower
from sparsec.runtime.attend import Attend
from sparsec.runtime.load import compile
from sparsec.sets.kv_cache import oldest
from sparsec.sets.witness import later_key
from sparsec.source import Source
from sparsec.syntax.ast import Name
from sparsec.syntax.parse import parse
from sparsec.transformers.closures import MaskFunction, captured
from sparsec.transformers.refusal import EAGER, refusal


@dataclass
class ModelPattern:
    """The condition of a mask function as a pattern, and its operators: one for each cap of scores, None is none.

    `is_plain`: all of the past or all keys, which a pattern of the user's may replace.  `by_distance`: a shift of all
    positions changes nothing.
    """

    text: str
    inputs: tuple[str, ...] = ()  # that the condition reads, [B, n] each
    operators: dict[float | None, Attend] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = pattern_of(self.text)
        self.is_causal = is_causal(self.nodes)
        self.is_plain = any(relation_to(self.nodes, pattern_of(text)).pairs == "equal" for text in _PLAIN)
        self.by_distance = self.is_plain or diagonal_period(self.nodes.conditions[0]) == 1
        self.condition = " ".join(self.text.partition("=\n")[2].split())

    def operator(self, cap: float | None) -> Attend:
        """The operator with scores capped at `cap`."""
        if cap not in self.operators:
            self.operators[cap] = compile(self.text if cap is None else with_cap(self.text, cap))
        return self.operators[cap]


@cache
def pattern_of(text: str) -> ir.Pattern:
    return lower(parse(Source("mask", text)))


@cache
def is_causal(pattern: ir.Pattern) -> bool:
    """Whether no query sees a later key."""
    return all(later_key(condition) is None for condition in pattern.conditions)


@cache
def oldest_key(pattern: ir.Pattern) -> int | None:
    """How many of the last keys hold all that a decoding step, or a later one, sees; None where no number does."""
    ages = [oldest(condition) for condition in pattern.conditions]
    return None if None in ages else max(age for age in ages if age is not None)


@cache
def relation_to(pattern: ir.Pattern, other: ir.Pattern) -> Relation:
    """How the pairs of two patterns relate, all heads together."""
    return overall(relations(pattern, other))


_PLAIN = ("pattern mask =\n    causal\n", "pattern mask =\n    full\n")


# ---------------------------------------------------------------- numbers

_patterns: list[ModelPattern] = []
_numbers: dict[str, int] = {}
_known: dict[object, tuple[int, tuple[int, ...]]] = {}  # of mask functions: the number, and which tensors are inputs


def pattern(number: int) -> ModelPattern:
    """The pattern that has a number."""
    return _patterns[number]


def count_of_patterns() -> int:
    """How many numbers are taken, from 0."""
    return len(_patterns)


def numbered(function: MaskFunction) -> tuple[int, list[Tensor]]:
    """The number of a condition's pattern, and the tensors [B, n] that are its inputs.

    A mask function is made anew in each step of `generate`, so the like of it is looked up.
    """
    tensors = list(_tensors(function))
    first = {id(each): place for place, each in reversed(list(enumerate(tensors)))}
    key = _key(function), tuple(first[id(each)] for each in tensors)
    if key in _known:
        number, places = _known[key]
        return number, [tensors[place] for place in places]
    text, inputs, read = _imported(function)
    if text not in _numbers:
        _patterns.append(ModelPattern(text, inputs))
        _numbers[text] = len(_patterns) - 1
    if key[0] is not None and all(id(each) in first for each in read):
        _known[key] = _numbers[text], tuple(first[id(each)] for each in read)
    return _numbers[text], read


def _imported(function: MaskFunction) -> tuple[str, tuple[str, ...], list[Tensor]]:
    """The text, the names of its inputs, and their tensors."""
    name = getattr(function, "__qualname__", type(function).__name__).replace(".<locals>", "")
    try:
        with recording(function) as tables:
            text = mask_text(function, "mask", inputs=lambda: tuple(tables.found.values()))
    except SparsecError as error:
        hint = f"{error.diagnostics[0].fill(error.diagnostics[0].message)}; {EAGER}"
        raise refusal(f"the mask of `{name}`", hint) from error
    inputs = tuple(tables.found.values())
    for own in inputs:
        axes = ", ".join(axis.name for axis in own.axes if isinstance(axis, Name))
        if axes != "B, n":
            hint = f"tensors that it looks up have a row for each row of the batch and an entry for each key; {EAGER}"
            raise refusal(f"the mask of `{name}`, which reads `{own.name}[{axes}]`", hint)
    declared, pattern = text[: text.index('"""')], text[text.index("pattern mask") :]  # without the function's name
    return declared + pattern, tuple(own.name for own in inputs), tables.kept


def _tensors(value: object, depth: int = 16) -> Iterator[Tensor]:
    """Tensors of several axes in a function's closure, in a fixed order."""
    if isinstance(value, Tensor) and value.dim() > 1:
        yield value
    inner = captured(value).values() if isinstance(value, FunctionType) else value if isinstance(value, tuple) else ()
    for each in inner if depth else ():
        yield from _tensors(each, depth - 1)


def _key(value: object) -> object:
    """Code and captured values of a function of transformers, which reads nothing else; None for others."""
    if isinstance(value, Tensor):
        return ("tensor", value.dim(), str(value.dtype), *(value.flatten().tolist() if value.dim() < 2 else ()))
    if isinstance(value, int | str | None):
        return (type(value).__name__, value)
    if isinstance(value, tuple):
        parts = tuple(map(_key, value))
    elif isinstance(value, FunctionType) and value.__module__.partition(".")[0] == "transformers":
        parts = (value.__code__, *map(_key, (value.__defaults__, *captured(value).values())))
    else:
        return None
    return None if None in parts else parts
