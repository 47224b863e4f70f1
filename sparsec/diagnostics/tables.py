"""SP05xx: tables of blocks."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class BadTable(Diagnostic, code="SP0501", title="not a table of blocks"):
    """A table is a list of rows, and a row a list of key blocks, counted from 0; in the text or in a JSON file."""

    problem: str
    message = "not a table of blocks: {problem}"
    label = "{problem}"
    help = "a table is written `[[0, 1], [0, 2]]`: one list of key blocks for each block of queries"
    example = Example("pattern p = blocks(64, [0, 1])\n")
    cure = "`pattern p = blocks(64, [[0], [0, 1]])`"


class TableTooLarge(Diagnostic, code="SP0502", title="table too large"):
    """A table has at most 1,000,000 entries, and its file at most 32 MB."""

    problem: str
    message = "this table is too large: {problem}"
    label = "too large"
    help = "use larger blocks, or describe the pairs by conditions on `q` and `k`"
    example = Example(
        'pattern p = blocks(1, "pairs.json")\n',
        make=lambda: (b'pattern p = blocks(1, "pairs.json")\n', {"pairs.json": f"[[{'0,' * 1_000_000}0]]"}),
    )
    cure = "Use larger blocks: four times the size makes a sixteenth of the entries."
