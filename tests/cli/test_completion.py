"""Completion: what the shell is told when it asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TWO = "pattern near(w = 8, s) = past(w) | sinks(s)\npattern far(step = 4) = stride(step)\nset other = near(1, 2)\n"


def completed(folder: Path, *words: str) -> list[str]:
    """What bash is offered in the place of the last word."""
    asked = {"_SPARSEC_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    run = subprocess.run(
        [sys.executable, "-m", "sparsec"],
        cwd=folder,
        env={**os.environ, **asked, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in run.stderr
    return run.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("sparsec", "ex"), ["explain"]),
        (("sparsec", "show", "two.spat", "-p", ""), ["near", "far"]),
        (("sparsec", "show", "two.spat", "-p", "f"), ["far"]),
        (("sparsec", "show", "two.spat", "-D", ""), ["w=", "s=", "step="]),
        (("sparsec", "check", "two.spat", "-p", "far", "-D", "s"), ["step="]),
        (("sparsec", "show", "broken.spat", "-p", ""), []),
        (("sparsec", "show", "missing.spat", "-D", ""), []),
        (("sparsec", "show", "-p", ""), []),
        (("sparsec", "explain", "SP020"), [f"SP020{i}" for i in range(1, 10)]),
        (("sparsec", "new", "--template", "longf"), ["longformer"]),
        (("sparsec", "check", "two.spat", "--output-format", "s"), ["sarif"]),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else "",
)
def test_what_is_offered(tmp_path: Path, words: tuple[str, ...], offered: list[str]) -> None:
    (tmp_path / "two.spat").write_text(TWO)
    (tmp_path / "broken.spat").write_text("pattern p = \n")
    assert completed(tmp_path, *words) == offered


def test_the_script_is_made_for_this_command() -> None:
    asked = {**os.environ, "_SPARSEC_COMPLETE": "source_bash"}
    run = subprocess.run([sys.executable, "-m", "sparsec"], cwd=ROOT, env=asked, capture_output=True, text=True)
    assert "_SPARSEC_COMPLETE=complete_bash" in run.stdout
    assert "default" in run.stdout  # file names where nothing else is offered
