"""Texts and conditions -> generated modules, imported from a file of their own as users of `sparsec compile` do."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from sparsec.codegen.emit import emit, function_name
from sparsec.ir import nodes, reference
from sparsec.lower.file import Lowered, lower_fully
from sparsec.plan.build import build, ranged, spread
from sparsec.plan.lists import listed
from sparsec.plan.nodes import Contiguous, Group, Region, Variant
from sparsec.plan.program import variant
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.testing.dense_attention import Problem, random_problem
from sparsec.testing.programs import Program
from sparsec.testing.scores import scores_of

EXAMPLES = Path(__file__).parents[2] / "examples"
# Small parameters, so that windows end, strides repeat and blocks are cut within N.
SMALL_PARAMETERS: dict[str, dict[str, int]] = {
    "a_shape": {"s": 6, "w": 20},
    "bigbird": {"b": 8, "w": 3, "g": 2, "r": 2, "seed": 1},
    "bigbird_tokens": {"w": 9, "g": 2, "r": 3, "seed": 1},
    "block_diffusion": {"b": 7, "p": 20},
    "bloom": {},
    "chunked": {"c": 16},
    "deepspeed_fixed": {"b": 4, "w": 4, "g": 1, "patterns": 4},
    "deepspeed_variable": {"b": 4, "r": 2, "seed": 3},
    "dilated_window": {"w": 9, "s": 4},
    "explicit_blocks": {"b": 32},
    "gemma2": {"w": 20, "c": 5},
    "gpt_oss": {"w": 20},
    "hybrid_layers": {"w": 20},
    "local_global": {"w": 20},
    "longformer": {"w": 16, "g": 5},
    "longnet": {"w": 16},
    "longnet_heads": {"w": 16},
    "mistral": {"w": 20},
    "neighbourhood_2d": {"width": 13, "r": 5},
    "per_head_strides": {"w": 12},
    "prefix_lm": {"p": 30},
    "sliding_window": {"w": 16},
    "sparse_transformer_fixed": {"l": 16, "c": 3},
    "sparse_transformer_strided": {"l": 12},
    "streaming_llm": {"s": 4, "w": 20},
}
_FOLDER = tempfile.TemporaryDirectory(prefix="sparsec-tests-")


@cache
def lowered(text: str, heads: int | None = None, layer: int | None = None, **parameters: int) -> Lowered:
    return lower_fully(parse(Source("test", text)), heads=heads, layer=layer, parameters=parameters)


def pattern_of(text: str, heads: int | None = None, layer: int | None = None, **parameters: int) -> nodes.Pattern:
    return lowered(text, heads, layer, **parameters).pattern


def example(name: str, heads: int | None = None, layer: int | None = None, **parameters: int) -> nodes.Pattern:
    return pattern_of((EXAMPLES / f"{name}.spat").read_text(), heads, layer, **parameters)


def random_pattern(program: Program) -> nodes.Pattern:
    """The pattern of a random program; past the language, which refuses those that hold no pair."""
    heads = tuple(range(program.heads)) if program.heads else ()
    return nodes.Pattern("p", "", program.text, (), program.conditions, heads, program.inputs)


@cache
def module_of(pattern: nodes.Pattern) -> ModuleType:
    return _module(emit(build(pattern)))


@cache
def spread_module_of(pattern: nodes.Pattern) -> ModuleType:
    """The module with layouts at every length, also where the contiguous layout is predicted to be cheaper."""
    plan = build(pattern)
    groups = []
    for heads in plan.groups:
        apart = spread(heads.condition, inputs=pattern.inputs)
        groups.append(replace(heads, variants=(_scored(apart, heads),)) if apart else heads)
    return _module(emit(replace(plan, groups=tuple(groups))))


@cache
def spread_listed_module_of(pattern: nodes.Pattern) -> ModuleType:
    """As `spread_module_of`, where all tiles come from lists but those of layouts with tables."""
    plan = build(pattern)
    groups = []
    for heads in plan.groups:
        apart = spread(heads.condition, ranged)
        regions = apart.regions if apart else heads.variants[0].regions
        made = variant([_from_lists(region) for region in regions])
        groups.append(replace(heads, variants=(_scored(made, heads),)))
    return _module(emit(replace(plan, groups=tuple(groups))))


def _scored(made: Variant, heads: Group) -> Variant:
    """Another variant with the score of those that the plan has."""
    return replace(made, score=heads.variants[0].score)


def _from_lists(region: Region) -> Region:
    if region.listed or (region.layout != Contiguous() and nodes.leaves(region.condition)):
        return region
    return replace(region, rows=listed(region.rows), columns=listed(region.columns))


@cache
def listed_module_of(pattern: nodes.Pattern) -> ModuleType:
    """The module in the contiguous layout whose tiles all come from lists, also where ranges are exact."""
    plan = build(pattern, layouts=False, lists=False)
    groups = []
    for heads in plan.groups:
        (each,) = heads.variants
        made = variant([_from_lists(region) for region in each.regions])
        groups.append(replace(heads, variants=(_scored(made, heads),)))
    return _module(emit(replace(plan, groups=tuple(groups))))


def _module(text: str) -> ModuleType:
    name = f"generated_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = Path(_FOLDER.name) / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def attend_of(pattern: nodes.Pattern):
    """The generated function of a pattern."""
    return getattr(module_of(pattern), function_name(pattern.name))


def problem_of(pattern: nodes.Pattern, n_q: int, n_k: int, q_offset: int | None = None, **numbers) -> Problem:
    """A random problem of a pattern, with its mask and its scores; `numbers` as of `random_problem`."""
    queries = np.arange(n_q) + (n_k - n_q if q_offset is None else q_offset)
    scores = scores_of(pattern, pattern.heads or numbers.get("heads", 2), queries)
    return random_problem(mask_of(pattern, n_q, n_k, q_offset), scores=scores, **numbers)


def mask_of(pattern: nodes.Pattern, n_q: int, n_k: int, q_offset: int | None = None) -> np.ndarray:
    """Bool [n_q, n_k], or [H, n_q, n_k] where heads differ."""
    masks = [reference.mask(condition, n_q, n_k, q_offset) for condition in pattern.conditions]
    return np.stack([masks[c] for c in pattern.head_conditions]) if pattern.heads else masks[0]
