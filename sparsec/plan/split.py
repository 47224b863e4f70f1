"""A condition as regions that each lie in one layout, every one minus those before it.

causal & (past(128) | stride(128))  ->  contiguous: past(128)
                                        residue classes of 128: stride(128) & q - k >= 128

past(64) | random_keys(8, 1)        ->  contiguous: past(64)
                                        listed: random_keys(8, 1) & ~past(64)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, count
from math import gcd, lcm

from sparsec.ir import algebra
from sparsec.ir import nodes as ir
from sparsec.ir.inputs import inputs_read
from sparsec.plan.nodes import Contiguous, Gathered, Layout, Listed, Residue
from sparsec.sets import periodicity
from sparsec.sets.redundancy import given, simplify

_MOST_REGIONS = 3
_MOST_TERMS = 8
_MOST_CALLS = 2000  # to find them
_SMALL = 32  # blocks of so many positions fill half a tile
_NARROW = 4  # one key in fewer than this is not worth the gathering

Split = tuple[tuple[Layout, ir.Set], ...]


def split(condition: ir.Set, barred: frozenset[Layout] = frozenset()) -> Split:
    """Layouts and the disjoint conditions that they serve; all of it is contiguous if no other layout fits.

    The contiguous region comes first, where what it leaves is simple; with tables it comes later, and keeps them.
    Listed pairs come last: what they leave out is listed for them, and costs nothing.
    What belongs to a layout of `barred` stays contiguous.
    """
    if inputs_read(condition):
        barred |= {Listed()}  # lists of pairs are kept for a length, whatever the data
    wanted: dict[Layout, list[ir.Set]] = {Contiguous(): []}
    for term in terms(condition):
        wanted.setdefault(_layout(term), []).append(term)
    _merge(wanted)
    for layout in barred & wanted.keys():
        wanted[Contiguous()] += wanted.pop(layout)
    if len(wanted) == 1:
        return ((Contiguous(), condition),)
    if any(ir.leaves(term) for term in wanted[Contiguous()]):
        wanted[Contiguous()] = wanted.pop(Contiguous())
    if Listed() in wanted:
        wanted[Listed()] = wanted.pop(Listed())
    regions: list[tuple[Layout, ir.Set]] = []
    for layout, some in wanted.items():
        rest = algebra.disjunction(*some)
        for _, earlier in regions:
            rest = algebra.conjunction(rest, given(ir.Not(earlier), rest))
        rest = simplify(rest)
        if rest != ir.FALSE:
            regions.append((layout, rest))
    return tuple(regions)


def terms(condition: ir.Set) -> tuple[ir.Set, ...]:
    """The operands of the union that a condition is, with what they have in common written to each."""
    try:
        return _terms(condition, count(1))
    except OverflowError:  # an intersection of unions has a term for each choice of operands
        return (condition,)


def _terms(condition: ir.Set, calls: Iterator[int]) -> tuple[ir.Set, ...]:
    if next(calls) > _MOST_CALLS:
        raise OverflowError
    match condition:
        case ir.Or(parts):
            found = tuple(term for part in parts for term in _terms(part, calls))
        case ir.And(parts):
            unions = [(place, part) for place, part in enumerate(parts) if isinstance(part, ir.Or)]
            if not unions:
                return (condition,)
            place, union = unions[0]
            found = tuple(
                term
                for part in union.parts
                for term in _terms(algebra.conjunction(*parts[:place], part, *parts[place + 1 :]), calls)
            )  # a & (x | y) = a & x | a & y
        case _:
            return (condition,)
    return found if len(found) <= _MOST_TERMS else (condition,)


def _layout(term: ir.Set) -> Layout:
    """The layout in which a term wastes least, by proof."""
    if ir.tables(term):
        operands = term.parts if isinstance(term, ir.And) else (term,)
        small = any(isinstance(each, ir.Table) and each.size < _SMALL for each in operands)
        return Listed() if small else Contiguous()
    stride, gathered = periodicity.stride(term), periodicity.periodic_keys(term)
    for part in _simple_operands(term):  # what is proved of one holds for all, and all may be too much to prove
        stride, gathered = lcm(stride, periodicity.stride(part)), gathered or periodicity.periodic_keys(part)
    if gathered and gathered[2] * max(_NARROW, stride + 1) <= gathered[0]:
        return Gathered(*gathered)
    return Residue(stride) if stride > 1 else Contiguous()


def _simple_operands(term: ir.Set) -> list[ir.Set]:
    """The operands of an intersection with a union in it that have remainders and no union."""
    operands = [part for part in term.parts if not _has_union(part)] if isinstance(term, ir.And) else []
    if not operands or not _has_union(term):
        return []
    return [part for part in operands if any(isinstance(node, ir.Mod) for node in ir.walk(part))]


def _has_union(condition: ir.Set) -> bool:
    return any(isinstance(node, ir.Or | ir.Not | ir.Min | ir.Max | ir.Select) for node in ir.walk(condition))


def _merge(wanted: dict[Layout, list[ir.Set]]) -> None:
    """Bring it down to a few layouts: two strides go with their common divisor, or all go contiguous."""
    while sum(map(bool, wanted.values())) > _MOST_REGIONS:
        strides = [layout.stride for layout in wanted if isinstance(layout, Residue)]
        shared, a, b = max(((gcd(a, b), a, b) for a, b in combinations(strides, 2)), default=(1, 0, 0))
        if shared > 1:
            terms = wanted.pop(Residue(a)) + wanted.pop(Residue(b))
            wanted.setdefault(Residue(shared), []).extend(terms)
        else:
            _, terms = wanted.popitem()
            wanted[Contiguous()] += terms
