"""Forward and backward pass of CPU tensors in torch: the same regions and ranges as the kernels, in larger tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from sparsec.kernels.memory import empty_as, lying_as
from sparsec.kernels.program import Program, Region, gathered_keys
from sparsec.kernels.tables import Source, Table, named_keys, rows_of_queries
from sparsec.kernels.tile_lists import tile_list, unpacked

_ROWS, _KEYS = 96, 1024  # queries and keys of one step
_TILE = 64  # keys of a tile of a list
_ENTRIES = 1 << 24  # of a table, at a time
_TOGETHER = 4096  # keys of residue classes that are alike, in one step

Keys: TypeAlias = slice | Tensor


@torch.autocast("cpu", enabled=False)  # which would reach the products below
def forward_cpu(
    program: Program, q: Tensor, k: Tensor, v: Tensor, scale: float, q_offset: int
) -> tuple[Tensor, Tensor]:
    """out like q, and the log-sum-exp [B, H, n_q] in float32, or float64 where q is."""
    exact = torch.promote_types(q.dtype, torch.float32)
    out, lse = empty_as(q), q.new_empty(q.shape[:3], dtype=exact)
    if q.numel() * k.numel() == 0:  # no row to fill, or no key to fill it from
        return out.zero_(), lse.fill_(float("-inf"))
    for regions, heads, kv in _head_groups(program, q.shape[1], k.shape[1], k.shape[2]):
        kv_heads = len(range(k.shape[1])[kv])
        # A few rows visit few keys; many visit each key often, so that all are converted once.
        dtype = k.dtype if q.shape[2] <= _ROWS else exact
        tensors = _query_heads(q, heads, kv_heads, exact), _key_heads(k, kv, dtype), _key_heads(v, kv, dtype)
        some_out, some_lse = _forward_regions(program, regions, *tensors, scale, q_offset)
        out[:, heads] = some_out.view(out[:, heads].shape).to(q.dtype)
        lse[:, heads] = some_lse.view(lse[:, heads].shape)
    return out, lse


@torch.autocast("cpu", enabled=False)  # which would reach the products below
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
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v, where g and dlse are those of out and of the log-sum-exp."""
    if q.numel() * k.numel() == 0:
        return empty_as(q).zero_(), empty_as(k).zero_(), empty_as(k).zero_()
    exact = lse.dtype
    delta = (out.to(exact) * g.to(exact)).sum(3)
    if dlse is not None:
        delta -= dlse
    dq = empty_as(q)
    dk, dv = k.new_zeros(k.shape, dtype=exact), v.new_zeros(v.shape, dtype=exact)
    for regions, heads, kv in _head_groups(program, q.shape[1], k.shape[1], k.shape[2]):
        kv_heads = len(range(k.shape[1])[kv])
        some_g, some_q, some_lse, some_delta = (_query_heads(x, heads, kv_heads, exact) for x in (g, q, lse, delta))
        some_k, some_v = _key_heads(k, kv, exact), _key_heads(v, kv, exact)
        sums = torch.zeros_like(some_q), dk[:, kv].view(some_k.shape), dv[:, kv].view(some_v.shape)
        tensors = some_g, some_q, some_k, some_v, some_lse, some_delta
        _backward_regions(program, regions, *tensors, *sums, scale, q_offset)
        dq[:, heads] = sums[0].view(dq[:, heads].shape).to(q.dtype)
    return dq, lying_as(dk.to(k.dtype), k), lying_as(dv.to(k.dtype), k)


# ---------------------------------------------------------------- heads


