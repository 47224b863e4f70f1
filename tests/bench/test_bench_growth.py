"""`sparsec bench` over lengths: what is skipped says why, what was found is kept, exponents fit."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import pytest
import torch
from test_bench import DOCS, EXAMPLES, SMALL, command, of

import sparsec.bench.run
from sparsec.bench.growth import Growth, power
from sparsec.bench.race import Racer
from sparsec.bench.run import bench

CPU = torch.device("cpu")
ALONE = replace(SMALL, against=())


@pytest.fixture
def page(monkeypatch):
    """The module `growth` of docs/benchmarks."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("growth")


def run(n: int, ms: float, peak: int | None = None, **found) -> dict:
    times = {kind: {"median": ms / 2} for kind in ("forward", "backward")}
    return {"n": n, "errors": {}, "racers": {"ours": {"ms": times, "peak_bytes": peak}}, **found}


@pytest.mark.parametrize(
    ("points", "value"),
    [
        ([], None),
        ([(8, 3.0)], 12.0),  # one point: quadratic
        ([(4, 1.0), (8, 2.0)], 4.0),
        ([(4, 1.0), (8, 1.0)], 2.0),  # no less than linear
        ([(4, 1.0), (8, 9.0)], 36.0),  # no more than quadratic
        ([(2, 50.0), (4, 1.0), (8, 2.0**1.5)], 8.0),  # the last two decide
    ],
)
def test_power(points, value):
    assert power(points, 16) == (None if value is None else pytest.approx(value))


def test_what_takes_too_long_or_too_much():
    growth = Growth()
    assert growth.too_much("ours", 64, room=0) is None  # nothing known
    growth.note(run(64, ms=1000.0, peak=100))
    assert growth.too_much("ours", 128, room=500) is None
    assert "memory" not in growth.too_much("ours", 192, room=10**6)
    assert "72 s, more than 60 s, going by n = 64" in growth.too_much("ours", 192, room=None)
    assert "GB beside the inputs" in growth.too_much("ours", 128, room=399)
    assert growth.too_much("ours", 128, room=None) is None  # a CPU, where memory is not known
    growth.note(run(128, ms=2000.0, notes={"flex": "OutOfMemoryError: 256 GiB", "sdpa": "RuntimeError: other"}))
    assert growth.too_much("flex", 256, room=None) == "skipped: it ran out of memory at n = 128"
    assert growth.too_much("sdpa", 256, room=None) is None
    growth.note({"n": 256, "failed": "Traceback\ntorch.OutOfMemoryError: 1 TB"})
    assert growth.too_much("ours", 512, room=None) == "skipped: it ran out of memory at n = 256"
    assert growth.checked == 128


def test_a_slow_peer_is_skipped_and_said_to_be(monkeypatch):
    monkeypatch.setattr(sparsec.bench.growth, "_PEERS_SECONDS", 0.0)
    first, second = bench([of("pattern p = causal")], SMALL, CPU, (64, 32))
    assert [first["n"], second["n"]] == [32, 64]
    assert set(first["racers"]) == {"ours", "sdpa"}
    assert set(second["racers"]) == {"ours"}
    assert second["notes"]["sdpa"].startswith("skipped: it would take some ")
    assert first["predicted_steps"] > 0


def test_ours_is_skipped_too(monkeypatch):
    monkeypatch.setitem(sparsec.bench.growth.MOST_SECONDS, "ours", 0.0)
    runs = list(bench([of("pattern p = causal"), of("pattern x = past(3)")], ALONE, CPU, (32, 64)))
    assert ["racers" in each for each in runs] == [True, False, True, False]  # each pattern by itself
    assert runs[1]["skipped"].startswith("skipped: ")


def test_long_lengths_lean_on_the_check_of_shorter_ones(monkeypatch):
    monkeypatch.setattr(sparsec.bench.run, "_MOST_CHECKED", 0)
    first, second = bench([of("pattern p = causal")], ALONE, CPU, (32, 64))
    assert "errors" in first
    assert "errors" not in second
    assert second["unchecked"].startswith("checked at n = 32;")
    assert "racers" in second


def test_it_is_compiled_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        sparsec.bench.run,
        "first",
        lambda racer, t, before=sparsec.bench.run.first: made.append(racer.attend) or before(racer, t),
    )
    list(bench([of("pattern p = past(5)")], ALONE, CPU, (32, 64)))
    assert made[0] is made[1]


