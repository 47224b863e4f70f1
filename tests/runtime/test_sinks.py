"""`sinks=`: a score more in the softmax of every row, without a value; in float64, against dense attention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exact import assert_as_exact
from support.generated import attend_of, mask_of, module_of, pattern_of, random_pattern, spread_module_of
from support.sinks import dense, results
from support.spread import SPREAD

import sparsec
from sparsec.testing.programs import programs

PAST = pattern_of("pattern p = past(7)")


def problem(n_q: int, n: int, heads: int = 4, seed: int = 0, batch: int = 2) -> list[torch.Tensor]:
    """q, k, v, sinks and the gradients of out and lse."""
    generator = torch.Generator().manual_seed(seed)
    kv_heads = heads // 2 if heads % 2 == 0 else heads
    queries, keys = (batch, heads, n_q, 16), (batch, kv_heads, n, 16)
    shapes = queries, keys, keys, (heads,), queries, queries[:3]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def assert_exact(attend, mask, given: list[torch.Tensor], **call) -> None:
    """out, lse and all gradients, in roundings of float64 as exact as dense attention is in those of float32."""
    low = [x.float() for x in given]
    given = [x.double() for x in low]
    found = results(lambda q, k, v, sinks: attend(q, k, v, sinks=sinks, return_lse=True, **call), given)
    exact, plain = (results(lambda *tensors: dense(mask, *tensors, 0.25), x) for x in (given, low))
    *_, sinks, g, dlse = given
    out, lse, *others, _ = exact
    terms = (sinks[:, None] - lse).exp() * ((g * out).abs().sum(-1) + dlse.abs())  # of a sink's gradient: they cancel
    assert_as_exact(found, exact, plain, [out, lse, *others, terms.nan_to_num(0).sum((0, 2))])


@settings(max_examples=8)
@given(programs(), st.sampled_from([(60, 60), (33, 70), (2, 50), (1, 1)]))
def test_programs(program, sizes):
    pattern = random_pattern(program)
    n_q, n = sizes
    attend = attend_of(pattern)
    assert_exact(attend, mask_of(pattern, n_q, n), problem(n_q, n, pattern.heads or 4))


@pytest.mark.parametrize("text", SPREAD)
def test_layouts(text):
    pattern = pattern_of(f"pattern p = {text}")
    assert_exact(spread_module_of(pattern).p, mask_of(pattern, 50, 75), problem(50, 75))


def test_a_sink_that_is_as_if_it_were_not_there():
    """Rows without a key are then 0, as they are without sinks, and no gradient is NaN."""
    pattern = pattern_of("pattern p = causal & q % 3 != 0")
    given = problem(40, 40)
    given[3][:2] = torch.tensor([20.0, float("-inf")])
    assert_exact(attend_of(pattern), mask_of(pattern, 40, 40), given)


def test_heads_with_patterns_of_their_own():
    pattern = pattern_of("pattern p = match h { 0..2 -> past(9), 2 -> k < 0 | q == k & q > 5, else -> stride(3) }", 4)
    assert_exact(attend_of(pattern), mask_of(pattern, 40, 40), problem(40, 40))


def test_data_of_the_call():
    attend = sparsec.compile("input w: int[B, H] pattern p = 0 <= q - k < w[h]", heads=4)
    w = torch.tensor([[1, 3, 5, 0], [2, 2, 9, 30]])
    far = torch.arange(30)[:, None] - torch.arange(30)
    mask = (far >= 0) & (far < w[..., None, None])
    assert_exact(attend, mask, problem(30, 30), w=w)


def test_documents_are_those_alone():
    q, k, v, sinks, *_ = problem(60, 60, batch=1)
    ends = [3, 20, 20, 21, 55]
    attend = attend_of(pattern_of("pattern p = past(9) | sinks(2)"))
    out, lse = attend(q, k, v, sinks=sinks, documents=torch.tensor(ends), return_lse=True)
    for first, stop in ((3, 20), (20, 21), (21, 55)):
        own = (x[:, :, first:stop] for x in (q, k, v))
        alone = attend(*own, sinks=sinks, return_lse=True)
        for x, y in zip(alone, (out, lse), strict=True):
            assert torch.equal(x, y[:, :, first:stop])
    assert not out[:, :, 55:].any()
    assert (lse[:, :, 55:] == float("-inf")).all()  # rows of no sequence


def test_no_key_at_all():
    q, k, v, sinks, *_ = problem(5, 0)
    out, lse = attend_of(PAST)(q, k, v, sinks=sinks, q_offset=0, return_lse=True)
    assert not out.any()
    assert (lse == float("-inf")).all()


def test_a_sink_of_minus_infinity_is_none():
    q, k, v, _, *_ = problem(40, 40)
    attend = attend_of(pattern_of("pattern p = past(7) & q > 3"))
    for x, y in zip(
        attend(q, k, v, sinks=torch.full((4,), float("-inf")), return_lse=True),
        attend(q, k, v, return_lse=True),
        strict=True,
    ):
        assert torch.equal(x, y)


def test_types():
    """Sinks may be of another type than q; their gradient has their own."""
    q, k, v, sinks, *_ = problem(40, 40)
    sinks = sinks.bfloat16().requires_grad_()
    out = attend_of(PAST)(*(x.half() for x in (q, k, v)), sinks=sinks)
    assert out.dtype == torch.float16
    (gradient,) = torch.autograd.grad(out.sum(), sinks)
    assert gradient.dtype == torch.bfloat16


def test_batching_and_functional_gradients():
    q, k, v, _, g, _ = problem(20, 20)
    many = torch.randn(3, 4, dtype=torch.float64)

    def loss(sinks: torch.Tensor) -> torch.Tensor:
        return (attend_of(PAST)(q, k, v, sinks=sinks) * g).sum()

    torch.testing.assert_close(torch.vmap(loss)(many), torch.stack([loss(x) for x in many]))
    gradients = torch.vmap(torch.func.grad(loss))(many)
    torch.testing.assert_close(gradients, torch.stack([torch.func.grad(loss)(x) for x in many]))
    batched = torch.vmap(lambda q: attend_of(PAST)(q, k, v, sinks=many[0]))(torch.stack([q, -q]))
    torch.testing.assert_close(batched[1], attend_of(PAST)(-q, k, v, sinks=many[0]))


def test_no_second_derivative():
    q, k, v, sinks, *_ = problem(20, 20)
    sinks.requires_grad_()
    (gradient,) = torch.autograd.grad(attend_of(PAST)(q, k, v, sinks=sinks).sum(), sinks, create_graph=True)
    with pytest.raises(RuntimeError, match="SP0607"):
        torch.autograd.grad(gradient.sum(), sinks)


def test_the_operator_is_sound():
    q, k, v, sinks, *_ = (x.requires_grad_() for x in problem(20, 20))
    op = module_of(PAST)._OPERATOR.forward
    torch.library.opcheck(op, (q, k, v, sinks[None], None, [], 0.25, 0, None, 0.0, True, []))
    gradient = q.detach(), q.detach(), q.detach()[..., 0], None, sinks.detach()[None]
    torch.library.opcheck(torch.ops.sparsec.sink_gradient.default, gradient)


def test_compiled_as_one_graph():
    q, k, v, sinks, *_ = problem(40, 40)
    sinks.requires_grad_()
    attend = attend_of(PAST)

    def loss(sinks: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, sinks=sinks).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found, wanted = (torch.autograd.grad(each(sinks), sinks)[0] for each in (compiled, loss))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("sinks", "message"),
    [
        (0.5, r"SP0606.*real numbers.*got 0\.5"),
        (torch.zeros(4, dtype=torch.int32), "SP0606.*got a tensor of torch.int32"),
        (torch.zeros(2), r"SP0601.*shape \(4,\), got \(2,\)"),
        (torch.zeros(4, device="meta"), "SP0603.*on the device of q.*meta"),
    ],
)
def test_what_does_not_fit(sinks, message):
    with pytest.raises(ValueError, match=message):
        attend_of(PAST)(*problem(8, 8)[:3], sinks=sinks)


def test_other_names_for_it():
    with pytest.raises(TypeError, match=r"SP0611.*`sinks` here"):
        sparsec.compile("pattern p = past(7)")(*problem(8, 8)[:3], s_aux=torch.zeros(4))
