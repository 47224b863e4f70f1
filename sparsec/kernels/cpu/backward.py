"""The backward pass of a region on a CPU, over the batches of its forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsec.kernels.cpu.forward import at, batches, listed_keys
from sparsec.kernels.cpu.order import Order
from sparsec.kernels.cpu.runs import add_keys_of_run, additive_masks, keys_of_run, work_of
from sparsec.kernels.cpu.scores import HeadNumbers, Sums, gradients_scored, kept_in_run, scored_run, tiled_words
from sparsec.kernels.cpu.visits import parts_of
from sparsec.kernels.program.input_entries import Entries
from sparsec.kernels.weights.dropout import RowWords


def backward_region(
    order: Order,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    scale: float,
    entries: Sequence[Entries] = (),
    heads: HeadNumbers | None = None,
    words: RowWords | None = None,
    sums: Sums | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """A region's share of dq, like q [X, group, n_q, D], and of dk and dv, each [n, X, D].

    g is the gradient of out; lse is that over all regions, +inf for a row without a key; `entries`, `heads` and
    `words` as of forward; `sums`: gradients of float inputs, to be added to.
    """
    group, block, listed = q.shape[1], order.block, order.region.listed
    tiles, g_tiles, out_tiles = (order.tiled_queries(x) for x in (q, g, out))
    words = tiled_words(order, words)
    lse_tiles = order.tiled_queries(lse, float("inf"))
    dq = torch.zeros_like(tiles)
    keys = None if listed else (order.tiled_keys(k), order.tiled_keys(v))
    dk, dv = (x.new_zeros(x.shape[1], x.shape[0], x.shape[2]) for x in keys or (k, v))
    for part in parts_of(order):
        visits, runs = work_of(order, *part, group, entries)
        some_k, some_v = keys or (listed_keys(x, visits) for x in (k, v))
        shape = some_k.shape[1], some_k.shape[0], some_k.shape[2]
        some_dk, some_dv = (some_k.new_zeros(shape) for _ in "kv") if listed else (dk, dv)
        table = additive_masks(visits, order.tile, group, q.dtype)
        for run in runs:
            for batch, mask in batches(run, order, tiles, some_k, table, 4, words is not None):
                own_g, own_q, own_out, own_lse = (at(x, batch) for x in (g_tiles, tiles, out_tiles, lse_tiles))
                own_k, own_v = (keys_of_run(x, batch, block) for x in (some_k, some_v))
                tensors = own_g, own_q, own_k, own_v, own_out, own_lse, mask, scale
                scored = scored_run(order, visits, batch, heads, entries)
                kept = kept_in_run(order, visits, batch, words)
                written_out = scored is not None or kept is not None
                more = gradients_scored(*tensors, scored, kept, sums) if written_out else gradients_densely(*tensors)
                batch.add(dq, more[0].transpose(0, 1))
                add_keys_of_run(some_dk, more[1], batch, block)
                add_keys_of_run(some_dv, more[2], batch, block)
        if visits.listed is not None:
            there = visits.listed < order.n
            for x, some in ((dk, some_dk), (dv, some_dv)):
                x.index_add_(0, visits.listed[there], some[there])
    found = (dk, dv) if listed else (order.untiled_keys(x) for x in (dk, dv))
    return order.untiled_queries(dq, group), *found


def gradients_densely(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk and dv of attention over all keys: the counterpart of `attend_densely`."""
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default
    return backward(g, q, k, v, out, lse, 0.0, False, attn_mask=mask, scale=scale)
