"""Ctrl-C: whatever a command is at, it ends at once, says nothing, and leaves no file behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.field_cases import documents

# The command is interrupted a moment after a function of its own began; again after a while, for Python drops an
# interrupt that comes in a callback of C code.
CHILD = """
import importlib, os, signal, sys, threading, time
from sparsec.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # which what runs in the background inherits as ignored
home, name, *sys.argv = sys.argv[1:]
module = importlib.import_module(home)
begun = getattr(module, name)

def press(moment):
    time.sleep(moment)
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(*arguments, **keywords):
    for moment in (0.02, 15.0, 30.0):
        threading.Thread(target=press, args=(moment,), daemon=True).start()
    begun(*arguments, **keywords)
    time.sleep(60)

setattr(module, name, interrupted)
main()
"""


@pytest.mark.parametrize(
    ("home", "name", "command"),
    [
        ("sparsec.analysis.cost", "count", ["cost", "p.spat", "--n", "100000"]),  # within isl and numpy
        ("sparsec.codegen.emit", "emit", ["compile", "p.spat", "-o", "made"]),
        ("typer.main", "get_command", ["check", "p.spat"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_interrupt_ends_a_command(home: str, name: str, command: list[str], tmp_path: Path) -> None:
    (tmp_path / "p.spat").write_text(documents(24))
    start = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, home, name, "sparsec", *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (130, "")
    assert ran.stderr.strip() in ("", "Aborted!", "Aborted.")
    assert time.monotonic() - start < 55  # it did not wait for the end
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["p.spat"]
