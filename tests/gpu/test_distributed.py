"""A sequence over two GPUs, through NCCL: as dense attention over the whole sequence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.sharded import Case, all_of, everywhere, steady

import sparsec

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")]

CASES = [
    Case("past(100) | sinks(4)", 2111, 4, 2, sinks=True),
    Case("causal", 2050, layout="head-tail", batch=2),
    Case("window(33) | columns(128, 4)", 1500),
    Case("past(60) | sinks(2)", 1000, documents=(0, 300, 301, 640, 1000)),
]


def test_two_gpus_are_one(tmp_path: Path) -> None:
    """Forward and gradients in bfloat16, within twice what rounding costs dense attention."""
    for found in everywhere(2, tmp_path, all_of, CASES, torch.bfloat16, backend="nccl"):
        for name, each in found.items():
            assert each.received == each.needed == each.predicted, name
            for of, (difference, allowed) in each.differences.items():
                assert difference <= allowed, (name, of)


def test_no_step_waits_for_a_gpu(tmp_path: Path) -> None:
    assert all(everywhere(2, tmp_path, steady, backend="nccl"))


def test_an_operator_runs_on_the_second_gpu() -> None:
    """Also where that is not the current device: kernels are loaded by threads, and each has a current device."""
    attend = sparsec.compile("pattern p = past(37) | sinks(3)")
    tensors = torch.randn(3, 1, 2, 300, 64, device="cuda:1", dtype=torch.float16).unbind()
    own = [x.clone().requires_grad_() for x in tensors]
    on_first = [x.to("cuda:0").requires_grad_() for x in tensors]
    found, wanted = (torch.autograd.grad(attend(*some).sum(), some) for some in (own, on_first))
    assert all(torch.equal(x.to("cuda:0"), y) for x, y in zip(found, wanted, strict=True))
