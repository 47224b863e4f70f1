"""The operator inside torch: opcheck, gradcheck, torch.compile, autocast, torch.func, checkpointing."""

from __future__ import annotations

import pytest
import torch
from support.generated import EXAMPLES, attend_of, example, mask_of, module_of, pattern_of
from torch import Tensor, nn
from torch.autograd import forward_ad, gradcheck
from torch.utils.checkpoint import checkpoint

import sparsec
from sparsec.testing import check, compare, random_problem, run

LONGFORMER = example("longformer", w=16, g=5)
BY_HEAD = pattern_of("pattern p = match h { 0..2 -> 2 <= q - k < 9, else -> causal }", 4)
both = pytest.mark.parametrize("pattern", [LONGFORMER, BY_HEAD], ids=["one-kernel", "two-kernels"])


def inputs(n_q: int = 12, n_k: int = 12, dtype=torch.float32, grad: bool = True) -> list[Tensor]:
    """q with four heads, k and v with two."""
    torch.manual_seed(0)
    shapes = ((2, 4, n_q, 16), (2, 2, n_k, 16), (2, 2, n_k, 16))
    return [torch.randn(shape, dtype=dtype).requires_grad_(grad) for shape in shapes]


@both
def test_opcheck(pattern):
    """Schemas, fake kernels and their strides, for both operators."""
    module = module_of(pattern)
    for dtype, order in ((torch.float32, (1, 2)), (torch.bfloat16, (0, 2)), (torch.float32, (1, 3))):
        q, k, v = (x.transpose(*order).contiguous().transpose(*order) for x in inputs(10, 14, dtype, grad=False))
        torch.library.opcheck(module._OPERATOR.forward, (q, k, v, None, None, [], 0.3, 4, None, 0.0, True, []))
        out, lse = module._OPERATOR.forward(q, k, v, None, None, [], 0.3, 4, None, 0.0, True, [])
        for dlse in (None, torch.randn_like(lse)):
            torch.library.opcheck(
                module._OPERATOR.backward,
                (torch.randn_like(out), q, k, v, out, lse, dlse, None, [], 0.3, 4, None, 0.0, True, []),
            )


@both
def test_gradcheck(pattern):
    """Rows that see no key have no finite log-sum-exp, so only the others' enter."""
    attend, tensors = attend_of(pattern), inputs(12, 12, torch.float64)
    gradcheck(lambda q, k, v: attend(q, k, v, scale=0.7), tensors, fast_mode=True)

    def finite(q, k, v):
        _, lse = attend(q, k, v, return_lse=True)
        return lse[:, :, 4:]

    gradcheck(finite, tensors, fast_mode=True)


@both
def test_compile_once_for_all_lengths(pattern):
    """One graph without breaks, compiled for the first length and kept for the others."""
    attend, compiled = attend_of(pattern), []

    def backend(graph, example_inputs):
        from torch._dynamo.backends.debugging import aot_eager

        compiled.append(graph)
        return aot_eager(graph, example_inputs)

    torch._dynamo.reset()
    fast = torch.compile(attend, fullgraph=True, dynamic=True, backend=backend)
    for n_q, n_k in ((20, 20), (33, 33), (150, 150)):
        mine, other = inputs(n_q, n_k), inputs(n_q, n_k)
        out, expected = fast(*mine), attend(*other)
        torch.testing.assert_close(out, expected)
        g = torch.randn_like(out)
        for a, b in zip(torch.autograd.grad(out, mine, g), torch.autograd.grad(expected, other, g), strict=True):
            torch.testing.assert_close(a, b)
    assert len(compiled) == 1


def test_compile_once_when_lengths_differ():
    attend, compiled = attend_of(LONGFORMER), []
    torch._dynamo.reset()
    fast = torch.compile(
        lambda *x: attend(*x, return_lse=True),
        fullgraph=True,
        dynamic=True,
        backend=lambda graph, _: compiled.append(graph) or graph,
    )
    with torch.no_grad():
        for n_q, n_k in ((20, 40), (33, 90), (7, 150)):
            tensors = inputs(n_q, n_k)
            for a, b in zip(fast(*tensors), attend(*tensors, return_lse=True), strict=True):
                torch.testing.assert_close(a, b)
    assert len(compiled) == 1


