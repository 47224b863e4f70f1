"""Small random models of transformers, for tests."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch

from sparsec.diagnostics import ModelAsksMore, SparsecError

tf = pytest.importorskip("transformers", reason="transformers is not installed (extra: test)")

# What models call their cache: transformers has changed it.
CACHE = "cache" if "cache" in inspect.signature(tf.LlamaForCausalLM.forward).parameters else "past_key_values"
# Whether masks count the positions of packed rows from where each begins, and whether they have blocks of images.
REMAPS = hasattr(tf.masking_utils, "remap_positions_for_packed_sequence")
BLOCKS = "block_sequence_ids" in inspect.signature(tf.masking_utils.create_masks_for_generate).parameters

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
    halved = {name: x.bfloat16() if torch.is_tensor(x) and x.is_floating_point() else x for name, x in given.items()}
    rough = run(copy.deepcopy(model).bfloat16(), "eager", **halved)
    assert len(eager) == len(ours)
    for expected, found, coarse in zip(eager, ours, rough, strict=True):
        error = (expected - coarse.float()).norm() + 1e-6
        assert (expected - found).norm() <= 2e-3 * error + 1e-6 * expected.norm()


def ours(kind: str, **more: object) -> tf.PreTrainedModel:
    """A model with sparsec's attention."""
    model = model_of(kind, **more)
    model.set_attn_implementation("sparsec")
    return model


def refused(call) -> str:
    """What a call is refused with, by SP0610."""
    with pytest.raises(SparsecError) as info:
        call()
    assert [type(each) for each in info.value.diagnostics] == [ModelAsksMore]
    return str(info.value)


def padded(n: int, lengths: tuple[int, ...], side: str) -> torch.Tensor:
    """The attention mask of rows with so many tokens."""
    places = torch.arange(n)
    return torch.stack([places >= n - each if side == "left" else places < each for each in lengths]).long()
