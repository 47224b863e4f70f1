"""The kernel that sums up gradients of float inputs: tables, slopes and biases that scores read.

Programs walk tiles in one order and add up tiles of pairs in registers, pair by pair where these read alike: along rows
where the query tells entries apart, along columns where the key does, along diagonals where their distance does.
"""

from __future__ import annotations

from sparsec.kernels.machine.device import LOG2_E, tl, triton
from sparsec.kernels.tiles.dropout import Dropping, kept_by_hash, row_words
from sparsec.kernels.tiles.loads import rows_ptrs, tile_mask
from sparsec.kernels.tiles.own_tiles import OwnSequence
from sparsec.kernels.tiles.regions import Rules, ask_data
from sparsec.kernels.tiles.scores import ask_score

_READ_STAGES = tl.constexpr(2)  # tiles that are loaded while others are worked on
_READ_RUN_TIME = [f"{name}_{axis}" for name in "qkvg" for axis in ("bhn" if name in "kv" else "bhm")]
_READ_RUN_TIME += ["heads", "turns", "part_heads", "q_rows", "k_rows", "lines", "halvings", "room", "first_line"]
_READ_RUN_TIME += ["first_tile", "scale", "drop_below", "kept_share"]


@triton.jit(do_not_specialize=_READ_RUN_TIME)
def read_gradient_kernel(
    Q, K, V, DO, LSE, DELTA, PARTS, SEQUENCES, WALKS, PLACES, HEADS, SPANS, STREAMS, TABLES, INPUTS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_m,
    heads, turns, part_heads, q_rows, k_rows, lines, halvings, room, first_line, first_tile,
    scale, drop_below, kept_share,
    KEPT: tl.constexpr, SCORE: tl.constexpr, SLOPE: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr,
    BY: tl.constexpr, SHIFTED: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr, V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr, NEAR: tl.constexpr,
):  # fmt: skip
    """A program has a walk of one of the SEQUENCES (`sequences.sequences`), for one head or for `turns` of them.

    WALKS [lines + 1]: how many walks there are before each sequence, PLACES likewise of sums, of at most `room`.
    PARTS, of the walks and sums of BY:
    "row", "column" [H, room]: of a tile of queries, or of keys, a sum for each of them;
    "distance" [H, 2, room]: of a diagonal of tiles, a sum for each distance, those of every other diagonal together;
    "pair" [H, rows, keys]: of a tile of the sequence `first_line`, from the row `first_tile` of tiles on, each pair;
    "whole" [B, H or 1, room], to be added to: of a tile of queries, each pair, in lines of `k_rows`.
    SPANS [walks, 2]: of which steps of a walk tiles may have a pair, from one to before another; None: of any.
    SHIFTED: keys may begin at any position, in any row of K.  STREAMS, ..: `Dropping`.
    """
    number, line, part_head = tl.program_id(0), first_line, tl.program_id(1)
    if HEADS is not None:
        part_head = tl.load(HEADS + part_head)
    if BY != "pair":
        line = _line_of(WALKS, number, lines, halvings)
        number -= tl.load(WALKS + line)
    own = _sequence_at(SEQUENCES, line, number, lines)
    keys = own.n - own.k_begin
    q_tiles, k_tiles = tl.cdiv(own.n_q, BLOCK), tl.cdiv(keys, BLOCK)
    row_tile, key_tile, row_step, key_step, steps = number, 0, 0, 1, k_tiles
    if BY == "column":
        row_tile, key_tile, row_step, key_step, steps = 0, number, 1, 0, q_tiles
    elif BY == "distance":
        ahead = number - (k_tiles - 1)  # of the row tile
        row_tile, key_tile, row_step, key_step = tl.maximum(ahead, 0), tl.maximum(-ahead, 0), 1, 1
        steps = tl.minimum(q_tiles - row_tile, k_tiles - key_tile)
    elif BY == "pair":
        row_tile, key_tile, row_step, key_step, steps = first_tile + number // k_tiles, number % k_tiles, 0, 0, 1
    first = 0
    if SPANS is not None:
        there, span = line < lines, SPANS + 2 * number  # there can be more programs than walks
        first, steps = tl.load(span, mask=there, other=0), tl.load(span + 1, mask=there, other=0)
    whole = PARTS + (own.batch.to(tl.int64) * part_heads + tl.minimum(part_head, part_heads - 1)) * room
    total = tl.zeros([BLOCK, BLOCK], tl.float32)
    for step in tl.range(first, steps, num_stages=_READ_STAGES):
        row = (row_tile + step * row_step) * BLOCK + tl.arange(0, BLOCK)
        key = (key_tile + step * key_step) * BLOCK + tl.arange(0, BLOCK)
        if BY != "whole":
            total += _changes(
                Q, K, V, DO, LSE, DELTA, (q_b, q_h, q_m), (k_b, k_h, k_n), (v_b, v_h, v_n), (g_b, g_h, g_m),
                own, part_head, row, key, (own.batch.to(tl.int64) * heads + part_head) * q_rows, scale,
                _place_of_pairs(own, part_head, heads, k_rows, SHIFTED), Dropping(STREAMS, drop_below, kept_share),
                Rules(KEPT, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, SLOPE, False, NEAR),
                GROUP, HEAD_DIM, BLOCK_D, V_DIM, BLOCK_V, PRECISION, SPANS is not None,
            )  # fmt: skip
        else:
            total = tl.zeros([BLOCK, BLOCK], tl.float32)
            for turn in range(turns):
                head = part_head
                if turns > 1:
                    head = turn
                    if HEADS is not None:
                        head = tl.load(HEADS + turn)
                total += _changes(
                    Q, K, V, DO, LSE, DELTA, (q_b, q_h, q_m), (k_b, k_h, k_n), (v_b, v_h, v_n), (g_b, g_h, g_m),
                    own, head, row, key, (own.batch.to(tl.int64) * heads + head) * q_rows, scale,
                    _place_of_pairs(own, head, heads, k_rows, SHIFTED), Dropping(STREAMS, drop_below, kept_share),
                    Rules(KEPT, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, SLOPE, False, NEAR),
                    GROUP, HEAD_DIM, BLOCK_D, V_DIM, BLOCK_V, PRECISION, SPANS is not None,
                )  # fmt: skip
            _add_pairs(whole, total, own, row, own.k_first + own.k_begin + key, keys, k_rows)
    if BY == "row":
        _store_sums(PARTS, tl.sum(total, 1), part_head, row_tile * BLOCK, own.n_q, PLACES, line, room)
    elif BY == "column":
        _store_sums(PARTS, tl.sum(total, 0), part_head, key_tile * BLOCK, keys, PLACES, line, room)
    elif BY == "distance":
        later, earlier = _diagonal_sums(total, BLOCK)
        of_it = 2 * part_head + number % 2
        begin = (row_tile - key_tile) * BLOCK + keys - 1  # of distance 0 within the tiles
        some = tl.where(own.n_q > 0, own.n_q + keys - 1, 0)
        _store_sums(PARTS, later, of_it, begin, some, PLACES, line, room)
        _store_sums(PARTS, earlier, of_it, begin - BLOCK, some, PLACES, line, room)
    elif BY == "pair":
        of_row = (row_tile - first_tile) * BLOCK + tl.arange(0, BLOCK)
        of_key = key_tile * BLOCK + tl.arange(0, BLOCK)
        rows = tl.num_programs(0) // k_tiles * BLOCK
        place = (part_head.to(tl.int64) * rows + of_row[:, None]) * keys + of_key[None, :]
        tl.store(PARTS + place, total, mask=(of_key < keys)[None, :])


