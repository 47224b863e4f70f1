"""Small random models of transformers with sparsec's attention are what they are with eager attention, or refuse."""

from __future__ import annotations

import functools

import pytest
import torch
from support.models import (
    BLOCKS,
    CAUSAL,
    REMAPS,
    SIZES,
    check,
    model_of,
    ours,
    padded,
    randomized,
    refused,
    run,
    tf,
    tokens,
)

from sparsec import Attend
from sparsec.transformers import masks, prepared_masks
from sparsec.transformers.attention import attention
from sparsec.transformers.masks import Form

NAMES = ("eager", "sparsec")


pytestmark = pytest.mark.usefixtures("one_thread")


def generated(model: tf.PreTrainedModel, prompt: torch.Tensor, **how: object) -> list[torch.Tensor]:
    """What a model writes with each attention."""
    written = []
    for name in NAMES:
        model.set_attn_implementation(name)
        written.append(model.generate(prompt, max_new_tokens=12, do_sample=False, **how))
    return written


STATIC = {"cache_implementation": "static"}


@pytest.mark.parametrize("kind", CAUSAL)
def test_logits_gradients_and_tokens(kind):
    model = model_of(kind)
    check(model, input_ids=tokens(37, batch=2))
    prompt = tokens(13)  # beyond the window, so that caches have dropped keys already
    for how in ({}, STATIC):
        assert torch.equal(*generated(model, prompt, **how)), how


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("mistral", {"num_beams": 2}),
        ("gemma3_text", {"prompt_lookup_num_tokens": 3, "eos_token_id": 39}),
        ("llama4_text", {"prompt_lookup_num_tokens": 3, "eos_token_id": 39}),
    ],
)
def test_other_ways_to_write(kind, how):
    assert torch.equal(*generated(model_of(kind), tokens(5).repeat(1, 3), **how))


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "llama4_text"])
def test_chunked_prefill(kind):
    """A second piece of the prompt after the cache has dropped keys."""
    model, prompt, found = model_of(kind), tokens(30), {}
    for name in NAMES:
        model.set_attn_implementation(name)
        cache = tf.DynamicCache(config=model.config)
        with torch.no_grad():
            model(prompt[:, :19], past_key_values=cache, use_cache=True)
            found[name] = model(prompt[:, 19:], past_key_values=cache).logits
    torch.testing.assert_close(found["sparsec"], found["eager"], atol=1e-4, rtol=1e-4)


def modernbert() -> tf.PreTrainedModel:
    fields = SIZES | {"local_attention": 8, "layer_types": ["full_attention", "sliding_attention"], "hidden_size": 64}
    del fields["num_key_value_heads"], fields["head_dim"]
    return randomized(tf.ModernBertModel, tf.ModernBertConfig(**fields))


def test_encoder():
    check(modernbert(), input_ids=tokens(37, batch=2))


def bart() -> tf.PreTrainedModel:
    config = tf.BartConfig(
        vocab_size=40, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, dropout=0.0, max_position_embeddings=64,
    )  # fmt: skip
    return randomized(tf.BartModel, config)


@pytest.mark.parametrize("n", [9, 23, 30])
def test_encoder_and_decoder(n):
    """Cross attention has more queries than keys, as many, or fewer; padding of the encoder is none of the decoder."""
    model, found = bart(), {}
    given = {"input_ids": tokens(23, 2), "attention_mask": padded(23, (23, 15), "right")}
    for name in NAMES:
        model.set_attn_implementation(name)
        found[name] = model(**given, decoder_input_ids=tokens(n, 2))[0]
    torch.testing.assert_close(found["sparsec"], found["eager"], atol=1e-4, rtol=1e-4)


def test_a_model_without_a_mask():
    """Attention of images passes none: the whole of the keys is seen."""
    config = tf.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    check(randomized(tf.ViTModel, config), pixel_values=torch.randn(2, 3, 16, 16).clamp(-2, 2))


