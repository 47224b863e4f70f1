"""Sinks on a CUDA device: forward, every gradient and repeated calls, against dense attention."""

from __future__ import annotations

import pytest
import torch
from support.calls import of_documents
from support.exact import assert_as_exact
from support.generated import mask_of, pattern_of, spread_module_of
from support.sinks import dense, results

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

WALKS = [
    ("past(100) | sinks(4)", 700, 900),
    ("causal & (past(64) | stride(16))", 1600, 1600),  # several kernels
    ("window(33) | global(3)", 2300, 2300),  # leading tiles are split
    ("causal & k % 64 in {62, 63} & q > 9", 600, 600),  # rows without a key
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("text", "n_q", "n"), WALKS)
def test_sinks(text: str, n_q: int, n: int, dtype: torch.dtype) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    attend, mask = spread_module_of(pattern).p, torch.as_tensor(mask_of(pattern, n_q, n), device="cuda")
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 4, n_q, 64), (2, 2, n, 64), (2, 2, n, 64), (4,), (2, 4, n_q, 64), (2, 4, n_q)
    drawn = [torch.randn(shape, generator=generator).to("cuda", dtype) for shape in shapes]
    found = results(lambda *x: attend(*x[:3], sinks=x[3], return_lse=True), drawn)
    wanted = results(lambda *x: dense(mask, *x, 0.125), [x.double() for x in drawn])
    plain = results(lambda *x: dense(mask, *x, 0.125), drawn)
    assert_as_exact(found, wanted, plain)


def test_repeated_calls_take_new_sinks() -> None:
    attend = spread_module_of(pattern_of("pattern p = past(100) | sinks(4)")).p
    q, k, v = torch.randn(3, 1, 4, 300, 64, device="cuda", dtype=torch.bfloat16).unbind(0)
    for seed in range(3):
        sinks = torch.randn(4, generator=torch.Generator().manual_seed(seed)).cuda()
        with torch.no_grad():
            found = [attend(q, k, v, sinks=sinks, return_lse=True) for _ in range(2)]
        _, lse = attend(q, k, v, return_lse=True)
        total = torch.logaddexp(lse, sinks[:, None])
        for _, found_lse in found:
            torch.testing.assert_close(found_lse, total)
        assert torch.equal(*(out for out, _ in found))


def test_documents() -> None:
    pattern, ends = pattern_of("pattern p = past(100) | sinks(4)"), [0, 300, 300, 301, 1500]
    attend, mask = spread_module_of(pattern).p, of_documents(pattern, ends, 1500).cuda()
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 4, 1500, 64), (1, 2, 1500, 64), (1, 2, 1500, 64), (4,), (1, 4, 1500, 64), (1, 4, 1500)
    drawn = [torch.randn(shape, generator=generator).to("cuda", torch.bfloat16) for shape in shapes]
    documents = torch.tensor(ends, device="cuda", dtype=torch.int32)
    found = results(lambda *x: attend(*x[:3], sinks=x[3], documents=documents, return_lse=True), drawn)
    wanted = results(lambda *x: dense(mask, *x, 0.125), [x.double() for x in drawn])
    assert_as_exact(found, wanted, results(lambda *x: dense(mask, *x, 0.125), drawn))
