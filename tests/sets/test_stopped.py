"""Budgets that end anywhere: an error, and never a crash, of what is asked next either.  In processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SWEEP = """
from sparsec.ir.nodes import *
from sparsec.sets import context, symbolic_tiles
from sparsec.sets.context import OutOfBudget, budget, text_of
from sparsec.sets.to_isl import relation
q, k = Var("q"), Var("k")
strided = Compare(Mod(Sub(q, k), 8), "==", Const(0))
pairs = relation(Or((strided, Compare(k, "<", Const(3)))))
reach, domain = symbolic_tiles._project(pairs, "q", 1)
for limit in {limits}:
    context._answers.clear()
    try:
        with budget(limit):
            {question}
    except (OutOfBudget, symbolic_tiles.TooManyPieces):
        continue
    break
else:
    raise SystemExit("no budget was enough")
print("all of them")
"""


def swept(question: str, limits: range) -> None:
    """A question asked with ever more steps, until they suffice."""
    code = SWEEP.format(question=question, limits=limits)
    run = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "all of them\n"), run.stderr


def test_texts_of_sets() -> None:
    """isl stops half-way in the parts of a union, one of which has a number that is only said to exist."""
    swept("assert 'exists' in text_of(reach); reach.is_empty()", range(1, 2000))


@pytest.mark.full
@pytest.mark.parametrize("question", ["touched(pairs, 'q', 6)", "hull(pairs, 'q')", "full(pairs, 4)"])
def test_questions_of_a_plan(question: str) -> None:
    swept(f"symbolic_tiles.{question}", range(1, 20000))
