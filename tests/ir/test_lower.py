"""What programs mean after lowering."""

from pathlib import Path
from time import process_time

import numpy as np
import pytest

from sparsec.diagnostics import SparsecError
from sparsec.ir.nodes import And, Blocks, Compare, Const, Member, Not, Or, RandomBlocks, RandomKeys, Sub, Var, children
from sparsec.ir.reference import mask
from sparsec.lower.file import lower, lower_fully
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read

Q, K = Var("q"), Var("k")
CAUSAL = Compare(K, "<=", Q)


def pattern(text: str, **given):
    return lower(parse(Source("p.spat", text)), **given)


def condition(body: str, **given):
    lowered = pattern(f"pattern p = {body}", **given)
    assert len(lowered.conditions) == 1
    return lowered.conditions[0]


PRELUDE = {  # each set as the documentation states it, in Python
    "full": lambda q, k: True,
    "causal": lambda q, k: k <= q,
    "window(5)": lambda q, k: abs(q - k) <= 2,
    "past(4)": lambda q, k: 0 <= q - k < 4,
    "stride(3)": lambda q, k: (q - k) % 3 == 0,
    "dilated(4, 3)": lambda q, k: abs(q - k) <= 6 and (q - k) % 3 == 0,
    "global(2)": lambda q, k: q < 2 or k < 2,
    "sinks(3)": lambda q, k: k < 3 and k <= q,
    "same_block(4)": lambda q, k: q // 4 == k // 4,
    "block_window(3, 3)": lambda q, k: abs(q // 3 - k // 3) <= 1,
    "columns(5, 2)": lambda q, k: k % 5 >= 3,
    "segments(6, 2)": lambda q, k: q // 6 == k // 6 and q % 6 % 2 == 0 == k % 6 % 2,
    "segments(6, 2, 5)": lambda q, k: q // 6 == k // 6 and q % 6 % 2 == 1 == k % 6 % 2,
}


@pytest.mark.parametrize("name", PRELUDE)
def test_prelude(name):
    expected = [[bool(PRELUDE[name](q, k)) for k in range(20)] for q in range(3, 20)]
    np.testing.assert_array_equal(mask(condition(name), 17, 20), expected)


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ("q + 0 < 1 * k", Compare(Q, "<", K)),
        ("2 + 3 * 4 - -1 == k", Compare(Const(15), "==", K)),
        ("-7 // 2 == k", Compare(Const(-4), "==", K)),
        ("-7 % 4 == k", Compare(Const(1), "==", K)),
        ("-2 ** 2 == k", Compare(Const(-4), "==", K)),
        ("2 ** 3 ** 2 == k", Compare(Const(512), "==", K)),
        ("min(3, 1, 2) == k", Compare(Const(1), "==", K)),
        ("max(abs(-4), 5 % 1) == k", Compare(Const(4), "==", K)),
        ("q // 1 == k % 5 % 1", Compare(Q, "==", Const(0))),
        ("0 <= q - k < 4", And((Compare(Const(0), "<=", Sub(Q, K)), Compare(Sub(Q, K), "<", Const(4))))),
        ("k in 0..4", And((Compare(Const(0), "<=", K), Compare(K, "<", Const(4))))),
        ("k not in 0..4", Not(And((Compare(Const(0), "<=", K), Compare(K, "<", Const(4)))))),
        ("k in {33, 0, 17, 0}", Member(K, (0, 17, 33))),
        ("k in {4, 4}", Compare(K, "==", Const(4))),
        ("k not in {1, 2}", Not(Member(K, (1, 2)))),
        ("k in {q, 1}", Or((Compare(K, "==", Q), Compare(K, "==", Const(1))))),
        ("causal & full & k < 4", And((CAUSAL, Compare(K, "<", Const(4))))),
        ("causal | ~full", CAUSAL),
        ("causal | 1 == 4 | 3 in {1, 2}", CAUSAL),
        ("causal \\ k < 4", And((CAUSAL, Compare(K, ">=", Const(4))))),
        ("causal \\ k < 4 & k < 9", And((CAUSAL, Compare(K, ">=", Const(4)), Compare(K, "<", Const(9))))),
        ("~causal", Compare(K, ">", Q)),
        ("~~causal", CAUSAL),
        ("~k in {1, 2}", Not(Member(K, (1, 2)))),
        ("(causal | k < 1) | q < 2", Or((CAUSAL, Compare(K, "<", Const(1)), Compare(Q, "<", Const(2))))),
        ("blocks(4, [[3, 1, 1], []])", Blocks(4, ((1, 3), ()))),
        ("random_blocks(4, 2, seed = 7)", RandomBlocks(4, 2, 7)),
        ("random_past_blocks(4, 2, 7)", RandomBlocks(4, 2, 7, past=True)),
        ("random_keys(r = 2, seed = 2 ** 3)", RandomKeys(2, 8)),
    ],
)
def test_meaning(body, meant):
    assert condition(body) == meant