def test_softcapping():
    config = tf.Gemma2Config(**SIZES, sliding_window=8, attn_logit_softcapping=5.0)
    check(randomized(tf.Gemma2ForCausalLM, config), input_ids=tokens(37))


def test_values_narrower_than_keys():
    config = tf.DeepseekV3Config(
        vocab_size=40, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, n_routed_experts=2, num_experts_per_tok=1, n_group=1,
        topk_group=1, first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=14,
        qk_rope_head_dim=8, v_head_dim=12,
    )  # fmt: skip
    check(randomized(tf.DeepseekV3ForCausalLM, config), input_ids=tokens(21))


def test_gradient_checkpointing():
    model = model_of("gemma3_text").train()
    expected = run(model, "sparsec", input_ids=tokens(21), use_cache=False)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again = run(model, "sparsec", input_ids=tokens(21), use_cache=False)
    for one, other in zip(expected, again, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.full  # dynamo takes its time
@pytest.mark.parametrize("kind", CAUSAL)
def test_compiled_decoding(kind):
    """One graph without breaks for the prompt, one for steps."""
    model, prompt = ours(kind), tokens(13)
    expected = model.generate(prompt, max_new_tokens=12, do_sample=False)
    model.generate(prompt, max_new_tokens=2, do_sample=False, **STATIC)
    torch._dynamo.reset()
    forward, graphs = model.forward, []

    def counting(graph, _):
        graphs.append(graph)
        return graph

    model.forward = functools.wraps(forward)(torch.compile(forward, fullgraph=True, backend=counting))
    assert torch.equal(expected, model.generate(prompt, max_new_tokens=12, do_sample=False, **STATIC))
    assert len(graphs) == 2


@pytest.mark.full
def test_compiled_training():
    """Documents in a row, of which the compiled model knows nothing before it runs."""
    model, prompt = model_of("mistral"), tokens(20)
    packed = torch.cat([torch.arange(9), torch.arange(11)])[None]
    for given in ({}, {"position_ids": packed}):
        model.set_attn_implementation("eager")
        expected = model(prompt, use_cache=False, **given).logits
        model.set_attn_implementation("sparsec")
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="eager")
        torch.testing.assert_close(compiled(prompt, use_cache=False, **given).logits, expected, atol=1e-4, rtol=1e-4)


PREPARED = {
    "plain": {},
    "padded": {"attention_mask": padded(20, (20, 13), "right")},
    "packed": {"position_ids": torch.cat([torch.arange(9), torch.arange(11)]).expand(2, -1)},
}


@pytest.mark.parametrize("rows", PREPARED)
def test_prepared_masks(rows):
    """Masks that were made before are those that the model makes."""
    model, prompt, given = ours("gemma3_text"), tokens(20, 2), dict(PREPARED[rows])
    expected = model(prompt, use_cache=False, **given).logits
    masks = prepared_masks(model, prompt, **given)
    assert torch.equal(model(prompt, use_cache=False, **given | {"attention_mask": masks}).logits, expected)


def test_no_masks_for_others():
    assert "masks of `sdpa`" in refused(lambda: prepared_masks(model_of("llama"), tokens(4)))


@pytest.mark.full
@pytest.mark.parametrize("rows", PREPARED)
@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt_oss"])
def test_training_in_one_graph(kind, rows):
    """Gradients of a compiled model without breaks, of which masks are made before."""
    model, prompt, given = ours(kind), tokens(20, 2), dict(PREPARED[rows])
    if kind == "gpt_oss" and rows == "packed":
        pytest.skip("it keeps positions from its masks")
    given["attention_mask"] = prepared_masks(model, prompt, **given)
    torch._dynamo.reset()
    results = []
    for each in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        each(prompt, use_cache=False, **given).logits.square().mean().backward()
        results.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm() + 1e-9


