"""Splits over layouts against the dense reference: parts are disjoint and complete, and so are their covers.

Splits are taken as they are, whether the planner would choose them or not.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import wide
from support.kernel import is_full, positions, visited
from support.layouts import Group, groups
from test_cover import Call, calls

from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.plan.build import build, natural, spread
from sparsec.plan.nodes import Columns, Cover, Natural, Part, Residue, Scattered
from sparsec.plan.walks import walks
from sparsec.sets.simplify import simplify
from sparsec.source import Source
from sparsec.syntax.parse import parse

N = ir.Var("n")


def lowered(text: str) -> ir.Set:
    return lower(parse(Source("test", f"pattern p = {text}\n"))).conditions[0]


def check(condition: ir.Set, parts: tuple[Part, ...], call: Call) -> None:
    """Every kept pair is in exactly one part, and there in exactly one visited tile of each kernel."""
    kept = reference.mask(condition, call.n_q, call.n, call.q_offset)
    each = [reference.mask(part.condition, call.n_q, call.n, call.q_offset) for part in parts]
    assert (np.sum(each, axis=0) == kept).all()
    for part, wanted in zip(parts, each, strict=True):
        seen = np.zeros((2, *wanted.shape), np.int64)
        for group in groups(part, call.n_q, call.n, call.q_offset):
            pairs = call.q_offset + group.rows, group.keys, call.n
            assert (reference.evaluate(part.mask, *pairs) == reference.evaluate(part.condition, *pairs)).all()
            visit_keys(group, call, seen[0])
            visit_queries(group, call, seen[1])
        assert seen.max(initial=0) <= 1
        for leaf in part.rows.tables:  # its tiles are visited beside the segments
            wanted = wanted & ~reference.mask(leaf, call.n_q, call.n, call.q_offset)
        assert not (wanted & (seen == 0)).any()
        assert part.layout in (Natural(), Scattered()) or not ir.leaves(part.condition)


def visit_keys(group: Group, call: Call, seen: np.ndarray) -> None:
    """Count the visits of forward and dq; full tiles are full, exact segments are touched."""
    part = group.part
    for row in range(0, len(group.rows), call.block_m):
        q_lo, q_hi = group.q_start + row, group.q_start + row + call.block_m - 1
        for tile in visited(part.rows, q_lo, q_hi, call.n, len(group.keys), call.block_n, 0, group.residue):
            rows, keys = group.rows[row : row + call.block_m], group.keys[tile * call.block_n :][: call.block_n]
            seen[np.ix_(rows, keys)] += 1
        for k_lo in range(0, len(group.keys) - call.block_n + 1, call.block_n):
            box = (q_lo, q_hi, k_lo, k_lo + call.block_n - 1)
            if is_full(part, box, call.n, group.residue):
                queries, keys = group.queries_at(*box[:2]), group.keys_at(*box[2:])
                assert reference.evaluate(part.condition, queries, keys, call.n).all()
        check_tight(group, part.rows, (q_lo, q_hi), call)


def visit_queries(group: Group, call: Call, seen: np.ndarray) -> None:
    """Count the visits of dk and dv."""
    for key in range(0, len(group.keys), call.block_n):
        k_lo, k_hi = key, key + call.block_n - 1
        cover, sizes = group.part.columns, (len(group.rows), call.block_m, group.q_start, group.residue)
        for tile in visited(cover, k_lo, k_hi, call.n, *sizes):
            rows, keys = group.rows[tile * call.block_m :][: call.block_m], group.keys[key : key + call.block_n]
            seen[np.ix_(rows, keys)] += 1
        check_tight(group, cover, (k_lo, k_hi), call)


def check_tight(group: Group, cover: Cover, edges: tuple[int, int], call: Call) -> None:
    """Every position of an exact segment is touched.  (What names n is known for keys below n alone.)"""
    length, shift = (len(group.keys), 0) if cover.side == "q" else (len(group.rows), group.q_start)
    for segment in cover.segments:
        first, stop = positions(segment, cover.side, *edges, call.n, length, shift, group.residue)
        if segment.exact and first < stop and "n" not in ir.names(group.part.condition):
            own = (first + shift, stop - 1 + shift)
            q, k = (edges, own) if cover.side == "q" else (own, edges)
            touched = reference.evaluate(group.part.condition, group.queries_at(*q), group.keys_at(*k), call.n)
            assert touched.any("qk".index(cover.side)).all()


TIGHT = {
    "causal & stride(8)": [Residue(8)],
    "dilated(40, 4)": [Residue(4)],
    "causal & (same_block(16) | columns(16, 2))": [Natural(), Columns(16, 14, 2)],
    "causal & (past(16) | stride(16))": [Natural(), Residue(16)],
    "past(16) | causal & stride(16)": [Natural(), Residue(16)],
    "causal & (past(20) | k % 24 == 5)": [Natural(), Columns(24, 5, 1)],
    "window(90) & k // 4 % 6 == 3": [Columns(24, 12, 4)],
    "k % 40 == 7": [Columns(40, 7, 1)],
    "global(3) | stride(5) & causal": [Natural(), Residue(5)],
}
LOOSE = {
    "causal & (same_block(32) | stride(12) & q // 24 == k // 24 + 1)": [Natural(), Residue(12)],
    "causal & (segments(16, 1) | segments(32, 2) | segments(64, 4, 1))": [Natural(), Residue(2), Residue(4)],
    "stride(6) & same_block(50) | stride(4) & past(40) | k % 30 < 2": [Residue(6), Residue(4), Columns(30, 0, 2)],
    "(q - k) % 5 == 2 | stride(3) & stride(4)": [Natural(), Residue(12)],
    "stride(8) | stride(12) | stride(20) | past(9)": [Natural(), Residue(8), Residue(4)],
    "random_blocks(32, 2, 1) | causal & stride(7)": [Residue(7), Natural()],
    "random_keys(3, 1) | causal & stride(7) | random_blocks(32, 2, 1)": [Residue(7), Natural(), Scattered()],
    "random_blocks(8, 2, 1) & causal | past(9)": [Natural(), Scattered()],
    "n - k <= 30 & stride(3)": [Residue(3)],
    "q - k in {0, 16} & k % 24 == 0": [Columns(24, 0, 1)],
    "(q - k) % 16 == 8 & k % 40 in {0, 23, 24}": [Residue(8)],  # isl's lexmin changes what it is asked about
}
CALLS = (Call(150, 150, 0, 16, 16), Call(61, 133, 72, 16, 32), Call(100, 40, 3, 17, 19), Call(7, 9, 2, 16, 16))


@pytest.mark.parametrize("text", TIGHT | LOOSE)
def test_layouts(text: str) -> None:
    condition = lowered(text)
    parts = spread(simplify(condition))
    assert [part.layout for part in parts] == (TIGHT | LOOSE)[text]
    assert text not in TIGHT or {cover.rung for part in parts for cover in (part.rows, part.columns)} == {"exact"}
    for call in CALLS[: 1 if "random" in text else None]:
        check(condition, parts, call)


@given(wide.layered, calls)
def test_random_layouts(condition, call):
    parts = spread(simplify(condition))
    assume(parts)
    check(condition, parts, call)


@pytest.mark.full
@settings(max_examples=2500, deadline=None)
@given(wide.layered, st.lists(calls, min_size=2, max_size=2))
def test_many_random_layouts(condition, some):
    parts = spread(simplify(condition))
    assume(parts)
    for call in some:
        check(condition, parts, call)


@pytest.mark.parametrize(
    ("text", "least", "layouts"),
    [
        ("causal & stride(64)", 2048, [Residue(64)]),
        ("dilated(256, 4)", 0, [Residue(4)]),
        ("causal & (same_block(128) | columns(128, 8))", 1024, [Natural(), Columns(128, 120, 8)]),
        ("causal & (past(128) | stride(128))", 4096, [Natural(), Residue(128)]),
        ("window(512) | global(64)", 0, [Natural()]),
        ("past(64) & stride(16)", 0, [Natural()]),
    ],
)
def test_choice(text: str, least: int, layouts: list) -> None:
    (plan,) = build(ir.Pattern("p", "", "", (), (lowered(text),)), layouts=True).parts
    assert plan.choices[-1].least_n == least
    assert [part.layout for part in plan.choices[-1].parts] == layouts
    assert least == 0 or [part.layout for part in plan.choices[0].parts] == [Natural()]
    assert plan.choices[0].least_n == 0


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("causal & stride(8)", [[Residue(8)]]),
        ("causal & (same_block(16) | columns(16, 2))", [[Natural(), Columns(16, 14, 2)]]),
        ("stride(6) & same_block(50) | past(40) | k % 30 < 2", [[Natural(), Columns(30, 0, 2)], [Residue(6)]]),
        ("random_blocks(32, 2, 1) | causal & stride(7) | k % 40 < 2", [[Residue(7)], [Natural(), Columns(40, 0, 2)]]),
        ("random_keys(3, 1) | k % 24 < 2 | past(9)", [[Natural(), Columns(24, 0, 2)], [Scattered()]]),
    ],
)
def test_walks(text: str, joined: list) -> None:
    """Parts whose queries stand alike go together, the natural one first; each part in one walk."""
    parts = spread(simplify(lowered(text)))
    assert [[part.layout for part in walk] for walk in walks(parts)] == joined
    assert sorted(map(id, parts)) == sorted(id(part) for walk in walks(parts) for part in walk)


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
    (part,) = spread(condition) or natural(condition)
    assert (part.rows.rising, part.columns.rising) == (rows, columns)


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
    (plan,) = build(ir.Pattern("p", "", "", (), (lowered(text),)), layouts=False).parts
    (part,) = plan.choices[0].parts
    assert (part.rows.long, part.columns.long) == (rows, columns)
