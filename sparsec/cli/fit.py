"""`sparsec fit`: the pattern of each head that keeps most of dense attention's weight within a budget of pairs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sparsec.cli.inputs import Expression, Input, read
from sparsec.cli.output import write
from sparsec.diagnostics import BadParameterValue, SparsecError, printable, torch_for

if TYPE_CHECKING:
    from sparsec.fit.captured import Captured
    from sparsec.fit.measure import Measured, Opened
    from sparsec.fit.text import Candidate
    from sparsec.syntax.ast import File

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def run(
    captured: Annotated[str, typer.Argument(metavar="CAPTURED", help="Queries and keys of a model, safetensors.")],
    candidates: Annotated[str, typer.Argument(metavar="FILE", help="A .spat file whose patterns are the candidates.")],
    _: Expression = None,
    budget: Annotated[
        float, typer.Option("--budget", min=0, max=1, help="Pairs kept, as a share of those of dense attention.")
    ] = 0.25,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="NAME=V,V", help="Values of a parameter to try.  May be repeated."),
    ] = None,
    per: Annotated[
        Literal["head", "layer", "model"], typer.Option("--per", help="What has a candidate of its own.")
    ] = "head",
    name: Annotated[str, typer.Option("--name", help="Of the pattern that is written.")] = "fitted",
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="The .spat file to write.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Choose a pattern for each head or layer of a model: the one that keeps most of dense attention's weight.

    CAPTURED holds `layers.I.q` [B, H, n, D] and `layers.I.k` [B, H_kv, n, D] of every layer I.  What is written is FILE
    and a pattern that chooses among its patterns by `match`.  A run that was stopped goes on where it was.
    """
    with torch_for("`sparsec fit`"):
        from sparsec.fit.captured import captured as opened
        from sparsec.fit.measure import Journal, measured
        from sparsec.testing.verify import best_device
    from sparsec.syntax.parse import parse

    model, text = opened(Path(captured)), read(candidates)
    file = parse(text.source)
    options = _candidates(file, _varied(vary), name)
    _check_place(text, file, output)
    load = _loader(text, file, model)
    try:
        with Journal(Path(f"{output or captured}.journal")) as journal:
            if journal.damaged:
                print(f"{journal.damaged} damaged lines of {journal.path} are not used", file=sys.stderr)
            with _progress(len(model.layers) * len(options)) as advance:
                found = measured(model, options, load, journal, best_device(), advance)
            chosen = _chosen(model, options, found, budget, per)
            made = _text(text, name, Path(captured).name, chosen, found, model, options)
            if output:
                write(Path(output), text.encoded(made))
            journal.remove()
    except KeyboardInterrupt:
        print("Stopped; nothing was written.  Run it again to go on.", file=sys.stderr)
        raise typer.Exit(130) from None
    told = _to_json(model, options, found, chosen) if as_json else "\n".join(_table(options, found, chosen))
    if output or as_json:
        print(told)
    else:  # the text is what a pipe takes on
        print(told, file=sys.stderr)
        print(made, end="")


# ---------------------------------------------------------------- what is asked


def _varied(vary: list[str] | None) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for text in vary or ():
        name, equals, values = text.partition("=")
        if not equals or not name.strip() or not values.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE,VALUE", param_hint="--vary")
        for value in values.split(","):
            try:
                found.setdefault(name.strip(), []).append(int(value, 10))
            except ValueError:
                raise SparsecError(BadParameterValue(name=name.strip(), value=value.strip()[:40])) from None
    return found


def _candidates(file: File, varied: Mapping[str, list[int]], name: str) -> list[Candidate]:
    from sparsec.fit.text import candidates

    if not name.isidentifier() or not name.isascii() or any(each.name == name for each in file.definitions):
        raise typer.BadParameter(f"{printable(name)} is a name of the file, or none", param_hint="--name")
    known = {one.name for each in file.definitions if each.kind == "pattern" for one in each.parameters}
    if strange := [each for each in varied if each not in known]:
        raise typer.BadParameter(f"no pattern has a parameter {printable(strange[0])}", param_hint="--vary")
    if not (options := candidates(file, varied)):
        raise typer.BadParameter("the file has no pattern", param_hint="FILE")
    return options


def _check_place(text: Input, file: File, output: str | None) -> None:
    """What the file reads by a relative name must be found from where the text is written, too."""
    from sparsec.syntax import ast

    reads_others = any(isinstance(each, ast.Use) for each in file.declarations) or "blocks" in text.source.text
    here = text.path.parent.resolve() if text.path else Path.cwd()
    if reads_others and output and Path(output).parent.resolve() != here:
        problem = f"the candidates read files by names relative to {printable(str(here))}: write into that folder"
        raise typer.BadParameter(problem, param_hint="--output")


def _loader(text: Input, file: File, model: Captured) -> Opened:
    """Candidate and layer -> operator; one for all layers where the layer does not matter."""
    import sparsec
    from sparsec.cli.layered import depends_on_layer
    from sparsec.runtime.attend import Attend

    made: dict[Candidate, Attend] = {}

    def opened(option: Candidate, layer: int) -> Attend:
        if option in made:
            return made[option]
        bound: dict[str, Any] = dict(option.parameters)
        bound |= {"pattern": option.name, "heads": model.shape.heads, "layer": layer, "layers": max(model.layers) + 1}
        attend = sparsec.load(text.path, **bound) if text.path else sparsec.compile(text.source.text, **bound)
        if not depends_on_layer(file, attend.pattern.nodes):
            made[option] = attend
        return attend

    return opened


