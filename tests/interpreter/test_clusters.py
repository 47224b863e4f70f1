"""The kernel that marks the members of clusters, in Triton's interpreter: against a sort of the scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsec.kernels.chosen import grouping
from sparsec.kernels.chosen.cluster_kernel import mark_members
from sparsec.kernels.chosen.grouping import Routing, _members, _members_on_gpu

BLOCK = 16
NUMBERS = [0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, float("inf"), float("-inf"), 1.0, -1.0, 1.5]


def assert_marked(scores: torch.Tensor, taken: int, first: int) -> None:
    """Labels of scores [B * heads, clusters, tokens], those of other clusters left alone."""
    (heads, clusters, tokens), lines = scores.shape, (first + scores.shape[1] + 31) // 32 + 1
    bits = torch.randint(0, 2, (heads, lines * 32, tokens))
    bits[:, first : first + clusters] = 0
    found = packed(bits)
    bits[:, first : first + clusters].scatter_(2, scores.sort(stable=True, descending=True).indices[..., :taken], 1)
    for candidates in (None, torch.full((heads, clusters, 2, BLOCK), -1, dtype=torch.int32)):
        if candidates is None or 2 * taken <= BLOCK:
            sizes, marked = (tokens, clusters, first, taken, lines), found.clone()
            mark_members[clusters, heads](scores, marked, candidates, *sizes, BLOCK=BLOCK, ROOM=BLOCK, ROWS=2)
            assert torch.equal(marked, packed(bits))


def packed(bits: torch.Tensor) -> torch.Tensor:
    """Bits [heads, clusters, tokens] in words of 32 clusters."""
    return (bits.unflatten(1, (-1, 32)) << torch.arange(32)[:, None]).sum(2).to(torch.int32)


@settings(max_examples=6)
@given(
    st.sampled_from((0, 1, 7, 16, 40)), st.sampled_from((1, 3, 9, 50)), st.sampled_from((0, 30)), st.integers(0, 99),
    st.sampled_from(("all equal", "whole numbers", "random", "of all kinds")),
)  # fmt: skip
@example(40, 9, 30, 0, "all equal")
@example(40, 9, 0, 0, "whole numbers")
@example(40, 20, 0, 0, "of all kinds")
@example(40, 7, 0, 3, "random")
def test_members(tokens, taken, first, seed, kind):
    random = torch.Generator().manual_seed(seed)
    drawn = {
        "all equal": lambda *shape: torch.full(shape, -3.5),
        "whole numbers": lambda *shape: torch.randint(-1, 2, shape, generator=random).float(),
        "random": lambda *shape: torch.randn(shape, generator=random),
        "of all kinds": lambda *shape: torch.tensor(NUMBERS)[torch.randint(0, 11, shape, generator=random)],
    }
    assert_marked(drawn[kind](1, 3, tokens), min(taken, tokens), first)


def test_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU, some clusters at a time."""
    monkeypatch.setattr(grouping, "_SCORED_AT_ONCE", BLOCK)
    monkeypatch.setattr(grouping, "SLAB", {"cuda": 9 * 20, "cpu": 1 << 20})
    x, mu = torch.randint(-2, 3, (1, 1, 9, 16)).float(), torch.randint(-2, 3, (1, 1, 34, 16)).float()
    assert torch.equal(_members_on_gpu(Routing(5, 0), x, mu), _members(Routing(5, 0), x, mu))
