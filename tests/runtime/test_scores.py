"""Operators of patterns with scores against dense attention on a CPU, and scores against their texts read by Python."""

from __future__ import annotations

import inspect
import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sparsec
from sparsec.analysis.score_gradient import gradient
from sparsec.ir.reference import scored
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.dense_attention import check
from sparsec.testing.score_programs import score_programs

PATTERNS = [
    "pattern p = past(100) | sinks(4) with softcap(50), alibi",
    "pattern p = causal & (stride(16) | past(4)) with softcap(2)",
    "pattern p = abs(q // 8 - k // 8) <= 2 & abs(q % 8 - k % 8) <= 2 with alibi",
    "pattern p = random_keys(5, 1) | global(2) with softcap(1)",
    "score zero = 0.5\npattern p = window(30) with zero",
    "score far = s / (q + 1) - log(k + 1.0) + 0.5 * sqrt(abs(s)) if q - k > 9 else 2 ** s\npattern p = causal with far",
]
BY_HEAD = (
    "pattern p = match h { 0..2 -> causal & (stride(16) | past(4)) with softcap(h + 2), 2 -> past(8), "
    "else -> past(40) with (softcap(3), alibi) }"
)
CASES = [(203, 203, 4, 2, None), (61, 150, 4, 1, None), (5, 77, 4, 2, None), (150, 61, 4, 4, 20), (1, 33, 4, 2, None)]


@pytest.mark.parametrize("text", [*PATTERNS, BY_HEAD])
def test_dense_attention(text: str) -> None:
    attend = sparsec.compile(text, heads=4 if text is BY_HEAD else None)
    for n_q, n_k, heads, kv_heads, q_offset in CASES:
        for dtype in (torch.float32, torch.float64):
            check(attend, n_q, n_k, heads=heads, kv_heads=kv_heads, dtype=dtype, q_offset=q_offset)


@settings(max_examples=6)
@given(score_programs(), st.sampled_from([(20, 20), (40, 75), (70, 70)]))
def test_random_scores(text: str, sizes: tuple[int, int]) -> None:
    attend = sparsec.compile(f"{text}pattern p = causal & (stride(3) | past(9)) | k < 2 with x")
    check(attend, *sizes, heads=3)


@pytest.mark.parametrize("text", [PATTERNS[-1], BY_HEAD])
@pytest.mark.parametrize("n_q", [24, 5])
def test_gradcheck(text: str, n_q: int) -> None:
    """Also of the log-sum-exp, against differences of the forward pass."""
    attend = sparsec.compile(text, heads=4 if text is BY_HEAD else None)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, 4, n_q, 16, dtype=torch.float64, generator=generator).requires_grad_()
    k, v = (torch.randn(1, 2, 24, 16, dtype=torch.float64, generator=generator).requires_grad_() for _ in "kv")
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, return_lse=True), (q, k, v), fast_mode=True)


@pytest.mark.parametrize("text", [PATTERNS[0], BY_HEAD])
def test_documents_and_offsets(text: str) -> None:
    """Each document is what it would be alone, its positions, its n and its gradients."""
    attend = sparsec.compile(text, heads=4 if text is BY_HEAD else None)
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(1, 4, 150, 16, generator=generator).requires_grad_() for _ in "qkvg")
    edges = [0, 70, 70, 90, 150]
    out = attend(q, k, v, documents=torch.tensor(edges, dtype=torch.int32))
    alone = [attend(q[:, :, a:b], k[:, :, a:b], v[:, :, a:b]) for a, b in pairwise(edges) if a < b]
    torch.testing.assert_close(out, torch.cat(alone, 2))
    found = torch.autograd.grad(out, (q, k, v), g)
    wanted = torch.autograd.grad(torch.cat(alone, 2), (q, k, v), g)
    torch.testing.assert_close(found, wanted)


def test_a_derivative_that_is_a_large_integer() -> None:
    """SymPy knows 1e25 as an integer, which no tensor has."""
    attend = sparsec.compile("score x = tanh(s * 1.0e25)\npattern p = past(2) with x")
    q, k, v = torch.randn(3, 1, 1, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind(0)
    q.requires_grad_()
    attend(q, k, v).sum().backward()
    assert q.grad is not None and not q.grad.any()  # tanh is 1 or -1 everywhere


UNDEFINED = ["1 / (s - s)", "s + exp(1000.0 * s * s)", "s + log(q - k + 0.0)", "sqrt(s - 100)"]


@pytest.mark.parametrize("expression", UNDEFINED)
@pytest.mark.parametrize("n_q", [40, 3])
def test_what_is_not_finite_is_as_in_the_formula(expression: str, n_q: int) -> None:
    """Rows with a score that is infinite or not a number, and those without keys, which stay 0."""
    attend = sparsec.compile(f"score x = {expression}\npattern p = past(9) & q % 3 != 1 with x")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 16, generator=generator, dtype=torch.float64) for n in (n_q, 40, 40))
    out, lse = attend(q, k, v, return_lse=True)
    mask = attend.pattern.mask(n_q, 40)
    positions = np.arange(n_q) + 40 - n_q
    s = (q @ k.mT / 4).numpy()
    with np.errstate(all="ignore"):
        score = attend.pattern.nodes.score(0)
        t = np.stack([scored(score, s[0, h], positions, h, 2) for h in range(2)])
    t = torch.from_numpy(np.where(mask, t, -np.inf))
    wanted = torch.softmax(t, -1) @ v[0]
    empty = (t == -np.inf).all(-1)
    assert empty.any()
    torch.testing.assert_close(out[0], wanted.masked_fill(empty[..., None], 0.0), equal_nan=True)
    assert (lse[0][empty] == -math.inf).all()


