"""The one way to refuse what a model asks of an attention function."""

from __future__ import annotations

from sparsec.diagnostics import ModelAsksMore, SparsecError

EAGER = '`attn_implementation="eager"` does it'


def refusal(asked: str, hint: str, module: object = None) -> SparsecError:
    """The error for something that a model's layer asks for, or that its mask needs."""
    where = "the model's mask"
    if module is not None:
        layer = getattr(module, "layer_idx", None)
        where = type(module).__name__ + (f" of layer {layer}" if layer is not None else "")
    return SparsecError(ModelAsksMore(where=where, asked=asked, hint=hint))
