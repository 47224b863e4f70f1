"""Configurations of Hugging Face's transformers as .spat text, by `model_type`."""

from __future__ import annotations

from collections.abc import Callable

from sparsec.importers import alibi, decoders, encoders
from sparsec.importers.caps import with_cap
from sparsec.importers.fields import Fields, wrong
from sparsec.source import Source
from sparsec.syntax.format.layout import lay_out

_CAUSAL = ("llama", "gemma")  # without any field that says so
_OTHERS: dict[str, Callable[[Fields, int, int | None], str]] = {
    "longformer": lambda fields, tokens, seed: encoders.longformer(fields, tokens),
    "led": lambda fields, tokens, seed: encoders.led(fields, tokens),
    "big_bird": lambda fields, tokens, seed: encoders.big_bird(fields, seed),
    "bigbird_pegasus": lambda fields, tokens, seed: encoders.bigbird_pegasus(fields, seed),
    "longt5": lambda fields, tokens, seed: encoders.longt5(fields),
    "moonshine_streaming_encoder": lambda fields, tokens, seed: encoders.moonshine_streaming(fields),
}
_ALIBI = {"bloom": alibi.bloom, "mpt": alibi.mpt}
KNOWN = (*_CAUSAL, *_ALIBI, *decoders.MODELS, *_OTHERS)
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
    """The text of a model of KNOWN, or of one that contains it.

    Raises where scores are other than q k^T times a scale, unless the caller asks for the pairs alone.
    """
    fields = Fields(config, f"a transformers config of type {model_type}")
    if model_type in _WITHIN:
        inner = fields.value(_WITHIN[model_type])
        kind = f"{model_type}_{_WITHIN[model_type].removesuffix('_config')}"
        remark = f"# The {kind} of a {model_type} configuration."
        if kind.endswith("_text"):
            remark += "  Tokens of an image may also see each other, which depends on the data."
        return f"{remark}\n" + text(inner, kind, global_tokens, seed, pairs_only)
    cap, scores = decoders.cap_of(fields, model_type), _other_scores(fields, model_type)
    if scores and not pairs_only:
        hint = f"`from_config(config, pairs_only=True)` gives which keys a query sees; {_CURES[model_type]}"
        raise wrong(fields.kind, f"{scores}, which no pattern does", hint)
    if cap is not None and pairs_only:
        cap, scores = None, f"scores are capped, `{cap} * tanh(score / {cap})`"
    remark = f"# The pairs alone: {scores}, which this pattern does not do.\n" if scores else ""
    if model_type in _ALIBI:
        written = _ALIBI[model_type](fields, pairs_only)
    elif model_type in _CAUSAL:
        written = _causal(fields, model_type)
    elif model_type in decoders.MODELS:
        written = decoders.text(fields, model_type)
    else:
        written = _OTHERS[model_type](fields, global_tokens, seed)
    fields.refuse_misspelt()
    return remark + (written if cap is None else lay_out(Source(model_type, with_cap(written, cap))))


_CURES = {
    "gpt_oss": "with it `out * sigmoid(lse - sink)` is exact, and what `sparsec.transformers` does",
    "longt5": "it is no attention without the bias",
}


def _other_scores(fields: Fields, model_type: str) -> str | None:
    """What a model does to its scores but to scale them."""
    if model_type == "longt5":
        return "scores have a bias by relative position"
    return decoders.MODELS[model_type].scores(fields) if model_type in decoders.MODELS else None


def _causal(fields: Fields, name: str) -> str:
    decoders.refuse_bidirectional(fields)
    return fields.comment("Every layer sees all of the past.") + f"pattern {name} =\n    causal\n"


def is_known(model_type: object) -> bool:
    return model_type in KNOWN or model_type in _WITHIN
