"""What an operator is raced against.  Each entry makes an attention of (q, k, v), facts about its setting up, and
whether it computes the same pattern.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from sparsec.bench.flash_peers import cudnn, fa4
from sparsec.bench.numbers import cost_on
from sparsec.bench.own_peers import nondeterministic, plain
from sparsec.bench.race import Peer, Tensors, memory, synchronize
from sparsec.ir import nodes as ir
from sparsec.plan.build import contiguous
from sparsec.runtime.flex import mask_mod

CAUSAL = ir.Compare(ir.Var("k"), "<=", ir.Var("q"))


def flex(pattern: ir.Pattern, t: Tensors, backend: str | None = None, remake: bool = False) -> Peer:
    """FlexAttention, compiled for this mask and these shapes; the facts are about its block mask.

    `remake`: each call makes its mask, as one with other data has to.
    """
    if t.device.type != "cuda":
        raise NotImplementedError("FlexAttention has a backward pass on a GPU only")
    blocks, facts, make = block_mask(pattern, t, mask_mod(pattern, t.q.shape[2], t.device, inputs=t.given))
    attend = partial(
        torch.compile(flex_attention, dynamic=False),
        enable_gqa=t.q.shape[1] != t.k.shape[1],
        kernel_options={"BACKEND": backend} if backend else None,
    )
    if remake:
        return lambda q, k, v: attend(q, k, v, block_mask=make()), facts, True
    return partial(attend, block_mask=blocks), facts, True


def block_mask(
    pattern: ir.Pattern, t: Tensors, mask: Callable[..., Tensor]
) -> tuple[BlockMask, dict[str, object], Callable[[], BlockMask]]:
    """The block mask, with the time of making it first and again, its memory at the worst moment and at rest; and what
    makes it.
    """
    n, axes = t.q.shape[2], {axis for each in pattern.inputs for axis in each.axes}
    heads = t.q.shape[1] if len(pattern.conditions) > 1 or "H" in axes else None
    rows = t.q.shape[0] if "B" in axes else None
    make = partial(torch.compile(create_block_mask, dynamic=False), mask, rows, heads, n, n, t.device)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        blocks = make()
        synchronize(t.device)
        seconds.append(time.perf_counter() - start)
    kept = sum(x.numel() * x.element_size() for x in blocks.as_tuple() if isinstance(x, Tensor))
    facts = {"mask_first_s": seconds[0], "mask_s": seconds[1], "mask_bytes": kept}
    return blocks, facts | {"mask_peak_bytes": memory(make, t.device)}, make


def sdpa(pattern: ir.Pattern, t: Tensors, dense: ir.Set = CAUSAL) -> Peer:
    """Dense attention, causal or full, by the kernel that torch chooses: a yardstick, unless the pattern is it."""
    grouped = t.q.shape[1] != t.k.shape[1]
    attend = partial(scaled_dot_product_attention, is_causal=dense == CAUSAL, enable_gqa=grouped)
    steps = t.q.shape[0] * t.q.shape[1] * cost_on(t.device)(contiguous(dense), t.k.shape[2])
    return attend, {"predicted_steps": steps}, pattern.conditions == (dense,)


PEERS: dict[str, Callable[[ir.Pattern, Tensors], Peer]] = {
    "cudnn": cudnn,
    "fa4": fa4,
    "fa4-deterministic": partial(fa4, deterministic=True),
    "flex": flex,
    "flex-flash": partial(flex, backend="FLASH"),
    "flex-mask": partial(flex, remake=True),
    "nondeterministic": nondeterministic,
    "plain": plain,
    "sdpa": sdpa,
    "sdpa-full": partial(sdpa, dense=ir.TRUE),
}