def test_what_was_found_is_kept(monkeypatch, capsys, tmp_path):
    """A run that is stopped leaves a whole file with everything up to there."""
    out, forward = tmp_path / "out.json", Racer.forward

    def stopped(racer, tensors):
        if tensors.q.shape[2] == 64:
            raise KeyboardInterrupt
        return forward(racer, tensors)

    monkeypatch.setattr(Racer, "forward", stopped)
    options = ["--head-size", 16, "--repeats", 2, "--against", "none", "--growth", "16:100", "--json", out]
    status, _, _ = command(monkeypatch, capsys, EXAMPLES / "mistral.spat", *options)
    assert status != 0
    found = json.loads(out.read_text())
    assert found["lengths"] == [16, 32, 64]
    assert [each["n"] for each in found["runs"]] == [16, 32]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--n", text] for text in ("8,x", "0", "8,", 2**26 + 1, "٣")),
        *(["--growth", text] for text in ("8", "16:8", ":8")),
        ["--growth", "8:16", "--n", 8],
    ],
)
def test_wrong_lengths(monkeypatch, capsys, arguments):
    status, _, errors = command(monkeypatch, capsys, EXAMPLES / "mistral.spat", *arguments)
    assert status == 2
    assert arguments[0] in errors


# ---------------------------------------------------------------- tables and plots


@pytest.mark.parametrize("power", [0.0, 1.0, 1.37, 2.0])
def test_an_exponent_is_found(page, power):
    found = [(n, 3.0 * n**power) for n in (8, 16, 64, 100, 128)]
    found[0] = (8, 1e9)  # below the upper half
    assert page.exponent(found) == pytest.approx(power)
    assert page.exponent(found[:1]) is None


def grown() -> dict:
    """Linear in time and pairs, quadratic in steps and memory; a peer at the first two lengths."""
    report = sparsec.bench.run.report(SMALL, CPU, ["sparsec", "bench"], (8, 16, 32, 64))
    for n in report["lengths"]:
        found = run(n, ms=float(n), peak=n * n, pattern="p", text="pattern p =\n  causal | k < 3", pairs=5 * n)
        found |= {"predicted_steps": float(n * n), "notes": {"flex": "GPU only"}}
        if n <= 16:
            found["racers"]["sdpa"] = {"ms": found["racers"]["ours"]["ms"], "peak_bytes": None}
        report["runs"].append(found)
    report["runs"].append({"pattern": "q", "text": "pattern q = k < 3", "n": 8, "failed": "trace"})
    report["runs"].append({"pattern": "q", "text": "pattern q = k < 3", "n": 16, "skipped": "skipped: 9 s"})
    return report


def test_tables(page):
    lines = list(page.tables(grown(), "plots/x.svg"))
    assert "| p: `causal \\| k < 3` | 8 to 64 | 1.00 / 1.00 | 2.00 | 1.00 | 2.00 | 1.00 / 1.00 |" in lines
    assert "![Time against n, log-log](plots/x.svg)" in lines
    assert "| 64 | 320 | 32.0 / 32.0 | 0.0 |  |  |" in lines
    assert "| 8 |  | failed |  |" in lines
    assert "- q, n = 16: skipped: 9 s" in lines
    assert "- p, n = 8, without flex: GPU only" in lines


def test_plots(page, tmp_path):
    pytest.importorskip("matplotlib")
    plot = importlib.import_module("plot")
    for folder in "ab":
        plot.save(plot.draw(grown()), tmp_path / folder / "growth")
    svg = (tmp_path / "a/growth.svg").read_text()
    assert svg == (tmp_path / "b/growth.svg").read_text()
    for words in ("p, forward", "p, memory", "ours, n^1.00", "predicted work, n^2.00"):
        assert words in svg
    assert (tmp_path / "a/growth.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("content", ["", "{}", '{"lengths": [8], "runs": []}'])
def test_nothing_to_plot(page, tmp_path, content):
    pytest.importorskip("matplotlib")
    (tmp_path / "raw.json").write_text(content)
    with pytest.raises(SystemExit, match="error: "):
        importlib.import_module("plot").main([str(tmp_path / "raw.json")])
