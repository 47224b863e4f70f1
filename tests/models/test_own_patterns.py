"""A pattern of one's own in a model of transformers: against dense masks, saved and loaded, refused."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from support.models import SIZES, model_of, padded, randomized, refused, tf, tokens

import sparsec
import sparsec.transformers

TEXT = "pattern p(w = 99) = match layer { 0 -> sinks(2) | past(w)\n else -> causal & stride(3) | past(2) }"


pytestmark = pytest.mark.usefixtures("one_thread")


def used(kind: str, pattern: object, *, more: dict | None = None, **keywords: object) -> tf.PreTrainedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparsec.PatternWarning)
        return sparsec.transformers.use(model_of(kind, **more or {}), pattern, **keywords)


def test_logits_gradients_and_decoding():
    """Beside dense masks, layer by layer; windows of the model give way."""
    model = used("gemma3_text", TEXT, w=6)
    report = sparsec.transformers.verify(model, lengths=(1, 5, 26))
    assert report.holds, report
    assert "the pattern's mask" in str(report)
    assert report.checks[0].share < 1
    layers = [layer.self_attn.sparsec_pattern.attend.pattern.count(30) for layer in model.model.layers]
    assert layers == [sparsec.compile(TEXT, layer=layer, layers=2, w=6).pattern.count(30) for layer in range(2)]


def test_a_wrong_operator_is_found():
    """`verify` tells a layer that attends by another pattern than its configuration says."""
    model = used("llama", "pattern p = past(5)")
    layers = [module for module in model.modules() if hasattr(module, "sparsec_pattern")]
    wrong = sparsec.compile("pattern p = past(4)")
    layers[1].sparsec_pattern.attend._function = wrong._function
    report = sparsec.transformers.verify(model, lengths=(9,))
    assert not report.holds
    assert "DOES NOT HOLD" in str(report)


def test_verify_changes_nothing():
    model = used("llama", "pattern p = past(5)").train()
    (model(tokens(9)).logits.sum()).backward()
    before = [weight.grad.clone() for weight in model.parameters()]
    sparsec.transformers.verify(model, lengths=(7,))
    assert model.training
    assert model.config._attn_implementation == "sparsec"
    assert all(torch.equal(weight.grad, old) for weight, old in zip(model.parameters(), before, strict=True))


def test_saved_and_loaded(tmp_path):
    model = used("gemma3_text", TEXT, w=6)
    model.save_pretrained(tmp_path)
    again = tf.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sparsec")
    assert again.config.sparsec == {"text": TEXT, "w": 6}
    assert torch.equal(again(tokens(31)).logits, model(tokens(31)).logits)
    compiled_before = sparsec.transformers.use(
        tf.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sparsec")
    )
    assert torch.equal(compiled_before(tokens(31)).logits, model(tokens(31)).logits)
    with pytest.raises(TypeError, match="takes a model of transformers, got Linear"):
        sparsec.transformers.use(torch.nn.Linear(1, 1), "pattern p = causal")
    with pytest.raises(TypeError, match="takes a pattern"):
        sparsec.transformers.use(model_of("llama"))


def test_a_path(tmp_path):
    path = tmp_path / "mine.spat"
    path.write_text("pattern mine(w = 99) = past(w)\n")
    for given in (path, str(path)):
        model = sparsec.transformers.use(model_of("llama"), given, w=4)
        assert model.config.sparsec == {"text": "pattern mine(w = 99) = past(w)\n", "w": 4}
    (tmp_path / "whole.spat").write_text('use "mine.spat"\npattern whole = mine(7)\n')
    with pytest.warns(sparsec.PatternWarning, match="save_pretrained"):
        model = sparsec.transformers.use(model_of("llama"), tmp_path / "whole.spat")
    assert model.config.sparsec is None


def test_an_operator_for_all_layers_and_copies():
    attend = sparsec.compile("pattern p(w = 9) = past(w)", w=5)
    model = used("mistral", attend)
    assert model.config.sparsec == {"text": "pattern p(w = 9) = past(w)", "parameters": {"w": 5}}
    prompt = tokens(21)
    expected = model(prompt).logits
    assert torch.equal(copy.deepcopy(model)(prompt).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(prompt).logits, expected)
    same = model_of("mistral", sliding_window=5)
    torch.testing.assert_close(same(prompt).logits, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(TypeError, match="bound already"):
        sparsec.transformers.use(same, attend, w=3)


def test_a_configuration_of_its_own():
    """Models may share a configuration; only the one that is changed has another."""
    config = model_of("mistral").config
    one, other = (tf.MistralForCausalLM(config) for _ in range(2))
    with pytest.warns(sparsec.PatternWarning, match="sliding_window 8 -> 1073741824"):
        sparsec.transformers.use(one, "pattern p = sinks(2) | past(8)")
    assert one.config is one.model.config is one.model.layers[0].self_attn.config
    assert other.config.sliding_window == 8
    assert getattr(other.config, "sparsec", None) is None
    with pytest.warns(sparsec.PatternWarning, match="sliding_window 8 -> 16"):
        sparsec.transformers.use(other, "pattern p = past(16)")


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "llama4_text"])
def test_written_alike_with_every_cache(kind):
    """Caches keep what the pattern sees, though the model's own windows and chunks are narrower."""
    model, prompt = used(kind, "pattern p = sinks(2) | past(11)"), tokens(20)
    how = {"max_new_tokens": 12, "do_sample": False}
    expected = model.generate(prompt, use_cache=False, **how)
    assert torch.equal(model.generate(prompt, **how), expected)
    assert torch.equal(model.generate(prompt, cache_implementation="static", **how), expected)


