"""Kernels that choose blocks, in Triton's interpreter: against torch's operations, number by number."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsec.kernels.chosen import choose
from sparsec.kernels.chosen.choose import Choice, Eligible

BAND = Eligible(lambda q, k, n: (k <= q) & (q - k < 9), lambda first, last, n: [(first - 8, last + 1)])
ENDS = Eligible(lambda q, k, n: (k < 3) | (k >= n - 5), lambda first, last, n: [(0, 3), (n - 5, n)])
COMB = Eligible(lambda q, k, n: (k % 3 == 0) & (k <= q))  # which has to be looked at
NONE = Eligible(lambda q, k, n: (k < 0) & (q < 0), lambda first, last, n: [])


def assert_same_blocks(choice: Choice, scores: torch.Tensor, n_q: int, n: int, q_offset: int) -> None:
    batch, groups, lists, _ = scores.shape
    first = q_offset + torch.arange(lists) * choice.rows
    last = torch.clamp(first + choice.rows, max=q_offset + n_q) - 1
    found, wanted = torch.full((2, batch, groups, lists + 2, choice.listed), -1, dtype=torch.int32)
    choose._best(choice, scores, first, last, n, wanted[:, :, 1:-1])
    choose.best_by_kernel(choice, scores, first, last, n, found[:, :, 1:-1])
    assert torch.equal(found, wanted)


@settings(max_examples=8)
@given(
    st.sampled_from((BAND, ENDS, COMB, NONE)),
    st.sampled_from((None, BAND, COMB, NONE)),
    st.sampled_from((1, 3, 4, 9)),
    st.sampled_from((1, 4)),
    st.sampled_from((1, 5)),
    st.sampled_from(((7, 30, 23), (12, 12, 0), (5, 3, 1))),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_best_blocks(among, first, listed, size, rows, sizes, ties, seed) -> None:
    n_q, n, q_offset = sizes
    choice = Choice(listed, size, rows, "given", among, first)
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 2, -(-n_q // rows), -(-n // size), generator=random)
    assert_same_blocks(choice, scores.round() if ties else scores, n_q, n, q_offset)


def test_many_blocks_and_hostile_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several turns of the kernel; infinities, both zeros, and numbers that are none."""
    monkeypatch.setattr(choose, "_BLOCKS_AT_ONCE", 8)
    some = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-40, -1e-40, 3.0]
    scores = torch.tensor(some)[torch.randint(len(some), (1, 1, 4, 43), generator=torch.Generator().manual_seed(0))]
    everything = Eligible(lambda q, k, n: k >= 0, lambda first, last, n: [(0, n)])
    for listed in (2, 7):
        assert_same_blocks(Choice(listed, 1, 1, "given", everything), scores, 4, 43, 39)


@settings(max_examples=6)
@given(
    st.sampled_from((1, 3, 8, 40)),
    st.sampled_from((1, 2)),
    st.sampled_from((16, 24)),
    st.sampled_from((1, 21, 80)),
    st.sampled_from((torch.float32, torch.float16)),
    st.booleans(),
)
def test_means(size, group, dim, n, dtype, transposed) -> None:
    x = torch.randint(-9, 10, (2, n, 4, dim) if transposed else (2, 4, n, dim)).to(dtype)
    x = x.transpose(1, 2) if transposed else x
    assert torch.equal(choose.means_by_kernel(x, size, group), choose._means(x, size, group))
