"""A pattern of one's own in a model of transformers."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from sparsec.runtime.attend import Attend
from sparsec.runtime.load import compile
from sparsec.transformers.refusal import refusal


def use(model: PreTrainedModel, pattern: str | Attend, /, **parameters: Any) -> PreTrainedModel:
    """Let every layer of a model attend by `pattern`, in training and in `generate`; returns the model.

        sparsec.transformers.use(model, "pattern p(w = 512) = sinks(4) | past(w)", w=256)

    `pattern` is a text, compiled for each layer with `layer`, `layers` and the keywords of `sparsec.compile`, or an
    operator for all layers.  It takes the place of a mask that shows all of the past (or, in an encoder, all): a
    model whose configuration names a window or chunks keeps no other keys in its cache, so these have to be cleared
    there first, or the call of the model raises SparsecError.  So do models of encoder and decoder, where one pattern
    would stand for three kinds of attention, and models that have no attention to replace.
    """
    if model.config.is_encoder_decoder:
        raise refusal("patterns for encoder, decoder and between", "call `use` for its encoder alone", model)
    layers = {index for module in model.modules() if (index := getattr(module, "layer_idx", None)) is not None}
    model.set_attn_implementation("sparsec")
    if not layers or model.config.get_text_config()._attn_implementation != "sparsec":
        raise refusal("attention of its own", "transformers replaces attention in models that ask for it", model)
    if isinstance(pattern, Attend):
        by_layer = dict.fromkeys(layers, pattern)
    else:
        by_layer = {
            layer: compile(pattern, layer=layer, layers=max(layers) + 1, **parameters) for layer in sorted(layers)
        }
    for module in model.modules():
        if getattr(module, "layer_idx", None) is not None:
            module.sparsec_attend = by_layer[module.layer_idx]
    return model
