"""Kernels on a CUDA device against the dense reference, for the tests of tests/gpu."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st

from sparsec.ir.nodes import Pattern
from sparsec.testing import dense_attention
from sparsec.testing.programs import match_programs, programs
from support.generated import attend_of, problem_of

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
