"""Whatever the text, every stage ends within limits of time and memory, and says what it says without a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.field_cases import texts
from support.hostile_texts import hostile

# One process for all texts of a test: it is stopped by the system where isl does not listen, and says how far it came.
CHILD = """
import contextlib, io, json, resource, signal, sys, time
from sparsec.lint.diagnose import diagnose
from sparsec.lint.advice import Adviser
from sparsec.cli import main
from sparsec.report.prediction import beside_dense, work
from sparsec.diagnostics import SparsecError
from sparsec.editor.hover import hover
from sparsec.editor.problems import problems
from sparsec.pipeline import compile as compiled
from sparsec.source import Source

def command(*arguments):
    def run(text):
        with open("p.spat", "w") as file:
            file.write(text)
        sys.argv = ["sparsec", *arguments]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                main()
            except SystemExit as end:
                assert end.code in (0, 1, None), (end.code, said.getvalue())
    return run

def compile(text):
    try:
        compiled(Source("p.spat", text))
    except SparsecError:
        pass

STAGES = {
    "check": lambda text: diagnose(Source("p.spat", text)),
    "lint": lambda text: diagnose(
        Source("p.spat", text), advice=Adviser(work, beside_dense, None)
    ),
    "editor": lambda text: (problems(Source("p.spat", text)), hover(Source("p.spat", text), text.index("pattern") + 9)),
    "compile": compile,
    "cost": command("cost", "p.spat"),
    "show": command("show", "p.spat", "--n", "4096"),
}
seconds, memory, jobs = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
for stage, text in jobs:
    print(json.dumps([stage, text, None]), flush=True)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of computing; its signal ends the process
    start = time.process_time()
    STAGES[stage](text)
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps([stage, text, time.process_time() - start]), flush=True)
"""
SECONDS, MEMORY = 30, 6 << 30  # ten times what it takes on a quiet machine
COST_SECONDS, LINT_SECONDS = 8, 20  # four times what they may take on a quiet machine


def ends(jobs: list[tuple[str, str]], folder: Path) -> list[tuple[str, str, float]]:
    """Runs each stage on its text; how long each took."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps([SECONDS, MEMORY, jobs]), capture_output=True, text=True,
        cwd=folder, check=False,
    )  # fmt: skip
    said = [json.loads(line) for line in child.stdout.splitlines()]
    last = said[-1][:2] if said else None
    assert child.returncode == 0, f"status {child.returncode} at {last}\n{child.stderr[-2000:]}"
    return [(stage, text, seconds) for stage, text, seconds in said if seconds is not None]


def test_hard_texts(tmp_path: Path) -> None:
    known = texts()
    jobs = [("check", known["64 documents"]), ("editor", hostile(0)), ("show", known["four moduli"])]
    jobs += [("lint", hostile(3))]  # 120 patterns
    jobs += [("cost", known[name]) for name in ("many strides", "256 documents", "seven primes")]
    found = ends(jobs, tmp_path)
    assert len(found) == len(jobs)
    assert all(seconds < COST_SECONDS for stage, _, seconds in found if stage == "cost")
    assert all(seconds < LINT_SECONDS for stage, _, seconds in found if stage == "lint")


@pytest.mark.full
@pytest.mark.parametrize("stage", ["check", "lint", "editor", "compile", "cost", "show"])
def test_many_texts(stage: str, tmp_path: Path) -> None:
    jobs = [(stage, text) for text in (*texts().values(), *map(hostile, range(200)))]
    assert len(ends(jobs, tmp_path)) == len(jobs)
