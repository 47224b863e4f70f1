"""The attention function: every argument that transformers passes is honoured, or refused by name."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sparsec.importers.caps import applied_cap, with_cap
from sparsec.runtime.attend import Attend
from sparsec.runtime.load import compile
from sparsec.transformers.masks import ModelMask, Place, is_causal, read, same
from sparsec.transformers.refusal import refusal

# What says nothing that the mask has not said, or is meant for others than the attention function.
_HARMLESS = {
    "cache_position",
    "deterministic",
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
_EAGER = '`attn_implementation="eager"` does it'


@torch.compiler.disable(reason="where queries and keys stand is read from the mask")
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
    position_bias: Tensor | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """query [B, H, n_q, D]; key, value [B, H_kv, n, D] -> ([B, n_q, H, D], None).

    `s_aux` [H] are sinks: a score for each head that takes its share of the softmax and has no value.
    """
    if dropout:
        raise refusal(f"dropout of {dropout} on the weights", "set `attention_dropout` to 0", module)
    if position_bias is not None:
        raise refusal("a bias added to the scores", _EAGER, module)
    for name, given in others.items():
        if given is not None and given is not False and name not in _HARMLESS:
            raise refusal(f"`{name}`", _UNKNOWN.get(name, f"it may change the result; {_EAGER}"), module)
    found = read(attention_mask)
    if found is None:
        what = "no mask" if attention_mask is None else "a mask of its own"
        hint = "a part of a model can have another: `attn_implementation={'vision_config': 'sdpa', ...}`"
        raise refusal(what, hint, module)
    model_mask, place = found
    if (query.shape[2], key.shape[2]) != (place.n_q, place.n):
        raise refusal(
            f"{query.shape[2]} queries and {key.shape[2]} keys, where its mask has {place.n_q} and {place.n}",
            _EAGER,
            module,
        )
    attend, key, value, positions = _placed(module, model_mask, place, key, value)
    if softcap is not None:
        attend = _capped(module, attend, model_mask, float(softcap))
    sinks = None if s_aux is None else s_aux.flatten()
    return attend(query, key, value, scale=scaling, sinks=sinks, **positions).transpose(1, 2), None


def _capped(module: nn.Module, attend: Attend, model_mask: ModelMask, cap: float) -> Attend:
    """The operator with the cap that a layer asks for; a pattern of the user's has to say the same itself."""
    capped = compile(with_cap(model_mask.text, cap))
    if attend is model_mask.attend:
        return capped
    wanted = capped.pattern.nodes.score(0)
    if any(attend.pattern.nodes.score(index) != wanted for index in range(len(attend.pattern.nodes.conditions))):
        hint = f"say it in the pattern, `... {applied_cap(cap)}`, or set `attn_logit_softcapping` to None"
        raise refusal(f"scores capped at {cap:g}, which its pattern does not do", hint, module)
    return attend


_UNKNOWN = {
    "output_attentions": f"the weights are never formed; {_EAGER}",
    **dict.fromkeys(
        ("cu_seq_lens_q", "cu_seq_lens_k"), "packed rows need a mask from data: give each text its own row"
    ),
}


def _placed(
    module: nn.Module, model_mask: ModelMask, place: Place, key: Tensor, value: Tensor
) -> tuple[Attend, Tensor, Tensor, dict[str, Any]]:
    """The operator, the keys and values that it gets, and where they and the queries stand, in its own counting."""
    attend, causal = model_mask.attend, model_mask.is_causal
    own = getattr(module, "sparsec_attend", None)
    if own is not None:
        attend, causal = own, is_causal(own.pattern.nodes)
        _check_agreement(module, own, model_mask, place)
    end = place.q_offset + place.n_q - place.kv_offset
    if causal:  # a static cache passes keys that are not written yet
        key, value = key[:, :, :end], value[:, :, :end]
    elif model_mask.is_causal and place.n > end:
        raise refusal("a static cache", "its unwritten keys would be seen by a pattern that looks ahead", module)
    if place.rows:
        return attend, key, value, _positions(place, key.shape[2], key.device)
    if place.kv_offset == 0:
        return attend, key, value, {"q_offset": place.q_offset}
    key, value, q_offset = _shifted(module, attend, model_mask, place, key, value)
    return attend, key, value, {"q_offset": q_offset}


@lru_cache(maxsize=16)  # the layers of a model ask for the same
def _positions(place: Place, n: int, device: torch.device) -> dict[str, Any]:
    """Where queries and keys of rows with padding stand: position 0 is the first token of a row."""
    first, count = torch.tensor(place.rows, dtype=torch.int32).to(device).unbind(-1)
    positions = {"k_offset": place.kv_offset - first, "lengths": count.contiguous()}
    if (place.n_q, place.q_offset) != (n, place.kv_offset):  # else queries are the tokens that keys are
        positions["q_offset"] = place.q_offset - first
    return positions


def _check_agreement(module: nn.Module, own: Attend, model_mask: ModelMask, place: Place) -> None:
    """A pattern of the user's stands for a plain mask; beside another one it has to be the same."""
    if model_mask.is_plain and place.kv_offset == 0:
        return
    if model_mask.is_plain or not same(own.pattern.nodes, model_mask.pattern):
        shown = " ".join(model_mask.text.partition("=\n")[2].split())
        raise refusal(
            f"the mask `{shown}` of its own, and a cache that keeps no more",
            "the pattern keeps other pairs: set `sliding_window` (or `layer_types`) in the configuration to none",
            module,
        )


def _shifted(
    module: nn.Module, attend: Attend, model_mask: ModelMask, place: Place, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, int]:
    """A cache that drops old keys: positions count from the last multiple of the period before the first key."""
    hint = "pass a cache that keeps all keys, `DynamicCache()`"
    if model_mask.period is None:
        raise refusal("a cache that dropped keys", f"the pattern counts positions from the first token; {hint}", module)
    missing = place.kv_offset % model_mask.period
    q_offset = place.q_offset - place.kv_offset + missing
    if missing:
        if attend.pattern.mask(place.n_q, missing, q_offset).any():
            raise refusal("a cache that dropped keys", f"the pattern sees some of them; {hint}", module)
        key, value = (pad(each, (0, 0, missing, 0)) for each in (key, value))
    return key, value, q_offset
