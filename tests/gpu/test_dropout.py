"""Dropout on a CUDA device: forward and every gradient against dense attention, with the mask that a CPU makes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from support.calls import no_synchronisation
from support.dropout import dense
from support.exact import assert_as_exact
from support.generated import attend_of, listed_module_of, mask_of, pattern_of, spread_module_of
from support.hopper_on_gpu import HERE, forget, on_hopper

import sparsec
from sparsec.kernels.hopper.backward.kernel import hopper_backward_kernel
from sparsec.kernels.hopper.forward.block_kernel import hopper_block_kernel
from sparsec.kernels.hopper.rules import TIER
from sparsec.kernels.weights.dropout import dropout_mask

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

P, SEED = 0.2, 2**40 + 5
WALKS = [
    ("past(100) | sinks(4)", 700, 900),
    ("causal & (past(64) | stride(16))", 1600, 1600),  # several kernels
    ("window(33) | global(3)", 2300, 2300),  # leading tiles are split
    ("causal & k % 64 in {62, 63} & q > 9", 600, 600),  # gathered keys, and rows without any
    ("random_keys(5, 1)", 333, 333),  # lists of pairs
    ("causal", 2500, 2500),  # through descriptors
]


def results(attend, drawn: list[torch.Tensor]) -> list[torch.Tensor]:
    *tensors, g, dlse = drawn
    tensors = [x.clone().requires_grad_() for x in tensors]
    out, lse = attend(*tensors)
    return [out, lse, *torch.autograd.grad([out, lse], tensors, [g, dlse.to(lse.dtype)])]


def drawn_for(n_q: int, n: int, dtype: torch.dtype, batch: int = 2, size: int = 64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, 4, n_q, size), (batch, 2, n, size), (batch, 2, n, size), (batch, 4, n_q, size), (batch, 4, n_q)
    return [torch.randn(shape, generator=generator).to("cuda", dtype) for shape in shapes]


def check(attend, mask, drawn: list[torch.Tensor], kept: torch.Tensor, score=lambda s: s) -> None:
    def ours(*tensors: torch.Tensor):
        return attend(*tensors, dropout_p=P, dropout_seed=SEED, return_lse=True)

    mask, kept, scale = torch.as_tensor(mask, device="cuda"), kept.cuda(), drawn[0].shape[3] ** -0.5
    wanted, plain = (
        results(lambda *x: dense(mask, kept, *x, P, scale, score), given)
        for given in ([x.double() for x in drawn], drawn)
    )
    assert_as_exact(results(ours, drawn), wanted, plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(("text", "n_q", "n"), WALKS)
def test_results(text: str, n_q: int, n: int, dtype: torch.dtype) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    check(
        spread_module_of(pattern).p,
        mask_of(pattern, n_q, n),
        drawn_for(n_q, n, dtype),
        dropout_mask((2, 4, n_q, n), P, SEED),
    )


def test_lists_of_tiles() -> None:
    pattern = pattern_of("pattern p = abs(q // 32 - k // 32) <= 2 & abs(q % 32 - k % 32) <= 2")
    kept = dropout_mask((2, 4, 1000, 1000), P, SEED)
    check(listed_module_of(pattern).p, mask_of(pattern, 1000, 1000), drawn_for(1000, 1000, torch.float16), kept)


@pytest.mark.parametrize("text", ["past(100) | sinks(4)", "causal & (past(64) | stride(16))"])
def test_documents(text: str) -> None:
    """Document i has the mask of row i."""
    pattern = pattern_of(f"pattern p = {text}")
    check_documents(pattern, spread_module_of(pattern).p, drawn_for(1500, 1500, torch.bfloat16, batch=1))


def check_documents(pattern, attend, drawn: list[torch.Tensor], score=lambda s: s) -> None:
    ends = [0, 300, 300, 301, 1500]
    kept, mask = torch.zeros(1, 4, 1500, 1500, dtype=torch.bool), torch.zeros(1500, 1500, dtype=torch.bool)
    for number, (first, stop) in enumerate(pairwise(ends)):
        if first < stop:
            own, size = slice(first, stop), stop - first
            kept[:, :, own, own] = dropout_mask((number + 1, 4, size, size), P, SEED)[number]
            mask[own, own] = torch.as_tensor(mask_of(pattern, size, size))
    documents = torch.tensor(ends, device="cuda", dtype=torch.int32)
    check(lambda *x, **call: attend(*x, documents=documents, **call), mask, drawn, kept, score)


# ---------------------------------------------------------------- the Hopper tier

HOPPER = [
    ("past(700)", 2304, 2304, 128, torch.bfloat16),
    ("causal", 777, 1111, 128, torch.float16),
    ("past(300) | sinks(4)", 1999, 1999, 64, torch.bfloat16),
    ("abs(q - k) <= 300", 1029, 1029, 96, torch.bfloat16),
    ("causal & q % 3 != 0", 640, 640, 128, torch.bfloat16),  # rows without a key
    ("past(100) & q >= 400", 640, 705, 80, torch.float16),
    ("window(200) | global(40)", 1111, 1111, 128, torch.bfloat16),  # leading tiles are split
    ("k < n", 300, 500, 48, torch.bfloat16),
]
SCORES = {
    "softcap(2)": lambda s: 2 * (s / 2).tanh(),
    "alibi": lambda s: (
        s + _distances(s) * 2.0 ** (-2 * torch.arange(1, 5, device=s.device, dtype=s.dtype))[:, None, None]
    ),
}


def _distances(s: torch.Tensor) -> torch.Tensor:
    """-abs(q - k), the last query beside the last key."""
    n_q, n = s.shape[-2:]
    return -(torch.arange(n - n_q, n, device=s.device)[:, None] - torch.arange(n, device=s.device)).abs().to(s.dtype)


hopper = pytest.mark.skipif(not HERE, reason="needs a Hopper GPU, and a Triton with Gluon")


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, "hopper")


def assert_in_the_tier(attend) -> None:
    assert on_hopper(attend)
    assert on_hopper(attend, hopper_backward_kernel)


@hopper
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize(("text", "n_q", "n", "size", "dtype"), HOPPER)
def test_in_the_hopper_tier(text: str, n_q: int, n: int, size: int, dtype: torch.dtype) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    attend = attend_of(pattern)
    forget(attend)
    drawn = drawn_for(n_q, n, dtype, size=size)
    check(attend, mask_of(pattern, n_q, n), drawn, dropout_mask((2, 4, n_q, n), P, SEED))
    assert_in_the_tier(attend)


@hopper
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize(
    "text", ["window(200) | global(40)", "block_window(64, 3) | global(128) | random_blocks(64, 3, 0)"]
)
def test_lists_of_blocks_in_the_hopper_tier(text: str) -> None:
    """Forward; the gradients of the second one are those of the plain tier."""
    pattern, n = pattern_of(f"pattern p = {text}"), 1536
    attend = attend_of(pattern)
    forget(attend)
    drawn = drawn_for(n, n, torch.bfloat16, size=128)
    check(attend, mask_of(pattern, n, n), drawn, dropout_mask((2, 4, n, n), P, SEED))
    assert on_hopper(attend, hopper_block_kernel)


@hopper
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("score", SCORES)
def test_scores_in_the_hopper_tier(score: str, size: int) -> None:
    pattern = pattern_of(f"pattern p = past(500) with {score}")
    attend, n_q, n = attend_of(pattern), 900, 1100
    forget(attend)
    drawn, kept = drawn_for(n_q, n, torch.bfloat16, size=size), dropout_mask((2, 4, n_q, n), P, SEED)
    check(attend, mask_of(pattern, n_q, n), drawn, kept, SCORES[score])
    assert_in_the_tier(attend)


@hopper
@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("text", ["past(100) | sinks(4)", "causal with softcap(2)"])
def test_documents_in_the_hopper_tier(text: str, size: int) -> None:
    pattern = pattern_of(f"pattern p = {text}")
    attend = attend_of(pattern)
    forget(attend)
    score = SCORES["softcap(2)"] if "softcap" in text else lambda s: s
    check_documents(pattern, attend, drawn_for(1500, 1500, torch.bfloat16, batch=1, size=size), score)
    assert_in_the_tier(attend)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("tier", ["plain", pytest.param("hopper", marks=hopper)])
def test_bits_of_the_mask(tier: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is kept or dropped as `dropout_mask` says: in out, in dv, and in the gradients of scores.

    Scores are 0, and each of some keys (or queries) has a column of its own, where nothing but its weight can be.
    """
    monkeypatch.setenv(TIER, tier)
    n_q, n, first = 320, 448, 128
    attend = attend_of(pattern_of("pattern p = causal"))
    forget(attend)
    kept = dropout_mask((2, 2, n_q, n), P, SEED).cuda()
    seen = torch.ones(n_q, n, dtype=torch.bool, device="cuda").tril(first)
    there = seen & (kept & seen).any(-1, keepdim=True) & (~kept & seen).any(-1, keepdim=True)
    call = {"dropout_p": P, "dropout_seed": SEED}

    def zeros(length: int) -> torch.Tensor:
        return torch.zeros(2, 2, length, size, device="cuda", dtype=torch.bfloat16)

    def columns(length: int, begin: int) -> torch.Tensor:
        x = zeros(length)
        place = torch.arange(begin, min(begin + size, length), device="cuda")
        x[:, :, place, place - begin] = 1
        return x

    ones = zeros(n_q) + columns(1, 0)
    for begin in range(0, n, size):  # some keys
        some = slice(begin, begin + size)
        wanted = (kept & seen)[..., some]
        q, k, v = zeros(n_q).requires_grad_(), columns(n, begin), columns(n, begin)
        out = attend(q, k, v, **call)
        assert torch.equal(out[..., : wanted.shape[3]] > 0, wanted)
        # Of each weight that is kept the same gradient, 1 / (1 - P), less the share of all that is kept.
        (dq,) = torch.autograd.grad(attend(q, k, zeros(n) + columns(1, 0), **call), q, ones)
        assert torch.equal((dq[..., : wanted.shape[3]] > 0)[there[..., some]], wanted[there[..., some]])
    for begin in range(0, n_q, size):  # some queries
        some = slice(begin, begin + size)
        wanted = (kept & seen)[:, :, some].mT
        q, k, v = zeros(n_q), zeros(n), zeros(n).requires_grad_()
        (dv,) = torch.autograd.grad(attend(q, k, v, **call), v, columns(n_q, begin))
        assert torch.equal(dv[..., : wanted.shape[3]] > 0, wanted)
    if tier == "hopper":
        assert_in_the_tier(attend)


