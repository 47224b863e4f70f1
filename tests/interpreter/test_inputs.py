"""Kernels whose masks read data of the call, in Triton's interpreter."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import module_of, pattern_of, random_pattern, spread_module_of

from sparsec.ir import nodes
from sparsec.kernels import data_tiles, prepare
from sparsec.kernels.backward import backward_gpu
from sparsec.kernels.forward import forward_gpu
from sparsec.kernels.inputs import checked_inputs
from sparsec.kernels.settings import Settings
from sparsec.testing import compare, random_problem
from sparsec.testing.data import masks, random_data
from sparsec.testing.dense_attention import Results
from sparsec.testing.programs import input_programs

SMALL = (16, 32, 4, 1, None), (32, 16, 4, 1, None), (16, 32, 4, 1, None)  # forward, dq, dkdv


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "SETTINGS", dict.fromkeys(prepare.SETTINGS, Settings(*SMALL)))
    monkeypatch.setattr(data_tiles, "_LISTED_AT_ONCE", 4)


def check(
    module: ModuleType,
    pattern: nodes.Pattern,
    n_q: int,
    n: int,
    q_offset: int,
    data: dict[str, np.ndarray],
    *,
    heads: tuple[int, int] = (2, 1),
    batch: int = 2,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Forward and every gradient of rows of a batch with data of their own."""
    mask = masks(pattern, data, batch, heads[0], np.arange(n_q) + q_offset, n)
    problem = random_problem(mask, heads=heads[0], kv_heads=heads[1], batch=batch, dtype=dtype)
    program, tensors = module._PROGRAM, (problem.q, problem.k, problem.v)
    program.passes.clear()
    given = checked_inputs(program.inputs, {name: torch.as_tensor(x) for name, x in data.items()}, problem.q, problem.k)
    out, lse = forward_gpu(program, *tensors, problem.scale, q_offset, 0, given)
    backward = problem.g, *tensors, out, lse, problem.dlse, problem.scale, q_offset, 0, given
    found = compare(Results(out, lse, *backward_gpu(program, *backward)), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


DECLARED = (
    "input doc: int[n] input cls: bool[B, n] input w: int[B, H] input m: int input u: int[B, H, t] input s: int[t]\n"
)
CONDITIONS = [
    "causal & doc[q] == doc[k]",
    "causal | doc[q] == doc[k] & doc[q] >= 0",
    "past(w)",
    "window(9) | cls[q] | cls[k]",
    "causal & (k in u | q - k in s)",
    "causal & ~(k in u) & u[h, q // 40] < k",
    "past(9) | k < m",
    "causal & k - 3 * doc[q // 2] > doc[doc[k]] % 5 + m // 2",
    "causal & (past(9) | stride(8)) & (doc[q] == doc[k] | cls[k])",
    "causal & (k % 16 >= 14 | past(6) & w > 2) & doc[q] >= m",
    "past(4) | random_blocks(16, 1, 2) & cls[q]",
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions(condition: str) -> None:
    pattern = pattern_of(f"{DECLARED}pattern p = {condition}")
    module = spread_module_of(pattern)
    for n_q, n, q_offset, seed in ((70, 70, 0, 0), (33, 50, 40, 1)):
        data = random_data(pattern.inputs, 2, 2, n, seed)
        check(module, pattern, n_q, n, q_offset, data, dtype=torch.float16 if seed else torch.float32)


def test_heads_with_patterns_of_their_own() -> None:
    text = "input doc: int[n] input w: int[H] pattern p = match h "
    pattern = pattern_of(text + "{ 0 -> past(w[h]), 1 | 3 -> doc[q] == doc[k], else -> causal & k % 5 < w[h] }", 4)
    data = random_data(pattern.inputs, 1, 4, 61, 2)
    check(module_of(pattern), pattern, 61, 61, 0, data, heads=(4, 2), batch=1)


@settings(max_examples=12)
@given(input_programs(), st.sampled_from(((40, 40, 0), (5, 70, 65), (33, 20, 9))), st.integers(0, 99))
def test_random_programs(program, sizes, seed) -> None:
    pattern = random_pattern(program)
    check(module_of(pattern), pattern, *sizes, random_data(pattern.inputs, 2, 2, sizes[1], seed))
