"""The comments of generated modules that name the terms which segments come from."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.generated import lowered

from sparsec.codegen.dialects import Scalar
from sparsec.codegen.emit import emit
from sparsec.codegen.origins import origins
from sparsec.ir.reference import mask
from sparsec.lower.file import lower_fully
from sparsec.plan.build import build
from sparsec.plan.nodes import Contiguous, Segment
from sparsec.source import Source
from sparsec.syntax.parse import parse

N, TILE = 256, 16


def comments(text: str, heads: int | None = None) -> list[str]:
    """Those of the first `_keys` and of the first `_queries`."""
    found = lowered(text, heads)
    module = emit(build(found.pattern), terms=found.terms())
    bodies = re.findall(r"^def _(?:keys|queries)\w*\(.*?return", module, re.MULTILINE | re.DOTALL)[:2]
    return [line.split("# ")[1] for body in bodies for line in body.splitlines() if "#" in line]


def test_segments_name_their_terms() -> None:
    text = "pattern p(w = 100) = past(w) | sinks(4)"
    assert comments(text) == ["sinks(4)", "past(100)", "past(100)", "sinks(4)"]
    assert comments("pattern p = past(9)") == ["past(9)", "past(9)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("causal & (window(64) | sinks(g))", {"window(64)", "sinks(3)"}),
        ("match g { 0 -> past(5), else -> past(64) | sinks(g) }", {"past(64)", "sinks(3)"}),
        ("both(40, g)", {"past(40)", "sinks(3)"}),
        ("(past(64) | sinks(g)) \\ stride(3)", {"past(64)", "sinks(3)"}),
        ("past(64) & k % 2 == 0 | sinks(g)", {"past(64) & ...", "sinks(3)"}),
        ("q - k in 0..64 | k < 3 & k <= q", set()),  # terms without names
    ],
)
def test_terms_are_found_behind_what_joins_them(text: str, expected: set[str]) -> None:
    assert set(comments(f"set both(w, s) = past(w) | sinks(s)\npattern p(g = 3) = {text}")) == expected


UNIONS = [
    "past(40) | sinks(4)",
    "window(64) | global(5)",
    "block_window(16, 3) | global(32)",
    "past(20) | causal & stride(48)",
    "past(20) | causal & columns(64, 8) | sinks(7)",
    "segments(32, 1) | segments(64, 2, 1) | segments(128, 4, 1)",
    "same_block(32) | causal & k % 64 < 5 | global(2)",
]


@pytest.mark.parametrize("text", UNIONS)
def test_every_name_is_right(text: str) -> None:
    """Looked at pair by pair: an exact segment lies in what its one term touches, a hull holds all of that."""
    found = lowered(f"pattern p = {text}")
    (group,), (terms,) = build(found.pattern, layouts=False).groups, found.terms()
    (region,) = group.variants[0].regions
    assert region.layout == Contiguous()
    masks: dict[str, np.ndarray] = {}
    for name, condition in terms:
        masks[name] = masks.get(name, False) | mask(condition, N, N)
    told = 0
    for cover, names in zip(region.covers, origins(region, terms), strict=True):
        for segment, some in zip(cover.segments, names, strict=True):
            told += bool(some)
            for first in range(0, N - 4 * TILE, TILE):
                visited = positions(segment, cover.side, first)
                touched = set()
                for name in some:
                    kept = masks[name] if cover.side == "q" else masks[name].T
                    touched |= set(np.flatnonzero(kept[first : first + TILE].any(axis=0)).tolist())
                assert not some or (visited <= touched if segment.exact else touched <= visited)
    assert told == sum(len(cover.segments) for cover in region.covers)


def positions(segment: Segment, side: str, first: int) -> set[int]:
    """What a tile of TILE from `first` on visits, below N."""
    edges = {f"{side}_lo": first, f"{side}_hi": first + TILE - 1, "n": N}
    evaluated = [None if end is None else eval(Scalar().integer(end), edges) for end in (segment.first, segment.last)]
    begin, end = evaluated[0], evaluated[1]
    if not eval(Scalar().condition(segment.when), edges):
        return set()
    return set(range(max(begin or 0, 0), min(N - 1 if end is None else end, N - 1) + 1))


def test_heads_that_differ_in_numbers() -> None:
    """One text serves them all, so their numbers are left open; comments decide nothing about what is shared."""
    heads = "pattern p = match h { 0 -> past(100) | sinks(4), else -> past(101) | sinks(4) }"
    assert comments(heads, heads=2) == ["sinks(4)", "past(_)", "past(_)", "sinks(4)"]
    heads = "set a = past(101)\npattern p = match h { 0 -> past(100) | sinks(4), else -> a | sinks(4) }"
    assert comments(heads, heads=2) == ["sinks(4)", "sinks(4)"]


def test_no_text_of_a_user_but_identifiers() -> None:
    """Neither strings nor comments of a text, nor long names, pass into the module."""
    text = f"# os.system\nset {'a' * 200}(w) = 0 <= q - k < w # eval\npattern p = {'a' * 200}(9) | sinks(4)"
    assert all(re.fullmatch(r"[\w(), &.]{1,60}", comment) for comment in comments(text))


def test_a_bool_input_is_a_term() -> None:
    file = parse(Source("p", "input on: bool[H]\npattern p = past(100) | on | causal & (q == k | on)"))
    [terms] = lower_fully(file).terms()
    assert [term.name for term in terms][:2] == ["past(100)", ""]
