"""Slips of somebody's first minutes, and the cure that is offered."""

import re
from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparsec
from sparsec.diagnostics import SparsecError
from sparsec.lower.file import lower
from sparsec.lower.hints import _INTEGER_HINTS, _SET_HINTS
from sparsec.lower.misread import without_square
from sparsec.lower.scope import INTEGERS, prelude
from sparsec.lower.signatures import BUILT_IN
from sparsec.source import Source
from sparsec.syntax.errors.near import near
from sparsec.syntax.later import _WORDS
from sparsec.syntax.parse import parse

DECLARED = "a declaration is written `pattern name = ...` or `set name = ...`"
RANGE = "a range is written `first..end`, without `end` itself"
IN = "`in` takes a range `first..end`, without `end` itself, or numbers in braces, `{0, 4}`"
CHOICE = "a choice by head or layer is `match h { ... }`, by position `(a & b) | (c \\ a)`"
PYTHON = "`pattern p = k <= q`; a Python function is read by `sparsec.from_mask_mod`"
ARM = "`->` stands before what an arm chooses: `0 -> causal`"
CASE = "`case` is left out: an arm is written `0 -> causal`"
COMMENT = "a comment begins with `#`"
WHOLE = "numbers are whole and decimal: write `10 ** 4` or `10_000`"
USE = 'another file is made known by `use "other.spat"`'


def said(text: str) -> list:
    """All errors of a text, of its syntax or of its names."""
    with pytest.raises(SparsecError) as raised:
        lower(parse(Source("mine.spat", text)), heads=4, layer=0, layers=2)
    return list(raised.value.diagnostics)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("pattern mine(w = 64): past(w)", "a declaration is written `pattern name(w = 64) = ...`"),
        ("pattern my-pattern = causal", "names are made of letters, digits and `_`"),
        ("mine = causal", DECLARED),
        ("mine.spat", DECLARED),
        ("pattern p = causal q = causal", DECLARED),
        ("pattern p = k // 4 q = causal", DECLARED),
        ("pattern p = k in 0:4", RANGE),
        ("pattern p = match h { 0:2 -> causal, else -> full }", RANGE),
        ("pattern p = past(w: 4)", "an argument is given a name by `=`: `past(w = 4)`"),
    ],
)
def test_cure(text, cure):
    with pytest.raises(SparsecError) as raised:
        parse(Source("mine.spat", text))
    assert cure in str(raised.value)


