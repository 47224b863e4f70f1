"""Arguments that other attention functions take, such as is_causal and attn_mask: how each is said here (SP0611)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from numbers import Real

_OWN = (
    *("scale", "sinks", "dropout_p", "generator", "dropout_seed"),
    *("q_offset", "k_offset", "documents", "lengths", "q_lengths", "deterministic", "return_lse"),
)

_HINTS = {
    "the text of the pattern says it, as in `causal & past(64)`": ("is_causal", "causal"),
    "the text of the pattern says it: `past(w)` keeps the last w keys": (
        "window_size", "sliding_window", "window_left", "local_window_size",
    ),
    "the pattern is the mask; `sparsec.from_mask_mod` writes a mask function as a pattern": (
        "attn_mask", "attention_mask", "mask", "block_mask", "mask_mod",
    ),
    "packed rows are `documents=cu_seqlens`, int32, or `documents=start`, the start of each token's document": (
        "cu_seqlens", "cu_seqlens_q", "cu_seqlens_k", "cu_seq_lens_q", "cu_seq_lens_k", "position_ids",
        "document_ids", "doc_ids", "segment_ids", "seqlens",
    ),
    "the number of keys of each row is `lengths`, int32; of padding on the left, `k_offset`, negative": (
        "key_padding_mask", "padding_mask", "seqused_k", "seq_lens", "cache_seqlens", "kv_lens", "seqused_q",
    ),
    "the longest sequence need not be known; leave it out": (
        "max_seqlen_q", "max_seqlen_k", "max_length_q", "max_length_k",
    ),
    "the text of the pattern says it: `past(64) with softcap(50), alibi`": (
        "score_mod", "alibi_slopes", "softcap", "logits_soft_cap",
    ),
    "a score of the pattern's text reads it: `input b: float[H, n, n] score x = s + b[q, k] pattern p = full with x`": (
        "attn_bias", "bias", "position_bias",
    ),
    "it is called `dropout_p` here, and applies wherever it is given, in training or not": (
        "dropout", "attn_dropout", "attention_dropout", "p",
    ),
    "it is called `dropout_seed` here": ("seed", "rng_seed", "philox_seed"),
    "query heads share key heads whenever H is a multiple of H_kv; leave it out": ("enable_gqa", "num_kv_groups"),
    "it is called `sinks` here, one score for each query head": (
        "s_aux", "learnable_sink", "attn_sinks", "attention_sinks",
    ),
    "it is called `scale` here": ("softmax_scale", "sm_scale", "scaling"),
    "it is called `return_lse` here": ("return_softmax_lse", "softmax_lse", "return_aux", "lse"),
    "weights are never made; `attend.weights(q, k, lse, rows)` makes those of chosen rows": (
        "return_attn_probs", "need_weights", "average_attn_weights", "output_attentions",
    ),
    "a cache in pages is for a step of decoding: `attend.decode(q, k, v, lengths, pages)`": (
        "block_table", "block_tables", "page_table",
    ),
    "multiply the results of a head by a number of its own": ("head_mask",),
    "kernels and their tiles are chosen by the module; leave it out": ("kernel_options", "backend"),
    "it is bound when the pattern is compiled: a keyword of `sparsec.load` and `sparsec.compile`": (
        "heads", "layer", "layers", "parameters", "pattern",
    ),
}  # fmt: skip
_HINT_OF = {name: hint for hint, names in _HINTS.items() for name in names}


def refused(positional: Sequence[object], keywords: Sequence[str], inputs: Sequence[str] = ()) -> TypeError:
    """The error of a call with more than q, k, v, the keywords of a call and the inputs of its pattern."""
    if positional:
        first = positional[0]
        number = isinstance(first, Real) and not isinstance(first, bool)
        hint = f"is this `scale={first}`?" if number else _HINT_OF["attn_mask"]
        return TypeError(f"[SP0611] a call takes three tensors, and all else by keyword, not a fourth argument: {hint}")
    name = keywords[0]
    hint = _HINT_OF.get(name) or _hint(name, inputs)
    return TypeError(f"[SP0611] a call takes no `{name}`: {hint}")


def _hint(name: str, inputs: Sequence[str]) -> str:
    own = (*inputs, *_OWN)
    near = get_close_matches(name, (*own, *_HINT_OF), 1)
    if not near:
        return f"beside q, k and v there are {', '.join(own[:-1])} and {own[-1]}"
    return f"did you mean `{near[0]}`?" if near[0] in own else _HINT_OF[near[0]]
