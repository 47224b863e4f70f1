"""Gradients of float inputs on a GPU: tables, slopes and biases that scores read.

The gradient of an entry is a sum over all pairs that read it.  Programs walk tiles in one order and add up tiles of
pairs in registers, pair by pair where these read alike: along rows where the query tells entries apart, along columns
where the key does, along diagonals where their distance does.  What remains are sums for each query, key or distance,
which go to their entries in the order of positions: no sum depends on which program is the faster one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsec.kernels.arguments import Call, Upstream
from sparsec.kernels.device import LOG2_E, tl, triton
from sparsec.kernels.direct import attach, current
from sparsec.kernels.dropout_tiles import Dropping, kept_by_hash, row_words
from sparsec.kernels.hardware import dot_precision
from sparsec.kernels.input_entries import entries_of_heads
from sparsec.kernels.inputs import form_of
from sparsec.kernels.kernel_inputs import for_kernels
from sparsec.kernels.loads import rows_ptrs, tile_mask
from sparsec.kernels.memory import as_contiguous, as_readable
from sparsec.kernels.prepare import are_near, padded
from sparsec.kernels.program import Group, Program, Read, Region, cdiv
from sparsec.kernels.read_spans import spans_of
from sparsec.kernels.regions import Rules, ask_data
from sparsec.kernels.scored_tiles import ask_score

_READ_BLOCK = 64  # queries and keys of a tile
_READ_WARPS = 8  # of a program: of 4, sums would not fit registers
_PAIRS_ROOM = 1 << 26  # bytes of gradients of pairs that are made together

_READ_RUN_TIME = [f"{name}_{axis}" for name in "qkvg" for axis in ("bhn" if name in "kv" else "bhm")]
_READ_RUN_TIME += ["heads", "n_q", "n", "q_offset", "first_line", "scale", "drop_below", "kept_share"]


@triton.jit(do_not_specialize=_READ_RUN_TIME)
def read_gradient_kernel(
    Q, K, V, DO, LSE, DELTA, PARTS, HEADS, SPANS, STREAMS, TABLES, INPUTS,
    q_b, q_h, q_m, k_b, k_h, k_n, v_b, v_h, v_n, g_b, g_h, g_m,
    heads, n_q, n, q_offset, first_line, scale, drop_below, kept_share,
    KEPT: tl.constexpr, SCORE: tl.constexpr, SLOPE: tl.constexpr, NUMBERS: tl.constexpr, FORMS: tl.constexpr,
    BY: tl.constexpr, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
    V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr, NEAR: tl.constexpr,
):  # fmt: skip
    """PARTS: of a head, sums of a program's line: "row" [.., rows]; "column" [.., keys]; "distance" [.., 2 * BLOCK] of
    the diagonals of a diagonal of tiles; "pair" the tile itself, in lines of n.  SPANS [lines, 2]: of which steps of a
    line tiles may have a pair, from one to before another; None: of any.  STREAMS, ..: `Dropping`.
    """
    line, batch = tl.program_id(0), tl.program_id(2)
    head = tl.program_id(1)
    if HEADS is not None:
        head = tl.load(HEADS + head)
    q_tiles, k_tiles = tl.cdiv(n_q, BLOCK), tl.cdiv(n, BLOCK)
    row_tile, key_tile, row_step, key_step, steps = line, 0, 0, 1, k_tiles
    if BY == "column":
        row_tile, key_tile, row_step, key_step, steps = 0, line, 1, 0, q_tiles
    elif BY == "distance":
        ahead = line - (k_tiles - 1)  # of the row tile
        row_tile, key_tile, row_step, key_step = tl.maximum(ahead, 0), tl.maximum(-ahead, 0), 1, 1
        steps = tl.minimum(q_tiles - row_tile, k_tiles - key_tile)
    elif BY == "pair":
        row_tile, key_tile, row_step, key_step, steps = first_line + line // k_tiles, line % k_tiles, 0, 0, 1
    bh, at = batch.to(tl.int64) * heads + head, (batch, head, heads)
    first = 0
    if SPANS is not None:
        first, steps = tl.load(SPANS + 2 * line), tl.load(SPANS + 2 * line + 1)
    total = tl.zeros([BLOCK, BLOCK], tl.float32)
    for step in range(first, steps):
        row = (row_tile + step * row_step) * BLOCK + tl.arange(0, BLOCK)
        k = (key_tile + step * key_step) * BLOCK + tl.arange(0, BLOCK)
        total += _changes(
            Q, K, V, DO, LSE, DELTA, (q_b, q_h, q_m), (k_b, k_h, k_n), (v_b, v_h, v_n), (g_b, g_h, g_m),
            batch, head, bh, row, k, n_q, n, q_offset, scale, at, Dropping(STREAMS, drop_below, kept_share),
            Rules(KEPT, None, None, NUMBERS, INPUTS, FORMS, TABLES, False, False, SCORE, SLOPE, False, NEAR),
            GROUP, HEAD_DIM, BLOCK_D, V_DIM, BLOCK_V, PRECISION,
        )  # fmt: skip
    if BY == "row":
        row = row_tile * BLOCK + tl.arange(0, BLOCK)
        tl.store(PARTS + bh * n_q + row, tl.sum(total, 1), mask=row < n_q)
    elif BY == "column":
        k = key_tile * BLOCK + tl.arange(0, BLOCK)
        tl.store(PARTS + bh * n + k, tl.sum(total, 0), mask=k < n)
    elif BY == "distance":
        ahead_in_tile = tl.arange(0, BLOCK)[:, None] - tl.arange(0, BLOCK)[None, :] + (BLOCK - 1)
        parts = PARTS + (bh * tl.num_programs(0) + line) * (2 * BLOCK)
        for place in range(2 * BLOCK):
            tl.store(parts + place, tl.sum(tl.sum(tl.where(ahead_in_tile == place, total, 0.0), 1), 0))
    else:
        row = row_tile * BLOCK + tl.arange(0, BLOCK)
        k = key_tile * BLOCK + tl.arange(0, BLOCK)
        rows = tl.num_programs(0) // k_tiles * BLOCK
        place = (bh * rows + (row - first_line * BLOCK)[:, None]) * n + k[None, :]
        tl.store(PARTS + place, total, mask=(k < n)[None, :])


@triton.jit
def _changes(
    Q, K, V, DO, LSE, DELTA, q_strides, k_strides, v_strides, g_strides, batch, head, bh, row, k, n_q, n, q_offset,
    scale, at, dropping, rules, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    V_DIM: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What pairs of a tile [rows, keys] add to the gradients of the entries that they read."""
    q = q_offset + row
    tables = ()
    if rules.TABLES is not None:
        tables = rules.TABLES
    kept = ask_data(rules.KEEP, (q[:, None], k[None, :], n, at), tables, rules)
    kept = kept & (row < n_q)[:, None] & (k < n)[None, :]
    found = tl.zeros([row.shape[0], k.shape[0]], tl.float32)
    if tl.max(tl.max(kept.to(tl.int32), 1), 0) > 0:
        rows, keys = tile_mask(row, n_q, HEAD_DIM, BLOCK_D), tile_mask(k, n, HEAD_DIM, BLOCK_D)
        kv_head = head // GROUP
        q_tile = tl.load(rows_ptrs(Q, *q_strides, batch, head, row, BLOCK_D), mask=rows, other=0.0)
        k_tile = tl.load(rows_ptrs(K, *k_strides, batch, kv_head, k, BLOCK_D), mask=keys, other=0.0)
        s = tl.dot(q_tile, tl.trans(k_tile), input_precision=PRECISION) * scale
        lse = tl.load(LSE + bh * n_q + row, mask=row < n_q, other=float("inf"))
        slope = ask_score(rules.SCORE_GRADIENT, s, q[:, None], k[None, :], n, at, rules)
        s = ask_score(rules.SCORE, s, q[:, None], k[None, :], n, at, rules)
        p = tl.where(kept & (lse < float("inf"))[:, None], tl.exp2((s - lse[:, None]) * LOG2_E), 0.0)
        rows, keys = tile_mask(row, n_q, V_DIM, BLOCK_V), tile_mask(k, n, V_DIM, BLOCK_V)
        g_tile = tl.load(rows_ptrs(DO, *g_strides, batch, head, row, BLOCK_V), mask=rows, other=0.0)
        v_tile = tl.load(rows_ptrs(V, *v_strides, batch, kv_head, k, BLOCK_V), mask=keys, other=0.0)
        dp = tl.dot(g_tile, tl.trans(v_tile), input_precision=PRECISION)
        if dropping.STREAMS is not None:
            words = row_words(dropping, batch, q, head)
            stays = kept_by_hash(words, k, 0, dropping.drop_below, False, k.shape[0], True)
            dp = tl.where(stays, dp, 0.0) / dropping.kept_share
        delta = tl.load(DELTA + bh * n_q + row, mask=row < n_q, other=0.0)
        found = tl.where(p == 0.0, found, p * (dp - delta[:, None]) * slope)
    return found


