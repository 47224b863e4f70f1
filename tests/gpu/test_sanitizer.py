"""Samples of both tiers under compute-sanitizer, where CUDA has it installed: no access outside of tensors.

Its synccheck wants every phase of a barrier waited for, which the Hopper tier backward does not: a group waits for the
sum of others only where a step closes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.hopper_on_gpu import HERE

SANITIZER = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
SAMPLE = str(Path(__file__).parents[1] / "support" / "sanitized.py")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not os.access(SANITIZER, os.X_OK), reason="needs compute-sanitizer")]
TIERS = ["plain", pytest.param("hopper", marks=pytest.mark.skipif(not HERE, reason="needs a Hopper GPU with Gluon"))]


@pytest.mark.parametrize("tier", TIERS)
def test_a_sample_is_clean(tier: str) -> None:
    own = [sys.executable, SAMPLE, tier]
    subprocess.run(own, check=True)  # so that kernels are compiled before, which takes far longer under the tool
    watched = [SANITIZER, "--tool", "memcheck", "--target-processes", "all", "--error-exitcode", "9"]
    watched += ["--launch-timeout", "120"]  # seconds until Python comes to the GPU
    ran = subprocess.run([*watched, *own], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "ERROR SUMMARY: 0 errors" in ran.stdout
