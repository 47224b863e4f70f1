"""What an operator is raced against where documents are packed in one row: entries as in `sparsec.bench.peers`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from sparsec.bench.flash_peers import fa4
from sparsec.bench.own_peers import nondeterministic
from sparsec.bench.peers import CAUSAL, block_mask
from sparsec.bench.race import Peer, Tensors
from sparsec.ir import nodes as ir
from sparsec.runtime.flex import mask_mod


def flex(pattern: ir.Pattern, t: Tensors, remake: bool = False) -> Peer:
    """FlexAttention with a block mask of the pattern within documents.  `remake`: each call makes its mask."""
    if t.device.type != "cuda":
        raise NotImplementedError("FlexAttention has a backward pass on a GPU only")
    if any("n" in ir.names(condition) for condition in pattern.conditions):
        raise NotImplementedError("the pattern reads n, which differs from document to document")
    made, facts, make = block_mask(pattern, t, _mask_of_documents(pattern, t))
    attend = partial(torch.compile(flex_attention, dynamic=False), enable_gqa=t.q.shape[1] != t.k.shape[1])
    if remake:
        return lambda q, k, v: attend(q, k, v, block_mask=make()), facts, True
    return partial(attend, block_mask=made), facts, True


def _mask_of_documents(pattern: ir.Pattern, t: Tensors) -> Callable[..., Tensor]:
    assert t.documents is not None
    n, ends = t.q.shape[2], t.documents.long()
    number = torch.bucketize(torch.arange(n, device=t.device), ends[1:], right=True)
    start, own = ends[number], mask_mod(pattern, n, t.device)

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (number[q] == number[k]) & own(b, h, q - start[q], k - start[q])

    return mask


def varlen(pattern: ir.Pattern, t: Tensors) -> Peer:
    """torch's own attention of packed documents, causal."""
    attend = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    names = inspect.signature(attend).parameters  # they changed from release to release
    given: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in names else {"is_causal": True}
    if t.q.shape[1] != t.k.shape[1]:
        given["enable_gqa"] = True
    return _tokens_first(t, partial(attend, **given)), {}, pattern.conditions == (CAUSAL,)


def flash(pattern: ir.Pattern, t: Tensors) -> Peer:
    """flash-attention's, causal."""
    attend = importlib.import_module("flash_attn").flash_attn_varlen_func
    return _tokens_first(t, partial(attend, causal=True)), {}, pattern.conditions == (CAUSAL,)


def _tokens_first(t: Tensors, attend: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A function of [T, H, D], the ends of the documents and the longest length, as one of [1, H, T, D]."""
    assert t.documents is not None
    ends, longest = t.documents, max(stop - first for first, stop in pairwise(t.documents.tolist()))

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = (x[0].transpose(0, 1) for x in (q, k, v))
        return attend(*rows, ends, ends, longest, longest).transpose(0, 1)[None]

    return call


def nested(pattern: ir.Pattern, t: Tensors) -> Peer:
    """Dense causal attention of jagged nested tensors, by the kernel that torch chooses."""
    assert t.documents is not None
    ends = t.documents.long()

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = (x[0].transpose(0, 1).contiguous() for x in (q, k, v))
        own_q, own_k, own_v = (torch.nested.nested_tensor_from_jagged(x, ends).transpose(1, 2) for x in rows)
        grouped = q.shape[1] != k.shape[1]
        out = scaled_dot_product_attention(own_q, own_k, own_v, is_causal=True, enable_gqa=grouped)
        return out.transpose(1, 2).values().transpose(0, 1)[None]

    return call, {}, pattern.conditions == (CAUSAL,)


PACKED_PEERS: dict[str, Callable[[ir.Pattern, Tensors], Peer]] = {
    "flex": flex,
    "flex-mask": partial(flex, remake=True),
    "varlen": varlen,
    "nested": nested,
    "flash-attn": flash,
    "fa4": fa4,
    "fa4-deterministic": partial(fa4, deterministic=True),
    "nondeterministic": nondeterministic,
}
