"""Gradients wherever torch takes them: torch.func and torch.vmap, eager and compiled, exported programs, opcheck."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from support.generated import attend_of, module_of, pattern_of
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, vjp

NEAR = pattern_of("pattern p = past(9)")
BY_HEAD = pattern_of("pattern p = match h { 0..2 -> 2 <= q - k < 9, else -> causal & (past(3) | stride(4)) }", 4)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()


def inputs(*batch: int) -> list[Tensor]:
    """q with four heads, k and v with two."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*batch, 1, heads, 12, 16, generator=generator) for heads in (4, 2, 2)]


def losses(pattern) -> dict[str, Callable]:
    """What is passed straight to the operator, and what also goes beside it."""
    attend = attend_of(pattern)

    def with_lse(q, k, v):
        out, lse = attend(q, k, v, return_lse=True)
        return out.square().sum() + lse[:, :, 4:].square().sum()

    return {
        "alone": lambda q, k, v: attend(q, k, v).square().sum(),
        "beside": lambda q, k, v: (q + attend(q, k, v)).square().sum() + k.square().sum(),
        "lse": with_lse,
    }


def expected(loss: Callable, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The gradients that plain autograd finds; test_torch_integration checks those by differences."""
    tensors = [x.detach().requires_grad_() for x in tensors]
    return torch.autograd.grad(loss(*tensors), tensors)


def compiled(function: Callable, backend: str = "aot_eager") -> Callable:
    return torch.compile(function, fullgraph=True, backend=backend)


def same(found, wanted) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


# ---------------------------------------------------------------- torch.func


@pytest.mark.parametrize(
    ("pattern", "name"), [(NEAR, "alone"), (NEAR, "beside"), (BY_HEAD, "lse")], ids=["alone", "beside", "by-head-lse"]
)
def test_func_grad_is_the_gradient_compiled_or_not(pattern, name):
    loss, tensors = losses(pattern)[name], inputs()
    wanted = expected(loss, *tensors)
    take = grad(loss, (0, 1, 2))
    same(take(*tensors), wanted)
    same(compiled(take)(*tensors), wanted)


def test_func_grad_of_tensors_that_require_gradients():
    """A graph that may be differentiated once more still runs; the second derivative is refused where it is taken."""
    loss, tensors = losses(NEAR)["beside"], [x.requires_grad_() for x in inputs()]
    wanted = expected(loss, *tensors)
    for take in (grad(loss, (0, 1, 2)), compiled(grad(loss, (0, 1, 2)))):
        found = take(*tensors)
        same(found, wanted)
        with pytest.raises(RuntimeError, match=r"\[SP0607\] double backward"):
            found[0].sum().backward()


def test_vjp_compiled():
    loss, (q, k, v) = losses(NEAR)["beside"], inputs()
    take = compiled(lambda q: vjp(lambda q: loss(q, k, v), q)[1](torch.tensor(2.0))[0])
    same([take(q) / 2], expected(loss, q, k, v)[:1])


def test_levels_of_func_grad():
    """The value of an inner level is differentiable at the outer one, and outside of both."""
    loss, (q, k, v) = losses(NEAR)["alone"], inputs()
    wanted = expected(loss, q, k, v)[:1]
    value = lambda q: grad_and_value(lambda q: loss(q, k, v))(q)[1]  # noqa: E731
    same([grad(value)(q)], wanted)
    outer = q.clone().requires_grad_()
    same(torch.autograd.grad(value(outer), outer), wanted)


def test_jacobian_by_rows():
    attend, (q, k, v) = attend_of(NEAR), inputs()
    q, k, v = q[:, :2, :2], k[:, :1, :3], v[:, :1, :3]
    found = jacrev(lambda q: attend(q, k, v))(q)
    torch.testing.assert_close(found, torch.autograd.functional.jacobian(lambda q: attend(q, k, v), q))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_forward_mode_compiled_says_so(backend):
    attend, (q, k, v) = attend_of(NEAR), inputs()
    with pytest.raises(Exception, match=r"\[SP0607\] forward-mode"):
        compiled(lambda q: jvp(lambda q: attend(q, k, v), (q,), (q,))[1], backend)(q)
    with forward_ad.dual_level(), pytest.raises(Exception, match=r"\[SP0607\] forward-mode"):
        compiled(lambda q: attend(q, k, v), backend)(forward_ad.make_dual(q, q))


@pytest.mark.parametrize(
    ("take", "said"),
    [
        (jacfwd, "forward-mode"),
        (hessian, "forward-mode"),
        (lambda f: grad(lambda q: grad(f)(q).sum()), "double backward"),
    ],
)
def test_other_derivatives_say_so(take, said):
    loss, (q, k, v) = losses(NEAR)["alone"], inputs()
    with pytest.raises(RuntimeError, match=rf"\[SP0607\] {said}"):
        take(lambda q: loss(q, k, v))(q)


# ---------------------------------------------------------------- vmap


@pytest.mark.parametrize(
    ("pattern", "dims"), [(NEAR, (0, 0, 0)), (NEAR, (1, None, None)), (BY_HEAD, (None, 2, 0))], ids=str
)
@pytest.mark.filterwarnings("error:There is a performance drop")
def test_vmap(pattern, dims):
    """A batch of calls is one call, with gradients, whichever tensors have the batch and where."""
    attend = attend_of(pattern)
    stacked = [x if dim is None else x.movedim(0, dim) for x, dim in zip(inputs(3), dims, strict=True)]
    stacked = [x[0] if dim is None else x for x, dim in zip(stacked, dims, strict=True)]

    def one_by_one(*tensors):
        every = [[x] * 3 if dim is None else x.unbind(dim) for x, dim in zip(tensors, dims, strict=True)]
        return torch.stack([attend(*call) for call in zip(*every, strict=True)])

    every = torch.vmap(attend, dims)
    torch.testing.assert_close(every(*stacked), one_by_one(*stacked))
    torch.testing.assert_close(compiled(every)(*stacked), one_by_one(*stacked))
    same(
        expected(lambda *x: every(*x).square().sum(), *stacked),
        expected(lambda *x: one_by_one(*x).square().sum(), *stacked),
    )


@pytest.mark.filterwarnings("error:There is a performance drop")
def test_gradients_of_every_sample():
    loss, (q, k, v) = losses(BY_HEAD)["lse"], inputs(3)
    take = torch.vmap(grad(loss, (0, 1, 2)))
    wanted = [torch.stack(each) for each in zip(*(expected(loss, q[i], k[i], v[i]) for i in range(3)), strict=True)]
    same(take(q, k, v), wanted)
    same(compiled(take)(q, k, v), wanted)


def test_vmap_over_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        q = torch.zeros(2, 0, 4, 12, 16)
        assert torch.vmap(attend_of(NEAR))(q, q, q).shape == q.shape


# ---------------------------------------------------------------- one tensor in several places


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_same_tensor_twice(backend):
    attend, (q, k, _) = attend_of(NEAR), inputs()
    shared = lambda q, kv: attend(q, kv, kv).square().sum()  # noqa: E731
    same(expected(compiled(shared, backend), q, k), expected(shared, q, k))
    own = lambda x: attend(x, x, x).square().sum()  # noqa: E731
    same(expected(compiled(own, backend), q), expected(own, q))


# ---------------------------------------------------------------- programs


class Block(nn.Module):
    """A projection, attention over its parts and something beside it."""

    def __init__(self, pattern) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attend, self.qkv = attend_of(pattern), nn.Linear(16, 48)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return x + self.attend(q, k, v) + q


def weight_gradient(module: nn.Module, x: Tensor) -> Tensor:
    module.zero_grad()
    module(x).sum().backward()
    return module.get_parameter("qkv.weight").grad.clone()


@pytest.mark.parametrize("strict", [True, False])
def test_exported_programs_train(strict):
    block, x = Block(NEAR), inputs()[0]
    program = torch.export.export(block, (x,), strict=strict)
    wanted = weight_gradient(block, x)
    torch.testing.assert_close(weight_gradient(torch.export.unflatten(program), x), wanted)
    torch.testing.assert_close(weight_gradient(program.module(), x), wanted)


def test_export_of_forward_and_backward():
    from torch.export.experimental import _export_forward_backward

    class Loss(Block):
        def forward(self, x):
            return super().forward(x).sum()

    program = _export_forward_backward(torch.export.export(Loss(NEAR), (inputs()[0],)))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    module = module_of(NEAR)
    assert called.count(module._OPERATOR.forward) == called.count(module._OPERATOR.backward) == 1


def test_functional_call_compiled():
    block, x = Block(NEAR), inputs()[0]
    loss = lambda parameters: functional_call(block, parameters, (x,)).square().sum()  # noqa: E731
    wanted = grad(loss)({name: each.detach() for name, each in block.named_parameters()})
    for parameters in (dict(block.named_parameters()), {k: x.detach() for k, x in block.named_parameters()}):
        found = compiled(grad(loss))(parameters)
        same([found[name] for name in wanted], wanted.values())


def test_opcheck_with_gradients():
    """All of torch's tests of operators, those of autograd included."""
    module = module_of(BY_HEAD)
    q, k, v = (x.requires_grad_() for x in inputs())
    torch.library.opcheck(module._OPERATOR.forward, (q, k, v, None, None, [], 0.3, 0, None, 0.0, True, []))


def test_compiled_autograd():
    loss, tensors = losses(NEAR)["beside"], inputs()
    wanted = expected(loss, *tensors)
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
        same(expected(loss, *tensors), wanted)
