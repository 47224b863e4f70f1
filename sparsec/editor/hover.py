"""What is meant by the name under the pointer, as Markdown: declaration, documentation, pairs, picture."""

from __future__ import annotations

from dataclasses import replace

from sparsec.diagnostics import SparsecError
from sparsec.editor.outline import Occurrence, outline
from sparsec.editor.scope import Target, is_prelude, target
from sparsec.lower.file import lower
from sparsec.lower.scope import INTEGERS
from sparsec.lower.signatures import BUILT_IN
from sparsec.source import Source
from sparsec.syntax import ast
from sparsec.syntax.parse import parse

POSITIONS = dict(
    zip(
        INTEGERS,
        (
            "position of the query, from 0",
            "position of the key, from 0",
            "number of keys",
            "query head, from 0",
            "number of query heads",
            "layer, from 0",
            "number of layers",
        ),
        strict=True,
    )
)
SCORE = "the scaled product of query and key, or the score so far"
_ROWS, _COLUMNS = 16, 32


def hover(source: Source, offset: int) -> tuple[str, int, int] | None:
    """Markdown, and the place that it is about."""
    here = outline(source).at(offset)
    if here is None:
        return None
    meant, name = target(source, here), here.lexeme.text
    if meant is None:
        known = POSITIONS.get(name) if here.role == "bare" else None
        known = SCORE if name == "s" and here.role == "bare" and here.inside.kind == "score" else known
        text = known and f"`{name}`: {known}"
        if text is None and here.role in ("call", "bare") and name in BUILT_IN:
            text = f"```spat\n{BUILT_IN[name]}\n```\nbuilt in"
    elif meant.parameter:
        text = f"`{name}`: parameter of\n```spat\n{meant.declaration.head}\n```"
    else:
        text = _of_definition(source, here, meant)
    return (text, here.lexeme.start, here.lexeme.end) if text else None


def _of_definition(source: Source, here: Occurrence, meant: Target) -> str:
    where = "the prelude" if is_prelude(meant.source) else meant.source.name if meant.source != source else ""
    lines = [f"```spat\n{meant.declaration.head}\n```", meant.declaration.doc, f"Declared in {where}." if where else ""]
    return "\n\n".join(filter(None, [*lines, _picture(source, here)]))


def _picture(source: Source, here: Occurrence) -> str:
    """The mask of what is named, with the parameters' defaults; nothing where one is missing, where data of the call
    decides, or where the text is wrong.
    """
    try:
        file = parse(source)
        definition = next(each for each in file.definitions if each.name_span.start == here.inside.named.start)
        if definition.kind == "score":
            return ""
        body = definition.body if here.role == "definition" else _node(definition.body, here)
        changed = replace(definition, kind="pattern", body=body)
        declarations = tuple(changed if each is definition else each for each in file.declarations)
        pattern = lower(replace(file, declarations=declarations), pattern=definition.name)
    except (SparsecError, StopIteration):
        return ""
    if pattern.inputs:
        return ""
    from sparsec.show.page import total
    from sparsec.show.plain import characters
    from sparsec.show.raster import densities, raster, whole
    from sparsec.show.scale import telling_length

    n = telling_length(pattern)
    cells = raster(pattern.conditions[:1], n, _ROWS, _COLUMNS)
    shares, sure = densities(pattern.conditions[:1], n, cells=cells)
    counted = f"At n = {n:,} {total(float(shares.sum()), whole(n), sure)}"
    return "\n".join(["```text", *characters(cells), "```", counted])


def _node(body: ast.Expr, here: Occurrence) -> ast.Expr:
    return next(
        node
        for node in ast.walk(body)
        if isinstance(node, ast.Call | ast.Name) and node.span.start == here.lexeme.start
    )
