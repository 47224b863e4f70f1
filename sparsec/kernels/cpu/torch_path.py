"""Forward and backward pass of CPU tensors: the regions of a program one after the other, over batches of tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.cpu.backward import backward_region
from sparsec.kernels.cpu.forward import combined, forward_region
from sparsec.kernels.cpu.groups import Head, backward_groups, forward_groups
from sparsec.kernels.cpu.order import order_of
from sparsec.kernels.cpu.scores import HeadNumbers, Sums, heads_of_call
from sparsec.kernels.cpu.step import forward_step, is_step
from sparsec.kernels.machine.memory import empty_as, lying_as, of_one_size, widened
from sparsec.kernels.program.arguments import Call, Upstream
from sparsec.kernels.program.input_entries import Entries, entries_of
from sparsec.kernels.program.program import Program, Region
from sparsec.kernels.weights.dropout import RowWords, row_words_of
from sparsec.kernels.weights.sinks import with_sinks


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
def forward_cpu(program: Program, call: Call) -> tuple[Tensor, Tensor]:
    """out [B, H, n_q, D_v], and the log-sum-exp [B, H, n_q] in float32, or float64 where q is."""
    if call.is_empty:
        return call.no_results()
    q, words = call.q, _words_of(call)
    if not program.by_head and not call.inputs:
        regions = program.groups[0].at(call.k_begin + call.k.shape[2]).regions
        heads = heads_of_call(regions, q.shape[1], slice(None), q, call.k)
        out, lse = _forward_heads(program, regions, call, (), heads, words)
        return lying_as(out.to(q.dtype), q), lse.contiguous()
    out = empty_as(q, call.v.shape[3])
    lse = q.new_empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))
    for part in parts_to_run(program, call):
        own = part.of(call)
        numbers = heads_of_call(part.regions, q.shape[1], part.heads, own.q, own.k)
        some_out, some_lse = _forward_heads(program, part.regions, own, part.entries, numbers, part.words(words))
        out[part.rows, part.heads], lse[part.rows, part.heads] = some_out.to(q.dtype), some_lse
    return out, lse


def _forward_heads(
    program: Program,
    regions: tuple[Region, ...],
    call: Call,
    entries: Sequence[Entries],
    heads: HeadNumbers | None,
    words: RowWords | None,
) -> tuple[Tensor, Tensor]:
    """The softmax of some heads over all regions, exact: out [B, H, n_q, D_v], lse [B, H, n_q]."""
    if is_step(call.q.shape[2]) and not any(region.groups for region in regions):
        return with_sinks(*forward_step(program, regions, call, entries, heads, words), call.sinks)
    q, k, v = call[:3]
    if call.k_begin:
        regions = regions_after(regions, call.k_begin)
        k, v = (torch.nn.functional.pad(x, (0, 0, call.k_begin, 0)) for x in (k, v))
    exact, kv_heads = torch.promote_types(q.dtype, torch.float32), k.shape[1]
    tensors = of_one_size(_query_heads(q, kv_heads, exact), _key_heads(k, exact), _key_heads(v, exact))
    found, words = None, _words_by_key_head(words, kv_heads)
    for region in regions:
        if region.groups:
            head = Head(region, q.shape[2], k.shape[2], call.q_offset, entries, heads, words)
            more = forward_groups(head, *tensors, call.scale)
        else:
            order = order_of(region, q.shape[2], k.shape[2], call.q_offset)
            more = forward_region(order, *tensors, call.scale, entries, heads, words)
        found = more if found is None else combined(*found, *more)
    out, lse = found or (torch.zeros_like(tensors[0]), q.new_full(q.shape[:3], float("-inf"), dtype=exact))
    return with_sinks(out[..., : v.shape[3]].reshape(*q.shape[:3], v.shape[3]), lse.reshape(q.shape[:3]), call.sinks)


@_without_autocast
def backward_cpu(program: Program, call: Call, upstream: Upstream) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v."""
    q, k, v = call[:3]
    if call.is_empty:
        return call.no_gradients()
    words = _words_of(call)
    no_key = upstream.lse == float("-inf")
    upstream = upstream._replace(lse=upstream.lse.masked_fill(no_key, float("inf")))  # such a row has no weights
    if not program.by_head and not call.inputs:
        regions = program.groups[0].at(call.k_begin + k.shape[2]).regions
        numbers = heads_of_call(regions, q.shape[1], slice(None), q, k)
        dq, dk, dv = (x.to(q.dtype) for x in _backward_heads(regions, call, upstream, (), numbers, words))
        return lying_as(dq, q), lying_as(dk, k), lying_as(dv, k)
    dq = empty_as(q)
    dk, dv = (torch.zeros_like(x, dtype=upstream.lse.dtype) for x in (k, v))
    for part in parts_to_run(program, call):
        own = part.of(call)
        numbers = heads_of_call(part.regions, q.shape[1], part.heads, own.q, own.k)
        given = part.entries, numbers, part.words(words)
        found = _backward_heads(part.regions, own, upstream.of(part.queries), *given)
        dq[part.rows, part.heads] = found[0].to(q.dtype)
        dk[part.rows, part.kv_heads] += found[1]
        dv[part.rows, part.kv_heads] += found[2]
    return dq, lying_as(dk.to(k.dtype), k), lying_as(dv.to(k.dtype), k)


