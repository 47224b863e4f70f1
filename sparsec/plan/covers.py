"""What tile rows and columns of a condition visit, in the coordinates of a layout.

The ladder, per cover: exact segments (at most MOST_SEGMENTS), else one hull, else a hull that knows no floors, else
every tile; tables are visited beside the segments.  Each precision is correct, because a partial tile is masked by the
condition itself; a lower precision only visits more tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sparsec.ir import nodes as ir
from sparsec.ir.algebra import conjunction
from sparsec.ir.approximate import Over, affine_over, beside_choices, named_whole, over, under
from sparsec.plan.coordinates import at_keys, in_class, moved, pairs_of, places
from sparsec.plan.nodes import Contiguous, Cover, Gathered, Layout, Listed, Precision, Region, Residue, Segment, Side
from sparsec.sets import budgets, symbolic_tiles
from sparsec.sets.context import OutOfBudget, budget
from sparsec.sets.points import Points
from sparsec.sets.redundancy import given, simplify
from sparsec.sets.to_isl import relation

MOST_SEGMENTS = 6
MOST_FULL_TERMS = 8

EVERYTHING = (Segment(None, None, ir.TRUE, exact=False),)


def region_of(condition: ir.Set, layout: Layout, why: str) -> Region:
    """The region of a simplified condition that lies in the layout."""
    mask = given(condition, facts) if (facts := pairs_of(layout)) != ir.TRUE else condition
    full_named: ir.Set = ir.FALSE
    beside: tuple[Cover, Cover] | None = None
    match layout:
        case Contiguous():
            rows, columns, full = _seen(mask, stride=1)
            full_named = _full_named(mask, columns.tables)
            beside = _beside_choices(mask)
        case Listed():
            rows, columns, _ = _seen(mask, stride=1)
            full = ir.FALSE
        case Residue(stride):
            rows, columns, full = _seen(in_class(mask, stride), stride)
        case Gathered():
            rows, columns, full = _seen(mask, stride=1)
            rows, columns, full = (
                _keys_gathered(rows, layout),
                _queries_gathered(columns, layout, condition),
                at_keys(full, layout),
            )
    return Region(layout, condition, mask, rows, columns, full, why, full_named=full_named, beside_choices=beside)


def cover_of_rows(condition: ir.Set, layout: Layout) -> Cover:
    """What any number of rows of a simplified condition visit, one alone or several side by side.

    Tables are not visited beside the segments, which hold all that these can name.
    """
    bound = over(condition)
    if bound.tables:
        bound = Over(simplify(affine_over(condition)), why=bound.why or "a table decides")
    stride = layout.stride if isinstance(layout, Residue) else 1
    affine = in_class(bound.affine, stride) if stride > 1 else bound.affine
    pairs = partial(relation, affine, parameters=symbolic_tiles.parameters(stride))
    cover = _cover(bound, pairs, "q", stride, least=1)
    return _keys_gathered(cover, layout) if isinstance(layout, Gathered) else cover


def _seen(condition: ir.Set, stride: int) -> tuple[Cover, Cover, ir.Set]:
    bound = over(condition)
    if ir.leaves(condition) and stride == 1:  # then `condition` was left as it is
        affine = simplify(bound.affine)
        bound = replace(bound, affine=affine, tables=() if affine == ir.TRUE else bound.tables)
    read = partial(relation, parameters=symbolic_tiles.parameters(stride))
    pairs = partial(read, bound.affine)
    kept = partial(read, under(condition)) if bound.tables or bound.why else pairs
    return _cover(bound, pairs, "q", stride), _cover(bound, pairs, "k", stride), _full(kept, stride)


def _beside_choices(mask: ir.Set) -> tuple[Cover, Cover] | None:
    """What rows and columns visit for pairs that no list of the call names."""
    rest = beside_choices(mask)
    if rest is None:
        return None
    bound = over(simplify(rest))
    pairs = partial(relation, bound.affine, parameters=symbolic_tiles.parameters(1))
    return _cover(bound, pairs, "q", 1), _cover(bound, pairs, "k", 1)


def _cover(
    bound: Over, pairs: Callable[[], Points], side: Side, stride: int, least: int = symbolic_tiles.MIN_TILE
) -> Cover:
    """What a tile row or column visits: the highest precision of the ladder that the budget allows."""
    precisions: tuple[tuple[Precision, Callable[[], symbolic_tiles.Reach]], ...] = (
        ("hull" if bound.why else "exact", lambda: symbolic_tiles.touched(pairs(), side, MOST_SEGMENTS, stride, least)),
        ("hull", lambda: symbolic_tiles.hull(pairs(), side, stride, least)),
        ("hull", lambda: symbolic_tiles.hull(pairs().remove_divs(), side, stride, least)),
    )
    why = bound.why
    for precision, reach in precisions:
        try:
            with budget(budgets.PRECISION):
                return _found(reach(), side, precision, why, bound.tables)
        except OutOfBudget:
            why = why or "the set library exceeded its budget"
        except symbolic_tiles.TooManyPieces:
            why = why or f"more than {MOST_SEGMENTS} segments"
    return Cover(side, EVERYTHING, ordered=True, precision="all", why=why)


def _found(
    reach: symbolic_tiles.Reach, side: Side, precision: Precision, why: str, tables: tuple[ir.Table, ...]
) -> Cover:
    exact = precision == "exact"
    if exact and not all(each.exact for each in reach.intervals):
        precision, why = "hull", "gaps inside the segments"
    segments = tuple(Segment(each.first, each.last, each.when, exact and each.exact) for each in reach.intervals)
    return Cover(side, segments, reach.ordered, precision, why, tables)


def _full(pairs: Callable[[], Points], stride: int) -> ir.Set:
    try:
        with budget(budgets.PRECISION):
            return symbolic_tiles.full(pairs(), MOST_FULL_TERMS, stride)
    except OutOfBudget:
        return ir.FALSE  # every tile gets the mask


def _full_named(mask: ir.Set, tables: tuple[ir.Table, ...]) -> ir.Set:
    """When a tile is full of which one of the tables, any of them, has every pair."""
    found = []
    for table in tables:
        kept = under(named_whole(mask, table))
        if kept != ir.TRUE:
            found.append(_full(partial(relation, kept, parameters=symbolic_tiles.parameters(1)), 1))
    return conjunction(*found) if tables else ir.FALSE


def _keys_gathered(cover: Cover, layout: Gathered) -> Cover:
    """A cover of keys as a cover of places: exact where it was, as places rise with their keys."""

    def gathered(segment: Segment) -> Segment:
        first = None if segment.first is None else places(segment.first, layout)
        last = None if segment.last is None else moved(places(moved(segment.last, 1), layout), -1)
        return replace(segment, first=first, last=last)

    return replace(cover, segments=tuple(map(gathered, cover.segments)))


def _queries_gathered(cover: Cover, layout: Gathered, condition: ir.Set) -> Cover:
    """A cover of queries, for tiles of keys, as one for tiles of places, which hold some of the keys between."""
    pairs, at_edges = relation(condition), f"(k_lo - {layout.first}) mod {layout.period} < {layout.width}"
    at_edges += f" and (k_hi - {layout.first}) mod {layout.period} < {layout.width}"

    def spread(segment: Segment) -> Segment:
        first, last = (None if end is None else at_keys(end, layout) for end in (segment.first, segment.last))
        exact = segment.exact and symbolic_tiles.filled(pairs, "k", segment.first, segment.last, segment.when, at_edges)
        return Segment(first, last, at_keys(segment.when, layout), exact)

    segments = tuple(map(spread, cover.segments))
    if cover.precision == "exact" and not all(segment.exact for segment in segments):
        return replace(cover, segments=segments, precision="hull", why="keys between the gathered ones see more")
    return replace(cover, segments=segments)