# ---------------------------------------------------------------- packed rows


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "llama4_text"])
def test_packed_rows(kind):
    """Each document as if it stood alone, as with eager attention; gradients, too."""
    sizes = (9, 1, 17, 10)
    positions = torch.cat([torch.arange(size) for size in sizes])[None]
    if kind == "llama4_text" and not REMAPS:
        given = {"input_ids": tokens(37), "position_ids": positions, "use_cache": False}
        said = refused(lambda: run(model_of(kind), "sparsec", **given))
        assert "begin at position 0" in said  # its chunks are counted over the whole row
        return
    check(model_of(kind), input_ids=tokens(37), position_ids=positions, use_cache=False)
    model = ours(kind)
    together = model(tokens(37), position_ids=positions, use_cache=False).logits
    alone = [model(part, use_cache=False).logits for part in tokens(37).split(sizes, 1)]
    torch.testing.assert_close(together, torch.cat(alone, 1), atol=1e-4, rtol=1e-4)


def test_documents_by_their_ends():
    model, ends = ours("llama"), torch.tensor([0, 9, 10, 27, 37], dtype=torch.int32)
    positions = torch.cat([torch.arange(size) for size in ends.diff()])[None]
    expected = model(tokens(37), position_ids=positions, use_cache=False).logits
    given = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": 17, "max_length_k": 17}
    found = model(tokens(37), position_ids=positions, use_cache=False, **given).logits
    torch.testing.assert_close(found, expected)
    said = refused(lambda: model(tokens(37, 2), cu_seq_lens_q=ends))
    assert "several rows" in said
    assert "that differ" in refused(lambda: model(tokens(37), cu_seq_lens_q=ends, cu_seq_lens_k=ends[:-1]))


@pytest.mark.skipif(not BLOCKS, reason="masks of this transformers have no blocks of images")
def test_blocks_of_images():
    """Tokens of one image see each other, as data of the call."""
    model, blocks = model_of("gemma3_text"), torch.tensor([[-1, -1, 0, 0, 0, -1, 1, 1, -1, -1, -1, 2, 2, 2, 2, -1]])
    made, found = tf.masking_utils.create_masks_for_generate, {}
    for name in NAMES:
        model.set_attn_implementation(name)
        given = (model.config, torch.zeros(1, 16, 32), None, None)
        found[name] = model(tokens(16), attention_mask=made(*given, block_sequence_ids=blocks)).logits
    torch.testing.assert_close(found["sparsec"], found["eager"], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found["sparsec"], model(tokens(16)).logits, atol=1e-2)


# ---------------------------------------------------------------- padding


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", CAUSAL)
def test_padding(kind, side):
    """What tokens get is as with eager attention, and so are gradients; what padding gets is nobody's business."""
    model, mask = model_of(kind), padded(37, (37, 20, 3), side)
    weights = mask[..., None] * torch.randn(*mask.shape, 40, generator=torch.Generator().manual_seed(2))
    found = {}
    for name in NAMES:
        model.set_attn_implementation(name)
        model.zero_grad()
        logits = model(tokens(37, 3), attention_mask=mask).logits
        (logits * weights).sum().backward()
        gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
        found[name] = {"logits": logits.detach() * mask[..., None], **gradients}
    for name, expected in found["eager"].items():
        difference = (found["sparsec"][name] - expected).norm()
        assert difference <= 1e-4 * expected.norm() + 1e-6, (name, difference, expected.norm())


