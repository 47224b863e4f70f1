"""The parts of a condition and how many pairs each can have: a structural upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from sparsec.analysis.count import affine_count
from sparsec.ir import nodes as ir
from sparsec.ir.algebra import complement, conjunction
from sparsec.ir.chosen import Choice, Hashing, Routing
from sparsec.ir.inputs import Input

_MOST_TERMS = 64
_LONG = 1 << 20, 1 << 24  # lengths beyond which no list or chunk holds most of the keys


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


def chosen_count(condition: ir.Set, pattern: ir.Pattern, n: int) -> int | None:
    """The most pairs that a condition of a pattern can have whatever is chosen; None where no number is known.

    Lists say how many blocks they name, chunks and clusters how large they are.  Other data may keep everything.
    """
    seen = {each.name: _most(each, pattern.choice_inputs, n) for each in pattern.inputs}
    try:
        terms = conjunctions(condition)
    except TooManyTerms:
        return None
    total = 0
    for term in terms:
        parts = term.parts if isinstance(term, ir.And) else (term,)
        tests = [part.test for part in parts if isinstance(part, ir.DataTest)]
        most = [seen[test.name] for test in tests if isinstance(test, ir.Chosen | ir.Grouped)]
        plain = conjunction(*(part for part in parts if not ir.leaves(part)))
        total += min([affine_count(plain, n), *(pairs for pairs in most if pairs is not None)])
    return min(total, n * n)


def chosen_class(conditions: Sequence[ir.Set], pattern: ir.Pattern) -> str:
    """How the pairs grow with n of which `chosen_count` knows a number for each of these conditions."""
    short, long = (sum(chosen_count(each, pattern, n) or 0 for each in conditions) for n in _LONG)
    return "O(n)" if long < 64 * short else "O(n^2)"  # 16 times as many, or 256 times


def is_bounded(pattern: ir.Pattern) -> bool:
    """Whether something that is chosen says how many pairs it has at most."""
    return any(_most(each, pattern.choice_inputs, 1) is not None for each in pattern.inputs)


def _most(own: Input, reals: Sequence[Input], n: int) -> int | None:
    """The most pairs of what is chosen for n queries; None where that is not known."""
    match own.choice:
        case Hashing(_, rounds, chunk, _):
            return n * min(2 * chunk * rounds, n)
        case Routing(count, centroids):
            (clusters,) = (each.axes[1] for each in reals if each.name == centroids)
            return min(int(clusters) * min(count, n) ** 2, n * n) if clusters.isdigit() else None
    if own.is_chosen and own.axes[-1].isdigit():
        return n * min(own.sizes[1] * int(own.axes[-1]), n)
    return None


def choosing(pattern: ir.Pattern) -> tuple[str, ...]:
    """What it takes to choose, beside the attention to what is chosen: in words, by n."""
    return tuple(dict.fromkeys(_choosing(each, pattern.choice_inputs) for each in pattern.inputs if each.choice))


def _choosing(own: Input, reals: Sequence[Input]) -> str:
    match own.choice:
        case Hashing(buckets, rounds, _, _):
            times = "once" if rounds == 1 else f"{rounds} times"
            return f"lsh: O(n log n), as in Reformer: keys sorted {times}, by products with {buckets // 2:,} directions"
        case Routing(_, centroids):
            (clusters,) = (each.axes[1] for each in reals if each.name == centroids)
            return f"routed: O({clusters} n log n), products with {clusters} centroids, and the best of each"
    assert isinstance(own.choice, Choice)
    word, (rows, size) = own.name.partition(".")[0], own.sizes
    each = {"max": 1, "lse": 1, "bound": size}.get(own.choice.score, rows * size)
    if own.choice.given:
        return f"{word}: O(n^2 / {rows * size:,}), scores that are given"
    return f"{word}: O(n^2{f' / {each:,}' if each > 1 else ''}), a product for every score"
