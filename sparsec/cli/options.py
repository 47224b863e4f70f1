"""The arguments that several commands share, and the pattern that they choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec.cli import completion
from sparsec.cli.inputs import read
from sparsec.cli.output import report
from sparsec.diagnostics import BadParameterValue, OffsetNeeded, SparsecError

if TYPE_CHECKING:
    from sparsec.lower.file import Keywords, Lowered
    from sparsec.syntax.ast import File

MOST = 2**30 - 1  # positions: as many as operators take

FileName = Annotated[str, typer.Argument(metavar="FILE", help="A .spat file, or - for standard input.")]
Define = Annotated[
    list[str] | None,
    typer.Option(
        "-D",
        "--define",
        metavar="NAME=VALUE",
        help="Bind a parameter; may be repeated.",
        autocompletion=completion.parameters,
    ),
]
PatternName = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--pattern",
        metavar="NAME",
        help="Which pattern, in a file with several.",
        autocompletion=completion.patterns,
    ),
]
Heads = Annotated[int | None, typer.Option("--heads", metavar="H", help="Number of query heads.")]
Layer = Annotated[int | None, typer.Option("--layer", metavar="I", help="Which layer, counted from 0.")]
Layers = Annotated[int | None, typer.Option("--layers", metavar="L", help="Number of layers.")]
QueryCount = Annotated[
    int | None,
    typer.Option("--n-q", min=1, max=MOST, metavar="N", help="Number of queries, by default as many as keys."),
]
QueryOffset = Annotated[
    int | None,
    typer.Option(
        "--q-offset", min=-MOST, max=MOST, metavar="I", help="Position of the first query, by default n - n_q."
    ),
]


@dataclass(frozen=True)
class Choice:
    """A pattern of a file, and what its parameters, heads and layers are bound to."""

    pattern: str | None = None
    heads: int | None = None
    layer: int | None = None
    layers: int | None = None
    parameters: tuple[tuple[str, int], ...] = ()

    @property
    def keywords(self) -> Keywords:
        return {
            "pattern": self.pattern,
            "heads": self.heads,
            "layer": self.layer,
            "layers": self.layers,
            "parameters": dict(self.parameters),
        }

    @property
    def arguments(self) -> list[str]:
        """The options of a command that chooses the same."""
        numbers = {"--heads": self.heads, "--layer": self.layer, "--layers": self.layers}
        chosen = [f"{option}={value}" for option, value in numbers.items() if value is not None]
        chosen += [f"-D{name}={value}" for name, value in self.parameters]
        return [*(["-p", self.pattern] if self.pattern else []), *chosen]

    def load(self, name: str) -> tuple[File, Lowered]:
        """The file of that name, and the pattern chosen from it.  Warnings are printed; SparsecError for the rest."""
        from sparsec.lint.diagnose import examine
        from sparsec.syntax.parse import parse

        file = parse(read(name).source)
        lowered = examine(file, (), **self.keywords)
        report(lowered.warnings)
        return file, lowered


def queries_of(n: int, n_q: int | None, q_offset: int | None) -> range:
    """The positions of the queries of a call, as operators place them.  SparsecError SP0605 as from a call."""
    n_q = n if n_q is None else n_q
    if q_offset is None and n_q > n:
        raise SparsecError(OffsetNeeded(n_q=n_q, n_k=n))
    first = n - n_q if q_offset is None else q_offset
    return range(first, first + n_q)


def choice(
    define: list[str] | None, pattern: str | None, heads: int | None, layer: int | None, layers: int | None
) -> Choice:
    """The shared options as one value.  BadParameter for a `-D` without `=`, SparsecError for one without integer."""
    return Choice(pattern, heads, layer, layers, tuple(_definition(text) for text in define or ()))


def _definition(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="-D")
    try:
        return name.strip(), int(value, 10)
    except ValueError:
        raise SparsecError(BadParameterValue(name=name.strip(), value=value[:40])) from None
