"""What people look for under other names, or this version does not have, with the way around it."""

from __future__ import annotations

_TENSORS = (
    "a score is a formula of `s`, positions and the head, `score near = s - 0.1 * abs(q - k)`, and reads no tensor; "
    "FlexAttention takes a `score_mod` beside its `block_mask`"
)
_SINKS = "a logit in each row's denominator is not part of a pattern; keys that all later queries see are `sinks(s)`"
_DROPOUT = "it is no part of a pattern; the call drops weights: `attend(q, k, v, dropout_p=0.1)`"
_HASHED = "sets by hash are `lsh(buckets, rounds, chunk, seed)`"
_CLUSTERED = "sets by cluster are `routed(mu, t)`, with `input mu: centroids[16]`"
_BEST = "the best blocks of keys are `top_blocks(t, bk, among = causal)`, the best keys `top_keys(t, among = causal)`"

_GROUPS = {
    _TENSORS: """
        alibi_slopes slopes bias attn_bias position_bias relative_bias relative_position_bias rel_bias rpb t5_bias
        LowerTriangularMaskWithTensorBias""",
    _SINKS: "sink_logits s_aux",
    _DROPOUT: "dropout dropout_p attention_dropout attn_dropout",
    _HASHED: "reformer lsh_attention LSHSelfAttention hashed",
    _CLUSTERED: "routing routing_attention kmeans k_means clustered",
    _BEST: "topk top_k select",
}
_WORDS = {word: way for way, words in _GROUPS.items() for word in words.split()}
_WITH = ("dropout",)  # words with which parts that are not there yet would begin


def way_around(name: str) -> str:
    """How to do without what `name` means elsewhere; empty where nothing is known of it."""
    return _WORDS.get(name, "")


def announced(word: str, following: str) -> str:
    """As `way_around`, for a word that stands where a pattern ends, `following` being the next one; else empty."""
    if word not in _WITH:
        return ""
    return way_around(following) or way_around(word)
