"""The command line.  One file for each command; what a command needs is imported when it runs.

Exit status: 0 all is well, 1 errors in a pattern or a failed verification, 2 wrong usage, 3 a bug in sparsec,
130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup

from sparsec.cli import expressions, streams
from sparsec.cli.output import report
from sparsec.diagnostics import SparsecError

COMMANDS = ["new", "check", "fmt", "cost", "show", "diff", "compile"]
COMMANDS += ["verify", "bench", "tune", "fit", "explain", "doctor", "cache", "lsp"]
_ENDLESS = 1 << 20
_INTERRUPTED = 130  # as shells have it


class _Command(TyperCommand):
    """A command, with a name of a file in the place of each `-e EXPR`.

    typer puts what must be given in braces, which nobody types, cuts what a command does to one line, and does not
    say in every version that several files may be given.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        reads = any(expressions.OPTIONS[0] in each.opts for each in self.params)
        return super().parse_args(ctx, list(expressions.as_names(args)) if reads else args)

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:
        several = {each.metavar for each in self.params if each.nargs < 0}
        pieces = [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]
        return [f"{piece}..." if piece.strip("[]") in several else piece for piece in pieces]

    def get_short_help_str(self, limit: int = 0) -> str:
        """The whole first sentence, over several lines where need be; `limit` would cut it."""
        return super().get_short_help_str(_ENDLESS)


class _Group(TyperGroup):
    """The commands; each is imported when it is asked for, since all of them take longer than most need to run."""

    def list_commands(self, ctx: typer.Context) -> list[str]:
        return COMMANDS

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | None:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
            alone.command(cmd_name, cls=_Command)(import_module(f"sparsec.cli.{cmd_name}").run)
            self.add_command(typer.main.get_command(alone), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple[str | None, TyperCommand | None, list[str]]:
        if args and args[0] not in COMMANDS:  # typer suggests only names that are there already
            for name in COMMANDS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="sparsec",
    cls=_Group,
    help="Which keys each query may attend to, as a condition; exact facts and PyTorch kernels from it.",
    rich_markup_mode=None,  # rich would double the time to start
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    except KeyboardInterrupt:  # while the commands are made; typer answers it when they run, and alike
        sys.exit(_INTERRUPTED)
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
