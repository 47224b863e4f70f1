"""Small random models of transformers with sparsec's attention are what they are with eager attention, or refuse."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import sparsec
from sparsec.diagnostics import ModelAsksMore, SparsecError

pytest.importorskip("transformers", reason="transformers is not installed (extra: test)")
import transformers as tf
from transformers import masking_utils

import sparsec.transformers
from sparsec.transformers import masks
from sparsec.transformers.attention import attention

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
CAUSAL = {
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": 8}),
    "gemma3_text": ("Gemma3", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
    "gpt_oss": ("GptOss", {"sliding_window": 8, **EXPERTS}),
    "llama4_text": (
        "Llama4",
        {
            "attention_chunk_size": 8,
            "layer_types": ["chunked_attention", "full_attention"],
            "intermediate_size_mlp": 32,
            **EXPERTS,
        },
    ),
}


def model_of(kind: str, **more: object) -> tf.PreTrainedModel:
    name, fields = CAUSAL[kind]
    return randomized(getattr(tf, f"{name}ForCausalLM"), tf.CONFIG_MAPPING[kind](**SIZES | fields | more))


def randomized(cls: type, config: object) -> tf.PreTrainedModel:
    """Weights wide enough for scores that matter, sinks too."""
    model = cls(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def tokens(n: int, batch: int = 1) -> torch.Tensor:
    return torch.randint(1, 40, (batch, n), generator=torch.Generator().manual_seed(1))


def run(model: tf.PreTrainedModel, implementation: str, **given: object) -> list[torch.Tensor]:
    """Logits or hidden states, and the gradient of each parameter."""
    model.set_attn_implementation(implementation)
    model.zero_grad()
    out = model(**given)[0]
    out.square().mean().backward()
    return [out.detach(), *(each.grad.clone() for each in model.parameters() if each.grad is not None)]


def check(model: tf.PreTrainedModel, **given: object) -> None:
    """As eager, where eager in half the digits is the measure: errors grow with layers and sums of any order."""
    eager, ours = run(model, "eager", **given), run(model, "sparsec", **given)
    rough = run(copy.deepcopy(model).bfloat16(), "eager", **given)
    assert len(eager) == len(ours)
    for expected, found, coarse in zip(eager, ours, rough, strict=True):
        error = (expected - coarse.float()).norm() + 1e-6
        assert (expected - found).norm() <= 2e-3 * error + 1e-6 * expected.norm()


@pytest.mark.parametrize("kind", CAUSAL)
def test_logits_gradients_and_tokens(kind):
    model = model_of(kind)
    check(model, input_ids=tokens(37, batch=2))
    prompt = tokens(13)  # beyond the window, so that caches have dropped keys already
    for how in ({}, {"cache_implementation": "static"}):
        written = {}
        for name in ("eager", "sparsec"):
            model.set_attn_implementation(name)
            written[name] = model.generate(prompt, max_new_tokens=14, do_sample=False, **how)
        assert torch.equal(written["eager"], written["sparsec"]), how


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "llama4_text"])
def test_chunked_prefill(kind):
    """A second piece of the prompt after the cache has dropped keys."""
    model, prompt, found = model_of(kind), tokens(30), {}
    for name in ("eager", "sparsec"):
        model.set_attn_implementation(name)
        with torch.no_grad():
            first = model(prompt[:, :19], use_cache=True)
            found[name] = model(prompt[:, 19:], past_key_values=first.past_key_values).logits
    torch.testing.assert_close(found["sparsec"], found["eager"], atol=1e-4, rtol=1e-4)


def test_encoder():
    fields = SIZES | {"local_attention": 8, "layer_types": ["full_attention", "sliding_attention"]}
    del fields["num_key_value_heads"], fields["head_dim"]
    fields |= {"hidden_size": 64}
    check(randomized(tf.ModernBertModel, tf.ModernBertConfig(**fields)), input_ids=tokens(37, batch=2))


def test_encoder_and_decoder():
    """Cross attention has more queries than keys."""
    config = tf.BartConfig(
        vocab_size=40, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, dropout=0.0,
    )  # fmt: skip
    check(randomized(tf.BartModel, config), input_ids=tokens(9), decoder_input_ids=tokens(23))


def test_one_document():
    """Under torch.compile transformers can't look whether rows are packed, and always says so."""

    def number(documents: list[int]) -> int:
        positions = torch.arange(4)[None]
        parts = (
            masking_utils.remap_positions_for_packed_sequence(masking_utils.causal_mask_function, positions),
            masking_utils.packed_sequence_mask_function(torch.tensor([documents])),
        )
        return masks.read(masks.mask(1, 4, 4, mask_function=masking_utils.and_masks(*parts)))[1].number

    assert number([0, 0, 0, 0]) == masks.read(masks.mask(1, 4, 4))[1].number
    assert "packed rows" in refused(lambda: number([0, 0, 1, 1]))


