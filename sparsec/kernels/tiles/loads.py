"""Device functions: addresses, masks and loads of tiles by layout, and look-ups in tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import floor_div, floor_mod, tl, triton


class HeadRows(NamedTuple):
    """Rows of one head of a tensor [B, H, length, D]."""

    batch: Any
    head: Any
    length: Any
    residue: Any  # of their numbers, where a layout has residue classes
    place: Any  # of the first one in the layout
    row: Any  # their numbers in the sequence
    first: Any  # where row 0 is, of one of several sequences
    begin: Any  # the first row that is there


# ---------------------------------------------------------------- addresses


@triton.jit
def element_offset(index, stride):
    """Elements to skip for an index; 64 bits, since a tensor may hold more than 2^31."""
    return index.to(tl.int64) * stride * 8


@triton.jit
def tile_mask(row, rows, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Mask of [row, BLOCK_D]: the last tile is ragged, and a head size that is no power of two is padded."""
    mask = (row < rows)[:, None]
    if HEAD_DIM != BLOCK_D:
        mask &= (tl.arange(0, BLOCK_D) < HEAD_DIM)[None, :]
    return mask


@triton.jit
def row_ptrs(
    X, bh, rows, first, step: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Pointers to rows first, first + step, .. of one (batch, head) of a contiguous [bh, rows, HEAD_DIM]."""
    local = tl.arange(0, BLOCK)[:, None] * (step * HEAD_DIM) + tl.arange(0, BLOCK_D)[None, :]
    return X + (bh.to(tl.int64) * rows + first) * HEAD_DIM + local


@triton.jit
def tile_ptrs(X, x_b, x_h, x_m, batch, head, first, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Pointers to [BLOCK, BLOCK_D] from row `first` on of one head of X."""
    start = X + (element_offset(batch, x_b) + element_offset(head, x_h) + element_offset(first, x_m))
    return start + tl.arange(0, BLOCK)[:, None] * (x_m * 8) + tl.arange(0, BLOCK_D)[None, :]


@triton.jit
def rows_ptrs(X, x_b, x_h, x_m, batch, head, row, BLOCK_D: tl.constexpr):
    """Pointers to [len(row), BLOCK_D] at the given rows of one head of X."""
    # X comes last: dk and dv, which lie alike, then share their offsets, or kernels of residue classes would spill.
    offsets = (element_offset(batch, x_b) + element_offset(head, x_h)) + element_offset(row, x_m)[:, None]
    return X + (offsets + tl.arange(0, BLOCK_D)[None, :])


# ---------------------------------------------------------------- loads


@triton.jit
def load_tile(
    X, x_b, x_h, x_m, batch, head, first, rows,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """Rows first.. of one head of X, as [BLOCK, BLOCK_D]; what lies beyond the tensor reads as 0."""
    if TMA:
        tile = X.load([batch, head, first, 0]).reshape(BLOCK, BLOCK_D)
    else:
        ptrs = tile_ptrs(X, x_b, x_h, x_m, batch, head, first, BLOCK, BLOCK_D)
        tile = tl.load(ptrs, mask=tile_mask(first + tl.arange(0, BLOCK), rows, HEAD_DIM, BLOCK_D), other=0.0)
    return tile


@triton.jit
def load_rows(X, x_b, x_h, x_m, batch, head, row, rows, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """The given rows of one head of X, as [len(row), BLOCK_D]; what lies beyond the tensor reads as 0."""
    ptrs = rows_ptrs(X, x_b, x_h, x_m, batch, head, row, BLOCK_D)
    return tl.load(ptrs, mask=tile_mask(row, rows, HEAD_DIM, BLOCK_D), other=0.0)


@triton.jit
def load_packed_tile(
    X, strides, rows, sizes, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, TMA: tl.constexpr,
    LAST: tl.constexpr,
):  # fmt: skip
    """Rows of one head of X that belong to a sequence, as [BLOCK, BLOCK_D].

    Other ones read as 0; by TMA, which knows the ends of tensors alone, those behind the sequence do where the tile is
    its LAST, and rows before it are none of another sequence.
    """
    row = rows.place + tl.arange(0, BLOCK)
    if sizes.STRIDE > 1:
        row = rows.row
    if TMA:
        if sizes.STRIDE > 1:
            first = rows.first + rows.residue
            residue, place = floor_mod(first, sizes.STRIDE), floor_div(first, sizes.STRIDE) + rows.place
            tile = X.load([rows.batch, rows.head, residue, place, 0]).reshape(BLOCK, BLOCK_D)
        else:
            tile = X.load([rows.batch, rows.head, rows.first + rows.place, 0]).reshape(BLOCK, BLOCK_D)
        if LAST:
            tile = tl.where((row < rows.length)[:, None], tile, 0.0)
    else:
        mask = tile_mask(row, rows.length, HEAD_DIM, BLOCK_D) & (row >= rows.begin)[:, None]
        tile = tl.load(ptrs_by_layout(X, strides, rows, sizes, BLOCK, BLOCK_D), mask=mask, other=0.0)
    return tile


@triton.jit
def load_residue_tile(
    X, x_b, x_h, x_m, batch, head, residue, first, stride: tl.constexpr, rows,
    HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """Rows number first.. of a residue class of one head of X, as [BLOCK, BLOCK_D]; 0 beyond the tensor."""
    if TMA:
        tile = X.load([batch, head, residue, first, 0]).reshape(BLOCK, BLOCK_D)
    else:
        row = residue + stride * (first + tl.arange(0, BLOCK))
        tile = load_rows(X, x_b, x_h, x_m, batch, head, row, rows, HEAD_DIM, BLOCK_D)
    return tile


@triton.jit
def load_by_layout(
    X, strides, rows, sizes, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, LISTED: tl.constexpr,
    TMA: tl.constexpr, LAST: tl.constexpr = False,
):  # fmt: skip
    """Rows of one head of X in a layout, as [BLOCK, BLOCK_D].

    HEAD_DIM: the columns of X.  LISTED: those whose numbers stand in a list.  LAST: as in `load_packed_tile`.
    """
    x_b, x_h, x_m = strides
    batch, head, length = rows.batch, rows.head, rows.length
    if sizes.PACKED:
        tile = load_packed_tile(X, strides, rows, sizes, HEAD_DIM, BLOCK, BLOCK_D, TMA, LAST)
    elif LISTED:
        tile = load_rows(X, x_b, x_h, x_m, batch, head, rows.row, length, HEAD_DIM, BLOCK_D)
    elif sizes.STRIDE > 1:
        tile = load_residue_tile(
            X, x_b, x_h, x_m, batch, head, rows.residue, rows.place, sizes.STRIDE, length,
            HEAD_DIM, BLOCK, BLOCK_D, TMA,
        )  # fmt: skip
    else:
        tile = load_tile(X, x_b, x_h, x_m, batch, head, rows.place, length, HEAD_DIM, BLOCK, BLOCK_D, TMA)
    return tile


@triton.jit
def ptrs_by_layout(X, strides, rows, sizes, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Pointers to rows of one head of X in a layout: [BLOCK, BLOCK_D]."""
    x_b, x_h, x_m = strides
    row, place = rows.row, rows.place
    if sizes.PACKED:
        row, place = row + rows.first, place + rows.first
    if sizes.STRIDE > 1:
        ptrs = rows_ptrs(X, x_b, x_h, x_m, rows.batch, rows.head, row, BLOCK_D)
    else:
        ptrs = tile_ptrs(X, x_b, x_h, x_m, rows.batch, rows.head, place, BLOCK, BLOCK_D)
    return ptrs


@triton.jit
def load_row_stats(
    X, bh, n_rows, first, rows, sizes, BLOCK: tl.constexpr, LISTED: tl.constexpr, TMA: tl.constexpr, NONE: tl.constexpr,
    LAST: tl.constexpr,
):  # fmt: skip
    """A log-sum-exp or a delta for each of some rows of one (batch, head) of X, a contiguous [bh, n_rows].

    `first`: where those of one of several sequences begin.  NONE: of a row that is not there.  LAST: as in
    `load_packed_tile`.
    """
    if sizes.PACKED:
        if TMA and sizes.STRIDE == 1:
            numbers = X.load([bh, first + rows.place]).reshape(BLOCK)
            if LAST:
                numbers = tl.where(rows.row < rows.length, numbers, NONE)
        else:
            there = rows.row < rows.length
            numbers = tl.load(X + bh.to(tl.int64) * n_rows + first + rows.row, mask=there, other=NONE)
    elif LISTED:
        numbers = tl.load(X + bh.to(tl.int64) * n_rows + rows.row, mask=rows.row < rows.length, other=NONE)
    elif TMA:
        numbers = X.load([bh, rows.place]).reshape(BLOCK)
    else:
        numbers = tl.load(X + bh.to(tl.int64) * n_rows + rows.place + tl.arange(0, BLOCK))
    return numbers


# ---------------------------------------------------------------- gathered keys: (k - first) % period < width


@triton.jit
def gathered_key(index, period: tl.constexpr, first: tl.constexpr, width: tl.constexpr):
    """The key that is number `index` of those with (k - first) % period < width."""
    return index // width * period + first + index % width


@triton.jit
def gathered_count(n, period: tl.constexpr, first: tl.constexpr, width: tl.constexpr):
    """How many keys below n have (k - first) % period < width."""
    return n // period * width + tl.minimum(tl.maximum(n % period - first, 0), width)


@triton.jit
def load_gathered_sums(X, bh, k, wanted, n, GATHERED: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows of X [bh, gathered keys, HEAD_DIM] that keys k have; 0 for those not gathered or not `wanted`."""
    period: tl.constexpr = GATHERED[0]
    first: tl.constexpr = GATHERED[1]
    width: tl.constexpr = GATHERED[2]
    after_first = k - first
    wanted &= (after_first >= 0) & (after_first % period < width)
    count = gathered_count(n, period, first, width)
    row = bh.to(tl.int64) * count + after_first // period * width + after_first % period
    ptrs = X + row[:, None] * HEAD_DIM + tl.arange(0, BLOCK_D)[None, :]
    mask = tile_mask(tl.where(wanted, 0, 1), 1, HEAD_DIM, BLOCK_D)  # 0 is inside a length of 1
    return tl.load(ptrs, mask=mask, other=0.0)


# ---------------------------------------------------------------- tables


@triton.jit
def in_table_row(STARTS, TABLE, row, rows, column, WIDTH: tl.constexpr):
    """Whether `column` stands in a row of a table whose rows have at most WIDTH entries; rows beyond it are empty."""
    place = tl.load(STARTS + row, mask=row < rows, other=0)
    stop = tl.load(STARTS + row + 1, mask=row < rows, other=0)
    found = (row < 0) & (column < 0)
    for i in range(WIDTH):
        found |= tl.load(TABLE + place + i, mask=place + i < stop, other=-1) == column
    return found


@triton.jit
def in_long_table_row(STARTS, TABLE, row, rows, column, STEPS: tl.constexpr):
    """As `in_table_row`, by halving: rows have fewer than 2 ** STEPS entries."""
    first = tl.load(STARTS + row, mask=row < rows, other=0)
    stop = tl.load(STARTS + row + 1, mask=row < rows, other=0)
    place = first - 1 + 0 * column  # of the last entry that is seen to be at most `column`
    for step in tl.static_range(STEPS):
        ahead = place + (1 << (STEPS - 1 - step))
        right = tl.load(TABLE + ahead, mask=ahead < stop, other=2147483647) <= column
        place = tl.where(right, ahead, place)
    return (place >= first) & (tl.load(TABLE + place, mask=place >= first, other=-1) == column)


@triton.jit
def in_mask(MASKS, mask, OWN: tl.constexpr, OTHER: tl.constexpr):
    """Which pairs of a tile a mask of `TileList.bits` keeps: bool [OWN, OTHER]."""
    own, other = tl.arange(0, OWN), tl.arange(0, OTHER)
    words: tl.constexpr = (OTHER + 31) // 32
    first = MASKS + mask.to(tl.int64) * (words * OWN) + own
    bits = tl.load(first)[:, None]
    for word in tl.static_range(1, words):
        bits = tl.where((other // 32 == word)[None, :], tl.load(first + word * OWN)[:, None], bits)
    return (bits >> (other % 32)[None, :]) & 1 != 0
