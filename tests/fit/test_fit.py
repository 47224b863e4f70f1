"""`sparsec fit` from a file of captured tensors to a pattern that says what was chosen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import sparsec
from sparsec.cli import main
from sparsec.fit import measure

CANDIDATES = "pattern near(w = 4) = past(w)\npattern far = causal & q - k >= 20 | past(1)\n"
N = 60


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    Path("candidates.spat").write_text(CANDIDATES)
    save_file(tensors(), "captured.safetensors")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sparsec", "fit", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    return run


def tensors() -> dict[str, torch.Tensor]:
    """Layer 0: head 0 looks at near keys, head 1 at far ones; layer 1 the other way round."""
    places = torch.arange(N)
    near = torch.zeros(N, N).where(abs(places[:, None] - places) > 3, 8.0)
    far = torch.zeros(N, N).where(places[:, None] - places < 20, 8.0)
    found = {}
    for layer, scores in enumerate(([near, far], [far, near])):
        found[f"layers.{layer}.q"] = torch.stack(scores)[None] * 8  # times eye: the scores, for D = 64
        found[f"layers.{layer}.k"] = torch.eye(N)[None, None].contiguous()
    return {name: torch.nn.functional.pad(x, (0, 64 - N)) for name, x in found.items()}


def test_heads_get_what_they_look_at(fit) -> None:
    status, out, err = fit("captured.safetensors", "candidates.spat", "--budget", "0.6", "-o", "fitted.spat")
    assert (status, err) == (0, "")
    text = Path("fitted.spat").read_text()
    assert text.startswith(CANDIDATES)
    names = [["near", "far"], ["far", "near"]]
    for layer, own in enumerate(names):
        pattern = sparsec.load("fitted.spat", pattern="fitted", heads=2, layer=layer).pattern
        for head, name in enumerate(own):
            alone = sparsec.load("candidates.spat", pattern=name).pattern
            assert (pattern.mask(N, N)[head] == alone.mask(N, N)).all()
    assert out.splitlines()[-2:] == ["    0  ab", "    1  ba"]
    assert sorted(path.name for path in Path.cwd().iterdir()) == [
        "candidates.spat",
        "captured.safetensors",
        "fitted.spat",
    ]


def test_figures_are_those_of_dense_attention(fit) -> None:
    status, out, _ = fit("captured.safetensors", "candidates.spat", "--json", "--vary", "w=4,9", "--budget", "0.7")
    found = json.loads(out)
    assert (status, found["dense"], found["n"]) == (0, "causal", N)
    masks = [sparsec.compile(f"{CANDIDATES}pattern p = {each}", pattern="p").pattern.mask(N, N) for each in (
        "near(4)", "near(9)", "far")]  # fmt: skip
    causal = torch.ones(N, N).tril() > 0
    for layer in found["layers"]:
        q, k = (tensors()[f"layers.{layer['layer']}.{part}"].double() for part in "qk")
        weights = ((q @ k.mT) / 8).masked_fill(~causal, -torch.inf).softmax(-1)
        for head in range(2):
            wanted = [float((weights[0, head] * torch.from_numpy(mask)).sum(-1).mean()) for mask in masks]
            assert layer["weight"][head] == pytest.approx(wanted, abs=1e-6)
            assert layer["pairs"][head] == [int(mask.sum()) / int(causal.sum()) for mask in masks]
    assert found["pairs"] <= 0.7


@pytest.mark.parametrize(("per", "rows"), [("layer", {"aa", "bb"}), ("model", {"aa"})])
def test_what_has_a_candidate_of_its_own(fit, per: str, rows: set[str]) -> None:
    _, out, err = fit("captured.safetensors", "candidates.spat", "--per", per, "--budget", "0.4")
    assert {line.split()[-1] for line in err.splitlines()[-2:]} <= rows
    assert out.startswith(CANDIDATES) and "pattern fitted" in out


def test_a_stopped_run_goes_on(fit, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []
    end = measure.Journal.end

    def stopping(self: measure.Journal, digest: str, kept: list[float]) -> None:
        if len(ends) == 3:
            raise KeyboardInterrupt
        ends.append(digest)
        end(self, digest, kept)

    monkeypatch.setattr(measure.Journal, "end", stopping)
    status, _, err = fit("captured.safetensors", "candidates.spat", "-o", "fitted.spat", "--budget", "0.6")
    assert (status, "Run it again to go on" in err, Path("fitted.spat").exists()) == (130, True, False)
    with Path("fitted.spat.journal").open("a") as file:
        file.write('{"of": ')  # killed as it wrote
    later: list[str] = []
    monkeypatch.setattr(
        measure.Journal, "end", lambda self, digest, kept: (later.append(digest), end(self, digest, kept))
    )
    status, out, err = fit("captured.safetensors", "candidates.spat", "-o", "fitted.spat", "--budget", "0.6")
    assert (status, len(later), set(later) & set(ends)) == (0, 1, set())
    assert err == "1 damaged lines of fitted.spat.journal are not used\n"
    assert out.splitlines()[-2:] == ["    0  ab", "    1  ba"] and not Path("fitted.spat.journal").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.safetensors", "candidates.spat"], "SP0701"),
        (["candidates.spat", "candidates.spat"], "no file of safetensors"),
        (["missing.safetensors", "candidates.spat"], "`layers.1.k` is missing"),
        (["strange.safetensors", "candidates.spat"], "`model.weight` is neither"),
        (["unlike.safetensors", "candidates.spat"], "do not fit each other"),
        (["captured.safetensors", "nowhere.spat"], "SP0701"),
        (["captured.safetensors", "candidates.spat", "--budget", "0.01"], "--budget"),
        (["captured.safetensors", "candidates.spat", "--vary", "x=3"], "no pattern has a parameter x"),
        (["captured.safetensors", "candidates.spat", "--vary", "w=3.5"], "SP0211"),
        (["captured.safetensors", "candidates.spat", "--vary", "w"], "NAME=VALUE,VALUE"),
        (["captured.safetensors", "candidates.spat", "--name", "far"], "--name"),
        (["captured.safetensors", "-e", "input x: int[n] pattern p = causal & x[k] > 0"], "SP0621"),
        (["captured.safetensors", "-e", "set s = causal"], "no pattern"),
    ],
)
def test_errors_write_nothing(fit, arguments: list[str], said: str) -> None:
    good = tensors()
    save_file({name: x for name, x in good.items() if name != "layers.1.k"}, "missing.safetensors")
    save_file({**good, "model.weight": torch.zeros(2)}, "strange.safetensors")
    save_file({**good, "layers.1.k": torch.zeros(1, 3, N, 64)}, "unlike.safetensors")
    status, _, err = fit(*arguments, "-o", "fitted.spat")
    assert status in (1, 2) and said in err and "Traceback" not in err
    assert not Path("fitted.spat").exists()
