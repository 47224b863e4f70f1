"""Which pattern the layers of a served model have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sparsec.analysis.facts import is_causal
from sparsec.analysis.retention import Retention, retention
from sparsec.diagnostics import ModelAsksMore, SparsecError
from sparsec.importers.caps import with_cap
from sparsec.ir import nodes as ir
from sparsec.lower.file import lower
from sparsec.runtime.attend import Attend
from sparsec.runtime.load import compile
from sparsec.source import Source
from sparsec.syntax.parse import parse


@dataclass(frozen=True)
class Served:
    """A .spat text for all layers of a model; `keywords` of `sparsec.compile`, in order."""

    text: str
    layers: int
    keywords: tuple[tuple[str, Any], ...] = ()

    def layer(self, number: int) -> Attend:
        """The operator of one layer.  SparsecError for patterns whose rows depend on how a text is cut into steps."""
        return _compiled(self, number)

    def retention(self) -> Retention:
        """What of a cache some layer still needs."""
        return retention(*dict.fromkeys(self.layer(number).pattern.nodes for number in range(self.layers)))


@cache
def _compiled(served: Served, number: int) -> Attend:
    attend = compile(served.text, layer=number, layers=served.layers, **dict(served.keywords))
    nodes = attend.pattern.nodes
    if nodes.inputs or nodes.score_inputs or nodes.choice_inputs:
        raise refused("data of the call in a pattern", "vLLM passes none: say it by positions")
    if not all(map(is_causal, nodes.conditions)):
        raise refused("a pattern that sees later keys", "tokens are written one after the other: add `& causal`")
    if any("n" in ir.names(condition) for condition in nodes.conditions):
        raise refused("a pattern that names `n`", "rows have to see the same keys in a prompt and step by step")
    return attend


def served(vllm_config: Any) -> Served:
    """The pattern of `additional_config`, or else of the model's configuration.  SparsecError where neither has one."""
    config = vllm_config.model_config.hf_text_config
    asked = vllm_config.additional_config
    found = asked.get("sparsec") if isinstance(asked, Mapping) else None
    found = getattr(config, "sparsec", None) if found is None else found
    if not isinstance(found, Mapping) or not isinstance(found.get("text"), str):
        hint = '`--additional-config \'{"sparsec": {"text": "pattern p = past(4096)"}}\'` names one'
        raise refused("a pattern, and has none", hint)
    keywords = {name: value for name, value in found.items() if name != "text"}
    if isinstance(keywords.get("parameters"), Mapping):  # as `sparsec.transformers.use` writes those of an operator
        keywords |= keywords.pop("parameters")
    return Served(found["text"], config.num_hidden_layers, tuple(sorted(keywords.items())))


def has_cap(pattern: ir.Pattern, cap: float) -> bool:
    """Whether the scores of every head are those of attention, capped at `cap`, and nothing else."""
    wanted = lower(parse(Source("capped", with_cap("pattern capped =\n    causal\n", cap)))).score(0)
    return all(pattern.score(index) == wanted for index in range(len(pattern.conditions)))


def refused(asked: str, hint: str) -> SparsecError:
    """The error for what vLLM asks of attention, or a pattern of vLLM."""
    return SparsecError(ModelAsksMore(where="vLLM", asked=asked, hint=hint))
