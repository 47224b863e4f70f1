"""Configurations of Hugging Face's transformers as .spat text, by `model_type`."""

from __future__ import annotations

from collections.abc import Callable

from sparsec.importers import alibi, decoders, encoders, relative
from sparsec.importers.caps import with_cap
from sparsec.importers.fields import Fields
from sparsec.source import Source
from sparsec.syntax.format.layout import lay_out

_CAUSAL = ("llama", "gemma")  # without any field that says so
_OTHERS: dict[str, Callable[[Fields, int, int | None], str]] = {
    "longformer": lambda fields, tokens, seed: encoders.longformer(fields, tokens),
    "led": lambda fields, tokens, seed: encoders.led(fields, tokens),
    "big_bird": lambda fields, tokens, seed: encoders.big_bird(fields, seed),
    "bigbird_pegasus": lambda fields, tokens, seed: encoders.bigbird_pegasus(fields, seed),
    "moonshine_streaming_encoder": lambda fields, tokens, seed: encoders.moonshine_streaming(fields),
}
_ALIBI = {"bloom": alibi.bloom, "mpt": alibi.mpt}
_T5 = ("t5", "mt5", "umt5")
KNOWN = (*_CAUSAL, *_ALIBI, *_T5, "longt5", *decoders.MODELS, *_OTHERS)
WITH_GLOBAL_TOKENS = ("longformer", "led")
# Configurations of several models, and the part that is known.
_WITHIN = {
    "gemma3": "text_config",
    "gemma3n": "text_config",
    "gemma4": "text_config",
    "llama4": "text_config",
    "moonshine_streaming": "encoder_config",
}


def text(config: object, model_type: str, global_tokens: int, seed: int | None, pairs_only: bool) -> str:
    """The text of a model of KNOWN, or of one that contains it; with `pairs_only` without its scores."""
    fields = Fields(config, f"a transformers config of type {model_type}")
    if model_type in _WITHIN:
        inner = fields.value(_WITHIN[model_type])
        kind = f"{model_type}_{_WITHIN[model_type].removesuffix('_config')}"
        remark = f"# The {kind} of a {model_type} configuration."
        if kind.endswith("_text"):
            remark += "  Tokens of an image may also see each other, which depends on the data."
        return f"{remark}\n" + text(inner, kind, global_tokens, seed, pairs_only)
    cap, alone = decoders.cap_of(fields, model_type), ""
    has_sinks = model_type in decoders.MODELS and decoders.MODELS[model_type].sinks
    if pairs_only and cap is not None:
        cap, alone = None, f"scores are capped, `{cap} * tanh(score / {cap})`"
    elif pairs_only and model_type in (*_T5, "longt5"):
        alone = "scores have a bias by relative position"
    elif pairs_only and has_sinks:
        alone = "each head has a learned sink, one more term below the softmax"
    remark = f"# The pairs alone: {alone}, which this pattern does not do.\n" if alone else ""
    if has_sinks and not pairs_only:
        remark = "# Each head has a learned sink, which is the call's: attend(q, k, v, sinks=sinks).\n"
    if model_type in _ALIBI:
        written = _ALIBI[model_type](fields, pairs_only)
    elif model_type in _T5:
        written = relative.t5(fields, model_type, pairs_only)
    elif model_type == "longt5":
        written = encoders.longt5(fields, pairs_only)
    elif model_type in _CAUSAL:
        written = _causal(fields, model_type)
    elif model_type in decoders.MODELS:
        written = decoders.text(fields, model_type)
    else:
        written = _OTHERS[model_type](fields, global_tokens, seed)
    fields.refuse_misspelt()
    return remark + (written if cap is None else lay_out(Source(model_type, with_cap(written, cap))))


def _causal(fields: Fields, name: str) -> str:
    decoders.refuse_bidirectional(fields)
    return fields.comment("Every layer sees all of the past.") + f"pattern {name} =\n    causal\n"


def is_known(model_type: object) -> bool:
    return model_type in KNOWN or model_type in _WITHIN
