"""Sinks: for each head a score more in the softmax of every row, which takes its share and has no value.

Weights of row i are exp(s_ij - lse_i), where lse_i = log(exp(sink) + sum_j exp(s_ij)), as in gpt-oss (OpenAI, 2025),
which learns them.  The kernels of the backward pass see nothing of it but lse; the gradient of the sinks follows from
rows alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.dispatch.derivatives import NO_DERIVATIVE, batched, under_autograd
from sparsec.kernels.launches.direct import attach, current
from sparsec.kernels.launches.prepare import padded
from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.machine.memory import as_contiguous, as_readable
from sparsec.kernels.program.program import cdiv
from sparsec.kernels.tiles.loads import rows_ptrs, tile_mask

_SINK_ROWS = 128  # of a program that sums over rows


def checked_sinks(sinks: Any, q: Tensor) -> Tensor | None:
    """The sinks of a call as [1, H], in float32, or in float64 where q is.  ValueError."""
    if sinks is None:
        return None
    if not isinstance(sinks, Tensor) or not sinks.is_floating_point():
        got = f"a tensor of {sinks.dtype}" if isinstance(sinks, Tensor) else repr(sinks)
        raise ValueError(f"[SP0606] sinks must be a tensor of real numbers, one for each query head, got {got}")
    heads = q.shape[1]
    if sinks.shape != (heads,):
        cure = f"it has one number for each of the {heads} query heads"
        raise ValueError(f"[SP0601] sinks must have the shape ({heads},), got {tuple(sinks.shape)}: {cure}")
    if sinks.device != q.device:
        devices = f"{sinks.device}, and q on {q.device}"
        raise ValueError(f"[SP0603] sinks must be on the device of q: sinks.to(q.device); got sinks on {devices}")
    return sinks.to(torch.promote_types(q.dtype, torch.float32))[None]


def with_sinks(out: Tensor, lse: Tensor, sinks: Tensor | None) -> tuple[Tensor, Tensor]:
    """out [B, H, n_q, D] and lse [B, H, n_q] of the keys, with sinks [1 or B, H]."""
    if sinks is None:
        return out, lse
    total = torch.logaddexp(lse, sinks[..., None].to(lse.dtype))
    share = torch.where(lse == float("-inf"), 0.0, torch.exp(lse - total))
    return out * share[..., None], total


# ---------------------------------------------------------------- the gradient


def _sink_gradient_cpu(g: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, sinks: Tensor) -> Tensor:
    delta = (g.to(lse.dtype) * out.to(lse.dtype)).sum(-1)
    change = -delta if dlse is None else dlse - delta
    weight = torch.where(lse == float("-inf"), 0.0, torch.exp(sinks[..., None] - lse))
    return (weight * change).sum(-1)


def _sink_gradient_gpu(g: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, sinks: Tensor) -> Tensor:
    batch, heads, n_q, head_dim = out.shape
    g, out, lse = as_readable(g), as_readable(out), as_contiguous(lse)
    parts = torch.empty(batch, heads, cdiv(n_q, _SINK_ROWS), dtype=torch.float32, device=g.device)
    strides = [stride // 8 for x in (g, out) for stride in x.stride()[:3]]
    of_rows = lse, None if dlse is None else as_contiguous(dlse), as_contiguous(sinks), parts
    by_row = sinks.stride(0) if len(sinks) > 1 else 0
    with current(g.device):
        attach(g.device)
        sink_gradient_kernel[parts.shape[2], heads, batch](
            g, out, *of_rows, *strides, by_row, heads, n_q, head_dim, _SINK_ROWS, padded(head_dim)
        )
    return parts.sum(-1)


@triton.jit(do_not_specialize=["g_b", "g_h", "g_m", "o_b", "o_h", "o_m", "sinks_b", "heads", "n_q"])
def sink_gradient_kernel(
    DO, OUT, LSE, DLSE, SINKS, PARTS, g_b, g_h, g_m, o_b, o_h, o_m, sinks_b, heads, n_q,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """PARTS [B, H, blocks of rows]: the sum of exp(sink - lse) * (dlse - sum(o * do)) over the rows of a block."""
    batch, head = tl.program_id(2), tl.program_id(1)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask, bh = tile_mask(row, n_q, HEAD_DIM, BLOCK_D), batch * heads + head
    g = tl.load(rows_ptrs(DO, g_b, g_h, g_m, batch, head, row, BLOCK_D), mask=mask, other=0.0)
    out = tl.load(rows_ptrs(OUT, o_b, o_h, o_m, batch, head, row, BLOCK_D), mask=mask, other=0.0)
    at = bh.to(tl.int64) * n_q + row
    lse = tl.load(LSE + at, mask=row < n_q, other=float("-inf"))
    change = -tl.sum(g.to(tl.float32) * out.to(tl.float32), 1)
    if DLSE is not None:
        change += tl.load(DLSE + at, mask=row < n_q, other=0.0)
    sink = tl.load(SINKS + batch * sinks_b + head)
    weight = tl.where(lse == float("-inf"), 0.0, tl.exp(sink - lse))
    tl.store(PARTS + bh.to(tl.int64) * tl.num_programs(0) + tl.program_id(0), tl.sum(weight * change, 0))


class _SinkGradient(torch.autograd.Function):
    """The gradient as a function of its own, so that asking for its derivative is an error and never a zero."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        ctx.save_for_backward(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.sparsec.sink_gradient.default(*arguments)

    @staticmethod
    def backward(ctx: Any, dsinks: Tensor) -> Any:
        _, out, lse, dlse, sinks = ctx.saved_tensors
        like_out, like_lse, like_sinks = torch.ops.sparsec.sink_gradient_refused(dsinks, out, lse, sinks)
        return like_out, like_out, like_lse, None if dlse is None else like_lse, like_sinks


