"""Inputs of a pattern, data given at the call, and where a condition reads them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sparsec.diagnostics import NeedsData, SparsecError
from sparsec.ir import nodes as ir
from sparsec.ir import scores
from sparsec.ir.chosen import Chooser, Hashing, Routing

if TYPE_CHECKING:
    import numpy as np


# Of chosen blocks and keys: rows of the batch; 1, the key heads or the query heads; blocks of the call's queries.
CHOSEN_AXES = ("B", "G", "rows")
LABEL_AXES = ("B", "H", "lines", "labels")  # the labels of the call's queries, then those of its keys
SCORE_AXES = (*CHOSEN_AXES, "blocks")


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor given at the call under a name.

    Its axes are those it has of "B", rows of the batch, then "H", query heads, then "n", positions, or any other name,
    entries of a list; one of float may have "n" twice, for each query and key.  Chosen blocks and keys have
    `CHOSEN_AXES`, and a name or a number for how many there are; labels have `LABEL_AXES`; scores of blocks
    `SCORE_AXES`; and centroids "G", a name or a number, and the head size "D".
    """

    name: str
    kind: Literal["bool", "int", "float", "blocks", "keys", "labels", "scores", "centroids"]
    axes: tuple[str, ...]
    line: int  # of its declaration
    sizes: tuple[int, int] = (1, 1)  # of chosen ones: queries that share a choice, and keys of a block
    choice: Chooser | None = None  # what the operator chooses itself

    @property
    def has_entries(self) -> bool:
        """Whether a row and a head have several numbers: one for each position, or a list."""
        return bool(self.axes) and self.axes[-1] not in ("B", "H")

    @property
    def of_pairs(self) -> bool:
        """Whether it has an entry for each query and key."""
        return self.axes[-2:] == ("n", "n")

    @property
    def is_chosen(self) -> bool:
        """Whether it lists blocks of keys, or keys, for each block of queries."""
        return self.kind in ("blocks", "keys")

    @property
    def is_chosen_by(self) -> bool:
        """Whether it holds real numbers by which an operator chooses: no condition reads them."""
        return self.kind in ("scores", "centroids")

    @property
    def by_row(self) -> bool:
        """Whether it is about the rows of q in a call: it has four axes."""
        return self.is_chosen or self.kind == "labels"

    def __str__(self) -> str:
        if self.kind == "scores":
            return f"scores[{', '.join(map(str, self.sizes))}]"
        if self.kind == "centroids":
            return f"centroids[{self.axes[1]}]"
        if self.is_chosen:
            sizes = self.sizes if self.kind == "blocks" else ()
            return f"{self.kind}[{', '.join(map(str, (*sizes, self.axes[-1])))}]"
        return f"{self.kind}[{', '.join(self.axes)}]" if self.axes else self.kind


def chosen(choice: Chooser, line: int = 1) -> Input:
    """The input that says what an operator chooses itself."""
    if isinstance(choice, Hashing | Routing):
        return Input(choice.name, "labels", LABEL_AXES, line, choice=choice)
    return Input(choice.name, "blocks", (*CHOSEN_AXES, str(choice.count)), line, (choice.rows, choice.size), choice)


def reads(node: ir.Node | ir.Test) -> tuple[ir.Read | ir.ElementOf | ir.Chosen | ir.Grouped, ...]:
    """The distinct reads of inputs in `node`, those in indices of others before these, in the order of writing."""
    found: list[ir.Read | ir.ElementOf | ir.Chosen | ir.Grouped] = []
    match node:
        case ir.Var() | ir.Const():  # most of what is asked for
            return ()
        case ir.DataTest(test):
            return reads(test)
        case ir.ElementOf(value, _):
            found += [*reads(value), node]
        case ir.Chosen() | ir.Grouped():
            found.append(node)
        case ir.Read(_, index):
            found += [*(() if index is None else reads(index)), node]
        case _:
            found += [read for child in ir.children(node) for read in reads(child)]
    return tuple(dict.fromkeys(found))


def inputs_read(node: ir.Node) -> frozenset[str]:
    """Names of the inputs that `node` reads."""
    return frozenset(read.name for read in reads(node))


def refuse_inputs(pattern: ir.Pattern, what: str, hint: str = "", given: Container[str] = ()) -> None:
    """SparsecError SP0621 where a pattern reads data, without which `what` can't be had, and that is not `given`."""
    missing = [each for each in pattern.inputs if each.name not in given]
    if missing:
        shown = ", ".join(f"`{each.name}: {each}`" for each in missing)
        if any(each.choice for each in missing):
            shown += " (what is chosen follows from q and k: `attend.choices(q, k)`)"
        raise SparsecError(NeedsData(what=what, inputs=shown, hint=hint))


def refuse_score_inputs(pattern: ir.Pattern, what: str) -> None:
    """SparsecError SP0621 where scores read inputs of their own, without which `what` can't be had."""
    if pattern.score_inputs:
        shown = ", ".join(f"`{each.name}: {each}`" for each in pattern.score_inputs)
        raise SparsecError(NeedsData(what=what, inputs=shown, hint="take the pattern without its scores"))


def read_by_scores(pattern: ir.Pattern) -> tuple[Input, ...]:
    """The inputs of scores: those that conditions read as well, then those of scores alone."""
    names = frozenset[str]().union(*map(scores.inputs_of_score, pattern.scores))
    return (*(each for each in pattern.inputs if each.name in names), *pattern.score_inputs)


def read_by_scores_alone(
    given: Sequence[Input], scored: Sequence[tuple[ir.Set, scores.Real | None]]
) -> tuple[Input, ...]:
    """Of declared inputs those that scores read and no condition does: float inputs behind all others."""
    of_sets = frozenset[str]().union(*(inputs_read(condition) for condition, _ in scored))
    names = frozenset[str]().union(*(scores.inputs_of_score(score) for _, score in scored)) - of_sets
    integers = (each for each in given if each.kind in ("bool", "int") and each.name in names)
    return (*integers, *(each for each in given if each.kind == "float"))


def with_data(condition: ir.Set, data: Mapping[str, np.ndarray]) -> ir.Set:
    """The condition with data of one row and head for each input that it reads: a number, entries, or rows of them."""
    match condition:
        case ir.And(parts) | ir.Or(parts):
            return type(condition)(tuple(with_data(part, data) for part in parts))
        case ir.Not(part):
            return ir.Not(with_data(part, data))
        case ir.DataTest():
            known = ((name, data[name].tolist()) for name in sorted(inputs_read(condition)))
            return replace(condition, data=tuple((name, _frozen(some)) for name, some in known))
    return condition


def _frozen(some: Any) -> Any:
    return tuple(map(_frozen, some)) if isinstance(some, list) else some


def of_row(
    inputs: tuple[Input, ...], given: Mapping[str, np.ndarray], row: int, head: int, heads: int = 1
) -> dict[str, np.ndarray]:
    """Of whole arrays, with the axes of their declarations, what belongs to a row of the batch and one of the heads."""
    found = {}
    for each in inputs:
        some = given[each.name]
        some = some[row] if "B" in each.axes else some
        some = some[head * len(some) // heads] if each.is_chosen else some
        found[each.name] = some[head] if "H" in each.axes else some
    return found
