"""`sparsec cost`: what a pattern costs at one length, exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.options import Define, FileName, Heads, Layer, Layers, PatternName, choice

if TYPE_CHECKING:
    from sparsec.analysis.cost import ConditionCost, Cost
    from sparsec.ir.nodes import Pattern
    from sparsec.plan.nodes import Plan

_UNITS = ("", " k", " M", " G", " T", " P", " E")


def run(
    file: FileName,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of keys and queries.")] = 4096,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    head_size: Annotated[int, typer.Option("--head-size", min=1, metavar="D", help="Head size.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count pairs, tiles, operations and bytes, and compare them with dense attention."""
    chosen = choice(define, pattern, heads, layer, layers)
    tree, lowered = chosen.load(file)
    from sparsec.analysis.complexity import complexity
    from sparsec.analysis.cost import cost
    from sparsec.ir.lower import lower
    from sparsec.plan.build import build

    def rebind(parameters: Mapping[str, int]) -> Pattern:
        return lower(tree, **{**chosen.keywords, "parameters": parameters})

    grows = complexity(rebind, dict(lowered.pattern.parameters))
    result = cost(lowered.pattern, n, head_size=head_size, heads=heads, complexity=grows)
    layouts = list(_layouts(build(lowered.pattern, layouts=True), n))
    if as_json:
        print(json.dumps(result.to_json() | {"layouts": layouts}, indent=2))
    else:
        print("\n".join([*_table(result), *_layout_lines(layouts)]))


def _table(cost: Cost) -> list[str]:
    heads = "one head" if cost.heads == 1 else f"{cost.heads} heads"
    rows = [
        ("pairs", _number(cost.pairs)),
        *(("", line) for part in cost.conditions for line in _formula(part, len(cost.conditions) > 1)),
        ("class", cost.complexity),
        ("density", f"{_percent(cost.density)} of all pairs, {_percent(cost.causal_density)} of the causal ones"),
        ("tiles", _tiles(cost)),
        ("forward", _operations(cost.forward_flops, 4 * cost.head_size, cost)),
        ("backward", _operations(cost.backward_flops, 10 * cost.head_size, cost)),
        ("memory", f"{_scaled(cost.bytes)}B for q, k, v, o in 16 bits and the log-sum-exp, each moved once"),
    ]
    return [f"{cost.name} at n = {cost.n:,}, {heads} of size {cost.head_size}", *(f"  {a:<9} {b}" for a, b in rows)]


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


def _layout_lines(layouts: list[dict]) -> Iterator[str]:
    for each in layouts:
        name = f"heads {', '.join(map(str, each['heads']))}: " if len(layouts) > 1 else ""
        lines = [line for part in each["parts"] for line in _part_lines(part)]
        lines += [each["alternative"]] if each["alternative"] else []
        lines += [f"the choice changes at n = {least:,}" for least in each["changes_over_at"]]
        yield f"  {'layout':<9} {name}{lines[0]}"
        yield from (f"  {'':<9} {line}" for line in lines[1:])


def _part_lines(part: dict) -> Iterator[str]:
    """The layout of a part, and what it visits besides what pairs touch."""
    yield f"{part['layout']}.  {part['why']}"
    for side, (rung, why) in part["rungs"].items():
        if rung != "exact":
            visits = "every tile" if rung == "all" else "hulls of what they touch"
            yield f"tiles of {side} visit {visits}: {why}"


def _formula(part: ConditionCost, several: bool) -> list[str]:
    """One line a piece: a formula in n and where it holds."""
    heads = f"{part.heads} heads: " if several and part.heads > 1 else "1 head: " if several else ""
    pieces = part.closed_form.split("; ") if part.closed_form else ["no closed form"]
    return [f"{heads if index == 0 else ' ' * len(heads)}{piece}" for index, piece in enumerate(pieces)]


def _tiles(cost: Cost) -> str:
    if cost.tiles is None:
        return "not counted: too many pieces"
    rows, columns = cost.tile
    counts = f"{cost.tiles.full:,} full, {cost.tiles.partial:,} partial, {cost.tiles.empty:,} empty"
    return f"{counts}, of {rows} x {columns}; {_percent(cost.wasted)} of the work in visited tiles is wasted"


def _operations(count: int | None, per_pair: int, cost: Cost) -> str:
    if count is None:
        return "not counted: too many pieces"
    dense = per_pair * cost.heads * cost.n**2
    ratio = f", {dense / count:.3g} times less than dense" if count else ""
    return f"{_scaled(count)}FLOP{ratio}"


def _number(count: int | None) -> str:
    return "not counted: too many pieces" if count is None else f"{count:,}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.3g} %"


def _scaled(count: int) -> str:
    """Three digits and a decimal prefix, ready for a unit."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit] or ' '}"
