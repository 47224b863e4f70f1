"""A sequence over two GPUs, through NCCL: as one process has it.

    python -m pytest -n 0 -m gpu tests/gpu/test_distributed.py

Both processes import torch and compile kernels of each case, which takes most of the time: seconds a case where nothing
is in Triton's cache.  Small cases come first; each is named when it is done, and a rank that is stuck in one says
where.
`python -m pytest -m full tests/distributed/test_flow.py` does the same in two processes on the CPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.group import everywhere
from support.sharded import all_in_time
from support.two_ranks import CASES

import sparsec

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")]

LIMIT = 60  # seconds of one case, and of a rank that waits for the other


def test_an_operator_runs_on_the_second_gpu() -> None:
    """Also where that is not the current device: kernels are loaded by threads, and each has a current device."""
    attend = sparsec.compile("pattern p = past(37) | sinks(3)")
    tensors = torch.randn(3, 1, 2, 300, 64, device="cuda:1", dtype=torch.float16).unbind()
    own = [x.clone().requires_grad_() for x in tensors]
    on_first = [x.to("cuda:0").requires_grad_() for x in tensors]
    found, wanted = (torch.autograd.grad(attend(*some).sum(), some) for some in (own, on_first))
    assert all(torch.equal(x.to("cuda:0"), y) for x, y in zip(found, wanted, strict=True))


def test_two_gpus_are_one(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Forward and gradients in bfloat16, within what rounding of parts costs; no second step waits for a GPU."""
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        arguments = CASES, torch.bfloat16, LIMIT
        found = everywhere(2, tmp_path, all_in_time, *arguments, backend="nccl", seconds=LIMIT)
    for rank in found:
        assert rank.keys() == {case.name for case in CASES}
    problems = [problem for rank in found for name, each in rank.items() for problem in each.problems(name)]
    assert not problems, "\n".join(problems)
