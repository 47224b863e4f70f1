"""A pattern of the user's in a layer of a model."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from transformers import PreTrainedConfig

from sparsec.diagnostics import PatternWarning
from sparsec.importers.caps import applied_cap, with_cap
from sparsec.ir import nodes as ir
from sparsec.runtime.attend import Attend
from sparsec.runtime.load import compile
from sparsec.transformers.patterns import is_causal, oldest_key, pattern, pattern_of, relation_to

_numbers: dict[ir.Pattern, int] = {}
_patterns: list[ir.Pattern] = []
_within: set[tuple[int, int]] = set()  # numbers of patterns, and of mask functions that they were found to lie within
_ahead: set[int] = set()  # numbers of patterns of which it was said that they look ahead


class LayerPattern:
    """An operator that a layer attends by, in place of the model's mask.  It is copied and pickled with the model."""

    def __init__(self, attend: Attend) -> None:
        """ValueError for a pattern that reads data of a call, which models do not hand on."""
        self.attend = attend
        nodes = attend.pattern.nodes
        for each in (*nodes.inputs, *nodes.score_inputs, *nodes.choice_inputs):
            if not each.choice:
                cure = "say it by positions, or call attend(q, k, v, ...) in a module of your own"
                raise ValueError(f"[SP0620] models hand no data on, and the pattern reads `{each.name}`: {cure}")
        if nodes not in _numbers:
            _patterns.append(nodes)
            _numbers[nodes] = len(_patterns) - 1
        self.number = _numbers[nodes]  # torch.compile takes an integer for a constant

    def __deepcopy__(self, memo: dict) -> LayerPattern:
        return self

    def __reduce__(self) -> tuple:
        return LayerPattern, (self.attend,)


def layer_pattern(module: nn.Module) -> LayerPattern | None:
    """The pattern that `use` gave to a layer, or that the configuration of a saved model has for it."""
    own = getattr(module, "sparsec_pattern", None)
    if own is None and getattr(getattr(module, "config", None), "sparsec", None) is not None:
        own = module.sparsec_pattern = _configured(module)
    return own


@torch.compiler.disable(reason="a pattern is compiled here: call sparsec.transformers.use(model) before")
def _configured(module: nn.Module) -> LayerPattern:
    return configured(module.config, module.layer_idx)


def configured(config: PreTrainedConfig, layer: int) -> LayerPattern:
    """The pattern of one layer, from `sparsec` of a configuration: the text, and keywords of `sparsec.compile`."""
    given = dict(config.sparsec)
    text = given.pop("text")
    return LayerPattern(compile(text, layer=layer, layers=config.num_hidden_layers, **given))


@torch.compiler.assume_constant_result
def problem(own: int, model: int, kept: int, cap: float | None) -> tuple[str, str] | None:
    """What a layer asks for that the pattern `own` does not do, and the cure; None where it does all of it.

    `model` is the number of the model's mask.  A plain one, all of the past or all, leaves it to the pattern what is
    seen; within any other the pattern has to lie.  `kept`: how many keys before the queries a cache still has that
    dropped others, -1 where it dropped none.  `cap`: of scores.
    """
    nodes, found = _patterns[own], pattern(model)
    if found.is_causal and own not in _ahead and not is_causal(nodes):
        _ahead.add(own)
        said = "queries see later keys, where the model's own mask is causal: if that is not meant, add `& causal`"
        warnings.warn(said, PatternWarning, stacklevel=2)
    if not found.is_plain and (own, model) not in _within:
        outside = relation_to(nodes, found.nodes).only_a
        if outside.status != "none":
            pair = f", such as query {outside.pair.q} and key {outside.pair.k}" if outside.pair else ""
            hint = f"the pattern keeps pairs outside of it{pair}: set what narrows it in the configuration to None"
            return f"the mask `{found.condition}` of its own", hint
        _within.add((own, model))
    if kept >= 0:
        age = oldest_key(nodes)
        if age is None or age > kept + 1:
            needs = "may see any" if age is None else f"sees the last {age}"
            return f"a cache that dropped all but {kept} keys", f"its pattern {needs}: pass `DynamicCache()`"
    if cap is not None:
        wanted = pattern_of(with_cap("pattern mask =\n    causal\n", cap)).score(0)
        if any(nodes.score(index) != wanted for index in range(len(nodes.conditions))):
            hint = f"say it in the pattern, `... {applied_cap(cap)}`, or set `attn_logit_softcapping` to None"
            return f"scores capped at {cap:g}, which its pattern does not do", hint
    return None
