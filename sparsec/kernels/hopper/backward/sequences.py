"""Device functions of the Hopper tier backward: tiles of keys of several sequences of a call, and their ragged rows.

Tiles of a sequence are loaded whole: of rows that belong to another one, which may be no numbers, zeros are made before
a product reads them, and such tiles of results are stored row by row.  A line of the list of tiles is that of
`sparsec.kernels.sequences.tiles`.
"""

from __future__ import annotations

from sparsec.kernels.machine.gluon import fence_async_shared, gl, gluon, meet_warps

_LINE_QUERIES, _LINE_QUERY_COUNT = gl.constexpr(1), gl.constexpr(2)  # columns of a line
_LINE_BEGIN, _LINE_KEYS, _LINE_OFFSET = gl.constexpr(4), gl.constexpr(5), gl.constexpr(6)
_CLEARED_AT_ONCE = gl.constexpr(16)  # rows: registers hold sums of gradients meanwhile


@gluon.jit
def bounds_of_tile(tile, plan):
    """The position of the first query, the number of keys, and the position of the first that is there."""
    q_offset, n, k_begin = plan.work.q_offset, plan.work.n, gl.to_tensor(0)
    if plan.sizes.PACKED:
        q_offset = gl.load(tile.line + _LINE_OFFSET)
        n, k_begin = gl.load(tile.line + _LINE_KEYS), gl.load(tile.line + _LINE_BEGIN)
    return q_offset, n, k_begin


@gluon.jit
def is_ragged_tile(tile, plan):
    """Whether rows of a tile of keys belong to another sequence, or are not there."""
    _, n, k_begin = bounds_of_tile(tile, plan)
    first = tile.number * plan.sizes.KEYS
    return (first < k_begin) | (first + plan.sizes.KEYS > n)


@gluon.jit
def clear_keys(k_tile, v_tile, tile, plan):
    """Keys and values of other sequences in a tile become 0.  Both groups do the same, rather than wait."""
    _, n, k_begin = bounds_of_tile(tile, plan)
    first = tile.number * plan.sizes.KEYS
    _clear_rows(k_tile, k_begin - first, n - first)
    _clear_rows(v_tile, k_begin - first, n - first)
    fence_async_shared()
    meet_warps()


@gluon.jit
def clear_queries(q, do, entry, tile, plan):
    """Queries of other sequences and the gradients of their outputs become 0 in a step's tile, as `clear_keys`."""
    count = gl.load(tile.line + _LINE_QUERY_COUNT) - gl.load(entry) * plan.sizes.QUERIES
    _clear_rows(q, 0, count)
    _clear_rows(do, 0, count)
    fence_async_shared()
    meet_warps()


@gluon.jit
def _clear_rows(x, first, stop):
    """Rows of a tile in shared memory become 0, but first..stop."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    for part in gl.static_range(x.shape[0] // _CLEARED_AT_ONCE):
        own = x.slice(part * _CLEARED_AT_ONCE, _CLEARED_AT_ONCE, 0)
        row = part * _CLEARED_AT_ONCE + gl.arange(0, _CLEARED_AT_ONCE, gl.SliceLayout(1, LAYOUT))
        values = own.load(LAYOUT)
        own.store(gl.where(((row >= first) & (row < stop))[:, None], values, gl.zeros_like(values)))


@gluon.jit
def store_query_rows(x, entry, head, tile, plan, HALF: gl.constexpr):
    """Stores those rows of a half of dq [64, columns] of a step that belong to the sequence."""
    place = gl.load(entry) * plan.sizes.QUERIES + HALF * plan.sizes.SECOND_ROW
    first = (
        tile.batch.to(gl.int64) * plan.work.q_b
        + head.to(gl.int64) * plan.work.q_h
        + (gl.load(tile.line + _LINE_QUERIES) + place).to(gl.int64) * plan.work.q_m
    )
    count = gl.load(tile.line + _LINE_QUERY_COUNT) - place
    _store_some(x, plan.work.DQ_ROWS, first, plan.work.q_m, 0, count, plan, HALF * plan.sizes.SECOND_COLUMN)


@gluon.jit
def store_key_rows(x, ROWS, tile, plan, FIRST_KEY: gl.constexpr):
    """Stores those rows of dk or dv [64, columns] of a tile that belong to the sequence."""
    _, n, k_begin = bounds_of_tile(tile, plan)
    first = (
        tile.batch.to(gl.int64) * plan.work.k_b
        + tile.kv_head.to(gl.int64) * plan.work.k_h
        + (tile.k_row + FIRST_KEY).to(gl.int64) * plan.work.k_n
    )
    begin = tile.number * plan.sizes.KEYS + FIRST_KEY
    _store_some(x, ROWS, first, plan.work.k_n, k_begin - begin, n - begin, plan, 0)


@gluon.jit
def _store_some(x, ROWS, first, pitch, begin, stop, plan, FIRST_COLUMN: gl.constexpr):
    """Stores rows begin..stop of a tile; `first`: where row 0 goes, and `pitch`: from row to row, by 8 elements."""
    row = gl.arange(0, x.shape[0], gl.SliceLayout(1, x.type.layout))
    column = FIRST_COLUMN + gl.arange(0, x.shape[1], gl.SliceLayout(0, x.type.layout))
    ptrs = ROWS + 8 * first + (8 * row * pitch)[:, None] + column[None, :]
    there = (row >= begin) & (row < stop)
    gl.store(ptrs, x.to(ROWS.dtype.element_ty), mask=there[:, None] & (column < plan.sizes.HEAD_DIM)[None, :])