@triton.jit
def _line_of(WALKS, number, lines, halvings):
    """The sequence that has the walk of that number; `lines` where none has it."""
    low, high = 0, lines  # it is one of low .. high
    for _ in range(halvings):
        middle = (low + high) // 2
        beyond = (middle < lines) & (tl.load(WALKS + tl.minimum(middle + 1, lines)) <= number)
        low, high = tl.where(beyond, middle + 1, low), tl.where(beyond, high, middle)
    return low


@triton.jit
def _sequence_at(SEQUENCES, line, number, lines):
    """A sequence of the table; one without tokens where there is none."""
    there, at = line < lines, SEQUENCES + line * 7
    batch = tl.load(at, mask=there, other=0)
    q_first, n_q = tl.load(at + 1, mask=there, other=0), tl.load(at + 2, mask=there, other=0)
    k_row, k_begin = tl.load(at + 3, mask=there, other=0), tl.load(at + 4, mask=there, other=0)
    n, q_offset = tl.load(at + 5, mask=there, other=0), tl.load(at + 6, mask=there, other=0)
    return OwnSequence(batch, q_first, n_q, k_row - k_begin, k_begin, n, q_offset, number, 0, line, 0, line)


@triton.jit
def _place_of_pairs(own, head, heads, k_rows, SHIFTED):
    """`at`: which row, head and data pairs belong to, as masks and scores are told."""
    at = (own.batch, head, heads, own.q_offset, own.n_q)
    if SHIFTED:
        at = (own.batch, head, heads, own.k_first, own.k_begin, k_rows)
    return at


