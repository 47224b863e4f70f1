"""`sparsec check`: is it a pattern, and what is odd about it?"""

from __future__ import annotations

from typing import Annotated

import typer

from sparsec.cli.options import Choice, Define, Heads, Layer, Layers, PatternName, choice
from sparsec.cli.output import report
from sparsec.diagnostics import MissingParameter, NeedsHeads, NeedsLayer, SparsecError

# Errors of the command line, not of the file: it is right as far as its text tells.
_UNBOUND = {NeedsHeads: "--heads", NeedsLayer: "--layer and --layers", MissingParameter: "-D"}


def run(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="One or more .spat files.")],
    define: Define = None,
    pattern: PatternName = None,
    heads: Heads = None,
    layer: Layer = None,
    layers: Layers = None,
) -> None:
    """Say whether files are valid, with all their errors and warnings."""
    chosen = choice(define, pattern, heads, layer, layers)
    valid = [_check(name, chosen) for name in files]
    raise typer.Exit(0 if all(valid) else 1)


def _check(name: str, chosen: Choice) -> bool:
    """Print what there is to say about one file; is it valid?"""
    try:
        notes = _lower_all(name, chosen)
    except SparsecError as error:
        report(error.diagnostics)
        return False
    print("\n".join([f"{name}: ok", *notes]))
    return True


def _lower_all(name: str, chosen: Choice) -> list[str]:
    """Lower the chosen pattern, or every pattern of the file, and print the warnings.  SparsecError with all errors.

    A file of sets alone is there to be used by others: its names are checked.  Returns a note for each pattern that
    needs more from the command line to be looked at in full.
    """
    from sparsec.analysis.lint import lint
    from sparsec.ir.lower import check_names, lower, lower_fully
    from sparsec.syntax.parse import parse
    from sparsec.syntax.read import read

    file = parse(read(name))
    check_names(file)
    patterns = [chosen.pattern] if chosen.pattern else [d.name for d in file.definitions if d.kind == "pattern"]
    if not patterns and file.definitions:
        return []
    errors, notes = [], []
    for each in patterns or [None]:
        keywords = {**chosen.keywords, "pattern": each}
        try:
            lowered = lower_fully(file, **keywords)
            report(lowered.warnings)
            report(lint(file, lowered.pattern, lambda changed, given=keywords: lower(changed, **given)))
        except SparsecError as error:
            wanted = {_UNBOUND.get(type(diagnostic)) for diagnostic in error.diagnostics}
            if None in wanted:
                errors += error.diagnostics
            else:
                notes.append(f"  {each}: pass {' and '.join(sorted(wanted))} to check what depends on it")
    if errors:
        raise SparsecError(*dict.fromkeys(errors))
    return notes
