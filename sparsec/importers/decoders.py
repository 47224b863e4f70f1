"""Models of transformers whose layers see all of the past, a window of it, or the past of their own chunk.

One reader for all: `layer_types` says what each layer is, `sliding_window` and `attention_chunk_size` how far it sees.
Where a configuration lists no types, as older files do not, each kind of model has a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sparsec.importers.fields import Fields, wrong
from sparsec.importers.layers import by_layer

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
_OLD_NAMES = {"attention": FULL, "mamba": "linear_attention"}
_NO_ATTENTION = ("linear_attention", "conv", "moe")

Rule = Callable[[Fields, int], Sequence[str]]


@dataclass(frozen=True)
class Model:
    """`rule` gives the types of layers where none are listed; `window` is the field that a window's width is in."""

    rule: Rule | None = None
    causal: bool = True
    window: str = "sliding_window"
    sinks: bool = False  # each head has a learned one


def _every(period: int, *names: str, first: int = 1) -> Rule:
    """Every `period`-th layer is full, where a field of one of these names does not say another number."""

    def rule(fields: Fields, layers: int) -> list[str]:
        given = next((name for name in names if fields.value(name, None) is not None), None)
        every = fields.integer(given) if given else period
        return [SLIDING if (layer + first) % every else FULL for layer in range(layers)]

    return rule


def _alike(fields: Fields, layers: int) -> list[str]:
    """All layers have the window, or none."""
    return [FULL if fields.value("sliding_window") is None else SLIDING] * layers


def _flagged(fields: Fields, layers: int) -> list[str]:
    return _alike(fields, layers) if _has_window(fields) else [FULL] * layers


def _has_window(fields: Fields) -> bool:
    if not fields.flag("use_sliding_window"):
        fields.value("sliding_window", None)  # a width that is not used is no misspelt field
        return False
    return fields.value("sliding_window") is not None


def _from_layer(default: int, flagged: bool = True) -> Rule:
    """The first `max_window_layers` see all of the past (Qwen2)."""

    def rule(fields: Fields, layers: int) -> list[str]:
        if not (_has_window(fields) if flagged else fields.value("sliding_window") is not None):
            return [FULL] * layers
        first = fields.integer("max_window_layers", default, least=0)
        return [SLIDING if layer >= first else FULL for layer in range(layers)]

    return rule


def _qwen2_moe(fields: Fields, layers: int) -> list[str]:
    if not _has_window(fields):
        return [FULL] * layers
    end = fields.integer("max_window_layers", 28, least=0)
    return [SLIDING if layer % 2 == 0 and layer < end else FULL for layer in range(layers)]


def _rotated(fields: Fields, layers: int) -> list[int]:
    """1 for each layer with rotary embeddings, 0 for those without."""
    if fields.value("no_rope_layers", None):
        return fields.integers("no_rope_layers", least=0)
    every = fields.integer("no_rope_layer_interval", 4)
    return [int((layer + 1) % every != 0) for layer in range(layers)]


def _smollm3(fields: Fields, layers: int) -> list[str]:
    if not _has_window(fields):
        return [FULL] * layers
    return [FULL if rotated else SLIDING for rotated in _rotated(fields, layers)]


def _llama4(fields: Fields, layers: int) -> list[str]:
    if fields.value("attention_chunk_size") is None:
        return [FULL] * layers
    return [CHUNKED if rotated else FULL for rotated in _rotated(fields, layers)]


def _exaone4(fields: Fields, layers: int) -> Sequence[str]:
    if fields.value("sliding_window") is None:
        return [FULL] * layers
    return _every(4, "sliding_window_pattern")(fields, layers)


def _lfm2(fields: Fields, layers: int) -> list[str]:
    full = fields.value("full_attn_idxs")
    full = range(layers) if full is None else fields.integers("full_attn_idxs", least=0)
    return [FULL if layer in full else "conv" for layer in range(layers)]


def _recurrent_gemma(fields: Fields, layers: int) -> list[str]:
    types = fields.value("block_types", ("recurrent", "recurrent", "attention"))
    return ["linear_attention" if types[layer % len(types)] == "recurrent" else SLIDING for layer in range(layers)]


def _gpt_neo(fields: Fields, layers: int) -> list[str]:
    found = [kind for kinds, times in fields.value("attention_types") for _ in range(times) for kind in kinds]
    if len(found) != layers or not set(found) <= {"global", "local"}:
        raise wrong(fields.kind, f"`attention_types` is {found}", "known are global and local, one for each layer")
    return [SLIDING if kind == "local" else FULL for kind in found]


def cap_of(fields: Fields, model_type: str) -> float | None:
    """The cap of a model's scores."""
    if model_type not in _CAPPED:
        return None
    cap = fields.value("attn_logit_softcapping", 50.0)  # a file that leaves it out means transformers' default
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 < cap < 1e9):
        raise wrong(fields.kind, f"`attn_logit_softcapping` is {cap!r}", "it is a number above 0, or None")
    return None if cap is None else float(cap)


_CAPPED = ("gemma2", "vaultgemma")