# text with the marked words between « and »: one error stands there, and its help is the cure
ONE_CURE = [
    ("pattern p(w = 4 «=» past(w)", "`(` of line 1, column 10 is still open"),
    ("pattern p(w = 4, v = 3 «=» past(w) set s = full", "`(` of line 1, column 10 is still open"),
    ("pattern p = match h { 0«:» causal, else -> full }", ARM),
    ("pattern p = match h { 0 | 2..4 «:» k in 0..3, else -> full }", ARM),
    ("pattern p = match h { 0 -> full, else«:» full }", ARM),
    ("pattern p = match h { «case» 0 -> causal, _ -> full }", CASE),
    ("pattern p = match h { 0 -> causal\n «case» 1: full }", CASE),
    ("pattern p = match h«:» 0 -> causal", "in braces: `match h { 0 -> causal, else -> full }`"),
    ("pattern p = k in «[»0, 4]", IN),
    ("pattern p = k in (0«,» 4) & causal", IN),
    ("pattern p = past(w = 4) & (q - k not in (q // (2)«,» 4, 5))", IN),
    ("pattern p = k in «range(0, 4)»", "write `in 0..4`"),
    ("pattern p(w = 3) = k not in «range(w)» | full", "write `in 0..w`"),
    ("pattern p = k in «range(0, 8, 2)»", "a range has no step: write `k in 0..8 & k % 2 == 0`"),
    ("pattern p = torch«.»abs(q - k) < 4", "there are no modules or methods: write `abs(q - k)`"),
    ("pattern p = (q - k)«.»abs() < 4", "there are no modules or methods: write `abs(q - k)`"),
    ("pattern p = np«.»minimum(q, k) < 4", "there are no modules or methods: write `min(q, k)`"),
    ("pattern p = math«.»floor(q) < 4", "the functions are `abs`, `min` and `max`"),
    ("pattern p = «past(4)» // comment", COMMENT),
    ("pattern p = match h { 0 -> «past(4)» // comment\n else -> full }", COMMENT),
    ("pattern p = past(4) // the «last» four", COMMENT),
    ("pattern p = past(4) -- the «last» four", COMMENT),
    ("pattern p = «past(4)» -- comment", COMMENT),
    ("«//» the past\npattern p = past(4)", COMMENT),
    ("pattern p = past(4) & «//» the past\n causal", COMMENT),
    ("pattern p = «lambda» q, k: k <= q", PYTHON),
    ("«lambda» b, h, q_idx, kv_idx: q_idx >= kv_idx", PYTHON),
    ("«def» mask(b, h, q_idx, kv_idx): return q_idx >= kv_idx", PYTHON),
    ("pattern p = «return» q >= k", PYTHON),
    ("pattern p = k in {0«..»4, 9}", "write `k in 0..4 | k == 9`"),
    ("pattern p = causal & q - k not in {9, 1«..»(3 + 4),} | full", "write `~(q - k == 9 | q - k in 1..(3 + 4))`"),
    ("pattern p(w = 4«]» = past(w)", "`(` of line 1, column 10 is closed by `)`"),
    ("pattern p = past[4«)»", "arguments stand in `(` and `)`: `past(...)`"),
    ("pattern p = past«{»4}", "arguments stand in `(` and `)`"),
    ("pattern p«[»w] = past(w)", "parameters stand in `(` and `)`"),
    ("pattern p = past(4)«)»", "nothing is open that `)` could close"),
    ("pattern p = causal«,» past(4)", "between two sets stands `|` (in either) or `&` (in both)"),
    ("pattern p = (causal«,» past(4))", "between two sets stands `|` (in either) or `&` (in both)"),
    ("pattern p = causal «past»(4)", "between two sets stands `|` (in either) or `&` (in both)"),
    ("pattern p(w = 4 «v» = 3) = past(w)", "a `,` stands between two of them"),
    ("pattern p = match h { 0 «causal», else -> full }", "`->` stands before what an arm chooses"),
    ("pattern p = match h { 0«,» 1 -> causal, else -> full }", "several numbers of one arm are joined by `|`"),
    ("pattern p = past «64»", "arguments stand in brackets: `past(64)`"),
    ("pattern p = causal «->» past(4)", "`a -> b` of two sets is `~a | b`"),
    ("pattern «=» causal", "a name is missing: `pattern p = ...`"),
    ("pattern p = «local»(4)", "a window is `past(w)`, or on both sides `window(w)`"),
    ("pattern p = «and_masks»(causal, full)", "sets are joined by `a & b`"),
    ("pattern p = q - «n_q» >= k - n", "queries already stand at the end of the keys"),
    ("pattern p = «b» == 0", "the batch is no part of a pattern"),
    ("pattern p = same_block(«b»)", "or declare it as a parameter: `pattern p(b = 64)`"),
    ("pattern p = past(«window_size»)", "declare it as a parameter: `pattern p(window_size = 64)`"),
    ("pattern p(t, «h», w) = past(w)", "`h` is the query head everywhere; choose another name, `height` say"),
    ("pattern «layer» = causal", "`layer` is the layer everywhere; choose another name, `depth` say"),
    ("pattern p(«heads = 8») = past(heads)", "`heads` is a keyword of `sparsec.load` everywhere"),
    ("pattern p = «if» q >= k then full else causal", CHOICE),
    ("pattern p = causal «if» h < 4 else full", CHOICE),
    ("pattern p = match h { 0 -> causal «if» k < 4, else -> full }", CHOICE),
    ("pattern p = «if»(h < 4, causal, full)", CHOICE),
    ("pattern p = h < 4 «?» causal : full", CHOICE),
    ("pattern p(then = 3) = k < then «foo»", DECLARED),  # here `then` is a name
    ("pattern p = past(«w»)", "declare it as a parameter: `pattern p(w = 64)`"),
    ("set s(v = 3) = k < «w» | past(v)", "declare it as a parameter: `set s(..., w = 64)`"),
    ("pattern p(a = «w», c = 3) = past(a)", "declare it as a parameter: `pattern p(w = 64, ...)`"),
    ("pattern p(a = «c», c = 3) = past(a)", "a default may name the parameters before it: declare `c` first"),
    ("pattern p = match h { «foo» -> causal, else -> full }", "declare it as a parameter: `pattern p(foo = 64)`"),
    ("pattern p = «foo» & causal", ""),
    ("pattern p = past(«foo»(3))", ""),
    ("pattern p(width = 3) = past(«widht»)", "did you mean `width`?"),
    ("pattern p = «sliding_window»(4)", "a window is `past(w)`, or on both sides `window(w)`"),
    ("«import» x\npattern p = causal", USE),
    ("pattern p = past(1«e4»)", WHOLE),
    ("pattern p = match h { 0 -> past(4«k»), else -> full }", WHOLE),
    ("pattern p = «causal» + 4", ""),
    ("score x = s + «bias»[q, k]\npattern p = full with x", "data of the call: `input bias: float[n, n]`"),
    ("score x = s + «bias»[k]\npattern p = full with x", "data of the call: `input bias: float[n]`"),
    ("pattern p = «doc»[q] == 3", "data of the call: `input doc: int[n]`"),
]