@triton.jit
def _diagonal_sums(x, BLOCK: tl.constexpr):
    """Sums of a tile along its diagonals: of row - column = 0 .. BLOCK - 1, and of - BLOCK .. - 1."""
    row, place = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    turned = tl.gather(x, (row - place + BLOCK) % BLOCK, 1)
    return tl.sum(tl.where(place <= row, turned, 0.0), 0), tl.sum(tl.where(place <= row, 0.0, turned), 0)


@triton.jit
def _store_sums(PARTS, sums, part, begin, count, PLACES, line, room):
    """Stores sums from number `begin` on, of the `count` that a sequence has."""
    own = begin + tl.arange(0, sums.shape[0])
    place = tl.load(PLACES + line) + own
    tl.store(PARTS + part.to(tl.int64) * room + place, sums, mask=(own >= 0) & (own < count) & (place < room))


@triton.jit
def _add_pairs(whole, total, own, row, k_row, keys, k_rows):
    """Adds the pairs of a tile to those of a row of the batch; queries beyond the keys have no entries."""
    index = own.q_offset + row - own.k_begin  # of the query among the keys
    there = ((row < own.n_q) & (index >= 0) & (index < keys))[:, None]
    there = there & (k_row < own.k_first + own.n)[None, :]
    to = whole + ((own.k_first + own.k_begin + index).to(tl.int64) * k_rows)[:, None] + k_row[None, :]
    tl.store(to, tl.load(to, mask=there, other=0.0) + total, mask=there)


@triton.jit
def _changes(
    Q, K, V, DO, LSE, DELTA, q_strides, k_strides, v_strides, g_strides, own, head, row, key,
    first_stat, scale, at, dropping, rules, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
    SURE: tl.constexpr,
):  # fmt: skip
    """What pairs of a tile [rows, keys] add to the gradients of the entries that they read.

    SURE: most tiles have some.  Others are looked at first, so that their tokens are not loaded; nothing is then loaded
    ahead, either.
    """
    q, k = own.q_offset + row, own.k_begin + key
    row_there, key_there = row < own.n_q, k < own.n
    tables = ()
    if rules.TABLES is not None:
        tables = rules.TABLES
    kept = ask_data(rules.KEEP, (q[:, None], k[None, :], own.n, at), tables, rules)
    kept = kept & row_there[:, None] & key_there[None, :]
    found = tl.zeros([row.shape[0], key.shape[0]], tl.float32)
    some = True
    if not SURE:
        some = tl.max(tl.max(kept.to(tl.int32), 1), 0) > 0
    if some:
        rows, keys = tile_mask(row, own.n_q, HEAD_DIM, BLOCK_D), tile_mask(k, own.n, HEAD_DIM, BLOCK_D)
        kv_head, q_row, k_row = head // GROUP, own.q_first + row, own.k_first + k
        q_tile = tl.load(rows_ptrs(Q, *q_strides, own.batch, head, q_row, BLOCK_D), mask=rows, other=0.0)
        k_tile = tl.load(rows_ptrs(K, *k_strides, own.batch, kv_head, k_row, BLOCK_D), mask=keys, other=0.0)
        s = tl.dot(q_tile, tl.trans(k_tile), input_precision=PRECISION) * scale
        lse = tl.load(LSE + first_stat + q_row, mask=row_there, other=float("inf"))
        slope = ask_score(rules.SCORE_GRADIENT, s, q[:, None], k[None, :], own.n, at, rules)
        s = ask_score(rules.SCORE, s, q[:, None], k[None, :], own.n, at, rules)
        p = tl.where(kept & (lse < float("inf"))[:, None], tl.exp2((s - lse[:, None]) * LOG2_E), 0.0)
        rows, keys = tile_mask(row, own.n_q, V_DIM, BLOCK_V), tile_mask(k, own.n, V_DIM, BLOCK_V)
        g_tile = tl.load(rows_ptrs(DO, *g_strides, own.batch, head, q_row, BLOCK_V), mask=rows, other=0.0)
        v_tile = tl.load(rows_ptrs(V, *v_strides, own.batch, kv_head, k_row, BLOCK_V), mask=keys, other=0.0)
        dp = tl.dot(g_tile, tl.trans(v_tile), input_precision=PRECISION)
        if dropping.STREAMS is not None:
            words = row_words(dropping, own.stream, q, head)
            stays = kept_by_hash(words, k, 0, dropping.drop_below, False, k.shape[0], True)
            dp = tl.where(stays, dp, 0.0) / dropping.kept_share
        delta = tl.load(DELTA + first_stat + q_row, mask=row_there, other=0.0)
        found = tl.where(p == 0.0, found, p * (dp - delta[:, None]) * slope)
    return found
