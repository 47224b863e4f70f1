"""Attention over groups of tokens on a CPU: tiles of queries that stand together, against the keys of their groups.

What a tile finds is added up token by token, in the order of groups; a pair of several groups counts in the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.cpu.forward import combined
from sparsec.kernels.cpu.scores import HeadNumbers, Kept, Scored, Sums, attend_scored, gradients_scored
from sparsec.kernels.cpu.visits import read_tables
from sparsec.kernels.groups.lists import CLUSTERS_OF_WORD, sorted_by_label
from sparsec.kernels.program.input_entries import Entries
from sparsec.kernels.program.program import Region, cdiv
from sparsec.kernels.weights.dropout import RowWords

_TILE = 64  # queries
_NUMBERS_AT_ONCE = 1 << 21  # numbers that a batch of tiles takes for its pairs, and for its keys


class Head(NamedTuple):
    """What masks and scores of one row of the batch and one head are about."""

    region: Region
    n_q: int
    n: int
    q_offset: int
    entries: Sequence[Entries]
    heads: HeadNumbers | None
    words: RowWords | None

    @property
    def labels(self) -> Tensor:
        """int32 [lines, n_q + n]."""
        assert self.region.groups is not None
        return self.entries[self.region.groups.input].values


class Tiles(NamedTuple):
    """Tiles of queries that stand together, and the keys of their groups: some of an order."""

    query: Tensor  # int64 [tiles, _TILE], -1: none
    number: Tensor  # [tiles]: the round, or the cluster
    begin: Tensor  # [tiles], in `order`
    end: Tensor
    order: Tensor  # int64: keys


class Batch(NamedTuple):
    """Some tiles, and what their pairs are."""

    query: Tensor  # int64 [tiles, rows], -1: none
    key: Tensor  # int64 [tiles, keys]
    dropped: Tensor  # bool [tiles, rows, keys]: by the pattern
    scored: Scored | None
    kept: Kept | None


def forward_groups(own: Head, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """q [1, 1, n_q, D], k and v [1, n, D] -> out like q, and the log-sum-exp [1, 1, n_q]: as of `forward_region`."""
    q, k, v = q[0, 0], k[0], v[0]
    out, lse = torch.zeros_like(q), q.new_full((len(q),), float("-inf"))
    for batch in _batches(own, q.shape[1]):
        own_k, own_v = k[batch.key], v[batch.key]
        rows = q[batch.query.clamp(min=0)]
        more_out, more_lse = attend_scored(rows, own_k, own_v, batch.dropped, scale, batch.scored, batch.kept)
        more_out, more_lse = more_out.flatten(0, 1), more_lse.flatten()
        for token, slot in _turns(batch.query.flatten()):
            out[token], lse[token] = combined(out[token], lse[token], more_out[slot], more_lse[slot])
    return out[None, None], lse[None, None]


def backward_groups(
    own: Head,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    scale: float,
    sums: Sums | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """A region's share of dq [1, 1, n_q, D], and of dk and dv [n, 1, D]: as of `backward_region`, of one head."""
    (g, q, out, lse), k, v = (x[0, 0] for x in (g, q, out, lse)), k[0], v[0]
    dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
    for batch in _batches(own, q.shape[1]):
        row = batch.query.clamp(min=0)
        tensors = g[row], q[row], k[batch.key], v[batch.key], out[row], lse[row]
        more = gradients_scored(*tensors, batch.dropped, scale, batch.scored, batch.kept, sums)
        for total, tokens, found in zip((dq, dk, dv), (row, batch.key, batch.key), more, strict=True):
            some = found.flatten(0, 1)  # zeros for nobody
            total.scatter_add_(0, tokens.flatten()[:, None].expand_as(some), some)
    return dq[None, None], dk[:, None], dv[:, None]


