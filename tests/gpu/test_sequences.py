"""Packed documents, lengths and offsets on a CUDA device: as each sequence alone, without a look at any number."""

from __future__ import annotations

import pytest
import torch
from support.calls import no_synchronisation
from support.generated import module_of, pattern_of, spread_module_of
from support.spread import SPREAD

from sparsec.kernels.launches import prepare

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ENDS = [5, 5, 300, 301, 1100, 1100, 2900]  # long enough for descriptors
PACKED = ["past(100) | sinks(4)", "causal", "full", "window(33) | causal & stride(8)", "same_block(64) | sinks(2)"]


def drawn(*shapes: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to("cuda", dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("text", [*PACKED, *SPREAD])
def test_documents_are_those_alone(text: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and gradients; NaN and inf in tokens of no document, and in a document, reach no other's results."""
    monkeypatch.setattr(prepare, "TMA_STILL", 1)
    attend = spread_module_of(pattern_of(f"pattern p = {text}")).p
    q, k, v, g = drawn(*((1, heads, 2905, 64) for heads in (4, 2, 2, 4)), dtype=dtype)
    for x in (q, k, v):
        x[:, :, :5], x[:, :, 2900:], x[:, :, 300:301] = float("nan"), float("inf"), float("nan")
    g[:, :, 300:301] = float("nan")
    tensors = [x.requires_grad_() for x in (q, k, v)]
    out = attend(*tensors, documents=torch.tensor(ENDS, device="cuda", dtype=torch.int32))
    packed = out, *torch.autograd.grad(out, tensors, g)
    assert all(not x[:, :, :5].any() and not x[:, :, 2900:].any() for x in packed)
    for first, stop in ((5, 300), (301, 1100), (1100, 2900)):
        own = [x[:, :, first:stop].detach().clone().requires_grad_() for x in tensors]
        alone = attend(*own)
        for x, y in zip((alone, *torch.autograd.grad(alone, own, g[:, :, first:stop])), packed, strict=True):
            most = 64 * torch.finfo(dtype).eps * x.abs().max().item()  # alone, programs may split leading tiles
            torch.testing.assert_close(y[:, :, first:stop], x, rtol=0, atol=most)


def test_rows_of_unequal_lengths() -> None:
    attend = module_of(pattern_of("pattern p = past(100) | sinks(4)")).p
    q, k, v = drawn((3, 4, 700, 64), (3, 2, 700, 64), (3, 2, 700, 64), dtype=torch.bfloat16)
    lengths = torch.tensor([700, 333, 0], device="cuda")
    padded = attend(q, k, v, lengths=lengths)
    left = attend(q, k, v, k_offset=lengths - 700)
    step = attend(q[:, :, :1], k, v, lengths=lengths)
    assert not padded[2].any()
    for row, length in ((0, 700), (1, 333)):
        own = [x[row : row + 1, :, :length] for x in (q, k, v)]
        assert torch.equal(padded[row : row + 1, :, :length], attend(*own))
        own = [x[row : row + 1, :, 700 - length :] for x in (q, k, v)]
        assert torch.equal(left[row : row + 1, :, 700 - length :], attend(*own))
        own = q[row : row + 1, :, :1], k[row : row + 1, :, :length], v[row : row + 1, :, :length]
        torch.testing.assert_close(step[row : row + 1], attend(*own))


def test_a_cache_that_dropped_its_oldest_keys() -> None:
    attend = module_of(pattern_of("pattern p = past(100)")).p
    q, k, v = drawn((1, 4, 900, 64), (1, 2, 900, 64), (1, 2, 900, 64), dtype=torch.bfloat16)
    whole = attend(q[:, :, 800:], k, v)
    kept = attend(q[:, :, 800:], k[:, :, 650:], v[:, :, 650:], k_offset=650)
    torch.testing.assert_close(kept, whole)


@pytest.mark.parametrize("form", ["cu_seqlens", "start", "lengths"])
def test_new_values_compile_nothing_and_wait_for_nothing(form: str) -> None:
    module = module_of(pattern_of("pattern p = past(77) | sinks(3)"))
    tensors = [x.requires_grad_() for x in drawn(*((1, h, 1000, 64) for h in (4, 2, 2)), dtype=torch.bfloat16)]
    forms = {
        "cu_seqlens": [
            {"documents": torch.tensor(ends)} for ends in ([0, 400, 1000], [0, 1, 30, 900, 1000], [0, 1000])
        ],
        "start": [{"documents": torch.arange(1000)[None] // size * size} for size in (100, 7, 1000)],
        "lengths": [{"lengths": torch.tensor([length])} for length in (1000, 3, 500)],
    }
    for index, call in enumerate(forms[form]):
        call = {name: x.to("cuda", torch.int32) for name, x in call.items()}
        compiled = len(module._PROGRAM.compiled)
        if index == 0:
            module.p(*tensors, **call).sum().backward()
            continue
        torch.cuda.synchronize()
        with no_synchronisation():
            module.p(*tensors, **call).sum().backward()
        assert len(module._PROGRAM.compiled) == compiled


def test_a_graph_takes_new_documents() -> None:
    attend = module_of(pattern_of("pattern p = past(77) | sinks(3)")).p
    q, k, v = drawn(*((1, h, 1000, 64) for h in (4, 2, 2)), dtype=torch.bfloat16)
    ends = torch.tensor([0, 400, 1000], device="cuda", dtype=torch.int32)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            attend(q, k, v, documents=ends)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attend(q, k, v, documents=ends)
    for middle in (400, 1, 777):
        ends[1] = middle
        graph.replay()
        assert torch.equal(out, attend(q, k, v, documents=ends.clone()))


def test_patterns_that_need_lengths_are_not_captured() -> None:
    attend = module_of(pattern_of("pattern p = random_keys(3, 1)")).p
    q, k, v = drawn(*((1, 2, 200, 64) for _ in range(3)), dtype=torch.bfloat16)
    ends = torch.tensor([0, 50, 200], device="cuda", dtype=torch.int32)
    attend(q, k, v, documents=ends)
    torch.cuda.synchronize()
    with pytest.raises(ValueError, match="can't be captured"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        attend(q, k, v, documents=ends)
