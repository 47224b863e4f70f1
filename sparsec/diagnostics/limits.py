"""SP08xx: limits that keep a text from exhausting memory or time."""

from __future__ import annotations

from itertools import pairwise

from sparsec.diagnostics.core import Diagnostic, Example


class TextTooLong(Diagnostic, code="SP0801", title="text too long"):
    """A .spat text has at most 1,000,000 characters and 200,000 words, numbers and symbols; a large table belongs in
    a JSON file of its own.
    """

    name: str
    limit: int
    unit: str = "characters"
    message = "`{name}` is longer than {limit:,} {unit}"
    help = 'put large tables into a JSON file: `blocks(64, "table.json")`'
    example = Example(
        "pattern p = causal  ##########...\n", make=lambda: (b"pattern p = causal #" + b"#" * 1_000_000, {})
    )
    cure = "Shorten the text."


class TooDeep(Diagnostic, code="SP0802", title="nested too deep"):
    """Expressions nest at most 100 levels deep.  `|` is free of this: a union may have any number of parts."""

    limit: int
    message = "nested deeper than {limit} levels"
    label = "too deep"
    help = "name a part: `set part = ...`, and write `part` in its place"
    example = Example("pattern p = ~~~~~~...causal\n", make=lambda: (b"pattern p = " + b"~" * 20_000 + b"causal\n", {}))
    cure = "Name a part with `set`."


class TooComplex(Diagnostic, code="SP0803", title="pattern too large"):
    """With all sets written out, a condition has at most 20,000 parts (400,000 over all heads) and nests at most 150
    levels deep; a declaration has at most 64 parameters.
    """

    what: str
    message = "too large: {what}"
    label = "grows too large here"
    example = Example(
        "set a = past(2) | past(3)\nset b = a & ~a | a\nset c = b & ~b | b\n...\npattern big = z\n",
        make=lambda: (_doubling().encode(), {}),
    )
    cure = "Use a table, `blocks(b, [[...]])`, or fewer parts."


class TooManyErrors(Diagnostic, code="SP0804", title="too many errors"):
    """After 20 errors in the text the rest is not read: one mistake early on often makes the others."""

    count: int
    message = "more than {count} errors; the rest of the text was not read"
    example = Example("pattern p = ? ? ? ? ? ? ?...\n", make=lambda: (b"pattern p = " + b"? " * 25, {}))
    cure = "Correct the first ones and try again."


def _doubling() -> str:
    """Sets that each use the one before three times."""
    letters = "abcdefgijlmoprstuvwxyz"
    steps = [f"set {y} = {x} & ~{x} | {x}\n" for x, y in pairwise(letters)]
    return "set a = past(2) | past(3)\n" + "".join(steps) + "pattern big = z\n"