def test_parameters_and_defaults():
    text = "pattern p(w, s = w // 2, lambda = -s) = past(w) & k >= s & q > lambda"
    assert pattern(text, parameters={"w": 8}).parameters == (("w", 8), ("s", 4), ("lambda", -4))
    assert pattern(text, parameters={"w": 8, "s": np.int64(3)}).parameters == (("w", 8), ("s", 3), ("lambda", -3))


def test_facts_for_people():
    lowered = pattern('# a comment\n"""Two\n   lines."""\npattern near(w = 4) =\n    past(w)  # the past\n')
    assert (lowered.name, lowered.doc) == ("near", "Two\nlines.")
    assert lowered.text == "pattern near(w = 4) =\n    past(w)"


WHOLE = """input doc: int[n]
input w: float[H]
set near(a) = past(a) | sinks(4)
score tilted =
    s - w * abs(q - k)
pattern two(a = 64) = near(a) & doc[q] == doc[k] with tilted"""


def test_texts_are_whole():
    """All that the pattern needs, and nothing else of its file."""
    more = WHOLE.replace("set near", "# a remark\ninput m: int\nset far = stride(9)\nset near")
    lowered = pattern(f"{more}\npattern other = far & q > m", pattern="two")
    assert lowered.text == WHOLE
    again = pattern(WHOLE)
    assert (again.conditions, again.scores) == (lowered.conditions, lowered.scores)


def test_names_are_free():
    """Python's keywords, names of the prelude and of functions, and the words that are used inside kernels."""
    text = "pattern p(lambda = 4, past = 2, abs = 1, tl = 3, and = 0) ="
    text += " past(lambda) & abs(q - abs) < tl & k > and | past == k"
    assert pattern(text).conditions == pattern("pattern p = past(4) & abs(q - 1) < 3 & k > 0 | 2 == k").conditions


def test_nothing_is_captured():
    """A set sees its own parameters, however the caller's are called, and the names of its own file."""
    text = "set s(a, b) = k < a & q < b pattern p(a = 1, b = 2) = s(b, a)"
    assert pattern(text).conditions[0] == And((Compare(K, "<", Const(2)), Compare(Q, "<", Const(1))))
    own = "set causal = k == 0 set mine = causal pattern p = mine | sinks(2)"
    assert pattern(own).conditions == pattern("pattern p = k == 0 | k < 2 & k <= q").conditions


def test_patterns_are_sets():
    text = "pattern a(w = 4) = past(w) pattern b = a | a(2) | a(w = 1)"
    assert pattern(text, pattern="b").conditions == pattern("pattern p = past(4) | past(2) | past(1)").conditions


# ---------------------------------------------------------------- heads and layers


def test_equal_heads_share_a_condition():
    text = "pattern p = match h { 0..2 -> past(4), 5 | 2 -> causal, else -> past(2 ** 2) }"
    lowered = pattern(text, heads=6)
    assert lowered.head_conditions == (0, 0, 1, 0, 0, 1)
    assert lowered.conditions == (condition("past(4)"), CAUSAL)
    assert lowered.heads == 6


def test_heads_in_conditions():
    lowered = pattern("pattern p = causal & stride(2 ** (h // 2)) & h < 3 | random_keys(2, h) & h >= 3", heads=4)
    assert lowered.head_conditions == (0, 0, 1, 2)
    assert lowered.conditions[2] == RandomKeys(2, 3)


def test_patterns_without_heads_serve_any():
    assert pattern("pattern p = causal", heads=8).head_conditions == ()
    assert pattern("pattern p(h2 = 1) = past(h2)", heads=8, layer=3, layers=4).heads is None


def test_number_of_heads_alone_binds():
    assert pattern("pattern p = k < H", heads=3).head_conditions == (0, 0, 0)


def test_layers():
    text = "pattern p = match layer % 8 { 7 -> causal else -> past(L) }"
    assert pattern(text, layer=15, layers=16).conditions == (CAUSAL,)
    assert pattern(text, layer=14, layers=16).conditions == (condition("past(16)"),)
    assert pattern("pattern p = k <= layer", layer=3).conditions == (Compare(K, "<=", Const(3)),)


