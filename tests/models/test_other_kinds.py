"""Models of images, sound and several parts, small and with random weights: what eager attention gives."""

from __future__ import annotations

import pytest
import torch
from support.models import check, randomized, tf, tokens

import sparsec.transformers  # noqa: F401  registers "sparsec"

pytestmark = pytest.mark.full

N, IMAGE = 19, 39  # tokens of a row, and the token that stands for a piece of an image
SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = SMALL | {"vocab_size": 40, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
SEEN = SMALL | {"image_size": 32, "patch_size": 8}
BOTH = {
    "vocab_size": 40, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "pad_token_id": 0,
}  # fmt: skip
HEARD = SMALL | {
    "conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
PIXELS = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 32 * 32).sin().view(2, 3, 32, 32)}
SOUND = {"input_values": torch.linspace(-9, 9, 800).sin().view(2, 400)}
WRITTEN = {"input_ids": tokens(N, 2), "decoder_input_ids": tokens(7, 2)}

ALONE = {
    "Dinov2": (SEEN, PIXELS),
    "DINOv3ViT": (SEEN, PIXELS),
    "DeiT": (SEEN, PIXELS),
    "IJepa": (SEEN, PIXELS),
    "Wav2Vec2": (HEARD, SOUND),
    "Hubert": (HEARD, SOUND),
    "MBart": (BOTH, WRITTEN),
    "M2M100": (BOTH, WRITTEN),
    "Marian": (BOTH, WRITTEN),
    "Whisper": (
        BOTH | {"num_mel_bins": 8, "max_source_positions": 20, "bos_token_id": 1, "eos_token_id": 2},
        {"input_features": torch.linspace(-9, 9, 640).cos().view(2, 8, 40), "decoder_input_ids": tokens(N, 2)},
    ),
    "T5Gemma": ({"encoder": TEXT | WINDOWS, "decoder": TEXT | WINDOWS, "vocab_size": 40}, WRITTEN),
    "Esm": (
        SMALL | {"vocab_size": 40, "pad_token_id": 0, "max_position_embeddings": 64},
        {"input_ids": tokens(N, 2), "attention_mask": torch.ones(2, N, dtype=torch.long)},
    ),
    "CLIP": (
        {
            "text_config": SMALL | {"vocab_size": 40, "eos_token_id": 2, "projection_dim": 16},
            "vision_config": SEEN | {"projection_dim": 16},
            "projection_dim": 16,
        },
        {"input_ids": tokens(N, 2), **PIXELS},
    ),
}
# Text among which images stand: the model, how many tokens one takes, and what its configuration has besides.
TOGETHER = {
    "Llava": (16, {"text_config": TEXT | {"model_type": "llama"}, "image_token_index": IMAGE}),
    "PaliGemma": (
        16,
        {"text_config": TEXT | {"model_type": "gemma"}, "projection_dim": 32, "image_token_index": IMAGE},
    ),
    "Gemma3": (4, {"text_config": TEXT | WINDOWS, "mm_tokens_per_image": 4, "image_token_index": IMAGE}),
}
SEEN_BY = {"Llava": "clip_vision_model", "PaliGemma": "siglip_vision_model", "Gemma3": "siglip_vision_model"}


@pytest.mark.parametrize("kind", ALONE)
def test_of_one_part_or_two(kind: str) -> None:
    sizes, given = ALONE[kind]
    check(randomized(getattr(tf, f"{kind}Model"), getattr(tf, f"{kind}Config")(**sizes)), **given)


@pytest.mark.parametrize("kind", TOGETHER)
def test_images_among_text(kind: str) -> None:
    count, sizes = TOGETHER[kind]
    config = getattr(tf, f"{kind}Config")(**sizes, vision_config=SEEN | {"model_type": SEEN_BY[kind]})
    ids = tokens(N, 2).clamp(max=IMAGE - 1)
    ids[:, 2 : 2 + count] = IMAGE
    kinds = {"token_type_ids": (ids == IMAGE).long()} if kind == "Gemma3" else {}
    check(randomized(getattr(tf, f"{kind}ForConditionalGeneration"), config), input_ids=ids, **kinds, **PIXELS)
