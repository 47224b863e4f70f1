"""Advice about texts with parameters, heads and layers: true for all that they can be bound to, or said for which."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.diagnostics import Diagnostic, SparsecError
from sparsec.ir.reference import mask
from sparsec.lint.diagnose import diagnose
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

LAYERS = "pattern p(w = 64) = past(w) | causal & layer % 6 == 5"
HEADS = "pattern p = past(64) | causal & h >= 8"


def said(text: str, **given) -> tuple[Diagnostic, ...]:
    return diagnose(Source("p.spat", text), **given).diagnostics


def shown(text: str, **given) -> list[str]:
    return [each.fill(each.message) for each in said(text, **given)]


def test_what_other_layers_or_heads_need_is_not_called_needless() -> None:
    assert not any(said(LAYERS, layer=layer, layers=12) for layer in range(12))
    assert not said(HEADS, heads=8)
    assert not said("pattern p = past(4) | past(8) & layer < L // 2", layer=3, layers=4)
    assert not said("set far = causal & h >= 8\npattern p = past(64) | far", heads=8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pattern p(w = 8) = past(w) | past(4)",
            "`past(4)` changes nothing, for w = 8: the pattern is the same without it",
        ),
        (
            "pattern p = match h { 0 -> past(4), else -> causal } | past(2)",
            "`past(2)` changes nothing, for 4 heads: the pattern is the same without it",
        ),
        (
            "pattern p(w = 4) = match layer { 0 -> past(w), else -> 1 <= q - k < w }",
            "some queries have no key, for w = 4 and layer 1 of 12: with n = 1, query 0 is the first",
        ),
        (
            "pattern causal_p = match h { 2 -> window(8), else -> past(8) }",
            "`causal_p` is not causal, for head 2 of 4: query 0 sees the later key 1",
        ),
        (
            "pattern p = match h { 0 -> past(4), else -> q - k < 4 }",
            "every query sees all later keys, and not all earlier ones, for head 1 of 4",
        ),
        ("pattern p(w = 0) = past(w)", "pattern `p` is empty, for w = 0: no query sees any key"),
        ("pattern p = causal & layer != 1", "pattern `p` is empty, for layer 1 of 12: no query sees any key"),
    ],
)  # fmt: skip
def test_it_is_said_for_which(text: str, message: str) -> None:
    (found,) = said(text, heads=4, layer=1, layers=12)
    assert found.fill(found.message) == message
    assert not found.fixes or found.code == "SP0902"  # a name that says causal says it of every head


@pytest.mark.parametrize(
    ("text", "operand"),
    [
        ("pattern p(w = 64) = past(w) | past(w) & layer == 3", "past(w) & layer == 3"),
        ("pattern p(w = 2) = past(8) | past(4) & h < w", "past(4) & h < w"),
        ("pattern p(w = 2) = past(8) | past(4) | sinks(w)", "past(4)"),
    ],
)
def test_what_is_needless_for_all_can_go(text: str, operand: str) -> None:
    (found,) = said(text, heads=4, layer=1, layers=12)
    assert (found.operand, found.where) == (operand, "")
    assert found.fixes[0].safe


PARTS = st.sampled_from(
    ["past(w)", "past(4)", "past(2)", "sinks(v)", "k < 3", "k < v", "stride(3)", "q - k in 0..w", "full", "near"]
)
GUARDS = st.sampled_from(
    ["", " & h < 2", " & h >= v", " & layer % 2 == 0", " & layer < L - 1", " \\ k == v", " & k <= q"]
)
VALUES = [(6, 2, 2, 0, 2), (1, 4, 3, 1, 3), (0, 0, 1, 3, 7), (9, 1, 5, 2, 3), (-3, 7, 4, 5, 9)]
BINDINGS = [
    {"parameters": {"w": w, "v": v}, "heads": heads, "layer": layer, "layers": layers}
    for w, v, heads, layer, layers in VALUES
]


@settings(max_examples=10)
@given(st.lists(st.tuples(PARTS, GUARDS), min_size=2, max_size=4), st.sampled_from(BINDINGS))
def test_safe_fixes_keep_the_mask_of_every_binding(parts: list[tuple[str, str]], bound: dict) -> None:
    body = " | ".join(f"{part}{guard}" for part, guard in parts)
    text = f"set near = past(3) & h < 3\npattern p(w = 6, v = 2) = {body}\n"
    for found in said(text, **bound):
        for fix in found.fixes:
            for other in BINDINGS if fix.safe else ():
                assert masks(text, other) == masks(fix.text, other), found


def masks(text: str, bound: dict) -> list[bytes]:
    """The dense mask of each head, none where no pair is kept."""
    try:
        pattern = lower(parse(Source("p.spat", text)), **bound)
    except SparsecError:
        return []
    heads = pattern.head_conditions or (0,) * bound["heads"]
    return [mask(pattern.conditions[each], 11, 11).tobytes() for each in heads]