def test_export():
    class Model(nn.Module):
        def forward(self, q, k, v):
            return attend_of(LONGFORMER)(q, k, v)

    n = torch.export.Dim("n", min=2, max=4096)
    tensors = tuple(inputs(30, 30, grad=False))
    with torch.no_grad():
        program = torch.export.export(Model(), tensors, dynamic_shapes=({2: n}, {2: n}, {2: n}))
        longer = inputs(70, 70, grad=False)
        torch.testing.assert_close(program.module()(*longer), attend_of(LONGFORMER)(*longer))


def test_autocast():
    attend = attend_of(LONGFORMER)
    q, k, v = inputs(30, 30)
    with torch.autocast("cpu", torch.bfloat16):
        out = attend(q, k.bfloat16(), v)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, attend(q.bfloat16(), k.bfloat16(), v.bfloat16()))
    grads = torch.autograd.grad(out.sum(), (q, k, v))
    assert all(grad.dtype == torch.float32 for grad in grads)


def test_autocast_leaves_alone_what_torch_leaves_alone():
    q, k, v = inputs(30, 30, torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        out = attend_of(LONGFORMER)(q, k, v)
        assert out.dtype == nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True).dtype == torch.float64
    assert torch.equal(out, attend_of(LONGFORMER)(q, k, v))


def test_flop_counter():
    """Kept pairs, exactly, of each layout, group of heads and table; five products backward, two forward."""
    from torch._subclasses import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    texts = [
        "causal & (past(64) | stride(16))",
        "causal & (same_block(64) | k % 64 >= 60)",
        "block_window(64, 3) | random_blocks(64, 2, 1) | random_keys(2, 1)",
        "match h { 0 -> window(100) | global(5), else -> causal & k % 64 >= 60 }",
    ]
    for text in texts:
        pattern = pattern_of(f"pattern p = {text}", 4 if "match" in text else None)
        attend = attend_of(pattern)
        for n_q, q_offset in ((300, None), (123, None), (200, 99)):
            mask = mask_of(pattern, n_q, 300, q_offset)
            pairs = int(mask.sum()) * (1 if mask.ndim == 3 else 4)
            q, k, v = inputs(n_q, 300)
            with FlopCounterMode(display=False) as counter:
                out = attend(q, k, v, q_offset=q_offset)
            assert counter.get_total_flops() == 2 * 2 * 2 * 16 * pairs
            with FlopCounterMode(display=False) as counter:
                out.sum().backward()
            assert counter.get_total_flops() == 2 * 5 * 2 * 16 * pairs
            with FakeTensorMode(), FlopCounterMode(display=False) as counter:
                attend(*inputs(n_q, 300), q_offset=q_offset)
            assert counter.get_total_flops() == 2 * 2 * 2 * 16 * pairs
    attend = attend_of(LONGFORMER)
    with FlopCounterMode(display=False) as counter:
        attend(torch.rand(1, 2, 3, 16), *torch.rand(2, 1, 2, 0, 16), q_offset=0)
    assert counter.get_total_flops() == 0


def test_symbolic_trace():
    def block(q, k, v):
        return attend_of(LONGFORMER)(q, k, v, scale=0.3) * 2

    tensors = inputs(30, 30)
    assert torch.equal(torch.fx.symbolic_trace(block)(*tensors), block(*tensors))


@both
def test_func_grad(pattern):
    attend, tensors = attend_of(pattern), inputs()

    def loss(q, k, v):
        return attend(q, k, v).square().sum()

    expected = torch.autograd.grad(loss(*tensors), tensors)
    found = torch.func.grad(loss, (0, 1, 2))(*(x.detach() for x in tensors))
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@both
def test_checkpointing(pattern):
    attend, tensors = attend_of(pattern), inputs()
    expected = torch.autograd.grad(attend(*tensors).sum(), tensors)
    found = torch.autograd.grad(checkpoint(attend, *tensors, use_reentrant=False).sum(), tensors)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_selective_checkpointing():
    """The forward operator can be named as one to keep: nothing of it is computed twice."""
    from functools import partial

    from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

    module, tensors = module_of(LONGFORMER), inputs()
    seen = []

    def policy(context, op, *args, **keywords):
        if op is module._OPERATOR.forward:
            seen.append(context.is_recompute)
            return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE

    contexts = partial(create_selective_checkpoint_contexts, policy)
    out = checkpoint(attend_of(LONGFORMER), *tensors, use_reentrant=False, context_fn=contexts)
    found = torch.autograd.grad(out.sum(), tensors)
    for a, b in zip(found, torch.autograd.grad(attend_of(LONGFORMER)(*tensors).sum(), tensors), strict=True):
        assert torch.equal(a, b)
    assert seen[0] is False


