"""Machines that lack what this one has: torch and Triton, or what only POSIX systems offer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TEXT = "pattern  p(w = 9) = past(w) | sinks(2)\n"
RUN = """
import contextlib, io, os, sys
{before}
from sparsec.cli import main

def run(*arguments):
    sys.argv = ["sparsec", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            return end.code or 0, out.getvalue(), err.getvalue()
"""
WITHOUT_TORCH = """
for name in ("torch", "triton"):
    sys.modules[name] = None  # as if it were not installed, for import and for find_spec
"""
WITHOUT_POSIX = """
import torch
for name in ("geteuid", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
    delattr(os, name)
sys.modules["fcntl"] = None
"""


def python(before: str, body: str, folder: Path, **environment: str) -> None:
    (folder / "p.spat").write_text(TEXT)
    (folder / "other.spat").write_text("pattern other = past(4)\n")
    code = RUN.format(before=before) + body
    environment = {"SPARSEC_TUNED": "", "HOME": str(folder), "PYTHONPATH": ":".join(sys.path), **environment}
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_commands_that_need_no_torch_do_without(tmp_path: Path) -> None:
    body = """
for line in ("check --lint p.spat", "show p.spat --n 64", "show p.spat -o p.svg", "show p.spat -o p.html",
             "cost p.spat --gpu h100", "fmt p.spat", "new mine", "cache", "explain SP0705", "compile p.spat", "doctor"):
    status, out, err = run(*line.split())
    assert (status, err) == (0, ""), (line, status, err)
assert run("diff", "p.spat", "other.spat")[0] == 1
assert "torch" not in {name for name, module in sys.modules.items() if module}
"""
    python(WITHOUT_TORCH, body, tmp_path)


def test_what_needs_torch_says_so(tmp_path: Path) -> None:
    body = """
for line in ("verify p.spat", "bench p.spat", "tune p.spat", "tune p.spat --dry-run",
             "compile p.spat --emit ptx --target sm_90"):
    status, out, err = run(*line.split())
    assert status == 1 and "error[SP0705]" in err and "Traceback" not in err, (line, err)
    assert "pip install" in err
import sparsec
made = []
for make in (lambda: sparsec.load("p.spat"), lambda: sparsec.compile("pattern p = causal"),
             lambda: sparsec.from_mask_mod(lambda b, h, q, k: q >= k + h, name="p", heads=2)):
    try:
        make()
    except sparsec.SparsecError as error:
        made.append(error.diagnostics[0].code)
assert made == ["SP0705"] * 3, made
assert "past" in sparsec.from_config({"model_type": "mistral", "sliding_window": 4096})
"""
    python(WITHOUT_TORCH, body, tmp_path)


def test_without_what_only_posix_has(tmp_path: Path) -> None:
    """As on Windows: the user's own cache works; one that anybody may have written is not used."""
    body = """
import warnings
from pathlib import Path
import sparsec
from sparsec.tuning.journal import Journal

for line in ("check p.spat", "fmt p.spat", "show p.spat -o p.png", "cache"):
    status, out, err = run(*line.split())
    assert (status, err) == (0, ""), (line, err)
with Journal(Path("journal")):
    pass

def kept():
    return [name for _, _, names in os.walk(".") for name in names if name.startswith("sparsec_p_")]

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(2):
        sparsec.load("p.spat")
    assert not said and len(kept()) == 1
    os.environ["SPARSEC_CACHE"] = "elsewhere"
    sparsec.load("p.spat", w=5)
    assert len(said) == 1 and "SP0703" in str(said[0].message) and len(kept()) == 1
"""
    python(WITHOUT_POSIX, body, tmp_path)
