"""Device functions: the tile that a program works on, and the sequence that it belongs to.

Places count the positions of a layout: of all queries or keys, of those of a residue class, or of gathered keys.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.loads import HeadRows, gathered_count, gathered_key, row_ptrs
from sparsec.kernels.tiles.ranges import residue_tile
from sparsec.kernels.tiles.shares import Share, share_of

NOWHERE = tl.constexpr(1 << 30)  # no tensor has such a row
TILE_COLUMNS = tl.constexpr(11)  # of a list of tiles
TILES_TAKEN = tl.constexpr(1)  # where it counts those that programs have taken, behind how many there are


class OwnSequence(NamedTuple):
    """The sequence that a program works on in a call about several, and which of its tiles."""

    batch: Any
    q_first: Any  # row of Q
    n_q: Any
    k_first: Any  # row of K where the key at position 0 would be
    k_begin: Any  # position of the first key that is there
    n: Any
    q_offset: Any
    tile: Any
    stats_first: Any  # where the numbers of its rows of Q begin in ROW_STATS, a multiple of 4
    line: Any  # the tile's number among those of all sequences, and where its entries begin in a list of the call
    list_first: Any
    stream: Any  # its line in the table of sequences


class QueryTile(NamedTuple):
    """The queries of a program."""

    heads: Any  # of all queries, and the one of these
    head: Any
    kv_head: Any
    batch: Any
    n_q: Any  # queries and keys of the sequence, and the position of its first query
    n: Any
    q_offset: Any
    share: Any
    place: Any  # of the first query
    first_row: Any  # of Q; the others follow, STRIDE apart
    row: Any
    q: Any  # positions of the rows
    q_lo: Any  # the same in the layout, ends included
    q_hi: Any
    class_row: Any  # the first row of the residue class, and the residue of its positions
    residue: Any
    keys: Any  # of the residue class
    batches: Any  # of all, and rows of Q that each has
    q_rows: Any
    at: Any  # the rows in Q, and the first of them
    first_at: Any
    q_first: Any  # of one of several sequences: row of Q, and of K where the key at position 0 would be
    k_first: Any
    k_begin: Any  # position of the first key that is there
    stats_first: Any  # where the numbers of its rows begin in ROW_STATS
    k_rows: Any  # rows of K
    line: Any  # of a list: that of its tile, and where entries begin if it is one of several sequences
    list_first: Any
    stream: Any  # row of the batch or line of the table of sequences: of random numbers


class KeyTile(NamedTuple):
    """The keys of a program."""

    heads: Any  # of all queries
    kv_heads: Any  # of all keys, and the one of these
    kv_head: Any
    first_head: Any  # of the query heads that share it, and how many they are
    n_heads: Any
    batch: Any
    n_q: Any  # queries and keys of the sequence, and the position of its first query
    n: Any
    q_offset: Any
    share: Any
    k_lo: Any  # places, ends included
    k_hi: Any
    first_key: Any  # in K; the others follow, STRIDE apart
    k: Any  # positions of all
    class_row: Any  # the first row of the residue class, and the residue of its positions
    residue: Any
    keys: Any  # of the layout
    queries: Any
    shift: Any  # the position in the layout of its first query
    batches: Any  # of all, and rows of K that each has
    k_rows: Any
    at: Any  # the rows in K, and the first of them
    first_at: Any
    there: Any  # which of the keys there are
    q_first: Any  # of one of several sequences: row of Q, and of K where the key at position 0 would be
    k_first: Any
    k_begin: Any  # position of the first key that is there
    stats_first: Any  # where the numbers of its rows of Q begin in ROW_STATS
    line: Any  # of a list: that of its tile, and where entries begin if it is one of several sequences
    list_first: Any


@triton.jit
def sequence_of(TILES, number, LONGEST_FIRST: tl.constexpr):
    """The sequence of a program and its tile of it, from a list of tiles (`sparsec.kernels.sequences.tiles`)."""
    if LONGEST_FIRST:  # later tiles of a sequence have more to do
        number = tl.load(TILES) - 1 - number
    line = TILES + (1 + number) * TILE_COLUMNS
    batch, q_first, n_q, k_row = tl.load(line), tl.load(line + 1), tl.load(line + 2), tl.load(line + 3)
    k_begin, n, q_offset, tile = tl.load(line + 4), tl.load(line + 5), tl.load(line + 6), tl.load(line + 7)
    at = tile, tl.load(line + 8), number, tl.load(line + 9), tl.load(line + 10)
    return OwnSequence(batch, q_first, n_q, k_row - k_begin, k_begin, n, q_offset, *at)


@triton.jit
def _share_of(sequence, rows, STRIDE: tl.constexpr):
    """The residue class of a program, and its tile there, of a sequence of some rows: classes take turns."""
    classes = tl.maximum(tl.minimum(rows, STRIDE), 1)
    return sequence.tile % classes, Share(sequence.tile // classes, False, 0, 1, 0)


@triton.jit
def own_queries(
    HEADS, heads, n_q, n, q_offset, batches, GROUP: tl.constexpr, BLOCK_M: tl.constexpr,
    STRIDE: tl.constexpr, TOGETHER: tl.constexpr, LONGEST_FIRST: tl.constexpr, ROWS_OF_QUERY: tl.constexpr,
    shares, sequence,
):  # fmt: skip
    """The queries of a program of the kernels for out and for dq."""
    number, batch, share = share_of(shares, HEADS, heads, LONGEST_FIRST)
    head, q_rows, k_rows = number, n_q, n
    if HEADS is not None:
        head = tl.load(HEADS + number)
    if sequence is None:
        batches = tl.num_programs(2)
    else:
        batch, n_q, n, q_offset = sequence.batch, sequence.n_q, sequence.n, sequence.q_offset
    class_row, residue, keys = 0, 0, n
    if STRIDE > 1:
        if sequence is None:
            class_row, tile = residue_tile(STRIDE, TOGETHER, LONGEST_FIRST)
            share = Share(tile, False, 0, 1, 0)
        else:
            class_row, share = _share_of(sequence, n_q, STRIDE)
        residue = (q_offset + class_row) % STRIDE
        keys = tl.cdiv(tl.maximum(n - residue, 0), STRIDE)
    elif sequence is not None:
        share = Share(sequence.tile, False, 0, 1, 0)
    place = share.tile * BLOCK_M
    first_row = class_row + STRIDE * place
    row = first_row + STRIDE * tl.arange(0, BLOCK_M)
    q_lo = (q_offset + class_row) // STRIDE + place
    positions = q_offset + row, q_lo, q_lo + BLOCK_M - 1
    if ROWS_OF_QUERY is not None:
        last = place + BLOCK_M - 1
        positions = q_offset + row // ROWS_OF_QUERY, q_offset + place // ROWS_OF_QUERY, q_offset + last // ROWS_OF_QUERY
    rows = place, first_row, row
    at, begins, line = (batches, q_rows, row, first_row), (0, 0, 0, 0), (k_rows, share.tile, 0, batch)
    if sequence is not None:
        at = batches, q_rows, row + sequence.q_first, first_row + sequence.q_first
        begins = sequence.q_first, sequence.k_first, sequence.k_begin, sequence.stats_first
        line = k_rows, sequence.line, sequence.list_first, sequence.stream
    classes = class_row, residue, keys
    return QueryTile(
        heads, head, head // GROUP, batch, n_q, n, q_offset, share, *rows, *positions, *classes, *at, *begins, *line
    )  # fmt: skip


@triton.jit
def own_keys(
    KV_HEADS, FIRST_HEAD, heads, n_q, n, q_offset, batches, GROUP: tl.constexpr,
    BLOCK_N: tl.constexpr, STRIDE: tl.constexpr, TOGETHER: tl.constexpr, LONGEST_FIRST: tl.constexpr,
    GATHERED: tl.constexpr, shares, sequence,
):  # fmt: skip
    """The keys of a program of the kernel for dk and dv."""
    kv_head, batch, share = share_of(shares, KV_HEADS, heads // GROUP, LONGEST_FIRST)
    k_rows = n
    if sequence is None:
        batches = tl.num_programs(2)
    else:
        batch, n_q, n, q_offset = sequence.batch, sequence.n_q, sequence.n, sequence.q_offset
    first_head, n_heads = kv_head * GROUP, GROUP
    if KV_HEADS is not None:
        first_head = tl.load(FIRST_HEAD + kv_head)
        n_heads = tl.load(FIRST_HEAD + kv_head + 1) - first_head
        kv_head = tl.load(KV_HEADS + kv_head)
    class_row, residue, keys, queries, shift = 0, 0, n, n_q, q_offset
    if STRIDE > 1:
        if sequence is None:
            residue, tile = residue_tile(STRIDE, TOGETHER, LONGEST_FIRST)
            share = Share(tile, False, 0, 1, 0)
        else:
            residue, share = _share_of(sequence, n, STRIDE)
        class_row = (STRIDE + residue - q_offset % STRIDE) % STRIDE
        shift = (q_offset + class_row) // STRIDE
        queries = tl.cdiv(tl.maximum(n_q - class_row, 0), STRIDE)
    elif sequence is not None:
        share = Share(sequence.tile, False, 0, 1, 0)
    place = share.tile * BLOCK_N
    first_key = residue + STRIDE * place
    if GATHERED is not None:
        k = gathered_key(place + tl.arange(0, BLOCK_N), GATHERED[0], GATHERED[1], GATHERED[2])
        keys = gathered_count(n, GATHERED[0], GATHERED[1], GATHERED[2])
    else:
        k = first_key + STRIDE * tl.arange(0, BLOCK_N)
    sizes = batch, n_q, n, q_offset
    tile = share, place, place + BLOCK_N - 1, first_key, k
    heads_of_it = heads, heads // GROUP, kv_head, first_head, n_heads
    at, begins, line = (batches, k_rows, k, first_key, k < n), (0, 0, 0, 0), (share.tile, 0)
    if sequence is not None:
        line = sequence.line, sequence.list_first
        begins = sequence.q_first, sequence.k_first, sequence.k_begin, sequence.stats_first
        there = (k < n) & (k >= sequence.k_begin)
        at = batches, k_rows, k + sequence.k_first, first_key + sequence.k_first, there
    return KeyTile(*heads_of_it, *sizes, *tile, class_row, residue, keys, queries, shift, *at, *begins, *line)


@triton.jit
def query_rows(own):
    """Where the queries of a program are in Q, and in tensors with rows like it."""
    return HeadRows(own.batch, own.head, own.n_q, own.class_row, own.place, own.row, own.q_first, 0)


@triton.jit
def loaded_queries(own, sizes):
    """The same, to be loaded; of a sequence without keys none are there, so that nothing is read."""
    rows = query_rows(own)
    if sizes.PACKED:
        some = own.n > own.k_begin
        length, first = tl.where(some, own.n_q, 0), tl.where(some, own.q_first, NOWHERE)
        rows = HeadRows(own.batch, own.head, length, own.class_row, own.place, own.row, first, 0)
    return rows


@triton.jit
def query_rows_of(own, head, stop):
    """Where the queries of a step of a program with keys are in Q."""
    return HeadRows(own.batch, head, own.n_q, own.class_row, stop.place, stop.position, own.q_first, 0)


@triton.jit
def query_ptrs(X, bh, own, sizes, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Pointers to the same rows of a contiguous tensor of HEAD_DIM columns."""
    return row_ptrs(X, bh, own.q_rows, own.first_at, sizes.STRIDE, HEAD_DIM, sizes.BLOCK_M, BLOCK_D)