def _sink_gradient_refused(*tensors: Tensor) -> None:
    """An operator, so that a graph that is traced for both derivatives still runs where only the first is asked for."""
    raise RuntimeError(NO_DERIVATIVE.format("double backward"))


def _register_sink_gradient() -> torch.library.Library | None:
    """Once per process: a generated file with the library in it may be loaded beside another."""
    if hasattr(torch.ops.sparsec, "sink_gradient"):
        return None
    library = torch.library.Library("sparsec", "FRAGMENT")
    library.define("sink_gradient(Tensor g, Tensor out, Tensor lse, Tensor? dlse, Tensor sinks) -> Tensor")
    op = torch.ops.sparsec.sink_gradient.default
    torch.library.register_fake(op, lambda g, out, lse, dlse, sinks: lse.new_empty(lse.shape[:2]), lib=library)
    torch.library.register_vmap(op, batched(op, None, 4), lib=library)
    library.impl(op, _sink_gradient_cpu, "CPU")
    library.impl(op, _sink_gradient_gpu, "CUDA")
    library.impl(op, under_autograd(op, _SinkGradient), "Autograd")
    given = "Tensor dsinks, Tensor out, Tensor lse, Tensor sinks"
    library.define(f"sink_gradient_refused({given}) -> (Tensor, Tensor, Tensor)")
    refused = torch.ops.sparsec.sink_gradient_refused.default
    torch.library.register_fake(refused, lambda dsinks, *like: tuple(map(torch.empty_like, like)), lib=library)
    for key in ("CPU", "CUDA"):
        library.impl(refused, _sink_gradient_refused, key)
    return library


_SINK_LIBRARY = _register_sink_gradient()


def sink_gradient(g: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, sinks: Tensor) -> Tensor:
    """The gradient of sinks [1 or B, H], where g and dlse are those of out and of the log-sum-exp."""
    found = torch.ops.sparsec.sink_gradient(g, out, lse, dlse, sinks)
    return found if len(sinks) > 1 else found.sum(0, keepdim=True)
