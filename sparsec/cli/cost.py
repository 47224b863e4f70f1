"""`sparsec cost`: what a pattern costs at one length, exactly; or several patterns, side by side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli import expressions, inputs
from sparsec.cli.given import Given, Sample
from sparsec.cli.inputs import Expression, shown
from sparsec.cli.layered import by_layers
from sparsec.cli.options import (
    MOST,
    Choice,
    Define,
    Heads,
    Layer,
    Layers,
    PatternName,
    QueryCount,
    QueryOffset,
    choice,
    queries_of,
)
from sparsec.cli.output import report
from sparsec.cli.ranks import Layout, LinkName, RankCount, Sharding, checked, over_ranks
from sparsec.diagnostics import SparsecError, printable
from sparsec.lower.layers import named
from sparsec.runtime.module import check_tier
from sparsec.terminal import coloured

if TYPE_CHECKING:
    from sparsec.analysis.cost import Cost
    from sparsec.analysis.reach import Layers as LayersThrough
    from sparsec.ir.nodes import Pattern
    from sparsec.syntax.ast import File

MOST_LAYERS = 65_536
_TILES = (32, 64, 128)  # sides of the tiles for which the wasted share is told


@dataclass(frozen=True)
class Call:
    """What is costed: `queries` are positions, keys are 0..n."""

    n: int
    queries: range
    head_size: int


def run(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES", help="A .spat file, or - for standard input; several, or folders, for a table."
        ),
    ],
    _: Expression = None,
    n: Annotated[int, typer.Option("--n", min=1, max=MOST, help="Number of keys.")] = 4096,
    n_q: QueryCount = None,
    q_offset: QueryOffset = None,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    head_size: Annotated[int, typer.Option("--head-size", min=1, metavar="D", help="Head size.")] = 128,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", metavar="NAME", help="Say how long it takes at least: on a100, h200, rtx4090, ..."),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", min=1, max=MOST_LAYERS, metavar="L", help="Say how far L layers, from 0 on, reach."),
    ] = None,
    rank_count: RankCount = None,
    layout: Layout = "contiguous",
    link: LinkName = "nvlink",
    given: Given = None,
    sample: Sample = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count pairs, tiles, operations and bytes, and compare them with dense attention, or patterns with each other."""
    chosen = choice(define, pattern, heads, layer, layers)
    check_tier()
    gpu, files = _gpu(gpu), inputs.named(files)
    call = Call(n, queries_of(n, n_q, q_offset), head_size)
    sharding = checked(rank_count, layout, link, n, call.queries)
    if depth is not None and call.queries != range(n):
        raise typer.BadParameter("layers pass on as many positions as they get: without --n-q", param_hint="--depth")
    if len(files) == 1:
        data = None if not given and sample is None else (given, sample)
        _one(files[0], chosen, call, gpu, depth, sharding, as_json, data)
        return
    single = {"--gpu": gpu, "--depth": depth, "--ranks": rank_count, "--given": given or None, "--sample": sample}
    for option, value in single.items():
        if value is not None:
            raise typer.BadParameter("needs one file; a table has no room for it", param_hint=option)
    raise typer.Exit(_several(files, chosen, call, as_json))


def _gpu(name: str | None) -> str | None:
    if name is None:
        return None
    from sparsec.report.roofline import GPUS

    key = name.lower().replace(" ", "").replace("-", "")
    if key not in GPUS:
        raise typer.BadParameter(f"{name!r} is not known; known are {', '.join(GPUS)}", param_hint="--gpu")
    return key


def _one(
    name: str,
    chosen: Choice,
    call: Call,
    gpu: str | None,
    depth: int | None,
    sharding: Sharding | None,
    as_json: bool,
    data: tuple[list[str] | None, int | None] | None,
) -> None:
    """`data`: what is given of the pattern's inputs, and the seed of a sample; None: counts are bounds."""
    from sparsec.report.cost import told
    from sparsec.report.cost_text import in_all_layers

    tree, groups = by_layers(name, chosen)
    costs = [_cost(tree, group.pattern, group.chosen, call, _TILES) for group in groups]
    through = _through(tree, groups[0].pattern, groups[0].chosen, depth) if depth else None
    words: list[dict[str, str] | None] = [None] * len(groups)
    if data is not None:
        known = [_with_data(group.pattern, cost, *data) for group, cost in zip(groups, costs, strict=True)]
        costs, words = [cost for cost, _ in known], [told for _, told in known]
    found = [
        replace(told(group.pattern, cost, gpu, through, given), sharded=over_ranks(group.pattern, cost, sharding, gpu))
        for group, cost, given in zip(groups, costs, words, strict=True)
    ]
    if as_json:
        plain = [each.to_json() for each in found]
        layered = [{"layers": group.layers, **each} for group, each in zip(groups, plain, strict=True)]
        print(json.dumps(layered if groups[0].layers else plain[0], indent=2))
        return
    for group, each in zip(groups, found, strict=True):
        if group.layers:
            print(f"{named(group.layers)}:")
        print(each.to_text(coloured(sys.stdout, os.environ)))
    if groups[0].layers:
        print(in_all_layers([(len(group.layers), cost) for group, cost in zip(groups, costs, strict=True)]))


