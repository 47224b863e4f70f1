"""Kernels on a CUDA device against the dense reference, for the tests of tests/gpu."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from sparsec.ir.nodes import Pattern
from sparsec.testing import dense_attention
from sparsec.testing.programs import Program, match_programs, programs
from support.generated import attend_of, problem_of, random_pattern

HALVES = [torch.float16, torch.bfloat16]
any_program = st.one_of(programs(), match_programs())


def check(
    pattern: Pattern, n_q: int, n_k: int, q_offset: int | None = None, attend: Callable | None = None, **problem
) -> None:
    """Forward and all gradients, within bounds that come from the data; keywords as of dense_attention.random_problem.

    `attend`: another operator of the pattern than the usual one.
    """
    problem = problem_of(pattern, n_q, n_k, q_offset, device="cuda", **problem)
    found = dense_attention.compare(dense_attention.run(attend or attend_of(pattern), problem, q_offset), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


def assert_random_programs(drawn: st.SearchStrategy[Program], check: Callable, lot: int, examples: int) -> None:
    """Programs that read data of the call, of the seed `lot`: `check` compares an operator with dense attention."""

    @seed(lot)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        drawn,
        st.sampled_from(((300, 300, 0), (5, 470, 465), (233, 120, 9), (129, 500, 371))),
        st.integers(0, 99),
        st.sampled_from(HALVES),
    )
    def holds(program: Program, sizes: tuple[int, int, int], number: int, dtype: torch.dtype) -> None:
        pattern = random_pattern(program)
        check(pattern, attend_of(pattern), *sizes, number, heads=4, kv_heads=2, head_size=64, dtype=dtype)

    holds()
