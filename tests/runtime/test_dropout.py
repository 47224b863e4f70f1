"""`dropout_p=`: weights dropped after the softmax by a mask that is a function of a seed and of where a pair is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dropout import dense, is_kept, philox
from support.generated import (
    attend_of,
    listed_module_of,
    mask_of,
    module_of,
    pattern_of,
    random_pattern,
    spread_module_of,
)
from support.spread import SPREAD
from torch.utils.checkpoint import checkpoint

import sparsec
import sparsec.nn
from sparsec.kernels.weights.dropout import _philox, dropout_mask
from sparsec.testing.programs import programs

PAST = pattern_of("pattern p = past(7)")
P, SEED = 0.3, 2**40 + 5


def problem(n_q: int, n: int, heads: int = 4, seed: int = 0, batch: int = 2) -> list[torch.Tensor]:
    """q, k, v and the gradients of out and lse."""
    generator = torch.Generator().manual_seed(seed)
    kv_heads = heads // 2 if heads % 2 == 0 else heads
    queries, keys = (batch, heads, n_q, 16), (batch, kv_heads, n, 16)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in (queries, keys, keys, queries, queries[:3])
    ]


def assert_exact(attend, mask, given: list[torch.Tensor], kept: torch.Tensor, score=lambda s: s, **call) -> None:
    """out, lse and all gradients; 1e-12 is four thousand times the error of a product of float64."""
    *tensors, g, dlse = given
    tensors = [x.clone().requires_grad_() for x in tensors]
    found = attend(*tensors, dropout_p=P, dropout_seed=SEED, return_lse=True, **call)
    wanted = dense(mask, kept, *tensors, P, 0.25, score)
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)
    for x, y in zip(*(torch.autograd.grad(each, tensors, [g, dlse]) for each in (found, wanted)), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def kept_of(given: list[torch.Tensor], q_offset: int | None = None) -> torch.Tensor:
    q, k = given[:2]
    return dropout_mask((*q.shape[:3], k.shape[2]), P, SEED, q_offset)


# ---------------------------------------------------------------- results


@settings(max_examples=3)
@given(programs(), st.sampled_from([(60, 60), (33, 70), (2, 50), (1, 1)]))
def test_programs(program, sizes):
    pattern = random_pattern(program)
    numbers = problem(*sizes, pattern.heads or 4)
    assert_exact(attend_of(pattern), mask_of(pattern, *sizes), numbers, kept_of(numbers))


@pytest.mark.full
@settings(max_examples=200)
@given(programs(), st.integers(1, 90), st.integers(0, 90))
def test_many_programs(program, n_q, before):
    pattern = random_pattern(program)
    numbers = problem(n_q, n_q + before, pattern.heads or 4)
    assert_exact(attend_of(pattern), mask_of(pattern, n_q, n_q + before), numbers, kept_of(numbers))


@pytest.mark.parametrize(
    "text", ["causal & (past(16) | stride(16))", *(pytest.param(each, marks=pytest.mark.full) for each in SPREAD)]
)
def test_layouts(text):
    pattern, numbers = pattern_of(f"pattern p = {text}"), problem(50, 75)
    assert_exact(spread_module_of(pattern).p, mask_of(pattern, 50, 75), numbers, kept_of(numbers))


def test_lists_of_tiles():
    pattern, numbers = pattern_of("pattern p = abs(q // 8 - k // 8) <= 1 & abs(q % 8 - k % 8) <= 1"), problem(70, 130)
    assert_exact(listed_module_of(pattern).p, mask_of(pattern, 70, 130), numbers, kept_of(numbers))


def test_heads_with_patterns_of_their_own():
    pattern = pattern_of("pattern p = match h { 0..2 -> past(9), 2 -> k < 0 | q == k & q > 5, else -> stride(3) }", 4)
    numbers = problem(40, 40)
    assert_exact(attend_of(pattern), mask_of(pattern, 40, 40), numbers, kept_of(numbers))


def test_data_of_the_call():
    attend = sparsec.compile("input w: int[B, H] pattern p = 0 <= q - k < w[h]", heads=4)
    w = torch.tensor([[1, 3, 5, 0], [2, 2, 9, 30]])
    far = torch.arange(30)[:, None] - torch.arange(30)
    numbers = problem(30, 30)
    assert_exact(attend, (far >= 0) & (far < w[..., None, None]), numbers, kept_of(numbers), w=w)


@pytest.mark.parametrize("n_q", [40, 3])
def test_scores(n_q):
    """Weights are dropped after a score."""
    pattern, numbers = pattern_of("pattern p = past(9) with softcap(2)"), problem(n_q, 40)
    mask = mask_of(pattern, n_q, 40)
    assert_exact(attend_of(pattern), mask, numbers, kept_of(numbers), score=lambda s: 2 * (s / 2).tanh())


def test_sinks():
    """A sink is a key that every row sees, with a value of 0: whether its weight is dropped does not show."""
    attend, (q, k, v, g, dlse) = attend_of(PAST), problem(40, 40)
    sinks = torch.randn(4, dtype=torch.float64)
    kept = dropout_mask((2, 4, 40, 40), P, SEED)
    tensors = [x.clone().requires_grad_() for x in (q, k, v, sinks)]
    found = attend(*tensors[:3], sinks=tensors[3], dropout_p=P, dropout_seed=SEED, return_lse=True)
    wide_k, wide_v = (x.repeat_interleave(2, 1) for x in tensors[1:3])
    scores = (tensors[0] @ wide_k.mT * 0.25).masked_fill(~torch.as_tensor(mask_of(PAST, 40, 40)), float("-inf"))
    scores = torch.cat([scores, tensors[3].view(1, -1, 1, 1).expand(2, 4, 40, 1)], -1)
    wanted = (scores.softmax(-1)[..., :-1] * kept / (1 - P)) @ wide_v, scores.logsumexp(-1)
    for x, y in zip(*(torch.autograd.grad(each, tensors, [g, dlse]) for each in (found, wanted)), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_positions():
    """The mask is of positions: later queries alone have what they had among all."""
    attend, (q, k, v, *_) = attend_of(PAST), problem(60, 60)
    call = {"dropout_p": P, "dropout_seed": SEED}
    whole = attend(q, k, v, **call)
    torch.testing.assert_close(attend(q[:, :, 20:41], k, v, q_offset=20, **call), whole[:, :, 20:41])
    torch.testing.assert_close(attend(q[:, :, -3:], k, v, **call), whole[:, :, -3:])
    tail = attend(q[:, :, 40:], k[:, :, 30:], v[:, :, 30:], q_offset=40, k_offset=30, **call)
    torch.testing.assert_close(tail, whole[:, :, 40:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types(dtype):
    """The same weights are dropped in every type."""
    q, k, v, *_ = (x.to(dtype) for x in problem(40, 40))
    out = attend_of(PAST)(q, k, v, dropout_p=P, dropout_seed=SEED)
    assert out.dtype == dtype
    kept, scale = dropout_mask((2, 4, 40, 40), P, SEED), 16**-0.5
    exact, _ = dense(mask_of(PAST, 40, 40), kept, *(x.double() for x in (q, k, v)), P, scale)
    low, _ = dense(mask_of(PAST, 40, 40), kept, q, k, v, P, scale)
    bound = 2 * (low - exact).abs().max() + torch.finfo(dtype).eps * exact.abs().max()
    assert (out - exact).abs().max() <= bound


# ---------------------------------------------------------------- packed rows


def alone(attend, tensors: list[torch.Tensor], first: int, stop: int, number: int) -> list[torch.Tensor]:
    """What document `number` gives where it is that row of a batch whose other rows hold nothing of it."""
    own = [x[:, :, first:stop].expand(number + 1, -1, -1, -1).clone().requires_grad_() for x in tensors[:3]]
    out, lse = attend(*own, dropout_p=P, dropout_seed=SEED, return_lse=True)
    g, dlse = (x[:, :, first:stop].expand(number + 1, *x.shape[1:2], *x[0, 0, first:stop].shape) for x in tensors[3:])
    return [x[number] for x in (out, lse, *torch.autograd.grad([out, lse], own, [g, dlse]))]


@pytest.mark.parametrize(
    "text",
    [
        "past(6)",
        *(pytest.param(x, marks=pytest.mark.full) for x in ("causal & (past(6) | stride(4))", "random_keys(3, 1)")),
    ],
)
def test_documents(text):
    """Document i has the mask of row i, however the call hands it over."""
    attend, numbers = spread_module_of(pattern_of(f"pattern p = {text}")).p, problem(60, 60, batch=1)
    ends = [3, 20, 20, 21, 55]
    tensors = [x.clone().requires_grad_() for x in numbers[:3]]
    call = {"dropout_p": P, "dropout_seed": SEED, "return_lse": True}
    found = attend(*tensors, documents=torch.tensor(ends), **call)
    gradients = torch.autograd.grad(found, tensors, numbers[3:])
    for number, (first, stop) in enumerate([(3, 20), (20, 20), (20, 21), (21, 55)]):
        if first < stop:
            wanted = alone(attend, numbers, first, stop, number)
            for x, y in zip(wanted, (*found, *gradients), strict=True):
                torch.testing.assert_close(x, y[0, :, first:stop], rtol=1e-12, atol=1e-12)
    start = torch.tensor([[0] * 20 + [20] + [21] * 39])
    by_start, _ = attend(*numbers[:3], documents=start, **call)
    for number, (first, stop) in enumerate([(0, 20), (20, 21), (21, 60)]):
        torch.testing.assert_close(by_start[0, :, first:stop], alone(attend, numbers, first, stop, number)[0])


def test_lengths_are_documents():
    """Row i of a padded batch, and document i of the same tokens packed."""
    attend, (q, k, v, *_) = attend_of(pattern_of("pattern p = past(9)")), problem(30, 30, batch=3)
    lengths, call = [30, 7, 18], {"dropout_p": P, "dropout_seed": SEED}
    padded = attend(q, k, v, lengths=torch.tensor(lengths), **call)
    rows = [torch.cat([x[i : i + 1, :, :n] for i, n in enumerate(lengths)], 2) for x in (q, k, v)]
    packed = attend(*rows, documents=torch.tensor([0, 30, 37, 55]), **call)
    torch.testing.assert_close(packed[0], torch.cat([padded[i, :, :n] for i, n in enumerate(lengths)], 1))


# ---------------------------------------------------------------- seeds


def test_where_the_seed_comes_from():
    attend, (q, k, v, *_) = attend_of(PAST), problem(40, 40)

    def call(**how) -> torch.Tensor:
        return attend(q, k, v, dropout_p=P, **how)

    given = [call(dropout_seed=seed) for seed in (5, torch.tensor(5), torch.tensor([5], dtype=torch.int32))]
    assert all(torch.equal(x, given[0]) for x in given)
    own = torch.Generator().manual_seed(1)
    drawn = [call(generator=own), call(generator=own), call(generator=torch.Generator().manual_seed(1))]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    torch.manual_seed(3)
    default = [call(), call()]
    torch.manual_seed(3)
    assert torch.equal(call(), default[0])
    assert not torch.equal(*default)


def test_nothing_is_drawn_without_dropout():
    attend, (q, k, v, *_) = attend_of(PAST), problem(40, 40)
    before = torch.random.get_rng_state()
    assert torch.equal(attend(q, k, v, dropout_p=0.0, dropout_seed=5), attend(q, k, v))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_checkpointing():
    """Recomputed, a layer drops what it dropped."""
    attend, (q, k, v, g, _) = attend_of(PAST), problem(40, 40)

    def layer(q: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, dropout_p=P)

    found = []
    for run in (layer, lambda q: checkpoint(layer, q, use_reentrant=False)):
        torch.manual_seed(0)
        q.requires_grad_()
        out = run(q)
        found.append((out, *torch.autograd.grad(out, q, g)))
    for x, y in zip(*found, strict=True):
        assert torch.equal(x, y)


def test_a_module_drops_in_training():
    q, k, v, *_ = problem(40, 40)
    attend = sparsec.compile("pattern p = past(7)")
    module = sparsec.nn.Attend(attend, dropout=P)
    assert "dropout=0.3" in repr(module)
    torch.manual_seed(0)
    training = module(q, k, v)
    torch.manual_seed(0)
    assert torch.equal(training, attend(q, k, v, dropout_p=P))
    assert torch.equal(module.eval()(q, k, v), attend(q, k, v))
    with pytest.raises(ValueError, match=r"SP0606.*dropout"):
        sparsec.nn.Attend(attend, dropout=1.5)


# ---------------------------------------------------------------- torch


def test_the_operator_is_sound():
    q, k, v, g, _ = problem(20, 20)
    operator, last = module_of(PAST)._OPERATOR, (None, [], 0.25, 0, torch.tensor([[5, 0], [5, 1]]), P, True, [])
    out, lse = operator.forward(q, k, v, None, *last)
    checks = "test_schema", "test_autograd_registration", "test_faketensor"
    torch.library.opcheck(operator.backward, (g, q, k, v, out, lse, None, *last), test_utils=checks)
    tensors = [x.requires_grad_() for x in (q, k, v)]
    torch.library.opcheck(operator.forward, (*tensors, None, *last), test_utils=checks)


@pytest.mark.full
def test_compiled_as_one_graph():
    q, k, v, *_ = problem(40, 40)
    q.requires_grad_()
    attend = attend_of(PAST)

    def loss(q: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, dropout_p=P).square().sum()

    def seeded(q: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, dropout_p=P, dropout_seed=seed).square().sum()

    compiled = torch.compile(seeded, fullgraph=True, backend="aot_eager")
    for number in (1, 2):
        seed = torch.tensor([number])
        found, wanted = (torch.autograd.grad(each(q, seed), q)[0] for each in (compiled, seeded))
        torch.testing.assert_close(found, wanted)
    drawing = torch.compile(loss, fullgraph=True, backend="aot_eager")
    results = []
    for each in (drawing, loss):
        torch.manual_seed(0)
        results.append(torch.autograd.grad(each(q), q)[0])
    torch.testing.assert_close(*results)
    assert not torch.equal(drawing(q), drawing(q))


def test_batching():
    """One seed for all of a batch drops alike in each; seeds of their own as single calls do."""
    q, k, v, g, _ = problem(20, 20)
    seeds = torch.tensor([[1], [2], [3]])
    many = torch.stack([q, -q, 2 * q])

    def call(q: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
        return attend_of(PAST)(q, k, v, dropout_p=P, dropout_seed=seed)

    alike = torch.vmap(call, (0, None))(many, seeds[0])
    torch.testing.assert_close(alike, torch.stack([call(x, seeds[0]) for x in many]))
    of_their_own = torch.vmap(call, (None, 0))(q, seeds)
    torch.testing.assert_close(of_their_own, torch.stack([call(q, seed) for seed in seeds]))
    gradient = torch.func.grad(lambda q, seed: (call(q, seed) * g).sum())
    torch.testing.assert_close(
        torch.vmap(gradient, (None, 0))(q, seeds), torch.stack([gradient(q, seed) for seed in seeds])
    )
    with pytest.raises(RuntimeError, match="random"):
        torch.vmap(lambda q: attend_of(PAST)(q, k, v, dropout_p=P))(many)


def test_no_second_derivative():
    q, k, v, *_ = problem(20, 20)
    q.requires_grad_()
    out = attend_of(PAST)(q, k, v, dropout_p=P, dropout_seed=0)
    (gradient,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="SP0607"):
        torch.autograd.grad(gradient.sum(), q)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"dropout_p": 1.0}, r"SP0606.*below 1, got 1\.0"),
        ({"dropout_p": -0.1}, r"SP0606.*0 or more.*got -0\.1"),
        ({"dropout_p": float("nan")}, "SP0606.*below 1, got nan"),
        ({"dropout_p": "0.1"}, "SP0606.*a number, got '0.1'"),
        ({"dropout_p": True}, "SP0606.*a number, got True"),
        ({"dropout_p": 0.1, "dropout_seed": 1.5}, r"SP0606.*an integer.*got 1\.5"),
        ({"dropout_p": 0.1, "dropout_seed": 2**63}, "SP0606.*below 2"),
        (
            {"dropout_p": 0.1, "dropout_seed": torch.zeros(2, dtype=torch.int64)},
            r"SP0606.*\[1\], got torch.int64.*\(2,\)",
        ),
        ({"dropout_p": 0.1, "dropout_seed": torch.zeros(1)}, r"SP0606.*got torch.float32"),
        ({"dropout_p": 0.1, "dropout_seed": torch.zeros(1, dtype=torch.int64, device="meta")}, "SP0603.*meta"),
        ({"dropout_p": 0.1, "dropout_seed": 1, "generator": torch.Generator()}, "SP0606.*together"),
        ({"dropout_p": 0.1, "generator": 5}, "SP0606.*torch.Generator, got int"),
        ({"dropout_seed": 1}, "SP0606.*dropout_seed says which.*dropout_p, how many, is missing"),
        ({"generator": torch.Generator()}, "SP0606.*generator says which.*dropout_p, how many, is missing"),
        ({"dropout_p": 0.0, "dropout_seed": 1.5}, "SP0606"),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        sparsec.compile("pattern p = past(7)")(*problem(8, 8)[:3], **call)


def test_other_names_for_it():
    with pytest.raises(TypeError, match=r"SP0611.*`dropout_p` here"):
        sparsec.compile("pattern p = past(7)")(*problem(8, 8)[:3], attn_dropout=0.1)


# ---------------------------------------------------------------- the mask


def test_known_answers():
    """Those of Random123 for Philox-4x32-10; the operator's own and the one in plain integers agree."""
    assert philox((0, 0), (0, 0, 0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert philox((0xA4093822, 0x299F31D0), pi) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)
    numbers = [(0, 0, 0, 0), (-1, 5, 7, 9), (2**63 - 1, 2**30, 64, 1000), (-(2**63), 1, 0, 3)]
    for seed, q, head, sequence in numbers:
        found = _philox(*(torch.tensor([x]) for x in (seed, q, head, sequence)))
        word, *_ = philox((seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF), (q, head, sequence, 0))
        assert int(found) & 0xFFFFFFFF == word


@pytest.mark.parametrize("p", [1e-9, 0.1, 0.5, 0.999, 1 - 1e-15])
def test_mask_pair_by_pair(p):
    mask = sparsec.Attend.dropout_mask((3, 2, 5, 90), p, -7, q_offset=1000)
    rng = np.random.default_rng(0)
    for b, h, i, k in zip(*(rng.integers(size, size=200).tolist() for size in mask.shape), strict=True):
        assert mask[b, h, i, k] == is_kept(-7, b, h, 1000 + i, k, p)


def test_quality():
    """Means, correlations and joint counts at fixed seeds, within four standard deviations of what chance gives."""
    p, far = 0.1, 4.0
    gone = (~dropout_mask((2, 2, 128, 1024), p, 12345)).double()
    z = (gone - p) / math.sqrt(p * (1 - p))

    def score(products: torch.Tensor) -> float:
        return abs(products.sum().item()) / math.sqrt(products.numel())

    assert score(z) < far
    assert score(z[0] * z[1]) < far
    assert score(z[:, 0] * z[:, 1]) < far
    for other in (12346, 12345 + 2**32):
        again = (~dropout_mask((2, 2, 128, 1024), p, other)).double()
        assert score(z * (again - p) / math.sqrt(p * (1 - p))) < far
    for shift in (1, 2, 4, 7, 8, 16, 24, 32, 64):
        assert score(z[..., shift:] * z[..., :-shift]) < far
        assert score(z[:, :, shift:] * z[:, :, :-shift]) < far
    for sums, count in ((gone.sum(-1), 1024), (gone.sum(-2), 128)):
        ratio = (sums.var() / (count * p * (1 - p))).item()
        assert abs(ratio - 1) < far * math.sqrt(2 / sums.numel())


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_keys_that_share_a_step(p):
    """The four keys of a first step, whose positions differ in 8 and 16 alone: 16 outcomes as often as by chance."""
    gone = ~dropout_mask((2, 2, 128, 1024), p, 99)
    fours = gone.view(-1, 32, 4, 8).movedim(2, -1).reshape(-1, 4)
    counts = torch.bincount((fours * torch.tensor([1, 2, 4, 8])).sum(-1), minlength=16).double()
    wanted = torch.tensor([math.prod(p if code >> bit & 1 else 1 - p for bit in range(4)) for code in range(16)])
    wanted *= len(fours)
    assert ((counts - wanted) ** 2 / wanted).sum() < 15 + 4 * math.sqrt(30)


def test_no_row_is_another_one_shifted():
    """Of all pairs of rows and all shifts, none agrees more than the largest of as many chance numbers would."""
    p = 0.5
    z = (~dropout_mask((1, 1, 96, 1024), p, 4)).double()[0, 0] * 2 - 1
    spectrum = torch.fft.rfft(z, 2048)
    correlations = torch.fft.irfft(spectrum[:, None].conj() * spectrum[None], 2048) / 32  # of 1024 products at most
    correlations.diagonal().zero_()
    most = math.sqrt(2 * math.log(correlations.numel()))
    assert correlations.abs().max() < most + 0.5
