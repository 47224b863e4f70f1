"""A pattern of one's own in a model of transformers."""

from __future__ import annotations

import copy
import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from sparsec.diagnostics import PatternWarning, SparsecError
from sparsec.runtime.attend import Attend
from sparsec.runtime.load import compile, load
from sparsec.transformers.closures import MOST_POSITIONS
from sparsec.transformers.layers import LayerPattern, configured
from sparsec.transformers.patterns import is_causal, oldest_key
from sparsec.transformers.refusal import refusal


def use(
    model: PreTrainedModel, pattern: str | os.PathLike[str] | Attend | None = None, /, **keywords: Any
) -> PreTrainedModel:
    """Let every layer of a model attend by a pattern of yours, in training and in `generate`; returns the model.

        sparsec.transformers.use(model, "mine.spat", w=4096)
        sparsec.transformers.use(model, "pattern p(w = 512) = sinks(4) | past(w)", w=256)

    `pattern` is a text or the path of a .spat file, compiled for each layer with `layer`, `layers` and the keywords of
    `sparsec.compile`, or an operator for all layers.  `model.save_pretrained` writes it to config.json, and a model
    that is loaded from there with `attn_implementation="sparsec"` has it again; without `pattern`, `use` compiles what
    the configuration says at once, which a model under `torch.compile` needs.

    The model gets a configuration of its own.  Where a window or chunks of it keep fewer keys than the pattern sees,
    they are widened there, so that its caches keep what is needed; a PatternWarning says so.

    Raises SparsecError for models of encoder and decoder, where one pattern would stand for three kinds of attention,
    and for models without layers of attention that can be replaced; ValueError for patterns that read data of a call.
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"use() takes a model of transformers, got {type(model).__name__}")
    if not isinstance(pattern, str | os.PathLike | Attend | None):
        raise TypeError(f"use() takes a text, a path or an operator for a pattern, got {type(pattern).__name__}")
    if model.config.is_encoder_decoder:
        raise refusal("patterns for encoder, decoder and between", "call `use` for its encoder alone", model)
    _own_configuration(model)
    config = model.config.get_text_config()
    layers = list(attention_layers(model))
    model.set_attn_implementation("sparsec")
    if not layers or config._attn_implementation != "sparsec":
        hint = "transformers replaces attention in models that ask for it; `sparsec.nn.Attend` goes into any module"
        raise refusal("attention of its own", hint, model)
    if pattern is None:
        if getattr(config, "sparsec", None) is None:
            raise TypeError("use() takes a pattern where the configuration of the model has none")
        by_layer = {layer: configured(config, layer) for layer, _ in layers}
    else:
        config.sparsec, by_layer = _compiled(pattern, config, [layer for layer, _ in layers], keywords)
    for layer, module in layers:
        module.sparsec_pattern = by_layer[layer]
    _widen(config, list(by_layer.values()))
    return model


def attention_layers(model: PreTrainedModel) -> Iterator[tuple[int, nn.Module]]:
    """The modules of a model's text part that call an attention function, each with the number of its layer."""
    config = model.config.get_text_config()
    for name, module in model.named_modules():
        if getattr(module, "config", None) is config and "get_interface" in _names(type(module).forward):
            in_name = [int(part) for part in name.split(".") if part.isdigit()]
            yield getattr(module, "layer_idx", in_name[-1] if in_name else 0), module


def _names(function: Any) -> tuple[str, ...]:
    """The names that a function reads, whatever is wrapped around it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_names if code else ()


def _own_configuration(model: PreTrainedModel) -> None:
    """A copy of the configuration, which models may share, in all parts of the model."""
    copies: dict[int, Any] = {}
    copy.deepcopy(model.config, copies)
    for module in model.modules():
        config = getattr(module, "config", None)
        if isinstance(config, PreTrainedConfig) and id(config) in copies:
            module.config = copies[id(config)]


def _compiled(
    pattern: str | os.PathLike[str] | Attend, config: PreTrainedConfig, layers: list[int], keywords: dict[str, Any]
) -> tuple[dict[str, Any] | None, dict[int, LayerPattern]]:
    """What the configuration keeps of a pattern, and the pattern of each layer."""
    kept: dict[str, Any]
    if isinstance(pattern, Attend):
        if keywords:
            raise TypeError(f"an operator is bound already; {', '.join(keywords)} belongs to its compilation")
        bound = pattern.pattern
        kept = {"text": bound.text, "parameters": dict(bound.parameters)}
        kept |= {"heads": bound.heads} if bound.heads else {}
        by_layer = dict.fromkeys(layers, LayerPattern(pattern))
    else:
        made: Callable[..., Attend] = load if _is_path(pattern) else compile
        count = config.num_hidden_layers
        by_layer = {layer: LayerPattern(made(pattern, layer=layer, layers=count, **keywords)) for layer in layers}
        kept = {"text": Path(pattern).read_text(encoding="utf-8") if _is_path(pattern) else pattern, **keywords}
    return (kept if _repeats(kept, by_layer, config) else None), by_layer


def _is_path(pattern: str | os.PathLike[str]) -> bool:
    return isinstance(pattern, os.PathLike) or pattern.endswith(".spat")


def _repeats(kept: dict[str, Any], by_layer: dict[int, LayerPattern], config: PreTrainedConfig) -> bool:
    """Whether the text alone gives the same patterns again; a warning where it needs other files."""
    given = {name: value for name, value in kept.items() if name != "text"}
    try:
        for layer, own in by_layer.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PatternWarning)  # they have been said
                again = compile(kept["text"], layer=layer, layers=config.num_hidden_layers, **given)
            if _meaning(again) != _meaning(own.attend):
                raise ValueError
    except (SparsecError, ValueError, TypeError):
        said = "its text needs other files or declarations: save_pretrained can't keep the pattern"
        warnings.warn(said, PatternWarning, stacklevel=4)
        return False
    return True


def _meaning(attend: Attend) -> tuple:
    """What a pattern does, whatever it is called."""
    nodes = attend.pattern.nodes
    return nodes.conditions, nodes.head_conditions, nodes.scores


def _widen(config: PreTrainedConfig, patterns: list[LayerPattern]) -> None:
    """Windows and chunks of a configuration that keep fewer keys than the patterns see are made to keep these."""
    nodes = [own.attend.pattern.nodes for own in patterns]
    ages = [oldest_key(each) if is_causal(each) else None for each in nodes]
    least = MOST_POSITIONS if None in ages else max(age for age in ages if age is not None)
    changed = []
    for name, wanted in (("sliding_window", least), ("attention_chunk_size", MOST_POSITIONS)):
        before = getattr(config, name, None)
        if before is not None and before < wanted:
            setattr(config, name, wanted)
            changed.append(f"{name} {before} -> {wanted}")
    if changed:
        said = f"the pattern sees keys that caches would drop: in the model's configuration, {', '.join(changed)}"
        warnings.warn(said, PatternWarning, stacklevel=3)
