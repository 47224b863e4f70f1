"""Commands on all layers of a model at once: layers that are alike are told together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sparsec.cli import app
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.lower.layers import named
from sparsec.source import Source
from sparsec.syntax.parse import parse

MIXED = """pattern mixed(w = 16) = match layer % 6 {
    5 -> causal & stride(8) | sinks(4),
    else -> past(w) | sinks(2),
}
"""
HEADS = "pattern ours(w = 16) = past(w) | causal & layer % 3 == 2 & h < 1\n"
LOCAL, OTHER = "layers 0 to 4, 6 to 10", "layers 5, 11"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("mixed", MIXED), ("heads", HEADS), ("past", "pattern past_only = past(16) | sinks(2)\n")):
        (tmp_path / f"{name}.spat").write_text(text)
    return tmp_path


def run(*arguments: object, given: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)), input=given)
    assert not isinstance(result.exception, (TypeError, AttributeError, ValueError)), result.exception
    return result


def kept(layer: int, n: int) -> int:
    return int(reference.mask(lower(parse(Source("p", MIXED)), layer=layer).conditions[0], n, n).sum())


@given(st.sets(st.integers(0, 40), min_size=1))
def test_layers_in_words_are_the_layers(layers: set[int]) -> None:
    found = set()
    for part in named(sorted(layers)).split(" ", 1)[1].split(", "):
        first, _, last = part.partition(" to ")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == layers


def test_show_has_each_distinct_layer_once(folder: Path) -> None:
    shown = run("show", folder / "mixed.spat", "--layers", 12, "--n", 64).stdout
    assert [line for line in shown.splitlines() if line.startswith("layer")] == [LOCAL, OTHER]
    for layer, operands in ((0, ("past(w) ", "sinks(2) ")), (5, ("causal & stride(8) ", "sinks(4) "))):
        assert f"{kept(layer, 64):,} of 4,096 pairs" in shown
        assert all(words in shown for words in operands)
    heads = run("show", folder / "heads.spat", "--layers", 6, "--heads", 2, "--n", 64).stdout
    found = [line for line in heads.splitlines() if line.startswith(("layer", "head"))]
    assert found == ["layers 0, 1, 3, 4, heads 0, 1", "layers 2, 5, head 0", "layers 2, 5, head 1"]


def test_the_text_can_come_from_a_pipe() -> None:
    shown = run("show", "-", "--layers", 12, "--n", 64, given=MIXED).stdout
    assert [line for line in shown.splitlines() if line.startswith("layer")] == [LOCAL, OTHER]
    assert "layers 0 to 4" in run("cost", "-", "--layers", 6, "--n", 64, given=MIXED).stdout
    assert run("diff", "-", "-", "--layers", 6, given=MIXED).exit_code == 0


@pytest.mark.parametrize("command", ["show", "cost"])
def test_one_layer_is_itself(folder: Path, command: str) -> None:
    one = run(command, folder / "mixed.spat", "--layers", 12, "--layer", 5, "--n", 33)
    assert one.exit_code == 0
    assert not any(line.startswith("layer") for line in one.stdout.splitlines())
    unlike = run(command, folder / "past.spat", "--layers", 12, "--n", 33)
    assert not any(line.startswith("layer") for line in unlike.stdout.splitlines()), "layers that all are alike"
    assert "SP0402" in str(run(command, folder / "mixed.spat", "--n", 33).exception), "how many there are is asked"


def test_cost_of_all_layers(folder: Path) -> None:
    printed = run("cost", folder / "mixed.spat", "--layers", 12, "--n", 64)
    lines = printed.stdout.splitlines()
    assert [line for line in lines if line.startswith("layer")] == [f"{LOCAL}:", f"{OTHER}:"]
    total = 10 * kept(0, 64) + 2 * kept(5, 64)
    assert lines[-1].startswith(f"in all 12 layers: {total:,} pairs, ")
    found = json.loads(run("cost", folder / "mixed.spat", "--layers", 12, "--n", 64, "--json").stdout)
    assert [each["pairs"] for each in found] == [kept(0, 64), kept(5, 64)]
    assert [each["layers"] for each in found] == [[*range(5), *range(6, 11)], [5, 11]]
    table = run("cost", folder / "mixed.spat", folder / "past.spat", "--layers", 12, "--n", 64).stdout
    assert f"mixed, {LOCAL} " in table
    assert f"mixed, {OTHER} " in table


def test_verify_tries_each_distinct_layer(folder: Path) -> None:
    result = run("verify", folder / "mixed.spat", "--layers", 6, "--n", 33)
    assert result.exit_code == 0, result.output
    told = [line for line in result.stdout.splitlines() if "every error is within its bound" in line]
    assert [line.split(" equals ")[0] for line in told] == ["mixed(w = 16), layers 0 to 4", "mixed(w = 16), layer 5"]


def test_diff_tells_layers_apart(folder: Path) -> None:
    result = run("diff", folder / "mixed.spat", folder / "past.spat", "--layers", 12)
    assert result.exit_code == 1
    assert f"  {LOCAL}: equal" in result.stdout.splitlines()
    assert f"  {OTHER}: overlapping" in result.stdout.splitlines()
    found = json.loads(run("diff", folder / "mixed.spat", folder / "past.spat", "--layers", 12, "--json").stdout)
    assert [each["verdict"] for each in found["by_layers"]] == ["equal", "overlapping"]
    assert run("diff", folder / "mixed.spat", folder / "mixed.spat", "--layers", 12).exit_code == 0
    shown = run("show", folder / "mixed.spat", "--diff", folder / "past.spat", "--layers", 12, "--n", 64).stdout
    assert [line for line in shown.splitlines() if line.startswith("layer")] == [LOCAL, OTHER]


def test_more_layers_than_can_be_gone_through(folder: Path) -> None:
    assert run("cost", folder / "mixed.spat", "--layers", 100_000).exit_code == 2


ODD = "pattern odd = match layer % 2 { 0 -> causal, else -> causal & q - k in {1, 2} }\n"


@pytest.mark.parametrize(
    "command", [["check"], ["show", "--n", 16], ["cost", "--n", 64], ["verify", "--n", 33]], ids=str
)
def test_warnings_speak_of_every_layer(command: list, tmp_path: Path) -> None:
    path = tmp_path / "odd.spat"
    path.write_text(ODD)
    told = [line for line in run(*command, path, "--layers", 6).stderr.splitlines() if line.startswith("warning")]
    assert told == [
        "warning[SP0901]: some queries have no key, for layers 1, 3, 5 of 6: with n = 1, query 0 is the first"
    ]
    assert "for layer 3 of 6" in run(*command, path, "--layers", 6, "--layer", 3).stderr
    assert not run(*command, path, "--layers", 6, "--layer", 2).stderr


def test_check_looks_at_every_layer(tmp_path: Path) -> None:
    """Also for errors, of which the text shows none at layer 0."""
    path = tmp_path / "odd.spat"
    path.write_text("pattern odd = match layer { 4 -> past(0), else -> causal }\n")
    result = run("check", path, "--layers", 6)
    assert result.exit_code == 1
    assert "SP0906" in result.stderr
    assert "for layer 4 of 6" in result.stderr
    assert run("check", path, "--layers", 4).exit_code == 0
