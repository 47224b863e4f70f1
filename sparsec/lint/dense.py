"""Patterns that keep few pairs and yet gain nothing over dense attention, since nearly every tile holds some."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sparsec.diagnostics import Diagnostic, NoFasterThanDense
from sparsec.ir import nodes as ir
from sparsec.lint.subject import Subject

_FEW = 0.5  # of the pairs of dense attention, at most
_GAIN = 1.05  # times the speed of dense attention: below, there is none to speak of

# (times the speed of dense attention, share of its pairs, share of its tiles) at one length.
BesideDense = Callable[[ir.Pattern], tuple[float, float, float]]


def no_faster(subject: Subject, beside_dense: BesideDense) -> Iterator[Diagnostic]:
    """Nothing of patterns with tables: what these visit is an expectation."""
    if any(ir.leaves(condition) for condition in subject.pattern.conditions):
        return
    speed, pairs, tiles = beside_dense(subject.pattern)
    if speed <= _GAIN and pairs <= _FEW:
        yield NoFasterThanDense(
            pairs=round(100 * pairs),
            tiles=round(100 * tiles),
            where=subject.where(),
            span=subject.definition.body.span,
        )
