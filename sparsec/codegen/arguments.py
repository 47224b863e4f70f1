"""The inputs of a pattern as arguments of its kernels: entries as they are given, or what tests of membership need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsec.ir import nodes as ir
from sparsec.ir.inputs import Input, reads
from sparsec.ir.scores import integer_reads_of, reads_of

# Entries as they are; sorted, to be searched; or counted up to each value, where positions alone are asked about.
# Of chosen blocks what each query lists, and which blocks some of many queries list.
# And labels, of queries and of keys.
Use = Literal["entries", "sorted", "counted", "chosen", "united", "labels"]

_NAMES: dict[Use, str] = {
    "entries": "INPUT",
    "sorted": "SORTED",
    "counted": "COUNTED",
    "chosen": "CHOSEN",
    "united": "UNITED",
    "labels": "LABELS",
}


@dataclass(frozen=True, slots=True)
class DataArgument:
    """One tensor that masks in kernels read."""

    number: int  # of the input
    use: Use

    @property
    def name(self) -> str:
        """What it is called in kernels."""
        return f"{_NAMES[self.use]}_{self.number}"


@dataclass(frozen=True, slots=True)
class DataArguments:
    """All tensors of a pattern that masks in kernels read, in order."""

    inputs: tuple[Input, ...]
    all: tuple[DataArgument, ...]

    def by_position(self, name: str) -> bool:
        """Whether an input has an entry for each position."""
        return any(each.name == name and each.axes[-1:] == ("n",) for each in self.inputs)

    def number(self, name: str) -> int:
        """The number of an input."""
        return next(number for number, each in enumerate(self.inputs) if each.name == name)

    def of_entries(self, name: str) -> str:
        """What functions that read an entry take first: the tensor, the place of a pair, and the tensor's form."""
        return self._of(name, ("entries",))[1]

    def of_members(self, name: str) -> tuple[Use, str]:
        """The same of functions that test for membership, and what the tensor holds."""
        return self._of(name, ("sorted", "counted"))

    def of_chosen(self, test: ir.Chosen, use: Literal["chosen", "united"]) -> str:
        """What functions that ask about a chosen set take: lists, the pairs, and the sizes of blocks."""
        return f"{self._of(test.name, (use,))[1]}, q, k, n, {test.rows}, {test.size}"

    def of_grouped(self, test: ir.Grouped) -> str:
        """What the function that asks whether labels put a pair together takes: labels, the pair, and what they are."""
        return f"{self._of(test.name, ('labels',))[1]}, q, k, n, {test.near}"

    def _of(self, name: str, uses: tuple[Use, ...]) -> tuple[Use, str]:
        for place, each in enumerate(self.all):
            if self.inputs[each.number].name == name and each.use in uses:
                return each.use, f"{each.name}, at, FORMS[{place}]"
        raise KeyError(name)

    @property
    def text(self) -> str:
        """The arguments as functions of a module take them, after tables."""
        return "".join(f", {each.name}" for each in self.all) + (", FORMS" if self.all else "")


def data_of(pattern: ir.Pattern) -> DataArguments:
    """The tensors that the conditions and the scores of a pattern read: float inputs stand behind all others."""
    found: dict[str, set[Use]] = {read.name: {"entries"} for score in pattern.scores for read in reads_of(score)}
    of_conditions = (read for condition in pattern.conditions for read in reads(condition))
    for read in (*of_conditions, *(read for score in pattern.scores for read in integer_reads_of(score))):
        uses: set[Use] = {"entries"}
        if isinstance(read, ir.ElementOf):
            uses = {"counted" if _bound(read.value) else "sorted"}
        elif isinstance(read, ir.Chosen):
            uses = {"chosen", "united"}
        elif isinstance(read, ir.Grouped):
            uses = {"labels"}
        found.setdefault(read.name, set()).update(uses)
    for uses in found.values():
        if "sorted" in uses:
            uses.discard("counted")
    inputs = (*pattern.inputs, *pattern.score_inputs)
    made = (
        DataArgument(number, use)
        for number, each in enumerate(inputs)
        for use in _NAMES
        if use in found.get(each.name, ())
    )
    return DataArguments(inputs, tuple(made))


_Bound = Literal[
    "", "position", "distance"
]  # of a value: at least 0 and less than all positions; of a difference of these


def _bound(node: ir.Int) -> _Bound:
    """What is known of the size of an integer, "": nothing."""
    match node:
        case ir.Var("q" | "k"):
            return "position"
        case ir.Sub(left, right):
            return "distance" if _bound(left) == _bound(right) == "position" else ""
        case ir.FloorDiv(left, _):
            return _bound(left)
        case ir.Mod(left, _):
            return "position" if _bound(left) == "position" else ""
        case ir.Abs(value):
            return "position" if _bound(value) else ""
        case ir.Min(left, right) | ir.Max(left, right):
            sides = {_bound(left), _bound(right)}
            return "" if "" in sides else "position" if sides == {"position"} else "distance"
    return ""
