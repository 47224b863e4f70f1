"""Keys that an indexer chooses, on a CUDA device: a CPU's where scores are exact, without a look at any number."""

from __future__ import annotations

import pytest
import torch
from support.calls import no_synchronisation

import sparsec.nn
from sparsec.kernels.chosen.choose import SLAB

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_the_best_keys_are_those_of_a_cpu_where_scores_are_exact(causal: bool, dtype: torch.dtype) -> None:
    for heads, n_q, n, size, t in ((4, 300, 300, 64, 20), (64, 70, 9000, 128, 2048), (3, 40, 130, 24, 200)):
        shapes = (2, heads, n_q, size), (2, n, size), (2, heads, n_q)
        q, k, weights = (torch.randint(-2, 3, shape).to(dtype) for shape in shapes)
        theirs = sparsec.nn.lightning_indexer(q, k, weights, t, causal=causal)
        ours = sparsec.nn.lightning_indexer(q.cuda(), k.cuda(), weights.cuda(), t, causal=causal)
        assert torch.equal(ours.cpu(), theirs)
    q, k, weights = q[:1, :, :1].expand(-1, -1, 130, -1), k[:1], weights[:1, :, :1].expand(-1, -1, 130)
    ends = torch.tensor([0, 1, 1, 60, 125])
    theirs = sparsec.nn.lightning_indexer(q, k, weights, 9, documents=ends)
    ours = sparsec.nn.lightning_indexer(q.cuda(), k.cuda(), weights.cuda(), 9, documents=ends.cuda())
    assert torch.equal(ours.cpu(), theirs)


def test_choosing_waits_for_nothing_is_captured_and_takes_little_room() -> None:
    q, k = torch.randn(1, 4, 20_000, 64, device="cuda").bfloat16(), torch.randn(1, 20_000, 64, device="cuda").bfloat16()
    weights = torch.randn(1, 4, 20_000, device="cuda")
    wanted = sparsec.nn.lightning_indexer(q, k, weights, 64)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with no_synchronisation():
        again = sparsec.nn.lightning_indexer(q, k, weights, 64)
    assert torch.cuda.max_memory_allocated() - before <= again.nbytes + 2 * 4 * SLAB["cuda"]
    assert torch.equal(again, wanted)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = sparsec.nn.lightning_indexer(q, k, weights, 64)
    q.copy_(q.flip(2))
    graph.replay()
    assert torch.equal(found, sparsec.nn.lightning_indexer(q, k, weights, 64))
