"""What a step of a rank is: queries against a run of keys, by an operator that knows where both stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm
from typing import Any, cast

from sparsec.analysis.touch import Segment
from sparsec.ir import nodes as ir
from sparsec.ir import scores
from sparsec.ir.algebra import conjunction
from sparsec.ir.inputs import Input, reads
from sparsec.ir.invariance import diagonal_period
from sparsec.kernels.operator.packed import at_once
from sparsec.runtime.attend import Attend
from sparsec.runtime.derived import operator_of
from sparsec.sets.redundancy import given

Placed = tuple[Segment, Segment]  # rows of the rank's tensors, and their positions in a document
Document = tuple[Segment, list[Placed]]  # a document, and the parts of it that a rank holds


@dataclass(frozen=True)
class Form:
    """An operator, and by how much both sides may move at once without a change; None: not at all."""

    operator: Any  # sparsec.kernels.operator.op.Operator
    period: int | None


@dataclass(frozen=True)
class Run:
    """Keys first..stop-1 of a document.

    `own`: parts that are the rank's own, as rows of its tensors and of the run.  Where others are `received`, they come
    from other ranks, with zeros between them; otherwise they are zeros.
    """

    document: Segment
    first: int
    stop: int
    own: tuple[tuple[Segment, Segment], ...] = ()
    received: bool = False

    @property
    def length(self) -> int:
        return self.stop - self.first

    @property
    def rows(self) -> Segment | None:
        """The rank's rows that are all of it; None where there is more."""
        parts = () if self.received else self.own
        return next((rows for rows, place in parts if place == (0, self.length)), None)


def own_run(document: Segment, segment: Segment, rows: Segment) -> Run:
    """A run that is nothing but rows of the rank's own tensors."""
    return Run(document, *segment, ((rows, (0, rows[1] - rows[0])),))


Line = tuple[int, int, int, int, int, int]  # as of `kernels.sequences`, without the row of the batch


@dataclass(frozen=True)
class Step:
    """Queries `rows` of the rank's tensors against a run of keys, by number."""

    rows: Segment
    run: int
    form: Form
    q_offset: int = 0  # position of the first query, where keys begin at position 0
    lines: tuple[Line, ...] = ()  # by a table: its sequences
    keys: Segment | None = None  # of the form `within`: the positions of the keys that count

    @property
    def position(self) -> int:
        """Of the first query in its document, of a step that stays in place."""
        return self.lines[0][5] if self.lines else self.q_offset


@dataclass(frozen=True)
class Steps:
    """What a rank does: runs of keys, those that need no other rank first, and steps by rising run."""

    runs: tuple[Run, ...]
    steps: tuple[Step, ...]


