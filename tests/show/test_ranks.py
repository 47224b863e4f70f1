"""`sparsec show --ranks`: who needs what, exactly, in every output."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sparsec.analysis.sharding import LAYOUTS
from sparsec.cli import app
from sparsec.ir import nodes as ir
from sparsec.ir import reference
from sparsec.ir.nodes import Pattern
from sparsec.lower.file import lower
from sparsec.show.ranks import OverRanks, divided, over_ranks
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.programs import Program, programs, tables, terms

FILE = "pattern p = past(9) | sinks(2)\n"


CAUSAL = Program("pattern p = causal", (ir.Compare(ir.Var("k"), "<=", ir.Var("q")),))


@settings(max_examples=12)
@example(CAUSAL, 7, 3, "head-tail")  # no rank holds two whole chunks
@given(programs(1) | programs(1, terms() | tables()), st.integers(1, 40), st.integers(2, 7), st.sampled_from(LAYOUTS))
def test_keys_and_pairs_are_those_of_the_mask(program, n: int, count: int, layout: str) -> None:
    [condition] = program.conditions
    over = over_ranks(Pattern("p", "", "", (), (condition,)), n, count, layout)
    mask = reference.mask(condition, n, n)
    owner = np.empty(n, int)
    for rank, segments in enumerate(over.shares):
        for first, stop in segments:
            owner[first:stop] = rank
    seen = np.array([mask[owner == rank].any(0) for rank in range(count)])
    wanted = [
        [seen[rank, owner == source].sum() * (rank != source) for source in range(count)] for rank in range(count)
    ]
    assert over.traffic.tolist() == wanted
    same = owner[:, None] == owner
    for (_, part), kept in zip(divided(condition, over), (mask & same, mask & ~same), strict=True):
        assert (reference.mask(part, n, n) == kept).all()


def shown(tmp_path: Path, *options: str, text: str = FILE) -> str:
    source = tmp_path / "p.spat"
    source.write_text(text)
    result = CliRunner(env={"COLUMNS": "60"}).invoke(app, ["show", str(source), "--n", "40", *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_text(tmp_path: Path) -> None:
    drawn = shown(tmp_path, "--ranks", "3").splitlines()
    assert [line.split()[-1] for line in drawn if " rank " in line and line.split()[-2] == "rank"][:3] == [
        "0",
        "1",
        "2",
    ]
    assert "own keys" in "\n".join(drawn)
    assert drawn[-4:] == [
        "        from 0  from 1  from 2  in all",
        "rank 0       .       .       .       0",
        "rank 1      10       .       .      10",
        "rank 2       2       8       .      10",
    ]


def test_views_have_the_bands_that_are_in_them(tmp_path: Path) -> None:
    drawn = shown(tmp_path, "--ranks", "4", "--layout", "head-tail", "--q", "6:20")
    assert [line[-6:] for line in drawn.splitlines() if line[-6:-1] == "rank "] == ["rank 1", "rank 2", "rank 3"]


def test_heads_are_added_up(tmp_path: Path) -> None:
    text = "pattern p = match h { 0 -> past(9), else -> causal }\n"
    drawn = shown(tmp_path, "--ranks", "2", "--heads", "3", text=text)
    assert "of all 3 heads" in drawn
    assert drawn.splitlines()[-1].split() == ["rank", "1", str(8 + 20 + 20), ".", str(8 + 20 + 20)]


def test_data_are_bounded(tmp_path: Path) -> None:
    text = "input doc: int[n]\npattern p = past(9) & doc[q] == doc[k]\n"
    np.save(tmp_path / "doc.npy", np.zeros(40, np.int64))
    drawn = shown(tmp_path, "--ranks", "2", "--given", f"doc={tmp_path / 'doc.npy'}", text=text)
    over = over_ranks(lower(parse(Source("p", text))), 40, 2, "contiguous")
    assert over.traffic.tolist() == [[0, 0], [8, 0]]
    assert not over.exact
    assert over.words[0] in drawn
    assert "at most" in over.words[0]


@pytest.mark.parametrize("kind", ["svg", "png", "html"])
def test_every_output(tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"p.{kind}"
    shown(tmp_path, "--ranks", "3", "-o", str(target))
    if kind == "png":
        plain = tmp_path / "plain.png"
        shown(tmp_path, "-o", str(plain))
        assert target.read_bytes() != plain.read_bytes()
        return
    text = target.read_text()
    if kind == "svg":
        assert ElementTree.fromstring(text).tag.endswith("svg")
    for words in ("rank 2", "10 in all", "from 1", "keys of other ranks"):
        assert words in text


@pytest.mark.parametrize(
    "options",
    [["--ranks", "1"], ["--ranks", "17"], ["--ranks", "2", "--layout", "ring"], ["--ranks", "2", "--n-q", "3"]],
)
def test_what_does_not_fit(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "p.spat"
    source.write_text(FILE)
    result = CliRunner().invoke(app, ["show", str(source), "--n", "40", "--ranks", *options])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_words_fit_any_count() -> None:
    over = OverRanks("contiguous", (((0, 5),), ((5, 9),)), np.array([[0, 12345], [0, 0]]), True, None)
    assert [*over.table()][1] == "rank 0       .  12,345  12,345"
