"""`sparsec cost`: several patterns side by side, and what it says about one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sparsec.cli import main

EXAMPLES = Path(__file__).parent.parent / "examples"

LITERATURE = {  # as the surveys of sparse attention tabulate them
    "dense": ("full", "O(n^2)"),
    "sliding(w = 512)": ("window(w)", "O(n*w)"),
    "comb(s = 4)": ("stride(s)", "O(n^2/s)"),
    "longformer(w = 512, g = 64)": ("window(w) | global(g)", "O(n*(w + g))"),
    "bigbird(w = 192, g = 128, r = 8)": ("window(w) | global(g) | random_keys(r, 0)", "O(n*(w + g + r))"),
}


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs `sparsec cost` in this process."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sparsec", "cost", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Ran(end.value.code or 0, *capsys.readouterr())

    return run


# ---------------------------------------------------------------- a table


@pytest.fixture
def literature(tmp_path: Path) -> list[Path]:
    paths = []
    for head, (body, _) in LITERATURE.items():
        paths.append(tmp_path / f"{head.partition('(')[0]}.spat")
        paths[-1].write_text(f"pattern {head} =\n    {body}\n")
    return paths


def test_the_table_of_the_literature(cost, literature: list[Path]) -> None:
    ran = cost(*literature)
    assert ran.status == 0
    length, heading, *rows = ran.out.splitlines()
    assert length == "n = 4,096"
    assert heading.split() == ["pattern", "pairs", "density", "class", "less", "work"]
    for row, (head, (_, grows)) in zip(rows, LITERATURE.items(), strict=True):
        assert row.startswith(head.partition("(")[0])
        assert f"  {grows}  " in row
    assert "16,777,216    100 %  O(n^2)" in rows[0]


def test_the_table_as_json_is_that_of_each_file(cost, literature: list[Path]) -> None:
    table = json.loads(cost(*literature, "--json", "--n", 1000).out)
    for row, path in zip(table, literature, strict=True):
        alone = json.loads(cost(path, "--json", "--n", 1000).out)
        del alone["layouts"]
        assert row == {"file": str(path)} | alone


def test_narrow_terminals_get_lines_instead_of_columns(cost, literature, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = cost(*literature).out
    assert max(map(len, out.splitlines())) <= 40
    assert "\nlongformer\n  pairs      2,522,816\n  density    15 %\n  class      O(n*(w + g))\n" in out


def test_wide_names_keep_the_columns(cost, literature, tmp_path: Path) -> None:
    name = "a_name_that_is_far_longer_than_all_others_" * 3
    (tmp_path / "wide.spat").write_text(f"pattern {name} = causal\n")
    _, *lines = cost(tmp_path / "wide.spat", *literature).out.splitlines()
    column = lines[0].index("class")
    assert lines[1].startswith(f"{name}  ")
    assert all(line[column:].startswith("O(") and line[column - 2 : column] == "  " for line in lines[1:])


def test_what_is_wrong_is_reported_and_the_others_are_printed(cost, literature, tmp_path: Path) -> None:
    (tmp_path / "wrong.spat").write_text("pattern wrong = caused\n")
    missing = tmp_path / "missing.spat"
    ran = cost(literature[0], tmp_path / "wrong.spat", missing, EXAMPLES / "longnet_heads.spat", literature[1])
    assert ran.status == 1
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == ["dense", "sliding"]
    for code in ("SP0201", "SP0701", "SP0401"):
        assert f"error[{code}]" in ran.err


def test_nothing_is_printed_where_nothing_is_right(cost, tmp_path: Path) -> None:
    ran = cost(tmp_path / "a.spat", tmp_path / "b.spat")
    assert (ran.status, ran.out) == (1, "")
    assert json.loads(cost(tmp_path / "a.spat", tmp_path / "b.spat", "--json").out) == []


def test_every_pattern_of_a_file_has_a_row(cost, tmp_path: Path) -> None:
    (tmp_path / "two.spat").write_text("pattern one(w) = past(w)\npattern two(w) = window(w)\n")
    (tmp_path / "one.spat").write_text("pattern one(w) = causal & window(w)\n")
    names = tmp_path / "two.spat", tmp_path / "one.spat"
    rows = cost(*names, "-D", "w=8").out.splitlines()[2:]
    assert [row.split()[:2] for row in rows] == [["one", "32,740"], ["two", "36,844"], ["one", "20,470"]]
    rows = cost(*names, "-D", "w=8", "-p", "one").out.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["one", "one"]
