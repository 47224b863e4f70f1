"""`deterministic=False`: what a call says about the order of sums, on its way to the backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.generated import module_of, pattern_of
from torch import Tensor

import sparsec

TEXT = "pattern p = past(9) | sinks(2)"


def tensors() -> list[Tensor]:
    return [torch.randn(1, 2, 30, 16, dtype=torch.float64).requires_grad_() for _ in range(3)]


def gradients(attend: Any, own: list[Tensor], **more: Any) -> tuple[Tensor, ...]:
    out = attend(*own, **more)
    return out, *torch.autograd.grad(out.square().sum(), own)


def test_where_there_is_one_order_nothing_changes() -> None:
    attend, own = sparsec.compile(TEXT), tensors()
    ends = torch.tensor([0, 11, 30], dtype=torch.int32)
    for more in ({}, {"documents": ends}):
        pairs = zip(gradients(attend, own, **more), gradients(attend, own, **more, deterministic=False), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("given", [None, 1, "no"])
@pytest.mark.parametrize("name", ["deterministic", "return_lse"])
def test_other_values_are_refused(name: str, given: Any) -> None:
    for attend in (sparsec.compile(TEXT), module_of(pattern_of(TEXT)).p):
        with pytest.raises(ValueError, match=rf"\[SP0606\] {name} must be True or False"):
            attend(*tensors(), **{name: given})


@pytest.mark.parametrize("more", [{}, {"documents": torch.tensor([0, 11, 30], dtype=torch.int32)}])
def test_the_backward_pass_is_told(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the operator, at whatever level of autograd."""
    told: list[bool] = []

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, arguments: tuple = (), keywords: Any = None) -> Any:
            if function.name().startswith("sparsec::") and function.name().endswith("_backward"):
                names = [each.name for each in function._schema.arguments]
                told.append(dict(zip(names, arguments, strict=False))["deterministic"])
            return function(*arguments, **(keywords or {}))

    attend, own = sparsec.compile(TEXT), tensors()
    for wanted in (True, False):
        with Seen():
            gradients(attend, own, **more, deterministic=wanted)
    with Seen():
        torch.func.grad(lambda x: attend(x, *own[1:], **more, deterministic=False).sum())(own[0].detach())
    assert told == [True, False, False]


def test_traced_and_compiled_calls_keep_it() -> None:
    attend, own = sparsec.compile(TEXT), tensors()

    class Block(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(q, k, v, deterministic=False)

    (call,) = [node for node in torch.fx.symbolic_trace(Block()).graph.nodes if node.op == "call_function"]
    assert call.kwargs["deterministic"] is False
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compile(Block(), backend=backend, fullgraph=True)(*own)
    (node,) = [each for each in graphs[0].graph.nodes if "sparsec" in str(each.target)]
    names = [each.name for each in node.target._schema.arguments]
    assert node.args[names.index("deterministic")] is False
