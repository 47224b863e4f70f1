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
    from sparsec.analysis.reach import Reach
    from sparsec.ir.nodes import Pattern
    from sparsec.plan.nodes import Plan
    from sparsec.syntax.ast import File

_TILES = (32, 64, 128)  # sides of the tiles for which the wasted share is told


def run(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="A .spat file, or several for a table.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of keys and queries.")] = 4096,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    head_size: Annotated[int, typer.Option("--head-size", min=1, metavar="D", help="Head size.")] = 128,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME", help="Say how long it takes at least on a100, h200, ...")
    ] = None,
    depth: Annotated[
        int | None, typer.Option("--depth", min=1, metavar="L", help="Say how far L layers, from 0 on, reach.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count pairs, tiles, operations and bytes, and compare them with dense attention, or patterns with each other."""
    chosen = choice(define, pattern, heads, layer, layers)
    if len(files) == 1:
        _one(files[0], chosen, n, head_size, _gpu(gpu), depth, as_json)
        return
    for option, value in (("--gpu", gpu), ("--depth", depth)):
        if value is not None:
            raise typer.BadParameter("needs one file; a table has no room for it", param_hint=option)
    raise typer.Exit(_several(files, chosen, n, head_size, as_json))


def _gpu(name: str | None) -> str | None:
    if name is None:
        return None
    from sparsec.analysis.gpus import GPUS

    if name.lower() not in GPUS:
        raise typer.BadParameter(f"{name!r} is not known; known are {', '.join(GPUS)}", param_hint="--gpu")
    return name.lower()


# ---------------------------------------------------------------- one pattern


def _one(name: str, chosen: Choice, n: int, head_size: int, gpu: str | None, depth: int | None, as_json: bool) -> None:
    from sparsec.analysis.decoder_cache import decoder_cache
    from sparsec.analysis.facts import is_causal
    from sparsec.analysis.gpus import GPUS, floors
    from sparsec.cli import cost_text as text
    from sparsec.cli.predicted import speed
    from sparsec.plan.build import build

    tree, lowered = chosen.load(name)
    pattern = lowered.pattern
    result = _cost(tree, pattern, chosen, n, head_size, _TILES)
    plan = build(pattern, layouts=True)
    layouts = list(_layouts(plan, n))
    floor = floors(result, GPUS[gpu]) if gpu else None
    dense = speed(plan, n, past=False)
    causal = speed(plan, n, past=True) if all(map(is_causal, pattern.conditions)) else None
    caches = [decoder_cache(condition) for condition in pattern.conditions]
    reach = _reach(tree, chosen, n, depth) if depth else None
    if as_json:
        more = {
            "floor": floor and {"gpu": gpu} | {word: each.to_json() for word, each in floor.items()},
            "speed": {"dense": dense.to_json(), "causal": causal and causal.to_json()},
            "cache": [cache.to_json() for cache in caches],
            "reach": reach and reach.to_json(),
        }
        print(json.dumps(result.to_json() | more | {"layouts": layouts}, indent=2))
        return
    print(f"{result.name} at n = {n:,}, {text.heads_of(result)} of size {head_size}")
    for word, line in (
        *text.rows(result),
        *(text.floor_rows(GPUS[gpu], floor) if floor else ()),
        *text.speed_rows(dense, causal),
        *text.cache_rows(result, caches),
        *(text.reach_rows(reach) if reach else ()),
        *text.layout_rows(layouts),
    ):
        print(f"  {word:<9} {line}")


def _reach(tree: File, chosen: Choice, n: int, depth: int) -> Reach:
    """What the layers 0, ..., depth - 1 see through each other."""
    from sparsec.analysis.reach import reach
    from sparsec.ir.lower import lower

    return reach([lower(tree, **{**chosen.keywords, "layer": layer}).conditions for layer in range(depth)], n)


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


# ---------------------------------------------------------------- several


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


def _cost(
    tree: File, pattern: Pattern, chosen: Choice, n: int, head_size: int, tile_sizes: tuple[int, ...] = ()
) -> Cost:
    from sparsec.analysis.complexity import complexity
    from sparsec.analysis.cost import cost
    from sparsec.ir.lower import lower

    def rebind(parameters: Mapping[str, int]) -> Pattern:
        return lower(tree, **{**chosen.keywords, "parameters": parameters})

    grows = complexity(rebind, dict(pattern.parameters))
    return cost(pattern, n, head_size=head_size, heads=chosen.heads, complexity=grows, tile_sizes=tile_sizes)
