"""Scores on a CUDA device, and the gradients of the float inputs that they read, against dense attention."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from support.exact import assert_as_exact
from support.generated import attend_of, module_of, pattern_of, spread_module_of
from support.on_gpu import HALVES, check
from support.score_inputs import BY_HEAD, TEXTS, Sequence, dense, dense_of_sequences, drawn_inputs

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

HEADS, KV_HEADS = 4, 2
SCORED = [
    "past(300) | sinks(4) with softcap(2), alibi",
    "causal & (stride(16) | past(64)) with softcap(2)",
    "window(33) | global(3) with alibi",
]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("text", SCORED)
def test_scores(text: str, dtype: torch.dtype) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    check(pattern, 900, 1300, attend=spread_module_of(pattern).p, heads=4, kv_heads=2, head_size=64, dtype=dtype)


def drawn(n_q: int, n: int, batch: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """q, k, v and the gradients of out and of the log-sum-exp."""
    generator = torch.Generator().manual_seed(0)
    queries, keys = (batch, HEADS, n_q, 64), (batch, KV_HEADS, n, 64)
    shapes = queries, keys, keys, queries, queries[:3]
    return [torch.randn(shape, generator=generator).to("cuda", dtype) for shape in shapes]


def results(attend, drawn: list[torch.Tensor], inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """out, lse and every gradient, by name."""
    q, k, v, g, dlse = drawn
    leaves = {"q": q, "k": k, "v": v, **inputs}
    leaves = {name: x.clone().requires_grad_() for name, x in leaves.items() if x.is_floating_point()}
    own = {name: leaves.get(name, x) for name, x in inputs.items()}
    out, lse = attend(*(leaves[name] for name in "qkv"), own)
    there = lse.isfinite()  # a row without a key has no gradient
    total = (out * g).sum() + (lse * dlse.to(lse.dtype))[there].sum()
    gradients = torch.autograd.grad(total, [*leaves.values()])
    return {"out": out, "lse": lse[there], **dict(zip(leaves, gradients, strict=True))}


@pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, *(pytest.param(dtype, marks=pytest.mark.full) for dtype in (torch.float16, torch.float32))],
    ids=str,
)
@pytest.mark.parametrize(
    ("name", "n_q", "n", "q_offset"),
    [
        ("all", 700, 700, 0),
        ("all", 500, 333, 40),
        ("pairs", 300, 300, 0),
        ("heads", 400, 501, 101),
        ("strided", 900, 900, 0),
        ("random", 300, 300, 0),
        ("data", 400, 400, 0),
        ("all", 1, 300, 299),
    ],
)
def test_inputs(name: str, n_q: int, n: int, q_offset: int, dtype: torch.dtype) -> None:
    """No further from float64 than twice what dense attention in the same type is, and roundings of what is summed."""
    pattern = pattern_of(TEXTS[name], heads=HEADS if name in BY_HEAD else None)
    attend = (spread_module_of if name == "strided" else module_of)(pattern).p
    tensors, inputs = drawn(n_q, n, 2, dtype), drawn_inputs(pattern, 2, HEADS, n, device="cuda")
    exact = {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}
    found = results(lambda *x: attend(*x[:3], scale=0.125, q_offset=q_offset, return_lse=True, **x[3]), tensors, inputs)
    wide = [x.double() for x in tensors]
    wanted, plain = (
        results(lambda *x: dense(pattern, *x, 0.125, q_offset), *on) for on in ((wide, exact), (tensors, inputs))
    )
    sizes = sums_of_parts(lambda *x: dense(pattern, *x, 0.125, q_offset), wide, exact)
    assert_as_exact(found.values(), wanted.values(), plain.values(), sizes.values())


def sums_of_parts(attend, drawn: list[torch.Tensor], inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of every gradient, the absolute values of what some rows each add to it: gradients of inputs cancel over rows."""
    q, k, v, g, dlse = drawn
    whole = results(attend, drawn, inputs)
    sums = {name: x.abs() if name in ("out", "lse") else torch.zeros_like(x) for name, x in whole.items()}
    for rows in torch.arange(q.shape[2], device=q.device).split(16):
        some = torch.zeros(q.shape[2], 1, device=q.device, dtype=g.dtype).index_fill_(0, rows, 1)
        part = results(attend, [q, k, v, g * some, dlse * some[:, 0]], inputs)
        for name in sums.keys() - {"out", "lse"}:
            sums[name] += part[name].abs()
    return sums


