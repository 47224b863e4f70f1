"""A thousand random programs on a CUDA device, on more tiles than it has processors: pytest -m full tests/gpu."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from support.generated import random_pattern
from support.on_gpu import HALVES, any_program, check

pytestmark = [pytest.mark.full, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

LOTS = 50  # of 20 programs each, so that several processes can share the work


@pytest.mark.parametrize("lot", range(LOTS))
def test_random_programs(lot: int) -> None:
    @seed(lot)
    @settings(max_examples=20, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        any_program,
        st.integers(600, 900),
        st.integers(600, 900),
        st.integers(0, 300),
        st.sampled_from(HALVES),
        st.sampled_from([64, 80, 128, 256]),
    )
    def holds(program, n_q: int, n_k: int, q_offset: int, dtype: torch.dtype, head_size: int) -> None:
        heads = program.heads or 4
        kv_heads = 2 if heads % 2 == 0 else 1
        batch = 1 + 16 // heads  # 132 processors, 10 tiles a head and more
        shape = {"heads": heads, "kv_heads": kv_heads, "head_size": head_size, "batch": batch}
        check(random_pattern(program), n_q, n_k, q_offset, dtype=dtype, **shape)

    holds()
