"""`sparsec doctor`: on this machine, and on machines that lack something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from sparsec import doctor

ROOT = Path(__file__).parents[2]
BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from sparsec.cli import main
main()
"""


def run_doctor(*arguments: str, blocked: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked), "doctor", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def looks(run: subprocess.CompletedProcess) -> dict[str, dict]:
    assert "Traceback" not in run.stdout + run.stderr
    return {look["name"]: look for look in json.loads(run.stdout)["looks"]}


def test_this_machine_is_well(tmp_path: Path) -> None:
    run = run_doctor("--json", SPARSEC_CACHE=str(tmp_path / "cache"))
    found = looks(run)
    assert (run.returncode, json.loads(run.stdout)["well"]) == (0, True)
    assert list(found) == [
        *("python", "sparsec", "torch", "islpy", "lark", "sympy", "jinja2", "numpy"),
        *("triton", "gpu", "hopper", "compiler", "cache", "self-test"),
    ]
    assert "equal dense attention" in found["self-test"]["found"]
    assert found["cache"]["found"].startswith(f"{tmp_path / 'cache'}, writable, 0 records")


def test_without_torch_and_triton() -> None:
    """Only operators need torch: a machine that checks and draws patterns is well."""
    run = run_doctor(blocked=("torch", "triton"), SPARSEC_CACHE="/dev/null/cache", CC="no-such-compiler")
    assert run.returncode == 0
    assert "Traceback" not in run.stdout + run.stderr
    lines = run.stdout.splitlines()
    cures = {line.split()[1]: after.strip() for line, after in pairwise(lines)}
    assert cures["torch"].startswith("cure: `pip install 'sparsec[cpu]'`")
    assert cures["triton"].startswith("cure: `pip install triton`")
    assert cures["compiler"] == "cure: correct CC, or unset it"
    assert "SPARSEC_CACHE" in cures["cache"]
    assert cures["self-test"].startswith("cure: ")
    states = {line.split()[1]: line.split()[0] for line in lines if not line.startswith(" ")}
    assert {states[name] for name in ("torch", "triton", "cache", "self-test")} == {"note"}


@pytest.mark.parametrize("name", ["islpy", "lark"])
def test_every_library_may_be_missing(name: str) -> None:
    run = run_doctor("--json", blocked=(name,))
    assert run.returncode == 1
    assert looks(run)[name]["cure"] == f"`pip install {name}`"


@pytest.mark.parametrize(
    ("lacking", "state"),
    [
        ("", "ok"),
        ("a GPU of capability 9.0", "ok"),
        ("a driver for CUDA 12", "note"),
        ("Gluon of Triton 3.6 to 3.9", "note"),
    ],
)
def test_the_hopper_tier(lacking: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from sparsec.kernels.hopper import tier as hopper_tier

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(hopper_tier, "machine_lacks", lambda device: lacking)
    monkeypatch.delenv("SPARSEC_TIER", raising=False)
    look = doctor._hopper("hopper")
    assert (look.state, bool(look.cure)) == (state, state == "note")
    assert (f"they need {lacking}" if lacking else "a head size from 40 to 128") in look.found
    monkeypatch.setenv("SPARSEC_TIER", "plain")
    assert doctor._hopper("hopper").found.endswith("left out: SPARSEC_TIER is plain")
    monkeypatch.setenv("SPARSEC_TIER", "fast")
    look = next(look for look in doctor.looks() if look.name == "hopper")
    assert (look.state, "SPARSEC_TIER must be plain or hopper" in look.found) == ("broken", True)


def test_wrong_results_and_broken_libraries_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from sparsec.testing import verify
    from sparsec.testing.dense_attention import Comparison

    monkeypatch.setattr(verify, "verify", lambda *_: verify.Tried([Comparison("out", 1.0, 0.1)], True))

    def broken(name: str) -> None:
        raise OSError("libcudart.so: cannot open shared object file\nmore")

    monkeypatch.setattr(doctor, "import_module", broken)
    found = {look.name: look for look in doctor.looks()}
    assert found["torch"].found == "OSError: libcudart.so: cannot open shared object file"
    assert all(found[name].state == "broken" and found[name].cure for name in ("torch", "self-test"))
    assert found["gpu"].found == "not known without torch"
    assert found["self-test"].found.startswith("not dense attention on the CPU: out")