@pytest.mark.full  # dynamo takes its time
def test_compiled():
    model, prompt = model_of("mistral"), tokens(20)
    expected = model(prompt, use_cache=False).logits
    model.set_attn_implementation("sparsec")
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(prompt, use_cache=False).logits, expected, atol=1e-4, rtol=1e-4)
    packed = torch.cat([torch.arange(9), torch.arange(11)])[None]
    assert "packed rows" in refused(lambda: compiled(prompt, position_ids=packed, use_cache=False))


# ---------------------------------------------------------------- a pattern of one's own


def dense(model: tf.PreTrainedModel, masks_by_layer: list[torch.Tensor], prompt: torch.Tensor) -> torch.Tensor:
    """Logits with eager attention over given masks."""
    model.set_attn_implementation("eager")
    hooks = [
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs, mask=mask: (
                args,
                kwargs | {"attention_mask": torch.where(mask, 0.0, float("-inf"))[None, None]},
            ),
            with_kwargs=True,
        )
        for layer, mask in zip(model.model.layers, masks_by_layer, strict=True)
    ]
    logits = model(prompt).logits
    for hook in hooks:
        hook.remove()
    return logits


def test_own_pattern():
    text = "pattern p(w = 99) = match layer { 0 -> sinks(2) | past(w)\n else -> causal & stride(3) | past(2) }"
    prompt = tokens(37)
    model = sparsec.transformers.use(model_of("llama"), text, w=6)
    found = model(prompt).logits
    step_by_step = model.generate(prompt[:, :20], max_new_tokens=12, do_sample=False)
    without_cache = model.generate(prompt[:, :20], max_new_tokens=12, do_sample=False, use_cache=False)
    static = model.generate(prompt[:, :20], max_new_tokens=12, do_sample=False, cache_implementation="static")
    assert torch.equal(step_by_step, without_cache)
    assert torch.equal(step_by_step, static)
    each = [torch.from_numpy(layer.self_attn.sparsec_attend.pattern.mask(37, 37)) for layer in model.model.layers]
    assert not torch.equal(*each)
    torch.testing.assert_close(found, dense(model, each, prompt), atol=1e-4, rtol=1e-4)


def test_an_operator_for_all_layers_and_copies():
    attend = sparsec.compile("pattern p = past(5)")
    model = sparsec.transformers.use(model_of("mistral", sliding_window=5), attend)  # the model's own, so allowed
    prompt = tokens(21)
    expected = model(prompt).logits
    assert torch.equal(copy.deepcopy(model)(prompt).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(prompt).logits, expected)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model(prompt).logits, expected, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- refusals


def refused(call) -> str:
    with pytest.raises(SparsecError) as info:
        call()
    assert [type(each) for each in info.value.diagnostics] == [ModelAsksMore]
    return str(info.value)


def ours(kind: str, **more: object) -> tf.PreTrainedModel:
    model = model_of(kind, **more)
    model.set_attn_implementation("sparsec")
    return model


def test_softcapping():
    config = tf.Gemma2Config(**SIZES, sliding_window=8, attn_logit_softcapping=5.0)
    check(randomized(tf.Gemma2ForCausalLM, config), input_ids=tokens(37))
    model = randomized(tf.Gemma2ForCausalLM, config)
    model.set_attn_implementation("sparsec")
    for layer in model.model.layers:
        layer.self_attn.sparsec_attend = sparsec.compile("pattern p = past(8)")
    said = refused(lambda: model(tokens(7)))
    assert "Gemma2Attention of layer 0" in said
    assert "with softcap(5)" in said


def test_packed_rows():
    positions = torch.cat([torch.arange(5), torch.arange(7)])[None]
    said = refused(lambda: ours("llama")(tokens(12), position_ids=positions, use_cache=False))
    assert "packed rows" in said
    model = ours("llama")
    assert "packed rows" in refused(lambda: model(tokens(12), cu_seq_lens_q=torch.tensor([0, 5, 12])))
    model(tokens(12), position_ids=torch.arange(12)[None], use_cache=False)  # one text in the row


def padded(n: int, lengths: tuple[int, ...], side: str) -> torch.Tensor:
    places = torch.arange(n)
    return torch.stack([places >= n - each if side == "left" else places < each for each in lengths]).long()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", CAUSAL)
def test_padding(kind, side):
    """What tokens get is as with eager attention, and so are gradients; what padding gets is nobody's business."""
    model, mask = model_of(kind), padded(37, (37, 20, 3), side)
    weights = mask[..., None] * torch.randn(*mask.shape, 40, generator=torch.Generator().manual_seed(2))
    found = {}
    for name in ("eager", "sparsec"):
        model.set_attn_implementation(name)
        model.zero_grad()
        logits = model(tokens(37, 3), attention_mask=mask).logits
        (logits * weights).sum().backward()
        gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
        found[name] = {"logits": logits.detach() * mask[..., None], **gradients}
    for name, expected in found["eager"].items():
        difference = (found["sparsec"][name] - expected).norm()
        assert difference <= 1e-4 * expected.norm() + 1e-6, (name, difference, expected.norm())


