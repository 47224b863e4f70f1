"""The compiler on one page: text -> AST -> Pattern -> picture for the header -> Plan -> Python module.

Facts that take longer (closed forms, complexity) are not on this path: `sparsec cost` works them out when asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from sparsec.codegen.emit import emit, emit_steps, function_name
from sparsec.codegen.tuned import Tuned
from sparsec.codegen.tuned_files import known
from sparsec.diagnostics import Diagnostic, EmptyPattern, SparsecError
from sparsec.ir.approximate import bounded
from sparsec.ir.nodes import Pattern
from sparsec.lint.diagnose import examine
from sparsec.lower.file import Keywords
from sparsec.plan.build import build
from sparsec.plan.decode import decode_plan
from sparsec.plan.nodes import Plan
from sparsec.show.plain import LEGEND, picture
from sparsec.show.scale import telling_length
from sparsec.source import Source
from sparsec.syntax.parse import parse

_MOST_PICTURES = 4

Value = TypeVar("Value")


@dataclass(frozen=True)
class Compiled:
    """What the stages made of a text."""

    pattern: Pattern
    plan: Plan
    source: str  # the generated module
    function: str  # the name of the operator in it
    warnings: tuple[Diagnostic, ...]
    files: tuple[Path, ...]  # what was read beside the text: used files, tables
    seconds: Mapping[str, float]  # by stage, in their order


def compile(
    source: Source,
    *,
    pattern: str | None = None,
    heads: int | None = None,
    layer: int | None = None,
    layers: int | None = None,
    parameters: Mapping[str, int] | None = None,
    tuned: Tuned | None = None,
) -> Compiled:
    """All stages; keywords as of `sparsec.load`, and the tuned settings (None: the package's and the user's).

    SparsecError with every error found.
    """
    stage = _Stages()
    file = stage("parse", lambda: parse(source))
    chosen = Keywords(pattern=pattern, heads=heads, layer=layer, layers=layers, parameters=parameters)
    lowered = stage("lower", lambda: examine(file, **chosen))
    plan = stage("plan", lambda: build(lowered.pattern))
    if plan.empty:
        raise SparsecError(EmptyPattern(name=lowered.pattern.name, span=lowered.entry.definition.name_span))
    notes = stage("picture", lambda: pictures(lowered.pattern))
    text = stage("emit", lambda: emit(plan, notes, known() if tuned is None else tuned, lowered.terms()))
    name = function_name(lowered.pattern.name)
    return Compiled(lowered.pattern, plan, text, name, lowered.warnings, lowered.files, stage.seconds)


def steps(pattern: Pattern) -> str:
    """The module that decodes a pattern, which is planned and printed for rows at the end of a cache."""
    return emit_steps(decode_plan(pattern))


@dataclass(frozen=True)
class _Stages:
    """Runs the stages and takes their times."""

    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, run: Callable[[], Value]) -> Value:
        start = perf_counter()
        value = run()
        self.seconds[name] = perf_counter() - start
        return value


def pictures(pattern: Pattern) -> str:
    """Pictures of the masks, each distinct one once, for the top of the generated module."""
    data = ["All that data of the call can keep:"] if pattern.inputs else []
    pattern = bounded(pattern)
    conditions, n = pattern.conditions, telling_length(pattern)
    blocks = [*data, f"At n = {n:,}, queries down, keys across ({LEGEND}):"]
    alike: dict[str, list[int]] = {}  # of some the pictures differ in nothing
    for index, condition in enumerate(conditions[:_MOST_PICTURES]):
        heads = [head for head, wanted in enumerate(pattern.head_conditions) if wanted == index]
        alike.setdefault(picture(condition, n), []).extend(heads)
    for drawn, heads in alike.items():
        blocks += [f"heads {', '.join(map(str, sorted(heads)))}"] if len(conditions) > 1 else []
        blocks.append(drawn)
    if len(conditions) > _MOST_PICTURES:
        blocks.append(f"and {len(conditions) - _MOST_PICTURES} more")
    return "\n".join(blocks)
