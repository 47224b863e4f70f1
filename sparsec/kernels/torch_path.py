"""Forward and backward pass of CPU tensors: the regions of a program one after the other, over batches of tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor

from sparsec.kernels.cpu_backward import backward_region
from sparsec.kernels.cpu_forward import combined, forward_region
from sparsec.kernels.cpu_order import order_of
from sparsec.kernels.cpu_scores import HeadNumbers, heads_of_call
from sparsec.kernels.cpu_step import forward_step, is_step
from sparsec.kernels.inputs import Entries, entries_of
from sparsec.kernels.memory import empty_as, lying_as
from sparsec.kernels.program import Program, Region
from sparsec.kernels.sinks import with_sinks


def _without_autocast(function: Callable) -> Callable:
    """The function without autocast, which would reach its products; turning off what is off takes microseconds."""

    @wraps(function)
    def run(*arguments: Any) -> Any:
        if not torch.is_autocast_enabled("cpu"):
            return function(*arguments)
        with torch.autocast("cpu", enabled=False):
            return function(*arguments)

    return run


@_without_autocast
def forward_cpu(
    program: Program,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    q_offset: int,
    k_begin: int = 0,
    inputs: Sequence[Tensor] = (),
    sinks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q] in float32, or float64 where q is.

    k and v are those from position `k_begin` on, and so are inputs; keys before it are not there.  `sinks` [1 or B, H]:
    a score more for each row, without a value.
    """
    exact = torch.promote_types(q.dtype, torch.float32)
    if q.numel() * k.numel() == 0:  # no row to fill, or no key to fill it from
        return empty_as(q).zero_(), q.new_full(q.shape[:3], float("-inf"), dtype=exact)
    n = k_begin + k.shape[2]
    if not program.by_head and not inputs:
        regions = program.groups[0].at(n).regions
        heads = heads_of_call(regions, q.shape[1], slice(None), q, k)
        out, lse = _forward_heads(program, regions, q, k, v, scale, q_offset, k_begin, (), heads)
        out, lse = with_sinks(out, lse, sinks)
        return lying_as(out.to(q.dtype), q), lse
    out, lse = empty_as(q), q.new_empty(q.shape[:3], dtype=exact)
    for regions, rows, heads, kv, entries in parts_to_run(program, q, k, n, inputs, q_offset, k_begin):
        tensors = q[rows, heads], k[rows, kv], v[rows, kv]
        numbers = heads_of_call(regions, q.shape[1], heads, *tensors[:2])
        found = _forward_heads(program, regions, *tensors, scale, q_offset, k_begin, entries, numbers)
        own_sinks = None if sinks is None else sinks.expand(q.shape[0], -1)[rows, heads]
        own_out, own_lse = with_sinks(*found, own_sinks)
        out[rows, heads], lse[rows, heads] = own_out.to(q.dtype), own_lse
    return out, lse


def _forward_heads(
    program: Program,
    regions: tuple[Region, ...],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    q_offset: int,
    k_begin: int,
    entries: Sequence[Entries],
    heads: HeadNumbers | None,
) -> tuple[Tensor, Tensor]:
    """The softmax of some heads over all regions, exact: out like q [B, H, n_q, D], lse [B, H, n_q]."""
    if is_step(q.shape[2]):
        return forward_step(program, regions, q, k, v, scale, q_offset, k_begin, entries, heads)
    if k_begin:
        regions = regions_after(regions, k_begin)
        k, v = (torch.nn.functional.pad(x, (0, 0, k_begin, 0)) for x in (k, v))
    exact, kv_heads = torch.promote_types(q.dtype, torch.float32), k.shape[1]
    tensors = _query_heads(q, kv_heads, exact), _key_heads(k, exact), _key_heads(v, exact)
    found = None
    for region in regions:
        more = forward_region(order_of(region, q.shape[2], k.shape[2], q_offset), *tensors, scale, entries, heads)
        found = more if found is None else combined(*found, *more)
    out, lse = found or (torch.zeros_like(tensors[0]), q.new_full(q.shape[:3], float("-inf"), dtype=exact))
    return out.reshape(q.shape), lse.reshape(q.shape[:3])


