"""What the compiler writes for the examples, kept as files so that a change of it is seen and read: the plan of every
example, and one module for each kind of kernel.

`EXPECTED=write python -m pytest tests/codegen` writes them anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.generated import EXAMPLES, example, lowered

from sparsec.codegen.emit import emit
from sparsec.plan.build import build
from sparsec.plan.nodes import Plan
from sparsec.report.plan import planned

EXPECTED = Path(__file__).parent / "expected"
BY_HEAD = ("longnet_heads", "per_head_strides", "deepspeed_fixed")
MODULES = (
    "mistral",  # one range of keys
    "longformer",  # ranges in order, split tiles
    "sparse_transformer_fixed",  # gathered keys
    "sparse_transformer_strided",  # residue classes, a carried softmax
    "bigbird",  # tables, whole blocks
    "per_head_strides",  # lists of heads, kernels that heads share
)


def plan_of(name: str) -> Plan:
    return build(example(name, 8 if name in BY_HEAD else None, layer=0))


def text_of(name: str) -> str:
    found = lowered((EXAMPLES / f"{name}.spat").read_text(), 8 if name in BY_HEAD else None, layer=0)
    return emit(plan_of(name), terms=found.terms())


def same(path: Path, text: str) -> None:
    if os.environ.get("EXPECTED") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), "if this is meant: EXPECTED=write python -m pytest tests/codegen"


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.spat")))
def test_plans(name: str) -> None:
    same(EXPECTED / f"{name}.plan.txt", f"{planned(plan_of(name))}\n")


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    same(EXPECTED / f"{name}.py", text_of(name))


def test_lint_clean() -> None:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run([*ruff, *command, str(EXPECTED)], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout


def test_equal_inputs_give_equal_bytes() -> None:
    command = [sys.executable, "-c", "import test_expected; print(test_expected.text_of('longformer'))"]
    runs = [
        subprocess.run(
            command,
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
