"""Calls like one before, in Triton's interpreter: prepared passes give what the operator gives, gradients too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.longer import longer
from support.no_gpu import call_of, remember
from support.two_paths import drawn
from torch import Tensor

import sparsec
from sparsec.kernels.launches.launch import Pass
from sparsec.kernels.operator import packed
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Upstream

N = 40


pytestmark = pytest.mark.usefixtures("small_tiles")


def whole(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


LISTED = "input g: int[t] pattern p = causal & (q - k < 5 | k in g)"
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # a text, and what two calls are given
    "documents": ("past(20)", {"documents": whole(0, 13, 29, N)}, {"documents": whole(3, 3, 8, 20, 21, 35)}),
    "plain": ("past(20) | sinks(3)", {}, {}),
    "starts": ("past(9)", {"documents": whole(*[0] * 9, *[9] * 31)[None]}, {"documents": whole(*range(N))[None]}),
    "lengths": ("past(20)", {"lengths": whole(33)}, {"lengths": whole(7)}),
    "a number": ("input w: int pattern p = causal & q - k < w", {"w": whole(3)[0]}, {"w": whole(17)[0]}),
    "a list": (LISTED, {"g": whole(3, 17, 5)}, {"g": whole(1, 1, 30)}),
    "positions": (
        "input b: bool[n] pattern p = causal & b[k]",
        {"b": torch.arange(N) % 3 == 0},
        {"b": torch.arange(N) % 5 < 2},
    ),
    "documents and a number": (
        "input w: int pattern p = causal & q - k < w",
        {"w": whole(3)[0], "documents": whole(0, 13, N)},
        {"w": whole(20)[0], "documents": whole(0, 1, 2, 30)},
    ),
    "sinks": ("past(20)", {"sinks": drawn((2,))[0]}, {"sinks": drawn((2,))[0] + 1}),
    "scores": (
        "input b: float[H] score s1 = s + b pattern p = past(20) with s1",
        {"b": drawn((2,))[0]},
        {"b": drawn((2,))[0] - 1},
    ),
}


def leaves(given: dict[str, Any]) -> dict[str, Any]:
    """What is given, real numbers as leaves of their own."""
    return {name: x.clone().requires_grad_() if x.is_floating_point() else x for name, x in given.items()}


def passes(attend: Callable, tensors: list[Tensor], given: dict[str, Any]) -> list[Tensor]:
    """out, lse and the gradients of q, k and v by the passes that prepare everything anew."""
    call = call_of(attend, *tensors[:3], **given)
    program, several = attend._operator.program, call.table is not None
    out, lse = (packed.forward_packed if several else forward_gpu)(program, call)
    upstream = Upstream(tensors[3], out, lse, tensors[4].masked_fill(lse == -torch.inf, 0))
    return [
        out,
        lse,
        *(packed.backward_packed if several else backward_gpu)(program, call._replace(sinks=None), upstream),
    ]


@pytest.mark.parametrize("name", longer([*CASES], 4))
def test_calls_like_one_before(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Bit for bit what the same kernels give where everything is checked and prepared anew."""
    text, *calls = CASES[name]
    attend = sparsec.compile(text if "pattern" in text else f"pattern p = {text}")
    repeated, program = attend._operator.repeated, attend._operator.program
    program.passes.clear()
    repeated.forget()
    tensors = drawn((1, 2, N, 16), (1, 1, N, 16), (1, 1, N, 16), (1, 2, N, 16), (1, 2, N))
    tensors = [x.half() if x.dim() == 4 else x for x in tensors]  # calls of float32 are not compared in C
    with torch.no_grad():
        expected = [passes(attend, tensors, given) for given in calls]
    own = [x.clone().requires_grad_() for x in tensors[:3]]
    known = remember(attend, *own, **leaves(calls[0]))
    repeated.last = known  # as after a call
    ran: list[Pass] = []
    run = Pass.__call__
    monkeypatch.setattr(Pass, "__call__", lambda self, env: ran.append(self) or run(self, env))
    for given, wanted in zip(calls, expected, strict=True):
        real = leaves(given)
        out, lse = attend(*own, **real, return_lse=True)
        assert torch.equal(out, wanted[0])
        assert torch.equal(lse, wanted[1])
        upstream = tensors[3], tensors[4].masked_fill(lse == -torch.inf, 0)
        more = [x for x in real.values() if x.requires_grad]
        found = torch.autograd.grad((out, lse), (*own, *more), upstream)
    (gradients,) = known.backward.values()
    assert ran == [known.forward, known.forward, gradients.run]  # the first backward pass was that of a CPU
    assert all(map(torch.equal, found[:3], wanted[2:]))
    assert [x.shape for x in found[3:]] == [x.shape for x in more]
    repeated.forget()