@pytest.mark.parametrize(("text", "cure"), ONE_CURE)
def test_one_error_and_its_cure(text, cure):
    (found,) = said(text.replace("«", "").replace("»", ""))
    assert (found.span.start, found.span.end) == (text.find("«"), text.find("»") - 1)
    help = found.fill(found.help)
    assert cure in help
    assert cure or not help


@pytest.mark.parametrize(
    ("declared", "wrong", "right"),
    [
        ("doc: int[n]", "doc(q) == 3", "doc[q] == 3"),
        ("cls: bool[n]", "cls(k - 1) | causal", "cls[k - 1] | causal"),
        ("sel: blocks[1, 64, t]", "causal & sel(q, k)", "causal & selected(sel)"),
    ],
)
def test_an_input_is_no_function(declared, wrong, right):
    text = f"input {declared}\npattern p = "
    (found,) = said(text + wrong)
    assert found.code == "SP0105"
    (fix,) = found.fixes
    assert fix.text == text + right
    lower(parse(Source("mine.spat", fix.text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pattern p(w = 4 = past(w)", "an operator, `)` or `,`"),
        ("pattern p = causal causal", "an operator, a declaration, `(`, `[`, `with` or the end"),
        ("pattern p = match h { 0: causal }", "an operator, `->` or `..`"),
        ("pattern p = match h { else: causal }", "`->`"),
        ("pattern p = q < k..4", "an operator, a declaration, `(`, `[`, `with` or the end"),
        ("pattern p = " + "(" * 2_000 + "k :", "an operator"),  # too deep to say it exactly
    ],
)
def test_what_is_expected_can_stand_there(text, expected):
    (found,) = said(text)
    assert found.expected.startswith(expected)


# text and what it is with the first fix of each error, from the last to the first
WRITTEN = [
    ("pattern p = q => k", "pattern p = q >= k"),
    ("pattern p = past(4) & (q => k)", "pattern p = past(4) & (q >= k)"),
    ("pattern p = q =< k", "pattern p = q <= k"),
    ("pattern p = match h { else -> q => k }", "pattern p = match h { else -> q >= k }"),
    ("pattern p = match h { else => causal }", "pattern p = match h { else -> causal }"),
    ("pattern p = match h { 0..4 = causal }", "pattern p = match h { 0..4 -> causal }"),
    ("pattern p = match h { 0 -> causal, _ -> full }", "pattern p = match h { 0 -> causal, else -> full }"),
    ("pattern p => causal", "pattern p = causal"),
    ("pattern p(w => 4) = past(w)", "pattern p(w = 4) = past(w)"),
    ("pattern p = past(w => 4)", "pattern p = past(w = 4)"),
    ("pattern p = q / 4 == k / 4", "pattern p = q // 4 == k // 4"),
    ("pattern p = causal + sinks(4)", "pattern p = causal | sinks(4)"),
    ("pattern p = causal - sinks(4) & full", "pattern p = causal \\ sinks(4) & full"),
    ("pattern p = causal * (k < 4)", "pattern p = causal & (k < 4)"),
    ("pattern p = (full) - # a - b\n (past(4) + sinks(4))", "pattern p = (full) \\ # a - b\n (past(4) | sinks(4))"),
    ("pattern p = k in range(q - 3, q)", "pattern p = k in q - 3..q"),
    ("pattern p = match h { 0:4 -> causal }", "pattern p = match h { 0..4 -> causal }"),
    ("pattern p = match h { 0..=2 -> causal, else -> full }", "pattern p = match h { 0..3 -> causal, else -> full }"),
    ("pattern p = k in 0..=3", "pattern p = k in 0..4"),
    ("pattern p = q >> 3 == k // 8", "pattern p = q // 8 == k // 8"),
    ("pattern p = (q - k) << 1 < 8", "pattern p = (q - k) * 2 < 8"),
    ("pattern p(w = 2) = min(q, k) >> w == 0", "pattern p(w = 2) = min(q, k) // 2 ** w == 0"),
    ("pattern p -> causal", "pattern p = causal"),
    ("pattern p == causal", "pattern p = causal"),
    ("pattern p ==> causal", "pattern p = causal"),
    ("pattern p(w -> 4) = past(w)", "pattern p(w = 4) = past(w)"),
    ("pattern p = q === k", "pattern p = q == k"),
    ("pattern p = q <> k", "pattern p = q != k"),
    ("pattern p = switch h { 0 -> causal, else -> full }", "pattern p = match h { 0 -> causal, else -> full }"),
    ("pattern p = match h { 0, 1 -> causal, else -> full }", "pattern p = match h { 0 | 1 -> causal, else -> full }"),
    ("pattern p(w = 64; s = 4) = past(w) | sinks(s)", "pattern p(w = 64, s = 4) = past(w) | sinks(s)"),
    ("pattern p = causal & k = q - 3..q", "pattern p = causal & k in q - 3..q"),
    ("pattern p = k = {1, 2}", "pattern p = k in {1, 2}"),
    (
        "pattern p = match h { 0 -> k in {0..2, 5}, else -> full }",
        "pattern p = match h { 0 -> (k in 0..2 | k == 5), else -> full }",
    ),
    ("pattern p = abs(q - k) in {1, 3..5}", "pattern p = abs(q - k) == 1 | abs(q - k) in 3..5"),
    ("pattern p = k in {1 2}", "pattern p = k in {1, 2}"),
    ("pattern p = past[4] | causal", "pattern p = past(4) | causal"),
    ("pattern p = match h { 0 -> causal, else full }", "pattern p = match h { 0 -> causal, else -> full }"),
    ("pattern p(w = 4] = past(w)", "pattern p(w = 4) = past(w)"),
    ("pattern p(w = 4 v = 3) = past(w)", "pattern p(w = 4, v = 3) = past(w)"),
    ("pattern p = k in {0..4, 9}", "pattern p = k in 0..4 | k == 9"),
    ("pattern p = causal & k in {0..4, 9}", "pattern p = causal & (k in 0..4 | k == 9)"),
    ("pattern p = (q - k) ** 2 <= 25", "pattern p = abs(q - k) <= 5"),
    ("pattern p = causal | 26 > (q - k) * (q - k)", "pattern p = causal | abs(q - k) < 6"),
    ("pattern p(r = 3) = (q - k) ** 2 < r ** 2", "pattern p(r = 3) = abs(q - k) < abs(r)"),
]


@pytest.mark.parametrize(("text", "right"), WRITTEN)
def test_what_is_written_here(text, right):
    for found in sorted(said(text), key=lambda each: -each.span.start):
        text = text[: found.fixes[0].span.start] + found.fixes[0].replacement + text[found.fixes[0].span.end :]
    assert text == right
    lower(parse(Source("mine.spat", right)), heads=4, layer=0, layers=2)


def test_foreign_words_as_names_and_in_comments_and_texts():
    text = '"a => b / c . d ? lambda" pattern p(case = 1, _ = 3, then = 2) = # => 1e4 // lambda\n'
    lower(parse(Source("mine.spat", text + "match h { case -> past(then), _ -> full, else -> causal }")), heads=4)
    assert said('import "x"\npattern p = causal')[0].right == "use"
    assert parse(Source("mine.spat", "pattern import = causal set lambda = full"))


@pytest.mark.parametrize(
    ("condition", "cure"),
    [
        ("q_idx >= k", "the query's position is `q`"),
        ("q >= kv_idx", "the key's position is `k`"),
        ("k < seq_len", "the number of keys is `n`"),
        ("heads < 3 & causal", "the number of heads is `H`"),
        ("layer_idx < 3 & causal", "the layer is `layer`"),
        ("where(q > k, causal, full)", "a choice by position is `(a & b) | (c \\ a)`"),
    ],
)
def test_names_of_pytorch(condition, cure):
    with pytest.raises(SparsecError) as raised:
        sparsec.compile(f"pattern p = {condition}")
    assert cure in str(raised.value)


@given(st.integers(-60, 60), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(0, 2500), st.booleans())
def test_comparisons_without_squares_are_the_same(x: int, op: str, square: int, turned: bool) -> None:
    turn = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
    written = f"{square} {turn.get(op, op)} x * x" if turned else f"x ** 2 {op} {square}"
    (definition,) = parse(Source("mine.spat", f"set s(x) = {written}")).definitions
    cure = without_square(definition.body)
    if cure is None:
        assert op in ("==", "!=")
        assert isqrt(square) ** 2 != square
    else:
        assert eval(cure, {"abs": abs, "x": x}) == eval(written, {"x": x})


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("pattern p = causal with «t5_bias»", "FlexAttention takes a `score_mod` beside its `block_mask`"),
        ("pattern p = causal with «dropout»", "the call drops weights"),
        ("pattern p = causal & «s_aux»", "keys that all later queries see are `sinks(s)`"),
        ("pattern p = causal & «dropout(0.1)»", "the call drops weights"),
        ("pattern p = «attention_dropout( p = 0.1 )»", "the call drops weights"),
        ("pattern p = «slopes(30.0)» & causal", "a score is a formula of `s`, positions and the head"),
    ],
)
def test_what_is_not_in_this_version_has_a_way_around(text: str, way: str) -> None:
    (found,) = said(text.replace("«", "").replace("»", ""))
    assert (found.code, found.span.start, found.span.end) == ("SP0107", text.find("«"), text.find("»") - 1)
    assert way in found.fill(found.help)


