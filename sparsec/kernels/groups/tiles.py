"""Device functions: which slots of tokens by group a program has, which it visits, and which pairs are kept.

A group is a chunk of a round of hashing, or a cluster (`chosen.grouping`).  In each line of an order a slot
names a token: ORDER_Q [B, H, lines, slots_q] rows of Q, ORDER_K [B, H, lines, slots_k] keys; -1: nobody.  Keys stand
in groups of size_k.  By chunk (BY_CHUNK), a line is a round, queries are sorted by their labels, and a query sees its
chunk and the one before; by cluster there is one line, queries stand in groups of size_q, and see their group.

A pair of several groups belongs to the first: it is left out where LABELS [B, H, LINES, n_q + n] say that an earlier
one has it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.loads import row_ptrs, rows_ptrs, tile_mask
from sparsec.kernels.tiles.regions import ask_keep
from sparsec.kernels.tiles.splits import store_carry


class GroupSizes(NamedTuple):
    """Constants of these kernels."""

    BY_CHUNK: Any
    LINES: Any  # of LABELS
    GROUP: Any  # query heads that share a key head
    HEAD_DIM: Any
    BLOCK_M: Any
    BLOCK_N: Any
    BLOCK_D: Any
    PRECISION: Any


class GroupTile(NamedTuple):
    """A program's tile of slots, and the call that it belongs to."""

    batch: Any
    head: Any
    heads: Any
    n_q: Any
    n: Any
    q_offset: Any
    stream: Any  # of random numbers, and the positions of queries in a tile of queries: as in QueryTile
    q: Any
    line: Any
    labels: Any  # pointer to the labels of the head
    first: Any  # the first slot, and the end of slots
    end: Any
    slot: Any  # of all lines and heads: where what is found goes
    token: Any  # a row of Q, or a key; -1: nobody
    there: Any
    group: Any  # the label of a query, or the group of a key


class GroupStep(NamedTuple):
    """Slots of the other side."""

    token: Any
    there: Any
    group: Any


@triton.jit
def own_slots(HEADS, LABELS, ORDER, heads, n_q, n, q_offset, slots, size, BY_QUERY: tl.constexpr, sizes):
    """The slots of a program, of queries or of keys."""
    BLOCK: tl.constexpr = sizes.BLOCK_M if BY_QUERY else sizes.BLOCK_N
    tiles = tl.cdiv(slots, BLOCK)
    line, first = tl.program_id(0) // tiles, tl.program_id(0) % tiles * BLOCK
    head, batch = tl.program_id(1), tl.program_id(2)
    if HEADS is not None:
        head = tl.load(HEADS + head)
    bh = (batch * heads + head).to(tl.int64)
    labels = LABELS + bh * sizes.LINES * (n_q + n)
    order_line = _order_line(bh, line, sizes)
    place = first + tl.arange(0, BLOCK)
    token = tl.load(ORDER + order_line * slots + place, mask=place < slots, other=-1)
    there = token >= 0
    group = place // size
    if BY_QUERY and sizes.BY_CHUNK:
        group = tl.load(labels + line * (n_q + n) + token, mask=there, other=0)
    at = order_line * slots + first
    call = batch, head, heads, n_q, n, q_offset, batch, q_offset + token
    return GroupTile(*call, line, labels, first, slots, at, token, there, group)


@triton.jit
def _order_line(bh, line, sizes):
    """The number of a line of an order."""
    number = bh
    if sizes.BY_CHUNK:
        number = bh * sizes.LINES + line
    return number


@triton.jit
def step_slots(ORDER, own, start, end, slots, size, BY_QUERY: tl.constexpr, sizes):
    """Slots of the other side from `start` on and before `end`; BY_QUERY: they are keys."""
    BLOCK: tl.constexpr = sizes.BLOCK_N if BY_QUERY else sizes.BLOCK_M
    bh = (own.batch * own.heads + own.head).to(tl.int64)
    place = start + tl.arange(0, BLOCK)
    token = tl.load(ORDER + _order_line(bh, own.line, sizes) * slots + place, mask=place < end, other=-1)
    there = token >= 0
    group = place // size
    if not BY_QUERY and sizes.BY_CHUNK:
        group = tl.load(own.labels + own.line * (own.n_q + own.n) + token, mask=there, other=0)
    return GroupStep(token, there, group)


@triton.jit
def _groups_of(own):
    """The lowest and the highest group of a program; the highest is less where nobody is there."""
    highest = tl.max(tl.where(own.there, own.group, -1), 0)
    return tl.min(tl.where(own.there, own.group, highest + 1), 0), highest


