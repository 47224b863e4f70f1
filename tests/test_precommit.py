"""The hooks of .pre-commit-hooks.yaml: their commands run on the files that they ask for."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HOOKS = yaml.safe_load((Path(__file__).parents[1] / ".pre-commit-hooks.yaml").read_text())


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_hooks_run(hook: dict, tmp_path: Path) -> None:
    assert {"id", "name", "entry", "language", "files"} <= set(hook)
    (tmp_path / "good.spat").write_text("pattern p = causal\n")
    (tmp_path / "bad.spat").write_text("pattern p = \n")
    assert hook["language"] == "python"  # its environment gets no torch, which the command does without
    program, *arguments = shlex.split(hook["entry"])
    assert program == "sparsec"
    for name, status in (("good.spat", 0), ("bad.spat", 1)):
        assert re.search(hook["files"], f"deep/{name}")
        command = [sys.executable, "-m", program, *arguments, name]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == status
    assert not re.search(hook["files"], "spat.py")


def test_both_hooks_are_there() -> None:
    assert [hook["id"] for hook in HOOKS] == ["sparsec-check", "sparsec-fmt"]


def test_our_own_hooks_are_commands_of_contributing() -> None:
    root = Path(__file__).parents[1]
    [repository] = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert entries == ["ruff check", "ruff format --check", "mypy"]
    said = (root / "CONTRIBUTING.md").read_text()
    assert all(entry in said for entry in entries)
