"""Steps over blocks in the Hopper tier on a GPU of capability 9.0, wherever it can run: pytest -m gpu."""

from __future__ import annotations

import pytest
import torch
from support.generated import attend_of, pattern_of
from support.hopper_on_gpu import HERE, on_hopper
from support.on_gpu import check

from sparsec.kernels.hopper.forward.block_kernel import hopper_block_kernel
from sparsec.kernels.weights.sinks import with_sinks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="needs a Hopper GPU, and a Triton with Gluon")]

BIGBIRD = "block_window(64, 3) | global(128) | random_blocks(64, 3, 0)"
CASES = [  # patterns whose steps come from lists of blocks, and where queries may begin
    (BIGBIRD, 64),
    ("block_window(64, 1) | global(64) | random_blocks(64, 2, 3)", 64),
    ("random_blocks(128, 1, 3)", 128),
    ("random_past_blocks(64, 5, 5)", 64),
    ("window(200) | global(40)", 1),
    ("window(200) | global(150)", 1),
    ("past(300) | sinks(4)", 1),
    ("block_window(64, 3)", 1),
]


@pytest.fixture(autouse=True)
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEC_TIER", "hopper")


@pytest.mark.parametrize(("text", "begins"), CASES)
def test_against_dense_attention(text: str, begins: int) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    attend = attend_of(pattern)
    sizes = [(1024, 1024, 0, 128, torch.bfloat16), (1501, 1501, 0, 128, torch.float16)]
    sizes += [(333, 1777, 1344, 128, torch.bfloat16), (4400, 4400, 0, 128, torch.bfloat16)]
    sizes += [(777, 777, 0, 96, torch.float16), (3, 700, 640, 128, torch.float16)]
    for n_q, n, q_offset, head_size, dtype in sizes:
        own = q_offset // begins * begins
        check(pattern, n_q, n, own, attend=attend, head_size=head_size, dtype=dtype, heads=4, kv_heads=2)
    assert on_hopper(attend, hopper_block_kernel)


@pytest.mark.parametrize("text", [BIGBIRD, "window(512) | global(64)"])
def test_results_repeat(text: str) -> None:
    """Bit for bit, whatever else the card does; more tiles than there are processors."""
    attend, other = attend_of(pattern_of(f"pattern p = {text}")), torch.randn(2048, 2048, device="cuda")
    side = torch.cuda.Stream()
    q, k, v, g = (torch.randn(1, 4, 8192, 128, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_()
    first = None
    for _ in range(20):
        with torch.cuda.stream(side):
            other = other @ other / 2048
        out = attend(q, k, v)
        found = out, *torch.autograd.grad(out, (q, k, v), g)
        first = first or found
        assert all(torch.equal(one, two) for one, two in zip(first, found, strict=True))
    assert on_hopper(attend, hopper_block_kernel)


@pytest.mark.parametrize("text", ["window(512) | global(64)", BIGBIRD, "past(300) | sinks(4)"])
def test_sinks(text: str) -> None:
    """Of the programs, and of the groups of warps, that split a tile one adds it."""
    attend = attend_of(pattern_of(f"pattern p = {text}"))
    q, k, v = torch.randn(3, 2, 4, 4400, 128, device="cuda", dtype=torch.bfloat16)
    sinks = torch.randn(4, device="cuda")
    out, lse = attend(q, k, v, sinks=sinks, return_lse=True)
    wanted_out, wanted_lse = with_sinks(*attend(q, k, v, return_lse=True), sinks[None])
    # some roundings of the largest: both are logarithms of sums of exponentials, taken in different orders
    atol = 8 * torch.finfo(lse.dtype).eps * wanted_lse.abs().max().item()
    torch.testing.assert_close(lse, wanted_lse, rtol=0, atol=atol)
    # rounded once, and twice; shares of split rows have other factors, so that sums that nearly cancel differ by more
    eps, least = torch.finfo(q.dtype).eps, 8 * torch.finfo(torch.float32).eps * wanted_out.abs().max().item()
    torch.testing.assert_close(out.float(), wanted_out.float(), rtol=2 * eps, atol=least)
    assert on_hopper(attend, hopper_block_kernel)
