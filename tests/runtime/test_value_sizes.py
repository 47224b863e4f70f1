"""v with a head size of its own, on a CPU: forward and every gradient against dense attention."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import listed_module_of, problem_of, random_pattern, spread_module_of

import sparsec
import sparsec.nn
from sparsec.codegen.emit import function_name
from sparsec.testing import dense_attention
from sparsec.testing.programs import programs

SIZES = [(192, 128), (128, 64), (40, 72), (16, 24)]  # of q and k, and of v
ATTEND = sparsec.compile("pattern p = past(7)")


def drawn(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def qkv(batch: int = 1, n_q: int = 20, n: int = 20, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Heads that share a key head; 24 columns of q and k, 16 of v."""
    return drawn((batch, 4, n_q, 24), (batch, 2, n, 24), (batch, 2, n, 16), dtype=dtype)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    "text", ["past(30) | sinks(3)", "causal & (past(9) | stride(8))", "past(20) with softcap(2)", "random_keys(5, 1)"]
)
def test_patterns(text: str, sizes: tuple[int, int]) -> None:
    attend = sparsec.compile(f"pattern p = {text}")
    for n_q, n in ((75, 75), (3, 90)):
        dense_attention.check(attend, n_q, n, kv_heads=1, head_size=sizes[0], v_head_size=sizes[1])


@settings(max_examples=8)
@given(programs(), st.integers(1, 90), st.integers(1, 90), st.integers(0, 40), st.sampled_from(SIZES), st.booleans())
def test_random_programs(program, n_q: int, n_k: int, q_offset: int, sizes: tuple[int, int], from_lists: bool) -> None:
    pattern = random_pattern(program)
    module = listed_module_of(pattern) if from_lists else spread_module_of(pattern)
    numbers = {"heads": program.heads or 2, "kv_heads": 1, "head_size": sizes[0], "v_head_size": sizes[1]}
    problem = problem_of(pattern, n_q, n_k, q_offset, **numbers)
    attend = getattr(module, function_name(pattern.name))
    found = dense_attention.compare(dense_attention.run(attend, problem, q_offset), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


def test_gradients_in_float64() -> None:
    assert torch.autograd.gradcheck(lambda q, k, v: ATTEND(q, k, v, return_lse=True), qkv(n_q=5, n=9), fast_mode=True)


def test_what_torch_asks_of_operators() -> None:
    operator = ATTEND._function.__globals__["_OPERATOR"]
    q, k, v = (x.detach().requires_grad_() for x in qkv(dtype=torch.float32))
    torch.library.opcheck(operator.forward, (q, k, v, None, None, [], 0.25, 0, None, 0.0, True, []))
    with pytest.raises(RuntimeError, match="SP0607"):
        (dq,) = torch.autograd.grad(ATTEND(q, k, v).sum(), q, create_graph=True)
        dq.sum().backward()


@pytest.mark.parametrize("dynamic", [False, pytest.param(True, marks=pytest.mark.full)])
def test_compiled(dynamic: bool) -> None:
    given = qkv(dtype=torch.float32)
    found = torch.compile(ATTEND, fullgraph=True, dynamic=dynamic, backend="aot_eager")(*given)
    torch.testing.assert_close(found, ATTEND(*given), rtol=0, atol=0)
    wanted = torch.autograd.grad(ATTEND(*given).square().sum(), given)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), given), wanted, rtol=0, atol=0)


def test_results_lie_like_queries_and_keys() -> None:
    q, k, v = (x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in qkv())
    out = ATTEND(q, k, v)
    assert out.shape == (1, 4, 20, 16)
    assert out.transpose(1, 2).is_contiguous()
    for x, like in zip(torch.autograd.grad(out.sum(), (q, k, v)), (q, k, v), strict=True):
        assert x.shape == like.shape
        assert x.transpose(1, 2).is_contiguous()


def test_values_that_are_part_of_the_keys() -> None:
    """As in a compressed cache: v is a view of the first columns of k."""
    q, k = drawn((1, 4, 20, 32), (1, 1, 20, 32))
    out = ATTEND(q, k, k[..., :24])
    torch.testing.assert_close(out, ATTEND(q, k, k[..., :24].detach().clone()), rtol=0, atol=0)
    (dk,) = torch.autograd.grad(out.sum(), k)
    dk_alone, dv = torch.autograd.grad(ATTEND(q, k, v := k[..., :24].detach().requires_grad_()).sum(), (k, v))
    torch.testing.assert_close(dk, dk_alone + torch.nn.functional.pad(dv, (0, 8)))


