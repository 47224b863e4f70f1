"""A few queries on a CPU, as in decoding: the keys that they visit are views or copies, whatever the number of keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sparsec.kernels.cpu.forward import attend_densely, combined
from sparsec.kernels.cpu.order import TILE
from sparsec.kernels.cpu.scores import HeadNumbers, Kept, Scored, attend_scored
from sparsec.kernels.cpu.visits import read_tables
from sparsec.kernels.lists.tables import Source, Table
from sparsec.kernels.lists.tile_lists import tile_list, unpacked_tiles
from sparsec.kernels.machine.memory import of_one_size
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.input_entries import Entries
from sparsec.kernels.program.program import Program, Region
from sparsec.kernels.weights.dropout import RowWords

_FEW = 16  # queries, each of which may be a residue class
_MASKED_PAIRS = 1 << 20  # whose masks are made together

Ranges = list[tuple[int, int]]


def is_step(n_q: int) -> bool:
    """Whether queries are few enough to be taken by themselves."""
    return n_q <= _FEW


def forward_step(
    program: Program,
    regions: Sequence[Region],
    call: Call,
    entries: Sequence[Entries] = (),
    heads: HeadNumbers | None = None,
    words: RowWords | None = None,
) -> tuple[Tensor, Tensor]:
    """out [B, H, n_q, D_v] and lse [B, H, n_q], both exact, without sinks.  `entries`: what all rows read of inputs."""
    q, kv_heads = call.q, call.k.shape[1]
    (batch, count, n_q, dim), v_dim = q.shape, call.v.shape[3]
    exact = torch.promote_types(q.dtype, torch.float32)
    rows = q.to(exact).reshape(batch, kv_heads, count // kv_heads * n_q, dim)
    found = None
    for region in regions:
        if region.stride == 1 or n_q == 1:
            more = _step(program, region, rows, range(n_q), call, entries, heads, words)
        else:
            more = _step_by_class(program, region, rows.unflatten(2, (-1, n_q)), call, entries, heads, words)
        found = found if more is None else more if found is None else combined(*found, *more)
    out, lse = found or _nothing(rows, v_dim)
    return out.reshape(batch, count, n_q, v_dim), lse.reshape(batch, count, n_q)


def _nothing(q: Tensor, v_dim: int) -> tuple[Tensor, Tensor]:
    """The results of queries without keys."""
    return q.new_zeros(*q.shape[:-1], v_dim), q.new_full(q.shape[:-1], float("-inf"))


def _step_by_class(
    program: Program,
    region: Region,
    q: Tensor,
    call: Call,
    entries: Sequence[Entries],
    heads: HeadNumbers | None,
    words: RowWords | None,
) -> tuple[Tensor, Tensor]:
    """The residue classes of q [B, H_kv, group, n_q, D] one after the other -> out and lse, group and n_q as one."""
    out, lse = _nothing(q, call.v.shape[3])
    n_q = q.shape[3]
    for row in range(min(region.stride, n_q)):
        rows = slice(row, None, region.stride)
        own = q[..., rows, :]
        found = _step(program, region, own.flatten(2, 3), range(n_q)[rows], call, entries, heads, words)
        if found is not None:
            out[..., rows, :], lse[..., rows] = found[0].unflatten(2, own.shape[2:4]), found[1].reshape(own.shape[:4])
    return out.flatten(2, 3), lse.flatten(2, 3)


def _step(
    program: Program,
    region: Region,
    q: Tensor,
    rows: range,
    call: Call,
    entries: Sequence[Entries],
    heads: HeadNumbers | None,
    words: RowWords | None,
) -> tuple[Tensor, Tensor] | None:
    """Some rows of Q of one class, q [B, H_kv, group * rows, D] -> out [.., D_v] and lse; None where no key is
    visited.
    """
    found, n = None, call.k_begin + call.k.shape[2]
    for places, mask in _visited(program, region, rows, n, call.q_offset, entries):
        if call.k_begin:
            places, mask = _from(places, mask, call.k_begin)
        places, mask = _seen(places, mask)
        if not mask.shape[1]:
            continue
        tensors = of_one_size(q, *(_at_keys(x, places).to(q.dtype) for x in (call.k, call.v)))
        added = mask.to(q.dtype).log_()  # 0 or -inf
        most = added.amax(1)
        if q.shape[2] > len(rows):
            group = q.shape[2] // len(rows)
            added, most = added.repeat(group, 1), most.repeat(group)
        if region.score is None and words is None:
            out, lse = attend_densely(*tensors, added[None, None], call.scale)
            more = out, lse + most
        else:
            scored = None if region.score is None else _scored(region, q, rows, places, call, entries, heads)
            kept = None if words is None else _kept_of_step(words, q, rows, places, call)
            more = attend_scored(*tensors, added[None, None], call.scale, scored, kept)
        more = more[0][..., : call.v.shape[3]], more[1]
        found = more if found is None else combined(*found, *more)
    return found


def _scored(
    region: Region,
    x: Tensor,
    rows: range,
    places: Sequence[slice] | Tensor,
    call: Call,
    entries: Sequence[Entries],
    heads: HeadNumbers | None,
) -> Scored:
    """The score of x, some rows of Q [B, H_kv, group * rows, D], and the keys that stand at some places."""
    assert heads is not None
    q = torch.tensor([call.q_offset + row for row in rows]).repeat(heads.numbers.shape[1])[:, None]
    h = heads.numbers.repeat_interleave(len(rows), 1).view(*x.shape[:3], 1)
    n = call.k_begin + call.k.shape[2]
    rows_of_batch = heads.rows.view(*x.shape[:2], 1, 1)
    return Scored(region, q, _standing(places) + call.k_begin, n, h, heads.heads, rows_of_batch, entries)


def _kept_of_step(words: RowWords, x: Tensor, rows: range, places: Sequence[slice] | Tensor, call: Call) -> Kept:
    """Which pairs dropout keeps, of x, some rows of Q [B, H_kv, group * rows, D], and the keys at some places."""
    some = slice(rows.start, rows.stop, rows.step)
    own = words._replace(word=words.word[..., some].reshape(x.shape[:3])[..., None])
    return Kept(own.kept(_standing(places) + call.k_begin), words.kept_share)


def _standing(places: Sequence[slice] | Tensor) -> Tensor:
    """Where keys stand, one by one."""
    if isinstance(places, Tensor):
        return places
    return torch.cat([torch.arange(some.start, some.stop, some.step or 1) for some in places])


def _from(places: Sequence[slice] | Tensor, mask: Tensor, k_begin: int) -> tuple[Tensor, Tensor]:
    """Of some keys those from a position on: where they stand, counted from there, and their mask."""
    places = _standing(places)
    there = places >= k_begin
    return places[there] - k_begin, mask[:, there]


def _seen(places: Sequence[slice] | Tensor, mask: Tensor) -> tuple[Sequence[slice] | Tensor, Tensor]:
    """Of some keys those that a row sees: others are not read, and may be anything, as in pages that were freed."""
    seen = mask.any(0)
    return (places, mask) if bool(seen.all()) else (_standing(places)[seen], mask[:, seen])


def _at_keys(x: Tensor, places: Sequence[slice] | Tensor) -> Tensor:
    """Some keys of x [B, H_kv, n, D]."""
    if isinstance(places, Tensor):
        return x.index_select(2, places)
    some = [x[:, :, place] for place in places]
    return some[0] if len(some) == 1 else torch.cat(some, 2)


def _visited(
    program: Program, region: Region, rows: range, n: int, q_offset: int, entries: Sequence[Entries]
) -> Iterator[tuple[Sequence[slice] | Tensor, Tensor]]:
    """The keys that rows of Q of a class visit, some at a time, and the mask [rows, keys] for them."""
    first, residue = divmod(q_offset + rows[0], region.stride)
    last = first + max(len(rows), program.min_tile) - 1
    edges = q_offset + rows[0], q_offset + rows[-1]
    tables = read_tables([source for _, source in region.tables], *edges, n)
    q = torch.arange(edges[0], edges[1] + 1, rows.step)[:, None]
    more = (residue,) if region.stride > 1 else ()
    if "rows" in region.tile_lists:
        yield from _tiles_visited(region, rows, residue, n, q_offset)
        return
    length = _length(region, residue, n)
    visited = _disjoint(region.visit(first, last, n, *more, *region.more), length)
    for ranges in _by_length(visited, max(1, _MASKED_PAIRS // len(rows))):
        places, k = _keys_of_step(region, residue, ranges)
        yield places, _mask(region, q, k, n, tables, entries)
    if region.rows_tables:
        named = read_tables(region.rows_tables, *edges, n)
        for k in _named_keys(region.rows_tables, named, *edges, n, visited).split(max(1, _MASKED_PAIRS // len(rows))):
            if len(k):
                yield k, _mask(region, q, k, n, tables, entries)


def _tiles_visited(region: Region, rows: range, residue: int, n: int, q_offset: int) -> Iterator[tuple[Tensor, Tensor]]:
    """As `_visited`, of a region whose tiles are listed for a length."""
    found = tile_list(region, "rows", rows[-1] + 1, n, q_offset, TILE, TILE, torch.device("cpu"))
    begin, stop = found.starts[residue : residue + 2].tolist()  # all rows of a class are in its first tile
    at_once = max(1, _MASKED_PAIRS // (len(rows) * TILE))
    for first in range(begin, stop, at_once):
        some = slice(first, min(first + at_once, stop))
        places = (found.tiles[some, None].long() // 2 * TILE + torch.arange(TILE)).flatten()
        keys = _positions_of(region, residue, places)
        whole = (found.tiles[some] % 2 == 1)[:, None, None]
        mask = (unpacked_tiles(found, some)[:, : len(rows), :TILE] | whole).transpose(0, 1).flatten(1)
        yield keys[keys < n], mask[:, keys < n]


def _named_keys(
    sources: Sequence[Source], tables: Sequence[Table], q_lo: int, q_hi: int, n: int, visited: Ranges
) -> Tensor:
    """Positions of the keys in blocks that tables name for queries q_lo..q_hi, without those in `visited` ranges."""
    named = [torch.zeros(0, dtype=torch.int64)]
    for source, table in zip(sources, tables, strict=True):
        corners = table.cut(q_lo // source.size, q_hi // source.size + 1).entries.unique().to(torch.int64) * source.size
        keys = corners[corners < n][:, None] + torch.arange(min(source.size, n))
        named.append(keys[keys < n])
    keys = torch.cat(named).unique()
    for first, stop in visited:
        keys = keys[(keys < first) | (keys >= stop)]
    return keys


def _mask(region: Region, q: Tensor, k: Tensor, n: int, tables: list[Table], entries: Sequence[Entries]) -> Tensor:
    return region.keep(q, k[None], n, *tables, *region.read(entries), *region.more).expand(len(q), len(k))


def _length(region: Region, residue: int, n: int) -> int:
    """Number of keys, of a residue class."""
    if not region.gathered:
        return len(range(residue, n, region.stride))
    period, first, width = region.gathered
    periods, rest = divmod(max(n - first, 0), period)
    return periods * width + min(rest, width)


def _keys_of_step(region: Region, residue: int, ranges: Ranges) -> tuple[Sequence[slice] | Tensor, Tensor]:
    """Where keys stand that are at some places of their class: slices or positions; and all positions."""
    if region.gathered:
        keys = _positions_of(region, residue, torch.cat([torch.arange(first, stop) for first, stop in ranges]))
        return keys, keys
    step = region.stride
    some = [(residue + first * step, residue + (stop - 1) * step + 1) for first, stop in ranges]
    keys = [torch.arange(first, stop, step) for first, stop in some]
    return [slice(first, stop, step) for first, stop in some], keys[0] if len(keys) == 1 else torch.cat(keys)


def _positions_of(region: Region, residue: int, places: Tensor) -> Tensor:
    """The positions of keys at some places of their class."""
    if region.gathered:
        period, first, width = region.gathered
        return places // width * period + first + places % width
    return places * region.stride + residue


def _disjoint(ranges: Ranges, length: int) -> Ranges:
    """Half-open ranges within 0..length, in rising order, each position once."""
    result, done = [], 0
    for first, stop in sorted(ranges):
        first, stop = max(first, done), min(stop, length)
        if first < stop:
            result.append((first, stop))
            done = stop
    return result


def _by_length(ranges: Ranges, most: int) -> Iterator[Ranges]:
    """Ranges in groups of about as many positions as `most`, long ones in parts."""
    group: Ranges = []
    length = 0
    for first, stop in ranges:
        for begin in range(first, stop, most):
            end = min(begin + most, stop)
            if group and length + end - begin > most:
                yield group
                group, length = [], 0
            group.append((begin, end))
            length += end - begin
    if group:
        yield group
