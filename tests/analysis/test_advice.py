"""`check --lint`: said where it should be, true where it is said, and cured by what its cure says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_reach import dense

from sparsec.analysis.advice import advise
from sparsec.analysis.advice_tiles import splits_tiles
from sparsec.analysis.subject import Lower, Subject
from sparsec.cli.predicted import work
from sparsec.diagnostics import CODES, Diagnostic, SparsecError
from sparsec.ir import nodes as ir
from sparsec.ir.lower import lower
from sparsec.ir.reference import mask
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import conditions, tables, terms, to_text

ADVICE = ["SP0907", "SP0908", "SP0909", "SP0910", "SP0911"]


def advice(text: str, depth: int | None = None, work=work, **given) -> list[Diagnostic]:
    file = parse(Source("p.spat", text))
    return advise(file, lower(file, **given), Lower(given), work, depth)


def codes(text: str, **given) -> list[str]:
    return [each.code for each in advice(text, **given)]


@pytest.mark.parametrize("code", ADVICE)
def test_examples_produce_their_codes_and_cures_do_not(code: str) -> None:
    kind = CODES[code]
    assert code in codes(kind.example.text, depth=4)
    cured = re.search(r"`(pattern [^`]*)`", kind.cure)[1]
    assert code not in codes(cured, depth=4)


# ---------------------------------------------------------------- tiles


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pattern p(s = 96) = causal & stride(s)", [(96, 64)]),
        ("pattern p = causal & dilated(256, 96)", [(96, 64)]),
        ("pattern p = causal & same_block(48)", [(48, 64)]),
        ("pattern p = causal & same_block(2 * 24)", [(24, 32)]),
        ("pattern p = causal & same_block(64)", []),
        ("pattern p = past(512)", []),
        ("pattern p = past(500)", []),  # a wider one holds more pairs, but visits more tiles too
        ("pattern p = causal & stride(96) | random_keys(2, 0)", []),
        ("pattern p = causal & (q - 2 * k) % 7 == 0", []),  # scattered over every tile with any number
        ("pattern p = causal & (k * 31 + q * 17) % 101 < 5", []),
    ],
)
def test_numbers_that_split_tiles(text: str, found: list[tuple[int, int]]) -> None:
    said = [each for each in advice(text) if each.code == "SP0907"]
    assert [(each.written, each.better) for each in said] == found
    for each in said:
        changed = text.replace(str(each.written), str(each.better))
        for share, of in ((each.useful, text), (each.better_useful, changed)):
            kept, visited = work(lower(parse(Source("p", of))))
            assert share == round(100 * kept / visited)


def test_defaults_that_are_bound_are_not_spoken_of() -> None:
    assert "SP0907" not in codes("pattern p(s = 96) = causal & stride(s)", parameters={"s": 96})


def test_places_of_numbers() -> None:
    (said,) = (each for each in advice("pattern p(s = 96) = causal & stride(s)") if each.code == "SP0907")
    assert said.span.text == "96"


def test_nothing_is_counted_where_no_number_is_odd() -> None:
    file = parse(Source("p", "pattern p(w = 512) = past(w) | sinks(4)"))
    subject = Subject(file, file.definitions[0], lower(file), Lower())
    assert list(splits_tiles(subject, work=None)) == []


# ---------------------------------------------------------------- generating text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pattern p = past(512)", ["SP0908"]),
        ("pattern p = past(512) | sinks(4)", []),
        ("pattern p = past(512) | k == 0 & k <= q", []),
        ("pattern p = past(512) | random_keys(2, 0) & causal", []),  # which may see key 0
        ("pattern p = past(128) & random_keys(8, 0)", ["SP0908"]),
        ("pattern p = window(512)", []),
        ("pattern p = causal", []),
        ("pattern p = past(64) | causal & stride(64)", ["SP0911"]),
        ("pattern p = causal & columns(64, 8)", ["SP0911"]),
        ("pattern p = past(64) | causal & random_past_blocks(16, 2, 0)", []),  # not known
        ("pattern p = past(512) | global(4)", ["SP0910"]),
        ("pattern p = window(512) | global(4)", []),
        ("pattern p = causal | k < 100", ["SP0910"]),
        ("pattern p = k < 5 & q < 9", []),  # nothing goes on after the first queries
        ("pattern p = match h { 0 -> past(64) else -> causal }", []),
        ("pattern p = match h { 0 -> past(64) else -> past(128) }", ["SP0908"]),
        ("pattern p = past(64) | q < h & k < 4", ["SP0910"]),
    ],
)
def test_of_decoders(text: str, found: list[str]) -> None:
    assert [code for code in codes(text, heads=2) if code != "SP0907"] == found


def test_the_part_that_has_no_bound() -> None:
    (said,) = advice("pattern p = sinks(4) | past(64) | causal & stride(64)")
    assert (said.span.text, said.most, said.keys) == ("causal & stride(64)", 68, 65_536)
    (said,) = advice("pattern p = causal & columns(64, 8)")
    assert (said.span.text, said.most, said.keys) == ("causal & columns(64, 8)", 512, 8192)


def test_names_of_the_prelude_may_mean_something_else() -> None:
    text = "set sinks(s) = past(s)\nset causal = past(7)\npattern p = past(512)\n"
    (said,) = advice(text)
    assert (said.code, said.n, said.most) == ("SP0908", 513, 516)


# ---------------------------------------------------------------- depth


def test_out_of_reach() -> None:
    (said,) = (each for each in advice("pattern p = past(512)", depth=4) if each.code == "SP0909")
    assert (said.n, said.q, said.k) == (4 * 511 + 2, 4 * 511 + 1, 0)
    assert said.reached == "5 layers do at that length"
    (said,) = (each for each in advice("pattern p = stride(2)", depth=9) if each.code == "SP0909")
    assert (said.n, said.q, said.k, said.reached) == (2, 0, 1, "no number of layers does")
    assert "SP0909" not in codes("pattern p = past(512) | causal & stride(512)", depth=2)
    assert "SP0909" not in codes("pattern p = past(512)")


# ---------------------------------------------------------------- nothing is said that is not so


@given(st.lists(conditions(1, terms() | tables()), min_size=1, max_size=3), st.integers(1, 3))
def test_advice_is_true(parts: list[ir.Set], depth: int) -> None:
    text = "pattern p = " + " | ".join(f"({to_text(part)})" for part in parts)
    try:
        found = advice(text, depth, work=lambda pattern: (1, 1))
    except SparsecError:  # an empty pattern
        return
    whole = ir.Or((ir.FALSE, *parts))
    for each in found:
        match each.code:
            case "SP0908":
                steps = range(each.n, each.n + 150)
                assert not any(mask(whole, 1, n)[0, 0] for n in steps)
                assert each.n == 1 or mask(whole, 1, each.n - 1)[0, 0]
            case "SP0909":
                assert not dense([(whole,)] * depth, each.n)[each.q, each.k]
            case "SP0910":
                later = [np.triu(mask(whole, n, n), 1) for n in (*range(1, 40), 90)]
                assert not any(rows[each.last + 1 :].any() for rows in later)
                assert any(
                    rows[each.q :, each.k :].any() and rows[each.q, each.k] for rows in later if len(rows) > each.k
                )
