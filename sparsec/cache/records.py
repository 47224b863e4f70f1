"""The index of the cache: what was asked for -> which generated module answers it, and what goes with it.

A key covers everything that decides the text and is known before reading it: the text itself, its name, parameters,
heads and layers, the user's tuned settings, sparsec's own code with its templates, prelude and tuned settings, and the
versions of what it runs on.  Used files and tables are known only afterwards, so a record lists them with their
digests, and holds while these are right.  The device is not part of it: one text serves them all.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from sparsec import resources
from sparsec.cache.files import INDEX, MODULES, Cache
from sparsec.files import read

_LIBRARIES = ("torch", "triton", "islpy", "lark", "jinja2", "numpy")
_LARGEST_FILE = 1 << 26


@dataclass(frozen=True)
class Record:
    """An entry of the index."""

    key: str
    made_by: str  # digest of sparsec's code
    module: str  # name of the module's file, without .py
    digest: str  # of the module's text
    function: str
    pattern: list  # sparsec.ir.serialize
    warnings: tuple[str, ...]  # as rendered
    files: tuple[tuple[str, str], ...]  # what was read beside the text: path and digest


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def key(name: str, content: str | bytes, chosen: Mapping[str, object], tuned: bytes) -> str:
    """The key of a text called `name` (used files are found relative to it) and of what it is compiled for, with the
    user's file of tuned settings.
    """
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    parts = [type(content).__name__, name, digest(data), chosen, digest(tuned), own_code(), environment()]
    return digest(json.dumps(parts, sort_keys=True).encode())


@cache
def environment() -> tuple[str, ...]:
    """Versions of Python and of the libraries, without importing them."""
    return (f"python {sys.version_info[0]}.{sys.version_info[1]}", *map(_installed, _LIBRARIES))


def _installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


@cache
def own_code() -> str:
    """Digest of all that sparsec is made of: editing a template makes new entries."""
    found = hashlib.sha256()
    for start in (files("sparsec"), resources.root() / "grammar", resources.root() / "templates"):
        for name, file in _walk(start, ""):
            found.update(f"{name}\0{digest(file.read_bytes())}\0".encode())
    return found.hexdigest()


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            if item.name not in ("__pycache__", "_data"):
                yield from _walk(item, f"{prefix}{item.name}/")
        elif not item.name.endswith(".pyc"):
            yield prefix + item.name, item


def module_name(function: str, text_digest: str) -> str:
    """What a generated module is called in `sys.modules` and, with `.py`, in the cache."""
    return f"sparsec_{re.sub('[^A-Za-z0-9_]', '_', function)[:40]}_{text_digest[:32]}"


def find(store: Cache, wanted: str) -> tuple[Record, str, Path] | None:
    """The record with a key, its module's text and file; None unless they are there, whole and current.  May raise
    Refused or Unusable, as `keep` may."""
    record = parse(store.read(INDEX, f"{wanted}.json"))
    if record is None or record.key != wanted or not current(record):
        return None
    text = store.read(MODULES, f"{record.module}.py")
    if text is None or digest(text) != record.digest:
        return None
    store.touch(INDEX, f"{wanted}.json")
    return record, text.decode(), store.path(MODULES, f"{record.module}.py")


def keep(store: Cache, record: Record, text: str) -> Path:
    """Put a module and its record into the cache, in this order; returns the path of the module."""
    path = store.write(MODULES, f"{record.module}.py", text.encode())
    store.write(INDEX, f"{record.key}.json", render(record))
    return path


def current(record: Record) -> bool:
    """Are the files that it was made of as they were?"""
    return all(file_digest(name) == wanted for name, wanted in record.files)


def file_digest(name: str | Path) -> str:
    """The digest of an ordinary file, empty when it can't be read or is larger than any that sparsec reads."""
    try:
        data = read(name, _LARGEST_FILE)
    except (OSError, ValueError):
        return ""
    return "" if data is None else digest(data)


def render(record: Record) -> bytes:
    """A record as one line of digest and one of JSON."""
    body = json.dumps(asdict(record)).encode()
    return digest(body).encode() + b"\n" + body


def parse(data: bytes | None) -> Record | None:
    """The inverse of `render`; None for what is damaged or has other fields."""
    stated, _, body = (data or b"").partition(b"\n")
    if digest(body).encode() != stated:
        return None
    try:
        fields = json.loads(body)
        return Record(**{**fields, "warnings": tuple(fields["warnings"]), "files": _pairs(fields["files"])})
    except (ValueError, TypeError, KeyError):
        return None


def _pairs(listed: list) -> tuple[tuple[str, str], ...]:
    return tuple((name, wanted) for name, wanted in listed)
