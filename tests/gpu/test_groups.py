"""Passes over groups of tokens, `lsh` and `routed`, on a CUDA device: against dense attention, repeatable, captured."""

from __future__ import annotations

import pytest
import torch
from support.calls import no_synchronisation
from support.generated import pattern_of, spread_module_of

from sparsec.testing.verify import Case, verify

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

HASHED = "pattern p = causal & (past(64) | lsh(buckets = 16, rounds = 3, chunk = 48, seed = 1))"
ROUTED = "input mu: centroids[40] pattern p = causal & (past(64) | routed(mu, 70))"
BOTH = "input mu: centroids[c] pattern p = routed(mu, 70) & causal | lsh(8, 2, 40, 1) | stride(8) & causal"
CASES = [
    Case(700, 700, 4, 2, 64, torch.bfloat16),
    Case(333, 500, 4, 4, 128, torch.float16, 200),
    Case(130, 130, 2, 1, 64, torch.float32),
    Case(1, 300, 2, 1, 80, torch.bfloat16),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("text", [HASHED, ROUTED, BOTH, "pattern p = lsh(16, 3, 48, 0) with softcap(20)"])
def test_against_dense_attention(text: str, case: Case) -> None:
    pattern = pattern_of(text)
    found = verify(spread_module_of(pattern).p, pattern, case, torch.device("cuda"), seed=1)
    assert found.holds, ", ".join(map(str, found.comparisons))


@pytest.mark.parametrize("text", [HASHED, ROUTED])
def test_compiles_nothing_waits_for_nothing_and_is_captured(text: str) -> None:
    module, cuda = spread_module_of(pattern_of(text)), {"device": "cuda", "dtype": torch.bfloat16}
    q, k, v = torch.randn(3, 2, 4, 1000, 64, **cuda).requires_grad_()
    given = {} if "mu" not in text else {"mu": torch.randn(4, 40, 64, **cuda)}

    def step() -> torch.Tensor:
        out = module.p(q, k, v, **given)
        return torch.stack([out, *torch.autograd.grad(out, (q, k, v), out)])

    wanted = step()
    compiled = len(module._PROGRAM.compiled)
    with no_synchronisation():
        again = step()
    assert torch.equal(again, wanted)
    with torch.no_grad():
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = module.p(q, k, v, **given)
        q.copy_(q.flip(2))
        graph.replay()
        assert torch.equal(out, module.p(q, k, v, **given))
    assert len(module._PROGRAM.compiled) == compiled


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("text", [HASHED, ROUTED])
def test_a_device_that_is_not_the_current_one(text: str) -> None:
    attend = spread_module_of(pattern_of(text)).p
    q, k, v = torch.randn(3, 1, 4, 300, 64, device="cuda:0", dtype=torch.bfloat16)
    given = {} if "mu" not in text else {"mu": torch.randn(4, 40, 64, device="cuda:0", dtype=torch.bfloat16)}
    wanted = attend(q, k, v, **given)
    there = attend(*(x.to("cuda:1") for x in (q, k, v)), **{name: x.to("cuda:1") for name, x in given.items()})
    assert torch.equal(there.cpu(), wanted.cpu())
