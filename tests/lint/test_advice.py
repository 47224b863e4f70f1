"""`check --lint`: said where it should be, true where it is said, and cured by what its cure says."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_reach import dense

from sparsec.analysis.decoder_cache import decoder_cache
from sparsec.diagnostics import CODES, Diagnostic, SparsecError
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import exact
from sparsec.ir.reference import mask
from sparsec.lint.advice import Adviser
from sparsec.lint.diagnose import diagnose
from sparsec.lint.knobs import knobs
from sparsec.lint.subject import Lower, Subject
from sparsec.lint.tiles import splits_tiles
from sparsec.lower.file import check_names, lower, lower_fully
from sparsec.report.prediction import beside_dense, work
from sparsec.sets import budgets
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import conditions, tables, terms, to_text

ADVICE = ["SP0907", "SP0908", "SP0909", "SP0910", "SP0911", "SP0914"]


def advice(text: str, depth: int | None = None, work=work, **given) -> list[Diagnostic]:
    return Adviser(work, beside_dense, depth)(subject(text, **given))


def subject(text: str, **given) -> Subject:
    lowered = lower_fully(parse(Source("p.spat", text)), **given)
    return Subject(lowered.entry, lowered.pattern, Lower(given))


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
        # Numbers that nobody turns: factors of positions, moduli of hashes, exponents, members, choices of a layer.
        ("pattern p(s = 3) = causal & q // 64 == s * k // 192", []),
        ("set hash(m) = (q + 7 * k) % m < 9\npattern p(m = 96) = causal & same_block(64) & hash(m)", []),
        ("pattern p = causal & same_block(2 ** 5 + 2 ** 4)", []),
        ("set blocks_of(b) = same_block(b)\npattern p(b = 48) = causal & blocks_of(b)", [(48, 64)]),
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pattern p(w = 64, s = 5) = past(w) | causal & (q - k) % s == 0", [64, 5, 0]),
        ("pattern p(s = 5) = causal & (q - s * k) % 8 == 0", [0]),
        ("pattern p(m = 5, a = m) = (q + k) % a == 3", [3]),
        ("set f(m, w) = (q + k) % m == 0 & past(w)\nset g(m, w) = f(w, m)\npattern p(a = 4, b = 6) = g(a, b)", [4]),
        ("pattern p(b = 6) = past(b) & k in {1, 2, b}", []),
        (
            "pattern p(a = 3) = match h { a -> past(7), 2..4 -> past(8), else -> past(9) & h < 5 & layer in 6..7 }",
            [7, 8, 9],
        ),
        ("pattern p = q // 16 % 4 == k // 16 % 4", [16, 4, 16, 4]),
    ],
)
def test_numbers_that_could_be_turned(text: str, found: list[int]) -> None:
    (*_, entry) = check_names(parse(Source("p", text))).own.values()
    assert [node.value for node in knobs(entry)] == found


def test_places_of_numbers() -> None:
    (said,) = (each for each in advice("pattern p(s = 96) = causal & stride(s)") if each.code == "SP0907")
    assert said.span.text == "96"


def test_nothing_is_counted_where_no_number_is_odd() -> None:
    assert list(splits_tiles(subject("pattern p(w = 512) = past(w) | sinks(4)"), work=None)) == []


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


def followed(found: Diagnostic) -> ir.Pattern:
    """The pattern once the help of advice is done as it says."""
    (cure,) = re.findall(r"`([|&(k].*?)`", found.fill(found.help))[:1]
    span = found.span
    changed = cure.replace("...", span.text) if "(...)" in cure else f"{span.text} {cure}"
    text = span.source.text[: span.start] + changed + span.source.text[span.end :]
    return lower(parse(Source("p.spat", text)))


@pytest.mark.parametrize(
    ("text", "part", "keys", "most"),
    [
        ("pattern p = sinks(4) | past(64) | causal & stride(64)", "causal & stride(64)", 65_536, 4 + 64 + 63 * 63),
        ("pattern p = causal & columns(64, 8)", "causal & columns(64, 8)", 8192, 512),
        ("pattern p = causal & (past(64) | stride(64))", "stride(64)", 65_536, 64 + 63 * 63),
    ],
)
def test_the_part_that_has_no_bound(text: str, part: str, keys: int, most: int) -> None:
    (said,) = (each for each in advice(text) if each.code == "SP0911")
    assert (said.span.text, said.keys) == (part, keys)
    near = followed(said)
    assert decoder_cache(near.conditions[0]).most == int(re.search(r"at most (\d+)", said.bound)[1])
    whole = lower(parse(Source("p", text))).conditions[0]
    for q in (100, 4095, 5000):  # what is near stays
        old, new = (mask(condition, 1, q + 1)[0] for condition in (whole, near.conditions[0]))
        assert (old[max(0, q - 4095) :] == new[max(0, q - 4095) :]).all()
        assert not (new & ~old).any()


def test_where_no_part_can_be_bounded_for_itself_no_cure_is_made_up() -> None:
    (said,) = advice("pattern p = sinks(4) | causal & stride(64) | causal & columns(64, 8)")
    assert (said.code, said.bound) == ("SP0911", "")
    (said,) = advice("pattern p = past(64) | causal & stride(8192)")  # nothing of the stride is near
    assert (said.code, said.bound) == ("SP0911", "")


CANVAS = """abs(min(max(q // w, 3), w - 4) - k // w) <= 3 & abs(min(max(q % w, 3), w - 4) - k % w) <= 3"""
CANVASES = [
    *(f"pattern p(w = {w}) = {CANVAS}" for w in (16, 64)),
    "pattern p = abs(q // 64 - k // 64) <= 3 & abs(q % 64 - k % 64) <= 3 & q < 4096 & k < 4096",
    "pattern p = q < 40 & k < 40 & abs(q - k) < 8 | q >= 40 & k == 39",  # its last key is seen without end
    "pattern p = window(64) & q < 4000 | past(64)",
    "pattern p = same_block(4) & q < 64 | causal & q % 999 == 0",  # few queries go on
    "pattern p = match h { 0 -> window(9) & q < 64 & k < 64, else -> past(16) | global(2) }",
]


@pytest.mark.parametrize("text", CANVASES)
def test_a_canvas_is_not_called_causal(text: str) -> None:
    assert "SP0910" not in codes(text, heads=2, work=lambda pattern: (1, 1))


@pytest.mark.parametrize(
    "text", ["past(512) | global(4)", "causal | k < 100 & q < 100", "past(64) | window(64) & q < 900"]
)
def test_looking_ahead_no_longer(text: str) -> None:
    (said,) = (each for each in advice(f"pattern p = {text}") if each.code == "SP0910")
    old, new = (pattern.conditions[0] for pattern in (lower(parse(Source("p", f"pattern p = {text}"))), followed(said)))
    assert (mask(new, 200, 200) == np.tril(mask(old, 200, 200))).all()


@pytest.mark.parametrize(
    "text", ["past(32)", "past(8) \\ k < 3", "past(16) & stride(2)", "match layer { 0 -> past(9) }"]
)
def test_with_sinks_every_query_sees_the_first_key(text: str) -> None:
    file = parse(Source("p.spat", f"pattern p = {text}"))
    (said,) = (each for each in advice(file.source.text, layer=0) if each.code == "SP0908")
    assert said.where == (", for layer 0" if "layer" in text else "")
    cured = parse(Source("p.spat", f"pattern p = {text} | k < 4 & k <= q"))
    old, new = (mask(lower(each, layer=0).conditions[0], 90, 90) for each in (file, cured))
    assert new[:, 0].all()
    assert (new[:, 4:] == old[:, 4:]).all()
    assert (new == (old | np.tril(np.arange(90) < 4))).all()


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


def test_the_length_from_which_on_key_0_is_dropped_counts_with_tables() -> None:
    (found,) = (each for each in advice("pattern p = past(2) & blocks(1, [[0]])", 1) if each.code == "SP0908")
    assert found.n == 2


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
                assert each.n == 1 or mask(whole, 1, each.n - 1)[0, 0] or not all(map(exact, ir.leaves(whole)))
            case "SP0909":
                assert not dense([(whole,)] * depth, each.n)[each.q, each.k]
            case "SP0910":
                later = [np.triu(mask(whole, n, n), 1) for n in (*range(1, 40), 90)]
                assert not any(rows[each.last + 1 :].any() for rows in later)
                assert any(
                    rows[each.q :, each.k :].any() and rows[each.q, each.k] for rows in later if len(rows) > each.k
                )


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("causal & (q - k) % 7 < 3", 43),
        ("(q + k) % 5 == 0", 20),
        ("causal & (q - k) % 448 < 192", None),  # the same share, in whole tiles
        ("causal & stride(7)", None),  # residue classes
        ("causal & k % 7 == 0", None),  # gathered keys
        ("causal & k % 3 != 0", None),  # most pairs: nobody expects more
        ("causal", None),
        ("past(100)", None),
    ],
)
def test_patterns_that_gain_nothing(text: str, pairs: int | None) -> None:
    found = [each.pairs for each in advice(f"pattern p = {text}") if each.code == "SP0914"]
    assert found == ([] if pairs is None else [pairs])


# ---------------------------------------------------------------- many patterns


def test_the_patterns_of_a_file_share_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"pattern p{i} = causal & stride({96 + i})" for i in range(6)]
    used = []
    for text in texts[:2]:
        adviser = Adviser(work, beside_dense, None)
        alone = adviser(subject(text))
        used.append(budgets.ADVICE - adviser.left)
    monkeypatch.setattr(budgets, "ADVICE", 2 * max(used))
    found = diagnose(Source("p.spat", "\n".join(texts)), advice=Adviser(work, beside_dense, None))
    assert found.unadvised
    assert found.unadvised == tuple(f"p{i}" for i in range(6))[-len(found.unadvised) :]
    assert len(found.unadvised) <= 4
    assert {each.code for each in alone} <= {each.code for each in found.diagnostics}
    assert not diagnose(Source("p.spat", texts[0]), advice=Adviser(work, beside_dense, None)).unadvised


def test_patterns_without_advice_are_named(sparsec, spat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "ADVICE", 1)
    name = spat("pattern a = causal & stride(96)\npattern b = causal\n")
    note = "no time was left for advice; pass --pattern a to ask for it alone"
    assert sparsec("check", "--lint", name).out == f"p.spat: ok\n  a and 1 more: {note}\n"
    said = json.loads(sparsec("check", "--lint", name, "--output-format", "json").out)
    assert said["files"][0]["unadvised"] == ["a", "b"]
