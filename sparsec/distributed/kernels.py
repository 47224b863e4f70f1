"""Two results on the same rows put into one: a single pass over memory, where torch's operations take four."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsec.kernels.launches.prepare import padded
from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.program.program import cdiv

_ROWS = 64


def join_rows(a: Tensor, b: Tensor, a_lse: Tensor | None, b_lse: Tensor | None) -> None:
    """Put b [B, H, rows, D] into a: with log-sum-exps [B, H, rows] as one softmax of disjoint keys, else their sum.

    In float32, rounded once; a and a_lse are written.  Any strides but those of the last dimension, which are 1.
    """
    batch, heads, rows, size = a.shape
    if a.numel() == 0:
        return
    lse_strides = (0, 0, 0, 0, 0, 0) if a_lse is None or b_lse is None else (*a_lse.stride(), *b_lse.stride())
    with torch.cuda.device_of(a):
        join_kernel[cdiv(rows, _ROWS), heads, batch](
            a, b, a_lse, b_lse, *a.stride()[:3], *b.stride()[:3], *lse_strides, rows,
            SIZE=size, BLOCK=_ROWS, COLUMNS=padded(size),
        )  # fmt: skip


@triton.jit(do_not_specialize=["rows"])
def join_kernel(
    A, B, A_LSE, B_LSE, a_b, a_h, a_m, b_b, b_h, b_m, al_b, al_h, al_m, bl_b, bl_h, bl_m, rows,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A = A * share + B * (1 - share) by the log-sum-exps, or A + B where there are none."""
    head, batch = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    row, column = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64), tl.arange(0, COLUMNS)
    there = row < rows
    inside = there[:, None] & (column < SIZE)[None, :]
    a_at = A + batch * a_b + head * a_h + row[:, None] * a_m + column[None, :]
    b_at = B + batch * b_b + head * b_h + row[:, None] * b_m + column[None, :]
    a = tl.load(a_at, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(b_at, mask=inside, other=0.0).to(tl.float32)
    if A_LSE is not None:
        a_lse_at = A_LSE + batch * al_b + head * al_h + row * al_m
        a_lse = tl.load(a_lse_at, mask=there, other=float("-inf"))
        b_lse = tl.load(B_LSE + batch * bl_b + head * bl_h + row * bl_m, mask=there, other=float("-inf"))
        most = tl.maximum(a_lse, b_lse)
        most = tl.where(most == float("-inf"), 0.0, most)  # no key in either
        a_weight, b_weight = tl.exp(a_lse - most), tl.exp(b_lse - most)
        total = a_weight + b_weight
        safe = tl.where(total == 0.0, 1.0, total)
        a, b = a * (a_weight / safe)[:, None], b * (b_weight / safe)[:, None]
        tl.store(a_lse_at, most + tl.log(total), mask=there)
    tl.store(a_at, (a + b).to(A.dtype.element_ty), mask=inside)