@_without_autocast
def input_gradients_cpu(program: Program, call: Call, upstream: Upstream) -> list[Tensor]:
    """The gradients of float inputs, [B, H or 1, entries] each: of every row of the batch for itself."""
    first = len(program.inputs) - program.score_inputs
    found = [x.new_zeros(call.q.shape[0], *x.shape[1:]) for x in call.inputs[first:]]
    if call.is_empty:
        return found
    words = _words_of(call)
    no_key = upstream.lse == float("-inf")
    upstream = upstream._replace(lse=upstream.lse.masked_fill(no_key, float("inf")))
    for part in parts_to_run(program, call):
        own = part.of(call)
        numbers = heads_of_call(part.regions, call.q.shape[1], part.heads, own.q, own.k)
        sums = {
            first + place: x.new_zeros(own.q.shape[0], part.entries[first + place].length + 1)
            for place, x in enumerate(found)
        }
        given = part.entries, numbers, part.words(words)
        _backward_heads(part.regions, own, upstream.of(part.queries), *given, sums)
        for place, x in enumerate(found):
            head = part.heads[0] if x.shape[1] > 1 else 0
            x[part.rows, head] += sums[first + place][:, : x.shape[2]]
    return found


def _backward_heads(
    regions: tuple[Region, ...],
    call: Call,
    upstream: Upstream,
    entries: Sequence[Entries],
    heads: HeadNumbers | None,
    words: RowWords | None,
    sums_of_inputs: Sums | None = None,
) -> tuple[Tensor, ...]:
    """The gradients of some heads, exact: dq, dk and dv [B, heads, rows, columns] as of q, k and v."""
    (q, k, v), k_begin, dlse = call[:3], call.k_begin, upstream.dlse
    if k_begin:
        regions = regions_after(regions, k_begin)
        k, v = (torch.nn.functional.pad(x, (0, 0, k_begin, 0)) for x in (k, v))
    exact, kv_heads, dim, v_dim = upstream.lse.dtype, k.shape[1], q.shape[3], v.shape[3]
    own = upstream.g, q, upstream.out, upstream.lse
    some_g, some_q, some_out, some_lse = (_query_heads(x, kv_heads, exact) for x in own)
    some_q, some_k, some_v = of_one_size(some_q, _key_heads(k, exact), _key_heads(v, exact))
    some_g, some_out = (widened(x, some_v.shape[2]) for x in (some_g, some_out))
    if dlse is not None:
        some_g = _wider(some_g, _query_heads(dlse, kv_heads, exact)[..., None])
        some_q, some_out = _wider(some_q), _wider(some_out, -some_out.new_ones(()))
        some_k, some_v = _wider(some_k), _wider(some_v)
    tensors = some_g, some_q, some_k, some_v, some_out, some_lse
    sums: list[Tensor] = []
    words = _words_by_key_head(words, kv_heads)
    for region in regions:
        if region.groups:
            head = Head(region, q.shape[2], k.shape[2], call.q_offset, entries, heads, words)
            more = backward_groups(head, *tensors, call.scale, sums_of_inputs)
        else:
            order = order_of(region, q.shape[2], k.shape[2], call.q_offset)
            more = backward_region(order, *tensors, call.scale, entries, heads, words, sums_of_inputs)
        sums = [x.add_(y) for x, y in zip(sums, more, strict=True)] if sums else [*more]
    if not sums:
        return tuple(torch.zeros_like(x, dtype=exact) for x in call[:3])
    dq, dk, dv = (x[..., :columns] for x, columns in zip(sums, (dim, dim, v_dim), strict=True))
    of_keys = (x.unflatten(1, k.shape[:2]).permute(1, 2, 0, 3)[:, :, k_begin:] for x in (dk, dv))
    return dq.reshape(q.shape), *of_keys


