"""Edits that diagnostics bring along: each takes away what it is for, and none changes what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sparsec.diagnostics import CODES, Diagnostic
from sparsec.ir.reference import mask
from sparsec.lint.diagnose import diagnose
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing import texts
from sparsec.testing.programs import conditions, to_text

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.spat"))


def said(text: str) -> tuple[Diagnostic, ...]:
    return diagnose(Source("p.spat", text), heads=4, layer=0, layers=4).diagnostics


SLIPS = {
    "pattern p = pas(4)": "pattern p = past(4)",
    "pattern p(width = 4) = past(witdh)": "pattern p(width = 4) = past(width)",
    "p = causal": "pattern p = causal",
    "set a = full\np(w = 3, v = max(w, 2)) = past(v)": "set a = full\npattern p(w = 3, v = max(w, 2)) = past(v)",
    "patern p = causal": "pattern p = causal",
    "sett a = causal": "set a = causal",
    "def p(w = 3) = past(w)": "pattern p(w = 3) = past(w)",
    "pattern p: causal": "pattern p = causal",
    "pattern p:causal": "pattern p = causal",
    "pattern p := causal": "pattern p = causal",
    "pattern p -> causal": "pattern p = causal",
    "pattern p causal": "pattern p = causal",
    "pattern p(w = 4)\n    past(w)": "pattern p(w = 4)\n    = past(w)",
    "pattern p(w: int = 64) = past(w)": "pattern p(w = 64) = past(w)",
    "set s(v: int, w = 64) = past(v)": "set s(v, w = 64) = past(v)",
    "pattern p(w: 64) = past(w)": "pattern p(w = 64) = past(w)",
    "pattern p = past(w: 4)": "pattern p = past(w = 4)",
    "pattern p = match h { 0..2: causal else -> full }": "pattern p = match h { 0..2 -> causal else -> full }",
    "pattern p = match h { 0: causal else -> full }": "pattern p = match h { 0 -> causal else -> full }",
    "pattern p = k in 0:4": "pattern p = k in 0..4",
    "set s(w = 2) = k not in q - w:q + 1": "set s(w = 2) = k not in q - w..q + 1",
    "pattern p = causal and k < 3": "pattern p = causal & k < 3",
    "pattern p = causal && k < 3": "pattern p = causal & k < 3",
    "pattern p = k = q": "pattern p = k == q",
    "pattern p = k∈{1, 2} | k == q": "pattern p = k in{1, 2} | k == q",
    "pattern p = k ≤ q": "pattern p = k <= q",
    "pattern p = causal;": "pattern p = causal",
    "pattern p = causal | 5": "pattern p = causal | k == 5",
    '"the past  \npattern p = causal': '"the past"  \npattern p = causal',
    "pattern p = causal\u200b": "pattern p = causal",
    "pattern p = causal # all\r & past(4)": "pattern p = causal # all\n & past(4)",
    "pattern p = past(8) | past(4)": "pattern p = past(8)",
    "pattern p = past(4) | past(8)  # wide": "pattern p = past(8)  # wide",
    "pattern p = (past(4))  # near\n | (past(8))": "pattern p = (past(8))",
    "pattern p = past(8)  # wide\n | ((past(4)))\n | sinks(3)": "pattern p = past(8)  # wide\n | sinks(3)",
    "pattern p = past(8)  # wide\n | past(4) | sinks(3)": "pattern p = past(8)  # wide\n | sinks(3)",
    "pattern p = causal \\ (k > q)": "pattern p = causal",
    "pattern p = causal & (window(9) | k == q)": "pattern p = causal & (window(9))",
    "pattern p = 1 <= q - k < 4": "pattern p = 1 <= q - k < 4 | k == q",
    "pattern causal_p = window(8)": "pattern causal_p = k <= q & (window(8))",
    "pattern p = causal & window(8) | global(2)": "pattern p = causal & (window(8) | global(2))",
    "pattern p = sinks(4) | (past(8)) \\ past(2)": "pattern p = sinks(4) | ((past(8)) \\ past(2))",
}


@pytest.mark.parametrize(("text", "cured"), SLIPS.items())
def test_the_first_fix_of_a_slip(text: str, cured: str) -> None:
    fixes = [each.fixes[0] for each in said(text) if each.fixes]
    assert fixes[-1].text == cured
    assert not said(cured)


UNKNOWN = [
    "pattern p =",
    "x",
    "p(w = (3 = full",
    'pattern p = """',
    "set s = full xor k < 3",
    'set s = "a""b',
    "set s = k :",
    "pattern p(g = 2) = gl(g)",  # no parameter can be called
]


@pytest.mark.parametrize("text", UNKNOWN)
def test_where_nothing_is_known_nothing_is_offered(text: str) -> None:
    assert [each.fixes for each in said(text)] == [()] * len(said(text))
    assert said(text)


@pytest.mark.parametrize("code", sorted(CODES))
def test_fixes_of_examples_take_the_code_away(code: str) -> None:
    example = CODES[code].example
    if example.language != "spat":
        return
    for found in said(example.program()[0].decode(errors="replace")):
        for fix in found.fixes:
            assert (found.code, found.span) not in [(each.code, each.span) for each in said(fix.text)]


@given(texts.damaged(tuple(path.read_text() for path in EXAMPLES)))
@example(b"pattern p =\n    match layer % 2 {\n        0 )\n        else -> causal\n    }\n")
def test_fixes_of_damaged_texts_take_their_diagnostic_away(data: bytes) -> None:
    before = said(data.decode(errors="replace"))
    assume("SP0804" not in [each.code for each in before])  # what was cut off moves up
    for found in before:
        for fix in found.fixes:
            # Behind a character that goes, its like may take its place.
            after = [each for each in said(fix.text) if each.code == found.code and each.span]
            alike = [each for each in before if each.code == found.code and each.span]
            assert found.span.start not in [each.span.start for each in after] or len(after) < len(alike)


@settings(max_examples=25, deadline=None)
@given(st.lists(conditions(depth=1), min_size=2, max_size=4), st.sampled_from(["|", "\\", "&"]))
def test_what_adds_nothing_can_go(parts: list, symbol: str) -> None:
    body = f"({to_text(parts[0])}) {symbol} ({to_text(parts[0])}) | {' | '.join(map(to_text, parts[1:]))}"
    source = Source("p.spat", f"pattern p = {body}\n")
    for found in diagnose(source).diagnostics:
        for fix in found.fixes if found.code in ("SP0903", "SP0904") else ():
            before, after = (lower(parse(Source("p", text))).conditions[0] for text in (source.text, fix.text))
            assert (mask(before, 13, 13) == mask(after, 13, 13)).all()