@pytest.mark.parametrize(
    ("text", "code", "way"),
    [
        ("input prefix «pattern» p = k < prefix", "SP0104", "an input is declared `input doc: int[n]`"),
        ("pattern p = causal & «doc»[q] == 4", "SP0201", "declare it as data of the call: `input doc: int[n]`"),
        ("input docs: int[n] pattern p = «doc»[q] == docs[k]", "SP0201", "did you mean `docs`?"),
        ("pattern p = causal & «key_padding_mask»", "SP0201", "declare `input length: int[B]`, then `k < length`"),
        ("pattern p = «document_mask» & causal", "SP0201", "`doc[q] == doc[k]`"),
    ],
)
def test_data_of_the_call_is_an_input(text: str, code: str, way: str) -> None:
    (found,) = said(text.replace("«", "").replace("»", ""))
    assert (found.code, found.span.start, found.span.end) == (code, text.find("«"), text.find("»") - 1)
    assert way in found.fill(found.help)


def test_a_difference_that_is_shifted_needs_brackets() -> None:
    (found,) = said("pattern p = q - k >> 3 == 0")
    assert (found.right, found.fixes) == ("(...) // 8", ())


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("pas", ["past"]),
        ("casual", ["causal"]),
        ("casul", ["causal"]),
        ("windwo", ["window"]),
        ("Causal", ["causal"]),
        ("blocks2", ["blocks"]),
        ("random", ["random_blocks", "random_keys", "random_past_blocks"]),
        ("colums", ["columns"]),
        ("sameblock", ["same_block"]),
        ("stride_", ["stride"]),
        ("block", ["blocks", "block_window"]),
        *((name, []) for name in ("noncausal", "acausal", "cal", "q1", "masks", "and_masks", "local", "")),
    ],
)
def test_names_that_may_be_meant(name: str, offered: list[str]) -> None:
    assert set(near(name, [*prelude().names(), *BUILT_IN])) == set(offered)


def test_names_of_other_libraries_are_not_answered_with_what_is_merely_alike() -> None:
    ours = [*prelude().names(), *(name for name, each in BUILT_IN.items() if each.sort != "real"), *INTEGERS]
    for word in (*_INTEGER_HINTS, *_SET_HINTS, *_WORDS):
        assert word not in ours
        (found,) = said(f"pattern p = {word} | causal")
        assert found.fill(found.help), word
        assert "did you mean" not in found.fill(found.help)
        assert not found.fixes


@pytest.mark.parametrize("hints", [_INTEGER_HINTS, _SET_HINTS, _WORDS])
def test_what_hints_write_is_in_the_language(hints: dict[str, str]) -> None:
    for hint in set(hints.values()):
        for piece in re.findall(r"`([^`]*)`", hint):
            if re.search(r"[&|~%<>=*]|//", piece) and re.search(r"\w", piece) and "..." not in piece:
                declared = piece if piece.startswith(("score ", "pattern ")) else f"pattern {piece}"
                parse(Source("hint", declared if re.match(r"[\w ]+(\([^)]*\))? = ", piece) else f"pattern p = {piece}"))