@pytest.mark.parametrize("how", [{}, STATIC], ids=["dynamic", "static"])
@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "llama4_text"])
def test_prompts_padded_on_the_left(kind, how):
    mask = padded(13, (13, 7, 1), "left")
    assert torch.equal(*generated(model_of(kind), tokens(13, 3), attention_mask=mask, **how))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_an_encoder(side):
    model, mask, found = modernbert(), padded(37, (37, 20, 1), side), {}
    for name in NAMES:
        model.set_attn_implementation(name)
        with torch.no_grad():
            found[name] = model(tokens(37, 3), attention_mask=mask)[0][mask.bool()]
    torch.testing.assert_close(found["sparsec"], found["eager"], atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- dropout


@pytest.mark.parametrize("kind", ["llama", "gpt_oss"])
def test_dropout_in_training(kind, monkeypatch):
    """As eager attention that drops the weights which each layer's seed says; none in evaluation."""

    def dropped(x, p, training=True, **_):
        if not training or not p:
            return x
        seed = torch.randint((1 << 63) - 1, (1,))  # as an operator draws it
        return x * Attend.dropout_mask(x.shape, p, seed) / (1 - p)

    monkeypatch.setattr(torch.nn.functional, "dropout", dropped)
    model = model_of(kind, attention_dropout=0.4).train()
    model.register_forward_pre_hook(lambda *_: torch.manual_seed(3) and None)
    check(model, input_ids=tokens(37, 2))
    if kind == "llama":
        whole = run(model, "sparsec", input_ids=tokens(37, 2))
        model.gradient_checkpointing_enable()  # which computes layers again, with the seeds that they had
        for a, b in zip(whole, run(model, "sparsec", input_ids=tokens(37, 2)), strict=True):
            assert (a - b).norm() <= 1e-5 * a.norm()
    model.eval()
    assert torch.equal(model(tokens(9))[0], model(tokens(9))[0])


# ---------------------------------------------------------------- refusals


def test_rows_with_gaps():
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 4:6] = 0
    assert "gaps" in refused(lambda: ours("llama")(tokens(12, 2), attention_mask=mask))


def test_what_an_attention_function_may_be_asked_for():
    query = torch.zeros(1, 2, 3, 16)
    given = (torch.nn.Linear(1, 1), query, query, query, masks.mask(1, 3, 3))
    attention(*given, dropout=0.0, position_ids=torch.arange(3), sliding_window=2, use_cache=True)
    for name, value in {
        "position_bias": torch.zeros(1, 2, 3, 3),
        "output_attentions": True,
        "indices": torch.ones(2),
        "block_indices": torch.ones(2),
        "head_mask": torch.ones(2),
        "alibi": torch.ones(2),
        "block_size": 4,
    }.items():
        said = refused(lambda name=name, value=value: attention(*given, **{name: value}))
        assert f"`{name}" in said


def test_masks_of_others():
    model = ours("llama")
    assert "a mask of its own" in refused(lambda: model(tokens(9), attention_mask=torch.zeros(1, 1, 9, 9)))
    query, module = torch.zeros(1, 2, 3, 16), torch.nn.Linear(1, 1)
    assert "no mask" in refused(lambda: attention(module, query, query, query, None))
    assert "positions, where its mask has" in refused(
        lambda: attention(module, query, query, query, masks.mask(1, 3, 4))
    )


def test_shapes_say_everything():
    """Nothing of a mask has to be read to know what runs; and it takes no room to speak of."""
    whole, chunk = masks.mask(2, 900, 900), masks.mask(2, 9, 900, q_offset=891)
    assert masks.read(whole).form is masks.read(chunk).form is Form.LAST
    assert whole.untyped_storage().nbytes() == 8
    packed = masks.read(masks.mask(1, 4, 4, attention_mask=torch.ones(1, 4)))
    assert packed.form is Form.LAST
    assert masks.read(masks.mask(1, 4, 4, attention_mask=padded(4, (3,), "left"))).form is Form.SAME_ROWS
    assert masks.read(masks.mask(1, 2, 9, q_offset=torch.tensor(3))).form is Form.ROWS
    assert masks.read(masks.mask(1, 2, 9, q_offset=12, kv_offset=5)).form is Form.CUT_ROWS
    assert masks.read(torch.zeros(1, 1, 4, 4, dtype=torch.bool)) is None
