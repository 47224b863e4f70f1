"""`sparsec.from_config`: another program's attention configuration as .spat text."""

from __future__ import annotations

from collections.abc import Mapping

from sparsec.importers import deepspeed, huggingface
from sparsec.importers.fields import wrong

_CLASSES = {  # DeepSpeed's classes and the modes they stand for
    "DenseSparsityConfig": "dense",
    "FixedSparsityConfig": "fixed",
    "VariableSparsityConfig": "variable",
    "BigBirdSparsityConfig": "bigbird",
    "BSLongformerSparsityConfig": "bslongformer",
    "LocalSlidingWindowSparsityConfig": "local_sliding_window",
}
_KNOWN = f"known are model_type {', '.join(huggingface.KNOWN)}; DeepSpeed's mode {', '.join(deepspeed.MODES)}"


def from_config(config: object, *, global_tokens: int = 0, seed: int | None = None, pairs_only: bool = False) -> str:
    """The .spat text of an attention configuration, with the fields that it was made from in comments.

        text = sparsec.from_config(transformers.MistralConfig())
        text = sparsec.from_config({"model_type": "longformer", "attention_window": 512, "num_hidden_layers": 12})
        text = sparsec.from_config({"sparse_attention": {"mode": "fixed", "block": 16}})
        attend = sparsec.compile(text)

    `config` is a configuration of Hugging Face's transformers, for models with windows, chunks or blocks (Mistral,
    Gemma, Qwen, Phi-3, Llama 4, GPT-OSS, ModernBERT, Longformer, BigBird and others; an unknown `model_type` names
    all), the `sparse_attention` part of a DeepSpeed configuration or one of DeepSpeed's SparsityConfig objects;
    objects or dicts, by their fields alone, so that neither library is needed.  Layers that differ make a
    `match layer`.

    `global_tokens`: how many first tokens of Longformer are global, which no configuration says.  `seed`: for
    configurations with random blocks, which are refused without it, since only sparsec's own can be drawn.
    `pairs_only`: take which keys a query sees alone from a model that also changes scores (caps of Gemma 2, biases of
    T5).  Sinks of GPT-OSS are an argument of the call, as the text says.
    Raises SparsecError for other kinds, for missing, wrong and misspelt fields, and for what has no exact form.
    """
    if isinstance(config, Mapping) and "sparse_attention" in config:
        config = config["sparse_attention"]
        if isinstance(config, Mapping):
            config = {"mode": "fixed", **config}  # DeepSpeed's default
    kind, model_type = type(config).__name__, _model_type(config)
    if not isinstance(pairs_only, bool):
        raise ValueError(f"pairs_only is True or False; here it is {pairs_only!r}")
    if global_tokens < 0 or (global_tokens and model_type not in huggingface.WITH_GLOBAL_TOKENS):
        raise ValueError(f"global_tokens is at least 0, and for a Longformer only; here it is {global_tokens}")
    mode = config.get("mode") if isinstance(config, Mapping) else _CLASSES.get(kind)
    if isinstance(mode, str) and mode in deepspeed.MODES:
        return deepspeed.text(config, mode, seed)
    if isinstance(model_type, str) and huggingface.is_known(model_type):
        return huggingface.text(config, model_type, global_tokens, seed, pairs_only)
    shown = next((f"`{each}`" for each in (mode, model_type) if each is not None), f"an object of type {kind}")
    raise wrong(shown, "it is not known here", _KNOWN)


def _model_type(config: object) -> object:
    return config.get("model_type") if isinstance(config, Mapping) else getattr(config, "model_type", None)