# ---------------------------------------------------------------- what is chosen


def _chosen(
    model: Captured, options: list[Candidate], found: Measured, budget: float, per: str
) -> dict[int, list[int]]:
    """The numbers of the candidates, by layer and head.  BadParameter where the budget is too small for any."""
    from sparsec.fit.choose import choose

    layers, heads, _ = found.kept.shape
    groups = {"head": (layers * heads, 1), "layer": (layers, heads), "model": (1, layers * heads)}[per]
    values, costs = (x.reshape(*groups, len(options)).sum(1) for x in (found.kept, found.pairs))
    everything = found.dense_pairs * layers * heads
    picks = choose(values, costs, int(budget * everything))
    if picks is None:
        least = -(-int(costs.min(1).sum()) * 10_000 // everything) / 10_000
        problem = f"the cheapest candidates keep {least:.4f} of the pairs of dense attention"
        raise typer.BadParameter(problem, param_hint="--budget")
    each = [pick for pick in picks for _ in range(groups[1])]
    return {layer: each[row * heads : (row + 1) * heads] for row, layer in enumerate(model.layers)}


def _text(
    text: Input,
    name: str,
    captured: str,
    chosen: Mapping[int, list[int]],
    found: Measured,
    model: Captured,
    options: list[Candidate],
) -> str:
    from sparsec.fit.text import fitted

    pairs, kept = _totals(found, chosen)
    dense = "causal attention" if found.causal else "dense attention"
    doc = (
        f"Fitted to {printable(captured)} at n = {model.shape.n:,}: {kept:.2%} of the weight of {dense} with "
        f"{pairs:.2%} of its pairs (sparsec fit)."
    )
    by_layer = {layer: [options[each] for each in heads] for layer, heads in chosen.items()}
    return f"{text.source.text.rstrip()}\n\n{fitted(name, doc, by_layer)}"


def _totals(found: Measured, chosen: Mapping[int, list[int]]) -> tuple[float, float]:
    """The shares of pairs and of weight of a choice."""
    places = [(row, head, each) for row, heads in enumerate(chosen.values()) for head, each in enumerate(heads)]
    pairs = sum(int(found.pairs[place]) for place in places) / (found.dense_pairs * len(places))
    return pairs, sum(float(found.kept[place]) for place in places) / len(places)


# ---------------------------------------------------------------- what is said


def _table(options: list[Candidate], found: Measured, chosen: Mapping[int, list[int]]) -> list[str]:
    """Every candidate by itself, the choice, and a picture of it: a letter for each layer and head."""
    width = max(len("candidate"), *(len(str(each)) for each in options))
    picks = [each for heads in chosen.values() for each in heads]
    lines = [f"   {'candidate':<{width}}     pairs    weight  least of a head   heads"]

    def line(letter: str, words: str, pairs: float, weight: float, least: float, heads: int) -> str:
        return f"{letter}  {words:<{width}}  {pairs:>8.2%}  {weight:>8.2%}  {least:>15.2%}  {heads:>6}"

    for index, option in enumerate(options):
        weights = found.kept[:, :, index]
        share = found.pairs[:, :, index].mean() / found.dense_pairs
        letter = _LETTERS[index % len(_LETTERS)]
        lines.append(line(letter, str(option), share, weights.mean(), weights.min(), picks.count(index)))
    own = [found.kept[row, head, each] for row, heads in enumerate(chosen.values()) for head, each in enumerate(heads)]
    lines.append(line(" ", "chosen", *_totals(found, chosen), min(own), len(picks)))
    lines += ["", "layer  heads"]
    for layer, heads in chosen.items():
        lines.append(f"{layer:>5}  {''.join(_LETTERS[each % len(_LETTERS)] for each in heads)}")
    return lines


def _to_json(model: Captured, options: list[Candidate], found: Measured, chosen: Mapping[int, list[int]]) -> str:
    pairs, kept = _totals(found, chosen)
    return json.dumps(
        {
            "format": 1,
            "n": model.shape.n,
            "dense": "causal" if found.causal else "full",
            "pairs": pairs,
            "weight": kept,
            "candidates": [{"pattern": each.name, "parameters": dict(each.parameters)} for each in options],
            "layers": [
                {
                    "layer": layer,
                    "chosen": heads,
                    "weight": found.kept[row].tolist(),
                    "pairs": (found.pairs[row] / found.dense_pairs).tolist(),
                }
                for row, (layer, heads) in enumerate(chosen.items())
            ],
        },
        indent=2,
    )


def _progress(count: int) -> AbstractContextManager[Callable[[int, Candidate], None]]:
    """A bar on a terminal, otherwise nothing."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return nullcontext(lambda layer, option: None)
    return _Bar(count)


class _Bar:
    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> Callable[[int, Candidate], None]:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True))
        self.progress.__enter__()
        task = self.progress.add_task("measured", total=self.count)
        return lambda layer, option: self.progress.update(task, advance=1, description=f"layer {layer}, {option}")

    def __exit__(self, *problem: object) -> None:
        self.progress.__exit__(None, None, None)
