"""A decoding step of CPU tensors: the keys that the last rows of each sequence see, and no others."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsec.kernels.arguments import Call
from sparsec.kernels.cpu_forward import attend_densely, of_one_size
from sparsec.kernels.decode_pages import Pages, taken
from sparsec.kernels.decode_program import Steps
from sparsec.kernels.program import Program
from sparsec.kernels.sinks import with_sinks
from sparsec.kernels.torch_path import forward_cpu


def decode_cpu(
    steps: Steps, program: Program, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, pages: Pages,
    sinks: Tensor | None, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """q [B, m, H, D] -> out [B, m, H, D_v], and the log-sum-exp [B, m, H]; `sinks` [1, H]."""
    numbers = lengths.tolist()
    if pages.table is None and numbers and len({*numbers}) == 1:
        return _step_of_length(steps, program, q, k[:, :, : numbers[0]], v[:, :, : numbers[0]], sinks, scale)
    out = q.new_zeros(*q.shape[:3], v.shape[3])
    lse = q.new_full(q.shape[:3], float("-inf"), dtype=torch.promote_types(q.dtype, torch.float32))
    for row, n in enumerate(numbers):
        own_k, own_v = (pages.keys_of(x, row, n) for x in (k, v))
        out[row : row + 1], lse[row : row + 1] = _step_of_length(
            steps, program, q[row : row + 1], own_k, own_v, sinks, scale
        )
    return out, lse


def _step_of_length(
    steps: Steps, program: Program, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """The step of sequences of one length, with all of their keys: k and v as of attention."""
    m, n = q.shape[1], k.shape[2]
    rows = min(m, n)
    if m == 1 and n and (keys := _seen_keys(steps, n)) is not None:
        out, lse = _attend_row(q[:, 0], taken(k, keys), taken(v, keys), scale)
        out, lse = with_sinks(out[:, :, None], lse[:, :, None], sinks)
        return out.transpose(1, 2).to(q.dtype), lse.transpose(1, 2)
    out, lse = forward_cpu(program, Call(q[:, m - rows :].transpose(1, 2), k, v, scale, n - rows, sinks=sinks))
    out, lse = out.transpose(1, 2), lse.transpose(1, 2)
    if rows == m:
        return out, lse
    whole = q.new_zeros(*q.shape[:3], v.shape[3]), lse.new_full(q.shape[:3], float("-inf"))
    whole[0][:, m - rows :], whole[1][:, m - rows :] = out, lse
    return whole


def _seen_keys(steps: Steps, n: int) -> list[slice | Tensor] | None:
    """The keys that the last of n rows sees, for all heads; None where ranges don't say it, or there are none."""
    if len(steps.groups) > 1:
        return None
    found: list[slice | Tensor] = []
    for region in steps.groups[0].regions:
        if not region.exact or region.answers.score is not None:
            return None
        found += region.keys_seen(n)
    return found or None


def _attend_row(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """One row q [B, H, D] over all keys, exactly: out [B, H, D_v], and lse [B, H]."""
    exact = torch.promote_types(q.dtype, torch.float32)
    rows = q.to(exact).unflatten(1, (k.shape[1], -1))
    out, lse = attend_densely(*of_one_size(rows, k.to(exact), v.to(exact)), None, scale)
    return out[..., : v.shape[3]].flatten(1, 2), lse.flatten(1, 2)
