"""`sparsec cost`: several patterns side by side, and what it says about one."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sparsec.report.roofline import GPUS

EXAMPLES = Path(__file__).parents[2] / "examples"

LITERATURE = {  # as the surveys of sparse attention tabulate them
    "dense": ("full", "O(n^2)"),
    "sliding(w = 512)": ("window(w)", "O(n*w)"),
    "comb(s = 4)": ("stride(s)", "O(n^2/s)"),
    "longformer(w = 512, g = 64)": ("window(w) | global(g)", "O(n*(w + g))"),
    "bigbird(w = 192, g = 128, r = 8)": ("window(w) | global(g) | random_keys(r, 0)", "O(n*(w + g + r))"),
}


@pytest.fixture
def cost(sparsec, monkeypatch: pytest.MonkeyPatch):
    """Runs `sparsec cost` in this process."""
    monkeypatch.delenv("COLUMNS", raising=False)
    return partial(sparsec, "cost")


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
        assert row.pop("file") == str(path)
        assert row.pop("tile_sizes") == {}
        assert row == {key: alone[key] for key in row}


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
    one, other = (f"one: {name}" for name in names)  # called alike, so told apart by their files
    assert [row.split("  ")[0] for row in rows] == [one, "two", other]
    assert [row.split(row.split("  ")[0])[1].split()[0] for row in rows] == ["32,740", "36,844", "20,470"]
    rows = cost(*names, "-D", "w=8", "-p", "one").out.splitlines()[2:]
    assert [row.split("  ")[0] for row in rows] == [one, other]


def test_pairs_of_all_heads(cost, literature: list[Path]) -> None:
    length, _, dense, *_ = cost(*literature, "--heads", 4).out.splitlines()
    assert length == "n = 4,096, 4 heads"
    assert dense.split()[:3] == ["dense", f"{4 * 4096**2:,}", "100"]


def test_the_files_of_a_folder(cost, literature: list[Path], tmp_path: Path) -> None:
    assert sorted(cost(tmp_path).out.splitlines()) == sorted(cost(*literature).out.splitlines())
    (tmp_path / "empty").mkdir()
    assert cost(tmp_path / "empty").out == ""


# ---------------------------------------------------------------- one pattern


def row(text: str, word: str) -> str:
    """The lines of a row, joined."""
    lines = iter(text.splitlines())
    first = next(line for line in lines if line.startswith(f"  {word} "))
    rest = []
    for line in lines:
        if not line.startswith(" " * 12):
            break
        rest.append(line.strip())
    return " / ".join([first[12:], *rest])


def test_rows_of_one_pattern(cost) -> None:
    out = cost(EXAMPLES / "streaming_llm.spat", "--n", 32768, "--gpu", "H200", "--depth", 3).out
    assert row(out, "cache") == "a decoder keeps at most 1,024 keys / 1024 for n >= 1025 / n for n <= 1024"
    assert "the last position depends on 3,062 of 32,768" in row(out, "reach")
    assert row(out, "reach").endswith("every earlier position is reached from depth 33 on")
    assert "wasted by size: 5.83 % with 32 x 32, 11 % with 64 x 64" in row(out, "tiles")
    assert "bound by operations" in row(out, "floor")
    assert "no prediction: 989 TFLOP/s and 4.8 TB/s" in row(out, "floor")
    assert "causal dense" in row(out, "speed")


def test_floors_are_those_of_the_data_sheet(cost) -> None:
    data = json.loads(cost(EXAMPLES / "mistral.spat", "--n", 8192, "--gpu", "l40s", "--json").out)
    forward, backward = data["floor"]["forward"], data["floor"]["backward"]
    assert forward["pairs"] == pytest.approx(4 * 128 * data["pairs"] / 362.05e12)
    assert forward["bytes"] == pytest.approx(8192 * (4 * 128 * 2 + 4) / 0.864e12)
    assert backward["bytes"] == pytest.approx(8192 * (8 * 128 * 2 + 4) / 0.864e12)
    assert forward["least"] == max(forward["pairs"], forward["bytes"])
    area = 64 * 64 * (data["tiles"]["full"] + data["tiles"]["partial"])
    assert backward["tiles"] == pytest.approx(10 * 128 * area / 362.05e12)


def test_gpus_of_consumers(cost) -> None:
    assert "165 TFLOP/s and 1.01 TB/s" in row(cost(EXAMPLES / "mistral.spat", "--gpu", "RTX 4090").out, "floor")
    for gpu in GPUS.values():  # operations a byte: between those of consumers' cards and of the newest servers'
        assert 50 < gpu.flops / gpu.bandwidth < 500


def test_layers_that_differ_are_passed_in_turn(cost) -> None:
    name, model = EXAMPLES / "hybrid_layers.spat", ("--layer", 0, "--layers", 16, "-D", "w=64")
    near = json.loads(cost(name, *model, "--depth", 7, "--json").out)["reach"]
    assert (near["back"], near["causal"]) == (7 * 63, True)
    far = json.loads(cost(name, *model, "--depth", 8, "--json").out)["reach"]
    assert (far["back"], far["full"], far["settled"]) == (4095, True, [8, 8])
    assert "SP0405" in cost(name, *model, "--depth", 17).err


def test_what_is_not_known_is_said(cost) -> None:
    out = cost(EXAMPLES / "deepspeed_variable.spat", "--depth", 2).out
    assert row(out, "reach").startswith("after 2 layers not known at this length")
    assert row(out, "cache") == "a decoder keeps up to n keys: not known which are not seen again"
    assert "depends on 1,024 of 1,024" in cost(EXAMPLES / "deepspeed_variable.spat", "--depth", 4, "--n", 1024).out


def test_heads_that_keep_different_keys(cost) -> None:
    out = cost(EXAMPLES / "per_head_strides.spat", "--heads", 8).out
    assert row(out, "cache").startswith("4 heads: a decoder keeps at most 129 keys")
    assert "/ 4 heads: a decoder keeps at most 257 keys" in row(out, "cache")


@pytest.mark.parametrize("n", [1, 2, 65])
@pytest.mark.parametrize("body", ["k < 0 | q == 100", "causal", "random_keys(3, 0)", "past(1) | k == n - 1"])
def test_short_texts(cost, tmp_path: Path, body: str, n: int) -> None:
    (tmp_path / "p.spat").write_text(f"pattern p = {body}\n")
    ran = cost(tmp_path / "p.spat", "--n", n, "--depth", 3, "--gpu", "mi300x")
    assert ran.status == 0
    assert row(ran.out, "reach").startswith("after 3 layers the last position depends on ")


@pytest.mark.parametrize("arguments", [["--gpu", "h300"], ["--depth", "0"], ["--depth", "10000000"]])
def test_wrong_usage(cost, arguments: list[str]) -> None:
    assert cost(EXAMPLES / "mistral.spat", *arguments).status == 2


def test_tables_have_no_room_for_gpus_and_layers(cost) -> None:
    files = EXAMPLES / "mistral.spat", EXAMPLES / "longformer.spat"
    assert cost(*files, "--gpu", "h200").status == cost(*files, "--depth", 2).status == 2


def test_costs_are_told_without_torch() -> None:
    code = "import sys; from sparsec.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    arguments = ["cost", EXAMPLES / "longformer.spat", "--gpu", "h200", "--depth", "4"]
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert not {"torch", "triton", "jinja2"} & set(ran.stdout.splitlines()[-1].split())