@pytest.mark.parametrize(
    "text", ["past(7)", "past(9) with softcap(2)", "input d: float[n] score b = s + d[k] pattern p = past(9) with b"]
)
def test_documents(text: str) -> None:
    """Each as if it were alone, with sinks and dropout."""
    attend = sparsec.compile(text if "input" in text else f"pattern p = {text}")
    q, k, v = qkv(n_q=30, n=30)
    (sinks,), more = drawn((4,)), {"d": drawn((30,))[0]} if "input" in text else {}
    ends = [0, 11, 11, 30]
    out = attend(q, k, v, documents=torch.tensor(ends), sinks=sinks, **more)
    alone = [
        attend(
            *(x[:, :, first:stop] for x in (q, k, v)), sinks=sinks, **{name: x[first:stop] for name, x in more.items()}
        )
        for first, stop in itertools.pairwise(ends)
    ]
    inputs = q, k, v, sinks, *more.values()
    wanted = torch.cat(alone, 2)
    torch.testing.assert_close(out, wanted)
    for x, y in zip(*(torch.autograd.grad(each.square().sum(), inputs) for each in (out, wanted)), strict=True):
        torch.testing.assert_close(x, y)
    dropped = attend(q, k, v, documents=torch.tensor(ends), dropout_p=0.3, dropout_seed=1, **more)
    assert dropped.shape == (1, 4, 30, 16)


def test_batches_of_batches() -> None:
    many = [torch.stack([x, 2 * x]) for x in qkv()]
    found = torch.vmap(ATTEND)(*many)
    torch.testing.assert_close(found, torch.stack([ATTEND(*(x[i] for x in many)) for i in range(2)]))


def test_nothing_to_attend_to() -> None:
    q, k, v = qkv()
    out = ATTEND(q, k[:, :, :0], v[:, :, :0], q_offset=0)
    assert out.shape == (1, 4, 20, 16)
    assert not out.any()


def test_counted_operations() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        ATTEND(*qkv()).sum().backward()
    pairs = 4 * (20 * 7 - 21)
    assert counter.get_total_flops() == 2 * pairs * ((24 + 16) + (3 * 24 + 2 * 16))


def test_module() -> None:
    module, given = sparsec.nn.Attend(ATTEND, dropout=0.5), qkv()
    assert module(*given).shape == (1, 4, 20, 16)
    torch.testing.assert_close(module.eval()(*given), ATTEND(*given))


@pytest.mark.parametrize("rows", [1, 3])
def test_decoding(rows: int) -> None:
    """576 columns of q and k and 512 of v, as of a compressed cache; of unequal lengths, in pages and not."""
    q, cache = (x.detach() for x in drawn((2, rows, 4, 576), (2, 1, 30, 576), dtype=torch.float32))
    lengths = torch.tensor([30, 17])
    out = ATTEND.decode(q, cache, cache[..., :512], lengths=lengths, scale=0.1)
    assert out.shape == (2, rows, 4, 512)
    for row, n in enumerate(lengths.tolist()):
        own = cache[row : row + 1, :, :n].double()
        products = q[row : row + 1].transpose(1, 2).double() @ own.mT * 0.1
        ahead = torch.arange(n - rows, n)[:, None] - torch.arange(n)
        weights = products.masked_fill((ahead < 0) | (ahead >= 7), float("-inf")).softmax(-1)
        torch.testing.assert_close(
            out[row : row + 1].double(), (weights @ own[..., :512]).transpose(1, 2), rtol=1e-5, atol=1e-5
        )
    pages = cache.transpose(1, 2).reshape(12, 5, 1, 576)
    table = torch.arange(12).view(2, 6)
    paged = ATTEND.decode(q, pages, pages[..., :512], lengths=lengths, pages=table, scale=0.1)
    torch.testing.assert_close(paged, out)
    room = torch.empty_like(out)
    torch.testing.assert_close(ATTEND.decode(q, cache, cache[..., :512], lengths=lengths, scale=0.1, out=room), out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda q, k, v: (*(x.repeat(1, 1, 1, 16) for x in (q, k)), v), "got 384: steps of decoding take up to 576"),
        (lambda q, k, v: (q, k, v[..., :12]), "head size of v must be a multiple of 8 from 16 to 256, got 12"),
        (lambda q, k, v: (q, k, v[:, :, 1:]), "k and v must have the same batch, heads and length"),
        (lambda q, k, v: (q[..., :16], k, v), "k the head size of q"),
        (
            lambda q, k, v: (q, k, v.expand(1, 2, 20, 16).repeat(1, 1, 1, 17)),
            "from 16 to 256, got 272: give values in pieces",
        ),
    ],
)
def test_errors(change, said: str) -> None:
    with pytest.raises(ValueError, match=f"SP0601.*{said}"):
        ATTEND(*change(*qkv()))