@_without_autocast
def backward_cpu(
    program: Program,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dlse: Tensor | None,
    scale: float,
    q_offset: int,
    k_begin: int = 0,
    inputs: Sequence[Tensor] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, where g and dlse are those of out and of the log-sum-exp; the rest as of forward."""
    if k_begin:
        like = k
        k, v = (torch.nn.functional.pad(x, (0, 0, k_begin, 0)) for x in (k, v))
        dq, dk, dv = _backward_from_the_start(program, g, q, k, v, out, lse, dlse, scale, q_offset, k_begin, inputs)
        return dq, lying_as(dk[:, :, k_begin:], like), lying_as(dv[:, :, k_begin:], like)
    return _backward_from_the_start(program, g, q, k, v, out, lse, dlse, scale, q_offset, 0, inputs)


def _backward_from_the_start(
    program: Program,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dlse: Tensor | None,
    scale: float,
    q_offset: int,
    k_begin: int,
    inputs: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """As `backward_cpu`, of k and v from position 0 on."""
    if q.numel() * k.numel() == 0:
        return empty_as(q).zero_(), empty_as(k).zero_(), empty_as(k).zero_()
    exact = lse.dtype
    lse = lse.masked_fill(lse == float("-inf"), float("inf"))  # a row without a key has no weights
    if not program.by_head and not inputs:
        regions = regions_after(program.groups[0].at(k.shape[2]).regions, k_begin)
        numbers = heads_of_call(regions, q.shape[1], slice(None), q, k)
        found = _backward_heads(regions, g, q, k, v, out, lse, dlse, scale, q_offset, (), numbers)
        dq, dk, dv = (x.to(q.dtype) for x in found)
        return lying_as(dq, q), lying_as(dk, k), lying_as(dv, k)
    dq = empty_as(q)
    dk, dv = (torch.zeros_like(x, dtype=exact) for x in (k, v))
    for regions, rows, heads, kv, entries in parts_to_run(program, q, k, k.shape[2], inputs, q_offset, k_begin):
        some_g, some_q, some_out, some_lse = (x[rows, heads] for x in (g, q, out, lse))
        some_dlse = None if dlse is None else dlse[rows, heads]
        tensors = some_g, some_q, k[rows, kv], v[rows, kv], some_out, some_lse, some_dlse
        numbers = heads_of_call(regions, q.shape[1], heads, some_q, k[rows, kv])
        found = _backward_heads(regions_after(regions, k_begin), *tensors, scale, q_offset, entries, numbers)
        dq[rows, heads] = found[0].to(q.dtype)
        dk[rows, kv] += found[1]
        dv[rows, kv] += found[2]
    return dq, lying_as(dk.to(k.dtype), k), lying_as(dv.to(k.dtype), k)


def _backward_heads(
    regions: tuple[Region, ...],
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dlse: Tensor | None,
    scale: float,
    q_offset: int,
    entries: Sequence[Entries],
    heads: HeadNumbers | None,
) -> tuple[Tensor, ...]:
    """The gradients of some heads, exact: dq [B, H, n_q, D], dk and dv [B, H_kv, n, D]."""
    exact, kv_heads, dim = lse.dtype, k.shape[1], q.shape[3]
    some_g, some_q, some_out, some_lse = (_query_heads(x, kv_heads, exact) for x in (g, q, out, lse))
    some_k, some_v = _key_heads(k, exact), _key_heads(v, exact)
    if dlse is not None:
        some_g = _wider(some_g, _query_heads(dlse, kv_heads, exact)[..., None])
        some_q, some_out = _wider(some_q), _wider(some_out)
        some_k, some_v = _wider(some_k), _wider(some_v, some_v.new_ones(()))
    tensors = some_g, some_q, some_k, some_v, some_out, some_lse
    sums: list[Tensor] = []
    for region in regions:
        more = backward_region(order_of(region, q.shape[2], k.shape[2], q_offset), *tensors, scale, entries, heads)
        sums = [x.add_(y) for x, y in zip(sums, more, strict=True)] if sums else [*more]
    if not sums:
        return torch.zeros_like(q, dtype=exact), torch.zeros_like(k, dtype=exact), torch.zeros_like(v, dtype=exact)
    dq, dk, dv = (x[..., :dim] for x in sums)
    return dq.reshape(q.shape), *(x.unflatten(1, k.shape[:2]).permute(1, 2, 0, 3) for x in (dk, dv))


def regions_after(regions: tuple[Region, ...], k_begin: int) -> tuple[Region, ...]:
    """The regions without their pairs of keys before a position."""
    return tuple(_region_after(region, k_begin) for region in regions) if k_begin else regions


@lru_cache(maxsize=256)
def _region_after(region: Region, k_begin: int) -> Region:
    """A region without its pairs of keys before a position: what it visits shrinks where positions are contiguous."""
    contiguous = region.stride == 1 and not region.gathered

    def clipped(ranges: list) -> list:
        return [(_at_least(first, k_begin), stop) for first, stop in ranges] if contiguous else ranges

    def is_full(q_lo: Any, q_hi: Any, k_lo: Any, k_hi: Any, n: int, *more: Any) -> Any:
        return region.is_full(q_lo, q_hi, k_lo, k_hi, n, *more) & (k_lo >= k_begin) if contiguous else False

    return region._replace(
        visit=lambda *arguments: clipped(region.visit(*arguments)),
        keys_visited=lambda *arguments: clipped(region.keys_visited(*arguments)),
        is_full=is_full,
        keep=lambda q, k, n, *more: region.keep(q, k, n, *more) & (k >= k_begin),
        block=1,
        period=0,
    )


def _at_least(x: Any, least: int) -> Any:
    return x.clamp(min=least) if isinstance(x, Tensor) else max(x, least)


def _wider(x: Tensor, column: Tensor | None = None) -> Tensor:
    """x with eight columns more, zeros but for the first: the gradient of a log-sum-exp is that of a value of ones."""
    wider = torch.nn.functional.pad(x, (0, 8))
    if column is not None:
        wider[..., -8:-7] = column
    return wider


# ---------------------------------------------------------------- rows and heads

_Part = tuple[tuple[Region, ...], slice, Any, slice, Sequence[Entries]]


def parts_to_run(
    program: Program, q: Tensor, k: Tensor, n: int, inputs: Sequence[Tensor], q_offset: int, k_begin: int
) -> Iterator[_Part]:
    """(regions, rows of the batch, query heads, key heads, data) of everything to run, one after the other where the
    data differ.
    """
    by_row, by_head = any(len(x) > 1 for x in inputs), any(x.shape[1] > 1 for x in inputs)
    for row in range(q.shape[0]) if by_row else (0,):
        rows = slice(row, row + 1) if by_row else slice(None)
        for regions, heads, kv in head_groups(program, q.shape[1], k.shape[1], n, by_head):
            head = heads[0] if by_head else 0
            places = q.shape[1], q_offset, k_begin
            yield regions, rows, heads, kv, entries_of(program.inputs, inputs, row, head, *places)


def head_groups(
    program: Program, heads: int, kv_heads: int, n: int, one_by_one: bool = False
) -> Iterator[tuple[tuple[Region, ...], Any, slice]]:
    """(regions, query heads, key heads) of everything to run: the query heads share the key heads evenly."""
    if not program.by_head and not one_by_one:
        yield program.groups[0].at(n).regions, slice(None), slice(None)
        return
    shared_by = heads // kv_heads
    for group in program.groups:
        own = range(heads) if group.heads is None else group.heads
        for kv_head in range(kv_heads):
            shared = [head for head in own if head // shared_by == kv_head]
            for some in [[head] for head in shared] if one_by_one else [shared] if shared else []:
                yield group.at(n).regions, some, slice(kv_head, kv_head + 1)


def _query_heads(x: Tensor, kv_heads: int, dtype: torch.dtype) -> Tensor:
    """Some heads [B, heads, n_q, ..] as [B * kv_heads, group, n_q, ..]."""
    return x.to(dtype).reshape(x.shape[0] * kv_heads, -1, *x.shape[2:])


def _key_heads(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Some heads [B, kv_heads, n, D] as [B * kv_heads, n, D]."""
    return x.to(dtype).flatten(0, 1)