@triton.jit
def keys_of_groups(own, slots_k, size_k, sizes):
    """The slots of keys that the queries of a program see, from one to before another."""
    lowest, highest = _groups_of(own)
    if sizes.BY_CHUNK:
        lowest = tl.maximum(lowest - 1, 0)
    end = tl.minimum((highest + 1) * size_k, slots_k)
    return tl.minimum(lowest * size_k, end), end


@triton.jit
def queries_of_groups(own, FIRST_Q, firsts, size_q, sizes):
    """The slots of queries that see the keys of a program, from one to before another."""
    lowest, highest = _groups_of(own)
    if sizes.BY_CHUNK:
        bh = (own.batch * own.heads + own.head).to(tl.int64)
        line = FIRST_Q + (bh * sizes.LINES + own.line) * firsts
        some = highest >= lowest
        begin = tl.load(line + lowest, mask=some, other=0)
        end = tl.load(line + highest + 2, mask=some, other=0)
    else:
        begin, end = lowest * size_q, (highest + 1) * size_q
    return tl.minimum(begin, end), end


@triton.jit
def kept_in_groups(rules, own, step, BY_QUERY: tl.constexpr, sizes):
    """Which pairs of a step are of one group, of none before it, and kept: [own, other]."""
    pitch = own.n_q + own.n
    own_at, other_at = own.token, own.n_q + step.token
    if not BY_QUERY:
        own_at, other_at = own.n_q + own.token, step.token
    kept = own.there[:, None] & step.there[None, :]
    if sizes.BY_CHUNK:
        apart = own.group[:, None] - step.group[None, :]
        if not BY_QUERY:
            apart = step.group[None, :] - own.group[:, None]
        kept = kept & (apart.to(tl.uint32, bitcast=True) < 2)
        for line in tl.static_range(sizes.LINES - 1):
            if line < own.line:
                x = tl.load(own.labels + line * pitch + own_at, mask=own.there, other=0)
                y = tl.load(own.labels + line * pitch + other_at, mask=step.there, other=0)
                before = x[:, None] - y[None, :]
                if not BY_QUERY:
                    before = y[None, :] - x[:, None]
                kept = kept & (before.to(tl.uint32, bitcast=True) >= 2)
    else:
        kept = kept & (own.group[:, None] == step.group[None, :])
        common = tl.zeros([1, 1], tl.int32)
        one = own.group * 0 + 1
        for line in tl.static_range(sizes.LINES):
            # Bits of clusters before the own one.
            bits = tl.where(own.group // 32 > line, -1, (one << (own.group % 32)) - 1)
            bits = tl.where(own.group // 32 < line, 0, bits)
            x = tl.load(own.labels + line * pitch + own_at, mask=own.there, other=0) & bits
            y = tl.load(own.labels + line * pitch + other_at, mask=step.there, other=0)
            common = common | (x[:, None] & y[None, :])
        kept = kept & (common == 0)
    if rules.KEEP is not None:
        at = own.batch, own.head, own.heads, own.q_offset, own.n_q
        if BY_QUERY:
            kept = kept & ask_keep(rules, own.q[:, None], step.token[None, :], own.n, at)
        else:
            kept = kept & ask_keep(rules, own.q_offset + step.token[None, :], own.token[:, None], own.n, at)
    return kept


@triton.jit
def load_tokens(X, strides, own, head, token, there, sizes):
    """Rows of a head of X [B, heads, rows, D]; 0 for nobody."""
    x_b, x_h, x_m = strides
    mask = tile_mask(tl.where(there, 0, 1), 1, sizes.HEAD_DIM, sizes.BLOCK_D)  # 0 is inside a length of 1
    return tl.load(rows_ptrs(X, x_b, x_h, x_m, own.batch, head, token, sizes.BLOCK_D), mask=mask, other=0.0)


@triton.jit
def store_slots(X, TOPS, x, own, BLOCK: tl.constexpr, sizes):
    """Stores what a program found for its slots."""
    there = own.first + tl.arange(0, BLOCK) < own.end
    ptrs = row_ptrs(X, own.slot, 1, 0, 1, sizes.HEAD_DIM, BLOCK, sizes.BLOCK_D)
    mask = tile_mask(tl.where(there, 0, 1), 1, sizes.HEAD_DIM, sizes.BLOCK_D)
    store_carry(ptrs, TOPS + own.slot + tl.arange(0, BLOCK), x, there, mask)


@triton.jit
def place_of_slots(own):
    """`at`: which row, head and data pairs belong to, as scores are told."""
    return own.batch, own.head, own.heads, own.q_offset, own.n_q
