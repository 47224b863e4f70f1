"""The forward pass of a region on a CPU: a batch of tiles is one product of torch's attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sparsec.kernels.cpu.order import Order
from sparsec.kernels.cpu.runs import Run, additive_masks, keys_of_run, mask_of_run, work_of
from sparsec.kernels.cpu.scores import HeadNumbers, attend_scored, kept_in_run, scored_run, tiled_words
from sparsec.kernels.cpu.visits import Visits, parts_of
from sparsec.kernels.program.input_entries import Entries
from sparsec.kernels.weights.dropout import RowWords

_PRODUCTS = 4  # tensors of all pairs that a batch with scores or dropout takes
_BUDGET = 16 << 20  # bytes that a batch takes besides its views on one thread: what the allocator keeps for the next


def forward_region(
    order: Order,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    entries: Sequence[Entries] = (),
    heads: HeadNumbers | None = None,
    words: RowWords | None = None,
) -> tuple[Tensor, Tensor]:
    """q [X, group, n_q, D] and k, v [X, n, D] -> out like q, and the log-sum-exp [X, group, n_q].

    `entries`: the inputs of the pattern, the same for all X and the group; `heads`: for scores, where there are some;
    `words` [X, group, n_q]: where weights are dropped.
    """
    group = q.shape[1]
    tiles, words = order.tiled_queries(q), tiled_words(order, words)
    out, lse = torch.zeros_like(tiles), tiles.new_full(tiles.shape[:3], float("-inf"))
    keys = None if order.region.listed else (order.tiled_keys(k), order.tiled_keys(v))
    for part in parts_of(order):
        visits, runs = work_of(order, *part, group, entries)
        some_k, some_v = keys or (listed_keys(x, visits) for x in (k, v))
        table = additive_masks(visits, order.tile, group, q.dtype)
        for run in runs:
            for batch, mask in batches(run, order, tiles, some_k, table, 2, words is not None):
                own_k, own_v = (keys_of_run(x, batch, order.block) for x in (some_k, some_v))
                own_q, scored = at(tiles, batch), scored_run(order, visits, batch, heads, entries)
                kept = kept_in_run(order, visits, batch, words)
                if scored is None and kept is None:
                    more_out, more_lse = attend_densely(own_q, own_k, own_v, mask, scale)
                else:
                    more_out, more_lse = attend_scored(own_q, own_k, own_v, mask, scale, scored, kept)
                if batch.empty is not None:
                    empty = batch.empty.repeat(1, 1, group).flatten(1)
                    more_lse.masked_fill_(empty[:, None], float("-inf"))
                more = more_out.transpose(0, 1), more_lse.transpose(0, 1)
                if batch.again:
                    more = combined(batch.of(out), batch.of(lse), *more)
                for x, some in zip((out, lse), more, strict=True):
                    batch.put(x, some)
    return order.untiled_queries(out, group), order.untiled_queries(lse, group)


def attend_densely(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Attention over all keys, [B, H, rows, D], with a mask that is added: out and log-sum-exp, which is 0 for no key.

    What scaled_dot_product_attention runs on a CPU, called by its name because of the log-sum-exp.
    """
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    out, lse = attention(q, k, v, 0.0, False, attn_mask=mask, scale=scale)
    return out, lse


def combined(out: Tensor, lse: Tensor, more_out: Tensor, more_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Two softmaxes over disjoint keys as one."""
    total = torch.logaddexp(lse, more_lse)
    safe = total.masked_fill(total == float("-inf"), 0.0)[..., None]
    weighted = out * (lse[..., None] - safe).exp()
    return weighted.addcmul_(more_out, (more_lse[..., None] - safe).exp()), total


def batches(
    run: Run, order: Order, tiles: Tensor, keys: Tensor, table: Tensor, copies: int, drops: bool
) -> Iterator[tuple[Run, Tensor | None]]:
    """A run in parts within a budget of memory, with their masks; `copies`: tensors like its keys that a part takes;
    `drops`: whether weights are dropped.

    Pages that the allocator has returned and takes anew cost as much as a tenth of the products, so parts are no larger
    than it keeps; but all threads wait for the last of them after each, so they are larger where there are more.
    """
    lines, dim = keys.shape[0], keys.shape[2]
    length, rows = run.keys.shape[1] * order.block, run.height * tiles.shape[2]
    single = run.masks is not None and len(run.masks) == 1
    mask = mask_of_run(table, run) if single else None
    views = 2 if run.shift is not None else 0  # k and v
    own_masks = 0 if single or run.masks is None else length * rows
    own_masks += _PRODUCTS * length * rows * lines if order.region.score or drops else 0
    entries = own_masks + (copies - views) * length * lines * dim + 2 * rows * lines * dim
    size = tiles.element_size()
    budget = max(_BUDGET, min(_BUDGET * torch.get_num_threads(), 4 * keys.numel() * size))
    most = budget // (size * entries)
    for part in run.split(max(1, most)):
        yield part, mask if single else mask_of_run(table, part)


def at(tiles: Tensor, run: Run) -> Tensor:
    """The stacks of a run, of tiles [X, query tiles, rows, ..], as [stacks, X, height * rows, ..]."""
    return run.of(tiles).transpose(0, 1)


def listed_keys(x: Tensor, visits: Visits) -> Tensor:
    """The keys of x [X, n, D] that stand in lists, [X, keys, D]; a key without a query where a list has none."""
    assert visits.listed is not None
    return x.index_select(1, visits.listed.clamp(max=x.shape[1] - 1))
