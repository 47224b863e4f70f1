"""The operator itself as a peer of what it runs by default: in its plain tier of kernels, or not deterministic."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparsec.bench.race import Peer, Tensors
from sparsec.cache.records import digest, module_name
from sparsec.codegen.emit import emit
from sparsec.ir import nodes as ir
from sparsec.kernels.hopper.rules import TIER
from sparsec.kernels.hopper.tier import machine_lacks
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.program import Program
from sparsec.plan.build import build
from sparsec.runtime.derived import function_of
from sparsec.runtime.module import module


def plain(pattern: ir.Pattern, t: Tensors) -> Peer:
    """The operator with kernels of the plain tier alone."""
    if lacking := machine_lacks(t.device):
        raise NotImplementedError(f"without {lacking}, the plain tier is all there is")
    if pattern.inputs:
        raise NotImplementedError("patterns with inputs have one tier")
    text = emit(build(pattern))
    program = module(text, module_name("plain", digest(text.encode())))._PROGRAM
    program, scale = replace(program, compiled={}, passes={}), t.q.shape[3] ** -0.5
    return lambda q, k, v: _PlainTier.apply(q, k, v, program, scale), {}, True


def nondeterministic(pattern: ir.Pattern, t: Tensors) -> Peer:
    """The operator with sums of gradients in any order."""
    if lacking := machine_lacks(t.device):
        raise NotImplementedError(f"without {lacking}, all sums have one order")
    return partial(function_of(pattern), deterministic=False, **t.keywords), {}, True


class _PlainTier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, program: Program, scale: float) -> Tensor:
        with _tier("plain"):
            out, lse = forward_gpu(program, Call(q, k, v, scale))
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.program, ctx.scale = program, scale
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, out, lse = ctx.saved_tensors
        with _tier("plain"):
            return (*backward_gpu(ctx.program, Call(q, k, v, ctx.scale), Upstream(g, out, lse)), None, None)


@contextmanager
def _tier(wanted: str) -> Iterator[None]:
    before = os.environ.get(TIER)
    os.environ[TIER] = wanted
    try:
        yield
    finally:
        os.environ.pop(TIER) if before is None else os.environ.update({TIER: before})