@pytest.mark.parametrize("name", ["strided", "pairs"])
def test_sums_are_those_of_one_order(name: str) -> None:
    """Bit for bit, in every run."""
    pattern = pattern_of(TEXTS[name])
    attend, tensors = attend_of(pattern), drawn(800, 800, 2, torch.bfloat16)
    inputs = drawn_inputs(pattern, 2, HEADS, 800, device="cuda")
    first, second = (results(lambda *x: attend(*x[:3], return_lse=True, **x[3]), tensors, inputs) for _ in "ab")
    for key, x in first.items():
        assert torch.equal(x, second[key]), key


def test_repeated_calls_take_new_inputs() -> None:
    pattern = pattern_of(TEXTS["strided"])
    q, k, v, *_ = drawn(300, 300, 1, torch.bfloat16)
    attend = attend_of(pattern)
    for seed in range(3):
        inputs = {key: x + seed for key, x in drawn_inputs(pattern, 1, HEADS, 300, device="cuda").items()}
        with torch.no_grad():
            first, second = (attend(q, k, v, **inputs) for _ in "ab")
        watched = attend(q, k, v, **{key: x.clone().requires_grad_() for key, x in inputs.items()})
        assert torch.equal(first, second)
        assert torch.equal(first, watched)


SEQUENCE_TEXTS = ["all", "pairs", "strided", "data", "documents"]


@pytest.mark.parametrize("name", SEQUENCE_TEXTS)
def test_documents(name: str) -> None:
    """Packed, and one document after the other."""
    ends = [0, 200, 200, 201, 600]
    alone = [Sequence(0, first, stop) for first, stop in pairwise(ends)]
    check_sequences(name, 1, 650, alone, documents=torch.tensor(ends, device="cuda", dtype=torch.int32))


@pytest.mark.parametrize("name", SEQUENCE_TEXTS[:-1])  # the last is refused: its sequences go one by one
def test_rows_with_lengths_and_offsets(name: str) -> None:
    """Keys of a row begin at a position of its own, and so do the entries of inputs."""
    lengths, offsets = [300, 250, 430], [0, 37, 130]
    alone = [
        Sequence(row, 0, min(n - first, 300), first)
        for row, (n, first) in enumerate(zip(lengths, offsets, strict=True))
    ]
    numbers = (torch.tensor(x, device="cuda", dtype=torch.int32) for x in (lengths, offsets))
    check_sequences(name, 3, 300, alone, **dict(zip(("lengths", "k_offset"), numbers, strict=True)))


def check_sequences(name: str, batch: int, length: int, alone: list[Sequence], **given) -> None:
    """As exact as dense attention of each sequence alone in the same type, and the same bits again."""
    pattern = pattern_of(TEXTS[name])
    attend, tensors = attend_of(pattern), drawn(length, length, batch, torch.bfloat16)
    inputs = drawn_inputs(pattern, batch, HEADS, length, device="cuda")
    alone = [each for each in alone if each.first < each.stop]

    def packed() -> dict[str, torch.Tensor]:
        return results(lambda *x: attend(*x[:3], **given, scale=0.125, return_lse=True, **x[3]), tensors, inputs)

    found, again = packed(), packed()
    for key, x in found.items():
        assert torch.equal(x, again[key]), key
    exact = {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}
    wide = [x.double() for x in tensors]
    wanted, plain = (
        results(lambda *x: dense_of_sequences(name, alone, *x, 0.125), *on) for on in ((wide, exact), (tensors, inputs))
    )
    sizes = sums_of_parts(lambda *x: dense_of_sequences(name, alone, *x, 0.125), wide, exact)
    assert_as_exact(found.values(), wanted.values(), plain.values(), sizes.values())
