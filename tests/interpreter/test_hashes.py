"""The kernel that hashes tokens, in Triton's interpreter: against torch's operations, ties and zeros among them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsec.kernels.chosen import grouping
from sparsec.kernels.chosen.grouping import Hashing, _hashes, _hashes_on_gpu


@settings(max_examples=4)
@given(st.sampled_from((2, 6, 34, 130)), st.sampled_from((1, 2)), st.sampled_from((1, 20, 40)), st.integers(0, 99))
@example(34, 2, 40, 0)
@example(130, 1, 20, 1)
def test_hashes(buckets: int, rounds: int, tokens: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(-1, 2, (2, 3, tokens, 16), generator=random).float()
    x[:, :, ::5] = 0.0
    turned = torch.randint(-1, 2, (3, 16, rounds * buckets // 2), generator=random)
    own = Hashing(buckets, rounds, 8, 0)
    assert torch.equal(_hashes_on_gpu(own, x, turned), _hashes(own, x, turned))


def test_several_tiles_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "_HASHED_AT_ONCE", 32)
    test_hashes.hypothesis.inner_test(34, 1, 40, 3)