class Forms:
    """The operators that serve a pattern: itself, and as it is behind a threshold, where that is simpler."""

    def __init__(self, attend: Attend) -> None:
        self.pattern = attend.pattern.nodes
        self.plain = Form(attend._operator, _period(self.pattern))
        self.has_data = bool(self.pattern.inputs or self.pattern.score_inputs)
        self.chooses = any(own.choice for own in self.pattern.inputs)
        self.has_lists = any(own.by_row for own in self.pattern.inputs)

    @cached_property
    def whole(self) -> bool:
        """Whether steps can't do with some of the keys."""
        if any(map(ir.tables, self.pattern.conditions)) or "n" in _scored_by(self.pattern):
            return True
        named = any("n" in ir.names(part) for each in self.pattern.conditions for part in (each, *_tests(each)))
        return named or not all(map(_is_position, _indices(self.pattern)))

    @cached_property
    def from_start(self) -> bool:
        """Whether steps need all keys before theirs: lists are about a whole call, and so are kernels of gradients."""
        return not self.by_table or bool(self.pattern.score_inputs) or self.has_lists

    @cached_property
    def by_table(self) -> bool:
        """Whether kernels can read a first position."""
        return at_once(self.plain.operator.program, anywhere=True)

    @cached_property
    def within(self) -> Form:
        """The pattern for the keys from one position to another, which are inputs: behind all others but floats."""
        taken, edges = {own.name for own in (*self.pattern.inputs, *self.pattern.score_inputs)}, []
        for name in ("first_key", "stop_key"):
            while name in taken:
                name += "_"
            edges.append(Input(name, "int", (), 1))
        first, stop = (ir.Read(own.name, None) for own in edges)
        tests = ir.Compare(first, "<=", ir.Var("k")), ir.Compare(ir.Var("k"), "<", stop)
        some = tuple(conjunction(each, *map(ir.DataTest, tests)) for each in self.pattern.conditions)
        whole = tuple(own for own in self.pattern.score_inputs if own.kind != "float")
        reals = tuple(own for own in self.pattern.score_inputs if own.kind == "float")
        inputs = *self.pattern.inputs, *whole, *edges  # the order in which a call has its data
        return Form(operator_of(replace(self.pattern, inputs=inputs, score_inputs=reals, conditions=some)), period=None)

    @cached_property
    def behind(self) -> tuple[int, Form] | None:
        """A position, and what the pattern is for queries and keys from there on, where that repeats.

        past(512) | sinks(4) is past(512) from 4 on.
        """
        if self.plain.period is not None or self.whole:
            return None
        numbers = {
            part.value for each in self.pattern.conditions for part in ir.walk(each) if isinstance(part, ir.Const)
        }
        for least in sorted({number + more for number in numbers if number >= 0 for more in (0, 1)}):
            facts = conjunction(*(ir.Compare(ir.Const(least), "<=", ir.Var(name)) for name in "qk"))
            known = tuple(given(each, facts) for each in self.pattern.conditions)
            simpler = replace(self.pattern, conditions=known)
            period = _period(simpler)
            if period is not None and ir.FALSE not in known:
                return least, Form(operator_of(simpler), period)
        return None

    def step(self, rows: Segment, position: int, number: int, run: Run, in_place: bool = False) -> Step | None:
        """Queries from `position` on against a run; None where no operator can say it.

        `in_place`: positions must be those of the document.
        """
        if run.first == 0:
            return Step(rows, number, self.plain, position)
        if position >= run.first and not in_place:
            if _moves(self.plain, run.first):
                return Step(rows, number, self.plain, position - run.first)
            if self.behind and run.first >= self.behind[0] and _moves(self.behind[1], run.first):
                return Step(rows, number, self.behind[1], position - run.first)
        line = line_of(rows, position, run)
        return Step(rows, number, self.plain, lines=(line,)) if self.by_table or in_place else None

    def step_within(self, rows: Segment, position: int, number: int, run: Run, keys: Segment) -> Step:
        """Queries from `position` on against some keys of a run; the others stand there for what is read with them."""
        if run.first == 0:
            return Step(rows, number, self.within, position, keys=keys)
        return Step(rows, number, self.within, lines=(line_of(rows, position, run),), keys=keys)


def line_of(rows: Segment, position: int, run: Run) -> Line:
    """The sequence of a table that is queries from `position` on and a run of keys."""
    return 0, rows[1] - rows[0], 0, run.first, run.stop, position


def _moves(form: Form, distance: int) -> bool:
    return form.period is not None and distance % form.period == 0


def _scored_by(pattern: ir.Pattern) -> set[str]:
    """The variables that scores name."""
    parts = (part for each in pattern.scores if each is not None for part in scores.parts(each))
    return {part.name for part in parts if isinstance(part, ir.Var)}


def _indices(pattern: ir.Pattern) -> Iterator[ir.Int | None]:
    """Where conditions and scores read inputs that have an entry for each position."""
    placed = {own.name for own in (*pattern.inputs, *pattern.score_inputs) if "n" in own.axes}
    of_conditions = (part for each in pattern.conditions for part in reads(each))
    of_scores = (part for each in pattern.scores for part in (*scores.reads_of(each), *scores.integer_reads_of(each)))
    for part in (*of_conditions, *of_scores):
        if part.name in placed and isinstance(part, ir.Read | scores.ReadReal):
            yield from part.indices if isinstance(part, scores.ReadReal) else (part.index,)


def _tests(condition: ir.Set) -> Iterator[ir.Node]:
    """What a condition asks data of the call."""
    for leaf in ir.leaves(condition):
        if isinstance(leaf, ir.DataTest):
            yield cast(ir.Node, leaf.test)  # of choices, too: walks go through nodes of any sort


def _is_position(index: ir.Int | None) -> bool:
    return isinstance(index, ir.Var) and index.name in ("q", "k")


def _period(pattern: ir.Pattern) -> int | None:
    if _scored_by(pattern) & {"q", "k", "n"}:
        return None
    periods = [diagonal_period(each) for each in pattern.conditions]
    return lcm(*(each for each in periods if each is not None)) if None not in periods else None
