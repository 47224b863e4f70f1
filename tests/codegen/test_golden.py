"""What the compiler writes for the examples, kept as files so that a change of it is seen and read.

`python tests/codegen/test_golden.py` writes them anew.
"""

from __future__ import annotations

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
    return emit(build(example(name, heads)))


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    assert text_of(name) == (GOLDEN / f"{name}.py").read_text(), "if this is meant: python tests/codegen/test_golden.py"


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
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path)) + f":{Path(__file__).parent}"},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in NAMES:
        (GOLDEN / f"{name}.py").write_text(text_of(name))