# ---------------------------------------------------------------- launches


def input_gradients_gpu(program: Program, call: Call, upstream: Upstream) -> list[Tensor]:
    """The gradients of float inputs, [B, H or 1, entries] each: of every row of the batch for itself."""
    first = len(program.inputs) - program.score_inputs
    batch = call.q.shape[0]
    found = [x.new_zeros(batch, x.shape[1], x.shape[2] + 1) for x in call.inputs[first:]]  # one for what is outside
    if not call.is_empty:
        launch = _Launch(program, call, upstream)
        for group in program.groups:
            regions = group.at(call.k.shape[2]).regions
            for read in regions[0].reads.all if regions[0].reads else ():
                launch.add(found[read.input - first], group, regions, read)
    return [x[..., :-1] for x in found]


class _Launch:
    """What all launches of a call have in common."""

    def __init__(self, program: Program, call: Call, upstream: Upstream) -> None:
        self.program, self.call = program, call
        self.n = call.k.shape[2]
        inputs = for_kernels(program, call.inputs, call.positions, self.n)
        uses = [(own, use) for own in program.inputs for use in own.uses]
        self.inputs = tuple(inputs.values())
        self.forms = tuple(form_of(*use, x.shape) for use, x in zip(uses, self.inputs, strict=True))
        self.streams, self.dropped = None, (0, 1.0)
        if dropout := call.dropout:
            self.streams, self.dropped = as_contiguous(dropout.streams), (dropout.drop_below, dropout.kept_share)
        self.tensors = [as_readable(x) for x in (call.q, call.k, call.v, upstream.g)]
        delta = (upstream.out.float() * upstream.g.float()).sum(-1)
        self.delta = as_contiguous(delta if upstream.dlse is None else delta - upstream.dlse)
        lse = upstream.lse
        self.lse = as_contiguous(lse.masked_fill(lse == float("-inf"), float("inf")))  # such a row has no weights

    def add(self, total: Tensor, group: Group, regions: tuple[Region, ...], read: Read) -> None:
        """Adds what the pairs of a group's heads give the entries of a read; total [B, H or 1, entries and one]."""
        n_q, n, device = self.call.q.shape[2], self.n, total.device
        heads = range(self.call.q.shape[1]) if group.heads is None else group.heads
        own = torch.tensor(heads, device=device)
        places = torch.arange(n_q, device=device) + self.call.q_offset, torch.arange(n, device=device)
        rows, keys = cdiv(n_q, _READ_BLOCK), cdiv(n, _READ_BLOCK)
        if read.by == "row":
            sums = self._sums((n_q,), rows, heads, own, regions, read)
            self._scatter(total, sums, places[0][:, None], torch.zeros_like(own[:1]), own, regions, read)
        elif read.by == "column":
            sums = self._sums((n,), keys, heads, own, regions, read)
            self._scatter(total, sums, torch.zeros_like(own[:1]), places[1][None], own, regions, read)
        elif read.by == "distance":
            parts = self._sums((rows + keys - 1, 2 * _READ_BLOCK), rows + keys - 1, heads, own, regions, read)
            sums = torch.nn.functional.pad(parts[..., :_READ_BLOCK], (0, 0, 0, 1))
            sums[..., 1:, :] += parts[..., _READ_BLOCK:]
            sums = sums.flatten(2)
            least = self.call.q_offset - (keys - 1) * _READ_BLOCK - (_READ_BLOCK - 1)
            distances = torch.arange(sums.shape[2], device=device) + least
            self._scatter(total, sums, distances[:, None], torch.zeros_like(own[:1]), own, regions, read)
        else:
            self._add_pairs(total, heads, own, regions, read)

    def _add_pairs(
        self, total: Tensor, heads: Sequence[int], own: Tensor, regions: tuple[Region, ...], read: Read
    ) -> None:
        """Some queries at a time: their gradients have room for each pair."""
        (batch, _, n_q, _), n, device = self.call.q.shape, self.n, total.device
        keys = cdiv(n, _READ_BLOCK)
        at_once = max(1, _PAIRS_ROOM // (4 * batch * self.call.q.shape[1] * n * _READ_BLOCK))
        for first in range(0, cdiv(n_q, _READ_BLOCK), at_once):
            tiles = min(at_once, cdiv(n_q, _READ_BLOCK) - first)
            begin, rows = first * _READ_BLOCK, min(tiles * _READ_BLOCK, n_q - first * _READ_BLOCK)
            sums = self._sums((tiles * _READ_BLOCK, n), tiles * keys, heads, own, regions, read, first)[:, :, :rows]
            q = self.call.q_offset + begin
            if read.by == "whole":
                rows = max(0, min(rows, n - q))  # queries beyond the keys have no entries
                whole = total[..., :-1].unflatten(-1, (n, n))[:, :, q : q + rows]
                sums = sums[:, :, :rows]
                whole[:, own if total.shape[1] > 1 else 0] += sums if total.shape[1] > 1 else sums.sum(1)
            else:
                some = torch.arange(rows, device=device) + q
                where = some[:, None], torch.arange(n, device=device)
                self._scatter(total, sums, *where, own, regions, read)

    def _scatter(
        self, total: Tensor, sums: Tensor, q: Tensor, k: Tensor, own: Tensor, regions: tuple[Region, ...], read: Read
    ) -> None:
        """Adds sums [B, heads, ..] to the entries that queries and keys read, in their order: sorted by index, as
        index_put_ does with `accumulate` on a GPU.
        """
        batch, heads = sums.shape[:2]
        sums = sums.flatten(2)
        if self.program.inputs[read.input].has_entries:
            h, shape = own[:, None, None], (heads, *torch.broadcast_shapes(q.shape, k.shape))
            given = ((self.program.inputs[number], self.call.inputs[number]) for number in read.inputs)
            inputs = [entries_of_heads(*each, own) for each in given]
            answer = read.indices(q[None], k[None], self.n, h, self.call.q.shape[1], *inputs, *regions[0].more)
            indices = [index.expand(torch.broadcast_shapes(index.shape, shape)).flatten(-2) for index in answer]
            size = self.n if self.program.inputs[read.input].of_pairs else total.shape[2] - 1
            place, inside = torch.zeros_like(indices[0]), torch.ones_like(indices[0], dtype=torch.bool)
            for index in indices:
                place, inside = place * size + index, inside & (index >= 0) & (index < size)
            place = torch.where(inside, place, total.shape[2] - 1)
        else:
            sums, place = sums.sum(2, keepdim=True), own[:, None] * 0
        head = own[:, None] if total.shape[1] > 1 else own[:, None] * 0
        row = torch.arange(batch, device=total.device)[:, None, None]
        total.index_put_((row, head, place), sums, accumulate=True)

    def _sums(
        self,
        shape: tuple[int, ...],
        lines: int,
        heads: Sequence[int],
        own: Tensor,
        regions: tuple[Region, ...],
        read: Read,
        first: int = 0,
    ) -> Tensor:
        """What programs of so many lines find for some heads: float32 [B, heads, *shape]."""
        q, k, v, g = self.tensors
        (batch, all_heads, n_q, dim), region = q.shape, regions[0]
        reads = region.reads
        assert reads is not None
        parts = torch.zeros(batch, all_heads, *shape, dtype=torch.float32, device=q.device)
        tables = [table for _, source in reads.tables for table in source.rows(self.n, 0, None, q.device)[1:]]
        strides = [stride // 8 for x in (q, k, v, g) for stride in x.stride()[:3]]
        of_heads = own.to(torch.int32) if len(heads) < all_heads else None
        spans = spans_of(regions, read.by, n_q, self.n, self.call.q_offset, _READ_BLOCK, q.device)
        with current(q.device):
            attach(q.device)
            read_gradient_kernel[lines, len(heads), batch](
                q, k, v, g, self.lse, self.delta, parts, of_heads, spans,
                self.streams, tuple(tables) or None, self.inputs, *strides,
                all_heads, n_q, self.n, self.call.q_offset, first, self.call.scale, *self.dropped,
                reads.kept, region.answers.score, read.slope, region.numbers or None, self.forms,
                "pair" if read.by == "whole" else read.by, all_heads // k.shape[1], dim, _READ_BLOCK, padded(dim),
                v.shape[3], padded(v.shape[3]), dot_precision(q.dtype), are_near(self.call.positions),
                num_warps=_READ_WARPS,
            )  # fmt: skip
        return parts if of_heads is None else parts[:, own]
