"""Types and style of the whole repository, as CONTRIBUTING.md runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def passes(tmp_path: Path, tool: str, *arguments: str) -> None:
    """Fails with what the tool says of the repository."""
    run = subprocess.run([sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_types(tmp_path: Path) -> None:
    passes(tmp_path, "mypy", "--cache-dir", str(tmp_path))


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_style(tmp_path: Path, command: tuple[str, ...]) -> None:
    passes(tmp_path, "ruff", *command, "--cache-dir", str(tmp_path), ".")
