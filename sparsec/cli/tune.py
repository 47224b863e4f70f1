"""`sparsec tune`: settings of the kernels that are faster on this GPU, measured and kept for later compilations."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sparsec.cli.inputs import Expression, Names, named, read
from sparsec.cli.options import Define, Layer, Layers, PatternName, choice
from sparsec.cli.output import report, write
from sparsec.diagnostics import EnvironmentLacks, SparsecError, torch_for

if TYPE_CHECKING:
    from sparsec.bench.setting import Setting as Shapes
    from sparsec.kernels.machine.settings import Setting
    from sparsec.pipeline import Compiled
    from sparsec.tuning.tune import Limits, Outcome, Progress

_LARGEST = 2**26


def run(
    files: Names,
    _: Expression = None,
    n: Annotated[int, typer.Option("--n", min=1, max=_LARGEST, help="Number of keys and queries.")] = 32768,
    batch: Annotated[int, typer.Option("--batch", min=1, metavar="B", help="Batch size.")] = 1,
    heads: Annotated[int, typer.Option("--heads", min=1, metavar="H", help="Query heads.")] = 16,
    kv_heads: Annotated[int | None, typer.Option("--kv-heads", min=1, metavar="H", help="Key heads.")] = None,
    head_size: Annotated[int, typer.Option("--head-size", min=16, max=256, metavar="D", help="A multiple of 8.")] = 128,
    dtype: Annotated[Literal["fp32", "fp16", "bf16"], typer.Option("--dtype", help="Of q, k and v.")] = "bf16",
    most: Annotated[int, typer.Option("--most", min=1, help="Settings to try for each kernel.")] = 16,
    gpu_budget: Annotated[
        float | None, typer.Option("--gpu-budget", min=0, metavar="SECONDS", help="Stop then; a later run goes on.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Instead of the user's own file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be tried.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="A line for each setting.")] = False,
    define: Define = None,
    pattern: PatternName = None,
    layer: Layer = None,
    layers: Layers = None,
) -> None:
    """Search faster tile sizes, warps, stages and register caps for the kernels of some patterns on this GPU.

    What is better by 2 % or more is kept in a file that later compilations take into account, for all patterns with
    kernels of the same kind.  A run that was stopped goes on where it was.
    """
    if head_size % 8:
        raise typer.BadParameter("a multiple of 8", param_hint="--head-size")
    if heads % (kv_heads or heads):
        raise typer.BadParameter(f"must divide the {heads} query heads", param_hint="--kv-heads")
    with torch_for("`sparsec tune`"):
        from sparsec.bench.setting import Setting as Shapes
        from sparsec.tuning.tune import Limits
    from sparsec import pipeline
    from sparsec.codegen import tuned_files
    from sparsec.ir.inputs import refuse_inputs, refuse_score_inputs

    path = Path(output).absolute() if output else tuned_files.own_path()
    if path is None and not dry_run:
        raise typer.BadParameter("needed where there is no file of one's own", param_hint="--output")
    shapes = Shapes(n, batch, heads, kv_heads or heads, head_size, dtype, against=())
    chosen = choice(define, pattern, heads, layer, layers)
    made = [pipeline.compile(read(name).source, **chosen.keywords) for name in named(files)]
    for each in made:
        refuse_inputs(each.pattern, "`sparsec tune`")
        refuse_score_inputs(each.pattern, "`sparsec tune`")
        report(each.warnings)
    if dry_run or path is None:
        _list(made, shapes, most)
        return
    try:
        _tune(made, shapes, Limits(most, gpu_budget), path, verbose)
    except KeyboardInterrupt:
        print("Stopped; nothing was written.  Run it again to go on.", file=sys.stderr)
        raise typer.Exit(130) from None


def _tune(made: list[Compiled], shapes: Shapes, limits: Limits, path: Path, verbose: bool) -> None:
    from sparsec.codegen import tuned_files
    from sparsec.tuning.journal import Journal
    from sparsec.tuning.subject import kinds, opener
    from sparsec.tuning.tune import tune

    device = _gpu()
    before = tuned_files.stored(path)
    with Journal(path.with_name(f"{path.name}.journal")) as journal, _progress(verbose) as progress:
        if journal.damaged:
            print(f"{journal.damaged} damaged lines of {journal.path} are not used", file=sys.stderr)
        outcome = tune(
            {opener(each, shapes, device): set(kinds(each.plan, shapes.n).values()) for each in made},
            journal,
            before.over(tuned_files.packaged()),
            limits,
            progress,
            {"n": shapes.n, "heads": shapes.heads, "kv_heads": shapes.kv_heads},
        )
        write(path, outcome.merged(before, tuned_files.packaged()).rendered().encode(), 0o644)
        if outcome.complete:
            journal.remove()
    _say(outcome, path)


def _gpu() -> object:
    from sparsec.testing.verify import best_device

    device = best_device()
    if device.type != "cuda":
        hint = "`--dry-run` lists what would be tried; without tuning, kernels have settings that are safe everywhere"
        raise SparsecError(EnvironmentLacks(wanted="`sparsec tune`", lacking="a GPU", hint=hint))
    return device


# ---------------------------------------------------------------- what is said


def _say(outcome: Outcome, path: Path) -> None:
    for place, setting in outcome.better.settings.items():
        ratio = outcome.better.measured[place]["ratio"]
        print(f"{place.kernel:<8} {place.shape:<32} {_words(setting)}: {ratio:.3f} of the usual time")
    for place, setting in outcome.usual.items():
        print(f"{place.kernel:<8} {place.shape:<32} {_words(setting)}: as usual")
    print(f"{path}: {len(outcome.better.settings)} better settings")
    if not outcome.complete:
        print("The time is up.  Run it again to go on.")


def _words(setting: Setting) -> str:
    m, n, warps, stages, registers = setting
    return f"{m:>3} x {n:<3} {warps} warps {stages} stages{f' {registers} registers' if registers else ''}"


def _list(made: list[Compiled], shapes: Shapes, most: int) -> None:
    """Every kernel, its usual setting and those that would be tried."""
    from sparsec.testing.verify import best_device
    from sparsec.tuning.candidates import candidates
    from sparsec.tuning.subject import usual

    device = best_device()
    if device.type != "cuda":
        print("There is no GPU here: settings of the smallest tier.")
    for each in made:
        print(each.pattern.name)
        for (kernel, word), setting in usual(each, shapes, device).items():
            print(f"  {kernel:<8} {word:<32} {_words(setting)} as usual")
            for other in candidates(setting, most):
                print(f"  {'':<8} {'':<32} {_words(other)}")


def _progress(verbose: bool) -> AbstractContextManager[Progress]:
    """A bar on a terminal; lines if asked for; otherwise nothing."""
    from sparsec.cli.tune_progress import Bar, Lines, Nothing

    if verbose:
        return nullcontext(Lines())
    shown = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return Bar() if shown else nullcontext(Nothing())
