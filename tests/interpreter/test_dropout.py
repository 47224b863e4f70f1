"""Dropout in the kernels, in Triton's interpreter: forward and gradients of a CPU, whose mask is computed by torch."""

from __future__ import annotations

import pytest
import torch
from support.exact import assert_as_exact
from support.generated import listed_module_of, module_of, pattern_of, spread_module_of
from support.score_inputs import TEXTS, drawn_inputs
from support.two_paths import drawn, in_double

from sparsec.kernels.cpu.torch_path import backward_cpu, forward_cpu, input_gradients_cpu
from sparsec.kernels.operator.one_by_one import backward_each, forward_each
from sparsec.kernels.operator.packed import backward_packed, forward_packed
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.passes.read_gradients import input_gradients_gpu
from sparsec.kernels.program.arguments import Call, Dropout, Upstream
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.kernels.sequences.positions import Positions
from sparsec.kernels.sequences.sequences import of_documents
from sparsec.kernels.weights.dropout import streams_of

WALKS = [
    ("causal & (past(16) | stride(8))", 48, 48),  # several kernels, one after the other
    ("past(20) | sinks(3)", 40, 55),
    ("window(9) | global(3)", 70, 600),  # leading tiles are split
    ("causal & k % 16 in {14, 15} & q > 9", 40, 40),  # gathered keys, and rows without any
    ("random_keys(3, 1)", 33, 33),  # lists of pairs
]
SEED = torch.tensor([2**40 + 5])


pytestmark = pytest.mark.usefixtures("small_tiles")


def assert_as_on_a_cpu(program, call: Call, forwards, backwards) -> None:
    """`forwards` and `backwards`: those of kernels, and those of a CPU."""
    program.passes.clear()
    g, dlse = drawn(call.q.shape, call.q.shape[:3])

    def results(forward, backward, call: Call) -> tuple[torch.Tensor, ...]:
        out, lse = forward(program, call)
        given = Upstream(g.to(out.dtype), out, lse, dlse.to(lse.dtype).masked_fill(lse == float("-inf"), 0.0))
        return out, lse, *backward(program, call, given)

    found, rounded = (results(*path, call) for path in zip(forwards, backwards, strict=True))
    assert_as_exact(found, results(forwards[1], backwards[1], in_double(call)), rounded)


@pytest.mark.parametrize(("text", "n_q", "n"), [WALKS[0], *(pytest.param(*x, marks=pytest.mark.full) for x in WALKS)])
def test_results(text: str, n_q: int, n: int) -> None:
    module = spread_module_of(pattern_of(f"pattern p = {text}"))
    q, k, v = drawn((2, 2, n_q, 16), (2, 1, n, 16), (2, 1, n, 16))
    dropout = Dropout(0.3, streams_of(SEED, Positions(), 2, None))
    call = Call(q, k, v, 0.25, n - n_q, dropout=dropout)
    assert_as_on_a_cpu(module._PROGRAM, call, (forward_gpu, forward_cpu), (backward_gpu, backward_cpu))


@pytest.mark.full
def test_scores_with_float_inputs() -> None:
    pattern = pattern_of(TEXTS["all"])
    program = module_of(pattern)._PROGRAM
    q, k, v = drawn((2, 4, 20, 16), (2, 2, 41, 16), (2, 2, 41, 16))
    inputs = checked_inputs(program.inputs, drawn_inputs(pattern, 2, 4, 41), q, k)
    dropout = Dropout(0.3, streams_of(SEED, Positions(), 2, None))
    call = Call(q, k, v, 0.25, 21, inputs=inputs, dropout=dropout)
    assert_as_on_a_cpu(program, call, (forward_gpu, forward_cpu), (backward_gpu, backward_cpu))
    forwards, backwards = (forward_gpu, forward_cpu), (input_gradients_gpu, input_gradients_cpu)
    assert_as_on_a_cpu(program, call, forwards, backwards)


@pytest.mark.full
def test_lists_of_tiles() -> None:
    module = listed_module_of(pattern_of("pattern p = abs(q // 8 - k // 8) <= 1 & abs(q % 8 - k % 8) <= 1"))
    q, k, v = drawn((1, 1, 70, 16), (1, 1, 70, 16), (1, 1, 70, 16))
    call = Call(q, k, v, 0.25, dropout=Dropout(0.3, streams_of(SEED, Positions(), 1, None)))
    assert_as_on_a_cpu(module._PROGRAM, call, (forward_gpu, forward_cpu), (backward_gpu, backward_cpu))


def test_documents() -> None:
    program = spread_module_of(pattern_of("pattern p = past(20) | sinks(3)"))._PROGRAM
    q, k, v = drawn((1, 2, 50, 16), (1, 1, 50, 16), (1, 1, 50, 16))
    ends = torch.tensor([3, 20, 20, 46])
    table = of_documents(ends, 50)
    dropout = Dropout(0.3, streams_of(SEED, Positions(documents=ends), 1, table))
    call = Call(q, k, v, 0.25, table=table, dropout=dropout)

    def forward_alone(program, call: Call):
        return forward_each(forward_cpu, program, call)

    def backward_alone(program, call: Call, upstream: Upstream):
        return backward_each(backward_cpu, program, call, upstream)

    assert_as_on_a_cpu(program, call, (forward_packed, forward_alone), (backward_packed, backward_alone))