def _head_groups(
    program: Program, heads: int, kv_heads: int, n: int
) -> Iterator[tuple[tuple[Region, ...], Any, slice]]:
    """(regions, query heads, key heads) of everything to run: the query heads share the key heads evenly."""
    if not program.by_head:
        yield program.groups[0].at(n).regions, slice(None), slice(None)
        return
    shared_by = heads // kv_heads
    for group in program.groups:
        for kv_head in range(kv_heads):
            shared = [head for head in group.heads or () if head // shared_by == kv_head]
            if shared:
                yield group.at(n).regions, shared, slice(kv_head, kv_head + 1)


def _query_heads(x: Tensor, heads: Any, kv_heads: int, dtype: torch.dtype) -> Tensor:
    """The chosen heads of x [B, H, n_q, ...] as [B * kv_heads, group, n_q, ...]."""
    chosen = x[:, heads].to(dtype)
    return chosen.reshape(chosen.shape[0] * kv_heads, -1, *chosen.shape[2:])


def _key_heads(x: Tensor, heads: slice, dtype: torch.dtype) -> Tensor:
    """The chosen heads of x [B, H_kv, n, D] as [B * kv_heads, n, D]."""
    return x[:, heads].to(dtype).flatten(0, 1)


# ---------------------------------------------------------------- regions


class _Piece(NamedTuple):
    """Queries and keys that a region brings together: several residue classes alike at a time.

    Positions are in the region's own order.
    """

    rows: tuple[slice, ...]  # of the queries
    keys: tuple[Keys, ...]  # of the keys: slices, or a tensor of positions
    q_first: int  # place of the first query
    length: int  # number of keys, of each class
    residues: tuple[tuple[int, ...], ...] = ((),)  # what bounds take besides, for each class


def _pieces(region: Region, n_q: int, n: int, q_offset: int) -> Iterator[_Piece]:
    if region.gathered:
        keys = gathered_keys(n, region.gathered, torch.device("cpu"))
        yield _Piece((slice(None),), (keys,), q_offset, len(keys))
    elif region.stride > 1:
        yield from _residue_classes(region.stride, n_q, n, q_offset)
    else:
        yield _Piece((slice(None),), (slice(None),), q_offset, n)


def _residue_classes(stride: int, n_q: int, n: int, q_offset: int) -> Iterator[_Piece]:
    """Classes of equal shape side by side."""
    alike: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for row in range(min(stride, n_q)):
        q_first, residue = divmod(q_offset + row, stride)
        lengths = len(range(row, n_q, stride)), len(range(residue, n, stride))
        alike.setdefault((q_first, *lengths), []).append((row, residue))
    for (q_first, _, length), classes in alike.items():
        together = max(1, _TOGETHER // max(length, 1))
        for first in range(0, len(classes), together):
            some = classes[first : first + together]
            rows = tuple(slice(row, None, stride) for row, _ in some)
            places = tuple(slice(residue, None, stride) for _, residue in some)
            yield _Piece(rows, places, q_first, length, tuple((residue,) for _, residue in some))


def _positions(region: Region, piece: _Piece, first: int, stop: int) -> Tensor:
    """Absolute positions of the keys at first..stop of a piece, [1, keys] or [classes, 1, keys]."""
    if isinstance(piece.keys[0], Tensor):
        return piece.keys[0][None, first:stop]
    if region.stride > 1:
        return torch.arange(first, stop) * region.stride + torch.tensor(piece.residues)[:, None]
    return torch.arange(first, stop)[None]


def _read(sources: Sequence[Source], region: Region, piece: _Piece, row: int, n_q: int, n: int) -> list[Table]:
    """Tables for the queries from `row` on: all n_q of the piece, or fewer where rows are long."""
    most = [_ENTRIES // max(min(source.width, n), 1) * source.size for source in sources]
    band = max(min(most, default=n_q) // _ROWS, 1) * _ROWS
    first = row // band * band
    q_lo, q_hi = piece.q_first + first, piece.q_first + min(first + band, n_q) - 1
    if region.stride > 1:
        residues = [residue for (residue,) in piece.residues]
        q_lo, q_hi = q_lo * region.stride + min(residues), q_hi * region.stride + max(residues)
    return [rows_of_queries(source, q_lo, q_hi, n, torch.device("cpu")) for source in sources]


def _chunks(
    program: Program, region: Region, piece: _Piece, row: int, rows: int, n_q: int, n: int
) -> Iterator[tuple[Keys, Tensor | None]]:
    """(places of keys, mask or None) for every chunk of keys that `rows` queries of n_q from `row` on visit."""
    if "rows" in region.tile_lists:
        yield from _listed_chunks(region, piece, row, rows, n_q, n)
        return
    q_lo = piece.q_first + row
    q_hi = q_lo + max(rows, program.min_tile) - 1
    q = torch.arange(q_lo, q_lo + rows)[:, None]
    if region.stride > 1:
        q = q * region.stride + torch.tensor(piece.residues)[:, None]
    tables = _read([source for _, source in region.tables], region, piece, row, n_q, n)
    ranges = [some for residue in piece.residues for some in region.visit(q_lo, q_hi, n, *residue, *region.more)]
    visited = _disjoint(ranges, piece.length)
    for first, stop in visited:
        for k_lo in range(first, stop, _KEYS):
            k_end = min(k_lo + _KEYS, stop)
            edges = q_lo, q_hi, k_lo, k_end - 1, n
            long = k_end - k_lo >= program.min_tile
            whole = long and all(region.is_full(*edges, *residue, *region.more) for residue in piece.residues)
            k = _positions(region, piece, k_lo, k_end)
            mask = None if whole else region.keep(q, k, n, *tables, *region.more)
            yield slice(k_lo, k_end), mask
    if region.rows_tables:
        named = _read(region.rows_tables, region, piece, row, n_q, n)
        for keys in named_keys(region.rows_tables, named, q_lo, q_hi, n, visited).split(_KEYS):
            if len(keys):
                yield keys, region.keep(q, keys[None, :], n, *tables, *region.more)


def _listed_chunks(
    region: Region, piece: _Piece, row: int, rows: int, n_q: int, n: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `_chunks`, of the tiles of a list."""
    found = tile_list(region, "rows", n_q, n, piece.q_first, _ROWS, _TILE, torch.device("cpu"))
    first, stop = found.starts[row // _ROWS : row // _ROWS + 2].tolist()
    for start in range(first, stop, _KEYS // _TILE):
        some = slice(start, min(start + _KEYS // _TILE, stop))
        keys = ((found.tiles[some] // 2).to(torch.int64)[:, None] * _TILE + torch.arange(_TILE)).flatten()
        mask = unpacked(found, some)[:, :rows].transpose(0, 1).flatten(1)
        yield keys[keys < n], mask[:, keys < n]


def _disjoint(ranges: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Half-open ranges within 0..length, in rising order, each position once."""
    result, done = [], 0
    for first, stop in sorted(ranges):
        first, stop = max(first, done), min(stop, length)
        if first < stop:
            result.append((first, stop))
            done = stop
    return result


def _side_by_side(x: Tensor, dim: int, places: Sequence[Keys]) -> Tensor:
    """x [X, ..] at each of some places of a dimension, as [X * places, ..]."""
    some = [x[(slice(None),) * dim + (place,)] for place in places]
    return some[0] if len(some) == 1 else torch.stack(some, 1).flatten(0, 1)


def _one_by_one(x: Tensor, count: int) -> Sequence[Tensor]:
    """What stands side by side, as [X, ..] for each of the places."""
    return x.unflatten(0, (-1, count)).unbind(1)


@lru_cache(maxsize=64)
def kept_pairs(program: Program, heads: int, kv_heads: int, n_q: int, n: int, q_offset: int) -> int:
    """Pairs that the pattern keeps in all heads; partial tiles are looked at pair by pair."""
    total = 0
    for regions, own, _ in _head_groups(program, heads, kv_heads, n):
        served = heads if isinstance(own, slice) else len(own)
        total += served * sum(_pairs_of(program, region, n_q, n, q_offset) for region in regions)
    return total


def _pairs_of(program: Program, region: Region, n_q: int, n: int, q_offset: int) -> int:
    kept = 0
    for piece in _pieces(region, n_q, n, q_offset):
        classes, length = len(piece.rows), len(range(n_q)[piece.rows[0]])
        for row in range(0, length, _ROWS):
            rows = min(_ROWS, length - row)
            for keys, mask in _chunks(program, region, piece, row, rows, length, n):
                count = keys.stop - keys.start if isinstance(keys, slice) else len(keys)
                tile = classes, rows, count
                kept += classes * rows * count if mask is None else int(mask.expand(tile).sum())
    return kept


# ---------------------------------------------------------------- forward


def _forward_regions(
    program: Program, regions: tuple[Region, ...], q: Tensor, k: Tensor, v: Tensor, scale: float, q_offset: int
) -> tuple[Tensor, Tensor]:
    """The softmax over all regions, each continuing the one before: q [X, group, n_q, D] -> out, lse."""
    n_q, n = q.shape[2], k.shape[1]
    if len(regions) == 1 and regions[0].stride == 1:
        (piece,) = _pieces(regions[0], n_q, n, q_offset)
        return _forward_rows(program, regions[0], piece, q, k[:, piece.keys[0]], v[:, piece.keys[0]], scale, n)
    out, lse = torch.empty_like(q), q.new_empty(q.shape[:3])
    for region in regions:
        for piece in _pieces(region, n_q, n, q_offset):
            some_q = _side_by_side(q, 2, piece.rows)
            some_k, some_v = (_side_by_side(x, 1, piece.keys) for x in (k, v))
            found = _forward_rows(program, region, piece, some_q, some_k, some_v, scale, n)
            places = zip(piece.rows, *(_one_by_one(x, len(piece.rows)) for x in found), strict=True)
            for rows, some_out, some_lse in places:
                if region is not regions[0]:
                    some_out, some_lse = _combined(out[:, :, rows], lse[:, :, rows], some_out, some_lse)
                out[:, :, rows], lse[:, :, rows] = some_out, some_lse
    return out, lse


def _combined(out: Tensor, lse: Tensor, more_out: Tensor, more_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Two softmaxes over disjoint keys as one."""
    total = torch.logaddexp(lse, more_lse)
    safe = total.masked_fill(total == float("-inf"), 0.0)[..., None]
    weighted = out * (lse[..., None] - safe).exp()
    return weighted.addcmul_(more_out, (more_lse[..., None] - safe).exp()), total


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """q [X, group * rows, D], k [X, keys, D] -> scaled scores [X, group * rows, keys], -inf where the mask is false."""
    s = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=scale)  # beta 0: the first is not read
    if mask is not None:  # [rows, keys] or [classes, rows, keys]; one row stands for all
        rows, keys = s.shape[1:]
        mask = mask.expand(*mask.shape[:-1], keys)
        classes, own = mask.shape[0] if mask.dim() > 2 else 1, mask.shape[-2]
        s.view(-1, classes, rows // own, own, keys).masked_fill_(~mask.view(classes, 1, own, keys), float("-inf"))
    return s


def _forward_rows(
    program: Program, region: Region, piece: _Piece, q: Tensor, k: Tensor, v: Tensor, scale: float, n: int
) -> tuple[Tensor, Tensor]:
    """q [X, group, n_q, D], k and v [X, keys, D] of a piece, of any dtype -> out like q, lse [X, group, n_q]."""
    x, group, n_q, dim = q.shape
    out, lse = q.new_empty(q.shape), q.new_empty(x, group, n_q)
    for row in range(0, n_q, _ROWS):
        rows = min(_ROWS, n_q - row)
        q_tile = q[:, :, row : row + rows].reshape(x, -1, dim)
        m_i = q.new_full((x, group * rows, 1), torch.finfo(q.dtype).min)  # finite: exp(-inf - m_i) is 0, never NaN
        l_i = torch.zeros_like(m_i)
        acc = torch.zeros_like(q_tile)
        for keys, mask in _chunks(program, region, piece, row, rows, n_q, n):
            s = _scores(q_tile, k[:, keys].to(q.dtype), mask, scale)
            m_new = torch.maximum(m_i, s.amax(2, keepdim=True))
            p = s.sub_(m_new).exp_()
            alpha = (m_i - m_new).exp_()
            l_i = l_i * alpha + p.sum(2, keepdim=True)
            acc = acc.mul_(alpha).baddbmm_(p, v[:, keys].to(q.dtype))
            m_i = m_new
        some = l_i > 0  # a row without a key gives 0 and a log-sum-exp of -inf
        l_safe = torch.where(some, l_i, 1.0)
        out[:, :, row : row + rows] = (acc / l_safe).view(x, group, rows, dim)
        tile_lse = torch.where(some, m_i + l_safe.log(), float("-inf"))
        lse[:, :, row : row + rows] = tile_lse.view(x, group, rows)
    return out, lse


# ---------------------------------------------------------------- backward


def _backward_regions(
    program: Program,
    regions: tuple[Region, ...],
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lse: Tensor,
    delta: Tensor,
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    scale: float,
    q_offset: int,
) -> None:
    """Fills dq like q [X, group, n_q, D], adds to dk and dv [X, keys, D]."""
    n_q, n = q.shape[2], k.shape[1]
    lse = lse.masked_fill(lse == float("-inf"), float("inf"))  # a row without a key has no weights
    for region in regions:
        for piece in _pieces(region, n_q, n, q_offset):
            some_g, some_q, some_lse, some_delta, some_dq = (
                _side_by_side(x, 2, piece.rows) for x in (g, q, lse, delta, dq)
            )
            some_k, some_v, some_dk, some_dv = (_side_by_side(x, 1, piece.keys) for x in (k, v, dk, dv))
            tensors = some_g, some_q, some_k, some_v, some_lse, some_delta
            _backward_rows(program, region, piece, *tensors, some_dq, some_dk, some_dv, scale, n)
            count = len(piece.rows)
            if count > 1:  # copies, as are keys that were gathered
                for place, some in zip(piece.rows, _one_by_one(some_dq, count), strict=True):
                    dq[:, :, place] = some
            if count > 1 or not isinstance(piece.keys[0], slice):
                for x, sums in ((dk, some_dk), (dv, some_dv)):
                    for keys, some in zip(piece.keys, _one_by_one(sums, count), strict=True):
                        x[:, keys] = some


def _backward_rows(
    program: Program,
    region: Region,
    piece: _Piece,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lse: Tensor,
    delta: Tensor,
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    scale: float,
    n: int,
) -> None:
    """Adds to dq like q, dk and dv [X, keys, D].  g is the gradient of out, delta is sum(o * g) - dlse."""
    x, group, n_q, dim = q.shape
    for row in range(0, n_q, _ROWS):
        rows = min(_ROWS, n_q - row)
        q_tile, g_tile = (t[:, :, row : row + rows].reshape(x, -1, dim) for t in (q, g))
        lse_tile, delta_tile = (t[:, :, row : row + rows].reshape(x, -1, 1) for t in (lse, delta))
        dq_tile = torch.zeros_like(q_tile)
        for keys, mask in _chunks(program, region, piece, row, rows, n_q, n):
            p = _scores(q_tile, k[:, keys], mask, scale).sub_(lse_tile).exp_()
            ds = torch.bmm(g_tile, v[:, keys].transpose(1, 2)).sub_(delta_tile).mul_(p)
            dq_tile.baddbmm_(ds, k[:, keys], alpha=scale)
            if isinstance(keys, slice):
                dv[:, keys].baddbmm_(p.transpose(1, 2), g_tile)
                dk[:, keys].baddbmm_(ds.transpose(1, 2), q_tile, alpha=scale)
            else:
                dv.index_add_(1, keys, torch.bmm(p.transpose(1, 2), g_tile))
                dk.index_add_(1, keys, torch.bmm(ds.transpose(1, 2), q_tile), alpha=scale)
        dq[:, :, row : row + rows] += dq_tile.view(x, group, rows, dim)