@triton.jit
def carried_rows(own, sizes):
    """The rows of which a program goes on with what was found before: one, of those that split a tile."""
    rows = own.n_q
    if sizes.SPLIT:
        rows = tl.where(own.share.part == 0, own.n_q, 0)
    return own.row < rows


@triton.jit
def key_rows(own):
    """Where the keys of a program are in K, and in tensors with rows like it: all keys, or gathered ones."""
    first, begin = own.k_first, own.k_begin
    return HeadRows(own.batch, own.kv_head, own.keys, own.residue, own.k_lo, own.k, first, begin)


@triton.jit
def loaded_keys(own, sizes):
    """The same, to be loaded; of a sequence without queries none are there, so that nothing is read."""
    rows = key_rows(own)
    if sizes.PACKED:
        length, first = tl.where(own.n_q > 0, own.keys, 0), tl.where(own.n_q > 0, own.k_first, NOWHERE)
        rows = HeadRows(own.batch, own.kv_head, length, own.residue, own.k_lo, own.k, first, own.k_begin)
    return rows


@triton.jit
def key_ptrs(X, bh, own, sizes, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Pointers to the same rows of a contiguous tensor of HEAD_DIM columns."""
    return row_ptrs(X, bh, own.k_rows, own.first_at, sizes.STRIDE, HEAD_DIM, sizes.BLOCK_N, BLOCK_D)


@triton.jit
def carried_keys(own, sizes):
    """As `carried_rows`, of keys."""
    there = own.there
    if sizes.SPLIT:
        there = own.k < tl.where(own.share.part == 0, own.n, 0)
    return there
