"""Mask functions of transformers in all combinations, with padding, documents and caches: the pairs of dense masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import REMAPS, refused, tf

from sparsec.transformers.attention import attention
from sparsec.transformers.masks import Form, mask, read

masking = tf.masking_utils
LOOKS_BACK = {
    "causal": lambda begin: masking.causal_mask_function,
    "window": lambda begin: masking.sliding_window_causal_mask_function(3),
    "chunks": lambda begin: masking.chunked_causal_mask_function(4, begin),
    "both": lambda begin: masking.and_masks(
        masking.sliding_window_overlay(5), masking.chunked_overlay(4, begin), masking.causal_mask_function
    ),
}
LOOKS_AHEAD = {
    "full": lambda begin: masking.bidirectional_mask_function,
    "near": lambda begin: masking.sliding_window_bidirectional_mask_function(2),
    "union": lambda begin: masking.or_masks(
        masking.causal_mask_function, masking.sliding_window_bidirectional_overlay(2)
    ),
}
FUNCTIONS = LOOKS_BACK | LOOKS_AHEAD

pytestmark = pytest.mark.usefixtures("one_thread")


def compare(n_q: int, n: int, batch: int = 2, **given: object) -> None:
    """Attention over random tensors, in the rows of queries that see a key and are no padding."""
    drawn = torch.Generator().manual_seed(n_q * 100 + n)
    shapes = (batch, 2, n_q, 16), (batch, 1, n, 16), (batch, 1, n, 16)
    q, k, v = (torch.randn(shape, generator=drawn) for shape in shapes)
    kept = masking.sdpa_mask(batch, n_q, n, allow_is_causal_skip=False, **given).expand(batch, 1, n_q, n)
    found = attention(torch.nn.Identity(), q, k, v, mask(batch, n_q, n, **given))[0].transpose(1, 2)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=kept, enable_gqa=True)
    counts = kept.any(-1)[..., None]
    tokens = given.get("attention_mask")
    if tokens is not None:  # what padding gets is nobody's business
        first = int(given.get("q_offset", 0))
        counts = counts & torch.nn.functional.pad(tokens, (0, n_q))[:, None, first : first + n_q, None].bool()
    torch.testing.assert_close(found * counts, (expected * counts).nan_to_num(), atol=1e-5, rtol=1e-5)


def rows(n: int, counts: list[int], left: bool) -> torch.Tensor:
    places = torch.arange(n)
    return torch.stack([places >= n - count if left else places < count for count in counts])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows(data):
    name = data.draw(st.sampled_from(sorted(FUNCTIONS)))
    n = data.draw(st.integers(1, 21))
    counts = data.draw(st.lists(st.integers(1, n), min_size=2, max_size=2))
    tokens = rows(n, counts, data.draw(st.booleans())) if data.draw(st.booleans()) else None
    begin = torch.zeros(2, dtype=torch.long) if tokens is None else tokens.int().argmax(1)
    compare(n, n, mask_function=FUNCTIONS[name](begin), attention_mask=tokens)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_caches(data):
    """Steps and chunks after some tokens, with the oldest keys gone or later ones not written yet."""
    function = LOOKS_BACK[data.draw(st.sampled_from(sorted(LOOKS_BACK)))]
    past, n_q = data.draw(st.integers(0, 17)), data.draw(st.integers(1, 5))
    gone, unwritten = data.draw(st.integers(0, past)), data.draw(st.sampled_from([0, 0, 6]))
    tokens, begin = None, torch.zeros(2, dtype=torch.long)
    if data.draw(st.booleans()):
        counts = [past + n_q, data.draw(st.integers(1, past + n_q))]
        tokens = rows(past + n_q, counts, left=True)
        begin = tokens.int().argmax(1)
    offset = torch.tensor(past) if unwritten else past
    at = {"q_offset": offset, "kv_offset": gone, "attention_mask": tokens}
    compare(n_q, past + n_q - gone + unwritten, mask_function=function(begin), **at)


@pytest.mark.skipif(not REMAPS, reason="this transformers does not count positions from where rows begin")
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_documents(data):
    function = FUNCTIONS[data.draw(st.sampled_from(sorted(FUNCTIONS)))]
    sizes = data.draw(
        st.lists(st.integers(1, 9), min_size=1, max_size=4) | st.integers(14, 66).map(lambda count: [1] * count)
    )
    positions = torch.cat([torch.arange(size) for size in sizes])[None]
    ids = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[None]
    n = sum(sizes)
    forms = []
    for batch in (1, 2):
        packed = masking.and_masks(
            masking.remap_positions_for_packed_sequence(
                function(torch.zeros(batch, dtype=torch.long)), positions.expand(batch, n)
            ),
            masking.packed_sequence_mask_function(ids.expand(batch, n)),
        )
        compare(n, n, batch, mask_function=packed)
        forms.append(read(mask(batch, n, n, mask_function=packed)).form)
    several = Form.LAST if len(sizes) == 1 else Form.DOCUMENTS
    few = len(sizes) < 64 and n >= 16 * (len(sizes) // 16 + 1)
    assert forms == [Form.CU_SEQLENS if few and len(sizes) > 1 else several, several]


def test_encoder_keys():
    """Queries of one text and keys of another, as many or not."""
    for n_q, n in ((3, 9), (9, 9), (9, 3)):
        compare(n_q, n, mask_function=masking.bidirectional_mask_function, attention_mask=rows(n, [n, 2], left=False))
        compare(n_q, n, mask_function=masking.bidirectional_mask_function)


# ---------------------------------------------------------------- what is no pattern


def test_refusals():
    by_position = lambda b, h, q, k: (k <= q) & (k % 3 == 0)  # noqa: E731
    left = {"mask_function": by_position, "attention_mask": rows(9, [9, 5], left=True)}
    assert "padding on the left" in refused(lambda: mask(2, 9, 9, **left))
    ids, far = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 5, 6]])
    packed = masking.packed_sequence_mask_function(ids)
    if REMAPS:
        remapped = masking.and_masks(masking.remap_positions_for_packed_sequence(by_position, far), packed)
        assert "begin at position 0" in refused(lambda: mask(1, 4, 4, mask_function=remapped))
    in_a_union = masking.or_masks(masking.causal_mask_function, packed)
    assert "`packed_sequence_mask_function` in a union" in refused(lambda: mask(1, 4, 4, mask_function=in_a_union))
    shuffled = masking.packed_sequence_mask_function(torch.tensor([[0, 1, 0, 1]]))
    assert "side by side" in refused(lambda: mask(1, 4, 4, mask_function=shuffled))
    with_padding = {"mask_function": packed, "attention_mask": rows(4, [3], left=False)}
    assert "packed rows with padding" in refused(lambda: mask(1, 4, 4, **with_padding))


def a_mask_of_someone(b, h, q, k):
    return torch.sin(q - k) > 0


def test_unknown_functions_are_named():
    assert "a_mask_of_someone" in refused(lambda: mask(1, 4, 4, mask_function=a_mask_of_someone))
    table = torch.zeros(7, dtype=torch.long)

    def looks_up(b, h, q, k):
        return table[q] == table[k]

    assert "`table[n]`" in refused(lambda: mask(1, 4, 4, mask_function=looks_up))
