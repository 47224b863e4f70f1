"""Model types of transformers, small and with random weights: what eager attention gives, or a refusal by name."""

from __future__ import annotations

import warnings

import pytest
import torch
from support.models import SIZES, refused, tf

import sparsec.transformers
from sparsec.transformers.models import attention_layers

pytestmark = pytest.mark.full

# What configurations call their sizes; a configuration gets those that it has.
SMALL = SIZES | {
    "d_model": 32, "n_embd": 32, "embedding_size": 32, "mlp_hidden_size": 32, "intermediate_size_mlp": 32,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "ffn_dim": 32, "n_inner": 32,
    "n_layer": 2, "num_layers": 2, "n_head": 4,
    "num_local_experts": 2, "num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 1, "n_group": 1,
    "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "moe_num_experts": 4, "moe_k": 1,
    "sliding_window": 8, "attention_chunk_size": 8, "local_attention": 8,
    "max_position_embeddings": 256, "n_positions": 256, "rotary_dim": 8, "type_vocab_size": 2, "eos_token_id": 2,
    "attention_dropout": 0.0, "attention_probs_dropout_prob": 0.0, "attn_pdrop": 0.0, "is_decoder": True,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "num_kv_shared_layers": 0, "vocab_size_per_layer_input": 40, "hidden_size_per_layer_input": 8,
    "mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_expand": 2,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 2, "index_topk": 4, "index_n_heads": 2, "index_head_dim": 16,
}  # fmt: skip
OPTIONAL = ("num_key_value_heads", "head_dim")  # also where the configuration has None there

AS_EAGER = """
    afmoe albert apertus apertus1p5_text arcee aria_text axk1 bailing_hybrid beam bert bert-generation biogpt
    bitnet camembert codegen cohere cohere2 cohere2_moe ctrl cwm data2vec-text deepseek_v3 diffllama
    distilbert electra ernie ernie4_5 ernie4_5_moe eurobert exaone exaone4 exaone_moe flex_olmo flint gemma gemma2
    gemma3_text gemma3n_text glm glm4 glm4_moe glm4_moe_lite gpt-sw3 gpt2 gpt_bigcode gpt_neox gpt_oss gptj granite
    granite_swa granitemoe granitemoe_swa granitemoeshared gte hrm_text hunyuan_v1_dense hunyuan_v1_moe hy_v3
    hyperclovax internlm3 iquestcoder jais2 jetmoe jina_embeddings_v3 kimi_linear kolibri1 laguna lara_mini lfm2
    lfm3 llama llama4_text mellum mimo_v2_flash minicpm3 minimax_m2 minimax_m3_vl_text ministral
    ministral3 mistral mixtral modernbert modernbert-decoder moshi nanochat nemotron nomic_bert olmo
    olmo2 olmo3 olmo_hybrid olmoe opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_5_moe_text qwen3_5_text
    qwen3_moe qwen3_next roberta roberta-prelayernorm sarvam_mla sarvam_moe seed_oss smollm3 solar_open stablelm
    starcoder2 ultrabert vaultgemma xlm-roberta xlm-roberta-xl youtu zaya
"""
REFUSED = {
    "axk2": "`indices`",
    "doge": "a mask of its own",
    "hy_v4": "`indices`",
    "inkling_text": "`position_bias`",
    "layoutlm": "a mask of its own",
}
WITHOUT_INTERFACE = """
    big_bird bloom convbert cpmant deberta flaubert gpt_neox_japanese ibert longformer megatron-bert mpt
"""


def small_model(kind: str) -> tf.PreTrainedModel:
    auto = tf.models.auto.modeling_auto
    names = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES | auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    whole = tf.CONFIG_MAPPING[kind]()
    own = [
        name for name in SMALL if getattr(whole, name, None) is not None or (name in OPTIONAL and hasattr(whole, name))
    ]
    if "qk_rope_head_dim" in own:  # the size of a head is another one there
        own = [name for name in own if name != "head_dim"]
    given = {name: SMALL[name] for name in own}
    if "kv_lora_rank" in own:  # latent keys are of all heads
        given["num_key_value_heads"] = given["num_attention_heads"]
    if kinds := list(dict.fromkeys(getattr(whole, "layer_types", None) or [])):
        given["layer_types"] = (kinds * 2)[: max(2, len(kinds))]
        given["num_hidden_layers"] = len(given["layer_types"])
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(tf, names[kind])(tf.CONFIG_MAPPING[kind](**given)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return model


@pytest.mark.parametrize("kind", AS_EAGER.split())
def test_as_eager(kind):
    model = small_model(kind)
    model.set_attn_implementation("sparsec")
    assert list(attention_layers(model))
    report = sparsec.transformers.verify(model, lengths=(7, 29))
    assert report.holds, report


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind):
    model = small_model(kind)
    model.set_attn_implementation("sparsec")
    assert REFUSED[kind] in refused(lambda: model(torch.ones(1, 9, dtype=torch.long)))


@pytest.mark.parametrize("kind", WITHOUT_INTERFACE.split())
def test_without_interface(kind):
    model = small_model(kind)
    assert "attention of its own" in refused(lambda: sparsec.transformers.use(model, "pattern p = causal"))
