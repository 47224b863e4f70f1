"""`attend.weights` and `attend.kept` against dense attention in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import sparsec
from sparsec.runtime import weights
from sparsec.testing.programs import match_programs, programs

SCORED = "pattern p = past(9) | sinks(2) with softcap(3), alibi"
BY_HEAD = "pattern p = match h { 0 -> past(3) with softcap(2), 1 -> window(4), else -> stride(5) }"
DATA = "input doc: int[B, n] pattern p = causal & doc[q] == doc[k]"


def problem(n_q: int, n: int, heads: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n_q + n)
    q, k = torch.randn(2, heads, n_q, 16, generator=generator), torch.randn(2, heads // 2, n, 16, generator=generator)
    return 2 * q, k


def dense(attend: sparsec.Attend, q, k, dtype, offset: int | None = None, **inputs) -> tuple[torch.Tensor, ...]:
    """exp(score) of all pairs over its sum over those that are kept, and which are kept."""
    n_q, n = q.shape[2], k.shape[2]
    first = n - n_q if offset is None else offset
    kept = torch.from_numpy(attend.pattern.mask(n_q, n, first, **inputs))
    kept = kept[:, None] if kept.dim() == 3 and "doc" in inputs else kept
    s = q.to(dtype) @ k.to(dtype).repeat_interleave(2, 1).mT / 4
    score = attend.pattern.score_mod(n, q.shape[1], n_q=n_q) if attend.pattern.nodes.scores else None
    if score is not None:
        b, h, rows, keys = (torch.arange(size) for size in s.shape)
        s = score(s, b[:, None, None, None], h[:, None, None], rows[:, None], keys).expand_as(s)
    lse = torch.where(kept, s, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.where(lse == -torch.inf, 0, (s - lse).exp()), kept.expand_as(s), lse


@pytest.mark.parametrize(("n_q", "n"), [(40, 40), (13, 57), (1, 9)])
@pytest.mark.parametrize(
    "text", [SCORED, BY_HEAD, DATA, "pattern p = causal & (past(5) | top_blocks(2, 8, 8))", "pattern p = k < q - 6"]
)
def test_weights(text: str, n_q: int, n: int) -> None:
    q, k = problem(n_q, n)
    inputs = {"doc": torch.arange(2 * n).view(2, n) // 7} if text is DATA else {}
    attend = sparsec.compile(text, heads=4 if text is BY_HEAD else None)
    lse = attend(q, k, k, return_lse=True, **inputs)[1]
    rows = sorted({0, n_q // 2, n_q - 1})
    found = attend.weights(q, k, lse, rows, **inputs)
    data = {**inputs, **attend.choices(q, k)}
    wanted, kept, _ = (x[:, :, rows] for x in dense(attend, q, k, torch.float64, **data))
    low = dense(attend, q, k, torch.float32, **data)[0][:, :, rows]
    assert torch.equal(found != 0, kept)
    bound = 2 * ((low - wanted) * kept).abs().max() + torch.finfo(torch.float32).eps
    assert ((found - wanted) * kept).abs().max() <= bound
    torch.testing.assert_close(
        attend.weights(q, k, lse, n_q - 1, **inputs), found[:, :, -1:]
    )  # products of another shape


@pytest.mark.parametrize("text", [SCORED, "pattern p = causal & (past(5) | top_blocks(2, 8, 8))"])
def test_autocast_is_that_of_the_call(text: str) -> None:
    """Weights and choices are those of q and k in the type in which the call attended."""
    q, k = problem(40, 40)
    attend, low = sparsec.compile(text), [x.bfloat16() for x in (q, k)]
    lse = attend(*low, low[1], return_lse=True)[1]
    wanted, chosen = attend.weights(*low, lse, [0, 39]), attend.choices(*low)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(q, k, k, return_lse=True)[1]
        assert torch.equal(found, lse)
        assert torch.equal(attend.weights(q, k, found, [0, 39]), wanted)
        assert all(torch.equal(x, chosen[name]) for name, x in attend.choices(q, k).items())


@settings(max_examples=8)
@given(programs() | match_programs(), st.sampled_from([(30, 30), (11, 43), (43, 11)]))
def test_rows_sum_to_one(program, sizes) -> None:
    n_q, n = sizes
    try:
        attend = sparsec.compile(program.text, heads=program.heads)
    except sparsec.SparsecError:  # a set without any pair
        reject()
    q, k = problem(n_q, n, program.heads or 4) if not program.heads or program.heads % 2 == 0 else problem(n_q, n, 2)
    if program.heads and program.heads % 2:
        q, k = (x[:, :1].expand(-1, program.heads, -1, -1) for x in (q, k))
    offset = max(n - n_q, 0)
    lse = attend(q, k, k, q_offset=offset, return_lse=True)[1]
    sums = attend.weights(q, k, lse, range(n_q), q_offset=offset).sum(-1)
    torch.testing.assert_close(sums, (lse > -torch.inf).float())


@pytest.mark.parametrize("text", [SCORED, BY_HEAD, "pattern p = past(4) | k == 0"])
def test_kept(text: str) -> None:
    """Of causal attention for heads that are causal, of all pairs for others, with the same scores."""
    attend = sparsec.compile(text, heads=4 if text is BY_HEAD else None)
    q, k = problem(21, 50)
    whole = "match h { 0 -> causal with softcap(2), else -> full }" if text is BY_HEAD else "causal"
    whole += " with softcap(3), alibi" if text is SCORED else ""
    other = sparsec.compile(f"pattern p = {whole}", heads=4 if text is BY_HEAD else None)
    low = (dense(other, q, k, torch.float32)[0] * dense(attend, q, k, torch.float32)[1]).sum(-1)
    wanted = (dense(other, q, k, torch.float64)[0] * dense(attend, q, k, torch.float64)[1]).sum(-1)
    found = attend.kept(q, k)
    assert (found - wanted).abs().max() <= 2 * (low - wanted).abs().max() + 2 * torch.finfo(torch.float32).eps
    assert torch.equal(attend.kept(q, k, dense=other), found)
    assert torch.equal(other.kept(q, k), torch.ones(2, 4, 21))


def test_kept_with_sinks() -> None:
    """The sink is a column more, kept by every pattern."""
    attend, whole = sparsec.compile("pattern p = past(4) with alibi"), sparsec.compile("pattern p = causal with alibi")
    q, k = problem(21, 50)
    sinks = torch.tensor([-2.0, 0.0, 1.0, 5.0])
    shares = []
    for dtype in (torch.float32, torch.float64):
        lse = (dense(each, q, k, dtype)[2][..., 0] for each in (attend, whole))
        own, of_all = (torch.logaddexp(each, sinks[:, None].to(dtype)) for each in lse)
        shares.append((own - of_all).exp())
    low, wanted = shares
    found = attend.kept(q, k, sinks=sinks)
    assert (found - wanted).abs().max() <= 2 * (low - wanted).abs().max() + 2 * torch.finfo(torch.float32).eps


def test_kept_of_two_patterns_with_inputs() -> None:
    """Each is given its own; what neither knows is refused."""
    attend = sparsec.compile("input a: bool[n] pattern p = past(4) & a[k]")
    other = sparsec.compile("input b: bool[n] pattern p = causal & (past(4) | b[k])")
    q, k = problem(30, 30)
    a, b = torch.arange(30) % 3 > 0, torch.arange(30) % 7 == 0
    own, whole = attend(q, k, k, a=a, return_lse=True)[1], other(q, k, k, b=b, return_lse=True)[1]
    assert torch.equal(attend.kept(q, k, dense=other, a=a, b=b), weights.share(own, whole))
    with pytest.raises(TypeError, match=r"SP0611.*dropout_p"):
        attend.kept(q, k, a=a, dropout_p=0.1)


def test_rows_without_keys_keep_nothing() -> None:
    attend = sparsec.compile("pattern p = k < q - 6")
    assert torch.equal(attend.kept(*problem(30, 30))[:, :, :7], torch.zeros(2, 4, 7))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rows": [30]}, "SP0606"),
        ({"rows": [-1]}, "SP0606"),
        ({"rows": [0.5]}, "SP0606"),
        ({"rows": "a"}, "SP0606"),
        ({"rows": None}, "SP0606"),
        ({"lse": torch.zeros(2, 4, 29)}, "SP0601"),
        ({"lse": None}, "SP0601"),
        ({"k": torch.zeros(2, 3, 30, 16)}, "SP0604"),
        ({"q": torch.zeros(30, 16)}, "SP0601"),
        ({"doc": torch.zeros(30)}, "SP0620"),
    ],
)
def test_errors(change: dict[str, object], code: str) -> None:
    q, k = problem(30, 30)
    attend = sparsec.compile("pattern p = past(5)")
    with pytest.raises((ValueError, sparsec.SparsecError), match=code):
        attend.weights(**{"q": q, "k": k, "lse": torch.zeros(2, 4, 30), "rows": 0, **change})
