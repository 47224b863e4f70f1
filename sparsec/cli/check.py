"""`sparsec check`: is it a pattern, and what is odd about it?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli.findings import Finding, Format, writer
from sparsec.cli.inputs import Expression, Names, named, read, shown
from sparsec.cli.options import Choice, Define, Heads, Layer, Layers, PatternName, choice
from sparsec.cli.output import report, rewrite
from sparsec.diagnostics import Diagnostic, MissingParameter, NeedsHeads, NeedsLayer, SparsecError, printable
from sparsec.terminal import GREEN, coloured, painter

if TYPE_CHECKING:
    from sparsec.lint.diagnose import Advice, Diagnosis

_OPTIONS = {NeedsHeads: "--heads", NeedsLayer: "--layer and --layers", MissingParameter: "-D"}


def run(
    files: Names,
    _: Expression = None,
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
    lint: Annotated[bool, typer.Option("--lint", help="Say also what might serve better, with a cure.")] = False,
    depth: Annotated[
        int | None,
        typer.Option("--depth", min=1, max=65_536, metavar="L", help="With --lint: whether L layers reach everything."),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Make the edits that are safe, where they are proved to be, in the files.")
    ] = False,
    form: Annotated[Format, typer.Option("--output-format", help="How to say it.")] = "human",
) -> None:
    """Say whether files are valid, with all their errors and warnings.

    The formats json, sarif and github are for machines: all of it goes to standard output.
    """
    if depth is not None and not lint:
        raise typer.BadParameter("needs --lint", param_hint="--depth")
    chosen = choice(define, pattern, heads, layer, layers)
    names = named(files)
    if fix:
        _mend(names, chosen)
    found = (Finding(shown(name), _diagnosis(name, chosen, _advice(depth) if lint else None)) for name in names)
    valid = [_print(each) for each in found] if form == "human" else _written(list(found), form)
    if form == "human" and len(valid) > 1:
        print(f"{len(valid)} files: {valid.count(True)} valid, {valid.count(False)} with errors")
    raise typer.Exit(0 if all(valid) else 1)


def _mend(names: list[str], chosen: Choice) -> None:
    """Make the edits of files, each file whole or not at all, and say on the error stream what was done."""
    from sparsec.cli.fix import fixed

    if others := [name for name in names if shown(name) != name]:
        raise typer.BadParameter(f"changes files, and {shown(others[0])} is none", param_hint="--fix")
    for name in names:
        try:
            given = read(name)
            found = fixed(given.source, chosen.keywords)
            if found.edits:
                rewrite(Path(name), given.encoded(found.source.text))
        except SparsecError as error:
            report(error.diagnostics)
            continue
        for edit in found.edits:
            print(printable(f"{name}: {edit}"), file=sys.stderr)


def _written(found: list[Finding], form: Format) -> list[bool]:
    """Print all of it for a machine; which files are valid?"""
    if text := writer(form)(found):
        print(text)
    return [each.diagnosis.valid for each in found]


def _advice(depth: int | None) -> Advice:
    """What is asked about the patterns of one file."""
    from sparsec.lint.advice import Adviser
    from sparsec.report.prediction import beside_dense, work

    return Adviser(work, beside_dense, depth)


def _diagnosis(name: str, chosen: Choice, advice: Advice | None) -> Diagnosis:
    from sparsec.lint.diagnose import Diagnosis, diagnose

    try:
        return diagnose(read(name).source, **chosen.keywords, advice=advice)
    except SparsecError as error:
        return Diagnosis(error.diagnostics)


def _print(found: Finding) -> bool:
    """Print what there is to say about one file; is it valid?"""
    report(found.diagnosis.diagnostics)
    if found.diagnosis.valid:
        notes = [
            f"  {each}: pass {_wanted(asked)} to check what depends on it"
            for each, asked in found.diagnosis.unbound.items()
        ]
        if unadvised := found.diagnosis.unadvised:
            first, *others = unadvised
            more = f" and {len(others)} more" if others else ""
            notes.append(f"  {first}{more}: no time was left for advice; pass --pattern {first} to ask for it alone")
        paint = painter(coloured(sys.stdout, os.environ))
        print("\n".join([f"{printable(found.name)}: {paint('ok', GREEN)}", *notes]))
    return found.diagnosis.valid


def _wanted(asked: tuple[Diagnostic, ...]) -> str:
    """The options that bind what a pattern depends on."""
    return " and ".join(sorted({_OPTIONS[type(each)] for each in asked}))