def test_only_some_inputs_need_gradients():
    attend = attend_of(LONGFORMER)
    q, k, v = inputs()
    everything = torch.autograd.grad(attend(q, k, v).sum(), (q, k, v))
    for index, name in enumerate("qkv"):
        alone = [x.detach().requires_grad_(i == index) for i, x in enumerate((q, k, v))]
        attend(*alone).sum().backward()
        assert torch.equal(alone[index].grad, everything[index]), name


def test_only_the_log_sum_exp_is_used():
    problem = random_problem(mask_of(LONGFORMER, 30, 30), heads=4, kv_heads=2)

    def attend(q, k, v, **keywords):
        out, lse = attend_of(LONGFORMER)(q, k, v, **keywords)
        return out * 0, lse

    results = run(attend, problem)
    expected = run(
        attend_of(LONGFORMER),
        type(problem)(
            **{
                name: getattr(problem, name) * 0 if name == "g" else getattr(problem, name)
                for name in problem.__slots__
            }
        ),
    )
    for name in ("dq", "dk", "dv"):
        torch.testing.assert_close(getattr(results, name), getattr(expected, name))


def test_double_backward_says_so():
    q, k, v = inputs()
    (grad,) = torch.autograd.grad(attend_of(LONGFORMER)(q, k, v).sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^\[SP0607\] double backward"):
        grad.sum().backward()


def test_gradient_penalty_says_so():
    """Not silently without the penalty's share."""
    q, k, v = inputs()
    loss = attend_of(LONGFORMER)(q, k, v).sum()
    (grad,) = torch.autograd.grad(loss, q, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^\[SP0607\] double backward"):
        (loss + grad.norm()).backward()


@pytest.mark.parametrize("grad", [True, False])
def test_forward_mode_says_so(grad):
    q, k, v = inputs(grad=grad)
    with torch.set_grad_enabled(grad), forward_ad.dual_level():
        dual = forward_ad.make_dual(q, torch.ones_like(q))
        with pytest.raises(RuntimeError, match=r"^\[SP0607\] forward-mode"):
            attend_of(LONGFORMER)(dual, k, v)
        assert attend_of(LONGFORMER)(q, k, v).shape == q.shape  # no tangent, no objection


def test_functional_forward_mode_says_so():
    q, k, v = inputs(grad=False)
    with pytest.raises(RuntimeError, match=r"^\[SP0607\] forward-mode"):
        torch.func.jvp(lambda q: attend_of(LONGFORMER)(q, k, v), (q,), (torch.ones_like(q),))


def test_in_a_model_that_trains():
    """Attention between linear layers learns something: the loss falls under Adam."""
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)

        def forward(self, x):
            q, k, v = (y.unflatten(2, (2, 16)).transpose(1, 2) for y in self.qkv(x).chunk(3, 2))
            return self.out(attend_of(LONGFORMER)(q, k, v).transpose(1, 2).flatten(2))

    model, x = Block(), torch.randn(2, 40, 32)
    target = x.roll(1, 1)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = (model(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_against_scaled_dot_product_attention():
    problem = random_problem(mask_of(LONGFORMER, 60, 60), heads=4, kv_heads=2, dtype=torch.float64)

    def sdpa(q, k, v, *, scale, q_offset, return_lse):
        out = nn.functional.scaled_dot_product_attention(q, k, v, problem.mask, scale=scale, enable_gqa=True)
        return out, attend_of(LONGFORMER)(q, k, v, scale=scale, return_lse=True)[1]

    assert all(each.holds for each in compare(run(sdpa, problem), problem))


def test_what_load_returns():
    """The object that users get is as good as the generated function: compiled, and checked by the public oracle."""
    attend = sparsec.load(EXAMPLES / "longformer.spat", w=16, g=5)
    check(attend, 60, 90, heads=4, kv_heads=2)
    torch._dynamo.reset()
    fast = torch.compile(attend, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (20, 33):
        torch.testing.assert_close(fast(*inputs(n, n)), attend(*inputs(n, n)))
