"""Device functions: how the kernel with tiles of keys goes over the queries of a region."""

from __future__ import annotations

from sparsec.kernels.machine.device import tl, triton
from sparsec.kernels.tiles.ranges import split_steps
from sparsec.kernels.tiles.regions import mask_scores, stop_at_listed, stop_at_rows, stop_at_tile, walk_of, whole_steps


@triton.jit
def walk_queries(rules, lists, own, sizes):
    """The walk of a program, its steps for one head, and from which turn to before which it goes: heads by steps."""
    line, more = own.line, ()
    if sizes.STRIDE > 1:
        line, more = line * sizes.STRIDE + own.residue, (own.residue,)
    walk = walk_of(
        rules, lists, line, own.list_first, own.batch, own.kv_head, own.queries,
        (own.k_lo, own.k_hi, own.n, own.queries, own.shift, sizes.BLOCK_M), more, sizes.PACKED,
    )  # fmt: skip
    steps = walk.steps
    if lists.SEEN is not None:
        steps = tl.cdiv(steps, sizes.BLOCK_M)
    if lists.ROWS is not None:
        steps = tl.cdiv(steps, sizes.BLOCK_M // lists.ROWS)
    turns = own.n_heads * steps
    if lists.HEADS is not None:
        turns = steps
    begin, end = 0, turns
    if sizes.SPLIT:
        begin, end = split_steps(turns, own.share.part, own.share.parts)
    return walk, steps, begin, end


@triton.jit
def turn_of(walk, lists, own, turn, steps, sizes):
    """The step of a turn, and the number of the query head that it is about."""
    step, head = turn, own.first_head
    if lists.HEADS is not None:
        head += tl.load(lists.LIST + walk.begin + turn).to(tl.int32) // 4 % lists.HEADS
    elif sizes.GROUP > 1:
        step, head = turn % steps, own.first_head + turn // steps
    return step, head


@triton.jit
def last_queries(walk, lists, own, steps, end, sizes):
    """Steps for one head, turns, and turns to come after these with tiles that may hold rows of another sequence."""
    last_end = 0
    if sizes.PACKED and sizes.TMA:
        whole = whole_steps(walk, lists, sizes.BLOCK_M)
        last_end = own.n_heads * (steps - whole)
        steps, end = whole, own.n_heads * whole
    return steps, end, last_end


@triton.jit
def queries_at(walk, lists, own, step, sizes):
    """The rows of Q of a step."""
    if lists.SEEN is not None:
        stop = stop_at_listed(walk, lists, walk.begin + step * sizes.BLOCK_M, own.n_q, sizes.BLOCK_M)
    elif lists.ROWS is not None:
        stop = stop_at_rows(walk, lists, step, own.n_q, sizes.BLOCK_M)
    else:
        stop = stop_at_tile(walk, lists, step, own.class_row, sizes.BLOCK_M, sizes.STRIDE, None)
    return stop


@triton.jit
def place_of_queries(rules, lists, own, head, sizes):
    """`at`: which row, head and data the pairs of a step belong to, as masks and scores are told."""
    queries = own.n_q
    if sizes.ROWS_OF_QUERY is not None:
        queries = own.n_q // sizes.ROWS_OF_QUERY
    at = (own.batch, head, own.heads, own.q_offset, queries)
    if sizes.PACKED:
        at = (own.batch, head, own.heads, own.k_first, own.k_begin, own.k_rows)
    elif sizes.STRIDE == 1 and not rules.GATHERED and lists.SEEN is None:  # keys side by side
        at = (own.batch, head, own.heads, own.q_offset, queries, own.k_lo, own.k_lo + sizes.BLOCK_N)
    return at


@triton.jit
def mask_queries(s, rules, lists, walk, own, stop, at, sizes):
    """Scores [BLOCK_N, BLOCK_M] of a query head, -inf where the pattern leaves a pair out."""
    q_lo = own.shift + stop.place
    edges = q_lo, q_lo + sizes.BLOCK_M - 1, own.k_lo, own.k_hi
    more = (own.n,)
    if sizes.STRIDE > 1:
        more = (own.n, own.residue)
    row = stop.position
    if sizes.ROWS_OF_QUERY is not None:
        row = stop.position // sizes.ROWS_OF_QUERY
    return mask_scores(
        s, rules, lists, walk, stop, own.q_offset + row, own.k, edges, more, at, (False, 0),
        False, False, sizes.BLOCK_N, sizes.BLOCK_M,
    )  # fmt: skip