def test_rows_with_padding_and_a_pattern_that_looks_ahead():
    """Positions count from a row's first token; keys that a static cache has not written yet are no keys."""
    model = used("llama", "pattern p = window(9) | global(1)")
    ids = tokens(21, 2)
    with torch.no_grad():
        with pytest.warns(sparsec.PatternWarning, match="later keys.*add `& causal`"):
            alone = model(ids[1:, 9:]).logits
        among = model(ids, attention_mask=padded(21, (21, 12), "left")).logits
        cache = tf.StaticCache(model.config, max_cache_len=40)
        static = model(ids[1:, 9:], past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(among[1:, 9:], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(static, alone, atol=1e-4, rtol=1e-4)


def test_packed_rows():
    model = used("llama", "pattern p = sinks(2) | causal & stride(3)")
    positions = torch.cat([torch.arange(8), torch.arange(13)])[None]
    together = model(tokens(21), position_ids=positions, use_cache=False).logits
    alone = [model(part).logits for part in tokens(21).split((8, 13), 1)]
    torch.testing.assert_close(together, torch.cat(alone, 1), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- refusals


def test_softcapping():
    config = tf.Gemma2Config(**SIZES, sliding_window=8, attn_logit_softcapping=5.0)
    model = sparsec.transformers.use(randomized(tf.Gemma2ForCausalLM, config), "pattern p = past(8)")
    said = refused(lambda: model(tokens(7)))
    assert "Gemma2Attention of layer 0" in said
    assert "with softcap(5)" in said
    report = sparsec.transformers.verify(
        sparsec.transformers.use(model, "pattern p = past(8) with softcap(5)"), lengths=(19,)
    )
    assert report.holds, report


def test_a_narrower_mask_or_cache():
    """What narrows the keys after `use` is named, with a pair that gets lost."""
    model = used("mistral", "pattern p = sinks(2) | past(8)")
    narrow = tf.DynamicCache(config=model_of("mistral").config)
    with torch.no_grad():
        model(tokens(20), past_key_values=narrow, use_cache=True)
        said = refused(lambda: model(tokens(1), past_key_values=narrow, use_cache=True))
    assert "a cache that dropped all but 7 keys" in said
    assert "`DynamicCache()`" in said
    model.config.sliding_window = 8
    said = refused(lambda: model(tokens(20)))
    assert "`k > q - 8 & k <= q`" in said
    assert "such as query 8 and key 0" in said


def test_models_without_a_place_for_it():
    longformer = tf.LongformerConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    bloom = tf.BloomConfig(vocab_size=8, hidden_size=16, n_layer=1, n_head=1)
    for model in (tf.LongformerModel(longformer), tf.BloomModel(bloom)):
        assert "attention of its own" in refused(
            lambda model=model: sparsec.transformers.use(model, "pattern p = full")
        )
    bart = tf.BartConfig(vocab_size=8, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8)
    assert "encoder" in refused(lambda: sparsec.transformers.use(tf.BartModel(bart), "pattern p = full"))
    vit = tf.ViTModel(tf.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    assert "`pixel_values`" in refused(lambda: sparsec.transformers.verify(vit))


def test_attention_of_its_own_is_not_verified_nor_cached():
    """It would be compared with itself, and a cache would keep everything."""
    config = tf.MPNetConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    model = tf.MPNetModel(config)
    for call in (sparsec.transformers.verify, sparsec.transformers.Cache):
        assert "attention of its own" in refused(lambda call=call: call(model))


def test_what_is_no_pattern_of_positions():
    model = model_of("llama")
    with pytest.raises(TypeError, match="a text, a path or an operator for a pattern, got int"):
        sparsec.transformers.use(model, 5)
    for text in (
        "input d: int[n] pattern p = causal & d[q] == d[k]",
        "input b: float[H] score x = s + b pattern p = causal with x",
    ):
        with pytest.raises(ValueError, match=r"SP0620.*the pattern reads `[bd]`"):
            sparsec.transformers.use(model, text)


def test_a_free_order_of_sums():
    """Said at the call, as to other attention functions; on a CPU sums have one order anyhow."""
    model, said = used("llama", "pattern p = past(8)"), []
    own = model.model.layers[0].self_attn.sparsec_pattern
    attend = own.attend
    own.attend = lambda *given, **named: said.append(named["deterministic"]) or attend(*given, **named)
    plain = model(tokens(20)).logits
    assert torch.equal(model(tokens(20), deterministic=False).logits, plain)
    assert said == [True, False]
    with pytest.raises(ValueError, match=r"SP0606.*deterministic"):
        model(tokens(20), deterministic=0)