@settings(max_examples=40)
@example("score x = s + 4 * tanh(exp(-abs((s if h == 0 else (-s)))) / 4)\n", 0, 0, 1, 1.0)
@example("score x = s + min(s if h == 0 else -s, 0.5 * s if k == 0 else 2 * s)\n", 0, 1, 1, 1.0)
@given(score_programs(), st.integers(0, 5), st.integers(0, 7), st.integers(0, 3), st.floats(-3, 3))
def test_scores_are_what_their_text_says(text: str, row: int, key: int, head: int, s: float) -> None:
    """Read by Python, pair by pair; and the derivative is that of small differences, away from kinks."""
    pattern = lower(parse(Source("x.spat", f"{text}pattern p = full with x")))
    node = pattern.score(0) or lower(parse(Source("x.spat", "score x = s + 0 * s pattern p = full with x"))).score(0)
    functions = {name: getattr(math, name) for name in ("tanh", "exp", "log", "sqrt")} | {"abs": abs}
    names = {"q": row + 2, "k": key, "n": 8, "h": head, "H": 4, "min": min, "max": max, **functions}
    python = text.removeprefix("score x = ").replace(" & h", " and h").replace("~(k == q) | ", "k != q or ").strip()

    def found(at: float, of=node) -> float:
        return float(scored(of, np.full((6, 8), at), np.arange(6) + 2, head, 4)[row, key])

    def meant(at: float) -> float:
        return eval(python, {"s": at, **names})

    assert found(s) == pytest.approx(meant(s), rel=1e-9, abs=1e-9)
    step = 1e-5
    left, right = (meant(s) - meant(s - step)) / step, (meant(s + step) - meant(s)) / step
    if abs(left - right) < 1e-3 * (1 + abs(left)):
        assert found(s, gradient(node)) == pytest.approx((left + right) / 2, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("text", [PATTERNS[0], PATTERNS[-1], BY_HEAD])
def test_score_mod_is_the_reference(text: str) -> None:
    """As FlexAttention calls it: index tensors of no dimension, mapped over all pairs."""
    bound = sparsec.compile(text, heads=4 if text is BY_HEAD else None).pattern
    modified = bound.score_mod(12, 4, n_q=9)
    s = torch.randn(4, 9, 12, generator=torch.Generator().manual_seed(0))
    of_keys = torch.vmap(modified, (0, None, None, None, 0))
    of_pairs = torch.vmap(of_keys, (0, None, None, 0, None))
    found = torch.vmap(of_pairs, (0, None, 0, None, None))(s, torch.tensor(0), *map(torch.arange, (4, 9, 12)))
    nodes = bound.nodes
    for head, index in enumerate(nodes.head_conditions or (0,) * 4):
        score, own = nodes.score(index), s[head].double().numpy()
        wanted = own if score is None else scored(score, own, np.arange(9) + 3, head, 4)
        assert found[head].numpy() == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_score_mod_of_a_pattern_without_scores() -> None:
    bound = sparsec.compile("pattern p = causal").pattern
    assert bound.score_mod(12, 4) is None
    with pytest.raises(ValueError, match=r"SP0620.*`t`"):
        bound.score_mod(12, 4, t=torch.zeros(3))
    with pytest.raises(ValueError, match="heads must be"):
        bound.score_mod(12)


def test_a_pattern_without_scores_is_printed_without() -> None:
    scores = "", " with alibi", " with softcap(9)", " with half"
    attends = (sparsec.compile(f"score half = 0.5 pattern p = past(9){more}") for more in scores)
    plain, falling, capped, constant = (inspect.getsource(sys.modules[each._function.__module__]) for each in attends)
    assert "_score" not in plain
    assert "_score(s" in falling
    assert "_score_gradient(s" not in falling  # it is 1
    assert "_score_gradient(s" in capped
    assert "_weight(s" in capped and "_exponent_and_slope(s" in capped  # a bound is known
    assert "_weight(s" not in falling and "_exponent_and_slope(s" not in falling
    assert "_exponent_and_slope(s" not in constant  # it is none of products, and would have no shape


def test_entries_by_distance_are_read_once_where_tiles_stand_side_by_side() -> None:
    text = "input t: float[H, d] score near = s + t[min(q - k, 7)] pattern p = {} with near"
    attends = (sparsec.compile(text.format(each)) for each in ("past(9)", "causal & stride(4)"))
    plain, strided = (inspect.getsource(sys.modules[each._function.__module__]) for each in attends)
    assert "sk.read_by_distance(_index_0" in plain
    assert "sk.read_listed(" in strided and "read_by_distance" not in strided
