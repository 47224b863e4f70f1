"""FlashAttention-4 and cuDNN as peers, of patterns that are dense, causal or one window, however they are written."""

from __future__ import annotations

import importlib
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from sparsec.analysis.find import find
from sparsec.bench.race import Peer, Tensors
from sparsec.ir import nodes as ir
from sparsec.sets.reach import distances, layer

Window = tuple[int | None, int | None]  # how far back and ahead a query sees; None: to the end
_CAUSAL: Window = (None, 0)


def window_of(pattern: ir.Pattern) -> Window:
    """The window that a pattern is, proved for all n.  NotImplementedError where it is none."""
    if len(pattern.conditions) != 1 or pattern.inputs or any(pattern.scores):
        raise NotImplementedError("it knows patterns that are the same for every head, without inputs and scores")
    (condition,) = pattern.conditions
    back, ahead = distances(layer([condition]))
    q, k = ir.Var("q"), ir.Var("k")
    sides = [ir.Compare(ir.Sub(q, k), "<=", ir.Const(back))] if back is not None else []
    sides += [ir.Compare(ir.Sub(k, q), "<=", ir.Const(ahead))] if ahead is not None else []
    if find(ir.And((*sides, ir.Not(condition)))).status != "none":
        raise NotImplementedError("it knows dense and causal attention, and windows")
    return back, ahead


def fa4(pattern: ir.Pattern, t: Tensors, deterministic: bool = False) -> Peer:
    """FlashAttention-4; `deterministic`: gradients that are the same from run to run, as ours are."""
    functions, window = importlib.import_module("flash_attn.cute"), window_of(pattern)
    told: dict[str, Any] = {"deterministic": deterministic}
    told |= {"causal": True} if window == _CAUSAL else {"window_size": window}
    if t.documents is None:
        attend = partial(functions.flash_attn_func, **told)
        return lambda q, k, v: _out(attend(*(x.transpose(1, 2) for x in (q, k, v)))).transpose(1, 2), {}, True
    ends, longest = t.documents, max(stop - first for first, stop in pairwise(t.documents.tolist()))
    told |= {"cu_seqlens_q": ends, "cu_seqlens_k": ends, "max_seqlen_q": longest, "max_seqlen_k": longest}
    packed = partial(functions.flash_attn_varlen_func, **told)
    return lambda q, k, v: _out(packed(*(x[0].transpose(0, 1) for x in (q, k, v)))).transpose(0, 1)[None], {}, True


def _out(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Some releases give the log-sum-exp too."""
    return result[0] if isinstance(result, tuple) else result


def cudnn(pattern: ir.Pattern, t: Tensors) -> Peer:
    """Dense attention by cuDNN, causal or full."""
    if (window := window_of(pattern)) not in (_CAUSAL, (None, None)):
        raise NotImplementedError("torch gives cuDNN no window")
    own = {"is_causal": window == _CAUSAL, "enable_gqa": t.q.shape[1] != t.k.shape[1]}

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return scaled_dot_product_attention(q, k, v, **own)

    return attend, {}, True
