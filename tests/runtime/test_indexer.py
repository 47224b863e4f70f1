"""Keys that an indexer with heads of its own chooses: against a literal choice, and through attention."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsec.nn
from sparsec.kernels.chosen import indexer
from sparsec.testing import check
from sparsec.testing.choices import index_keys

DSA = Path(__file__).parent.parent.parent / "examples/data/dsa.spat"


def whole_numbers(heads: int, n_q: int, n: int, seed: int, batch: int = 2) -> tuple[torch.Tensor, ...]:
    """q, k and weights of which every score is exact, and many are equal."""
    random = torch.Generator().manual_seed(seed)
    shapes = (batch, heads, n_q, 16), (batch, n, 16), (batch, heads, n_q)
    return tuple(torch.randint(-1, 2, shape, generator=random).float() for shape in shapes)


def lists_of(found: torch.Tensor) -> list[list[list[int]]]:
    """Without the -1 behind them."""
    return [[[each for each in row if each >= 0] for row in rows] for rows in found[:, 0].tolist()]


@settings(max_examples=8)
@given(
    st.sampled_from((0, 1, 3, 40)),
    st.sampled_from((1, 4)),
    st.sampled_from(((20, 20, None), (1, 30, None), (9, 20, 4), (9, 5, 0), (6, 6, -3))),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_best_keys(t, heads, lengths, causal, seed):
    n_q, n, q_offset = lengths
    q, k, weights = whole_numbers(heads, n_q, n, seed)
    found = sparsec.nn.lightning_indexer(q, k, weights, t, causal=causal, q_offset=q_offset)
    assert (found.shape, found.dtype) == ((2, 1, n_q, t), torch.int32)
    first = n - n_q if q_offset is None else q_offset
    assert lists_of(found) == index_keys(q.numpy(), k.numpy(), weights.numpy(), t, first, causal)
    for row in found.flatten(0, 2).tolist():
        chosen = [each for each in row if each >= 0]
        assert row == sorted(chosen) + [-1] * (t - len(chosen))


def test_documents_are_as_if_alone():
    q, k, weights = whole_numbers(3, 40, 40, 0, batch=1)
    ends = [2, 9, 9, 30, 38]
    found = sparsec.nn.lightning_indexer(q, k, weights, 5, documents=torch.tensor(ends))
    for first, stop in pairwise(ends):
        rows = slice(first, stop)
        alone = sparsec.nn.lightning_indexer(q[:, :, rows], k[:, rows], weights[:, :, rows], 5)
        assert torch.equal(found[:, :, rows], alone)
    assert (found[:, :, [0, 1, 38, 39]] == -1).all()
    start = torch.tensor([[0] * 10 + [10] * 30])
    by_start = sparsec.nn.lightning_indexer(q, k, weights, 5, documents=start)
    assert torch.equal(by_start, sparsec.nn.lightning_indexer(q, k, weights, 5, documents=torch.tensor([0, 10, 40])))


def test_slabs_change_nothing(monkeypatch):
    arguments = whole_numbers(3, 40, 50, 1)
    whole = sparsec.nn.lightning_indexer(*arguments, 7)
    monkeypatch.setattr(indexer, "SLAB", {"cpu": 1})
    assert torch.equal(sparsec.nn.lightning_indexer(*arguments, 7), whole)


def test_as_a_model_uses_it():
    """The lists of an indexer go to `selected`; attention is over these keys, in documents too."""
    attend, arguments = sparsec.load(DSA), whole_numbers(3, 40, 40, 2)
    best = sparsec.nn.lightning_indexer(*arguments, 6)
    check(attend, 40, 40, heads=4, kv_heads=1, best=best)
    q, k, v = torch.randn(3, 1, 2, 40, 16)
    ends = torch.tensor([0, 13, 40])
    some = [x[:1] for x in arguments]
    packed = attend(q, k, v, documents=ends, best=sparsec.nn.lightning_indexer(*some, 6, documents=ends))
    for first, stop in ((0, 13), (13, 40)):
        rows = slice(first, stop)
        best = sparsec.nn.lightning_indexer(some[0][:, :, rows], some[1][:, rows], some[2][:, :, rows], 6)
        alone = attend(*(x[:, :, rows] for x in (q, k, v)), best=best)
        torch.testing.assert_close(packed[:, :, rows], alone)


def test_compiled():
    arguments = whole_numbers(3, 20, 30, 3)
    traced = torch.compile(sparsec.nn.lightning_indexer, backend="aot_eager", fullgraph=True)
    assert torch.equal(traced(*arguments, 5), sparsec.nn.lightning_indexer(*arguments, 5))


def test_autocast_changes_nothing():
    q, k, weights = torch.randn(1, 4, 200, 32), torch.randn(1, 200, 32), torch.rand(1, 4, 200)
    wanted = sparsec.nn.lightning_indexer(q, k, weights, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sparsec.nn.lightning_indexer(q, k, weights, 8), wanted)


SQUARE = {"q": torch.zeros(1, 3, 30, 16), "k": torch.zeros(1, 30, 16), "weights": torch.zeros(1, 3, 30)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"k": torch.zeros(2, 30, 8)}, r"\[SP0601\] .* got \[2, 3, 20, 16\], \[2, 30, 8\]"),
        ({"k": torch.zeros(2, 30, 16).half()}, r"\[SP0602\]"),
        ({"weights": torch.zeros(2, 3, 20).long()}, r"\[SP0602\]"),
        ({"k": torch.zeros(2, 30, 16, device="meta")}, r"\[SP0603\]"),
        ({"t": -1}, r"\[SP0606\] t must be 0 or a whole number above it, got -1"),
        ({"t": 2.0}, r"\[SP0606\]"),
        ({"causal": "no"}, r"\[SP0606\] causal must be True or False"),
        ({"q_offset": 1.5}, r"\[SP0606\] q_offset must be an integer, got 1.5"),
        ({"documents": torch.tensor([0, 20])}, r"\[SP0612\] documents are about as many queries as keys"),
        ({"documents": torch.tensor([0, 20]), "causal": False}, r"\[SP0612\] .* causal and without q_offset"),
        ({"documents": torch.tensor([0.0, 30.0]), **SQUARE}, r"\[SP0612\] .*int32"),
        ({"documents": torch.tensor([0, 30], device="meta"), **SQUARE}, r"\[SP06"),
        ({"documents": torch.tensor([0, 40, 30]), **SQUARE}, r"\[SP0612\] documents: cu_seqlens must rise"),
        ({"documents": torch.zeros(2, 7, dtype=torch.int32), **SQUARE}, r"\[SP0612\] documents must be \[1, 30\]"),
    ],
)
def test_what_does_not_fit(change, said):
    q, k, weights = whole_numbers(3, 20, 30, 4)
    with pytest.raises(ValueError, match=said):
        sparsec.nn.lightning_indexer(**{"q": q, "k": k, "weights": weights, "t": 3, **change})
