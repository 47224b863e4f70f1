"""The functions of a score as text: the score, its derivatives, and how it reads inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sparsec.analysis.score_gradient import gradient
from sparsec.analysis.score_terms import most, tilted, with_known_signs
from sparsec.codegen.arguments import DataArguments
from sparsec.codegen.score_dialects import TritonScores
from sparsec.codegen.torch_scores import TorchIndices, TorchScores
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import inputs_read
from sparsec.ir.invariance import is_of_distance
from sparsec.ir.scores import ReadReal, Real, Scaled, constant, inputs_of_score, reads_of
from sparsec.kernels.hopper.rules import is_bounded

_MOST_FINITE = 1e30  # of a score: times log2(e), and times a weight, it is finite in float32


@dataclass(frozen=True, slots=True)
class ReadText:
    """How a score reads an entry of a float input, for the gradient of the input."""

    number: int  # of the input
    by: str  # what decides which entry it is: "row" (nothing but the query), "column", "distance", "pair" or "whole"
    index: str  # on the device, of one that `sk.read_by_distance` reads; else ""
    slope: list[str]
    slope_torch: list[str]
    indices: list[str]  # on tensors; none for a number of each row and head
    inputs: tuple[int, ...]  # the numbers of those that its indices read
    numbers: str  # as of ScoreText

    @property
    def more(self) -> str:
        """What the function of its indices takes after the number of heads."""
        return _named(self.inputs) + self.numbers


@dataclass(frozen=True, slots=True)
class ScoreText:
    """The bodies of the functions of a score, in lines, and its numbers as an argument."""

    score: list[str]
    gradient: list[str]  # none where it is 1
    exponent: list[str]  # of unscaled products, in base 2, without `tilt`; none where that is s
    tilt: list[str]  # by how much a score rises from each key to the next; none where that differs
    most: float | None  # the bound of its size; None: nobody knows one
    weight: list[str]  # 2 to the power of `exponent`; none where that may overflow
    exponent_and_slope: list[str]  # of unscaled products, too, where neither is ever infinite; else none
    score_torch: list[str]
    gradient_torch: list[str]
    numbers: str  # ", NUMBERS" where heads that differ in numbers share the kernels, else ""
    inputs: tuple[int, ...]  # the numbers of those that it reads
    reads: tuple[ReadText, ...]
    data: DataArguments

    @property
    def more(self) -> str:
        """What its functions on a CPU take after the head."""
        return _named(self.inputs) + self.numbers

    @property
    def more_typed(self) -> str:
        """What those on the device take after the head."""
        data = f", at{self.data.text}: tl.constexpr" if self.data.all else ""
        return data + self.numbers_typed

    @property
    def numbers_typed(self) -> str:
        """`numbers` as a parameter of device functions."""
        return f"{self.numbers}: tl.constexpr" if self.numbers else ""


def score_text(
    score: Real | None,
    conditions: tuple[ir.Set, ...],
    numbered: bool,
    data: DataArguments,
    stem: str,
    side_by_side: bool = False,
) -> ScoreText | None:
    """The text of a score of all pairs of some conditions, which may read `data`; None where there is none.

    `stem`: of the names of its functions.  `side_by_side`: a tile's queries and keys follow one another.
    """
    if score is None:
        return None
    derived, numbers = gradient(score), ", NUMBERS" if numbered else ""
    indices = {
        read: f"_index_{place}{stem}"
        for place, read in enumerate(reads_of(score))
        if side_by_side and not numbered and _is_by_distance(read, data)
    }
    signed = with_known_signs(score, conditions)
    sum_of = tilted(signed)
    level = sum_of.level if sum_of else signed
    triton = partial(TritonScores, data, indices)
    return ScoreText(
        score=triton().tilted(level, f"_tilt{stem}(n, h, H{numbers})" if sum_of else ""),
        gradient=[] if constant(derived) == 1 else triton().lines(derived),
        exponent=[] if level == Scaled() else triton().exponents(level),
        tilt=TritonScores(data).lines(sum_of.tilt) if sum_of else [],
        most=None if numbered else most(score),
        weight=triton().weights(score) if is_bounded(most(score), "bfloat16") else [],
        exponent_and_slope=(
            triton("s * scale").exponents_and_slopes(score, derived) if _are_finite(score, derived) else []
        ),
        score_torch=TorchScores(data).lines(score, of_pairs=True),
        gradient_torch=TorchScores(data).lines(derived),
        numbers=numbers,
        inputs=_numbers(inputs_of_score(score), data),
        reads=tuple(_read_text(score, read, data, numbers, indices) for read in reads_of(score)),
        data=data,
    )


def _are_finite(score: Real, derived: Real) -> bool:
    """Whether a score and its derivative are known to be, and depend on products."""
    bounds = most(score), most(derived)
    return constant(derived) is None and all(bound is not None and bound <= _MOST_FINITE for bound in bounds)


def _numbers(names: frozenset[str], data: DataArguments) -> tuple[int, ...]:
    """The numbers of inputs, rising."""
    return tuple(sorted(map(data.number, names)))


def _named(inputs: tuple[int, ...]) -> str:
    """Inputs as arguments of functions on a CPU."""
    return "".join(f", INPUT_{number}" for number in inputs)


def _is_by_distance(read: ReadReal, data: DataArguments) -> bool:
    """Whether it reads an entry of a list that the distance alone decides, the same for all heads and lengths."""
    named = frozenset[str]().union(*map(ir.names, read.indices))
    return (
        _decided_by(read.indices) == "distance"
        and named == {"q", "k"}
        and not data.by_position(read.name)
        and not frozenset[str]().union(*map(inputs_read, read.indices))
    )


def _read_text(
    score: Real, read: ReadReal, data: DataArguments, numbers: str, by_distance: Mapping[ReadReal, str]
) -> ReadText:
    slope, torch, positions = gradient(score, read), TorchScores(data), TorchIndices(inputs=data.inputs)
    indices = [f"sk.as_index({positions.integer(index)}, q)" for index in read.indices]
    return ReadText(
        data.number(read.name),
        _decided_by(read.indices),
        TritonScores(data).positions.wide_integer(read.indices[0]) if read in by_distance else "",
        TritonScores(data, by_distance).lines(slope),
        torch.lines(slope),
        indices,
        _numbers(frozenset[str]().union(*map(inputs_read, read.indices)), data),
        numbers,
    )


def _decided_by(indices: tuple[ir.Int, ...]) -> str:
    """What tells the entries of a read apart besides the head, as `ReadText.by` says it."""
    if indices == (ir.Var("q"), ir.Var("k")):
        return "whole"
    named = frozenset[str]().union(*map(ir.names, indices)) & {"q", "k"}
    if len(indices) == 1 and named == {"q", "k"}:
        return "distance" if is_of_distance(indices[0]) else "pair"
    return "pair" if len(indices) > 1 or len(named) > 1 else "column" if named == {"k"} else "row"
