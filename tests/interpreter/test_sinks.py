"""Sinks in the kernels, in Triton's interpreter: as without, with a score more in the log-sum-exp of each row."""

from __future__ import annotations

import pytest
import torch
from support.exact import assert_as_exact
from support.generated import pattern_of, spread_module_of
from support.two_paths import double, drawn, in_double

from sparsec.kernels.cpu.torch_path import forward_cpu
from sparsec.kernels.operator.one_by_one import forward_each
from sparsec.kernels.operator.packed import forward_packed
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.sequences.sequences import of_documents
from sparsec.kernels.weights import sinks

WALKS = [
    ("past(20) | sinks(3)", 40, 55),
    ("causal & (past(16) | stride(8))", 64, 64),  # several kernels, one after the other
    ("window(9) | global(3)", 70, 600),  # leading tiles are split
    ("causal & k % 16 in {14, 15} & q > 9", 40, 40),  # rows without a key
    ("random_keys(3, 1)", 33, 33),
]


pytestmark = pytest.mark.usefixtures("small_tiles")


@pytest.mark.parametrize(
    ("text", "n_q", "n"), [WALKS[1], WALKS[2], *(pytest.param(*each, marks=pytest.mark.full) for each in WALKS)]
)
def test_forward(text: str, n_q: int, n: int) -> None:
    program = spread_module_of(pattern_of(f"pattern p = {text}"))._PROGRAM
    program.passes.clear()
    q, k, v, own = drawn((2, 4, n_q, 16), (2, 2, n, 16), (2, 2, n, 16), (2, 4))
    own[0, 1] = float("-inf")
    call = Call(q, k, v, 0.25, n - n_q, sinks=own)
    exact, plain = (forward_cpu(program, each) for each in (in_double(call), call))
    assert_as_exact(forward_gpu(program, call), exact, plain)


def test_documents() -> None:
    program = spread_module_of(pattern_of("pattern p = past(20) | sinks(3)"))._PROGRAM
    program.passes.clear()
    q, k, v, own = drawn((1, 2, 70, 16), (1, 1, 70, 16), (1, 1, 70, 16), (1, 2))
    call = Call(q, k, v, 0.25, sinks=own, table=of_documents(torch.tensor([3, 20, 20, 66]), 70))
    exact, plain = (forward_each(forward_cpu, program, each) for each in (in_double(call), call))
    assert_as_exact(forward_packed(program, call), exact, plain)


@pytest.mark.parametrize("with_dlse", [False, True])
def test_gradient(with_dlse: bool) -> None:
    g, out, lse, dlse, own = drawn((2, 4, 300, 24), (2, 4, 300, 24), (2, 4, 300), (2, 4, 300), (1, 4))
    lse[:, :, 7] = float("-inf")
    given = g, out.transpose(1, 2).contiguous().transpose(1, 2), lse, dlse if with_dlse else None, own
    exact = [None if x is None else double(x) for x in given]
    rounded = sinks._sink_gradient_cpu(*given)
    assert_as_exact([sinks._sink_gradient_gpu(*given)], [sinks._sink_gradient_cpu(*exact)], [rounded])
