"""What `sparsec.transformers.capture` writes: the weights that follow from it are those of eager attention."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors import safe_open
from support.models import CACHE, model_of, padded, randomized, refused, tf, tokens

import sparsec.transformers
from sparsec.cli import main
from sparsec.fit.captured import captured

SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
KINDS = {
    "llama": lambda: model_of("llama", head_dim=12),  # a head size that operators do not take
    "gemma2": lambda: randomized(
        tf.Gemma2ForCausalLM,
        tf.Gemma2Config(vocab_size=40, **SMALL, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=5,
                        attn_logit_softcapping=2.0, layer_types=["full_attention"] * 2),
    ),
    "modernbert": lambda: randomized(
        tf.ModernBertModel,
        tf.ModernBertConfig(vocab_size=40, **SMALL, pad_token_id=0, local_attention=200),  # wider than rows
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "implementation"), [("llama", "sdpa"), ("llama", "sparsec"), ("gemma2", "eager"), ("modernbert", "sdpa")]
)
def test_weights_are_those_of_the_model(kind, implementation, tmp_path):
    model, rows = KINDS[kind](), tokens(23, 2)
    if not model._can_set_attn_implementation():
        pytest.skip(f"{kind} of this transformers has attention of its own")
    model.set_attn_implementation("eager")
    expected = model(rows, output_attentions=True).attentions
    model.set_attn_implementation(implementation)
    model.train()
    path = sparsec.transformers.capture(model, {"input_ids": rows}, tmp_path / "captured.safetensors")
    assert model.training and model.config._attn_implementation == implementation
    file = captured(path)
    assert file.layers == (0, 1) and (file.shape.heads, file.shape.n_q, file.shape.n) == (4, 23, 23)
    with safe_open(path, framework="pt") as opened:
        about = opened.metadata()
    for layer, weights in enumerate(expected):
        q, k, scale, _ = file.read(layer, torch.device("cpu"))
        assert q.shape[3] % 8 == 0 and q.shape[1] // k.shape[1] == {"llama": 2, "gemma2": 4, "modernbert": 1}[kind]
        scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT * scale
        if kind == "gemma2":
            cap = float(about[f"layers.{layer}.softcap"])
            scores = cap * torch.tanh(scores / cap)
        if kind != "modernbert":
            scores = scores.masked_fill(torch.ones(23, 23).triu(1).bool(), float("-inf"))
        torch.testing.assert_close(scores.softmax(-1), weights)
        assert dict(model.named_modules())[about[f"layers.{layer}.name"]].layer_idx == layer


def test_to_a_fitted_file(tmp_path, monkeypatch):
    path = sparsec.transformers.capture(model_of("llama"), tokens(60), tmp_path / "captured.safetensors")
    options = tmp_path / "candidates.spat"
    options.write_text("pattern near(w = 4) = past(w)\npattern dense = causal\n")
    arguments = [path, options, "--budget", "0.6", "-o", tmp_path / "f.spat"]
    monkeypatch.setattr(sys, "argv", ["sparsec", "fit", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    fitted = sparsec.load(tmp_path / "f.spat", pattern="fitted", heads=4, layer=1, layers=2)
    assert fitted.pattern.heads == 4


def test_a_cache_makes_more_keys_than_queries(tmp_path):
    model = model_of("llama")
    with torch.no_grad():
        cache = model(tokens(9), use_cache=True)[1]
    inputs = {"input_ids": tokens(4), CACHE: cache}
    path = sparsec.transformers.capture(model, inputs, tmp_path / "captured.safetensors")
    assert (captured(path).shape.n_q, captured(path).shape.n) == (4, 13)


def test_refusals(tmp_path):
    model, rows, path = model_of("llama"), tokens(12, 2), tmp_path / "captured.safetensors"
    packed = torch.arange(6).repeat(1, 2)

    def said(**given):
        return refused(lambda: sparsec.transformers.capture(model, {"input_ids": rows, **given}, path))

    assert "padding" in said(attention_mask=padded(12, (12, 7), "left"))
    assert "packed rows" in said(position_ids=packed)
    bart = tf.BartModel(tf.BartConfig(vocab_size=40, d_model=32, encoder_layers=1, decoder_layers=1,
                                      encoder_attention_heads=2, decoder_attention_heads=2,
                                      encoder_ffn_dim=32, decoder_ffn_dim=32))  # fmt: skip
    assert "encoder" in refused(lambda: sparsec.transformers.capture(bart, rows, path))
    bloom = tf.BloomModel(tf.BloomConfig(vocab_size=40, hidden_size=32, n_layer=1, n_head=2))
    assert "attention of its own" in refused(lambda: sparsec.transformers.capture(bloom, rows, path))
    assert not path.exists()
    assert "get_interface" not in vars(tf.modeling_utils.ALL_ATTENTION_FUNCTIONS)  # nothing is recorded any more