def _with_data(
    pattern: Pattern, cost: Cost, given: list[str] | None, sample: int | None
) -> tuple[Cost, dict[str, str] | None]:
    """The cost with data, and what is told of each input; of a pattern without inputs as it is."""
    from sparsec.cli.given import data_of, data_or_sample
    from sparsec.runtime.given_cost import with_given

    if sample is None:
        data_of(pattern, given, cost.n, "its cost with data")  # refuses what is missing
    arrays, words = data_or_sample(pattern, given, sample or 0, cost.n, 1, cost.heads)
    if not pattern.inputs:
        return cost, None
    found, how = with_given(cost, pattern, arrays)
    return found, words | {"": how}


def _through(tree: File, pattern: Pattern, chosen: Choice, depth: int) -> LayersThrough:
    """The conditions of the layers 0, ..., depth - 1; a pattern that was lowered without a layer is in all the same."""
    from sparsec.ir.approximate import bounded
    from sparsec.lower.file import lower

    if chosen.layer is None:
        return [bounded(pattern).conditions] * depth
    return [bounded(lower(tree, **replace(chosen, layer=layer).keywords)).conditions for layer in range(depth)]


def _several(files: list[str], chosen: Choice, call: Call, as_json: bool) -> int:
    """Print a row for each pattern of the files, and the errors of those that have some.  The exit status."""
    from sparsec.report.cost_table import table
    from sparsec.report.cost_text import length

    found, status = [], 0
    for name in files:
        try:
            for each in _patterns(name, chosen):
                tree, groups = by_layers(name, each)
                for group in groups:
                    cost = _cost(tree, group.pattern, group.chosen, call)
                    at_most = "at most" if group.pattern.inputs else ""
                    words = ", ".join(filter(None, (cost.name, named(group.layers), at_most)))
                    found.append((name, replace(cost, name=words)))
        except SparsecError as error:
            report(error.diagnostics)
            status = 1
    if as_json:
        print(json.dumps([{"file": shown(name)} | cost.to_json() for name, cost in found], indent=2))
    elif found:
        print(
            f"{length(call.n, call.queries)}{f', {chosen.heads} heads' if chosen.heads else ''}",
            table([cost for _, cost in found], _told_apart(found)),
            sep="\n",
        )
    return status


def _told_apart(found: list[tuple[str, Cost]]) -> list[str]:
    """The name of each pattern; with its file, or as an expression itself, where several are called so."""
    names = [cost.name for _, cost in found]
    places = [_place(name) for name, _ in found]
    return [
        name if names.count(name) == 1 else printable(f"{name}: {place}")
        for name, place in zip(names, places, strict=True)
    ]


def _place(name: str) -> str:
    text = expressions.text(name)
    return shown(name) if text is None else text.partition("=")[2].strip()


def _patterns(name: str, chosen: Choice) -> list[Choice]:
    """The chosen pattern of a file, or each of its patterns."""
    from sparsec.syntax.parse import parse

    if chosen.pattern is not None:
        return [chosen]
    names = [each.name for each in parse(inputs.read(name).source).definitions if each.kind == "pattern"]
    return [replace(chosen, pattern=each) for each in names] or [chosen]


def _cost(tree: File, pattern: Pattern, chosen: Choice, call: Call, tile_sizes: tuple[int, ...] = ()) -> Cost:
    """The cost, of a pattern that reads data of the call at most."""
    from sparsec.analysis.complexity import complexity
    from sparsec.analysis.cost import cost
    from sparsec.ir.approximate import bounded
    from sparsec.lower.file import lower

    pattern = bounded(pattern)

    def rebind(parameters: Mapping[str, int]) -> Pattern:
        if parameters == dict(pattern.parameters):
            return pattern
        return bounded(lower(tree, **replace(chosen, parameters=tuple(parameters.items())).keywords))

    grows = complexity(rebind, dict(pattern.parameters))
    return cost(
        pattern,
        call.n,
        queries=call.queries,
        head_size=call.head_size,
        heads=chosen.heads,
        complexity=grows,
        tile_sizes=tile_sizes,
    )
