"""Masks of a batch that are made before the forward pass, so that a compiled one is a single graph."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import create_masks_for_generate

from sparsec.transformers.models import use
from sparsec.transformers.refusal import refusal


def prepared_masks(
    model: PreTrainedModel,
    tokens: Tensor,
    *,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> Tensor | dict[str, Tensor]:
    """What each kind of layer sees of a batch, to be passed as the model's `attention_mask`.

        compiled = torch.compile(model, fullgraph=True)
        masks = sparsec.transformers.prepared_masks(model, tokens, position_ids=positions)
        loss = compiled(tokens, attention_mask=masks, position_ids=positions, labels=tokens, use_cache=False).loss

    `tokens` [B, n], of which the shape is read, and what the model takes beside them: `attention_mask` [B, n] of ones
    and zeros, or `position_ids` [B, n] that restart where rows are packed.  Of memory O(n).  Patterns that are not yet
    compiled are compiled here.

    Raises SparsecError for models with another attention, and for masks that are no pattern.
    """
    config = model.config.get_text_config()
    if config._attn_implementation != "sparsec":
        hint = '`model.set_attn_implementation("sparsec")`, or `sparsec.transformers.use`'
        raise refusal(f"masks of `{config._attn_implementation}`", hint, model)
    if getattr(config, "sparsec", None) is not None:
        use(model)
    shape_alone = torch.empty((*tokens.shape, 1), dtype=model.dtype, device=tokens.device)
    return create_masks_for_generate(config, shape_alone, attention_mask, None, position_ids=position_ids)