def _turns(tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(token, slot) of all slots, each token at most once in a turn and its slots in rising order; -1 is none."""
    order = tokens.argsort(stable=True)
    present, count = tokens[order].unique_consecutive(return_counts=True)
    begin = count.cumsum(0) - count
    present, count, begin = (x[int((present < 0).sum()) :] for x in (present, count, begin))
    for turn in range(int(count.max()) if len(count) else 0):
        some = count > turn
        yield present[some], order[begin[some] + turn]


# ---------------------------------------------------------------- which pairs


def _batches(own: Head, dim: int) -> Iterator[Batch]:
    """All tiles with a key, those of similar numbers of keys together."""
    tiles = _tiles_of_chunks(own) if own.region.groups and own.region.groups.near else _tiles_of_clusters(own)
    wide = tiles.end - tiles.begin
    widest = wide.argsort(stable=True, descending=True)
    widths, first = wide[widest].tolist(), 0
    while first < len(widths) and widths[first] > 0:
        count = max(1, _NUMBERS_AT_ONCE // (widths[first] * max(_TILE, dim)))
        yield _batch(own, tiles, widest[first : first + count], widths[first])
        first += count


def _tiles_of_chunks(own: Head) -> Tiles:
    """Of each round, queries by chunk."""
    assert own.region.groups is not None
    labels, size = own.labels, own.region.groups.size
    below = cdiv(own.n, size)
    queries, keys = (sorted_by_label(x, below)[0].long() for x in (labels[:, : own.n_q], labels[:, own.n_q :]))
    rows = torch.nn.functional.pad(queries, (0, -own.n_q % _TILE), value=-1).unflatten(1, (-1, _TILE))
    number = torch.arange(len(labels))[:, None].expand(rows.shape[:2])
    rising = labels[:, : own.n_q].gather(1, queries).long()
    last = (torch.arange(rows.shape[1]) * _TILE + _TILE - 1).clamp(max=own.n_q - 1)
    begin = number * own.n + (rising[:, ::_TILE] - 1).clamp(min=0) * size
    end = number * own.n + ((rising[:, last] + 1) * size).clamp(max=own.n)
    return Tiles(rows.flatten(0, 1), number.flatten(), begin.flatten(), end.flatten(), keys.flatten())


def _tiles_of_clusters(own: Head) -> Tiles:
    """Of each cluster, its queries by position."""
    bits = (own.labels[:, None] >> torch.arange(CLUSTERS_OF_WORD, dtype=torch.int32)[:, None] & 1).flatten(0, 1)
    cluster, query = bits[:, : own.n_q].nonzero(as_tuple=True)
    of_key, key = bits[:, own.n_q :].nonzero(as_tuple=True)
    queries, keys = (torch.bincount(x, minlength=len(bits)) for x in (cluster, of_key))
    tiles = (queries + _TILE - 1) // _TILE
    number = torch.arange(len(bits)).repeat_interleave(tiles)
    place = torch.arange(len(number)) - (tiles.cumsum(0) - tiles)[number]  # of a tile in its cluster
    place = place[:, None] * _TILE + torch.arange(_TILE)
    there = place < queries[number][:, None]
    place += (queries.cumsum(0) - queries)[number][:, None]
    rows = torch.where(there, torch.nn.functional.pad(query, (0, 1))[torch.where(there, place, -1)], -1)
    end = keys.cumsum(0)[number]
    return Tiles(rows, number, end - keys[number], end, key)


def _batch(own: Head, tiles: Tiles, some: Tensor, width: int) -> Batch:
    region, groups = own.region, own.region.groups
    assert groups is not None
    query, number = tiles.query[some], tiles.number[some]
    place = tiles.begin[some][:, None] + torch.arange(width)
    there = place < tiles.end[some][:, None]
    key = tiles.order[torch.where(there, place, 0)]
    row = query.clamp(min=0)
    q, k = (own.q_offset + row)[:, :, None], key[:, None, :]
    sources = [source for _, source in region.tables]
    tables = read_tables(sources, own.q_offset, own.q_offset + own.n_q - 1, own.n)
    kept = region.keep(q, k, own.n, *tables, *region.read(own.entries), *region.more)
    kept = kept & (query >= 0)[:, :, None] & there[:, None, :]
    kept = kept & _first_together(own.labels, row, own.n_q + key, number, groups.near)
    scored, words = None, own.words
    if own.heads is not None:
        h, rows = own.heads.numbers.view(1, 1, 1), own.heads.rows.view(1, 1, 1)
        scored = Scored(region, q, k, own.n, h, own.heads.heads, rows, own.entries)
    dropout = None
    if words is not None:
        dropout = Kept(words._replace(word=words.word.flatten()[row][:, :, None]).kept(k), words.kept_share)
    return Batch(query, key, ~kept, scored, dropout)


def _first_together(labels: Tensor, query: Tensor, key: Tensor, number: Tensor, near: bool) -> Tensor:
    """Which pairs are in one group of that round or cluster, and in no group of one before."""
    number = number[:, None, None]
    found = torch.ones(query.shape[0], query.shape[1], key.shape[1], dtype=torch.bool)
    for line, own in enumerate(labels):
        x, y = own[query][:, :, None], own[key][:, None, :]
        if near:
            together = (x == y) | (x == y + 1)
            found &= torch.where(number == line, together, ~together | (number < line))
        else:
            before = ((number - line * CLUSTERS_OF_WORD).clamp(0, CLUSTERS_OF_WORD)).long()
            found &= (x & y & ((1 << before) - 1)) == 0
    return found
