"""Commands on other calls than self-attention: numbers of queries and offsets, as `.pattern.mask` takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import sparsec
from sparsec.cli import app
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

# 12 queries and 9 keys, in blocks.
CANVAS = "pattern fl(t = 3) = k // t == 0 & q in 0..7 | k // t == 1 & q in 1..7 | k // t == 2 & q in 7..12\n"
CAUSAL = "pattern p = past(7) | sinks(2)\n"
CALLS = [(9, 12, 0), (9, 4, None), (9, 12, -3), (30, 5, 60), (5, 2, -1)]


def mask(text: str, n: int, n_q: int, q_offset: int | None) -> np.ndarray:
    return reference.mask(lower(parse(Source("p", text))).conditions[0], n_q, n, q_offset)


@pytest.fixture
def canvas(tmp_path: Path) -> Path:
    (tmp_path / "fl.spat").write_text(CANVAS)
    return tmp_path / "fl.spat"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def called(n: int, n_q: int, q_offset: int | None) -> list[object]:
    return ["--n", n, "--n-q", n_q, *([] if q_offset is None else ["--q-offset", q_offset])]


@pytest.mark.parametrize("text", [CANVAS, CAUSAL])
@pytest.mark.parametrize("call", CALLS)
def test_show_and_cost_count_the_call(tmp_path: Path, text: str, call: tuple[int, int, int | None]) -> None:
    (tmp_path / "p.spat").write_text(text)
    kept = mask(text, *call)
    shown = run("show", tmp_path / "p.spat", *called(*call))
    assert shown.exit_code == 0, shown.output
    assert f"{kept.sum():,} of {kept.size:,} pairs" in shown.stdout
    first = call[0] - call[1] if call[2] is None else call[2]
    assert any(line.split()[:1] == [str(first)] for line in shown.stdout.splitlines()), "positions name the rows"
    cost = run("cost", tmp_path / "p.spat", *called(*call), "--json")
    assert cost.exit_code == 0, cost.output
    found = json.loads(cost.stdout)
    assert (found["pairs"], found["n_q"], found["q_offset"]) == (kept.sum(), call[1], first)
    assert found["speed"] is None, "the prediction is of self-attention"


def test_cost_in_words(canvas: Path) -> None:
    lines = run("cost", canvas, *called(9, 12, 0)).stdout.splitlines()
    assert lines[0] == "fl at n = 9, queries 0 to 11, one head of size 128"
    assert lines[1].split() == ["pairs", "54"]
    assert not any("speed" in line for line in lines)


def test_long_calls_are_counted_by_sets(tmp_path: Path) -> None:
    (tmp_path / "p.spat").write_text(CAUSAL)
    shown = run("show", tmp_path / "p.spat", *called(1_000_000, 5000, 1_000_001)).stdout
    assert "10,015 of 5,000,000,000 pairs" in shown  # two sinks for each query, and 5 + 4 + 3 + 2 + 1 more


@pytest.mark.parametrize("command", ["show", "cost", "verify"])
def test_more_queries_than_keys_need_an_offset(canvas: Path, command: str) -> None:
    result = run(command, canvas, "--n", 9, "--n-q", 12)
    assert result.exit_code == 1
    assert "SP0605" in str(result.exception)


def test_queries_of_a_call_can_be_zoomed(canvas: Path) -> None:
    shown = run("show", canvas, *called(9, 12, -2), "--q", "-2:3", "--k", "3:").stdout
    kept = mask(CANVAS, 9, 5, -2)[:, 3:]
    assert f"{kept.sum()} of {kept.size} pairs" in shown
    assert run("show", canvas, *called(9, 12, -2), "--q", "-3:3").exit_code == 2
    assert run("show", canvas, *called(9, 12, -2), "--q", ":11").exit_code == 2


def test_depth_is_of_self_attention(canvas: Path) -> None:
    assert run("cost", canvas, *called(9, 12, 0), "--depth", 2).exit_code == 2


@pytest.mark.parametrize("call", [*CALLS, (9, 9, None)])
def test_patterns_count_the_call(call: tuple[int, int, int | None]) -> None:
    n, n_q, q_offset = call
    pattern = sparsec.compile(CANVAS).pattern
    assert pattern.count(n, n_q=n_q, q_offset=q_offset) == mask(CANVAS, *call).sum()
    with pytest.raises(sparsec.SparsecError, match="SP0605"):
        pattern.count(9, n_q=12)