def test_match_of_integers():
    lowered = pattern("pattern p = past(match h { 0 -> 4, else -> 8 * h }) & k > 0", heads=2)
    assert lowered.conditions == pattern("pattern p = past(4 + 4 * h) & k > 0", heads=2).conditions


def test_match_in_a_set_with_parameters_in_its_arms():
    text = "set s(g) = match h { 0..g + 1 -> causal, g + 1..H -> full } pattern p = s(1)"
    assert pattern(text, heads=3).head_conditions == (0, 0, 1)


# ---------------------------------------------------------------- other files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.spat").write_text('use "b.spat"\nset near(w) = inner(w) | blocks(2, "t.json")\n')
    (tmp_path / "lib/b.spat").write_text("set inner(w) = past(w) & causal\nset causal = k < q\n")
    (tmp_path / "lib/t.json").write_text("[[1], [0, 1]]")
    (tmp_path / "main.spat").write_text('use "lib/a.spat"\nset inner(w) = full\npattern p(w = 3) = near(w) & causal\n')
    return tmp_path


def test_use(folder):
    lowered = lower_fully(parse(read(folder / "main.spat")))
    inner = And((*condition("past(3)").parts, Compare(K, "<", Q)))
    assert lowered.pattern.conditions == (And((Or((inner, Blocks(2, ((1,), (0, 1))))), CAUSAL)),)
    assert {path.name for path in lowered.files} == {"a.spat", "b.spat", "t.json"}
    *used, own = lowered.pattern.text.splitlines()
    assert own == "pattern p(w = 3) = near(w) & causal"
    assert used == [
        "set inner(w) = past(w) & causal", "set causal = k < q", 'set near(w) = inner(w) | blocks(2, "t.json")'
    ]  # fmt: skip


def test_used_files_report_their_own_errors(folder):
    (folder / "lib/b.spat").write_text("set inner(w) = pas(w)\n")
    with pytest.raises(SparsecError, match=r"SP0201(.|\n)*b.spat:1:16"):
        lower(parse(read(folder / "main.spat")))


def test_long_chains_of_files(tmp_path):
    for i in range(1000):
        (tmp_path / f"f{i}.spat").write_text(f'use "f{i + 1}.spat"\npattern p{i} = causal\n')
    with pytest.raises(SparsecError, match="SP0803"):
        lower(parse(read(tmp_path / "f0.spat")))


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a.spat").symlink_to(tmp_path / "b.spat")
    (tmp_path / "b.spat").symlink_to(tmp_path / "a.spat")
    with pytest.raises(SparsecError, match="SP0701"):
        lower(parse(Source(str(tmp_path / "p.spat"), 'use "a.spat" pattern p = causal')))


# ---------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ("sinks(4) | past(8) \\ past(2)", ["SP0904"]),
        ("sinks(4) | (past(8) \\ past(2))", []),
        ("past(8) \\ past(2) | sinks(4)", []),
        ("causal & window(8) | global(2)", ["SP0905"]),
        ("global(2) | window(8) & k <= q", ["SP0905"]),
        ("(causal & window(8)) | global(2)", []),
        ("causal & window(8) | sinks(2)", []),
        ("causal & window(8) | causal & global(2)", []),
        ("window(8) & k < 4 | global(2)", []),
        ("causal & window(8) & 0 == 1 | global(2)", []),
    ],
)
def test_lint(body, codes):
    lowered = lower_fully(parse(Source("p.spat", f"pattern p = {body}")))
    assert [warning.code for warning in lowered.warnings] == codes


def test_a_file_of_rows_is_taken_apart_once(tmp_path: Path) -> None:
    """Commands lower a pattern for one parameter after the other; only the bytes are read each time."""
    path, main = (
        tmp_path / "t.json",
        Source(str(tmp_path / "p.spat"), 'pattern p(w = 3) = blocks(4, "t.json") | past(w)'),
    )
    path.write_text("[[0], [1, 0]]")
    first, second = (lower(parse(main), parameters={"w": w}).conditions[0].parts[0] for w in (3, 4))
    assert first.rows is second.rows
    path.write_text("[[0], [1]]")
    assert lower(parse(main)).conditions[0].parts[0].rows == ((0,), (1,))


def test_rows_of_a_table_are_not_walked() -> None:
    """They are up to a million numbers, and nodes are walked a thousand times."""
    table, start = Blocks(1, ((),) * 200_000), process_time()
    assert all(not list(children(table)) for _ in range(1000))
    assert process_time() - start < 1
