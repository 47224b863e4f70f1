"""Warnings that are proved: there where they should be, true where they are, and cheap where there is nothing odd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec import pipeline
from sparsec.analysis.difference import difference
from sparsec.analysis.samples import sees_itself
from sparsec.diagnostics import CODES, SparsecError
from sparsec.ir import nodes as ir
from sparsec.ir.reference import mask
from sparsec.lint.diagnose import diagnose
from sparsec.lint.remarks import lint
from sparsec.lint.subject import Lower, Subject
from sparsec.lower.file import lower_fully
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import conditions, tables, terms, to_text

ROOT = Path(__file__).parents[2]


def warnings(text: str, **given):
    lowered = lower_fully(parse(Source("p.spat", text)), **given)
    return lint(Subject(lowered.entry, lowered.pattern, Lower(given)))


CANVASES = [
    "q < 256 & k < 256 & abs(q // 16 - k // 16) <= 1 & abs(q % 16 - k % 16) <= 1",
    "q in 0..60 & k in 0..60 & abs(q // 12 - k // 12) <= 1 & abs(q // 4 % 3 - k // 4 % 3) <= 1",
    "same_block(4) & q < 64",
    "past(5) & q < 100",
]


@pytest.mark.parametrize("text", CANVASES)
def test_a_canvas_ends(text: str) -> None:
    """Queries beyond an image are no oversight; a gap within it is one."""
    assert not warnings(f"pattern p = {text}")
    (found,) = warnings(f"pattern p = ({text}) & q != 7")
    assert (found.code, found.n, found.row) == ("SP0901", 8, 7)


@pytest.mark.parametrize(
    "text",
    [
        "q // 2147483647 == k // 2147483647 & abs(q - k * 3) % 997 <= 500",  # isl finds one beyond 64 bits
        "causal & q != 2000000000",
    ],
)
def test_rows_that_no_call_has_are_not_missed(text: str) -> None:
    assert not warnings(f"pattern p = {text}")


OBLONG = [
    "k // 3 == 0 & q in 0..7 | k // 3 == 1 & q in 1..7 | k // 3 == 2 & q in 7..12",  # 12 queries, 9 keys
    "q < 12 & k < 9",
    "q in 0..16 & k in 16..32",
    "q < 9 & k < 40 & abs(4 * q - k) < 9",
]


@pytest.mark.parametrize("text", OBLONG)
def test_a_canvas_of_other_queries_than_keys_ends(text: str) -> None:
    assert not [each for each in warnings(f"pattern p = {text}") if each.code == "SP0901"]
    found = [each for each in warnings(f"pattern p = ({text}) & q != 7") if each.code == "SP0901"]
    assert [each.row for each in found] == [7]


@pytest.mark.parametrize(("text", "row"), [("past(5) & k < 100", 104), ("past(50) & sinks(4)", 53)])
def test_keys_that_end_are_no_canvas(text: str, row: int) -> None:
    """`&` in the place of `|`, perhaps."""
    found = [each for each in warnings(f"pattern p = {text}") if each.code == "SP0901"]
    assert [each.row for each in found] == [row]


@pytest.mark.parametrize("code", ["SP0901", "SP0902", "SP0903", "SP0912", "SP0913"])
def test_examples_produce_their_codes(code):
    assert code in [warning.code for warning in warnings(CODES[code].example.text)]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.spat")), ids=lambda path: path.stem)
def test_published_patterns_are_not_odd(path):
    assert not warnings(path.read_text(), heads=8, layer=0)


@pytest.mark.parametrize(
    ("body", "operands"),
    [
        ("past(8) | past(4)", ["past(4)"]),
        ("past(4) | past(8)", ["past(4)"]),
        ("past(8) | past(8)", ["past(8)"]),
        ("causal & (past(600) | window(512))", ["window(512)"]),
        ("causal \\ k > q", ["k > q"]),
        ("past(8) | sinks(4)", []),
        ("past(8) | random_blocks(4, 2, 1) | past(5)", ["past(5)"]),
        ("full | random_keys(4, 1)", ["random_keys(4, 1)"]),
        ("past(8) | random_keys(4, 1)", []),
        ("past(8) & h < 2 | past(4) & h < 3", []),
        ("past(8) & h < 3 | past(4) & h < 2", ["past(4) & h < 2"]),
        ("past(8) | past(4) & h < 2", ["past(4) & h < 2"]),
        ("match h { 0 -> past(4) else -> causal } | past(2)", ["past(2)"]),
        ("~stride(3) | ~stride(5)", []),
        ("stride(3) | stride(6)", ["stride(6)"]),
    ],
)
def test_parts_that_add_nothing(body, operands):
    found = warnings(f"pattern p = {body}\n", heads=4)
    assert [warning.operand for warning in found if warning.code == "SP0903"] == operands


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("pattern causal_window = window(8)", (0, 1)),
        ("pattern only_past = stride(64)", (0, 64)),
        ("pattern causal_window = causal & window(8)", None),
        ("pattern causal_blocks = q // 4 >= k // 4", (0, 1)),
        ("pattern causal_blocks = causal & q // 4 >= k // 4", None),
        ("pattern non_causal = window(8)", None),
        ("pattern causal_random = random_blocks(4, 1, 1)", None),  # it depends on what is drawn
    ],
)
def test_names_that_say_causal(text, pair):
    found = [(warning.q, warning.k) for warning in warnings(text) if warning.code == "SP0902"]
    assert found == ([] if pair is None else [pair])


@given(st.lists(conditions(1, terms() | tables()), min_size=1, max_size=4))
def test_warnings_are_true(parts):
    text = "pattern causal_p = " + " | ".join(f"({to_text(part)})" for part in parts)
    file = parse(Source("p.spat", text))
    try:
        lowered = lower_fully(file)
    except SparsecError:  # an empty pattern
        return
    found = lint(Subject(lowered.entry, lowered.pattern, Lower()))
    whole = ir.Or(tuple(parts))
    for warning in found:
        match warning.code:
            case "SP0901":
                assert not mask(whole, warning.n, warning.n)[warning.row].any()
            case "SP0902":
                lengths = range(warning.k + 1, warning.k + 60)
                assert any(mask(whole, n, n)[warning.q, warning.k] for n in lengths)
            case "SP0903" if len(parts) > 1:
                places = file.definitions[0].body.parts
                rest = [part for part, place in zip(parts, places, strict=True) if place.span != warning.span]
                for n in (1, 5, 30):
                    assert (mask(ir.Or((ir.FALSE, *rest)), n, n) == mask(whole, n, n)).all()


@settings(max_examples=200, deadline=None)
@given(conditions(), conditions())
def test_samples_do_not_lie(one, other):
    assert not difference(one, one).seen()
    if difference(one, other).seen():
        assert one != other
    if sees_itself(one):
        assert all(mask(one, n, n).diagonal().all() for n in (1, 7, 40))


CHECK = """
import sys
from sparsec.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, *sys.modules)
"""


def check(path: Path) -> tuple[str, set[str], str]:
    run = subprocess.run([sys.executable, "-c", CHECK, "check", str(path)], capture_output=True, text=True, cwd=ROOT)
    status, *loaded = run.stdout.splitlines()[-1].split()
    return status, set(loaded), run.stderr


def test_proofs_load_the_sets_and_nothing_else(tmp_path):
    (tmp_path / "p.spat").write_text("pattern p = past(8) | past(4)\n")
    status, loaded, printed = check(tmp_path / "p.spat")
    assert status == "0"
    assert "warning[SP0903]" in printed
    assert "islpy" in loaded
    assert not {"numpy", "torch", "triton", "sympy", "jinja2"} & loaded


def test_nothing_odd_loads_nothing(tmp_path):
    (tmp_path / "p.spat").write_text("pattern p(w = 512) = window(w) | global(64) | random_blocks(64, 3, 0)\n")
    assert "islpy" not in check(tmp_path / "p.spat")[1]


def test_a_file_of_sets_is_valid_when_its_names_are(tmp_path):
    path = tmp_path / "p.spat"
    path.write_text("set near(w) = past(w) | sinks(4)\n")
    assert check(path)[0] == "0"
    path.write_text("set near(w) = pas(w) | sinks(4)\n")
    status, _, printed = check(path)
    assert status == "1"
    assert "error[SP0201]" in printed


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("sinks(4) | q - k <= 8", "SP0912"),
        ("stride(2) | q - k < 8", "SP0912"),
        ("match h { 0 -> past(4), else -> q - k < 4 }", "SP0912"),
        ("causal | k < 100", None),
        ("k >= q", "SP0913"),
        ("k >= q & k < q + 4", "SP0913"),
        ("k == q", None),
        ("k >= q | k == q - 9000", None),
        ("match h { 0 -> past(4), else -> k >= q }", None),
        ("k >= q & random_keys(2, 1) | k == q", None),  # it depends on what is drawn
        ("abs(q - k) < 8", None),
        ("full", None),
    ],
)
def test_later_keys_without_end(body, code):
    found = warnings(f"pattern p = {body}", heads=2)
    assert [each.code for each in found] == ([code] if code else [])


@pytest.mark.parametrize(
    "body", ["past(0)", "k in 4..0", "causal & ~causal", "k > q & k < q", "match h { 0 -> k < 0, else -> past(0) }"]
)
def test_no_pair_at_all(body):
    source = Source("p.spat", f"pattern p = {body}")
    assert [each.code for each in diagnose(source, heads=2).diagnostics] == ["SP0906"]
    with pytest.raises(SparsecError, match="SP0906"):
        pipeline.compile(source, heads=2)
    assert diagnose(Source("p.spat", "pattern p = match h { 0 -> causal, else -> past(0) }"), heads=2).valid
    assert diagnose(Source("p.spat", "pattern p = k > q + 1000000")).valid
