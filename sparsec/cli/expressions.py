"""`-e EXPR`: a text on the command line, wherever a file may be named.

Commands know names only.  An expression becomes one that no file can have, and `sparsec.cli.inputs` knows it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SHOWN = "<expression>"  # what messages call it
OPTIONS = ("-e", "--expression")
_MARK = "\0"
_DECLARES = re.compile(r'(?:\s|#[^\n]*(?:\n|$))*(?:"|(?:pattern|set|use|input)\b)')


def as_names(arguments: list[str]) -> Iterator[str]:
    """The arguments of a command, with a name in the place of each expression; what is no option stays."""
    rest = iter(arguments)
    for each in rest:
        option, equals, value = each.partition("=")
        if each == "--":
            yield from (each, *rest)
        elif option == OPTIONS[1] and equals:
            yield _MARK + value
        elif each in OPTIONS and (following := next(rest, None)) is not None:
            yield _MARK + following
        elif each.startswith(OPTIONS[0]) and each not in OPTIONS:
            yield _MARK + each.removeprefix(OPTIONS[0])
        else:
            yield each


def text(name: str) -> str | None:
    """The text that a name stands for, None for that of a file: declarations, or one expression, made a pattern."""
    if not name.startswith(_MARK):
        return None
    written = name.removeprefix(_MARK)
    return f"{written}\n" if _DECLARES.match(written) else f"pattern expression = {written}\n"
