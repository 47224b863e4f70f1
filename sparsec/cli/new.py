"""`sparsec new`: a pattern of one's own, begun from a published one."""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsec import resources
from sparsec.cli import completion
from sparsec.diagnostics import CannotWrite, SparsecError, printable

if TYPE_CHECKING:
    from sparsec.syntax.ast import Definition

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STDOUT, _DEFAULT = "-", "longformer"


def run(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="What to call the pattern; without it, as the template does.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--template",
            metavar="TEMPLATE",
            help="The pattern to begin from, by default the one of NAME, else longformer; --list names all.",
            autocompletion=completion.templates,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write; without it NAME.spat, - prints it."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the templates and leave.")] = False,
) -> None:
    """Write NAME.spat, a published pattern with comments, to be changed; what exists is never overwritten."""
    known = resources.names("examples", ".spat")
    if listed:
        _list(known)
        return
    template = _chosen(name, template, known)
    name = name or template
    text = _made(name, template)
    if output == _STDOUT:
        print(text, end="")
        return
    path = Path(output or f"{name}.spat")
    _write(path, text)
    written = printable(str(path))
    print(f"wrote {written}, begun from {template}", f"next: sparsec show {written}", sep="\n")


def _chosen(name: str | None, template: str | None, known: list[str]) -> str:
    """The template.  BadParameter for one that is not there; a name that is nearly one is asked about."""
    wanted = template if template is not None else name or _DEFAULT
    if wanted in known:
        return wanted
    if template is None and len(named := [each for each in known if _names(each, wanted)]) == 1:
        return named[0]
    near = get_close_matches(wanted.lower(), known, n=1, cutoff=0.8)
    if template is not None:
        hint = f"did you mean {near[0]}?" if near else "--list names all"
        raise typer.BadParameter(f"there is no template {template!r}; {hint}", param_hint="--template")
    if near:
        print(f"did you mean the template {near[0]}?  sparsec new {name} --template {near[0]}", file=sys.stderr)
    return _DEFAULT


def _names(template: str, wanted: str) -> bool:
    """Whether the documentation of a template names a model or paper, a word in capitals, that is so called."""
    word = wanted.strip("0123456789_-.")
    doc = _pattern(resources.text(f"examples/{template}.spat")).doc or ""
    names = re.findall(r"\b[A-Z][A-Za-z]+(?:-[A-Za-z]+)*\b", doc.partition("(")[0])
    return len(word) > 3 and word.lower() in {each.lower() for each in names}


def _list(known: list[str]) -> None:
    width = max(map(len, known))
    for each in known:
        doc = " ".join((_pattern(resources.text(f"examples/{each}.spat")).doc or "").split())
        print(f"{each:<{width}}  {doc}")


def _pattern(text: str) -> Definition:
    """The first pattern of a template."""
    from sparsec.source import Source
    from sparsec.syntax.parse import parse

    return next(each for each in parse(Source("<template>", text)).definitions if each.kind == "pattern")


def _made(name: str, template: str) -> str:
    """The text of a template whose pattern is called `name`.  BadParameter for what can't be a name."""
    if not _NAME.fullmatch(name):
        right = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
        hint = f", such as {right}" if _NAME.fullmatch(right) else ""
        raise typer.BadParameter(f"{name!r}: names are made of letters, digits and _{hint}", param_hint="NAME")
    from sparsec.lower.file import check_names
    from sparsec.source import Source
    from sparsec.syntax.grammar import grammar
    from sparsec.syntax.parse import parse

    text = resources.text(f"examples/{template}.spat")
    old = _pattern(text).name
    for token in reversed(list(grammar().lex(text))):
        if token.type == "NAME" and token == old:
            text = text[: token.start_pos] + name + text[token.end_pos :]
    text = (
        f"# Begun from the template {template}.  `sparsec check` says whether it is still right,\n"
        f"# `sparsec show` draws it, `sparsec cost` counts its pairs.\n\n{text}"
    )
    try:
        check_names(parse(Source("<template>", text)))
    except SparsecError as error:
        first = error.diagnostics[0]
        raise typer.BadParameter(f"{name!r}: {first.fill(first.message)}", param_hint="NAME") from None
    return text


def _write(path: Path, text: str) -> None:
    """A new file.  SparsecError SP0702 where there is one or it can't be written."""
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:  # x: whatever appears meanwhile is safe too
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink()
                raise
    except FileExistsError:
        reason = "it exists, and is not overwritten; choose another NAME, or a file with -o"
        raise SparsecError(CannotWrite(name=str(path), reason=reason)) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "not a file name").lower()
        raise SparsecError(CannotWrite(name=str(path), reason=reason)) from None