MODELS: dict[str, Model] = {
    **dict.fromkeys(("ministral", "mistral", "ministral3", "mixtral", "phi3", "phimoe", "starcoder2"), Model(_alike)),
    **dict.fromkeys(("qwen2", "qwen3"), Model(_from_layer(28))),
    "qwen2_moe": Model(_qwen2_moe),
    "qwen3_moe": Model(_flagged),
    "dots1": Model(_from_layer(62, flagged=False)),
    **dict.fromkeys(_CAPPED, Model(_every(2))),
    "gemma3_text": Model(_every(6, "sliding_window_pattern", "_sliding_window_pattern")),
    "gemma3n_text": Model(_every(5)),
    "gemma4_text": Model(_every(6)),
    "gpt_oss": Model(_every(2), sinks=True),
    "cohere2": Model(_every(4, "sliding_window_pattern", "_sliding_window_pattern")),
    "olmo3": Model(_every(4)),
    "afmoe": Model(_every(4, "global_attn_every_n_layers")),
    "exaone4": Model(_exaone4),
    "smollm3": Model(_smollm3),
    "llama4_text": Model(_llama4),
    "lfm2": Model(_lfm2),
    "modernbert": Model(_every(3, "global_attn_every_n_layers", first=0), causal=False, window="local_attention"),
    "recurrent_gemma": Model(_recurrent_gemma, window="attention_window_size"),
    "gpt_neo": Model(_gpt_neo, window="window_size"),
    **dict.fromkeys(("cohere2_moe", "cwm", "exaone_moe", "lfm2_moe", "olmo_hybrid", "qwen3_next"), Model()),
}
_ONE_KIND = ("mistral", "ministral3", "mixtral", "phi3", "phimoe", "starcoder2", "qwen3_moe")  # they list no types


def text(fields: Fields, model_type: str) -> str:
    """The text of a model of MODELS."""
    model, name = MODELS[model_type], model_type.removesuffix("_text")
    if model.causal:
        refuse_bidirectional(fields)
    types = _types(fields, model_type, model)
    parameters, remarks = [], []
    bodies: dict[str, str | None] = dict.fromkeys(_NO_ATTENTION)
    bodies[FULL] = "causal" if model.causal else "full"
    if SLIDING in types:
        parameters.append(f"w = {fields.integer(model.window)}")
        bodies[SLIDING] = "past(w)" if model.causal else "window(w)"
        remarks.append(
            f"The query's own position is one of the keys in the window: q - k < {model.window}."
            if model.causal
            else f"A window has {model.window} // 2 keys on each side."
        )
    if CHUNKED in types:
        parameters.append(f"c = {fields.integer('attention_chunk_size')}")
        bodies[CHUNKED] = "causal & same_block(c)"
    if unknown := sorted(set(types) - set(bodies)):
        hint = f"known are {', '.join(bodies)}, one for each of num_hidden_layers"
        raise wrong(fields.kind, f"`layer_types` has {unknown[0]!r}", hint)
    chosen = [bodies[kind] for kind in types]
    if not any(chosen):
        raise wrong(fields.kind, "none of its layers has attention")
    if len(set(chosen) - {None}) > 1:
        remarks.append("Where layers differ it is compiled with `layer=`, counted from 0.")
    if None in chosen:
        without = sorted({kind for kind in types if bodies[kind] is None})
        remarks.append(f"Layers of type {', '.join(without)} have no attention, but count.")
    if set(chosen) == {bodies[FULL]}:
        remarks.append(f"Every layer sees all{' of the past' if model.causal else ''}.")
    head = f"pattern {name}({', '.join(parameters)})" if parameters else f"pattern {name}"
    return fields.comment(*remarks) + by_layer(head, chosen)


def _types(fields: Fields, model_type: str, model: Model) -> list[str]:
    """What each layer is."""
    listed = fields.value("layer_types", None)
    if listed is not None and model_type in _ONE_KIND:
        hint = 'layers that differ are `model_type` "ministral"\'s' if model_type.startswith("mi") else ""
        raise wrong(fields.kind, "its layers are all alike: it has no `layer_types`", hint)
    if model_type in _ONE_KIND and model.rule is not None:
        return list(model.rule(fields, 1))
    layers = fields.integer("num_layers" if model_type == "gpt_neo" else "num_hidden_layers")
    if listed is not None:
        types = [_OLD_NAMES.get(each, each) for each in listed]
    elif model.rule is not None:
        types = list(model.rule(fields, layers))
    else:
        raise wrong(fields.kind, "it has no `layer_types`", "a configuration object of transformers has them")
    if len(types) != layers:
        raise wrong(fields.kind, f"`layer_types` is {types}", f"there is one for each of {layers} layers")
    if model_type == "gemma4_text":
        types[-1] = FULL  # whatever is listed
    return types


def refuse_bidirectional(fields: Fields) -> None:
    if fields.value("is_causal", None) is False:
        raise wrong(
            fields.kind, "with `is_causal` false its layers are no decoder's", "write `full`, `abs(q - k) <= w`"
        )
    if fields.value("use_bidirectional_attention", None) not in (None, False, "vision"):
        raise wrong(
            fields.kind,
            "with `use_bidirectional_attention` its window counts differently from version to version",
            "write `abs(q - k) < w` for the layers with a window, `full` for the others",
        )
