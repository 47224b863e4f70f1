"""Names of other attention libraries, and of Python, with what is written here.

FlexAttention, transformers, flash-attn, xformers, NATTEN, DeepSpeed, Pallas' splash attention, torch and numpy.
"""

from __future__ import annotations

from sparsec.syntax.errors.borrowed import CHOICE, RANGE

_INTEGERS = {
    "the batch is no part of a pattern: all its texts have the same": "b B bs batch batch_idx batch_index",
    "the query's position is `q`": "i Q qi q_idx q_index q_i q_pos q_position query query_idx query_index query_pos",
    "the key's position is `k`": """
        j K kj kv kv_idx kv_index kv_i kv_pos k_idx k_index k_pos k_position key key_idx key_index key_pos""",
    "the number of keys is `n`": """
        N len seq_len seqlen seq_length sequence_length length total_len total_length kv_len kv_length kv_seq_len k_len
        k_length key_len seqlen_k seqlen_kv n_k n_kv n_keys num_keys max_len max_length context_length S T KV_LEN""",
    "queries already stand at the end of the keys: `q` counts from the first key, so the past is `k <= q`": """
        n_q n_queries num_queries q_len q_length query_len query_length seqlen_q q_offset offset query_offset
        cache_position cache_len past_len past_length past_kv_len past_key_values_length Q_LEN""",
    "the query head is `h`": "head head_idx head_index head_id h_idx hq q_head query_head",
    "the number of heads is `H`": "heads num_heads n_heads nheads n_head num_attention_heads",
    "the layer is `layer`": "layer_idx layer_index layer_id",
    "the number of layers is `L`": "layers num_layers n_layers n_layer num_hidden_layers",
    "`//` rounds down; rounded up, `a // b` is `(a + b - 1) // b`": "floor int trunc round floor_divide div cdiv ceil",
    "the remainder is `a % b`": "remainder fmod modulo mod",
    "between two bounds is `min(max(x, first), last)`": "clamp clip clamp_min clamp_max",
    "roots are not needed: `(q - k) ** 2 <= 25` is `abs(q - k) <= 5`": "sqrt square pow",
    RANGE: "range arange",
}  # fmt: skip
_SETS = {
    "every pair is `full`": """
        True true all ones dense noop noop_mask no_mask full_mask full_attention bidirectional bidirectional_mask
        noncausal non_causal acausal anticausal not_causal FullMask DenseSparsityConfig""",
    "no pair is `~full`": "False false none None null nothing empty zeros",
    "keys up to the query are `causal`": """
        causal_mask causal_attention causal_mask_function is_causal tril lower_triangular autoregressive CausalMask
        LowerTriangularMask LowerTriangularFromBottomRightMask make_causal_mask""",
    "keys from the query on are `k >= q`, keys behind it `k > q`": "future ahead triu upper_triangular anti_causal",
    "each query's own key is `k == q`": "diagonal diag eye identity self_only",
    "a window is `past(w)`, or on both sides `window(w)`": """
        local local_mask local_window local_attention local_causal sliding sliding_window sliding_window_mask
        sliding_window_attention sliding_window_causal sliding_window_causal_mask sliding_window_overlay
        sliding_window_causal_mask_function sliding_window_bidirectional_mask_function swa band banded
        LocalSlidingWindowSparsityConfig make_local_attention_mask""",
    "a window of `left` keys before the query and `right` behind it is `-right <= q - k <= left`": """
        window_size window_left window_right LocalMask LocalAttentionFromBottomRightMask BlockDiagonalCausalLocalMask
        left_window_size right_window_size""",
    "in one dimension `window(w)`; on rows of c tokens `abs(q // c - k // c) <= r & abs(q % c - k % c) <= r`": """
        na1d na2d na3d natten neighborhood neighbourhood neighborhood_attention kernel_size generate_natten""",
    "chunks of c tokens are `causal & same_block(c)`": """
        chunked chunk chunks chunk_size chunked_mask chunked_attention chunked_overlay chunked_causal_mask_function
        attention_chunk_size ChunkedCausalMask make_chunk_attention_mask BlockDiagonalCausalFromBottomRightMask""",
    "a prefix that all see is `causal | k < prefix`, with `prefix` a parameter": """
        prefix_lm prefix_lm_mask prefix_lm_causal_mask prefix_mask generate_prefix_lm_mask prefix_length prefix_len""",
    "keys that all later queries see are `sinks(s)`": "sink attention_sink attention_sinks sink_tokens sink_size",
    "tokens that see all and are seen by all are `global(g)`": "global_mask global_attention global_tokens",
    "sets are joined by `a & b`": "and_masks intersection intersect logical_and bitwise_and LogicalAnd both",
    "sets are joined by `a | b`": "or_masks union logical_or bitwise_or LogicalOr either",
    "what is not in a set is `~a`": "not_mask logical_not complement invert negate",
    "for pairs in exactly one of two sets write `(a \\ b) | (b \\ a)`": "logical_xor symmetric_difference xor_masks",
    "this pattern is read from its configuration by `sparsec.from_config`": """
        FixedSparsityConfig VariableSparsityConfig BigBirdSparsityConfig BSLongformerSparsityConfig SparsityConfig""",
    "a FlexAttention mask function is read by `sparsec.from_mask_mod`": """
        mask_mod create_block_mask create_mask BlockMask flex_attention torch np jnp""",
    CHOICE: "if",
    "a choice by position is `(a & b) | (c \\ a)`": "where",
}  # fmt: skip
_MAYBE_OWN = {"b", "B", "offset", "length", "max_len", "max_length", "i", "j"}  # that people also choose themselves


def _by_word(groups: dict[str, str]) -> dict[str, str]:
    return {word: hint for hint, words in groups.items() for word in words.split()}


_INTEGER_HINTS, _SET_HINTS = _by_word(_INTEGERS), _by_word(_SETS)


def foreign(name: str, wanted: str) -> str:
    """What is written here for a name of another library, where an int or a set is `wanted`, or either; else empty."""
    return _INTEGER_HINTS.get(name, "") or (_SET_HINTS.get(name, "") if wanted != "int" else "")


def may_be_own(name: str) -> bool:
    """Whether a name of other libraries is as likely a parameter that was forgotten."""
    return name in _MAYBE_OWN
