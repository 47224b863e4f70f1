"""The parts of a condition and how many pairs each can have: a structural upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from sparsec.analysis.count import affine_count
from sparsec.ir import nodes as ir
from sparsec.ir.algebra import complement, conjunction
from sparsec.ir.inputs import Input

_MOST_TERMS = 64


class TooManyTerms(Exception):
    """The condition is a union of too many conjunctions."""


def conjunctions(condition: ir.Set) -> list[ir.Set]:
    """Conjunctions whose union is `condition`, in the order of writing; they may overlap."""
    match condition:
        case ir.Or(parts):
            found = [term for part in parts for term in conjunctions(part)]
        case ir.And(parts):
            choices = [conjunctions(part) for part in parts]
            if prod(map(len, choices)) > _MOST_TERMS:
                raise TooManyTerms
            found = [conjunction(*terms) for terms in product(*choices)]
        case ir.Not(ir.Or(parts)):
            return conjunctions(ir.And(tuple(map(complement, parts))))
        case ir.Not(ir.And(parts)):
            return conjunctions(ir.Or(tuple(map(complement, parts))))
        case _:
            found = [condition]
    if len(found) > _MOST_TERMS:
        raise TooManyTerms
    return found


def upper_count(term: ir.Set, n: int) -> int:
    """The most pairs that a conjunction can have: those of its affine part, or of one of its tables."""
    parts = term.parts if isinstance(term, ir.And) else (term,)
    tables = [part for part in parts if isinstance(part, ir.Leaf)]
    plain = conjunction(*(part for part in parts if not ir.leaves(part)))
    return min([affine_count(plain, n), *(_listed(table, n) for table in tables)])


def _listed(table: ir.Leaf, n: int) -> int:
    match table:
        case ir.RandomBlocks(size, count, _, _):
            return n * min(size * count, n)
        case ir.RandomKeys(count, _):
            return n * min(count, n)
        case ir.Blocks(size, rows):
            return min(size**2 * sum(map(len, rows)), n * n)
    raise TypeError(f"not a table: {table!r}")


def chosen_count(condition: ir.Set, inputs: Sequence[Input], n: int) -> int | None:
    """The most pairs that a condition can have whatever its lists of chosen blocks say; None where no number is known.

    `inputs` say how many blocks a list has.  Other data may keep everything.
    """
    seen = {each.name: each.sizes[1] * int(each.axes[-1]) for each in inputs if _counted(each)}
    try:
        terms = conjunctions(condition)
    except TooManyTerms:
        return None
    total = 0
    for term in terms:
        parts = term.parts if isinstance(term, ir.And) else (term,)
        lists = [part.test.name for part in parts if isinstance(part, ir.DataTest) and isinstance(part.test, ir.Chosen)]
        plain = conjunction(*(part for part in parts if not ir.leaves(part)))
        total += min([affine_count(plain, n), *(n * min(seen[name], n) for name in lists if name in seen)])
    return min(total, n * n)


def _counted(own: Input) -> bool:
    return own.is_chosen and own.axes[-1].isdigit()
