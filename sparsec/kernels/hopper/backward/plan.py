"""What the backward kernel of the Hopper tier passes on: tuples of constants or numbers, as `hopper.forward.plan`."""

from __future__ import annotations

from typing import Any, NamedTuple


class BackwardWork(NamedTuple):
    """The tiles of keys that the programs of a launch share."""

    # Of keys of a head, in the order of their turns: number, first step, and which part it is; -1: the whole.  Those of
    # several sequences are a list of `sparsec.kernels.sequences.tiles`.
    TILES: Any
    RANGES: Any  # of those: first step, and how many steps
    STEPS: Any  # the tile of queries, what `sparsec.kernels.hopper.backward.tiles` says of the step, and the sum of dq
    TICKETS: Any  # how many tiles programs have taken
    VISITS: Any  # for each sum and half of it: how many steps have added to it
    DK_PARTS: Any  # what programs find that have parts of the first tiles, [parts, B, H_kv, rows, D]; None: none has
    DV_PARTS: Any
    DQ_ROWS: Any  # results of several sequences by pointers, and their strides by 8 elements
    DK_ROWS: Any
    DV_ROWS: Any
    q_b: Any
    q_h: Any
    q_m: Any
    k_b: Any
    k_h: Any
    k_n: Any
    part_rows: Any
    heads: Any
    kv_heads: Any
    rows: Any  # key heads of all batches; of several sequences: key heads
    together: Any  # how many of these take turns, tile by tile; of several sequences: as tiles of all that take turns
    n: Any
    q_offset: Any
    query_tiles: Any  # of a head, as its log-sum-exps and deltas lie
    sums: Any  # of dq, of each head: one for each tile of queries, and others where a tile has several
    tiles: Any
    scale: Any
    scale_log2: Any
    drop_below: Any  # as of `Dropping`


class BackwardSizes(NamedTuple):
    """Constants of a kernel."""

    GROUP: Any  # query heads that share a key head
    QUERIES: Any  # of a tile
    STATS: Any  # numbers of each query: log-sum-exp and delta; and a word, where weights are dropped
    STATS_AT_ONCE: Any  # that one copy brings, of all queries of a tile
    KEYS: Any
    # A half of a tile of dq, which a group has: rows of a tile of 128 queries, or columns.  Of how many columns; where
    # that of the second group begins; and how many lines of 32 numbers it takes in the order of registers.
    HALF_COLUMNS: Any
    SECOND_ROW: Any
    SECOND_COLUMN: Any
    LINES: Any
    HEAD_DIM: Any
    BLOCK_D: Any
    STAGES: Any  # of queries and their gradients
    PACKED: Any  # whether tiles are those of several sequences
    BACKWARDS: Any  # whether the last ones of a sequence come first
    ORDERED: Any  # whether steps add to a sum in the order of their places; else in any, between the first and the last


class BackwardPlan(NamedTuple):
    """What is the same for all tiles."""

    work: Any
    rules: Any
    sizes: Any


class BackwardShared(NamedTuple):
    """Shared memory, and the barriers that say when a tile is there and when it may be overwritten."""

    k: Any
    v: Any
    q: Any
    do: Any
    stats: Any  # of the queries, as `BackwardSizes.STATS` says: all log-sum-exps, then all deltas, ..
    ds: Any
    slots: Any  # what a group has stored for it: its half of dq, then its dv and dk
    kv_full: Any
    kv_empty: Any
    full: Any
    slot_empty: Any
    sum_full: Any  # the sum of earlier steps is in the slot
    ticket: Any
    ticket_full: Any
    ticket_empty: Any


class BackwardTile(NamedTuple):
    """A tile of keys."""

    batch: Any
    kv_head: Any
    number: Any  # among the tiles of its head
    begin: Any  # of its steps
    steps: Any  # for one query head
    part: Any
    k_row: Any  # the row of K of its first key
    q_row: Any  # the row of Q of the first query that could visit it
    line: Any  # where its sequence stands in the list of tiles


class BackwardStep(NamedTuple):
    """A step of a tile: some queries of one head."""

    bh: Any  # of all batches and query heads
    head: Any
    tile: Any  # of queries
    said: Any
    sum: Any
    row: Any  # of Q
    stats: Any  # the place of its log-sum-exps and deltas
