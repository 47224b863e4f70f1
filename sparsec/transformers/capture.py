"""Queries and keys of a model's layers, written down as `sparsec fit` reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparsec.transformers.models import attention_layers
from sparsec.transformers.refusal import refusal


@torch.no_grad()
def capture(
    model: PreTrainedModel,
    batch: Tensor | Mapping[str, Any],
    path: str | os.PathLike[str] = "captured.safetensors",
) -> Path:
    """Write queries and keys of each layer to a file for `sparsec fit`, as they enter attention; returns its path.

        sparsec.transformers.capture(model, tokenizer(texts, return_tensors="pt"))

    Runs the model once on the batch, arguments by name, or its main input alone, such as tokens [B, n].  The model
    attends as it does otherwise, without dropout.  The file has `layers.I.q` [B, H, n, D] and `layers.I.k`
    [B, H_kv, n, D] for layer I, after rotary embeddings, in the model's type, D filled up with zeros to what operators
    take; its metadata has `layers.I.scale`, `layers.I.name`, the module, and `layers.I.softcap` where scores have one.
    All of it is held in memory, on the host.

    Raises SparsecError for models of encoder and decoder, for rows with padding or several documents, which dense
    attention over the file would join, and for layers whose scores are not those of their queries and keys.
    """
    if model.config.is_encoder_decoder:
        raise refusal("queries and keys of encoder, decoder and between", "capture those of its encoder alone", model)
    given = dict(batch) if isinstance(batch, Mapping) else {model.main_input_name: batch}
    _refuse_several_texts(model, given)
    names = {id(module): name for name, module in model.named_modules()}
    layers = {id(module): layer for layer, module in attention_layers(model)}
    tensors: dict[str, Tensor] = {}
    about: dict[str, str] = {"model": type(model).__name__}

    def seen(
        implementation: str,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        scaling: float | None,
        others: Mapping[str, Any],
    ) -> None:
        if id(module) not in layers:  # another part of the model
            return
        name = f"layers.{layers[id(module)]}"
        if f"{name}.q" in tensors:
            hint = "capture what a forward pass does once, of a model whose layers have numbers of their own"
            raise refusal("to be captured, and so did a layer of the same number", hint, module)
        for each in ("position_bias", "indices", "block_indices"):
            if others.get(each) is not None:
                raise refusal(f"`{each}`, so that more than queries and keys decides", "leave the layer dense", module)
        tensors[f"{name}.q"], tensors[f"{name}.k"] = _fitting(query), _fitting(key)
        about[f"{name}.name"] = names[id(module)]
        about[f"{name}.scale"] = repr(float(query.shape[-1] ** -0.5 if scaling is None else scaling))
        if others.get("softcap") is not None:
            about[f"{name}.softcap"] = repr(float(others["softcap"]))

    training = model.training
    try:
        model.eval()
        with told_of_attention(seen):
            model(**given)
    finally:
        model.train(training)
    if not tensors:
        hint = "a model that asks transformers' attention interface is captured; others write the file themselves"
        raise refusal("attention of its own", hint, model)
    save_file(tensors, path, metadata=about)
    return Path(path)


def _refuse_several_texts(model: PreTrainedModel, given: Mapping[str, Any]) -> None:
    padding, positions = given.get("attention_mask"), given.get("position_ids")
    hint = "rows of a batch are texts of one length, each alone in its row"
    if padding is not None and not bool(torch.as_tensor(padding).all()):
        raise refusal("padding", hint, model)
    places = None if positions is None else torch.as_tensor(positions)  # images have some of three dimensions
    restart = places is not None and places.dim() < 3 and bool((places.diff(dim=-1) != 1).any())
    if restart or given.get("cu_seq_lens_q") is not None:
        raise refusal("packed rows", hint, model)


@contextmanager
def told_of_attention(seen: Callable[..., None]) -> Iterator[None]:
    """Whatever attention function a module asks for, `seen` is told which, of what, before it is called."""

    def get_interface(implementation: str, default: Callable) -> Callable:
        function = type(ALL_ATTENTION_FUNCTIONS).get_interface(ALL_ATTENTION_FUNCTIONS, implementation, default)

        def told(module: nn.Module, query: Tensor, key: Tensor, *more: Any, **others: Any) -> Any:
            seen(implementation, module, query, key, others.get("scaling", more[2] if len(more) > 2 else None), others)
            return function(module, query, key, *more, **others)

        return told

    ALL_ATTENTION_FUNCTIONS.get_interface = get_interface
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS.get_interface


def _fitting(x: Tensor) -> Tensor:
    """On the host, with columns of zeros so that operators take it; products stay what they are."""
    size = max(16, x.shape[-1])
    size += -size % 8
    return pad(x.detach(), (0, size - x.shape[-1])).cpu().contiguous()
