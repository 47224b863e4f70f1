"""A sequence over two GPUs, through NCCL: as dense attention over the whole sequence."""

from __future__ import annotations

import pytest
import torch
from support.sharded import Case, everywhere
from support.sharded_data import DataCase, everything

import sparsec

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")]

CASES = [
    Case("past(100) | sinks(4)", 2111, 4, 2, sinks=True),
    Case("causal", 2050, layout="head-tail", batch=2),
    Case("window(33) | columns(128, 4)", 1500),
    Case("past(60) | sinks(2)", 1000, documents=(0, 300, 301, 640, 1000)),
]
DATA = [
    DataCase("input doc: int[n] pattern p = past(100) & doc[q] == doc[k]", 1501, sinks=True),
    DataCase("input b: float[H, n] score f = s + b[k] pattern p = causal with f", 900, layout="head-tail"),
    DataCase("pattern p = past(100) | sinks(4)", 1501, key_heads=1, dropout_p=0.2),
    DataCase("pattern p = causal", 1200, documents=(0, 300, 301, 640, 1200), layout="head-tail"),
    DataCase("pattern p = causal & (past(64) | top_blocks(2, 32, among = causal))", 1000),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[tuple]:
    """What each rank found: one start of the processes serves all tests."""
    return everywhere(2, tmp_path_factory.mktemp("ranks"), everything, CASES, DATA, torch.bfloat16, backend="nccl")


def test_two_gpus_are_one(found: list[tuple]) -> None:
    """Forward and gradients in bfloat16, within twice what rounding costs dense attention."""
    for rank in found:
        assert rank[0].keys() == {case.name for case in CASES}
        for name, each in rank[0].items():
            assert each.received == each.needed == each.predicted, name
            for of, (difference, allowed) in each.differences.items():
                assert difference <= allowed, (name, of)


def test_data_are_those_of_one_gpu(found: list[tuple]) -> None:
    for rank in found:
        assert rank[1].keys() == {case.name for case in DATA}
        for name, each in rank[1].items():
            for of, (difference, allowed) in each.items():
                assert difference <= allowed, (name, of)


def test_no_step_waits_for_a_gpu(found: list[tuple]) -> None:
    assert all(rank[2] for rank in found)


def test_an_operator_runs_on_the_second_gpu() -> None:
    """Also where that is not the current device: kernels are loaded by threads, and each has a current device."""
    attend = sparsec.compile("pattern p = past(37) | sinks(3)")
    tensors = torch.randn(3, 1, 2, 300, 64, device="cuda:1", dtype=torch.float16).unbind()
    own = [x.clone().requires_grad_() for x in tensors]
    on_first = [x.to("cuda:0").requires_grad_() for x in tensors]
    found, wanted = (torch.autograd.grad(attend(*some).sum(), some) for some in (own, on_first))
    assert all(torch.equal(x.to("cuda:0"), y) for x, y in zip(found, wanted, strict=True))
