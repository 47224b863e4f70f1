"""`sparsec verify`: what it accepts, what it finds, and what it prints."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.generated import EXAMPLES, attend_of, example, pattern_of

import sparsec.testing.verify
from sparsec.cli import main
from sparsec.testing.dense_attention import Comparison
from sparsec.testing.verify import Case, Tried, cases, telling, verify

CPU = torch.device("cpu")
SMALL = Case(90, 90, 2, 1, 16, torch.float32)
SAMPLED = replace(SMALL, n_q=1200, n_k=1500, q_offset=310)


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    """So few that SAMPLED is sampled and SMALL is not."""
    monkeypatch.setitem(sparsec.testing.verify._MOST_PAIRS, "cpu", 200_000)


def holds(attend, pattern, case) -> bool:
    found = verify(attend, pattern, case, CPU)
    assert [each.name for each in found.comparisons] == ["out", "lse", "dq", "dk", "dv"]
    assert found.pairs
    return found.holds


@pytest.mark.parametrize("case", [SMALL, SAMPLED], ids=["all rows", "some rows"])
@pytest.mark.parametrize("name", ["longformer", "streaming_llm", "per_head_strides"])
def test_right_operators_hold(name, case):
    pattern = example(name, heads=8, w=40)
    case = replace(case, heads=8)
    assert holds(attend_of(pattern), pattern, case)


@pytest.mark.parametrize("case", [SMALL, SAMPLED], ids=["all rows", "some rows"])
@pytest.mark.parametrize("text", ["past(41)", "past(40) | k == 70", "past(40) \\ q % 16 == k % 16", "causal"])
def test_wrong_operators_do_not(text, case):
    meant = pattern_of("pattern p = past(40)")
    assert holds(attend_of(meant), meant, case)
    assert not holds(attend_of(pattern_of(f"pattern p = {text}")), meant, case)


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_wrong_gradients_do_not(name):
    pattern = pattern_of("pattern p = past(40)")

    def attend(q, k, v, **keywords):
        changed = {"q": q, "k": k, "v": v}
        changed[name] = changed[name].detach() + 0 * changed[name]
        return attend_of(pattern)(*changed.values(), **keywords)

    for case in (SMALL, SAMPLED):
        assert not holds(attend, pattern, case)


def test_cases_reach_what_is_promised():
    """Fewer and more queries than keys, shared key heads, 16-bit types on a GPU, lengths that fit no tile."""
    for heads, device in ((None, "cpu"), (8, "cuda"), (3, "cuda"), (1, "cpu")):
        tried = cases(heads, 4999, torch.device(device))
        assert any(case.n_q < case.n_k for case in tried)
        assert any(case.n_q > case.n_k for case in tried)
        assert any(case.n_k == 1 for case in tried)
        assert any(case.kv_heads < case.heads for case in tried) == (heads not in (1, 3))
        assert {case.heads for case in tried} == {heads or 4}
        assert not any(length % 8 == 0 for case in tried for length in (case.n_k,))
        low = {torch.float16, torch.bfloat16} if device == "cuda" else set()
        assert {case.dtype for case in tried} == {torch.float32} | low


CANVAS = "pattern fl(t = 3) = k // t == 0 & q in 0..7 | k // t == 1 & q in 1..7 | k // t == 2 & q in 7..12"
FAR = "pattern far = k == 300 & q in 700..720"


@pytest.mark.parametrize("text", [CANVAS, FAR, "pattern p = blocks(16, [[3], [0]])", "pattern p = past(8)"])
@pytest.mark.parametrize("n", [9, 150, 4999])
def test_cases_are_moved_to_where_pairs_are(text, n):
    pattern = pattern_of(text)
    for case in cases(None, n, CPU):
        moved = telling(case, pattern)
        rows = sparsec.testing.verify._rows(moved, pattern, 200_000, 0)
        assert sparsec.testing.verify._mask(pattern, rows + moved.queries.start, moved, {}).any(), (case, moved)
        kept = sparsec.testing.verify._mask(pattern, np.array(case.queries), case, {}).any()
        assert not kept or moved == case
        assert (moved.n_q, moved.heads, moved.dtype) == (case.n_q, case.heads, case.dtype)
        assert moved.n_k >= case.n_k


def test_a_case_without_pairs_says_so():
    pattern = pattern_of(CANVAS)
    assert not verify(attend_of(pattern), pattern, replace(SMALL, q_offset=40), CPU).pairs
    assert verify(attend_of(pattern), pattern, replace(SMALL, q_offset=5), CPU).pairs


# ---------------------------------------------------------------- the command


def command(monkeypatch, capsys, *arguments) -> tuple[int | None, list[str], str]:
    """Exit status, lines and errors of `sparsec verify`."""
    monkeypatch.setattr(sys, "argv", ["sparsec", "verify", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code, said.out.splitlines(), said.err


def test_command(monkeypatch, capsys):
    status, lines, _ = command(monkeypatch, capsys, EXAMPLES / "longformer.spat", "--n", 301, "-D", "w=32", "-D", "g=3")
    assert status in (0, None)
    assert lines[0].startswith("longformer(w = 32, g = 3) equals dense attention on the CPU, forward and backward")
    assert [("float32" in line) for line in lines] == [False, False] + [True] * 7


def test_command_by_layer_and_head(monkeypatch, capsys):
    status, lines, _ = command(
        monkeypatch, capsys, EXAMPLES / "hybrid_layers.spat", "--n", 99, "--layer", 7, "--layers", 32
    )
    assert status in (0, None), lines
    status, lines, _ = command(monkeypatch, capsys, EXAMPLES / "per_head_strides.spat", "--n", 99, "--heads", 6)
    assert status in (0, None), lines
    assert any(" 6/3 " in line for line in lines)


def test_command_says_when_it_is_wrong(monkeypatch, capsys):
    wrong = Tried([Comparison("out", float("nan"), 1.0)], True)
    monkeypatch.setattr(sparsec.testing.verify, "verify", lambda *_: wrong)
    status, lines, _ = command(monkeypatch, capsys, EXAMPLES / "mistral.spat", "--n", 99)
    assert status == 1
    assert any("nan / 1.0e+00!" in line for line in lines)
    assert lines[0].startswith("mistral(w = 4096) is NOT dense attention on the CPU: 7 of these calls")


def test_progress_is_for_terminals(monkeypatch, capsys):
    monkeypatch.delenv("TERM", raising=False)
    _, _, errors = command(monkeypatch, capsys, EXAMPLES / "mistral.spat", "--n", 9)
    assert errors == ""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    _, _, errors = command(monkeypatch, capsys, EXAMPLES / "mistral.spat", "--n", 9)
    assert "call 2 of 7: n_q = 13, n_k = 13" in errors
    assert errors.endswith("\r" + " " * 78 + "\r")


def test_command_on_a_canvas(monkeypatch, capsys, tmp_path):
    (tmp_path / "fl.spat").write_text(CANVAS)
    status, lines, _ = command(monkeypatch, capsys, tmp_path / "fl.spat", "--n", 9, "--n-q", 12, "--q-offset", 0)
    assert status in (0, None), lines
    assert any(line.split()[:3] == ["12", "9", "0"] for line in lines)
    assert not any("keep no pair" in line for line in lines), "all cases were moved to pairs"
    status, lines, _ = command(monkeypatch, capsys, tmp_path / "fl.spat", "--n", 20, "--n-q", 5, "--q-offset", 13)
    assert status in (0, None), lines
    assert "Of 7 calls 2 keep no pair, marked with -: that these give zeros proves little." in lines
    assert any(line.split()[:3] == ["5", "20", "13"] and "float32-" in line.replace(" ", "") for line in lines)


def test_command_that_verified_nothing_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sparsec.testing.verify, "verify", lambda *_: Tried([Comparison("out", 0.0, 1.0)], False))
    status, lines, _ = command(monkeypatch, capsys, EXAMPLES / "mistral.spat", "--n", 99)
    assert status == 1
    assert lines[0].startswith("Nothing is verified")


def test_command_on_a_mistake(monkeypatch, capsys, tmp_path):
    (tmp_path / "wrong.spat").write_text("pattern p = pst(4)")
    status, _, errors = command(monkeypatch, capsys, tmp_path / "wrong.spat")
    assert status == 1
    assert "error[SP02" in errors


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.spat")))
def test_command_on_every_example(monkeypatch, capsys, name):
    monkeypatch.setitem(sparsec.testing.verify._MOST_PAIRS, "cpu", 2**22)
    start = time.perf_counter()
    status, lines, errors = command(
        monkeypatch, capsys, EXAMPLES / f"{name}.spat", "--heads", 8, "--layer", 3, "--layers", 32
    )
    assert status in (0, None), (lines, errors)
    print(f"{name}: {time.perf_counter() - start:.1f} s")


def test_float_inputs_of_scores_are_drawn():
    text = "input t: float[H, d] input b: float[n, n] score x = s + t[q - k] + b[q, k] pattern p = past(9) with x"
    pattern = pattern_of(text)
    assert holds(attend_of(pattern), pattern, SMALL)
