"""What sets say of a mask that is too large to look at: classes of cells and numbers of pairs, never from pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsec.ir.algebra import complement, conjunction, disjunction
from sparsec.ir.nodes import And, Compare, Const, Set, Var, leaves


def credited(parts: Sequence[Set]) -> list[Set]:
    """Each set less those before it, so that every pair of the union is in one of them."""
    return [conjunction(part, complement(disjunction(*parts[:index]))) for index, part in enumerate(parts)]


def classes(
    condition: Set, n: int, spans: tuple[tuple[int, int], tuple[int, int]], cells: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Bool [rows, columns] each: cells of cells[0] queries by cells[1] keys with a pair, and those that lack none.

    The cells are counted from the beginnings of the spans, and the last of them end with the spans.  None where the
    condition has tables or is too intricate.
    """
    if leaves(condition):
        return None
    from sparsec.analysis.blocks import inside
    from sparsec.sets import budgets
    from sparsec.sets.context import OutOfBudget, budget
    from sparsec.sets.fixed_tiles import numbered
    from sparsec.sets.points import at
    from sparsec.sets.regions import regions
    from sparsec.sets.to_isl import relation

    shape = [-(-(last - first) // size) for (first, last), size in zip(spans, cells, strict=True)]
    i, j = np.arange(shape[0])[:, None], np.arange(shape[1])
    try:
        with budget(budgets.PICTURE):
            kept, missing = (
                regions(numbered(at(relation(each), n), spans, cells)) for each in (condition, complement(condition))
            )
    except OutOfBudget:
        return None
    return inside(kept, i, j), ~inside(missing, i, j)


def counts(parts: Sequence[Set], n: int, spans: tuple[tuple[int, int], tuple[int, int]]) -> list[int] | None:
    """Pairs within the spans that are credited to each set; None where there are tables or a set is too intricate."""
    if any(map(leaves, parts)):
        return None
    from sparsec.analysis.numbers import Uncounted, number
    from sparsec.sets.context import OutOfBudget

    queries, (first, last) = range(*spans[0]), spans[1]
    within = Compare(Var("k"), ">=", Const(first)), Compare(Var("k"), "<", Const(last))
    try:
        return [number(And((part, *within)), n, queries) for part in credited(parts)]
    except (Uncounted, OutOfBudget):
        return None