def regions_after(regions: tuple[Region, ...], k_begin: int) -> tuple[Region, ...]:
    """The regions without their pairs of keys before a position."""
    return tuple(_region_after(region, k_begin) for region in regions) if k_begin else regions


@lru_cache(maxsize=256)
def _region_after(region: Region, k_begin: int) -> Region:
    """A region without its pairs of keys before a position: what it visits shrinks where positions are contiguous."""
    contiguous = region.stride == 1 and not region.gathered

    def clipped(ranges: list) -> list:
        return [(_at_least(first, k_begin), stop) for first, stop in ranges] if contiguous else ranges

    def full(q_lo: Any, q_hi: Any, k_lo: Any, k_hi: Any, n: int, *more: Any) -> Any:
        return region.full(q_lo, q_hi, k_lo, k_hi, n, *more) & (k_lo >= k_begin) if contiguous else False

    return region._replace(
        visit=lambda *arguments: clipped(region.visit(*arguments)),
        keys=lambda *arguments: clipped(region.keys(*arguments)),
        full=full,
        keep=lambda q, k, n, *more: region.keep(q, k, n, *more) & (k >= k_begin),
        block=1,
    )


def _at_least(x: Any, least: int) -> Any:
    return x.clamp(min=least) if isinstance(x, Tensor) else max(x, least)


def _wider(x: Tensor, column: Tensor | None = None) -> Tensor:
    """x with eight columns more, zeros but for the first.

    The gradient of a log-sum-exp is taken from the sum of out * g of its row, by a column of out that is -1.
    """
    wider = torch.nn.functional.pad(x, (0, 8))
    if column is not None:
        wider[..., -8:-7] = column
    return wider


# ---------------------------------------------------------------- rows and heads


class Part(NamedTuple):
    """Rows of a batch and heads that are run together."""

    regions: tuple[Region, ...]
    rows: slice
    heads: Any  # query heads: a list, or a slice
    kv_heads: slice
    entries: Sequence[Entries]

    def of(self, call: Call) -> Call:
        """Their call; data are in `entries`."""
        k, v = (x[self.rows, self.kv_heads] for x in (call.k, call.v))
        sinks = None if call.sinks is None else self.queries(call.sinks.expand(call.q.shape[0], -1))
        return call._replace(q=self.queries(call.q), k=k, v=v, inputs=(), sinks=sinks)

    def queries(self, x: Tensor) -> Tensor:
        """Of something of all query heads."""
        return x[self.rows, self.heads]

    def words(self, words: RowWords | None) -> RowWords | None:
        """Of the words of all query heads."""
        if words is None:
            return None
        return words._replace(word=self.queries(words.word))


def parts_to_run(program: Program, call: Call) -> Iterator[Part]:
    """Everything to run, one after the other where the data differ."""
    inputs, (batch, count), kv_heads = call.inputs, call.q.shape[:2], call.k.shape[1]
    by_row, by_head = any(len(x) > 1 for x in inputs), any(x.shape[1] > 1 for x in inputs)
    for row in range(batch) if by_row else (0,):
        rows = slice(row, row + 1) if by_row else slice(None)
        for regions, heads, kv in head_groups(program, count, kv_heads, call.k_begin + call.k.shape[2], by_head):
            head = heads[0] if by_head else 0
            places = count, call.q_offset, call.k_begin
            yield Part(regions, rows, heads, kv, entries_of(program.inputs, inputs, row, head, *places))


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


def _words_of(call: Call) -> RowWords | None:
    """The words of all queries, where weights are dropped."""
    return row_words_of(call.dropout, call.q.shape[1], call.q.shape[2], call.q_offset)


def _words_by_key_head(words: RowWords | None, kv_heads: int) -> RowWords | None:
    """Words of some heads as `_query_heads` has them."""
    if words is None:
        return None
    return words._replace(word=_query_heads(words.word, kv_heads, words.word.dtype))


def _key_heads(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Some heads [B, kv_heads, n, D] as [B * kv_heads, n, D]."""
    return x.to(dtype).flatten(0, 1)
