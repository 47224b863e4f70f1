"""Kernels of an indexer, in Triton's interpreter: against torch's operations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsec.kernels.chosen import indexer

SIZES = [(20, 20, 0), (1, 33, 32), (17, 20, 3), (9, 5, 0), (6, 6, -3)]


def assert_alike(t: int, heads: int, sizes: tuple, causal: bool, documents: bool, seed: int) -> None:
    (n_q, n, q_offset), random = sizes, torch.Generator().manual_seed(seed)
    shapes = (2, heads, n_q, 24), (2, n, 24), (2, heads, n_q)
    q, k, weights = (torch.randint(-1, 2, shape, generator=random).float() for shape in shapes)
    k = torch.cat([k, k], 2)[..., :24]  # rows of a longer tensor
    starts = torch.tensor([[0] * 7 + [7] * 12 + [20]] * 2, dtype=torch.int32) if documents else None
    found, wanted = torch.full((2, 2, 1, n_q, t), -1, dtype=torch.int32)
    indexer.indexed_by_kernels(q, k, weights, starts, causal, q_offset, found)
    indexer.indexed_by_torch(q, k, weights, starts, causal, q_offset, wanted)
    assert torch.equal(found, wanted)


@settings(max_examples=2)
@given(st.sampled_from((1, 3, 40)), st.sampled_from((1, 3)), st.sampled_from(SIZES), st.booleans(), st.integers(0, 99))
@example(3, 3, SIZES[0], True, 0)
@example(3, 1, SIZES[2], False, 1)
def test_the_best_keys(t, heads, sizes, causal, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer, "_INDEXED_ROWS", 32)
        patch.setattr(indexer, "_INDEXED_KEYS", 64)
        patch.setattr(indexer, "_INDEXED_AT_ONCE", 16)
        patch.setattr(indexer, "SLAB", {"cuda": 2 * sizes[1] * 7, "cpu": 1 << 20})
        assert_alike(t, heads, sizes, causal, False, seed)
        if sizes == SIZES[0]:
            assert_alike(t, heads, sizes, True, True, seed)
