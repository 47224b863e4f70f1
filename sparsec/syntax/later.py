"""What people look for and this version does not have, with the way around it."""

from __future__ import annotations

_DOCUMENTS = (
    "give each document a row of its own in the batch; documents of one length are `same_block(b)`, of known lengths "
    "`q in 0..900 & k in 0..900 | q in 900..1600 & k in 900..1600`"
)
_PADDING = "pad at the end: under `causal` no token sees what follows it, so the padding is seen by padding alone"
_SCORES = "a pattern chooses pairs and leaves scores alone; FlexAttention takes a `score_mod` beside its `block_mask`"
_DROPOUT = "train without it, or drop entries of the output: `torch.nn.functional.dropout(out, p)`"
_CHOSEN = "the keys are chosen before the call: `blocks(b, [[...]])`, `random_blocks(b, r, seed)`, `stride(s)`"
INPUT = (
    "a number known before the call is a parameter, `pattern p(prefix = 64) = ...`; for data of each text, give each "
    "document a row of its own in the batch"
)

_GROUPS = {
    _DOCUMENTS: """
        doc docs document documents doc_id doc_ids document_id document_ids document_mask segment_id segment_ids
        SegmentIds segment_mask seq_id seq_ids sequence_id sequence_ids sample_id cu_seqlens cu_seqlens_q cu_seqlens_k
        cu_seqlens_q_k cu_seq_lens max_seqlen max_seqlen_q max_seqlen_k offsets packed packed_sequence_mask
        packed_sequence_mask_function varlen BlockDiagonalMask BlockDiagonalCausalMask
        BlockDiagonalCausalWithOffsetPaddedKeysMask same_document same_doc""",
    _PADDING: """
        padding pad padding_mask pad_mask key_padding_mask src_key_padding_mask attention_mask attn_mask is_pad lengths
        seq_lens kv_lens kv_seqlens padding_mask_function PaddingMask PaddedKeysMask""",
    _SCORES: """
        score scores score_mod softcap soft_cap softcapping logit_softcap logits_soft_cap attn_logit_softcapping alibi
        alibi_slopes slopes bias attn_bias position_bias relative_bias relative_position_bias rel_bias rpb t5_bias
        temperature softmax sink_logits s_aux LowerTriangularMaskWithTensorBias""",
    _DROPOUT: "dropout dropout_p attention_dropout attn_dropout",
    _CHOSEN: "selected top_blocks top_keys topk top_k lsh routed select",
}
_WORDS = {word: way for way, words in _GROUPS.items() for word in words.split()}
_WITH = ("with", "score", "dropout")  # words with which parts that are not there yet would begin


def way_around(name: str) -> str:
    """How to do without what `name` means elsewhere; empty where nothing is known of it."""
    return _WORDS.get(name, "")


def announced(word: str, following: str) -> str:
    """As `way_around`, for a word that stands where a pattern ends, `following` being the next one; else empty."""
    if word not in _WITH:
        return ""
    return way_around(following) or way_around(word) or _SCORES
