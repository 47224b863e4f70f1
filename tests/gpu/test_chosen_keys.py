"""Keys that each query lists for itself, loaded one by one, on a CUDA device: against dense attention, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpu.test_inputs import check
from support.generated import module_of, pattern_of

import sparsec
from sparsec.kernels.passes import chosen_keys
from sparsec.testing.scores import scores_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

CONDITIONS = [
    "input sel: keys[t] pattern p = past(100) | selected(sel)",
    "input sel: keys[t] pattern p = causal & selected(sel)",
    "input sel: keys[t] input two: keys[5] pattern p = causal & (past(70) | selected(sel) | selected(two)) | sinks(2)",
    "input sel: keys[t] input doc: int[n] pattern p = causal & (selected(sel) | doc[q] == doc[k]) \\ past(30)",
    "input sel: keys[t] input own: blocks[1, 16, 3] pattern p = causal & (selected(sel) & stride(2) | selected(own))",
]


@pytest.fixture(params=["one by one", "side by side"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How keys of lists are gone over, in the place of tiles, whatever it costs."""
    monkeypatch.setattr(chosen_keys, "_is_cheaper", lambda *_: True)
    monkeypatch.setattr(chosen_keys, "_ONE_BY_ONE", 0.0 if request.param == "one by one" else 1e9)
    return request.param


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions(text: str, dtype: torch.dtype, way: str) -> None:
    pattern = pattern_of(text)
    module = module_of(pattern)
    module._PROGRAM.passes.clear()
    numbers = {"heads": 4, "kv_heads": 2, "head_size": 64, "dtype": dtype}
    for number, sizes in enumerate(((700, 700, None), (333, 500, 400), (1, 900, None))):
        check(pattern, module.p, *sizes, number, **numbers)


def test_scores(way: str) -> None:
    score = "score capped = 4 * tanh(s / 4) - (h + 1) * abs(q - k) / 99"
    pattern = pattern_of(f"input sel: keys[t] {score} pattern p = causal & (past(90) | selected(sel)) with capped")
    module = module_of(pattern)
    module._PROGRAM.passes.clear()
    for number, (n_q, n) in enumerate(((700, 700), (333, 500))):
        scores = scores_of(pattern, 4, np.arange(n - n_q, n))
        check(pattern, module.p, n_q, n, None, number, heads=4, kv_heads=2, dtype=torch.bfloat16, scores=scores)


@pytest.mark.parametrize(
    "numbers",
    [
        {"heads": 32, "kv_heads": 1, "head_size": 128, "dtype": torch.bfloat16},
        {"heads": 8, "kv_heads": 1, "head_size": 128, "dtype": torch.bfloat16},
        {"heads": 3, "kv_heads": 3, "head_size": 128, "dtype": torch.float16},
        {"heads": 6, "kv_heads": 2, "head_size": 80, "v_head_size": 48, "dtype": torch.bfloat16},
        {"heads": 8, "kv_heads": 2, "head_size": 256, "dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_heads_and_sizes(numbers: dict, way: str) -> None:
    pattern = pattern_of(CONDITIONS[0])
    module = module_of(pattern)
    module._PROGRAM.passes.clear()
    lengths = (300, 700) if numbers["heads"] > 8 else (700, 2100)
    for number, sizes in enumerate((n, n, None) for n in lengths):
        check(pattern, module.p, *sizes, number, batch=1, **numbers)


def test_the_order_of_entries_changes_no_bit(way: str) -> None:
    attend = sparsec.compile("input sel: keys[t] pattern p = past(64) | selected(sel)")
    attend._function.__globals__["_PROGRAM"].passes.clear()
    q = torch.randn(1, 4, 1500, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    k, v = torch.randn(2, 1, 2, 1500, 64, device="cuda", dtype=torch.bfloat16).requires_grad_()
    sinks = torch.randn(4, device="cuda")
    sel = torch.randint(-2, 1600, (1, 2, 1500, 13), device="cuda", dtype=torch.int32)
    sel[..., 7] = sel[..., 2]

    def step(sel: torch.Tensor) -> list[torch.Tensor]:
        out = attend(q, k, v, sel=sel, sinks=sinks)
        return [out, *torch.autograd.grad(out, (q, k, v), out)]

    for x, y in zip(step(sel), step(sel.flip(3)), strict=True):
        assert torch.equal(x, y)