# ---------------------------------------------------------------- graphs, compiled calls, float inputs


def test_the_mask_of_a_device_is_that_of_a_cpu() -> None:
    shape = (2, 3, 100, 300)
    assert torch.equal(dropout_mask(shape, P, SEED, device="cuda").cpu(), dropout_mask(shape, P, SEED))


def test_graphs() -> None:
    """A captured call drops by the seed that stands in the tensor when it is replayed; drawn ones differ each time."""
    attend = spread_module_of(pattern_of("pattern p = past(100) | sinks(4)")).p
    q, k, v = torch.randn(3, 1, 4, 600, 64, device="cuda", dtype=torch.bfloat16).unbind(0)
    q.requires_grad_()
    seed = torch.tensor([1], device="cuda")

    def step(**how) -> list[torch.Tensor]:
        out = attend(q, k, v, dropout_p=P, **how)
        return [out.detach(), *torch.autograd.grad(out.sum(), q)]

    for how in ({"dropout_seed": seed}, {}):
        with no_synchronisation():
            step(**how)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step(**how)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step(**how)
        found = []
        for number in (1, 2):
            seed.fill_(number)
            graph.replay()
            found.append([x.clone() for x in captured])
            if how:
                for x, y in zip(found[-1], step(**how), strict=True):
                    assert torch.equal(x, y)
        assert not torch.equal(found[0][0], found[1][0])