@pytest.mark.parametrize("how", [{}, {"cache_implementation": "static"}], ids=["dynamic", "static"])
@pytest.mark.parametrize("kind", CAUSAL)
def test_prompts_padded_on_the_left(kind, how):
    model, mask, written = model_of(kind), padded(13, (13, 7, 1), "left"), {}
    for name in ("eager", "sparsec"):
        model.set_attn_implementation(name)
        written[name] = model.generate(tokens(13, 3), attention_mask=mask, max_new_tokens=14, do_sample=False, **how)
    assert torch.equal(written["eager"], written["sparsec"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_an_encoder(side):
    fields = SIZES | {"local_attention": 8, "layer_types": ["full_attention", "sliding_attention"]}
    del fields["num_key_value_heads"], fields["head_dim"]
    model = randomized(tf.ModernBertModel, tf.ModernBertConfig(**fields | {"hidden_size": 64}))
    mask, found = padded(37, (37, 20, 1), side), {}
    for name in ("eager", "sparsec"):
        model.set_attn_implementation(name)
        with torch.no_grad():
            found[name] = model(tokens(37, 3), attention_mask=mask)[0][mask.bool()]
    torch.testing.assert_close(found["sparsec"], found["eager"], atol=1e-4, rtol=1e-4)


def test_own_pattern_of_padded_rows():
    """Positions count from a row's first token: a row gets what it gets alone."""
    model = sparsec.transformers.use(model_of("llama"), "pattern p = sinks(2) | past(4) | causal & stride(3)")
    ids = tokens(21, 2)
    with torch.no_grad():
        alone = model(ids[1:, 9:]).logits
        among = model(ids, attention_mask=padded(21, (21, 12), "left")).logits
    torch.testing.assert_close(among[1:, 9:], alone, atol=1e-4, rtol=1e-4)


def test_rows_with_gaps():
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 4:6] = 0
    assert "gaps" in refused(lambda: ours("llama")(tokens(12, 2), attention_mask=mask))
    by_position = lambda b, h, q, k: (k <= q) & (k % 3 == 0)  # noqa: E731
    given = {"mask_function": by_position, "attention_mask": padded(9, (9, 5), "left")}
    assert "padding on the left" in refused(lambda: masks.mask(2, 9, 9, **given))


def test_dropout_and_weights():
    model = ours("llama", attention_dropout=0.5).train()
    assert "dropout of 0.5" in refused(lambda: model(tokens(9)))
    model.eval()(tokens(9))
    query = torch.zeros(1, 2, 3, 16)
    carried = masks.mask(1, 3, 3)
    given = (torch.nn.Linear(1, 1), query, query, query, carried)
    attention(*given, position_ids=torch.arange(3), sliding_window=2, use_cache=True)
    for name, value in {
        "position_bias": torch.zeros(1, 2, 3, 3),
        "output_attentions": True,
        "head_mask": torch.ones(2),
        "alibi": torch.ones(2),
        "block_size": 4,
    }.items():
        said = refused(lambda name=name, value=value: attention(*given, **{name: value}))
        assert ("a bias" if name == "position_bias" else f"`{name}`") in said


def test_masks_of_others():
    model = ours("llama")
    assert "a mask of its own" in refused(lambda: model(tokens(9), attention_mask=torch.zeros(1, 1, 9, 9)))
    query = torch.zeros(1, 2, 3, 16)
    module = torch.nn.Linear(1, 1)
    assert "no mask" in refused(lambda: attention(module, query, query, query, None))
    assert "where its mask has 4" in refused(lambda: attention(module, query, query, query, masks.mask(1, 4, 3)))


def test_a_pattern_beside_a_window():
    """A cache that drops keys, and layers that see others than the pattern's."""
    model = sparsec.transformers.use(model_of("mistral"), "pattern p = sinks(2) | past(8)")
    assert "`k > q - 8 & k <= q`" in refused(lambda: model(tokens(20)))
    model = sparsec.transformers.use(model_of("mistral"), "pattern p = past(16)")  # wider than the window
    assert "`k > q - 8 & k <= q`" in refused(lambda: model(tokens(20)))
    model = sparsec.transformers.use(model_of("mistral", sliding_window=None), "pattern p = sinks(2) | past(8)")
    model.generate(tokens(20), max_new_tokens=3)


def test_unwritten_keys():
    model = sparsec.transformers.use(model_of("llama"), "pattern p = window(9)")
    model(tokens(20))
    said = refused(lambda: model.generate(tokens(20), max_new_tokens=3, cache_implementation="static"))
    assert "a static cache" in said


def test_dropped_keys():
    """Positions count from the first token where a mask is not the same further on."""
    by_position = lambda b, h, q, k: (k <= q) & (k % 3 == 0)  # noqa: E731
    carried = masks.mask(1, 2, 7, q_offset=9, kv_offset=4, mask_function=by_position)
    query, key = torch.zeros(1, 2, 2, 16), torch.zeros(1, 2, 7, 16)
    said = refused(lambda: attention(torch.nn.Linear(1, 1), query, key, key, carried))
    assert "a cache that dropped keys" in said


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
