"""Device functions that generated Triton kernels call: tile ranges, loads and stores by layout, split programs.

Names here and in the kernels.  q, k: absolute positions.  q_lo..q_hi, k_lo..k_hi: the first and the last of a tile,
ends included.  row: a query's index in Q, q - q_offset.  bh: the index of a (batch, head) pair in a contiguous tensor.
m_i, l_i, acc: running maximum (base 2), sum and output of the softmax (Milakov & Gimelshein, 2018; FlashAttention,
Dao et al., 2022).  X_b, X_h, X_m, X_n: strides of batch, head and row in units of 8 elements, which keeps every load
16 bytes wide whatever the length; r_b, ..: those of the result, which is out, dq, or dk and dv alike.
"""

from __future__ import annotations

try:
    import triton
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # torch alone is enough on a CPU: the kernels then stay uncompiled
    from types import SimpleNamespace

    triton = SimpleNamespace(jit=lambda f=None, **_: f or (lambda g: g))  # type: ignore[assignment]
    tl = SimpleNamespace(constexpr=lambda x: x)  # type: ignore[assignment]
    TensorDescriptor = None  # type: ignore[assignment,misc]

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)

# Kernels are not specialised on lengths and strides, or a new length would compile them again.
RUN_TIME = ["q_b", "q_h", "q_m", "k_b", "k_h", "k_n", "v_b", "v_h", "v_n", "g_b", "g_h", "g_m"]
RUN_TIME += ["o_b", "o_h", "o_m", "r_b", "r_h", "r_m"]
RUN_TIME += ["heads", "n_q", "n_rows", "n_class_rows", "n", "q_offset", "split_tiles", "splits"]


# ---------------------------------------------------------------- integers


@triton.jit
def floor_mod(x, divisor):
    """x % divisor in [0, divisor); the processor's remainder has the sign of x."""
    r = x % divisor
    return tl.where(r < 0, r + divisor, r)


@triton.jit
def floor_div(x, divisor):
    """x // divisor rounded down; the processor's division rounds towards zero."""
    return (x - floor_mod(x, divisor)) // divisor


@triton.jit
def to_int32(x):
    """A 64-bit bound as 32 bits; beyond the longest sequence one bound is as good as another."""
    return tl.minimum(tl.maximum(x, -(1 << 30)), 1 << 30).to(tl.int32)


# ---------------------------------------------------------------- ranges of tiles


