"""Kernels over groups of tokens, `lsh` and `routed`, in Triton's interpreter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter.test_inputs import _small_tiles  # noqa: F401
from runtime.test_groups import CASES, TEXTS, declared, grouped_conditions
from support.exact import assert_as_exact
from support.generated import pattern_of, spread_module_of
from support.two_paths import in_double

from sparsec.kernels.cpu.torch_path import backward_cpu, forward_cpu
from sparsec.kernels.groups import launch as groups
from sparsec.kernels.groups import lists as group_lists
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Dropout, Upstream
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.testing import compare, random_problem
from sparsec.testing.choices import checked_choices
from sparsec.testing.data import masks, random_data
from sparsec.testing.dense_attention import Results


@pytest.fixture(autouse=True)
def _few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_lists, "_TOKENS", 16)
    monkeypatch.setattr(groups, "_JOINED_ROWS", 32)


def call_of(text: str, n_q: int, n: int, q_offset: int | None, seed: int, heads=(4, 2), dtype=torch.float32):
    """The program of a text, a problem with its mask, and a call about it with what the operator chooses."""
    pattern = pattern_of(text)
    module = spread_module_of(pattern)
    program, first = module._PROGRAM, n - n_q if q_offset is None else q_offset
    numbers = {"heads": heads[0], "kv_heads": heads[1], "batch": 2, "seed": seed, "dtype": dtype}
    problem = random_problem(np.ones((n_q, n), bool), **numbers)
    drawn = (*(each for each in pattern.inputs if not each.choice), *pattern.choice_inputs)
    data = random_data(drawn, 2, heads[0], n, seed, n_q=n_q, kv_heads=heads[1], head_size=problem.q.shape[3])
    given = {name: torch.as_tensor(x) for name, x in data.items()}
    arguments = module._OPERATOR.choices, pattern, problem.q, problem.k, problem.scale, first, given
    data |= checked_choices(*arguments)
    mask = masks(pattern, data, 2, heads[0], np.arange(n_q) + first, n, first)
    problem = replace(problem, mask=torch.from_numpy(mask))
    own = {each.name: given[each.name] for each in pattern.inputs if not each.choice}
    checked = iter(checked_inputs(program.inputs, own, problem.q, problem.k))
    inputs = [torch.from_numpy(data[each.name]) if each.choice else next(checked) for each in program.inputs]
    program.passes.clear()
    return program, problem, Call(problem.q, problem.k, problem.v, problem.scale, first, inputs=inputs)


def check(text: str, n_q: int, n: int, q_offset: int | None, seed: int = 0, **more) -> None:
    program, problem, call = call_of(text, n_q, n, q_offset, seed, **more)
    out, lse = forward_gpu(program, call)
    gradients = backward_gpu(program, call, Upstream(problem.g, out, lse, problem.dlse))
    found = compare(Results(out, lse, *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


def as_on_a_cpu(program, call: Call, g: torch.Tensor, dlse: torch.Tensor | None = None) -> None:
    """Forward and gradients of kernels, no further from those of float64 than what the CPU path makes of float32."""
    found, plain = forward_gpu(program, call), forward_cpu(program, call)
    upstream = Upstream(g, *plain, dlse)
    ours, theirs = (run(program, call, upstream) for run in (backward_gpu, backward_cpu))
    wide = in_double(call)
    exact = forward_cpu(program, wide)
    true = backward_cpu(program, wide, Upstream(g.double(), *exact, None if dlse is None else dlse.double()))
    assert_as_exact((*found, *ours), (*exact, *true), (*plain, *theirs))


def test_a_pattern() -> None:
    check(TEXTS[1], 33, 50, 40, dtype=torch.float16)


@pytest.mark.full
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("text", [*TEXTS, "input mu: centroids[c] pattern p = routed(mu, 20) \\ (q == k)"])
def test_more_patterns(text: str, case: tuple) -> None:
    check(text, *case)


@pytest.mark.full
@settings(max_examples=60)
@given(grouped_conditions(), st.sampled_from(CASES), st.integers(0, 99))
def test_many_random_conditions(condition, case, seed) -> None:
    check(declared(condition), *case, seed)


@pytest.mark.parametrize(("text", "drops"), [
    ("input mu: centroids[3] pattern p = routed(mu, 9) with alibi", True),
    *(pytest.param(text, drops, marks=pytest.mark.full) for text, drops in (
        ("pattern p = (past(3) | lsh(4, 2, 8, 0)) with softcap(20)", False),
        ("pattern p = past(3) | lsh(4, 2, 8, 0)", True),
        ("input mu: centroids[3] pattern p = routed(mu, 9)", True),
    )),
])  # fmt: skip
def test_as_on_a_cpu_with_scores_sinks_and_dropout(text: str, drops: bool) -> None:
    program, problem, call = call_of(text, 40, 40, None, 3)
    dropout = Dropout(0.4, torch.tensor([[7, 0], [7, 1]])) if drops else None
    call = call._replace(sinks=torch.tensor([[0.5, -1.0, 3.0, 0.0]]), dropout=dropout)
    as_on_a_cpu(program, call, problem.g, problem.dlse)


def test_values_of_another_size() -> None:
    program, problem, call = call_of("pattern p = past(3) | lsh(4, 2, 8, 0)", 30, 40, None, 3)
    assert program.grouped
    call = call._replace(v=call.v[..., :9].contiguous())
    as_on_a_cpu(program, call, problem.g[..., :9].contiguous(), problem.dlse)


def test_heads_with_patterns_of_their_own() -> None:
    """Those of one key head add to its gradients in turn."""
    text = "match h { 0 -> past(5) | lsh(4, 2, 8, 0), 1 -> causal, 2 -> lsh(2, 2, 9, 1), else -> past(9) }"
    pattern = pattern_of(f"pattern p = {text}", 4)
    module = spread_module_of(pattern)
    q, k, v, g = torch.randn(4, 2, 4, 40, 16, generator=torch.Generator().manual_seed(0))
    k, v = k[:, :2], v[:, :2]
    made = module._OPERATOR.choices(q, k)
    call = Call(q, k, v, 0.25, inputs=[made[each.name] for each in module._PROGRAM.inputs])
    as_on_a_cpu(module._PROGRAM, call, g)
