"""Every kind of transformers configuration gives the mask that transformers itself makes of it, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import sparsec
from sparsec.importers import decoders, huggingface
from sparsec.ir import reference
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: test)")
from transformers import masking_utils  # noqa: E402

N, LAYERS = 19, 8
SMALL = {"num_hidden_layers": LAYERS}
WINDOW = SMALL | {"sliding_window": 5}
FLAGGED = WINDOW | {"use_sliding_window": True}
CASES: dict[str, Sequence[dict]] = {
    **dict.fromkeys(
        ("mistral", "ministral", "ministral3", "mixtral", "phi3", "phimoe", "starcoder2"),
        (WINDOW, SMALL | {"sliding_window": None}),
    ),
    **dict.fromkeys(
        ("qwen2", "qwen3"),
        (FLAGGED | {"max_window_layers": 3}, FLAGGED, WINDOW | {"use_sliding_window": False, "max_window_layers": 3}),
    ),
    "qwen2_moe": [FLAGGED | {"max_window_layers": 5}, FLAGGED, WINDOW | {"use_sliding_window": False}],
    "qwen3_moe": [FLAGGED, WINDOW | {"use_sliding_window": False}],
    "dots1": [WINDOW | {"max_window_layers": 3}, WINDOW, SMALL | {"sliding_window": None, "max_window_layers": 3}],
    **dict.fromkeys(("gemma2", "vaultgemma"), (WINDOW | {"attn_logit_softcapping": None},)),
    "gemma3_text": [WINDOW, WINDOW | {"sliding_window_pattern": 3}],
    "gemma3n_text": [WINDOW | {"num_kv_shared_layers": 0}],
    "gemma4_text": [WINDOW, WINDOW | {"layer_types": ["sliding_attention"] * LAYERS}],
    "gpt_oss": [WINDOW],
    "cohere2": [WINDOW, WINDOW | {"sliding_window_pattern": 3}],
    "olmo3": [WINDOW],
    "afmoe": [WINDOW, WINDOW | {"global_attn_every_n_layers": 3}],
    "exaone4": [WINDOW, WINDOW | {"sliding_window_pattern": 3}],
    "smollm3": [
        FLAGGED,
        FLAGGED | {"no_rope_layer_interval": 3},
        FLAGGED | {"no_rope_layers": [0, 1] * 4},
        WINDOW | {"use_sliding_window": False},
    ],
    "llama4_text": [
        SMALL | {"attention_chunk_size": 5},
        SMALL | {"attention_chunk_size": 5, "no_rope_layers": [0, 1] * 4},
        SMALL | {"attention_chunk_size": None},
    ],
    "lfm2": [SMALL | {"full_attn_idxs": [1, 4, 5]}, SMALL | {"full_attn_idxs": None}],
    "modernbert": [
        SMALL | {"local_attention": 6},
        SMALL | {"local_attention": 7, "global_attn_every_n_layers": 2},
    ],
    "recurrent_gemma": [SMALL | {"attention_window_size": 5}],
    "gpt_neo": [{"num_layers": 8, "window_size": 5, "attention_types": [[["global", "local"], 3], [["local"], 2]]}],
    **dict.fromkeys(
        ("cohere2_moe", "cwm", "exaone_moe"),
        (WINDOW | {"layer_types": ["sliding_attention", "full_attention"] * 4},),
    ),
    **dict.fromkeys(
        ("lfm2_moe", "olmo_hybrid", "qwen3_next"),
        (SMALL | {"layer_types": ["linear_attention", "full_attention"] * 4},),
    ),
    "llama": [SMALL],
    "gemma": [SMALL],
}
CASES["lfm2_moe"] = [SMALL | {"layer_types": ["conv", "full_attention"] * 4}]


def test_every_decoder_is_here():
    assert set(CASES) == {*decoders.MODELS, *huggingface._CAUSAL}


def theirs(config: object) -> list[np.ndarray | None]:
    """The mask of each layer, None where a layer has no attention."""
    layers = config.num_hidden_layers
    config._attn_implementation = "eager"
    if config.model_type == "gpt_neo":
        from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoAttention

        return [GPTNeoAttention(config, layer).attention.bias[0, 0, :N, :N].numpy() for layer in range(layers)]
    given = {"config": config, "inputs_embeds": torch.zeros(1, N, 8), "attention_mask": None}
    if config.model_type == "modernbert":
        masks = {
            "full_attention": torch.zeros(1, 1, N, N),
            "sliding_attention": masking_utils.create_bidirectional_sliding_window_mask(**given),
        }
    else:
        masks = masking_utils.create_masks_for_generate(*given.values(), None)
    if not isinstance(masks, dict):
        return [masks[0, 0].numpy() == 0] * layers
    types = config.layer_types
    return [None if kind in decoders._NO_ATTENTION else masks[kind][0, 0].numpy() == 0 for kind in types]


@pytest.mark.parametrize("model_type", CASES)
def test_as_transformers(model_type):
    for fields in CASES[model_type]:
        config = transformers.CONFIG_MAPPING[model_type](**fields)
        shapes = (config, config.to_dict(), {"model_type": model_type, **fields})
        texts = {sparsec.from_config(shape, pairs_only=model_type == "gpt_oss") for shape in shapes}
        masks = theirs(config)
        for text in texts:
            parsed = parse(Source("config", text))
            for layer, expected in enumerate(masks):
                if expected is not None:
                    found = lower(parsed, layer=layer).conditions[0]
                    assert (reference.mask(found, N, N) == expected).all(), (fields, layer, text)


def test_longt5():
    from transformers.models.longt5.modeling_longt5 import _get_local_attention_mask

    config = transformers.LongT5Config(local_radius=3)
    found = lower(parse(Source("config", sparsec.from_config(config, pairs_only=True))))
    blocks = _get_local_attention_mask(torch.ones(1, N), 4, "cpu")[0, 0]  # [blocks, 4, 12]
    expected = torch.zeros(len(blocks) * 4, (len(blocks) + 2) * 4, dtype=torch.bool)
    for at, block in enumerate(blocks):
        expected[at * 4 : at * 4 + 4, at * 4 : at * 4 + 12] = block
    assert (reference.mask(found.conditions[0], N, N) == expected[:N, 4 : 4 + N].numpy()).all()


def test_moonshine_streaming():
    from transformers.models.moonshine_streaming.modeling_moonshine_streaming import sliding_window_mask_function

    windows = ((5, 4), (3, 0), (3, 1), (1, 2))
    config = transformers.CONFIG_MAPPING["moonshine_streaming_encoder"](num_hidden_layers=4, sliding_windows=windows)
    rows, columns = torch.arange(N)[:, None], torch.arange(N)
    for layer, window in enumerate(windows):
        found = lower(parse(Source("config", sparsec.from_config(config))), layer=layer)
        expected = sliding_window_mask_function(window)(None, None, rows, columns)
        assert (reference.mask(found.conditions[0], N, N) == expected.numpy()).all()


@pytest.mark.parametrize("model_type", sorted({*huggingface.KNOWN, *huggingface._WITHIN} - {"lfm2_moe"}))
def test_defaults_are_read(model_type):
    """No field of transformers' own is taken for a misspelt one.  (lfm2_moe lists no layers by default.)"""
    config = transformers.CONFIG_MAPPING[model_type]()
    seed = 0 if "big" in model_type else None
    text = sparsec.from_config(config, seed=seed, pairs_only=True)
    assert sparsec.from_config(config.to_dict(), seed=seed, pairs_only=True).splitlines()[-1] == text.splitlines()[-1]


@pytest.mark.parametrize(
    "function",
    [
        masking_utils.causal_mask_function,
        masking_utils.bidirectional_mask_function,
        masking_utils.sliding_window_causal_mask_function(5),
        masking_utils.sliding_window_bidirectional_mask_function(5),
        masking_utils.chunked_causal_mask_function(5, torch.zeros(2, dtype=torch.long)),
        masking_utils.chunked_causal_mask_function(5, torch.tensor([3])),
        masking_utils.or_masks(
            masking_utils.causal_mask_function, masking_utils.sliding_window_bidirectional_overlay(3)
        ),
        masking_utils.add_offsets_to_mask_function(masking_utils.sliding_window_causal_mask_function(5), 3, 1),
    ],
    ids=range(8),
)
def test_mask_functions_are_imported(function):
    found = lower(parse(Source("imported", sparsec.from_mask_mod(function))))
    expected = masking_utils.sdpa_mask(
        1, N, N, mask_function=function, allow_is_causal_skip=False, allow_is_bidirectional_skip=False
    )
    assert (reference.mask(found.conditions[0], N, N) == expected[0, 0].numpy()).all()
