"""The Hopper tier under compute-sanitizer, where CUDA has it installed: accesses, and barriers of groups of warps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.hopper_on_gpu import HERE
from support.hopper_sample import CASES

SANITIZER = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
SAMPLE = Path(__file__).parents[1] / "support" / "hopper_sample.py"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not HERE, reason="needs a Hopper GPU, and a Triton with Gluon"),
    pytest.mark.skipif(not os.access(SANITIZER, os.X_OK), reason="needs compute-sanitizer"),
]


FORWARD = len(CASES) - 1  # whose gradients the plain tier makes


@pytest.mark.parametrize(
    ("tool", "case"), [*(("memcheck", case) for case in range(len(CASES))), ("synccheck", FORWARD)]
)
def test_a_sample_is_clean(tool: str, case: int) -> None:
    """Of the backward kernel synccheck says that a wait is missing: nobody waits for sums that a step does not need."""
    own = [SANITIZER, "--tool", tool, "--target-processes", "application-only", "--error-exitcode", "9"]
    own += ["--launch-timeout", "120"]  # seconds until Python comes to the GPU
    ran = subprocess.run([*own, sys.executable, SAMPLE, str(case)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "ERROR SUMMARY: 0 errors" in ran.stdout
