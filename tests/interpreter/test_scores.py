"""Kernels of patterns with scores, in Triton's interpreter: every layout, lists, heads of their own, documents."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact import assert_as_exact
from support.generated import (
    module_of,
    pattern_of,
    problem_of,
    spread_listed_module_of,
    spread_module_of,
)

from sparsec.ir.nodes import Pattern
from sparsec.kernels.cpu.torch_path import backward_cpu, forward_cpu
from sparsec.kernels.operator import one_by_one, packed
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.sequences import of_documents
from sparsec.kernels.tiles.tanh import tanh
from sparsec.testing import dense_attention
from sparsec.testing.score_programs import score_programs

FAR = "score far = s / (q + 1) - log(k + 1.0) + 0.5 * sqrt(abs(s)) if q - k > 9 | h == 1 else 2 ** s "


pytestmark = pytest.mark.usefixtures("small_tiles")


def check(
    pattern: Pattern, n_q: int, n_k: int, q_offset: int | None = None, module: ModuleType | None = None, **numbers
) -> None:
    offset = n_k - n_q if q_offset is None else q_offset
    problem = problem_of(pattern, n_q, n_k, q_offset, **numbers)
    program = (module or module_of(pattern))._PROGRAM
    program.passes.clear()
    tensors = problem.q, problem.k, problem.v
    call = Call(*tensors, problem.scale, offset)
    out, lse = forward_gpu(program, call)
    gradients = backward_gpu(program, call, Upstream(problem.g, out, lse, problem.dlse))
    found = dense_attention.compare(dense_attention.Results(out, lse, *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


@pytest.mark.parametrize("dtype", [torch.float16, pytest.param(torch.float32, marks=pytest.mark.full)], ids=str)
def test_softcap_and_alibi(dtype: torch.dtype) -> None:
    check(
        pattern_of("pattern p = past(20) | sinks(3) with softcap(2), alibi"), 50, 70, heads=4, kv_heads=2, dtype=dtype
    )


LAYOUTS = [
    "causal & (stride(4) | past(5)) with softcap(2)",
    "causal & (k % 16 == 0 | past(9)) with far, alibi",
    "random_keys(5, 1) | global(2) with far",
]


@pytest.mark.parametrize("text", [LAYOUTS[1], *(pytest.param(text, marks=pytest.mark.full) for text in LAYOUTS)])
def test_layouts(text: str) -> None:
    pattern = pattern_of(f"{FAR}pattern p = {text}")
    check(pattern, 40, 33, 9, spread_module_of(pattern), heads=4, kv_heads=2)


@pytest.mark.full
def test_lists_of_tiles() -> None:
    pattern = pattern_of(f"{FAR}pattern p = causal & stride(3) | abs(q // 8 - k // 8) <= 1 & q % 8 == 2 with far")
    check(pattern, 50, 75, module=spread_listed_module_of(pattern), heads=4, kv_heads=2)


def test_heads_that_differ_in_numbers_share_kernels() -> None:
    text = "pattern p = match h { 0..3 -> past(20 + h) with softcap(h + 2), else -> past(9) with alibi }"
    pattern = pattern_of(text, heads=4)
    assert [program.heads for program in module_of(pattern)._PROGRAM.groups] == [(0,), (1,), (2,), (3,)]
    keeps = {group.variants[0].regions[0].answers.score for group in module_of(pattern)._PROGRAM.groups}
    assert len(keeps) == 2
    check(pattern, 40, 75, heads=4, kv_heads=2)


@pytest.mark.full
@settings(max_examples=10)
@given(score_programs(), st.sampled_from([(20, 20), (33, 50)]))
def test_random_scores(text: str, sizes: tuple[int, int]) -> None:
    check(pattern_of(f"{text}pattern p = past(9) | k < 2 & k <= q with x"), *sizes, heads=2, kv_heads=1)


@pytest.mark.parametrize(
    "text", ["causal & stride(4) with softcap(2)", pytest.param("causal with far, alibi", marks=pytest.mark.full)]
)
def test_documents(text: str) -> None:
    """As on a CPU, which takes each document by itself."""
    pattern = pattern_of(f"{FAR}pattern p = {text}")
    program = spread_module_of(pattern)._PROGRAM
    program.passes.clear()
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(1, heads, 90, 16, generator=generator) for heads in (4, 2, 2, 4))
    table = of_documents(torch.tensor([3, 3, 20, 21, 70]), 90)
    call = Call(q, k, v, 0.25, table=table)
    upstream = Upstream(g, *packed.forward_packed(program, call))
    found = *upstream[1:3], *packed.backward_packed(program, call, upstream)
    exact, plain = (alone(program, call, upstream, dtype) for dtype in (torch.float64, torch.float32))
    assert_as_exact(found, exact, plain)


def alone(program: Program, call: Call, upstream: Upstream, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Results and gradients of a CPU, which takes one sequence after the other."""
    call = call._replace(q=call.q.to(dtype), k=call.k.to(dtype), v=call.v.to(dtype))
    upstream = upstream.of(lambda x: x.to(dtype))
    results = one_by_one.forward_each(forward_cpu, program, call)
    return *results, *one_by_one.backward_each(backward_cpu, program, call, upstream)


@pytest.mark.parametrize(
    "expression", ["1 / (s - s)", "s + exp(1000.0 * s * s)", "s + log(q - k + 0.0)", "s + s / abs(s)"]
)
def test_what_is_not_finite_is_as_on_a_cpu(expression: str) -> None:
    """Gradients, too, where only rows of tiles beyond the last query, of products 0, are not finite."""
    pattern = pattern_of(
        f"score x = {expression} if q % 5 == 0 | k < 40 else s pattern p = past(9) & q % 3 != 1 with x"
    )
    program = module_of(pattern)._PROGRAM
    program.passes.clear()
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(1, 2, 45, 16, generator=generator) for _ in "qkvg")
    call = Call(q, k, v, 0.25)
    results = forward_gpu(program, call)
    exact = call._replace(q=q.double(), k=k.double(), v=v.double())
    assert_as_exact(results, forward_cpu(program, exact), forward_cpu(program, call))
    if results[0].isfinite().all():
        upstream = Upstream(g, *results)
        wanted = backward_cpu(program, exact, upstream.of(lambda x: x.double()))
        assert_as_exact(backward_gpu(program, call, upstream), wanted, backward_cpu(program, call, upstream))


def test_tanh_is_as_exact_as_its_type() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.logspace(-30, 3, 500), torch.tensor([0.625, -0.625, 0.0])])
    made = torch.from_numpy(np.asarray(_interpreted(x), np.float32))
    exact = x.double().tanh()
    assert ((made - exact).abs() <= torch.where(x.abs() < 0.2, 3e-7 * exact.abs(), 2e-7)).all()


def _interpreted(x: torch.Tensor) -> np.ndarray:
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(X, OUT, SIZE: tl.constexpr):
        at = tl.arange(0, SIZE)
        tl.store(OUT + at, tanh(tl.load(X + at)))

    size = 1 << (len(x) - 1).bit_length()
    given, out = torch.zeros(size), torch.zeros(size)
    given[: len(x)] = x
    kernel[(1,)](given, out, size)
    return out[: len(x)].numpy()
