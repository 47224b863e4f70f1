"""The attention function: every argument that transformers passes is honoured, or refused by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import bidirectional_mask_function

from sparsec.runtime.fitting import fitting
from sparsec.transformers.cache import places_of
from sparsec.transformers.dense import over_kept_keys
from sparsec.transformers.layers import LayerPattern, layer_pattern, problem
from sparsec.transformers.masks import Form, Place, mask, read
from sparsec.transformers.refusal import EAGER, refusal

# What says nothing that the mask has not said, or is meant for others than the attention function.
_HARMLESS = {
    "cache_position",
    "is_causal",
    "logits_to_keep",
    "max_length_k",
    "max_length_q",
    "num_items_in_batch",
    "output_hidden_states",
    "output_router_logits",
    "position_ids",
    "return_dict",
    "sliding_window",
    "use_cache",
    "v_head_dim",
}
_OTHERWISE = {
    "output_attentions": f"the weights are never formed; {EAGER}",
    "indices": f"an indexer chose the keys of each query; {EAGER}",
    "block_indices": f"an indexer chose the blocks of each query; {EAGER}",
}


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sinks: Tensor | None = None,
    position_bias: Tensor | None = None,
    cu_seq_lens_q: Tensor | None = None,
    cu_seq_lens_k: Tensor | None = None,
    deterministic: bool | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """query [B, H, n_q, D]; key [B, H_kv, n, D]; value [B, H_kv, n, D_v] -> ([B, n_q, H, D_v], None).

    `attention_mask` is what `mask` made.  `s_aux` or `sinks` [H]: a score for each head that takes its share of the
    softmax and has no value.  `cu_seq_lens_q`, the same as `cu_seq_lens_k`: where documents of one packed row begin.
    `dropout`: the probability with which weights are dropped, by a seed from torch's generator.
    `deterministic`: False lets gradients be sums in any order, as `model(..., deterministic=False)` asks.
    """
    if position_bias is not None:
        raise refusal("a bias added to the scores, `position_bias`", EAGER, module)
    for name, given in others.items():
        if given is not None and given is not False and name not in _HARMLESS:
            shown = f"`{name}`" if isinstance(given, Tensor) else f"`{name}={given}`"
            raise refusal(shown, _OTHERWISE.get(name, f"it may change the result; {EAGER}"), module)
    place = _place(module, query, key, attention_mask, others.get("is_causal"))
    cap = None if softcap is None else float(softcap)
    own = layer_pattern(module)
    places = None
    if len(key) != len(place.numbers) or key.shape[2] != place.numbers.shape[2]:
        places = _kept(own, place, query, key)
        if places is None:
            has, wanted = list(key.shape[::2]), [len(place.numbers), place.numbers.shape[2]]
            hint = f"`sparsec.transformers.Cache` takes rows without padding; {EAGER}"
            raise refusal(f"keys of {has} rows and positions, where its mask has {wanted}", hint, module)
    attend = place.pattern.operator(cap) if own is None else own.attend
    if own is not None:
        kept = key.shape[2] - query.shape[2] if place.form is Form.CUT_ROWS else -1
        if found := problem(own.number, place.number, kept, cap):
            asked, hint = found
            raise refusal(asked, hint, module)
    aux = s_aux if sinks is None else sinks
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if own is not None and places is not None:
        if dropout:
            hint = "leave the cache out in training, or set `attention_dropout` to 0"
            raise refusal(f"dropout of {dropout} over keys that a cache kept", hint, module)
        return over_kept_keys(own, query, key, value, places, scale, aux).transpose(1, 2), None
    positions = _positions(place)
    if cu_seq_lens_q is not None:
        positions = {"documents": _ends(module, place, query, cu_seq_lens_q, cu_seq_lens_k)}
    q, k, v, size = fitting(query, key, value)
    out = attend(
        q,
        k,
        v,
        scale=scale,
        sinks=None if aux is None else aux.flatten(),
        dropout_p=dropout,
        deterministic=_ordered(module, deterministic),
        **positions,
        **place.inputs if own is None else {},
    )
    return out[..., :size].transpose(1, 2), None


def _ordered(module: nn.Module, deterministic: bool | None) -> bool:
    """What the operator takes for `deterministic`; a model that says False at every call, as its configuration does by
    default, means FlashAttention (ModernBERT).
    """
    return True if deterministic is None or hasattr(module, "deterministic_flash_attn") else deterministic


def _place(module: nn.Module, query: Tensor, key: Tensor, carried: Tensor | None, is_causal: object) -> Place:
    """What the mask says; no mask is the whole of the keys, where the layer says that it looks ahead."""
    if carried is None and (getattr(module, "is_causal", None) if is_causal is None else is_causal) is False:
        carried = _all(len(query), query.shape[2], key.shape[2], query.device)
    place = read(carried)
    if place is None:
        what = "no mask" if carried is None else "a mask of its own"
        hint = "a part of a model can have another: `attn_implementation={'vision_config': 'sdpa', ...}`"
        raise refusal(what, hint, module)
    return place


@torch.compiler.disable(reason="the first mask of a kind compiles its pattern")
def _all(batch: int, n_q: int, n: int, device: torch.device) -> Tensor:
    return mask(batch, n_q, n, mask_function=bidirectional_mask_function, device=device)


def _kept(own: LayerPattern | None, place: Place, query: Tensor, key: Tensor) -> Tensor | None:
    """Where keys stand of which `Cache` dropped some; None where they are others."""
    n, n_q = place.numbers.shape[2], query.shape[2]
    if own is None or place.form is not Form.LAST or len(key) != len(place.numbers):
        return None
    places = places_of(own.attend.pattern.nodes, n - n_q, n_q, key.device)
    return places if len(places) == key.shape[2] else None


def _positions(place: Place) -> dict[str, Any]:
    """Where queries and keys stand, as the operator takes it: position 0 is the first token of a row or document."""
    match place.form:
        case Form.LAST:
            return {}
        case Form.FIRST:
            return {"q_offset": 0}
        case Form.DOCUMENTS:
            return {"documents": place.numbers[:, 0]}
        case Form.CU_SEQLENS:
            return {"documents": place.cu_seqlens}
    q_first, k_first, length = (place.numbers[:, i, 0] for i in range(3))
    positions = {"k_offset": k_first, "lengths": length}
    return positions if place.form is Form.SAME_ROWS else {"q_offset": q_first, **positions}


def _ends(module: nn.Module, place: Place, query: Tensor, of_queries: Tensor, of_keys: Tensor | None) -> Tensor:
    """Documents by `cu_seq_lens_q`, which is about the one row of a batch; values are compared on a CPU."""
    packs = place.form in (Form.LAST, Form.DOCUMENTS, Form.CU_SEQLENS)
    if not packs or place.numbers.shape[2] != query.shape[2] or len(query) != 1:
        raise refusal("`cu_seq_lens_q` with padding, a cache or several rows", "pack all texts into one row", module)
    if of_keys is not None and of_keys is not of_queries:
        looks = of_keys.device.type == "cpu" and not torch.compiler.is_compiling()
        if of_keys.shape != of_queries.shape or (looks and not torch.equal(of_keys, of_queries)):
            raise refusal("`cu_seq_lens_q` and `cu_seq_lens_k` that differ", EAGER, module)
    return of_queries
