"""What the compiler writes for the examples, kept as files so that a change of it is seen and read.

`GOLDEN=write python -m pytest tests/codegen` writes them anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from generated import EXAMPLES, example

from sparsec.codegen.emit import emit
from sparsec.plan.build import build

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.spat"))


def text_of(name: str) -> str:
    heads = 8 if name in ("longnet_heads", "per_head_strides", "deepspeed_fixed") else None
    return emit(build(example(name, heads, layer=0)))


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    path = GOLDEN / f"{name}.py"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text_of(name))
    assert text_of(name) == path.read_text(), "if this is meant: GOLDEN=write python -m pytest tests/codegen"


def test_lint_clean() -> None:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run([*ruff, *command, str(GOLDEN)], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout


def test_equal_inputs_give_equal_bytes() -> None:
    command = [sys.executable, "-c", "import test_golden; print(test_golden.text_of('longformer'))"]
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
