"""`sparsec cost`: what a pattern costs at one length, exactly; or several patterns, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.options import Choice, Define, Heads, Layer, Layers, PatternName, choice
from sparsec.cli.output import report
from sparsec.diagnostics import SparsecError

if TYPE_CHECKING:
    from sparsec.analysis.cost import Cost
    from sparsec.ir.nodes import Pattern
    from sparsec.plan.nodes import Plan
    from sparsec.syntax.ast import File


def run(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="A .spat file, or several for a table.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of keys and queries.")] = 4096,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    head_size: Annotated[int, typer.Option("--head-size", min=1, metavar="D", help="Head size.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count pairs, tiles, operations and bytes, and compare them with dense attention, or patterns with each other."""
    chosen = choice(define, pattern, heads, layer, layers)
    if len(files) == 1:
        _one(files[0], chosen, n, head_size, as_json)
    else:
        raise typer.Exit(_several(files, chosen, n, head_size, as_json))


def _one(name: str, chosen: Choice, n: int, head_size: int, as_json: bool) -> None:
    from sparsec.cli.cost_text import heads_of, layout_rows, rows
    from sparsec.plan.build import build

    tree, lowered = chosen.load(name)
    result = _cost(tree, lowered.pattern, chosen, n, head_size)
    layouts = list(_layouts(build(lowered.pattern, layouts=True), n))
    if as_json:
        print(json.dumps(result.to_json() | {"layouts": layouts}, indent=2))
        return
    print(f"{result.name} at n = {n:,}, {heads_of(result)} of size {head_size}")
    for word, line in (*rows(result), *layout_rows(layouts)):
        print(f"  {word:<9} {line}")


def _several(files: list[str], chosen: Choice, n: int, head_size: int, as_json: bool) -> int:
    """Print a row for each pattern of the files, and the errors of those that have some.  The exit status."""
    from sparsec.cli.cost_table import table

    found, status = [], 0
    for name in files:
        try:
            for each in _patterns(name, chosen):
                tree, lowered = each.load(name)
                found.append((name, _cost(tree, lowered.pattern, each, n, head_size)))
        except SparsecError as error:
            report(error.diagnostics)
            status = 1
    if as_json:
        print(json.dumps([{"file": name} | cost.to_json() for name, cost in found], indent=2))
    elif found:
        print(f"n = {n:,}", table([cost for _, cost in found]), sep="\n")
    return status


def _patterns(name: str, chosen: Choice) -> list[Choice]:
    """The chosen pattern of a file, or each of its patterns."""
    from sparsec.syntax.parse import parse
    from sparsec.syntax.read import read

    if chosen.pattern is not None:
        return [chosen]
    names = [each.name for each in parse(read(name)).definitions if each.kind == "pattern"]
    return [replace(chosen, pattern=each) for each in names] or [chosen]


def _cost(tree: File, pattern: Pattern, chosen: Choice, n: int, head_size: int) -> Cost:
    from sparsec.analysis.complexity import complexity
    from sparsec.analysis.cost import cost
    from sparsec.ir.lower import lower

    def rebind(parameters: Mapping[str, int]) -> Pattern:
        return lower(tree, **{**chosen.keywords, "parameters": parameters})

    grows = complexity(rebind, dict(pattern.parameters))
    return cost(pattern, n, head_size=head_size, heads=chosen.heads, complexity=grows)


def _layouts(plan: Plan, n: int) -> Iterator[dict]:
    """What the planner chooses at n, for each distinct condition, as plain data."""
    from sparsec.cli.planned import against, layout_name, rungs

    for heads in plan.parts:
        choice = next(choice for choice in reversed(heads.choices) if choice.least_n <= n)
        yield {
            "heads": list(heads.heads),
            "parts": [{"layout": layout_name(part), "why": part.why, "rungs": rungs(part)} for part in choice.parts],
            "alternative": against(heads, choice, n),
            "changes_over_at": [choice.least_n for choice in heads.choices[1:]],
        }
