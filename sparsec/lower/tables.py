"""Tables of blocks, in the text or in a JSON file beside it -> sorted rows of integers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from sparsec.diagnostics import BadTable, Diagnostic, NotUtf8, SparsecError, TableTooLarge
from sparsec.source import Span
from sparsec.syntax import ast
from sparsec.syntax.read import read_bytes

Rows = tuple[tuple[int, ...], ...]
Problem = Callable[..., Diagnostic]  # what is wrong, for the place where it is said
_MAX_BYTES, _MAX_ENTRIES, _MAX_BLOCK = 32_000_000, 1_000_000, 2**31 - 1


def table_rows(node: ast.Expr, constant: Callable[[ast.Expr], int | None]) -> Rows | Diagnostic | None:
    """The rows of a table: each sorted, without repeats.  None where `constant` reported an error of its own."""
    if isinstance(node, ast.Text):
        return _placed(_read(node), node.span)
    if not isinstance(node, ast.Table):
        return BadTable(problem="not a list of rows", span=node.span)
    data = []
    for row in node.items:
        if not isinstance(row, ast.Table):
            return BadTable(problem="a row must be a list", span=row.span)
        if inner := next((item for item in row.items if isinstance(item, ast.Table)), None):
            return BadTable(problem="a row holds integers", span=inner.span)
        items = [item.value if isinstance(item, ast.Number) else constant(item) for item in row.items]
        if None in items:
            return None
        data.append(items)
    return _placed(_rows(data), node.span)


def _placed(found: Rows | Problem, span: Span) -> Rows | Diagnostic:
    return found if isinstance(found, tuple) else found(span=span)


def table_path(node: ast.Text) -> Path:
    """The table's file: relative to the folder of the text that names it."""
    return Path(node.span.source.name).parent / node.value


def _read(node: ast.Text) -> Rows | Problem:
    path = table_path(node)
    data = read_bytes(path, _MAX_BYTES, node.span)
    if data is None:
        return partial(TableTooLarge, problem=f"its file has more than {_MAX_BYTES:,} bytes")
    try:
        return _parsed(data)
    except UnicodeDecodeError as error:
        raise SparsecError(NotUtf8(name=str(path), offset=error.start, span=node.span)) from None


@lru_cache(maxsize=2)  # patterns are lowered many times over, for one parameter after the other
def _parsed(data: bytes) -> Rows | Problem:
    """What a JSON file says.  UnicodeDecodeError."""
    try:
        return _rows(json.loads(data))
    except UnicodeDecodeError:
        raise
    except json.JSONDecodeError as error:
        return partial(BadTable, problem=f"not JSON at line {error.lineno}, column {error.colno} of the file")
    except (ValueError, RecursionError):  # a number of thousands of digits; brackets thousands deep
        return partial(BadTable, problem="its file holds no rows of integers")


def _rows(data: object) -> Rows | Problem:
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        return partial(BadTable, problem="not a list of rows")
    if not data:
        return partial(BadTable, problem="it has no rows")
    if (entries := len(data) + sum(map(len, data))) > _MAX_ENTRIES:
        return partial(TableTooLarge, problem=f"it has {entries:,} rows and entries")
    for number, row in enumerate(data):
        for block in row:
            if type(block) is not int or not 0 <= block <= _MAX_BLOCK:
                return partial(BadTable, problem=f"row {number} holds {_short(block)}, which is no key block")
    return tuple(tuple(sorted(set(row))) for row in data)


def _short(value: object) -> str:
    text = json.dumps(value) if not isinstance(value, int) or abs(value) < 10**18 else "a number too large"
    return text if len(text) < 20 else text[:20] + "..."
