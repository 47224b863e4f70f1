"""`sparsec.transformers.Cache` keeps what the pattern needs, and models write what they write with all keys."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import CACHE, model_of, padded, refused, tokens
from torch.utils._python_dispatch import TorchDispatchMode

import sparsec.transformers
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.transformers.cache import places_of

# The keys that are kept after 189 tokens, the most for any number of them.
KEPT = {
    "sinks(4) | past(16)": (19, 19),
    "causal & same_block(16)": (13, 15),
    "past(16)": (15, 15),
    "causal & dilated(16, 4)": (32, 32),
    "causal & (same_block(16) | columns(16, 2))": (35, None),
    "causal & k % 8 == 0 | past(12)": (34, None),
    "causal & (k // 32 % 2 == 0) & q - k < 64": (32, 32),
    "causal & (past(8) | stride(8))": (189, None),
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("text", KEPT)
def test_what_is_held(text):
    """A key is held where some later query sees it; how many are follows from the sets alone."""
    pattern = lower(parse(Source("held", f"pattern p = {text}")))
    mask = torch.from_numpy(reference.mask(pattern.conditions[0], 400, 400))
    for n in (1, 15, 16, 17, 63, 189):
        held = places_of(pattern, n, 0, torch.device("cpu"))
        assert torch.equal(held, mask[n:, :n].any(0).nonzero()[:, 0]), n
    after_189, most = KEPT[text]
    assert len(held) == after_189
    if most is not None:
        assert max(len(places_of(pattern, n, 0, torch.device("cpu"))) for n in range(1, 300)) == most


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("llama", "sinks(4) | past(9)"),
        ("llama", "causal & same_block(16)"),
        ("llama", "match layer { 0 -> causal & dilated(4, 4)\n else -> causal & k % 8 == 0 | past(5) }"),
        ("gpt_oss", "match h { 0 -> past(3)\n else -> sinks(2) | past(6) } with softcap(3)"),
    ],
)
def test_tokens_are_the_same(kind, text):
    heads = {"heads": 4} if "match h" in text else {}
    model = model_of(kind, sliding_window=None) if kind == "llama" else model_of(kind)
    model = sparsec.transformers.use(model, f"pattern p = {text}", **heads)
    how = {"max_new_tokens": 16, "do_sample": False}
    expected = model.generate(tokens(21), **how)
    cache = sparsec.transformers.Cache(model)
    assert torch.equal(model.generate(tokens(21), **{CACHE: cache}, **how), expected)
    assert cache.get_seq_length() == 36
    assert all(layer.keys.shape[2] == len(layer.places) < 30 for layer in cache.layers)


def test_pieces_and_tokens_taken_back():
    """Chunks of a prompt see what they would see at once; after `crop` the cache is what it was."""
    model = sparsec.transformers.use(model_of("llama"), "pattern p = sinks(2) | past(7)")
    prompt, parts = tokens(40), []
    with torch.no_grad():
        expected, cache = model(prompt).logits, sparsec.transformers.Cache(model)
        for piece in prompt.split((17, 9, 1, 13), 1):
            parts.append(model(piece, **{CACHE: cache}, use_cache=True).logits)
        torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-4, rtol=1e-4)
        cache = sparsec.transformers.Cache(model)
        says_before = hasattr(cache, "activate_past_recording")  # transformers 5.14 and later, of a model that may crop
        for piece in prompt[:, :30].split((20, 10), 1):
            model(piece, **{CACHE: cache}, use_cache=True)
        with pytest.raises(RuntimeError, match="activate_past_recording"):
            cache.crop(-3 if says_before else -11)
        cache = sparsec.transformers.Cache(model)
        model(prompt[:, :20], **{CACHE: cache}, use_cache=True)
        if says_before:
            cache.activate_past_recording()
        model(tokens(10), **{CACHE: cache}, use_cache=True)
        cache.crop(-10 if says_before else 20)
        again = model(prompt[:, 20:], **{CACHE: cache}, use_cache=True).logits
    torch.testing.assert_close(again, expected[:, 20:], atol=1e-4, rtol=1e-4)


def test_long_texts_take_constant_memory():
    """A step after a million tokens is what it is after a hundred: no tensor has an entry for each token."""
    model = sparsec.transformers.use(model_of("llama"), "pattern p = sinks(2) | past(7)")
    far, sizes = 1_000_000, []
    with torch.no_grad():
        for before in (0, far):
            cache = sparsec.transformers.Cache(model)
            model(tokens(20), **{CACHE: cache}, use_cache=True)
            for layer in cache.layers:  # the same keys, as if they were the last of a longer text
                layer.count += before
                layer.places = torch.where(layer.places < 2, layer.places, layer.places + before)
            with Largest() as largest:
                model(tokens(1), **{CACHE: cache}, use_cache=True, position_ids=torch.tensor([[20]]))
            for layer in cache.layers:
                kept = [0, 1, *range(before + 15, before + 21)]
                late = [] if hasattr(cache, "activate_past_recording") else [before + 14]  # dropped by the next step
                assert layer.places.tolist() == sorted([*kept, *late])
            sizes.append(largest.numel)
    assert sizes[0] == sizes[1]


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that torch makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **keywords or {})
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.numel = max(self.numel, each.untyped_storage().nbytes() // each.element_size())
        return made


def test_beams_and_lookup():
    model, prompt = (
        sparsec.transformers.use(model_of("llama"), "pattern p = sinks(2) | past(7)"),
        tokens(5).repeat(1, 3),
    )
    for how in ({"num_beams": 2}, {"prompt_lookup_num_tokens": 3, "eos_token_id": 39}):
        how |= {"max_new_tokens": 12, "do_sample": False}
        cache = sparsec.transformers.Cache(model)
        assert torch.equal(model.generate(prompt, **{CACHE: cache}, **how), model.generate(prompt, **how)), how


@settings(max_examples=3, deadline=None)
@given(st.data())
def test_any_split_into_calls(data):
    model = sparsec.transformers.use(model_of("llama"), "pattern p = causal & (same_block(8) | columns(8, 2))")
    cuts = sorted(data.draw(st.sets(st.integers(1, 29), max_size=6)))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, 30], strict=True)]
    cache = sparsec.transformers.Cache(model)
    with torch.no_grad():
        parts = [model(piece, **{CACHE: cache}, use_cache=True).logits for piece in tokens(30).split(sizes, 1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens(30)).logits, atol=1e-4, rtol=1e-4)


def test_refusals():
    assert "a cache of a pattern" in refused(lambda: sparsec.transformers.Cache(model_of("llama")))
    model = sparsec.transformers.use(model_of("llama"), "pattern p = past(4)")
    mask = padded(13, (13, 7), "left")
    cache = sparsec.transformers.Cache(model)
    said = refused(lambda: model.generate(tokens(13, 2), attention_mask=mask, **{CACHE: cache}, max_new_tokens=3))
    assert "rows without padding" in said
    model = sparsec.transformers.use(model_of("llama", attention_dropout=0.5), "pattern p = past(4)")
    cache = sparsec.transformers.Cache(model)
    model(tokens(9), **{CACHE: cache}, use_cache=True)
    said = refused(lambda: model.train()(tokens(1), **{CACHE: cache}, use_cache=True))
    assert "dropout of 0.5 over keys that a cache kept" in said
