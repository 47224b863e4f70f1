"""Device functions: how kernels with tiles of queries go over the keys of a region."""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.dropout import kept_by_hash
from sparsec.kernels.tiles.loads import HeadRows, gathered_count, load_by_layout
from sparsec.kernels.tiles.ranges import split_steps
from sparsec.kernels.tiles.regions import mask_scores, stop_at_listed, stop_at_tile, walk_of, whole_steps


class KeyRegion(NamedTuple):
    """A region of the pattern, and the keys and values that it is about."""

    K: Any
    V: Any
    k_strides: Any
    v_strides: Any
    GATHERED: Any  # period, first, width: the keys with (k - first) % period < width stand side by side; None: all do
    rules: Any
    lists: Any


@triton.jit
def walk_keys(region, own, sizes):
    """The walk of a program through the keys of a region."""
    length = own.keys
    if region.GATHERED is not None:
        length = gathered_count(own.n, region.GATHERED[0], region.GATHERED[1], region.GATHERED[2])
    line, more = own.line, ()
    if sizes.STRIDE > 1:
        line, more = line * sizes.STRIDE + own.residue, (own.residue,)
    return walk_of(
        region.rules, region.lists, line, own.list_first, own.batch, own.head, length,
        (own.q_lo, own.q_hi, own.n, length, sizes.BLOCK_N), more, sizes.PACKED,
    )  # fmt: skip


@triton.jit
def steps_of_keys(region, own, walk, sizes):
    """The steps of a program, from one to before another: tiles, or places in the list of pairs."""
    if region.lists.SEEN is not None:
        begin, end = walk.begin, walk.end
    elif sizes.SPLIT:
        begin, end = split_steps(walk.steps, own.share.part, own.share.parts)
    else:
        begin, end = 0, walk.steps
    return begin, end


@triton.jit
def last_steps(region, walk, end, sizes):
    """The step from which on tiles may hold rows of another sequence."""
    if sizes.PACKED and sizes.TMA:
        end = whole_steps(walk, region.lists, sizes.BLOCK_N)
    return end


@triton.jit
def keys_at(region, own, walk, step, sizes):
    """The keys of a step."""
    if region.lists.SEEN is not None:
        stop = stop_at_listed(walk, region.lists, step, own.n, sizes.BLOCK_N)
    else:
        stop = stop_at_tile(walk, region.lists, step, own.residue, sizes.BLOCK_N, sizes.STRIDE, region.GATHERED)
    return stop


@triton.jit
def load_keys(
    X, strides, region, own, walk, stop, sizes, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, LAST: tl.constexpr
):
    """The keys or the values of a step, of HEAD_DIM columns: [BLOCK_N, BLOCK_D].  LAST: as in `load_packed_tile`."""
    if region.GATHERED is not None:  # contiguous [B, H_kv, keys, HEAD_DIM]
        x_n: tl.constexpr = HEAD_DIM // 8
        strides = own.heads // sizes.GROUP * walk.length * x_n, walk.length * x_n, x_n
        rows = HeadRows(own.batch, own.kv_head, walk.length, 0, stop.place, stop.position, 0, 0)
    else:
        at = stop.place, stop.position, own.k_first, own.k_begin
        rows = HeadRows(own.batch, own.kv_head, own.n, own.residue, *at)
    LISTED: tl.constexpr = region.lists.SEEN is not None
    return load_by_layout(X, strides, rows, sizes, HEAD_DIM, sizes.BLOCK_N, BLOCK_D, LISTED, sizes.TMA, LAST)


@triton.jit
def kept_keys(dropping, words, region, stop, sizes):
    """Which pairs of a step dropout keeps; `words` of the queries."""
    side_by_side: tl.constexpr = (
        sizes.STRIDE == 1 and region.GATHERED is None and region.lists.SEEN is None and sizes.BLOCK_N % 32 == 0
    )
    k = stop.position
    if side_by_side:
        k = tl.arange(0, sizes.BLOCK_N)
    return kept_by_hash(words, k, stop.place, dropping.drop_below, side_by_side, sizes.BLOCK_N, True)


@triton.jit
def place_of_keys(region, own, stop, sizes):
    """`at`: which row, head and data the pairs of a step belong to, as masks and scores are told."""
    queries = own.n_q
    if sizes.ROWS_OF_QUERY is not None:
        queries = own.n_q // sizes.ROWS_OF_QUERY
    at = (own.batch, own.head, own.heads, own.q_offset, queries)
    if sizes.PACKED:
        at = (own.batch, own.head, own.heads, own.k_first, own.k_begin, own.k_rows)
    elif sizes.STRIDE == 1 and region.GATHERED is None and region.lists.SEEN is None:  # keys side by side
        at = (own.batch, own.head, own.heads, own.q_offset, queries, stop.place, stop.place + sizes.BLOCK_N)
    return at


@triton.jit
def mask_keys(s, region, own, walk, stop, at, sizes):
    """Scores [BLOCK_M, BLOCK_N], -inf where the pattern leaves a pair out or there is no key."""
    edges = own.q_lo, own.q_hi, stop.place, stop.place + sizes.BLOCK_N - 1
    more = (own.n,)
    if sizes.STRIDE > 1:
        more = (own.n, own.residue)
    gone = own.residue + sizes.STRIDE * stop.place < own.k_begin, own.k_begin
    return mask_scores(
        s, region.rules, region.lists, walk, stop, own.q, stop.position, edges, more, at, gone,
        sizes.PACKED, True, sizes.BLOCK_M, sizes.BLOCK_N,
    )  # fmt: skip
