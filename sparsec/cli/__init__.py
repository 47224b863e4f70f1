"""The command line.  One file for each command; what a command needs is imported when it runs.

Exit status: 0 all is well, 1 errors in a pattern or a failed verification, 2 wrong usage, 3 a bug in sparsec.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer
from typer.core import TyperCommand

from sparsec.cli import (
    bench,
    cache,
    check,
    compile,
    cost,
    diff,
    doctor,
    explain,
    expressions,
    fmt,
    lsp,
    new,
    show,
    streams,
    tune,
    verify,
)
from sparsec.cli.output import report
from sparsec.diagnostics import SparsecError

_ENDLESS = 1 << 20


class _Command(TyperCommand):
    """A command, with a name of a file in the place of each `-e EXPR`.

    typer puts what must be given in braces, which nobody types, and cuts what a command does to one line.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        reads = any(expressions.OPTIONS[0] in each.opts for each in self.params)
        return super().parse_args(ctx, list(expressions.as_names(args)) if reads else args)

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def get_short_help_str(self, limit: int = 0) -> str:
        """The whole first sentence, over several lines where need be; `limit` would cut it."""
        return super().get_short_help_str(_ENDLESS)


app = typer.Typer(
    name="sparsec",
    help="Which keys each query may attend to, as a condition; exact facts and PyTorch kernels from it.",
    rich_markup_mode=None,  # rich would double the time to start
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (new, check, fmt, cost, show, diff, compile, verify, bench, tune, explain, doctor, cache, lsp):
    app.command(module.__name__.rpartition(".")[2], cls=_Command)(module.run)


def _version(asked: bool) -> None:
    if asked:
        print(f"sparsec {_installed()}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point: a user's mistakes come out as diagnostics, our own as bugs.  Always ends in SystemExit."""
    streams.prepare()
    try:
        try:
            app(prog_name="sparsec")  # which completion goes by too
        finally:
            if not sys.stdout.closed:  # as a language server leaves it
                sys.stdout.flush()
    except SparsecError as error:
        report(error.diagnostics)
        sys.exit(1)
    except Exception:
        print(_bug(traceback.format_exc()), file=sys.stderr)
        sys.exit(3)


def _bug(trace: str) -> str:
    import platform

    return (
        f"{trace}\n"
        "This is a bug in sparsec, not in your pattern.  Please report it to its maintainers with the lines above,\n"
        f"the command, the .spat file, and: sparsec {_installed()}, Python {platform.python_version()}, "
        f"{platform.platform()}"
    )


def _installed() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms

    try:
        return version("sparsec")
    except PackageNotFoundError:
        return "from a checkout"
