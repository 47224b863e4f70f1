"""Splits over layouts against the dense reference: regions are disjoint and complete, and so are their covers.

Splits are taken as they are, whether the planner would choose them or not.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import wide
from support.kernel import is_full, positions, visited
from support.layouts import SideBySide, side_by_side
from test_cover import Call, calls

from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.plan.build import build, contiguous, ranged, spread
from sparsec.plan.nodes import Contiguous, Cover, Gathered, Listed, Region, Residue
from sparsec.sets.redundancy import simplify
from sparsec.source import Source
from sparsec.syntax.parse import parse

N = ir.Var("n")


def lowered(text: str) -> ir.Set:
    return lower(parse(Source("test", f"pattern p = {text}\n"))).conditions[0]


def check(condition: ir.Set, regions: tuple[Region, ...], call: Call) -> None:
    """Every kept pair is in exactly one region, and there in exactly one visited tile of each kernel."""
    kept = reference.mask(condition, call.n_q, call.n, call.q_offset)
    each = [reference.mask(region.condition, call.n_q, call.n, call.q_offset) for region in regions]
    assert (np.sum(each, axis=0) == kept).all()
    for region, wanted in zip(regions, each, strict=True):
        seen = np.zeros((2, *wanted.shape), np.int64)
        for beside in side_by_side(region, call.n_q, call.n, call.q_offset):
            pairs = call.q_offset + beside.rows, beside.keys, call.n
            assert (reference.evaluate(region.mask, *pairs) == reference.evaluate(region.condition, *pairs)).all()
            visit_keys(beside, call, seen[0])
            visit_queries(beside, call, seen[1])
        assert seen.max(initial=0) <= 1
        for leaf in region.rows.tables:  # its tiles are visited beside the segments
            wanted = wanted & ~reference.mask(leaf, call.n_q, call.n, call.q_offset)
        assert not (wanted & (seen == 0)).any()
        assert region.layout in (Contiguous(), Listed()) or not ir.leaves(region.condition)


def visit_keys(beside: SideBySide, call: Call, seen: np.ndarray) -> None:
    """Count the visits of forward and dq; full tiles are full, exact segments are touched."""
    region = beside.region
    for row in range(0, len(beside.rows), call.block_m):
        q_lo, q_hi = beside.q_start + row, beside.q_start + row + call.block_m - 1
        for tile in visited(region.rows, q_lo, q_hi, call.n, len(beside.keys), call.block_n, 0, beside.residue):
            rows, keys = beside.rows[row : row + call.block_m], beside.keys[tile * call.block_n :][: call.block_n]
            seen[np.ix_(rows, keys)] += 1
        for k_lo in range(0, len(beside.keys) - call.block_n + 1, call.block_n):
            box = (q_lo, q_hi, k_lo, k_lo + call.block_n - 1)
            if is_full(region, box, call.n, beside.residue):
                queries, keys = beside.queries_at(*box[:2]), beside.keys_at(*box[2:])
                assert reference.evaluate(region.condition, queries, keys, call.n).all()
        check_tight(beside, region.rows, (q_lo, q_hi), call)


def visit_queries(beside: SideBySide, call: Call, seen: np.ndarray) -> None:
    """Count the visits of dk and dv."""
    for key in range(0, len(beside.keys), call.block_n):
        k_lo, k_hi = key, key + call.block_n - 1
        cover, sizes = beside.region.columns, (len(beside.rows), call.block_m, beside.q_start, beside.residue)
        for tile in visited(cover, k_lo, k_hi, call.n, *sizes):
            rows, keys = beside.rows[tile * call.block_m :][: call.block_m], beside.keys[key : key + call.block_n]
            seen[np.ix_(rows, keys)] += 1
        check_tight(beside, cover, (k_lo, k_hi), call)


def check_tight(beside: SideBySide, cover: Cover, edges: tuple[int, int], call: Call) -> None:
    """Every position of an exact segment is touched.  (What names n is known for keys below n alone.)"""
    length, shift = (len(beside.keys), 0) if cover.side == "q" else (len(beside.rows), beside.q_start)
    for segment in cover.segments:
        first, stop = positions(segment, cover.side, *edges, call.n, length, shift, beside.residue)
        if segment.exact and first < stop and "n" not in ir.names(beside.region.condition):
            own = (first + shift, stop - 1 + shift)
            q, k = (edges, own) if cover.side == "q" else (own, edges)
            touched = reference.evaluate(beside.region.condition, beside.queries_at(*q), beside.keys_at(*k), call.n)
            assert touched.any("qk".index(cover.side)).all()


TIGHT = {
    "causal & stride(8)": [Residue(8)],
    "dilated(40, 4)": [Residue(4)],
    "causal & (same_block(16) | columns(16, 2))": [Contiguous(), Gathered(16, 14, 2)],
    "causal & (past(16) | stride(16))": [Contiguous(), Residue(16)],
    "past(16) | causal & stride(16)": [Contiguous(), Residue(16)],
    "causal & (past(20) | k % 24 == 5)": [Contiguous(), Gathered(24, 5, 1)],
    "window(90) & k // 4 % 6 == 3": [Gathered(24, 12, 4)],
    "k % 40 == 7": [Gathered(40, 7, 1)],
    "global(3) | stride(5) & causal": [Contiguous(), Residue(5)],
}
LOOSE = {
    "causal & (same_block(32) | stride(12) & q // 24 == k // 24 + 1)": [Contiguous(), Residue(12)],
    "causal & (segments(16, 1) | segments(32, 2) | segments(64, 4, 1))": [Contiguous(), Residue(2), Residue(4)],
    "stride(6) & same_block(50) | stride(4) & past(40) | k % 30 < 2": [Residue(6), Residue(4), Gathered(30, 0, 2)],
    "(q - k) % 5 == 2 | stride(3) & stride(4)": [Contiguous(), Residue(12)],
    "stride(8) | stride(12) | stride(20) | past(9)": [Contiguous(), Residue(8), Residue(4)],
    "random_blocks(32, 2, 1) | causal & stride(7)": [Residue(7), Contiguous()],
    "random_keys(3, 1) | causal & stride(7) | random_blocks(32, 2, 1)": [Residue(7), Contiguous(), Listed()],
    "random_blocks(8, 2, 1) & causal | past(9)": [Contiguous(), Listed()],
    "n - k <= 30 & stride(3)": [Residue(3)],
    "q - k in {0, 16} & k % 24 == 0": [Gathered(24, 0, 1)],
    "(q - k) % 16 == 8 & k % 40 in {0, 23, 24}": [Residue(8)],  # isl's lexmin changes what it is asked about
}
CALLS = (Call(150, 150, 0, 16, 16), Call(61, 133, 72, 16, 32), Call(100, 40, 3, 17, 19), Call(7, 9, 2, 16, 16))


@pytest.mark.parametrize("text", TIGHT | LOOSE)
def test_layouts(text: str) -> None:
    condition = lowered(text)
    regions = spread(simplify(condition), ranged).regions
    assert [region.layout for region in regions] == (TIGHT | LOOSE)[text]
    assert text not in TIGHT or {cover.precision for region in regions for cover in region.covers} == {"exact"}
    for call in CALLS[: 1 if "random" in text else None]:
        check(condition, regions, call)


@given(wide.layered, calls)
def test_random_layouts(condition, call):
    apart = spread(simplify(condition), ranged)
    assume(apart)
    check(condition, apart.regions, call)


@pytest.mark.full
@settings(max_examples=2500, deadline=None)
@given(wide.layered, st.lists(calls, min_size=2, max_size=2))
def test_many_random_layouts(condition, some):
    apart = spread(simplify(condition), ranged)
    assume(apart)
    for call in some:
        check(condition, apart.regions, call)


@pytest.mark.parametrize(
    ("text", "least", "layouts"),
    [
        ("causal & stride(64)", 2048, [Residue(64)]),
        ("dilated(256, 4)", 0, [Residue(4)]),
        ("causal & (same_block(128) | columns(128, 8))", 1024, [Contiguous(), Gathered(128, 120, 8)]),
        ("causal & (past(128) | stride(128))", 4096, [Contiguous(), Residue(128)]),
        ("window(512) | global(64)", 0, [Contiguous()]),
        ("past(64) & stride(16)", 1024, [Residue(16)]),
    ],
)
def test_choice(text: str, least: int, layouts: list) -> None:
    (plan,) = build(ir.Pattern("p", "", "", (), (lowered(text),)), layouts=True).groups
    assert plan.variants[-1].from_n == least
    assert [region.layout for region in plan.variants[-1].regions] == layouts
    assert least == 0 or [region.layout for region in plan.variants[0].regions] == [Contiguous()]
    assert plan.variants[0].from_n == 0


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("causal & stride(8)", [[Residue(8)]]),
        ("causal & (same_block(16) | columns(16, 2))", [[Contiguous(), Gathered(16, 14, 2)]]),
        ("stride(6) & same_block(50) | past(40) | k % 30 < 2", [[Contiguous(), Gathered(30, 0, 2)], [Residue(6)]]),
        (
            "random_blocks(32, 2, 1) | causal & stride(7) | k % 40 < 2",
            [[Residue(7)], [Contiguous(), Gathered(40, 0, 2)]],
        ),
        ("random_keys(3, 1) | k % 24 < 2 | past(9)", [[Contiguous(), Gathered(24, 0, 2)], [Listed()]]),
    ],
)
def test_kernels(text: str, joined: list) -> None:
    """Regions whose queries stand alike share kernels, the contiguous one first; what is carried is taken up next."""
    made = spread(simplify(lowered(text)))
    for kind in ("forward", "dq"):
        kernels = made.of(kind)
        assert [[region.layout for region in kernel.regions] for kernel in kernels] == joined
        assert [kernel.begin for kernel in kernels] == ["init", *["continue"] * (len(joined) - 1)]
        assert [kernel.end for kernel in kernels] == [*["carry"] * (len(joined) - 1), "store"]
    kernels = made.of("dkdv")
    assert sorted(map(id, made.regions)) == sorted(id(region) for kernel in kernels for region in kernel.regions)
    assert made.kernels == (*made.of("forward"), *made.of("dq"), *kernels)


def test_sums_of_gathered_keys_are_collected_once() -> None:
    """Gathered keys come first in dk and dv; the first kernel that reaches every key adds their sums."""
    gathered, first, last = spread(simplify(lowered("stride(6) & same_block(50) | past(40) | k % 30 < 2"))).of("dkdv")
    assert (gathered.begin, gathered.end, gathered.collects) == ("init", "sums", ())
    assert (first.begin, first.end) == ("init", "carry")
    assert first.collects == ((gathered.name, gathered.regions[0]),)
    assert (last.begin, last.end, last.collects) == ("continue", "store", ())
    (alone,) = spread(simplify(lowered("k % 40 == 7"))).of("dkdv")
    assert (alone.begin, alone.end, alone.collects) == ("init", "sums", ())


@pytest.mark.parametrize("text", LOOSE)
def test_what_is_taken_up_was_handed_over(text: str) -> None:
    """Of each kind one kernel starts, each next one goes on with what the one before left, and the last one stores."""
    made = spread(simplify(lowered(text)))
    for kind in ("forward", "dq", "dkdv"):
        kernels = [kernel for kernel in made.of(kind) if kernel.end != "sums"]
        assert [kernel.begin for kernel in kernels] == (["init"] + ["continue"] * len(kernels))[: len(kernels)]
        assert [kernel.end for kernel in kernels] == (["carry"] * len(kernels) + ["store"])[1:]
    sums = {kernel.name for kernel in made.of("dkdv") if kernel.end == "sums"}
    collected = [name for kernel in made.of("dkdv") for name, _ in kernel.collects]
    assert sorted(collected) == sorted(sums) or not any(kernel.end == "store" for kernel in made.of("dkdv"))


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("causal", True, False),
        ("q <= k", False, True),
        ("causal & stride(64)", True, False),
        ("past(512)", False, False),
        ("window(512) | global(64)", False, False),
        ("causal & k % 64 < 4", True, False),
    ],
)
def test_who_starts_first(text: str, rows: bool, columns: bool) -> None:
    condition = simplify(lowered(text))
    (region,) = (spread(condition) or contiguous(condition)).regions
    assert (region.rows.longest_first, region.columns.longest_first) == (rows, columns)


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("window(512) | global(64)", 64, 64),
        ("sinks(4) | past(1020)", 0, 4),
        ("causal", 0, 0),
        ("causal | k < 256", 0, 0),
        ("global(5000) | past(64)", 0, 0),
    ],
)
def test_long(text: str, rows: int, columns: int) -> None:
    (plan,) = build(ir.Pattern("p", "", "", (), (lowered(text),)), layouts=False).groups
    (region,) = plan.variants[0].regions
    assert (region.rows.split_prefix, region.columns.split_prefix) == (rows, columns)
