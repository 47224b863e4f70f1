"""A machine with torch alone: every module of kernels can be imported, and calls run on its CPU."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import importlib, pkgutil, sys
sys.modules["triton"] = None  # an import of it fails
import torch, sparsec, sparsec.kernels
for module in pkgutil.walk_packages(sparsec.kernels.__path__, "sparsec.kernels."):
    importlib.import_module(module.name)
text = "input t: float[H, d] score near = s + t[min(q - k, 9)] pattern p = past(30) with near"
x, t = torch.randn(3, 1, 2, 70, 16), torch.randn(2, 10)
print(tuple(sparsec.compile(text)(*x, t=t).shape))
"""


def test_a_cpu_needs_torch_alone() -> None:
    found = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=120)
    assert found.stdout == "(1, 2, 70, 16)\n", found.stderr
