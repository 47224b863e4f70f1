"""What kernels of the Hopper tier pass on, as tuples."""

from __future__ import annotations

from typing import Any, NamedTuple


class HopperWork(NamedTuple):
    """The tiles that the programs of a launch share."""

    TILES: Any  # those of several sequences (`sparsec.kernels.sequences.tiles`); None: `tiles` of each row and head
    HEADS: Any  # the query heads, None: all
    group_heads: Any  # how many they are
    heads: Any  # of all queries
    batches: Any
    n_q: Any
    n: Any
    q_offset: Any
    tiles: Any  # of the queries of a head
    together: Any  # how many heads of all batches take turns, the longest tiles first, before the next ones do
    split_tiles: Any  # the first ones, which `splits` programs split
    splits: Any
    SINKS: Any  # one score more for each row, [1 or B, H]; None: there is none
    sinks_b: Any


class HopperSizes(NamedTuple):
    """Constants of a kernel.  Numbers are elsewhere: of an inner tuple with both, Triton 3.6 forgets these in loops."""

    GROUP: Any  # query heads that share a key head
    SPLIT: Any  # whether programs split tiles
    PACKED: Any  # whether tiles are those of several sequences, and how many words are said of one
    WORDS: Any
    LONGEST_FIRST: Any
    BLOCK_M: Any
    BLOCK_N: Any
    BLOCK_D: Any
    HEAD_DIM: Any
    ROWS: Any  # of a tile that one group of warps has, and how many groups there are
    GROUPS: Any
    STAGES: Any  # of keys and values
    SLOTS: Any  # tiles of queries in shared memory, 1 or 2; with one, results go to memory from registers
    SCORES: Any  # layout of scores in registers
    OUT: Any  # of results
    WEIGHTS: Any  # of the softmax's weights, as a product takes them
    TWIN: Any = False  # whether groups share the rows of a share of a split tile, of whose keys each has its own


class HopperPlan(NamedTuple):
    """What is the same for all tiles."""

    work: Any
    rules: Any
    lists: Any
    sizes: Any
    dropping: Any  # `Dropping`
    scale_log2: Any


class HopperResults(NamedTuple):
    """What a kernel writes."""

    OUT: Any  # through a descriptor
    OUT_ROWS: Any  # the same by pointers, and its strides
    r_b: Any
    r_h: Any
    r_m: Any
    LSE: Any
    SPLITS: Any  # what programs find that split a tile; None: none does
    SPLITS_LSE: Any
    OUT_TOP: Any = None  # the largest number of each row of what another kernel goes on with; None: none does


class HopperShared(NamedTuple):
    """Shared memory: tiles, and the barriers that say when one is there and when it may be overwritten."""

    q: Any
    k: Any
    v: Any
    out: Any
    factors: Any  # of the rows of two tiles, of which one is complete
    said: Any  # of the step of a stage: `sparsec.kernels.hopper.forward.tiles`
    tiles: Any  # what some tiles of queries are
    q_full: Any
    full: Any


class HopperTile(NamedTuple):
    """A tile of queries."""

    batch: Any
    head: Any
    kv_head: Any
    number: Any  # among the tiles of its head
    split: Any  # whether programs split it, the number of this share, and how many there are
    part: Any
    parts: Any
    first: Any  # the row of Q of its first query, how many of its rows there are, and the position of the first
    rows: Any
    q_lo: Any
    n: Any  # keys of the sequence, the row of K where the key at position 0 would be, the first that is there
    k_first: Any
    k_begin: Any
    stream: Any  # of random numbers: the line of its sequence in their table


class HopperWalk(NamedTuple):
    """The steps of a program through a tile, which it visits from the last to the first."""

    walk: Any
    end: Any  # before which step they end
    count: Any
