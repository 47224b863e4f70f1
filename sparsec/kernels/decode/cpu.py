"""A decoding step of CPU tensors: the keys that the last rows of each sequence see, and no others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.cpu.forward import attend_densely
from sparsec.kernels.cpu.torch_path import forward_cpu
from sparsec.kernels.decode.pages import Pages, taken
from sparsec.kernels.decode.program import Steps
from sparsec.kernels.dispatch.watched import likeness
from sparsec.kernels.machine.memory import of_one_size
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.program import Program
from sparsec.kernels.weights.sinks import with_sinks


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


class RowStep:
    """A step of one row like one before, without the checks of that: most of a short step would be theirs."""

    def __init__(
        self, steps: Steps, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float, given: tuple
    ) -> None:
        """q [B, H, D] and a cache [B, H_kv, N, D] that were found sound; `given`: as of calls."""
        self.steps, self.scale, self.given = steps, scale, given
        self.alike = likeness(q, k, v, lengths)
        self.keys: tuple[int, list[slice | Tensor] | None] = (0, None)  # of the last length, for other layers

    def __call__(self, q: Any, k: Any, v: Any, lengths: Any, given: tuple) -> Any:
        """What the call returns; None for one that is not like that one, or of sequences of other lengths."""
        if given != self.given or self.alike is None or not self.alike(q, k, v, lengths):
            return None
        numbers = lengths.tolist()
        n = numbers[0]
        if not 0 < n <= k.shape[2] or (len(numbers) > 1 and {*numbers} != {n}):
            return None
        known, keys = self.keys
        if known != n:
            keys = _seen_keys(self.steps, n)
            self.keys = n, keys
        if keys is None:
            return None
        out, lse = _attend_row(q, taken(k, keys), taken(v, keys), self.scale)
        if out.dtype != q.dtype:
            out = out.to(q.dtype)
        return (out, lse.flatten(1)) if given[1] else out


def _step_of_length(
    steps: Steps, program: Program, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """The step of sequences of one length, with all of their keys: k and v as of attention."""
    m, n = q.shape[1], k.shape[2]
    rows = min(m, n)
    if m == 1 and n and (keys := _seen_keys(steps, n)) is not None:
        out, lse = _attend_row(q[:, 0], taken(k, keys), taken(v, keys), scale)
        out, lse = with_sinks(out[:, :, None], lse.flatten(1)[:, :, None], sinks)
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
    """One row q [B, H, D] over all keys, exactly: out [B, H, D_v] in float32 or float64, and lse [B, H_kv, group].

    Every operation more than these few would be a part of a short step's time that shows.
    """
    batch, heads, size = q.shape
    rows = q.view(batch, k.shape[1], -1, size)
    if q.dtype is not torch.float32 and q.dtype is not torch.float64:
        rows, k, v = rows.float(), k.float(), v.float()
    v_size = v.shape[3]
    if size != v_size:
        rows, k, v = of_one_size(rows, k, v)
    out, lse = attend_densely(rows, k, v, None, scale)
    if size > v_size:
        out = out[..., :v_size]
    return out.reshape(batch, heads, v_size), lse