def test_compiled() -> None:
    attend = spread_module_of(pattern_of("pattern p = past(100) | sinks(4)")).p
    q, k, v = torch.randn(3, 1, 4, 300, 64, device="cuda", dtype=torch.bfloat16).unbind(0)
    compiled = torch.compile(lambda q, seed: attend(q, k, v, dropout_p=P, dropout_seed=seed), fullgraph=True)
    for number in (1, 2):
        seed = torch.tensor([number], device="cuda")
        assert torch.equal(compiled(q, seed), attend(q, k, v, dropout_p=P, dropout_seed=seed))
    drawing = torch.compile(lambda q: attend(q, k, v, dropout_p=P), fullgraph=True)
    assert not torch.equal(drawing(q), drawing(q))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_gradients_of_float_inputs(dtype: torch.dtype) -> None:
    """Of scores that read numbers of the call, with weights dropped; parts of the sums of b's gradient cancel."""
    n, text = 400, "input b: float[H] score x = s - b * abs(q - k) / 64 pattern p = past(150) | sinks(4) with x"
    attend, mask = sparsec.compile(text), torch.as_tensor(mask_of(pattern_of(text), n, n), device="cuda")
    *drawn, g, dlse = drawn_for(n, n, dtype)
    drawn = [*drawn, torch.linspace(0.2, 0.8, 4, device="cuda"), g, dlse]
    kept = dropout_mask((2, 4, n, n), P, SEED).cuda()
    distance = (torch.arange(n, device="cuda")[:, None] - torch.arange(n, device="cuda")).abs()

    def of_dense(q, k, v, b):
        return dense(mask, kept, q, k, v, P, 0.125, lambda s: s - b[:, None, None] * distance / 64)

    wide = [x.double() for x in drawn]
    wanted, plain = (results(of_dense, given) for given in (wide, drawn))
    found = results(
        lambda q, k, v, b: attend(q, k, v, b=b, scale=0.125, dropout_p=P, dropout_seed=SEED, return_lse=True), drawn
    )
    summed = torch.zeros(4, device="cuda", dtype=torch.float64)
    for rows in torch.arange(n, device="cuda").split(16):
        some = torch.zeros(n, 1, device="cuda", dtype=torch.float64).index_fill_(0, rows, 1)
        summed += results(of_dense, [*wide[:-2], wide[-2] * some, wide[-1] * some[:, 0]])[-1].abs()
    assert_as_exact(found, wanted, plain, [*wanted[:-1], summed])