@triton.jit
def tile_range(first, stop, length, BLOCK: tl.constexpr):
    """Tiles begin..end of the positions first..stop of a sequence, both half open; 0..0 where there are none."""
    first, stop = tl.maximum(first, 0), tl.minimum(stop, length)
    some = first < stop
    return tl.where(some, first // BLOCK, 0), tl.where(some, tl.cdiv(stop, BLOCK), 0)


@triton.jit
def after_range(done, begin, end):
    """begin..end without the tiles that earlier ranges have visited."""
    begin = tl.maximum(begin, done)
    return begin, tl.maximum(begin, end)


@triton.jit
def ordered_ranges(begin_a, end_a, begin_b, end_b):
    """Two ranges, the one that begins first before the other."""
    swap = begin_b < begin_a
    return (
        tl.where(swap, begin_b, begin_a),
        tl.where(swap, end_b, end_a),
        tl.where(swap, begin_a, begin_b),
        tl.where(swap, end_a, end_b),
    )


# ---------------------------------------------------------------- addresses and loads


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
def load_row_stats(X, bh, n_rows, first, BLOCK: tl.constexpr, TMA: tl.constexpr):
    """BLOCK numbers of one line of X, a contiguous [lines, n_rows]: a log-sum-exp or a delta for each row."""
    if TMA:
        numbers = X.load([bh, first]).reshape(BLOCK)
    else:
        numbers = tl.load(X + bh.to(tl.int64) * n_rows + first + tl.arange(0, BLOCK))
    return numbers


# ---------------------------------------------------------------- residue classes: rows a stride apart


@triton.jit
def residue_tile(stride: tl.constexpr, TOGETHER: tl.constexpr, LONGEST_LAST: tl.constexpr):
    """The residue class of a program, and which of its tiles; where later ones have more to do, they start first.

    TOGETHER classes take turns, then the next: tiles of a class share what they load while the cache holds it, and
    those with much to do run beside others with little.
    """
    tiles = tl.num_programs(0) // stride
    place = tl.program_id(0) % (TOGETHER * tiles)
    residue = tl.program_id(0) // (TOGETHER * tiles) * TOGETHER + place % TOGETHER
    tile = place // TOGETHER
    return residue, tiles - 1 - tile if LONGEST_LAST else tile


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
def load_gathered_sums(
    X, bh, k, wanted, n, period: tl.constexpr, first: tl.constexpr, width: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Rows of X [bh, gathered keys, HEAD_DIM] that keys k have; 0 for those not gathered or not `wanted`."""
    after_first = k - first
    wanted &= (after_first >= 0) & (after_first % period < width)
    count = gathered_count(n, period, first, width)
    row = bh.to(tl.int64) * count + after_first // period * width + after_first % period
    ptrs = X + row[:, None] * HEAD_DIM + tl.arange(0, BLOCK_D)[None, :]
    mask = tile_mask(tl.where(wanted, 0, 1), 1, HEAD_DIM, BLOCK_D)  # 0 is inside a length of 1
    return tl.load(ptrs, mask=mask, other=0.0)


# ---------------------------------------------------------------- state that the next kernel goes on with


@triton.jit
def store_carry(ptrs, TOPS, x, row_mask, mask):
    """Stores x [rows, columns] for a kernel that goes on with it: in float32, or in float16 as shares of the largest
    number of each row, which is stored too.  The error is at most 2**-12 of that number.
    """
    if ptrs.dtype.element_ty == tl.float32:
        tl.store(ptrs, x, mask=mask)
    else:
        top = tl.minimum(tl.maximum(tl.max(tl.abs(x), 1), 1.0e-30), 1.0e37)  # an inf stays one, in its column alone
        tl.store(TOPS, top, mask=row_mask)
        tl.store(ptrs, (x * (1.0 / top)[:, None]).to(tl.float16), mask=mask)


@triton.jit
def load_carry(ptrs, TOPS, row_mask, mask):
    """What `store_carry` stored; rows outside `row_mask` are 0."""
    x = tl.load(ptrs, mask=mask & row_mask[:, None], other=0.0).to(tl.float32)
    if ptrs.dtype.element_ty != tl.float32:
        x *= tl.load(TOPS, mask=row_mask, other=0.0)[:, None]
    return x


# ---------------------------------------------------------------- tiles that several programs split


@triton.jit
def split_first(split_tiles, splits):
    """This program's tile; whether programs split it, this one's number among them, and how many they are.

    The first tiles have far more to do than others: `splits` programs each, which start before all others.
    """
    program = tl.program_id(0)
    split = program < split_tiles * splits
    tile = tl.where(split, program // splits, program - split_tiles * (splits - 1))
    return tile, split, tl.where(split, program % splits, 0), tl.where(split, splits, 1)


@triton.jit
def split_steps(steps, part, parts):
    """begin..end of one part of the steps; parts differ by one step at most."""
    begin = steps // parts * part + tl.minimum(steps % parts, part)
    return begin, begin + steps // parts + tl.where(part < steps % parts, 1, 0)


@triton.jit(do_not_specialize=["r_b", "r_h", "r_m", "heads", "length", "rows", "splits"])
def reduce_splits(
    SPLITS, OUT, OUT_TOP, HEADS, r_b, r_h, r_m, heads, length, rows, splits,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, LISTED: tl.constexpr, CARRY: tl.constexpr,
):  # fmt: skip
    """The first `rows` rows of each head of OUT [B, H, length, D], from SPLITS [splits, B * H, rows, D].

    CARRY: another kernel goes on with OUT, then contiguous, and its largest numbers OUT_TOP.  LISTED: HEADS says which
    heads.
    """
    # OUT_TOP may begin anywhere: its rows count lengths, of which nothing is assumed.
    head = tl.load(HEADS + tl.program_id(1)) if LISTED else tl.program_id(1)
    batch = tl.program_id(2)
    bh, lines = batch * heads + head, tl.num_programs(2) * heads
    first = tl.program_id(0) * BLOCK
    row = first + tl.arange(0, BLOCK)
    mask = tile_mask(row, tl.minimum(rows, length), HEAD_DIM, BLOCK_D)
    total = tl.zeros([BLOCK, BLOCK_D], tl.float32)
    for part in range(splits):
        ptrs = row_ptrs(SPLITS, part * lines + bh, rows, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        total += tl.load(ptrs, mask=mask, other=0.0)
    if CARRY:
        out_ptrs = row_ptrs(OUT, bh, length, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        store_carry(out_ptrs, OUT_TOP + bh.to(tl.int64) * length + row, total, row < tl.minimum(rows, length), mask)
    else:
        out_ptrs = tile_ptrs(OUT, r_b, r_h, r_m, batch, head, first, BLOCK, BLOCK_D)
        tl.store(out_ptrs, total.to(OUT.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["r_b", "r_h", "r_m", "heads", "n_q", "rows", "splits"])
def combine_splits(
    SPLITS, SPLITS_LSE, OUT, OUT_TOP, LSE, HEADS, r_b, r_h, r_m, heads, n_q, rows, splits,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, LISTED: tl.constexpr, CARRY: tl.constexpr,
):  # fmt: skip
    """The softmaxes in SPLITS [splits, B * H, rows, D] as one: the first `rows` rows of OUT [B, H, n_q, D].

    CARRY, LISTED: as in `reduce_splits`.
    """
    head = tl.load(HEADS + tl.program_id(1)) if LISTED else tl.program_id(1)
    batch = tl.program_id(2)
    bh, lines = batch * heads + head, tl.num_programs(2) * heads
    first = tl.program_id(0) * BLOCK
    row = first + tl.arange(0, BLOCK)
    row_mask = row < tl.minimum(rows, n_q)
    mask = tile_mask(row, tl.minimum(rows, n_q), HEAD_DIM, BLOCK_D)
    m_i = tl.full([BLOCK], -1.0e30, tl.float32)
    l_i = tl.zeros([BLOCK], tl.float32)
    acc = tl.zeros([BLOCK, BLOCK_D], tl.float32)
    for part in range(splits):
        line = part * lines + bh
        lse_2 = LOG2_E * tl.load(SPLITS_LSE + line.to(tl.int64) * rows + row, mask=row_mask, other=float("-inf"))
        out = tl.load(row_ptrs(SPLITS, line, rows, first, 1, HEAD_DIM, BLOCK, BLOCK_D), mask=mask, other=0.0)
        m_new = tl.maximum(m_i, lse_2)
        alpha, weight = tl.exp2(m_i - m_new), tl.exp2(lse_2 - m_new)
        l_i = l_i * alpha + weight
        acc = acc * alpha[:, None] + out * weight[:, None]
        m_i = m_new
    some = l_i > 0
    l_safe = tl.where(some, l_i, 1.0)
    lse = tl.where(some, (m_i + tl.log2(l_safe)) * LN_2, float("-inf"))
    out_row = bh.to(tl.int64) * n_q + row
    tl.store(LSE + out_row, lse, mask=row_mask)
    out = acc / l_safe[:, None]
    if CARRY:
        out_ptrs = row_ptrs(OUT, bh, n_q, first, 1, HEAD_DIM, BLOCK, BLOCK_D)
        store_carry(out_ptrs, OUT_TOP + out_row, out, row_mask, mask)
    else:
        out_ptrs = tile_ptrs(OUT, r_b, r_h, r_m, batch, head, first, BLOCK, BLOCK_D)
        tl.store(out_ptrs, out.to(OUT.dtype.element_ty), mask=mask)


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


# ---------------------------------------------------------------- the running softmax, in base 2


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


@triton.jit
def softmax_start(BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr):
    """Maximum, sum and output of a row that has seen no key; finite, so that exp2(-inf - m_i) is 0 and never NaN."""
    m_i = tl.full([BLOCK_M], -1.0e30, tl.float32)
    return m_i, tl.zeros([BLOCK_M], tl.float32), tl.zeros([BLOCK_M, BLOCK_D], tl.float32)


@triton.jit
def softmax_continue(lse, out):
    """The state behind a log-sum-exp (natural logarithm) and an output: lse is the maximum of a sum of 1."""
    m_i = tl.maximum(lse * LOG2_E, -1.0e30)  # finite, as in `softmax_start`
    return m_i, tl.where(lse == float("-inf"), 0.0, 1.0), out


@triton.jit
def softmax_step(s, v_tile, m_i, l_i, acc, scale_log2, PRECISION: tl.constexpr):
    """The state after the scores s [rows, keys], not yet scaled, -inf where masked, and their values."""
    m_new = tl.maximum(m_i, tl.max(s, 1) * scale_log2)
    p = tl.exp2(s * scale_log2 - m_new[:, None])
    alpha = tl.exp2(m_i - m_new)
    l_i = l_i * alpha + tl.sum(p, 1)
    acc = tl.dot(p.to(v_tile.dtype), v_tile, acc * alpha[:, None], input_precision=PRECISION)
    return m_new, l_i, acc


@triton.jit
def softmax_end(m_i, l_i, acc):
    """Output and log-sum-exp; a row without a key gives 0 and -inf."""
    some = l_i > 0
    l_safe = tl.where(some, l_i, 1.0)
    lse = tl.where(some, (m_i + tl.log2(l_safe)) * LN_2, float("-inf"))
    return acc / l_safe[:, None], lse
