"""Patterns that read data of the call, on a CUDA device: against dense attention, without a look at any number."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from support.calls import no_synchronisation
from support.generated import module_of, pattern_of, spread_module_of
from support.on_gpu import assert_random_programs

import sparsec
from sparsec.ir.nodes import Pattern
from sparsec.testing import compare, random_problem
from sparsec.testing.data import masks, random_data
from sparsec.testing.dense_attention import Results
from sparsec.testing.programs import input_programs

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

DECLARED = (
    "input doc: int[n] input cls: bool[B, n] input w: int[B, H] input m: int input u: int[B, H, t] input s: int[t]\n"
)
CONDITIONS = [
    "causal & doc[q] == doc[k]",
    "causal | doc[q] == doc[k] & doc[q] >= 0",
    "past(w)",
    "window(100) | cls[q] | cls[k]",
    "causal & (k in u | q - k in s)",
    "causal & ~(k in u) & u[h, q // 40] < k",
    "past(100) | k < m",
    "causal & k - 3 * doc[q // 2] > doc[doc[k]] % 5 + m // 2",
    "causal & (past(90) | stride(8)) & (doc[q] == doc[k] | cls[k])",
    "causal & (k % 16 >= 14 | past(60) & w > 2) & doc[q] >= m",
    "past(40) | random_blocks(32, 2, 1) & cls[q]",
]


def check(pattern: Pattern, attend, n_q: int, n: int, q_offset: int | None, number: int, **problem) -> None:
    """Forward and all gradients of a batch whose rows have data of their own."""
    batch, heads = problem.setdefault("batch", 2), problem["heads"]
    data = random_data(pattern.inputs, batch, heads, n, number, n_q=n_q, kv_heads=problem.get("kv_heads"))
    first = n - n_q if q_offset is None else q_offset
    mask = masks(pattern, data, batch, heads, np.arange(n_q) + first, n)
    problem = random_problem(mask, device="cuda", **problem)
    inputs = [x.detach().requires_grad_() for x in (problem.q, problem.k, problem.v)]
    given = {name: torch.as_tensor(x).cuda() for name, x in data.items()}
    given = {name: x.int() if number % 2 and x.dtype == torch.int64 else x for name, x in given.items()}
    out, lse = attend(*inputs, scale=problem.scale, q_offset=q_offset, return_lse=True, **given)
    gradients = torch.autograd.grad([out, lse], inputs, [problem.g, problem.dlse])
    found = compare(Results(out.detach(), lse.detach(), *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions(condition: str, dtype: torch.dtype) -> None:
    pattern = pattern_of(f"{DECLARED}pattern p = {condition}")
    attend = spread_module_of(pattern).p
    for number, (n_q, n, q_offset) in enumerate(((700, 700, None), (333, 500, 400), (1, 900, None))):
        check(pattern, attend, n_q, n, q_offset, number, heads=4, kv_heads=2, head_size=64, dtype=dtype)


def test_heads_with_patterns_of_their_own() -> None:
    text = "input doc: int[n] input w: int[H] pattern p = match h "
    pattern = pattern_of(text + "{ 0 -> past(w[h]), 1 | 3 -> doc[q] == doc[k], else -> causal & k % 5 < w[h] }", 4)
    check(pattern, module_of(pattern).p, 700, 700, None, 2, heads=4, kv_heads=2, dtype=torch.bfloat16)


QUESTIONS = "input cls: bool[B, n] pattern p = window(200) | cls[q] | cls[k] & k % 5 < 4"


@pytest.mark.parametrize("tokens", ["first", "scattered", "none", "all", "one row"])
@pytest.mark.parametrize("sizes", [(4000, 4000, 0), (3000, 4000, 900), (1, 4000, 3999)])
def test_long_lines_are_split(tokens: str, sizes: tuple[int, int, int]) -> None:
    """Between programs, and joined in one order: the same bits again."""
    pattern, (n_q, n, q_offset) = pattern_of(QUESTIONS), sizes
    cls = np.zeros((2, n), bool)
    if tokens == "first":
        cls[:, :40] = True
    elif tokens in ("scattered", "one row"):
        cls[: 2 if tokens == "scattered" else 1, np.random.default_rng(0).permutation(n)[:40]] = True
    elif tokens == "all":
        cls[:] = True
    mask = masks(pattern, {"cls": cls}, 2, 4, np.arange(n_q) + q_offset, n)
    problem = random_problem(mask, device="cuda", heads=4, kv_heads=2, batch=2, head_size=64, dtype=torch.bfloat16)
    inputs = [x.detach().requires_grad_() for x in (problem.q, problem.k, problem.v)]
    found = []
    for _ in range(2):
        given = {"scale": problem.scale, "q_offset": q_offset, "return_lse": True, "cls": torch.from_numpy(cls).cuda()}
        out, lse = module_of(pattern).p(*inputs, **given)
        gradients = torch.autograd.grad([out, lse], inputs, [problem.g, problem.dlse])
        found.append(Results(out.detach(), lse.detach(), *gradients))
    compared = compare(found[0], problem)
    assert all(each.holds for each in compared), ", ".join(map(str, compared))
    assert all(
        torch.equal(getattr(found[0], name), getattr(found[1], name)) for name in ("out", "lse", "dq", "dk", "dv")
    )


@pytest.mark.parametrize("condition", [*CONDITIONS[:4], CONDITIONS[6], CONDITIONS[8]])
def test_documents(condition: str) -> None:
    """Packed, each is what it is alone with the entries of its own positions, and nothing waits for the device."""
    pattern, ends, length = pattern_of(f"{DECLARED}pattern p = {condition}"), [0, 1, 300, 300, 1500, 1600], 1700
    attend = spread_module_of(pattern).p
    data = {name: torch.as_tensor(x).cuda() for name, x in random_data(pattern.inputs, 1, 4, length, 1).items()}
    q, k, v, g = torch.randn(4, 1, 4, length, 64, device="cuda", dtype=torch.bfloat16)
    k, v = k[:, :2], v[:, :2]
    along = [each.name for each in pattern.inputs if each.axes[-1:] == ("n",)]
    documents = torch.tensor(ends, dtype=torch.int32, device="cuda")

    def run(rows: slice, **given) -> list[torch.Tensor]:
        own = {name: x[..., rows].contiguous() if name in along else x for name, x in data.items()}
        inputs = [x[:, :, rows].clone().requires_grad_() for x in (q, k, v)]
        out = attend(*inputs, **own, **given)
        return [x.detach() for x in (out, *torch.autograd.grad(out, inputs, g[:, :, rows]))]

    together = run(slice(None), documents=documents)
    with no_synchronisation():
        again = run(slice(None), documents=documents)
    assert all(map(torch.equal, together, again))
    for first, stop in pairwise(ends):
        if first < stop:
            for packed, alone in zip(together, run(slice(first, stop)), strict=True):
                error = (packed[:, :, first:stop] - alone).float().norm()
                assert error <= 4 * torch.finfo(torch.bfloat16).eps * alone.float().norm() + 1e-6
    assert all((x[:, :, ends[-1] :] == 0).all() for x in together)


LOTS = 20  # of 25 programs each, so that several processes can share the work, and the first failure shows early
# One lot: pytest -m gpu "tests/gpu/test_inputs.py::test_random_programs[7]"; -k "not random" for all but these.


@pytest.mark.parametrize("lot", range(LOTS))
def test_random_programs(lot: int) -> None:
    assert_random_programs(input_programs(), check, lot, 25)


def test_new_data_compiles_nothing_and_waits_for_nothing() -> None:
    attend = sparsec.compile("input doc: int[n] input far: int[t] pattern p = causal & (doc[q] == doc[k] | k in far)")
    q, k, v = torch.randn(3, 1, 4, 3000, 64, device="cuda", dtype=torch.bfloat16).requires_grad_()
    docs = [torch.arange(3000, device="cuda") // size for size in (100, 777, 3000)]
    fars = [torch.arange(count, device="cuda") * 9 for count in (40, 50, 60)]

    def step(doc: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        out = attend(q, k, v, doc=doc, far=far)
        return torch.stack([out, *torch.autograd.grad(out, (q, k, v), out)])

    wanted = [step(doc, far) for doc, far in zip(docs, fars, strict=True)]
    program = attend._function.__globals__["_PROGRAM"]
    compiled, passes = len(program.compiled), len(program.passes)
    with no_synchronisation():
        found = [step(doc + 1, far.clone()) for doc, far in zip(docs, fars, strict=True)]
    assert (len(program.compiled), len(program.passes)) == (compiled, passes)
    for x, y in zip(found, wanted, strict=True):
        assert torch.equal(x, y)


def test_a_captured_graph_takes_new_data() -> None:
    attend = sparsec.compile("input doc: int[n] pattern p = causal & doc[q] == doc[k]")
    q, k, v = torch.randn(3, 1, 4, 1000, 64, device="cuda", dtype=torch.bfloat16)
    doc = torch.arange(1000, device="cuda") // 300
    attend(q, k, v, doc=doc)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attend(q, k, v, doc=doc)
    for other in (doc // 2, doc * 0, torch.arange(1000, device="cuda") % 7):
        doc.copy_(other)
        graph.replay()
        assert torch.equal(out, attend(q, k, v, doc=other))
