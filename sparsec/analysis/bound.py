"""The parts of a condition and how many pairs each can have: a structural upper bound."""

from __future__ import annotations

from itertools import product
from math import prod

from sparsec.analysis.count import affine_count
from sparsec.ir import nodes as ir
from sparsec.ir.algebra import complement, conjunction

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
